package shmchan

// A handle: one attachment to a channel, without its type. Attaching, calls in
// flight, letting go.
//
// Invariants:
//   - The mapping and the locks stay until both sides of the handle are detached
//     and the last call on them is out: every call is between enter and leave.
//   - A position that a call has claimed is published, freed, given up or given
//     back before that call leaves.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// handle is what Sender, Receiver and Chan share.
type handle struct {
	ring
	peers   unsafe.Pointer
	counts  unsafe.Pointer // see waits.go
	name    string
	path    string
	opts    options
	checked bool   // the channel has checksums
	inline  int    // of a channel of bytes: as much of a message lies in its slot
	arena   *arena // of a channel of bytes, nil if it has none
	spins   bool   // its calls spin before they park, or always
	info    *header
	errs    handleErrors
	file    *os.File
	mem     []byte
	race    *raceState

	peerMu     sync.Mutex // guards locks, and what is done under them
	locks      locker
	idx        int  // our entry
	joined     bool // we have one
	nameLocked bool // while opening a closed channel
	lastCheck  atomic.Int64
	lastAlive  atomic.Int64    // when a Try call last asked whether anybody is there, see disconnect.go
	partners   [2]atomic.Int32 // entries that had a role when last asked: sending, receiving
	came       [2]uint32       // ctl.came when we joined
	met        atomic.Uint64   // the roles that others have had since, or had then; of half of a pair
	blind      atomic.Bool     // some participants' deaths are not watched
	joinsSeen  atomic.Uint64   // ctl.joins+1 when the watches were last brought up

	sides      atomic.Int32
	send, recv side

	mu        sync.Mutex // guards the queues
	bell      io.ReadCloser
	seats     *seats        // of an unnamed channel, where its doorbells are files of the set
	listening chan struct{} // closed when nobody listens to the bell any more
	life      sync.RWMutex  // held for reading by what is no user's call, see whileHere
	released  bool          // guarded by life
	watched   atomic.Bool
	rvMu      sync.Mutex // guards rvCount
	rvCount   [4]int     // goroutines for whom a bit of our rendezvous flag is up, see rendezvous.go

	bellMu sync.Mutex // guards bells
	bells  map[int]ringer
	rotor  atomic.Uint32

	faults faultGuard

	hold holder // see hold.go

	hugeBytes int64 // of mem in huge pages when we joined, see hugepages.go
	memReady  bool  // what the options want of mem is done, see locked.go

	onPark func() // for tests: called before a call's flag goes up
}

// openHandle makes or attaches to a channel of the type described by l, which is nil for that of the channel (raw.go).
func openHandle(name string, l *layout, roles uint64, opts []Option) (*handle, error) {
	o := newOptions(opts)
	if o.fit(l); l == nil {
		l = o.layout
	}
	path, err := pathOf(name, &o)
	if err != nil {
		return nil, err
	}
	for {
		h := &handle{name: name, path: path, opts: o, errs: newHandleErrors(name), bells: map[int]ringer{}}
		if o.pair {
			h.errs.ofPair(name)
		}
		h.spins = o.wait == Spin || o.wait == Adaptive && canSpin()
		again, err := h.openGuarded(l, roles)
		if err == nil && !again {
			return h, nil
		}
		h.abandon()
		if err != nil {
			return nil, err
		}
	}
}

// open tries once. Again: somebody made or removed the channel meanwhile.
func (h *handle) open(l *layout, roles uint64) (again bool, err error) {
	o := &h.opts
	h.file, h.info, err = openExisting(h.name, h.path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) && !o.attach {
		if h.info, err = newHeader(h.name, o, l); err != nil {
			return false, err
		}
		sweepInTurn(o.dir)
		if h.file, h.mem, err = create(h.name, h.path, o, h.info); errors.Is(err, fs.ErrExist) {
			return true, nil // The loser of a race attaches to the winner, or says so.
		} else if err != nil {
			return false, err
		}
		h.memReady = true
		return h.joinAndLook(roles)
	}
	if err != nil {
		return false, err
	}
	sweepOnce(o.dir)
	if h.mem, err = mapShared(h.file, h.info.length); err != nil {
		return false, h.fail(fmt.Sprintf("map %d bytes", h.info.length), err)
	}
	h.adopt()
	if h.ctl.closed.Load() != 0 {
		// A closed channel that nobody holds is as good as gone.
		if !lockName(h.file) {
			return false, removing(h.name, h.file)
		}
		h.nameLocked = true
		defer func() { h.nameLocked = false; unlockName(h.file) }()
		if !sameFile(h.file, h.path) {
			return true, nil
		}
		h.idx = -1
		if h.alone() {
			h.removeDeadBells()
			if err := os.Remove(h.path); err != nil {
				return false, h.fail("remove what is left of it, closed", err)
			}
			return true, nil
		}
	}
	if o.create {
		return false, h.fail("make it", &fs.PathError{Op: "create", Path: h.path, Err: fs.ErrExist})
	}
	if o.raw {
		if l, err = h.layoutFor(l); err != nil {
			return false, err
		}
	}
	if err := h.info.compare(h.name, o, l); err != nil {
		return false, err
	}
	return h.joinAndLook(roles)
}

// joinAndLook joins. Again: the channel was closed and left by all meanwhile.
func (h *handle) joinAndLook(roles uint64) (again bool, err error) {
	if err := h.join(roles); err != nil {
		return false, err
	}
	if h.ctl.closed.Load() == 0 {
		return false, nil // Whoever leaves after this sees us.
	}
	if !h.nameLocked { // The last to leave may be between its look and the removal.
		if !lockName(h.file) {
			return false, removing(h.name, h.file)
		}
		defer unlockName(h.file)
	}
	return !sameFile(h.file, h.path), nil
}

// adopt points the ring into the mapping.
func (h *handle) adopt() {
	i := h.info
	at := func(off uint64) unsafe.Pointer { return unsafe.Pointer(&h.mem[off]) }
	h.ring = ring{
		slots: at(i.slotsAt), mask: i.slots - 1, n: i.slots, capacity: max(1, i.capacity), stride: uintptr(i.stride),
		full: lengthTag(i.size), rendezvous: i.capacity == 0,
		oneSender: i.capacity > 0 && i.flags&flagSingleSender != 0,
		oneRecver: i.capacity > 0 && i.flags&flagSingleReceiver != 0 && !h.opts.hold,
		fences:    i.flags&flagFences != 0,
		ctl:       (*control)(at(i.ctl)),
		rv:        (*[maxPeers]atomic.Uint32)(unsafe.Add(at(i.ctl), unsafe.Sizeof(control{}))),
	}
	h.peers, h.counts = at(i.peers), at(i.counts)
	if h.arena = newArena(&h.ring, i, at); i.flags&flagBytes != 0 {
		h.inline = int(inlineOf(i.maxMessage))
	}
	h.checked = i.flags&flagChecksum != 0
	if h.locks == nil {
		h.locks = testLocks(h)
	}
}

// testLocks is replaced by tests that run another system's locks here.
var testLocks = func(h *handle) locker { return newLocks(h.file, h.info, h.opts.dir) }

// join takes the single roles and an entry, and makes the doorbell.
func (h *handle) join(roles uint64) error {
	h.adopt()
	if err := h.settle(); err != nil {
		return err
	}
	h.send = side{h: h, d: sending, role: peerSends, lock: lockSender}
	h.recv = side{h: h, d: receiving, role: peerReceives, lock: lockReceiver}
	for _, r := range []struct {
		s    *side
		flag uint64
		what string
	}{{&h.send, flagSingleSender, "sending"}, {&h.recv, flagSingleReceiver, "receiving"}} {
		r.s.lane.Store(noLane)
		r.s.bar.Store(barShared)
		if h.opts.faultGuard {
			r.s.bar.Or(barGuard)
		}
		if h.checked {
			r.s.bar.Or(barChecked)
		}
		if r.s.d == sending && h.n != h.capacity {
			r.s.bar.Or(barShape)
		}
		if roles&r.s.role == 0 {
			r.s.detached.Store(true)
			r.s.refs.Store(-detachedBias)
			r.s.finished.Store(true)
			r.s.bar.Or(barDetached)
			continue
		}
		h.sides.Add(1)
		if h.info.flags&(r.flag|flagPair) == 0 {
			continue
		}
		if r.s.alone = !raceEnabled && h.info.capacity > 0 && h.info.flags&r.flag != 0 && (r.s.d == sending || !h.opts.hold); r.s.alone {
			r.s.lane.Store(&lane{})
		}
		if ok, err := h.locks.tryLock(r.s.lock); err != nil {
			return h.fail("lock its single role", err)
		} else if !ok {
			if h.info.flags&flagPair != 0 {
				return &chanError{h.name, ErrBusy, fmt.Sprintf("%s holds this side of the pair; wait until it detaches or dies, or open the other side", h.holder(r.s.role))}
			}
			until := "wait until that handle detaches or dies"
			if isUnnamed(h.name) {
				until += " (the handle from New has both roles: Detach the half that another is to have)"
			}
			return &chanError{h.name, ErrBusy, fmt.Sprintf("%s holds its single role for %s; %s, or make the channel without a single role",
				h.holder(r.s.role), r.what, until)}
		}
	}
	if h.seats != nil && h.seats.given {
		h.sitDown(roles)
	} else if err := h.attach(roles); err != nil {
		return err
	}
	h.noteHugePages()
	if h.arena != nil && h.oneSender && roles&peerSends != 0 { // The role is ours, and whoever had it may have died.
		h.arena.dropAll(func(w uint64) bool { return wordState(w) == stFree })
	}
	h.startStraight(h.info.flags&flagBytes != 0)
	h.race = newRaceState(h.info.id, h.n)
	if err := h.startBell(); err != nil {
		return h.fail("make a doorbell in "+h.opts.dir, err)
	}
	if h.opts.pair {
		h.meet()
	}
	h.openLanes()
	return nil
}

// openLanes lets calls go straight to their slots, if the fences of those who sleep reach us, where that is needed.
func (h *handle) openLanes() {
	if raceEnabled || h.rendezvous || weakStores && (!h.fences || !fencesReach()) {
		return
	}
	h.plainFree = h.oneRecver
	for _, s := range []*side{&h.send, &h.recv} {
		if s.alone || goroutine() != 0 {
			s.bar.And(^barShared)
		}
	}
}

// holder names the process that has a role, as far as the entries tell.
func (h *handle) holder(role uint64) string {
	for i := range maxPeers {
		if e := h.entry(i); isUsed(e.state.Load()) && e.state.Load()&role != 0 {
			if pid := e.pid.Load(); pid == uint64(os.Getpid()) {
				return "another handle of this process"
			} else {
				return fmt.Sprintf("pid %d", pid)
			}
		}
	}
	return "another process"
}

// abandon undoes a failed open.
func (h *handle) abandon() {
	if h.joined {
		h.release()
		return
	}
	if h.locks != nil {
		_ = h.locks.close()
	}
	_ = unmap(h.mem)
	if h.file != nil {
		_ = h.file.Close()
	}
}

// release leaves the channel. Nobody is in a call on the handle any more.
func (h *handle) release() {
	h.life.Lock()
	h.released = true
	h.life.Unlock()
	h.unwatch()
	h.unwatchPeers()
	if h.bell != nil {
		_ = h.bell.Close()
		<-h.listening
	}
	// Under the name's lock, so that of the last two to leave one sees that it is
	// the last. Should somebody be stopped while holding it, the next Open cleans up.
	named := h.path != "" && lockName(h.file)
	h.surely(func() { h.leave(named) })
	h.bellMu.Lock()
	for i := range h.bells {
		h.dropRinger(i)
	}
	h.bellMu.Unlock()
	if h.race != nil {
		h.race.drop(h.info.id)
	}
	if named {
		unlockName(h.file)
	}
	h.faults.mu.Lock()
	h.faults.gone = true
	h.faults.mu.Unlock()
	// The locks of the open file description go with its last reference, which is the mapping's or ours.
	_ = unmap(h.mem)
	_ = h.file.Close()
	if h.seats != nil {
		h.seats.close()
	}
}

// leave takes our entry and our doorbell away, and the channel if it is closed and we are the last.
func (h *handle) leave(named bool) {
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	h.clearWaiting(sending, h.idx)
	h.clearWaiting(receiving, h.idx)
	h.rv[h.idx].Store(0)
	h.entry(h.idx).state.Store(tagGen(h.me) << peerGenShift)
	h.removeBell(h.idx, tagGen(h.me))
	h.wakeAll()
	h.tellCounts()
	if named && h.ctl.closed.Load() != 0 && h.alone() {
		if sameFile(h.file, h.path) {
			_ = os.Remove(h.path)
		}
		h.removeDeadBells()
	}
	_ = h.locks.unlock(h.idx)
	_ = h.locks.close()
}

// removeDeadBells removes what the dead left of a channel that nobody holds.
func (h *handle) removeDeadBells() {
	for i := range maxPeers {
		if s := h.entry(i).state.Load(); isUsed(s) && i != h.idx {
			h.removeBell(i, peerGen(s))
		}
	}
}

func (h *handle) fail(what string, err error) error { return advise(h.name, what, err) }

// Sending and receiving, from claim to publish. A nil ctx waits for ever.

// sendBegin claims a position to send at, waiting for one.
func (h *handle) sendBegin(ctx context.Context) (uint64, error) {
	if raceEnabled && h.oneSender {
		touch(&h.send.single)
	}
	if h.oneSender && h.send.inFunc() {
		return 0, h.errs.nested
	}
	if ctx != nil {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	if h.ctl.closed.Load() != 0 {
		return 0, h.errs.sendClosed
	}
	pos, v := h.claimSend()
	if v != claimed {
		return h.sendWait(ctx, pos, v)
	}
	if raceEnabled {
		h.race.own(pos, h.mask)
	}
	return pos, nil
}

func (h *handle) sendWait(ctx context.Context, pos uint64, v verdict) (uint64, error) {
	s := &h.send
	var woken bool
	var err error
	if v == blocked && !h.rendezvous {
		h.noteDepth(h.capacity)
	}
	for {
		switch v {
		case claimed:
			if raceEnabled {
				h.race.own(pos, h.mask)
			}
			h.passOn(s, woken)
			return pos, nil
		case sealed:
			h.passOn(s, woken)
			return 0, h.errs.sendClosed
		case corrupt:
			h.passOn(s, woken)
			return 0, h.corruptAt(pos)
		}
		if err == nil {
			err = s.mayWait(ctx, h.errs.sendClosed)
		}
		if err != nil {
			h.passOn(s, woken)
			return 0, err
		}
		if h.opts.disconnect && !h.anyLive(peerReceives) {
			if pos, v = h.claimSend(); v == blocked {
				err = h.errs.sendDisconnected
			}
			continue
		}
		var w bool
		w, err = s.await(ctx, waitTurn, 0)
		woken = woken || w
		if err == nil {
			pos, v = h.claimSend()
		}
	}
}

// mayWait says why a blocked call must not wait: it is cancelled, the handle is
// detached, or (for senders) the channel is closed.
func (s *side) mayWait(ctx context.Context, closed error) error {
	if s.h.opts.faultGuard {
		s.h.checkSize(checkEvery)
	}
	if s.detached.Load() || s.h.faults.broken.Load() {
		return s.whyGone()
	}
	if closed != nil && s.h.ctl.closed.Load() != 0 {
		return closed
	}
	if ctx != nil {
		return ctx.Err()
	}
	return nil
}

// trySendBegin claims a position if that needs no waiting.
func (h *handle) trySendBegin() (uint64, error) {
	if raceEnabled && h.oneSender {
		touch(&h.send.single)
	}
	if h.oneSender && h.send.inFunc() {
		return 0, h.errs.nested
	}
	if h.ctl.closed.Load() != 0 {
		return 0, h.errs.sendClosed
	}
	pos, v := h.claimSend()
	if v == blocked && h.checkDue() {
		h.checkHolders(sending)
		pos, v = h.claimSend()
	}
	switch v {
	case blocked:
		if !h.rendezvous {
			h.noteDepth(h.capacity)
		}
		return 0, h.errs.full
	case sealed:
		return 0, h.errs.sendClosed
	case corrupt:
		return 0, h.corruptAt(pos)
	}
	if raceEnabled {
		h.race.own(pos, h.mask)
	}
	return pos, nil
}

// sendEnd publishes the value at pos, and for a rendezvous waits until it is taken.
func (h *handle) sendEnd(ctx context.Context, pos uint64) error {
	if h.rendezvous {
		return h.post(ctx, pos)
	}
	if err := h.sendQuietly(pos); err != nil {
		return err
	}
	if h.anyWaiting(receiving) {
		h.wakeOne(receiving)
	}
	return nil
}

// sendQuietly publishes without waking anybody.
func (h *handle) sendQuietly(pos uint64) error {
	if h.checked {
		h.putSum(pos)
	}
	if raceEnabled {
		h.race.hand(pos, h.mask)
	}
	switch h.publish(pos) {
	case claimed:
		return nil
	case sealed:
		return h.errs.sendClosed
	}
	return h.corruptAt(pos)
}

// sendAbort gives a claimed position up.
func (h *handle) sendAbort(pos uint64) {
	if raceEnabled {
		h.race.hand(pos, h.mask)
	}
	h.giveUp(pos)
	if h.anyWaiting(sending) {
		h.wakeOne(sending)
	}
	if h.ctl.closed.Load() != 0 {
		h.wakeAll()
	}
}

// recvBegin claims a value, waiting for one.
func (h *handle) recvBegin(ctx context.Context) (uint64, error) {
	if raceEnabled && h.oneRecver {
		touch(&h.recv.single)
	}
	if h.oneRecver && h.recv.inFunc() {
		return 0, h.errs.nested
	}
	if ctx != nil {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	pos, passed, v := h.claimRecv()
	if v != claimed {
		return h.recvWait(ctx, pos, v)
	}
	if passed != 0 {
		h.checkPassed(passed)
	}
	if raceEnabled {
		h.race.own(pos, h.mask)
	}
	return pos, nil
}

func (h *handle) recvWait(ctx context.Context, pos uint64, v verdict) (uint64, error) {
	s := &h.recv
	var woken bool
	var err error
	waits := false // a TrySend may count on us
	if h.rendezvous && v == blocked {
		h.rvEnter(rvRecv)
		defer func() { // Before the slot is freed.
			if waits {
				h.rvLeave()
			}
		}()
		waits = true
		pos, _, v = h.claimRecv()
	}
	for {
		switch v {
		case claimed:
			if raceEnabled {
				h.race.own(pos, h.mask)
			}
			h.passOn(s, woken)
			return pos, nil
		case sealed:
			return 0, h.sawSealed()
		case corrupt:
			h.passOn(s, woken)
			return 0, h.corruptAt(pos)
		}
		if err == nil {
			err = s.mayWait(ctx, nil)
		}
		if err != nil {
			if waits { // First say that we go, then look once more.
				waits = false
				h.rvLeave()
				if pos, _, v = h.claimRecv(); v != blocked {
					continue
				}
			}
			h.passOn(s, woken)
			return 0, err
		}
		if h.opts.disconnect && !h.anyLive(peerSends) {
			if pos, _, v = h.claimRecv(); v == blocked && !h.somethingLeft() {
				err = h.errs.recvDisconnected
			}
			if v != blocked || err != nil {
				continue
			}
		}
		var w bool
		w, err = s.await(ctx, waitTurn, 0)
		woken = woken || w
		if err == nil {
			pos, _, v = h.claimRecv()
		}
	}
}

// somethingLeft says whether there is a value, or a slot in somebody's hands that may
// yet become one.
func (h *handle) somethingLeft() (found bool) {
	h.walk(h.headHint(), func(_, w uint64) bool { // Also others than the role's own goroutine ask.
		found = wordState(w) != stHole
		return !found
	})
	return found
}

// tryRecvBegin claims a value if there is one.
func (h *handle) tryRecvBegin() (uint64, error) {
	if raceEnabled && h.oneRecver {
		touch(&h.recv.single)
	}
	if h.oneRecver && h.recv.inFunc() {
		return 0, h.errs.nested
	}
	checked := false
	for round := 0; ; round++ {
		pos, passed, v := h.claimRecv()
		switch v {
		case blocked:
			if passed != 0 && !checked {
				checked = true
				if h.checkDue() {
					h.checkHolders(receiving)
					continue
				}
			}
			if passed != 0 && round < 1<<16 && !h.nothingToTake() {
				continue
			}
			return 0, h.errs.empty
		case sealed:
			return 0, h.sawSealed()
		case corrupt:
			return 0, h.corruptAt(pos)
		}
		if passed != 0 {
			h.checkPassed(passed)
		}
		if raceEnabled {
			h.race.own(pos, h.mask)
		}
		return pos, nil
	}
}

// recvEnd frees the slot of a value that was taken.
func (h *handle) recvEnd(pos uint64) error {
	var poster int
	if h.rendezvous {
		poster = int(h.ctl.poster.Load() % maxPeers)
	}
	if err := h.recvQuietly(pos); err != nil {
		return err
	}
	if h.rendezvous {
		h.wakePeer(poster, sending)
	}
	h.wakeAfterFree()
	return nil
}

// recvQuietly frees without waking anybody.
func (h *handle) recvQuietly(pos uint64) error {
	if raceEnabled {
		h.race.hand(pos, h.mask)
	}
	if !h.free(pos) {
		return h.corruptAt(pos)
	}
	return nil
}

func (h *handle) wakeAfterFree() {
	if h.anyWaiting(sending) {
		h.wakeOne(sending)
	}
	if h.ctl.closed.Load() != 0 && h.anyWaiting(receiving) {
		h.wakeOne(receiving) // It may be waiting for us, to seal.
	}
}

// recvAbort gives a value back.
func (h *handle) recvAbort(pos uint64) {
	if raceEnabled {
		h.race.hand(pos, h.mask)
	}
	h.giveBack(pos)
	if h.anyWaiting(receiving) {
		h.wakeOne(receiving)
	}
	if h.rendezvous { // A sender that was cancelled meanwhile takes it back.
		h.wakePeer(int(h.ctl.poster.Load()%maxPeers), sending)
	}
}

// sawSealed: the channel is closed and drained, for everybody.
func (h *handle) sawSealed() error {
	if raceEnabled {
		h.race.sawClosed()
	}
	h.wakeAll()
	return h.errs.recvClosed
}

func (h *handle) corruptAt(pos uint64) error {
	w := h.slot(pos).Load()
	return corruptError(h.name, "slot %d of %d, looked at for position %d, has the word %#x (position %d, state %d)",
		pos&h.mask, h.n, pos, w, wordPos(w), wordState(w))
}

// use runs f in a call on whichever side is still held.
func (h *handle) use(f func()) error {
	for _, s := range []*side{&h.send, &h.recv} {
		if s.enter() {
			defer s.leave()
			return h.guard(s, func() error { f(); return nil })
		}
	}
	return h.errs.detached
}

func (h *handle) closeChannel(s *side) error {
	if !s.enter() {
		return h.errs.detached
	}
	defer s.leave()
	return h.guard(s, h.closeNow)
}

func (h *handle) closeNow() error {
	if raceEnabled {
		h.race.close()
	}
	if !h.ctl.closed.CompareAndSwap(0, 1) {
		return h.errs.closeClosed
	}
	h.send.noteClosed()
	h.wakeAll()
	return nil
}

// Stats is a look at a channel. The counts are of the whole channel since it was
// made, but for those that say otherwise; they are not one snapshot while others work on it. None goes back, but for what says how it is now,
// Saved, by a wake that was no value's own, and Sent and Received, by the sends that are being given up at that moment.
//
// It costs some hundred nanoseconds, and a step for each value in the channel, as Len does.
type Stats struct {
	Name string
	Cap  int
	Len  int // values in the channel, also those being received
	// HighWater is the most values that anybody has seen in the channel: a sender that had to wait, who found it full and so all of Cap;
	// a receiver that was parked, when it goes on; Len and Stats of any handle. No call that goes straight through looks, so more may
	// have been there for a moment. It may count some that receivers were about to take, or that a SendFunc gave up.
	HighWater int
	Closed    bool // Close was called
	// Sent and Received are told from positions, not counted by each call. A send that is being given up, by a SendFunc that fails or a
	// context that ends, may be among Sent, and as many among Received, for the moment until its place is counted as none: so either may go back
	// by as many as are just being given up.
	Sent        uint64
	Received    uint64
	Redelivered uint64 // values that a RecvFunc gave back or a dead receiver left
	Abandoned   uint64 // sends that were given up: by SendFunc, a cancelled rendezvous, a death
	Recovered   uint64 // handles that died and were cleared away
	Senders     int    // handles attached for sending, not checked to be alive
	Receivers   int    // handles attached for receiving, not checked to be alive
	Waiting     int    // handles that wait now, in either direction
	Send, Recv  Waits  // how calls waited to send, and to receive
	OwnSend     Waits  // the same, of this handle since it was opened; nothing in what Inspect says
	OwnRecv     Waits
	Parked      uint64 // times that a call on this handle parked: OwnSend.Parks + OwnRecv.Parks
	HugeBytes   int64  // with WithHugePages: bytes of this handle's mapping that were in huge pages at Open; 0 also if the system does not tell
}

func (h *handle) statsNow() Stats {
	st := Stats{Name: h.name, Cap: int(h.info.capacity)}
	none := st
	if h.use(func() {
		h.tellCounts()
		h.noteBase()
		st = h.stats()
		h.noteDepth(uint64(st.Len))
		st.HighWater = max(st.HighWater, st.Len)
		st.OwnSend, st.OwnRecv = h.send.ownWaits(), h.recv.ownWaits()
		st.Parked = st.OwnSend.Parks + st.OwnRecv.Parks
	}) != nil {
		return none
	}
	return st
}

func (h *handle) length() (n int) {
	if !h.rendezvous {
		if h.use(func() { n, _, _ = h.census(); h.noteDepth(uint64(n)) }) != nil {
			return 0
		}
	}
	return n
}

// wakeFor wakes as many as n values or spaces are for, if so many wait.
func (h *handle) wakeFor(d direction, n int) {
	for ; n > 0 && h.anyWaiting(d); n-- {
		h.wakeOne(d)
	}
}

// wakeAfterRun is wakeAfterFree for so many slots.
func (h *handle) wakeAfterRun(freed int) {
	if freed > 0 && h.rxDone() {
		h.wakeFor(sending, freed)
		h.wakeAfterFree()
	}
}

// closeRun shuts the window after a run of n values, for which the caller wakes.
func (h *handle) closeRun(n int) {
	if n == 0 {
		h.txDrop()
	} else {
		h.shutWindow()
	}
}

// txDrop is for a txTake that was in vain: somebody may wait for the window.
func (h *handle) txDrop() {
	if h.oneSender && h.txDone() {
		h.wakeOne(receiving)
	}
}

// recvMore claims another value for a batch, without waiting.
func (h *handle) recvMore() (uint64, verdict) {
	pos, _, v := h.claimRecv()
	if raceEnabled && v == claimed {
		h.race.own(pos, h.mask)
	}
	return pos, v
}

// wastedLooks bounds how often stats looks again.
const wastedLooks = 8

// stats is called in a call.
func (h *handle) stats() Stats {
	var n, without int
	var tail uint64
	wasted := h.ctl.wasted.Load()
	for range wastedLooks { // A hole that was freed meanwhile would count twice.
		was := wasted
		n, without, tail = h.census()
		if wasted = h.ctl.wasted.Load(); wasted == was {
			break
		}
	}
	if h.rendezvous { // What stands there may yet be taken back.
		n, without = 0, n+without
	}
	st := Stats{
		Name: h.name, Cap: int(h.info.capacity), Len: n, Closed: h.ctl.closed.Load() != 0,
		Redelivered: h.ctl.givenBack.Load(), Abandoned: h.ctl.givenUp.Load(), Recovered: h.ctl.recovered.Load(),
		HugeBytes: h.hugeBytes,
	}
	// Others go on between the looks, so a count may be off by theirs, but not below 0.
	st.Sent = h.since(h.info.start, tail)
	st.Sent -= min(st.Sent, wasted+uint64(without))
	st.Received = st.Sent - min(st.Sent, uint64(n))
	st.HighWater = int(max(min(h.ctl.high.Load(), h.info.capacity), uint64(n)))
	st.Send, st.Recv = h.waits(sending, st.Received), h.waits(receiving, st.Sent)
	for i := range maxPeers {
		s := h.entry(i).state.Load()
		if isUsed(s) && s&peerSends != 0 {
			st.Senders++
		}
		if isUsed(s) && s&peerReceives != 0 {
			st.Receivers++
		}
		if bit := uint64(1) << (i % 64); (h.ctl.senders[i/64].Load()|h.ctl.receivers[i/64].Load())&bit != 0 {
			st.Waiting++
		}
	}
	return st
}

// forever is the context of the calls without one: it never ends.
var forever context.Context
