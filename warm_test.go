package shmchan

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is asked for begins where functions of this package do, of either role; and asking allocates nothing.
func TestWarm(t *testing.T) {
	ch := openTest[int64](t)
	for _, s := range []*side{&ch.Sender.h.send, &ch.Sender.h.recv} {
		require.NotEmpty(t, goingOn()[s.d])
		for _, pc := range goingOn()[s.d] {
			f := runtime.FuncForPC(pc)
			require.Equal(t, pc, f.Entry())
			require.Contains(t, f.Name(), "github.com/shmchan/shmchan.(*")
		}
		require.Zero(t, testing.AllocsPerRun(100, s.warm))
	}
}
