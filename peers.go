package shmchan

// Who takes part, and who is dead.
//
// Invariants:
//   - A participant is a handle. It has an entry in the file and holds that
//     entry's lock, which the kernel drops when the handle's process dies,
//     however it dies. A free lock is the only proof of death there is.
//   - Only the holder of an entry's lock writes the entry.
//   - An entry is used again only after everything that its last owner held was
//     recovered, and then with the next generation: so a word in a slot with an
//     entry's index and another generation names nobody alive.

import (
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Locks beyond those of the entries.
const (
	lockSender   = maxPeers     // the single sender's role
	lockReceiver = maxPeers + 1 // the single receiver's role
)

// locker is what the platform gives to prove life: locks by number that the
// kernel drops with their holder. Calls on one locker are serialised by handle.peerMu.
type locker interface {
	// tryLock takes lock i, if no other locker holds it.
	tryLock(i int) (bool, error)
	// held says whether another locker holds lock i, without taking it.
	held(i int) (bool, error)
	unlock(i int) error
	close() error
}

func (h *handle) entry(i int) *peer {
	return (*peer)(unsafe.Add(h.peers, uintptr(i)*unsafe.Sizeof(peer{})))
}

func peerGen(state uint64) uint64    { return state >> peerGenShift & genMask }
func peerTag(i int, s uint64) uint64 { return peerGen(s)<<idxBits | uint64(i) }
func tagIndex(tag uint64) int        { return int(tag & (maxPeers - 1)) }
func tagGen(tag uint64) uint64       { return tag >> idxBits }
func isUsed(state uint64) bool       { return state&peerUsed != 0 }

// attach takes an entry, and clears away every participant that has died.
func (h *handle) attach(roles uint64) error {
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	// Somebody may be about to free the place of one that has died, with its lock, so that it looks taken: look again, but do
	// not wait for one that is stopped there.
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		again, err := h.takeEntry(roles)
		if err != nil || h.idx >= 0 {
			return err
		}
		if again && time.Since(began) <= time.Second {
			continue
		}
		if again && h.path != "" && !h.nameLocked {
			// A collector has all places locked, and the name's lock before: under that one it is none.
			if !lockName(h.file) {
				return removing(h.name, h.file)
			}
			_, err = h.takeEntry(roles)
			unlockName(h.file)
			if err != nil || h.idx >= 0 {
				return err
			}
		}
		return &chanError{h.name, ErrTooManyPeers, "it has 256 live handles, detach one; goroutines of a process can share a handle"}
	}
}

// takeEntry is attach, once; idx stays -1 if there is no place. Again: one is about to be free, or has been since.
func (h *handle) takeEntry(roles uint64) (again bool, err error) {
	h.idx = -1
	for i := range maxPeers {
		s := h.entry(i).state.Load()
		if h.idx >= 0 && !isUsed(s) {
			continue
		}
		ok, err := h.locks.tryLock(i)
		if err != nil {
			return false, h.fail("lock a participant's entry", err)
		}
		if !ok {
			now := h.entry(i).state.Load()
			again = again || !isUsed(now) || now&peerDead != 0 || now != s
			continue
		}
		h.clear(i)
		if h.idx >= 0 {
			if err := h.locks.unlock(i); err != nil {
				return false, h.fail("unlock a participant's entry", err)
			}
			continue
		}
		h.idx, h.joined = i, true
		e := h.entry(i)
		gen := (peerGen(e.state.Load()) + 1) & genMask
		h.me = gen<<idxBits | uint64(i)
		e.pid.Store(uint64(os.Getpid()))
		e.attached.Store(uint64(time.Now().UnixNano()))
		e.space.Store(pidSpace())
		e.polls.Store(0)
		e.state.Store(gen<<peerGenShift | peerUsed | roles)
		h.announce(i)
	}
	return again, nil
}

// announce has those who wait watch for the death of participant i, who has joined.
func (h *handle) announce(i int) {
	for _, role := range []uint64{peerSends, peerReceives} {
		if h.entry(i).state.Load()&role != 0 {
			h.ctl.came[role/peerReceives].Add(1)
		}
	}
	h.ctl.joins.Add(1) // Whoever parks after this sees it.
	for k := range maxPeers {
		if bit := uint64(1) << (k % 64); k != i && (h.ctl.senders[k/64].Load()|h.ctl.receivers[k/64].Load())&bit != 0 {
			h.ring1(k, ringJoined)
		}
	}
}

// clear recovers what the last owner of entry i held, and marks it unused. The
// caller holds the entry's lock; if it dies half way, the next one starts again.
func (h *handle) clear(i int) {
	e := h.entry(i)
	s := e.state.Load()
	if !isUsed(s) {
		return
	}
	e.state.Store(s | peerDead)
	h.recoverAndWake(peerTag(i, s))
	h.clearWaiting(sending, i)
	h.clearWaiting(receiving, i)
	h.rv[i].Store(0)
	h.removeBell(i, peerGen(s))
	if s&peerSeat == 0 {
		h.ctl.recovered.Add(1)
	}
	e.state.Store(peerGen(s) << peerGenShift)
	h.tellDeserted(s)
	// It may have died with a wake in its hands.
	h.wakeOne(sending)
	h.wakeOne(receiving)
	if h.ctl.closed.Load() != 0 {
		h.wakeAll()
	}
}

// recoverAndWake recovers what a dead owner held, and wakes those who may go on with it.
func (h *handle) recoverAndWake(tag uint64) {
	if h.arena != nil {
		h.arena.dropAll(func(w uint64) bool { return wordState(w) == stWriting && wordTag(w) == tag })
	}
	freed, refilled := h.recoverTag(tag)
	h.wakeFor(sending, freed)
	h.wakeFor(receiving, refilled)
	if h.arena != nil && freed > 0 {
		h.rvCall(rvRoom)
	}
	if h.rendezvous && refilled > 0 { // A sender that was cancelled meanwhile takes it back.
		h.wakePeer(int(h.ctl.poster.Load()%maxPeers), sending)
	}
	if freed+refilled > 0 && h.ctl.closed.Load() != 0 {
		h.wakeAll()
	}
}

// checkOwner recovers what the owner of a slot's word holds, if it is dead.
func (h *handle) checkOwner(tag uint64) {
	if tag == h.me {
		return
	}
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	i := tagIndex(tag)
	if s := h.entry(i).state.Load(); i == h.idx || !isUsed(s) || peerGen(s) != tagGen(tag) || s&peerDead != 0 {
		// The index is ours or another's by now, or nobody's, or somebody who has seen
		// that the owner is dead is about to clear it (and may be stopped there).
		h.recoverAndWake(tag)
		return
	}
	h.clearIfDead(i)
}

// clearIfDead clears entry i if its owner is dead. The caller holds peerMu.
func (h *handle) clearIfDead(i int) (dead bool) {
	if i == h.idx {
		return false
	}
	if h.entry(i).state.Load()&peerDead != 0 {
		return true
	}
	if held, err := h.locks.held(i); err != nil || held {
		return false
	}
	if ok, err := h.locks.tryLock(i); err != nil || !ok {
		return false
	}
	h.clear(i)
	_ = h.locks.unlock(i)
	return true
}

// checkEvery is how often, at most, a call that does not wait asks whether an owner is alive.
const checkEvery = 5 * time.Millisecond

var processStart = time.Now()

// checkPassed checks the owner of a word that a call stepped past, if it is another
// participant and that was not done just now.
func (h *handle) checkPassed(w uint64) {
	if s := wordState(w); s != stWriting && s != stReading || wordTag(w) == h.me {
		return
	}
	if h.checkDue() {
		h.checkOwner(wordTag(w))
	}
}

func (h *handle) checkDue() bool {
	now := int64(time.Since(processStart))
	last := h.lastCheck.Load()
	return now-last >= int64(checkEvery) && h.lastCheck.CompareAndSwap(last, now)
}

// checkHolders checks everybody that a caller blocked in direction d may be waiting for.
func (h *handle) checkHolders(d direction) {
	var seen [4]uint64 // indices checked, as bits
	if d == sending {
		h.checkRoom()
	}
	h.holders(d, func(w uint64) {
		tag := wordTag(w)
		if i := tagIndex(tag); seen[i/64]&(1<<(i%64)) == 0 {
			seen[i/64] |= 1 << (i % 64)
			h.checkOwner(tag)
		}
	})
}

// deaths are the processes whose end this one is told of, to look at once at the
// locks of the handles that they had. One watch a process, however many channels it shares with us.
var deaths = struct {
	sync.Mutex
	watches map[int]*deathWatch
}{watches: map[int]*deathWatch{}}

type deathWatch struct {
	cancel  func()
	handles map[*handle]struct{}
}

// watchPeers watches the processes of all participants, and notes whether it can:
// not those of another pid namespace, whose numbers mean nothing here.
func (h *handle) watchPeers() {
	joins := h.ctl.joins.Load()
	if h.joinsSeen.Swap(joins+1) == joins+1 {
		return
	}
	self := os.Getpid()
	var gone []int
	defer func() {
		h.peerMu.Lock()
		defer h.peerMu.Unlock()
		for _, i := range gone {
			h.clearIfDead(i)
		}
	}()
	deaths.Lock()
	defer deaths.Unlock()
	blind := false
	for i := range maxPeers {
		e := h.entry(i)
		pid := int(int32(e.pid.Load()))
		if i == h.idx || !isUsed(e.state.Load()) {
			continue
		}
		if space := e.space.Load(); pid <= 0 || space == 0 || space != pidSpace() {
			blind = true
			continue
		}
		if pid == self {
			continue
		}
		w := deaths.watches[pid]
		if w == nil {
			w = &deathWatch{handles: map[*handle]struct{}{}}
			cancel, err := onDeath(pid, func() { peerDied(pid, w) })
			if errors.Is(err, unix.ESRCH) {
				gone = append(gone, i)
				h.joinsSeen.Store(0) // Look again next time.
			}
			if err != nil { // Gone; or not to be watched: the backstop finds it.
				blind = true
				continue
			}
			w.cancel = cancel
			deaths.watches[pid] = w
		}
		w.handles[h] = struct{}{}
	}
	h.setBlind(blind)
}

// unwatchPeers ends the watches that only h needed.
func (h *handle) unwatchPeers() {
	deaths.Lock()
	defer deaths.Unlock()
	for pid, w := range deaths.watches {
		if delete(w.handles, h); len(w.handles) == 0 {
			w.cancel()
			delete(deaths.watches, pid)
		}
	}
}

// peerDied looks at the locks of all handles that a process had in common with us.
func peerDied(pid int, w *deathWatch) {
	deaths.Lock()
	if deaths.watches[pid] == w {
		delete(deaths.watches, pid)
	}
	handles := slices.Collect(maps.Keys(w.handles))
	deaths.Unlock()
	for _, h := range handles {
		h.whileHere(func() {
			h.clearProcess(pid)
			h.lookAfter()
		})
	}
}

// clearProcess clears the entries of a process that has ended.
func (h *handle) clearProcess(pid int) {
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	for i := range maxPeers {
		if e := h.entry(i); isUsed(e.state.Load()) && int(int32(e.pid.Load())) == pid && !h.clearIfDead(i) {
			h.setBlind(true) // Its locks are still held, by a child say: look often.
		}
	}
}

// alone says whether no other live handle is attached. The caller holds peerMu.
func (h *handle) alone() bool {
	for i := range maxPeers {
		if i == h.idx || !isUsed(h.entry(i).state.Load()) {
			continue
		}
		if h.entry(i).state.Load()&peerDead != 0 {
			continue
		}
		if held, err := h.locks.held(i); err != nil || held {
			return false
		}
	}
	return true
}

// dropRole takes a role off our entry.
func (h *handle) dropRole(role uint64) { h.entry(h.idx).state.And(^role) }
