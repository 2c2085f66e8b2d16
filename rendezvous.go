package shmchan

// Capacity 0: a Send returns when its value has been received.
//
// Invariants:
//   - There is one slot. An offer stands in it as FULL; ctl.poster says whose, and
//     is written only while that participant holds the slot as WRITING.
//   - Only its poster takes an offer back, by CAS from FULL. While somebody reads it
//     the poster waits for the outcome.
//   - rv[i] says, by a bit each, whether goroutines of participant i wait to receive, also while they
//     spin: in a Recv, which then takes what comes, or in a Select, which may take another case instead; or
//     wait in a Select to send to a receiver. A Recv takes itself off before it frees the slot, a Select before it returns.
//
// TrySend goes ahead only if a receiver waits: it holds the slot as WRITING (so no
// other TrySend counts on the same receiver), finds a flag up, publishes, and looks
// at the flag again: if it is down, that receiver left in between and the offer is
// taken back. A receiver that leaves takes its flag down and then looks at the slot
// once more. Of these two pairs, publish then look at the flag, flag down then look
// at the slot, one sees the other (both are sequentially consistent).
//
// A Select that receives promises nothing. A TrySend that has found only such a flag publishes and
// waits until its value is taken, or that flag is down and it has taken the value back. The Select takes its flag down,
// looks at the slot, and wakes the poster of what stands there.
//
// A Select that sends makes an offer as a Send does, but has only one that stands: see select.go. For the other
// cases its bit is up, and whoever comes to receive rings all who have that bit up: again a pair, bit up
// then look at the flags, flag up then look at the bits.

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// The bits of a rendezvous flag.
const (
	rvRecv   = 0 // somebody is in a Recv
	rvSelect = 1 // in a Select that would receive
	rvSender = 2 // in a Select that would send, were there a receiver
	rvRoom   = 3 // waits for room in the arena of a channel of bytes, see arena.go

	rvReceives = 1<<rvRecv | 1<<rvSelect
)

// rvEnter and rvLeave count a goroutine that waits to receive, by its bit. A SendFD may wait for that: it is armed, and then looks
// for receivers, we count, and then look for flags.
func (h *handle) rvEnter(bit int) {
	h.rvCountBy(bit, 1)
	if h.anyWaiting(sending) && h.readyFor(sending) { // Else the slot is somebody's, who wakes a sender when it is free.
		h.wakeOne(sending)
	}
	h.rvCall(rvSender)
}

func (h *handle) rvLeave() { h.rvCountBy(rvRecv, -1) }

func (h *handle) rvCountBy(bit, n int) {
	h.rvMu.Lock()
	defer h.rvMu.Unlock()
	h.rvCount[bit] += n
	up := uint32(0)
	for i, n := range h.rvCount {
		up |= uint32(max(0, min(n, 1))) << i
	}
	h.rv[h.idx].Store(up)
}

// rvCall wakes all for whom that bit is up, rvSender or rvRoom.
func (h *handle) rvCall(bit int) {
	pairs := (*[maxPeers / 2]atomic.Uint64)(unsafe.Pointer(h.rv)) // A look at two: mostly nobody waits.
	for i := range pairs {
		if up := pairs[i].Load(); up != 0 {
			h.rvCallEach(bit, 2*i)
			h.rvCallEach(bit, 2*i+1)
		}
	}
}

func (h *handle) rvCallEach(bit, i int) {
	switch {
	case h.rv[i].Load()&(1<<bit) == 0:
	case i == h.idx:
		h.wakeWatchers()
		if bit == rvRoom {
			h.raisePoll(&h.send)
		}
	default:
		if h.ring1(i, ringSender) {
			h.woke(sending)
		}
	}
}

func (h *handle) wakeWatchers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := h.send.watchers.pop(); w != nil; w = h.send.watchers.pop() {
		w.wake()
	}
}

// rvFind finds a live participant that waits to receive.
func (h *handle) rvFind() (int, bool) {
	for i := range h.rv {
		if h.rv[i].Load()&rvReceives == 0 {
			continue
		}
		if i == h.idx {
			return i, true
		}
		if h.live(i) {
			return i, true
		}
	}
	return 0, false
}

// live says whether participant i is alive.
func (h *handle) live(i int) bool {
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	return isUsed(h.entry(i).state.Load()) && !h.clearIfDead(i)
}

// post offers the value at pos and waits until it is taken.
func (h *handle) post(ctx context.Context, pos uint64) error {
	s := &h.send
	h.ctl.poster.Store(uint64(h.idx))
	if err := h.sendQuietly(pos); err != nil {
		return err
	}
	h.wakeOne(receiving)
	var woken bool
	var why error // why to take the offer back, once that is so
	for {
		w := h.slot(pos).Load()
		switch {
		case !h.wellFormed(w, pos), dist(wordPos(w), pos) < 0:
			return h.corruptAt(pos)
		case dist(wordPos(w), pos) > 0:
			if raceEnabled {
				h.race.own(pos, h.mask)
			}
			h.passOn(s, woken)
			return nil
		case wordState(w) == stReading:
		case wordState(w) == stFull:
			if why == nil {
				why = s.mayWait(ctx, h.errs.sendClosed)
			}
			if why == nil && h.opts.disconnect && !h.anyLive(peerReceives) {
				why = h.errs.sendDisconnected
			}
			if why != nil {
				if h.withdraw(pos) {
					h.passOn(s, woken)
					return why
				}
				continue
			}
		default:
			return h.corruptAt(pos)
		}
		waitCtx, kind := ctx, waitTaken
		if why == nil {
			why = s.mayWait(ctx, nil)
		}
		if why != nil { // To be taken back, but somebody reads it: the outcome decides.
			waitCtx, kind = nil, waitOutcome
		}
		got, err := s.await(waitCtx, kind, pos)
		woken = woken || got
		if err != nil {
			why = err
		}
	}
}

// withdraw takes an offer back. False: somebody is reading it, or has.
func (h *handle) withdraw(pos uint64) bool {
	if !h.slot(pos).CompareAndSwap(word(pos, h.full, stFull), word((pos+1)&posMask, 0, stFree)) {
		return false
	}
	h.ctl.wasted.Add(1)
	h.ctl.givenUp.Add(1)
	h.advanceHead()
	h.wakeAfterFree()
	return true
}

// matchBegin claims the slot for a TrySend that has found a receiver.
func (h *handle) matchBegin() (pos uint64, receiver int, err error) {
	if h.ctl.closed.Load() != 0 {
		return 0, 0, h.errs.sendClosed
	}
	if _, ok := h.rvFind(); !ok {
		return 0, 0, h.errs.noReceiver
	}
	if pos, err = h.trySendBegin(); err != nil {
		return 0, 0, err
	}
	receiver, ok := h.rvFind()
	if !ok {
		h.sendAbort(pos)
		return 0, 0, h.errs.noReceiver
	}
	return pos, receiver, nil
}

// matchEnd publishes the value of a TrySend for the receiver that was found.
func (h *handle) matchEnd(pos uint64, receiver int) error { return h.matchFor(pos, receiver, false) }

// matchFor is matchEnd also for a Select, which waits: one whose value is in somebody's hands waits for the outcome.
func (h *handle) matchFor(pos uint64, receiver int, waits bool) error {
	h.ctl.poster.Store(uint64(h.idx))
	if err := h.sendQuietly(pos); err != nil {
		return err
	}
	up := h.rv[receiver].Load()
	if up&rvReceives == 0 && h.withdraw(pos) {
		return h.errs.noReceiver
	}
	if !h.wakePeer(receiver, receiving) { // It has been rung already, or spins, or is stopped.
		h.wakeOne(receiving)
	}
	if up&rvReceives == 1<<rvSelect {
		h.wakeOne(receiving) // That one may be stopped.
		return h.matchAwait(pos, receiver, waits)
	}
	return nil
}

// matchPatience is how long a TrySend waits for the answer of a Select that may be stopped; longer in tests of what comes of it.
var matchPatience atomic.Int64

func init() { matchPatience.Store(int64(100 * time.Millisecond)) }

var timers = sync.Pool{New: func() any { t := time.NewTimer(time.Hour); t.Stop(); return t }}

// matchAwait waits until the offer at pos is taken, or the Select that it was for goes on without it. A Select that is stopped with
// the offer in hand may yet give it back: then a TrySend has said that it was sent, and it stands for another receive; who waits does not say so.
func (h *handle) matchAwait(pos uint64, receiver int, waits bool) error {
	s := &h.send
	timer := timers.Get().(*time.Timer)
	timer.Reset(time.Duration(matchPatience.Load()))
	w := waiters.Get().(*waiter)
	w.kind, w.pos = waitOutcome, pos // Also on a side that is detached meanwhile.
	woken, late := false, false
	defer func() {
		timer.Stop()
		timers.Put(timer)
	}()
	settled := func() bool {
		now := h.slot(pos).Load()
		return wordPos(now) != pos || wordState(now) == stFull && (h.rv[receiver].Load()&rvReceives == 0 || h.ctl.closed.Load() != 0 || s.detached.Load())
	}
	leave := func(err error) error { // Not after a fault, which may have left w in its queue.
		waiters.Put(w)
		h.passOn(s, woken)
		return err
	}
	for {
		now := h.slot(pos).Load()
		switch {
		case !h.wellFormed(now, pos), dist(wordPos(now), pos) < 0:
			return leave(h.corruptAt(pos))
		case dist(wordPos(now), pos) > 0:
			if raceEnabled {
				h.race.own(pos, h.mask)
			}
			return leave(nil)
		case wordState(now) == stFull && (late || settled()):
			if h.withdraw(pos) {
				if h.ctl.closed.Load() != 0 {
					return leave(h.errs.sendClosed)
				}
				return leave(h.errs.noReceiver)
			}
			continue
		case late && !waits: // Whoever has it in hand is slow. He has not given it back so far.
			return leave(nil)
		}
		if h.spins && s.spinUntil(settled) {
			continue
		}
		if !s.enqueue(w) {
			return leave(s.whyGone())
		}
		if settled() {
			woken = s.dequeue(w) || woken
			continue
		}
		s.sleeps()
		select {
		case <-w.ch:
			woken = true
		case <-timer.C:
			late, woken = true, s.dequeue(w) || woken
		}
		s.goesOn()
	}
}
