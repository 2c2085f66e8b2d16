package shmchan

// Waiting and waking.
//
// Invariants:
//   - The sleeper puts itself in its queue and its flag up, then looks again, then
//     parks. The waker publishes, then looks for flags. One of the two sees the other.
//   - The waker clears a flag, then rings. Under handle.mu a queue is never empty
//     with its flag up; when a waker has taken the flag down, its ring is on the
//     way, and whoever dispatches it puts the flag up again if somebody stays queued,
//     before anybody whom it woke looks.
//   - A wake that reaches somebody who does not need it, or who leaves more behind,
//     is passed on.
//   - The backstop looks again for everybody who is parked, in case the one who was
//     woken, or the waker between clearing and ringing, died or was stopped.
//
// A parked goroutine holds no thread: it waits on a Go channel, and one goroutine a
// handle waits for the doorbell, in Go's poller.

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What a goroutine waits for.
type waitKind int

const (
	waitTurn     waitKind = iota // a value, or space
	waitTaken                    // that a rendezvous offer is taken
	waitOutcome                  // the same, or that it may be taken back, which the poster wants
	waitReceiver                 // that somebody waits to receive from a rendezvous; no flag is up for it, see rendezvous.go
	waitRoom                     // for room in the arena, see arena.go; pos says for which message
)

// What is rung.
const (
	ringReceiver = 'r'
	ringSender   = 's'
	ringAll      = 'a'
	ringJoined   = 'j'
	ringRecvPoll = 'p' // the descriptors: no wake for a goroutine
	ringSendPoll = 'q'
)

type waiter struct {
	ch         chan struct{} // buffered, 1
	next, prev *waiter
	list       *waitList
	kind       waitKind
	pos        uint64 // of the offer
	shared     bool   // ch is that of several waiters, of a Select: one wake in it stands for all of theirs
}

// waitList is a queue of waiters, first in first out.
type waitList struct{ first, last *waiter }

func (l *waitList) push(w *waiter) {
	w.list, w.prev, w.next = l, l.last, nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
}

func (l *waitList) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.list, w.next, w.prev = nil, nil, nil
}

// pop takes the first out, nil if there is none.
func (l *waitList) pop() *waiter {
	w := l.first
	if w != nil {
		l.remove(w)
	}
	return w
}

var waiters = sync.Pool{New: func() any { return &waiter{ch: make(chan struct{}, 1)} }}

// Spinning: a look and a pause, some tens of nanoseconds a round. On one CPU the
// one we wait for could not run meanwhile. To park and be woken takes some 100 µs of CPU time on a virtual machine, so to
// spin for somewhat longer than that costs at most a few times what the best choice would.
const (
	spinTime   = 200 * time.Microsecond // at most, before a call parks
	minSpins   = 16
	spinRounds = 800 // with Spin, before a look whether it must not wait any longer
	probeEvery = 8   // after so many failures the whole budget is tried once
	// Between rounds others run. Where there are thousands of them, or no CPU is free, spinTime takes longer than this, and a call parks instead.
	crowdTime = 20 * time.Millisecond
)

// maxSpins is how many rounds take spinTime on this processor, whose pause may take 5 ns or 60.
var maxSpins = sync.OnceValue(func() int32 {
	const n = 64
	least := time.Hour // of some: this thread may lose its CPU in one, and the answer is for good.
	for range 4 {
		began := time.Now()
		for range n {
			pause()
		}
		least = min(least, time.Since(began))
	}
	round := least/n + 5*time.Nanosecond
	return int32(max(minSpins, min(spinTime/max(round, 1), 1<<16)))
})

// canSpin asks for the machine's CPUs, not for those of this process, which may be bound to another than its peer.
var canSpin = sync.OnceValue(func() bool { return onlineCPUs() > 1 })

// await waits until a call of this side may go on, or must not wait any longer.
// Woken: a wake was spent on it, which the caller passes on. It may return early.
func (s *side) await(ctx context.Context, k waitKind, pos uint64) (woken bool, err error) {
	h := s.h
	if s.alone && k == waitTurn && s.bar.Load() == 0 && h.spins && h.soon(h.place(s.d)) != nil {
		return false, nil
	}
	if h.opts.wait == Spin {
		for i := range int32(spinRounds) {
			if h.ready(s.d, k, pos) {
				s.spun(i, true)
				return false, nil
			}
			pause()
		}
		s.spunOn(spinRounds)
		h.checkHolders(s.d)
		runtime.Gosched()
		return false, nil
	}
	if h.spins && s.spin(k, pos) {
		return false, nil
	}
	h.checkHolders(s.d)
	w := waiters.Get().(*waiter)
	w.kind, w.pos = k, pos
	if h.onPark != nil {
		h.onPark()
	}
	if !s.enqueue(w) {
		waiters.Put(w)
		return false, s.whyGone()
	}
	h.fenceAll()
	if h.ready(s.d, k, pos) || s.deserted(k) {
		woken = s.dequeue(w)
		waiters.Put(w)
		return woken, nil
	}
	s.sleeps()
	woken, err = s.sleep(ctx, w)
	waiters.Put(w)
	return woken, err
}

// sleep is for a call that is queued, has nothing to do, and is counted as parked. A timer may end it shortly before what it waits for is due.
func (s *side) sleep(ctx context.Context, w *waiter) (woken bool, err error) {
	var o nap
	var rings <-chan struct{}
	paced := w.kind == waitTurn && s.h.opts.wait == Adaptive && s.h.spins
	if paced {
		o.began = sinceStart()
		rings = s.rhythm.begin(o.began)
		o.timed = rings != nil
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	select {
	case <-w.ch:
		woken, o.came = true, true
	case <-done:
		woken, err = s.dequeue(w), ctx.Err()
	case <-rings:
		o.rang = true
		woken = s.dequeue(w)
		o.came = woken
	}
	if paced {
		o.ended = sinceStart()
	}
	s.goesOn()
	if o.rang && !woken {
		s.awaitDue(&o, w.kind, w.pos)
	} else if s.d == receiving && err == nil {
		s.h.noteBurst()
	}
	if paced {
		s.rhythm.end(o)
	}
	return woken, err
}

// awaitDue spins for what is due now. It runs without Gosched, which wakes a thread of the Go runtime each time, and what that runs on is late. The system may
// let others run, but not when what it waits for is about to come: who wants the CPU then, as the runtime's own threads do once one of them has been woken, has
// had it before. Nor does it look at the clock, or at what lies behind, once the first is there, for what comes is written to those
// lines then; so when it came is known to some looks.
func (s *side) awaitDue(o *nap, k waitKind, pos uint64) {
	s.warm()
	rang := o.ended
	due, most := s.rhythm.spin(rang)
	i := int32(0)
	for o.spun <= most {
		if o.came = s.h.ready(s.d, k, pos); o.came {
			break
		}
		if i++; i%64 == 0 {
			o.ended = sinceStart()
			o.spun = o.ended - rang
			if o.spun < due-slack/2 || o.spun > due+slack {
				yieldCPU()
			}
		}
		pause()
	}
	s.spun(i, o.came)
}

// spin waits actively for as long as that has paid lately.
func (s *side) spin(k waitKind, pos uint64) bool {
	return s.spinUntil(func() bool { return s.h.ready(s.d, k, pos) })
}

func (s *side) spinUntil(ready func() bool) bool {
	most := maxSpins()
	budget := max(s.spins.Load(), minSpins)
	if s.tries.Add(1)%probeEvery == 0 {
		budget = most
	}
	var began time.Duration
	for i := range budget {
		if ready() {
			s.spins.Store(min(most, max(budget, 2*i)))
			s.spun(i, true)
			return true
		}
		if i%64 == 63 {
			if now := sinceStart(); i == 63 {
				began = now
			} else if now-began > crowdTime { // That says nothing of whether spinning pays.
				s.spun(i, false)
				return false
			}
			runtime.Gosched()
			yieldCPU() // Whom we wait for may be about to run on this one.
		}
		pause()
	}
	s.spins.Store(budget / 2)
	s.spun(budget, false)
	return false
}

// ready looks whether a goroutine of the role itself would find something.
func (h *handle) ready(d direction, k waitKind, pos uint64) bool {
	switch {
	case k == waitRoom:
		return h.arena.ready(pos) || h.ctl.closed.Load() != 0
	case k != waitTurn:
		return h.settled(k, pos)
	case d == sending:
		return h.canSend(h.sendFrom())
	}
	return h.canRecv(h.recvFrom())
}

// readyFor is the same for others than the role's own goroutine.
func (h *handle) readyFor(d direction) bool {
	if d == sending {
		return h.canSend(h.tailHint())
	}
	return h.canRecv(h.headHint())
}

// settled says whether the poster of an offer has something to do: it is not FULL
// nor being read any more, or it stands and is to be taken back, also because the
// channel is closed.
func (h *handle) settled(k waitKind, pos uint64) bool {
	w := h.slot(pos).Load()
	switch {
	case wordPos(w) != pos:
		return true
	case wordState(w) == stReading:
		return false
	}
	return wordState(w) != stFull || k == waitOutcome || h.ctl.closed.Load() != 0
}

// enqueue puts w in its queue and the flag up. False: the side is detached, or the handle broken.
func (s *side) enqueue(w *waiter) bool {
	h := s.h
	if !s.queueUp(w) {
		return false
	}
	h.watchPeers()
	if !h.watched.Load() {
		h.watch()
	}
	return true
}

func (s *side) queueUp(w *waiter) bool {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.detached.Load() && w.kind != waitOutcome || h.faults.broken.Load() {
		return false
	}
	switch w.kind {
	case waitReceiver, waitRoom:
		s.watchers.push(w)
		return true
	case waitTurn:
		s.queue.push(w)
	default:
		s.posters.push(w)
	}
	s.tellPolls()
	h.setWaiting(s.d, h.idx)
	return true
}

func (s *side) noneQueued() bool { return s.queue.first == nil && s.posters.first == nil }

// dequeue takes w out. Woken: somebody had woken it, or has taken the flag down
// and will ring: the caller has swallowed a wake.
func (s *side) dequeue(w *waiter) (woken bool) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.list == nil {
		if !w.shared {
			<-w.ch
		}
		return w.kind < waitReceiver
	}
	w.list.remove(w)
	if w.kind >= waitReceiver {
		return false
	}
	if s.armed() { // A wake that is on its way finds the descriptor, and is passed on.
		s.tellPolls()
		return false
	}
	return s.noneQueued() && !h.clearWaiting(s.d, h.idx)
}

// wakeLocal dispatches a wake to goroutines of this handle: one that waits for its
// turn and the posters, who look whether it was for them; or all. It makes the descriptor readable too.
// False: no goroutine waits.
func (h *handle) wakeLocal(s *side, all bool) (woke bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := s.watchers.pop(); w != nil; w = s.watchers.pop() {
		w.wake()
	}
	if s.noneQueued() && !s.armed() {
		return false
	}
	p := s.disarm()
	var chosen *waiter // linked by next
	defer func() {     // Also if the memory is gone.
		for w := chosen; w != nil; w = chosen {
			w.next, chosen = nil, w.next
			w.wake()
		}
	}()
	for w := s.posters.pop(); w != nil; w = s.posters.pop() {
		w.next, chosen = chosen, w
	}
	for w := s.queue.pop(); w != nil; w = s.queue.pop() {
		w.next, chosen = chosen, w
		if !all {
			break
		}
	}
	// The flag before the wake, so that it is right when they look.
	s.fixFlag()
	if p != nil {
		p.raise()
	}
	return chosen != nil
}

// fixFlag sets the flag as the queue now is. The caller holds h.mu.
func (s *side) fixFlag() {
	h := s.h
	s.tellPolls()
	if s.noneQueued() && !s.armed() {
		h.clearWaiting(s.d, h.idx)
	} else {
		h.setWaiting(s.d, h.idx)
		h.fenceAll()
	}
}

// wake wakes a waiter that was taken out of its queue. There is room, or a wake in it already.
func (w *waiter) wake() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// passOn wakes the next one after a wake was spent on a goroutine that leaves
// something behind.
func (h *handle) passOn(s *side, woken bool) {
	if woken && h.anyWaiting(s.d) && h.readyFor(s.d) {
		h.wakeOne(s.d)
	}
}

func (h *handle) side(d direction) *side {
	if d == sending {
		return &h.send
	}
	return &h.recv
}

// wakeOne wakes one participant that waits in direction d: after a publish, a
// give-back or a recovery a receiver, after a free a sender.
func (h *handle) wakeOne(d direction) {
	start := h.wakeStart()
	for n := 0; n < maxPeers; { // Once around: who puts a flag up after that has looked.
		i, ok := h.takeWaiter(d, start)
		if !ok || h.ringPeer(i, d) {
			return
		}
		n += (i-start+maxPeers)%maxPeers + 1
		start = (i + 1) % maxPeers
	}
}

// wakePeer wakes participant i, if it waits in direction d. False: it does not.
func (h *handle) wakePeer(i int, d direction) bool {
	return h.ctl.waiting(d)[i/64].Load()&(1<<(i%64)) != 0 && h.clearWaiting(d, i) && h.ringPeer(i, d)
}

// wakeAll wakes everybody.
func (h *handle) wakeAll() {
	for _, d := range []direction{receiving, sending} {
		for range maxPeers {
			i, ok := h.takeWaiter(d, 0)
			if !ok {
				break
			}
			if i == h.idx {
				if h.wakeLocal(h.side(d), true) {
					h.woke(d)
				}
			} else if h.ring1(i, ringAll) {
				h.woke(d)
			}
		}
	}
	if h.rendezvous {
		h.rvCall(rvSender)
	}
	if h.arena != nil {
		h.rvCall(rvRoom)
	}
}

// ringPeer wakes participant i, whose flag we took down. False: it is dead, or no goroutine of it waits, though
// its descriptor may, which is readable then.
func (h *handle) ringPeer(i int, d direction) (woke bool) {
	defer func() {
		if woke {
			h.woke(d)
		}
	}()
	if i == h.idx {
		woke = h.wakeLocal(h.side(d), false)
		return woke
	}
	if h.onlyPolls(i, d) {
		if d == sending {
			h.ring1(i, ringSendPoll)
		} else {
			h.ring1(i, ringRecvPoll)
		}
		return false
	}
	if d == sending {
		return h.ring1(i, ringSender)
	}
	return h.ring1(i, ringReceiver)
}

// wakeStart spreads the wakes over the participants.
func (h *handle) wakeStart() int { return int(h.rotor.Add(1) % maxPeers) }

// ringer is the ringing end of another participant's doorbell.
type ringer struct {
	gen uint64
	fd  int
}

// ring1 writes one byte to the doorbell of participant i. False: nobody listens.
func (h *handle) ring1(i int, b byte) bool {
	if h.seats != nil {
		return h.seats.ring(i, b)
	}
	gen := peerGen(h.entry(i).state.Load())
	h.bellMu.Lock()
	defer h.bellMu.Unlock()
	for {
		r, cached := h.bells[i]
		if cached && r.gen != gen {
			h.dropRinger(i)
			cached = false
		}
		if !cached {
			fd, err := openBell(h.bellPath(i, gen))
			if err != nil {
				return false
			}
			r = ringer{gen, fd}
			h.bells[i] = r
		}
		err := eintr(func() error {
			_, err := unix.Write(r.fd, []byte{b})
			return err
		})
		if err == nil || errors.Is(err, unix.EAGAIN) { // Full: it has been rung often enough.
			return true
		}
		h.dropRinger(i)
		if !cached {
			return false
		}
	}
}

func (h *handle) dropRinger(i int) {
	_ = unix.Close(h.bells[i].fd)
	delete(h.bells, i)
}

// startBell makes our doorbell and listens to it until the handle is released.
func (h *handle) startBell() error {
	if h.seats != nil {
		h.bell, h.listening = h.seats.own, make(chan struct{})
		go h.listen(h.bell)
		return nil
	}
	mode := fs.FileMode(0o600)
	if st, err := h.file.Stat(); err == nil {
		mode = st.Mode().Perm()
	}
	bell, err := makeBell(h.opts.dir, h.bellPath(h.idx, tagGen(h.me)), mode)
	if err != nil {
		return err
	}
	shareGroup(h.file, bell)
	h.bell, h.listening = bell, make(chan struct{})
	go h.listen(bell)
	return nil
}

// whileHere runs f unless the handle has been released, which waits for it.
func (h *handle) whileHere(f func()) {
	h.life.RLock()
	defer h.life.RUnlock()
	if !h.released {
		h.watchFile(f)
	}
}

// rung dispatches a wake that came by the doorbell.
func (h *handle) rung(s *side) {
	if !h.wakeLocal(s, false) {
		h.handOn(s)
	}
}

func (h *handle) listen(bell io.Reader) {
	defer close(h.listening)
	buf := make([]byte, 256)
	for {
		n, err := bell.Read(buf)
		if err != nil {
			return // Released.
		}
		h.whileHere(func() {
			for _, b := range buf[:n] {
				switch b {
				case ringAll:
					h.wakeLocal(&h.recv, true)
					h.wakeLocal(&h.send, true)
				case ringReceiver:
					h.rung(&h.recv)
				case ringSender:
					h.rung(&h.send)
				case ringRecvPoll:
					h.raisePoll(&h.recv)
				case ringSendPoll:
					h.raisePoll(&h.send)
				case ringJoined:
					h.watchPeers()
				}
			}
		})
	}
}

// How often parked goroutines are looked after. Deaths are told at once where they
// are watched (peers.go), so this is for those that are not, in another pid namespace
// say: then often enough that a death delays nobody by 100 ms. And else for a process
// that was stopped with a wake in its hands. Each look wakes a halted CPU, which on a
// virtual machine costs some 100 µs of it whatever is done then.
const (
	backstopEvery = 200 * time.Millisecond
	backstopBlind = 90 * time.Millisecond // for handles of which some participants' deaths are not watched
)

// backstopPeriod and blindPeriod are these, but for tests that show that nobody depends on the backstop.
var backstopPeriod, blindPeriod atomic.Int64

func init() { backstopAfter(backstopEvery, backstopBlind) }

func backstopAfter(every, blind time.Duration) {
	backstopPeriod.Store(int64(every))
	blindPeriod.Store(int64(blind))
}

// watched are the handles with parked goroutines, looked after by one goroutine
// of the process, which ends when there are none. Its tick is never longer than one of them wants.
var watched = struct {
	sync.Mutex
	handles map[*handle]struct{}
	tick    ticker // of the goroutine, nil if there is none
	period  time.Duration
}{handles: map[*handle]struct{}{}}

// ticker is what the platform gives to wake up every so often at little cost.
type ticker interface {
	wait()
	reset(every time.Duration) // also while somebody waits
	stop()
}

// goTicker is a ticker from Go's timers.
type goTicker struct{ *time.Ticker }

func (t goTicker) wait()                     { <-t.C }
func (t goTicker) reset(every time.Duration) { t.Reset(every) }
func (t goTicker) stop()                     { t.Stop() }

func (h *handle) watch() {
	watched.Lock()
	defer watched.Unlock()
	h.watched.Store(true)
	watched.handles[h] = struct{}{}
	if watched.tick == nil {
		watched.period = h.period()
		watched.tick = newTicker(watched.period)
		go backstop(watched.tick)
	} else {
		h.hasten()
	}
}

// hasten has the backstop, which may be asleep, come as often as h wants. The caller holds watched.
func (h *handle) hasten() {
	if want := h.period(); want < watched.period {
		watched.period = want
		watched.tick.reset(want)
	}
}

// setBlind notes whether the deaths of some participants are not watched.
func (h *handle) setBlind(blind bool) {
	if h.blind.Swap(blind) || !blind {
		return
	}
	watched.Lock()
	defer watched.Unlock()
	if _, ok := watched.handles[h]; ok && watched.tick != nil {
		h.hasten()
	}
}

func (h *handle) unwatch() {
	watched.Lock()
	defer watched.Unlock()
	h.watched.Store(false)
	delete(watched.handles, h)
}

// period is how often h wants to be looked after.
func (h *handle) period() time.Duration {
	if h.blind.Load() {
		return time.Duration(blindPeriod.Load())
	}
	return time.Duration(backstopPeriod.Load())
}

// relax has the backstop come no more often than somebody wants.
func relax() {
	watched.Lock()
	defer watched.Unlock()
	want := time.Duration(backstopPeriod.Load())
	for h := range watched.handles {
		want = min(want, h.period())
	}
	if want != watched.period {
		watched.period = want
		watched.tick.reset(want)
	}
}

func backstop(tick ticker) {
	defer tick.stop()
	var all []*handle
	for {
		tick.wait()
		watched.Lock()
		all = slices.AppendSeq(all[:0], maps.Keys(watched.handles))
		if len(all) == 0 {
			watched.tick = nil
			watched.Unlock()
			return
		}
		watched.Unlock()
		for _, h := range all {
			parked := false
			h.whileHere(func() { parked = h.lookAfter() })
			if !parked {
				h.unwatch()
				if h.anyQueued() { // Queued between the look and the unwatch.
					h.watch()
				}
			}
		}
		relax()
		clear(all)
	}
}
func (h *handle) anyQueued() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.send.noneQueued() || !h.recv.noneQueued() || h.send.armed() || h.recv.armed() || h.send.watchers.first != nil || h.send.noted.Load()
}

// lookAfter looks again on behalf of the parked goroutines. False: there are none.
func (h *handle) lookAfter() (found bool) {
	h.tellCounts()
	h.watchPeers()
	found = !h.send.noteClosed()
	if h.anyWatching() {
		found = true
		h.checkRoom()
		if _, ok := h.rvFind(); ok || h.roomForSome() || h.ctl.closed.Load() != 0 || h.send.deserted(waitTurn) {
			h.wakeWatchers()
		}
	}
	for _, s := range []*side{&h.send, &h.recv} {
		turn, posted, settled, armed := s.lookAtQueues()
		if turn || posted || armed {
			found = true
			h.checkHolders(s.d)
			switch {
			case settled || turn && h.readyFor(s.d):
				h.wakeLocal(s, false)
			case armed && h.pollReady(s.d):
				h.raisePoll(s)
			case s.deserted(waitTurn):
				h.wakeLocal(s, true)
			}
		}
	}
	return found
}

// anyWatching says whether a Select waits for a receiver to come.
func (h *handle) anyWatching() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.send.watchers.first != nil
}

// lookAtQueues says who waits in them, and whether an offer has become something else. Their flag is up then.
func (s *side) lookAtQueues() (turn, posted, settled, armed bool) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	turn, posted, armed = s.queue.first != nil, s.posters.first != nil, s.armed()
	if turn || posted || armed {
		// Before the look. If it was up all the time, whoever stores has seen it.
		if h.setWaiting(s.d, h.idx) {
			h.fenceAll()
		}
	}
	for w := s.posters.first; w != nil; w = w.next {
		settled = settled || h.settled(w.kind, w.pos)
	}
	return turn, posted, settled, armed
}
