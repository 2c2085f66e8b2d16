package shmchan

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who cannot make a fence for the others does not attach where they count on it, and is told so. A channel of his own
// goes without, also for those who could.
func TestWithoutMembarrier(t *testing.T) {
	defer func(old func() bool) { canFenceProcesses = old }(canFenceProcesses)
	may, mayNot := func() bool { return true }, func() bool { return false }
	dir := WithDir(memDir(t))

	canFenceProcesses = may
	theirs, err := Open[int64]("theirs", dir)
	require.NoError(t, err)
	none, err := Open[int64]("none", dir, WithCapacity(0))
	require.NoError(t, err)
	canFenceProcesses = mayNot
	_, err = Open[int64]("theirs", dir)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "membarrier(2)")
	again, err := Open[int64]("none", dir)
	require.NoError(t, err, "a rendezvous does not need it")

	ours, err := Open[int64]("ours", dir, WithSingleSender(), WithSingleReceiver())
	require.NoError(t, err)
	require.False(t, ours.Sender.h.fences)
	for _, s := range []*side{&ours.Sender.h.send, &ours.Sender.h.recv} {
		require.Equal(t, weakStores || raceEnabled, s.bar.Load()&barShared != 0)
	}
	for i := range int64(200) {
		require.NoError(t, ours.Send(i))
		v, err := ours.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v)
	}
	for _, ch := range []*Chan[int64]{theirs, none, again, ours} {
		require.NoError(t, ch.Detach())
	}
}

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"0\n": 1, "0-1\n": 2, "0-3,6,8-9\n": 7, "": 0, "x": 0, "3-1": 0, "0-": 0} {
		require.Equal(t, want, countCPUs(list), "%q", list)
	}
	require.Positive(t, onlineCPUs())
}
