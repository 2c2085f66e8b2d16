package shmchan

// When a directory is swept.
//
// Invariants:
//   - A process that makes n channels in a directory looks at no more than a number of files that
//     grows as n does, so that a thousand channels do not cost a million looks.
//   - It sweeps a directory once at a time: who comes while it does goes on without.

import (
	"sync"
	"sync/atomic"
)

// sweepShare is how many files of a sweep pay for one channel made or removed without one.
const sweepShare = 16

// sweptDirs has for each directory how it is swept.
var sweptDirs sync.Map // of *turns

// turns says when a directory is swept.
type turns struct {
	left atomic.Int64 // how many channels may yet be made or removed there without a sweep
	busy atomic.Bool  // a sweep is under way
}

// pass calls sweep, which says at how many files it has looked, if it is its turn.
func (t *turns) pass(sweep func() (looked int)) {
	if t.left.Add(-1) < 0 && t.busy.CompareAndSwap(false, true) {
		t.left.Store(int64(sweep() / sweepShare))
		t.busy.Store(false)
	}
}

// sweepOnce sweeps a directory the first time that this process attaches to something there.
func sweepOnce(dir string) {
	t := new(turns)
	if _, done := sweptDirs.LoadOrStore(dir, t); !done {
		t.pass(func() int { return sweep(dir) })
	}
}

// sweepInTurn sweeps a directory for one who makes or removes a channel: each time where there is little to look at, and
// seldom where there is much.
func sweepInTurn(dir string) {
	t, _ := sweptDirs.LoadOrStore(dir, new(turns))
	t.(*turns).pass(func() int { return sweep(dir) })
}
