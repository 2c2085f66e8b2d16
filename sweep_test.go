package shmchan

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// While a directory is swept nobody else of the process sweeps it, and what was looked at pays for the next ones.
func TestSweepsInTurn(t *testing.T) {
	var turn turns
	entered, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		turn.pass(func() int { close(entered); <-goOn; return 2*sweepShare + 1 })
	}()
	<-entered
	never := func() int { t.Error("a second sweep"); return 0 }
	for range 5 {
		turn.pass(never)
	}
	close(goOn)
	<-done
	turn.pass(never)
	turn.pass(never)
	for range 2 { // Each time where there is little.
		swept := false
		turn.pass(func() int { swept = true; return sweepShare - 1 })
		require.True(t, swept)
	}
}
