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
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What a goroutine waits for.
type waitKind int

const (
	waitTurn  waitKind = iota // a value, or space
	waitTaken                 // that a rendezvous offer is taken
)

// What is rung.
const (
	ringReceiver = 'r'
	ringSender   = 's'
	ringAll      = 'a'
)

type waiter struct {
	ch         chan struct{} // buffered, 1
	next, prev *waiter
	list       *waitList
	pos        uint64 // of the offer, for waitTaken
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

func (l *waitList) wake() bool {
	w := l.first
	if w == nil {
		return false
	}
	l.remove(w)
	w.ch <- struct{}{}
	return true
}

var waiters = sync.Pool{New: func() any { return &waiter{ch: make(chan struct{}, 1)} }}

// Spinning: a look and a pause, some tens of nanoseconds a round. On one CPU the
// one we wait for could not run meanwhile.
const (
	maxSpins   = 800
	minSpins   = 16
	probeEvery = 8 // after so many failures the whole budget is tried once
)

var canSpin = runtime.NumCPU() > 1

// await waits until a call of this side may go on, or must not wait any longer.
// Woken: a wake was spent on it, which the caller passes on. It may return early.
func (s *side) await(ctx context.Context, k waitKind, pos uint64) (woken bool, err error) {
	h := s.h
	if h.opts.wait == Spin {
		for range maxSpins {
			if h.ready(s.d, k, pos) {
				return false, nil
			}
			pause()
		}
		h.checkHolders(s.d)
		runtime.Gosched()
		return false, nil
	}
	if h.opts.wait == Adaptive && canSpin && s.spin(k, pos) {
		return false, nil
	}
	h.checkHolders(s.d)
	w := waiters.Get().(*waiter)
	w.pos = pos
	if !s.enqueue(w, k) {
		waiters.Put(w)
		return false, h.errs.detached
	}
	if h.ready(s.d, k, pos) {
		woken = s.dequeue(w)
		waiters.Put(w)
		return woken, nil
	}
	s.parks.Add(1)
	if ctx == nil {
		<-w.ch
		woken = true
	} else {
		select {
		case <-w.ch:
			woken = true
		case <-ctx.Done():
			woken, err = s.dequeue(w), ctx.Err()
		}
	}
	waiters.Put(w)
	return woken, err
}

// spin waits actively for as long as that has paid lately.
func (s *side) spin(k waitKind, pos uint64) bool {
	budget := max(s.spins.Load(), minSpins)
	if s.tries.Add(1)%probeEvery == 0 {
		budget = maxSpins
	}
	for i := range budget {
		if s.h.ready(s.d, k, pos) {
			s.spins.Store(min(maxSpins, max(budget, 2*i)))
			return true
		}
		if i%64 == 63 {
			runtime.Gosched()
		}
		pause()
	}
	s.spins.Store(budget / 2)
	return false
}

// ready looks whether a goroutine of the role itself would find something.
func (h *handle) ready(d direction, k waitKind, pos uint64) bool {
	switch {
	case k == waitTaken:
		return h.settled(pos)
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
// nor being read any more, or it stands and the channel is closed.
func (h *handle) settled(pos uint64) bool {
	w := h.slot(pos).Load()
	switch {
	case wordPos(w) != pos:
		return true
	case wordState(w) == stReading:
		return false
	}
	return wordState(w) != stFull || h.ctl.closed.Load() != 0
}

// enqueue puts w in its queue and the flag up. False: the side is detached.
func (s *side) enqueue(w *waiter, k waitKind) bool {
	h := s.h
	h.mu.Lock()
	if s.detached.Load() {
		h.mu.Unlock()
		return false
	}
	if k == waitTaken {
		s.posters.push(w)
	} else {
		s.queue.push(w)
	}
	h.setWaiting(s.d, h.idx)
	h.mu.Unlock()
	if !h.watched.Load() {
		h.watch()
	}
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
		<-w.ch
		return true
	}
	w.list.remove(w)
	return s.noneQueued() && !h.clearWaiting(s.d, h.idx)
}

// wakeLocal dispatches a wake to goroutines of this handle: one that waits for its
// turn and the posters, who look whether it was for them; or all. False: nobody waits.
func (h *handle) wakeLocal(s *side, all bool) (woke bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s.posters.wake() {
		woke = true
	}
	for s.queue.wake() {
		woke = true
		if !all {
			break
		}
	}
	if !woke {
		return false
	}
	if s.noneQueued() {
		h.clearWaiting(s.d, h.idx)
	} else {
		h.setWaiting(s.d, h.idx)
	}
	return true
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
	for range maxPeers {
		i, ok := h.takeWaiter(d, h.wakeStart())
		if !ok || h.ringPeer(i, d) {
			return
		}
	}
}

// wakePeer wakes participant i, if it waits in direction d.
func (h *handle) wakePeer(i int, d direction) {
	if h.ctl.waiting(d)[i/64].Load()&(1<<(i%64)) != 0 && h.clearWaiting(d, i) {
		h.ringPeer(i, d)
	}
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
				h.wakeLocal(h.side(d), true)
			} else {
				h.ring1(i, ringAll)
			}
		}
	}
}

// ringPeer wakes participant i, whose flag we took down. False: it is dead.
func (h *handle) ringPeer(i int, d direction) bool {
	if i == h.idx {
		return h.wakeLocal(h.side(d), false)
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
	gen := peerGen(h.entry(i).state.Load())
	h.bellMu.Lock()
	defer h.bellMu.Unlock()
	r, ok := h.bells[i]
	if ok && r.gen != gen {
		h.dropRinger(i)
		ok = false
	}
	if !ok {
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
	return false
}

func (h *handle) dropRinger(i int) {
	_ = unix.Close(h.bells[i].fd)
	delete(h.bells, i)
}

// startBell makes our doorbell and listens to it until the handle is released.
func (h *handle) startBell() error {
	mode := fs.FileMode(0o600)
	if st, err := h.file.Stat(); err == nil {
		mode = st.Mode().Perm()
	}
	bell, err := makeBell(h.opts.dir, h.bellPath(h.idx, tagGen(h.me)), mode)
	if err != nil {
		return err
	}
	h.bell = bell
	go h.listen(bell)
	return nil
}

func (h *handle) listen(bell *os.File) {
	buf := make([]byte, 256)
	for {
		n, err := bell.Read(buf)
		if err != nil {
			return // Released.
		}
		for _, b := range buf[:n] {
			for _, s := range []*side{&h.recv, &h.send} {
				if (b == ringAll || b == ringReceiver && s.d == receiving || b == ringSender && s.d == sending) && s.enter() {
					h.wakeLocal(s, b == ringAll)
					s.leave()
				}
			}
		}
	}
}

// backstopEvery is how often parked goroutines are looked after: often enough that
// a death delays nobody by 100 ms.
const backstopEvery = 50 * time.Millisecond

// watched are the handles with parked goroutines, looked after by one goroutine
// of the process, which ends when there are none.
var watched = struct {
	sync.Mutex
	handles map[*handle]struct{}
	running bool
}{handles: map[*handle]struct{}{}}

func (h *handle) watch() {
	watched.Lock()
	defer watched.Unlock()
	h.watched.Store(true)
	watched.handles[h] = struct{}{}
	if !watched.running {
		watched.running = true
		go backstop()
	}
}

func (h *handle) unwatch() {
	watched.Lock()
	defer watched.Unlock()
	h.watched.Store(false)
	delete(watched.handles, h)
}

func backstop() {
	tick := time.NewTicker(backstopEvery)
	defer tick.Stop()
	var all []*handle
	for range tick.C {
		watched.Lock()
		all = all[:0]
		for h := range watched.handles {
			all = append(all, h)
		}
		if len(all) == 0 {
			watched.running = false
			watched.Unlock()
			return
		}
		watched.Unlock()
		for _, h := range all {
			if !h.lookAfter() {
				h.unwatch()
				if h.anyQueued() { // Queued between the look and the unwatch.
					h.watch()
				}
			}
		}
		clear(all)
	}
}

func (h *handle) anyQueued() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.send.noneQueued() || !h.recv.noneQueued()
}

// lookAfter looks again on behalf of the parked goroutines. False: there are none.
func (h *handle) lookAfter() (any bool) {
	for _, s := range []*side{&h.send, &h.recv} {
		if !s.enter() {
			continue
		}
		h.mu.Lock()
		turn, posted, settled := s.queue.first != nil, s.posters.first != nil, false
		if turn || posted {
			h.setWaiting(s.d, h.idx) // Before the look.
		}
		for w := s.posters.first; w != nil; w = w.next {
			settled = settled || h.settled(w.pos)
		}
		h.mu.Unlock()
		if turn || posted {
			any = true
			h.checkHolders(s.d)
			if settled || turn && h.readyFor(s.d) {
				h.wakeLocal(s, false)
			} else if h.opts.disconnect && !h.anyLive(s.other()) {
				h.wakeLocal(s, true)
			}
		}
		s.leave()
	}
	return any
}
