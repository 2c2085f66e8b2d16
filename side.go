package shmchan

// A side of a handle: counting its calls, the lane for those that go straight to their slots, and letting go.
//
// Invariants:
//   - The memory stays while a call is under way (model/detach.pml).
//   - Only a call in the lane touches tx, or rx: it has raised the lane's busy and has seen after that that the
//     lane is the side's still, with no bar. A lane is replaced only by who has seen after a fence for all
//     that its busy is down; that is why each has one of its own. And not once the side is detached (model/lane.pml).

import (
	"sync"
	"sync/atomic"
)

// side is one direction of a handle.
type side struct {
	h    *handle
	d    direction
	role uint64 // peerSends or peerReceives
	lock int    // the lock of the single role

	within atomic.Uint64        // 1: a single role is in its SendFunc or RecvFunc
	alone  bool                 // a single role, whose calls are counted by the lane's busy and not by refs
	bar    atomic.Uint32        // why a call may not go straight to the slot
	lane   atomic.Pointer[lane] // never nil
	refs   atomic.Int64         // calls under way, less detachedBias once detached

	missed atomic.Uint32 // calls that were not in the lane
	moves  atomic.Uint32 // of the lane
	laneMu sync.Mutex    // held while the lane is replaced
	onMove func()        // for tests: called when moveLane has looked whether the side is detached

	detached atomic.Bool
	finished atomic.Bool

	queue    waitList // guarded by h.mu
	posters  waitList // rendezvous senders whose value is in the slot; guarded by h.mu
	watchers waitList // Selects that would send, were there a receiver, and messages that wait for room; guarded by h.mu
	poll     atomic.Pointer[poll]
	goneCh   chan struct{}         // see chans.go; guarded by h.mu
	isGone   bool                  // goneCh is closed; guarded by h.mu
	noted    atomic.Bool           // somebody waits to be told that the channel is closed
	failed   atomic.Pointer[error] // why a value of SendChan was lost
	want     atomic.Uint64         // blocks of the arena that a TrySend found no room for, see arena.go
	spins    atomic.Int32
	tries    atomic.Int32
	tally    waitTally
	rhythm   rhythm
	single   int // touched by the single role under the race detector
	_        [64]byte
}

// lane says whose calls go straight to their slots.
type lane struct {
	goroutine uintptr       // its number; 0 for a single role, whose calls come one at a time whoever makes them
	busy      atomic.Uint64 // 1: a call is under way; more: so are its begins
	_         [128 - 16]byte
}

// noLane is that of nobody: no goroutine has this number.
var noLane = &lane{goroutine: 1}

// Reasons why no call may go straight to its slot.
const (
	barDetached uint32 = 1 << iota
	barShape           // the slot may be free where the position is not to be had yet
	barGuard           // calls of a handle with the fault guard go through it, see guard.go
	barChecked         // the channel has checksums, see checksum.go
	barShared          // who sleeps cannot fence for us, or we do not know who calls, or the race detector looks
)

// inside notes that a single role is in its SendFunc or RecvFunc, or out again. Its calls come one at a time.
func (s *side) inside(single, in bool) {
	if single {
		var to uint64
		if in {
			to = 1
		}
		storeRelease(&s.within, to)
	}
}

func (s *side) inFunc() bool { return s.within.Load() != 0 }

const detachedBias = 1 << 40

// other is the role at the other end.
func (s *side) other() uint64 { return (peerSends | peerReceives) &^ s.role }

// enter begins a call; false: the side is detached.
func (s *side) enter() bool {
	if s.refs.Add(1) > 0 {
		return true
	}
	s.leave()
	return false
}

// leave ends a call; the last one out lets go.
func (s *side) leave() {
	if s.refs.Add(-1) == -detachedBias && s.lane.Load().busy.Load() == 0 {
		s.finish()
	}
}

// begin is enter for a call that sends or receives. The calls of a single role come one at a
// time and need no fence: the call raises busy and then looks for detached, while detach
// raises detached, has all threads pass a fence and then looks at busy. One of the two sees the other.
func (s *side) begin() bool {
	if !s.alone {
		return s.enter()
	}
	busy := &s.lane.Load().busy
	storeRelease(busy, busy.Load()+1)
	if !s.detached.Load() {
		return true
	}
	s.end()
	return false
}

// end is leave for begin.
func (s *side) end() {
	if !s.alone {
		s.leave()
		return
	}
	busy := &s.lane.Load().busy
	storeRelease(busy, busy.Load()-1)
	if s.detached.Load() {
		s.endLast()
	}
}

// ours says whether the calling goroutine is in the lane. Under the race detector nobody is.
func (l *lane) ours() bool { return l.goroutine == 0 || l.goroutine == goroutine() }

// knock is the first half of begin for a call that goes straight to its slot, in a lane that is ours. If isIn
// then says no, the call is not in the lane and leaves it at once. False: it must not even knock; a call that the
// context of another one makes, as that one is in the lane.
func (s *side) knock(l *lane) bool {
	if uint64(s.bar.Load())|l.busy.Load() != 0 {
		return false
	}
	storeRelease(&l.busy, 1)
	return true
}

// isIn says after knock whether the call is in the lane, and in a call that is whether it may go straight on.
func (s *side) isIn(l *lane) bool { return s.bar.Load() == 0 && s.lane.Load() == l }

// enterLane is the lane, with the call in it, or nil.
func (s *side) enterLane() *lane {
	l := s.lane.Load()
	if !l.ours() || !s.knock(l) {
		return nil
	}
	if !s.isIn(l) {
		s.leaveLane(l)
		return nil
	}
	return l
}

// leaveLane is end for enterLane.
func (s *side) leaveLane(l *lane) {
	storeRelease(&l.busy, 0)
	if s.bar.Load() != 0 {
		s.endLast()
	}
}

// moveLane has the calling goroutine in the lane from now on, if nobody is in a call there. For a call that was not,
// and had it been its turn: the more often the lane was moved the less often it is.
func (s *side) moveLane() {
	const most = 20
	if raceEnabled || s.alone || s.bar.Load() != 0 {
		return
	}
	if s.onMove != nil {
		s.onMove()
	}
	if n := s.missed.Add(1); n&(1<<min(s.moves.Load(), most)-1) != 0 || !s.laneMu.TryLock() {
		return
	}
	defer s.laneMu.Unlock() // Until then nobody detaches, and the memory is there.
	old := s.lane.Load()
	if s.bar.Load() != 0 || old.busy.Load() != 0 {
		return
	}
	if old != noLane {
		s.lane.Store(noLane)
		fence()
	}
	if old.busy.Load() == 0 {
		s.h.findPlace(s.d)
		old = &lane{goroutine: goroutine()}
		s.moves.Store(max(6, s.moves.Load()+1))
	}
	s.lane.Store(old)
}

// goSlow is for a call in the lane that goes the way of all from here on, and doneSlow for its end.
func (s *side) goSlow(l *lane) {
	if l != nil && !s.alone {
		s.h.tellAll(s.d)
	}
}

func (s *side) doneSlow(l *lane) {
	s.goOn(l)
	s.leaveLane(l)
}

// goOn is for a call in the lane that has gone the way of all and may go straight on.
func (s *side) goOn(l *lane) {
	if l != nil && !s.alone {
		s.h.findPlace(s.d)
	}
}

// endLast lets go if the call that has just ended was the last one.
func (s *side) endLast() {
	busy := &s.lane.Load().busy
	busy.Add(0) // A fence: who leaves sees our busy, or we see its refs.
	if s.refs.Load() == -detachedBias && busy.Load() == 0 {
		s.finish()
	}
}

func (s *side) detach() error {
	if s.detached.Swap(true) {
		return s.h.errs.detached
	}
	s.laneMu.Lock() // The lane stays where it is from here on.
	s.bar.Or(barDetached)
	s.laneMu.Unlock()
	s.h.surely(func() {
		s.h.wakeLocal(s, true)
		s.closePoll()
		s.tellGone()
	})
	l := s.lane.Load()
	if l != noLane {
		fence() // Before anybody may find that he is the last one.
	}
	if s.refs.Add(-detachedBias) == -detachedBias && l.busy.Load() == 0 {
		s.finish()
	}
	return nil
}

// finish lets go of the role, and with the last role of the handle.
func (s *side) finish() {
	if !s.finished.CompareAndSwap(false, true) {
		return
	}
	h := s.h
	h.surely(s.letGo)
	if h.sides.Add(-1) == 0 {
		h.release()
	}
}

// letGo gives the role back.
func (s *side) letGo() {
	h := s.h
	s.rhythm.stop()
	func() {
		h.peerMu.Lock()
		defer h.peerMu.Unlock()
		s.dropRole()
	}()
	h.wakeAll() // Some may wait for our role only; and we may have swallowed a wake.
	h.tellCounts()
}

// dropRole is called with peerMu held.
func (s *side) dropRole() {
	h := s.h
	if s.d == sending && h.oneSender {
		h.ctl.tail.Store(h.tx.pos())
	} else if s.d == receiving && h.oneRecver {
		h.ctl.head.Store(h.rx.pos())
	}
	if s.want.Swap(0) != 0 {
		h.rvCountBy(rvRoom, -1)
	}
	h.clearWaiting(s.d, h.idx)
	h.dropRole(s.role)
	_ = h.locks.unlock(s.lock)
}
