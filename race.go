//go:build race

package shmchan

// The race detector does not see memory outside Go's heap, so it is told what a
// channel orders: a send happens before its receive, a receive happens before the
// send that uses its slot again, Close before the receive that reports it. One
// byte of Go memory stands for each slot, shared by all handles of the process.

import (
	"runtime"
	"sync"
	"unsafe"
)

const raceEnabled = true

type raceState struct {
	slots  []byte
	closed byte
	refs   int
}

var raceStates = struct {
	sync.Mutex
	m map[[16]byte]*raceState
}{m: map[[16]byte]*raceState{}}

func newRaceState(id [16]byte, slots uint64) *raceState {
	raceStates.Lock()
	defer raceStates.Unlock()
	s := raceStates.m[id]
	if s == nil {
		s = &raceState{slots: make([]byte, slots)}
		raceStates.m[id] = s
	}
	s.refs++
	return s
}

func (s *raceState) drop(id [16]byte) {
	raceStates.Lock()
	defer raceStates.Unlock()
	if s.refs--; s.refs == 0 {
		delete(raceStates.m, id)
	}
}

// own: the slot was handed to us, with all that its last user did before.
func (s *raceState) own(pos, mask uint64) { runtime.RaceAcquire(unsafe.Pointer(&s.slots[pos&mask])) }

// hand: the slot goes to its next user, with all that we did before.
func (s *raceState) hand(pos, mask uint64) { runtime.RaceRelease(unsafe.Pointer(&s.slots[pos&mask])) }

func (s *raceState) close()     { runtime.RaceReleaseMerge(unsafe.Pointer(&s.closed)) }
func (s *raceState) sawClosed() { runtime.RaceAcquire(unsafe.Pointer(&s.closed)) }

// touch is an unsynchronised write: two goroutines that use a single role at once are reported.
func touch(p *int) { *p++ }
