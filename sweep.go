package shmchan

// When a directory is swept.
//
// Invariant: a process that makes n channels in a directory looks at no more than a number of files that
// grows as n does, so that a thousand channels do not cost a million looks.

import (
	"sync"
	"sync/atomic"
)

// sweepShare is how many files of a sweep pay for one channel made or removed without one.
const sweepShare = 16

// sweptDirs has for each directory how many channels may yet be made or removed there without a sweep.
var sweptDirs sync.Map // of *atomic.Int64

// sweepOnce sweeps a directory the first time that this process attaches to something there.
func sweepOnce(dir string) {
	left := new(atomic.Int64)
	if _, done := sweptDirs.LoadOrStore(dir, left); !done {
		left.Store(int64(sweep(dir) / sweepShare))
	}
}

// sweepInTurn sweeps a directory for one who makes or removes a channel: each time where there is little to look at, and
// seldom where there is much.
func sweepInTurn(dir string) {
	v, _ := sweptDirs.LoadOrStore(dir, new(atomic.Int64))
	if left := v.(*atomic.Int64); left.Add(-1) < 0 {
		left.Store(int64(sweep(dir) / sweepShare))
	}
}
