package shmchan

// Capacity 0: a Send returns when its value has been received.
//
// Invariants:
//   - There is one slot. An offer stands in it as FULL; ctl.poster says whose, and
//     is written only while that participant holds the slot as WRITING.
//   - Only its poster takes an offer back, by CAS from FULL. While somebody reads it
//     the poster waits for the outcome.
//   - rv[i] is 1 while goroutines of participant i wait to receive, also while they
//     spin. A receiver takes itself off it before it frees the slot.
//
// TrySend goes ahead only if a receiver waits: it holds the slot as WRITING (so no
// other TrySend counts on the same receiver), finds a flag up, publishes, and looks
// at the flag again: if it is down, that receiver left in between and the offer is
// taken back. A receiver that leaves takes its flag down and then looks at the slot
// once more. Of these two pairs, publish then look at the flag, flag down then look
// at the slot, one sees the other (both are sequentially consistent).

import "context"

// rvEnter and rvLeave count a goroutine that waits to receive. A SendFD may wait for that: it is armed, and then looks
// for receivers, we count, and then look for flags.
func (h *handle) rvEnter() {
	h.rvCountBy(1)
	if h.anyWaiting(sending) && h.readyFor(sending) { // Else the slot is somebody's, who wakes a sender when it is free.
		h.wakeOne(sending)
	}
}

func (h *handle) rvLeave() { h.rvCountBy(-1) }

func (h *handle) rvCountBy(n int) {
	h.rvMu.Lock()
	defer h.rvMu.Unlock()
	h.rvCount += n
	h.rv[h.idx].Store(uint32(min(h.rvCount, 1)))
}

// rvFind finds a live participant that waits to receive.
func (h *handle) rvFind() (int, bool) {
	for i := range h.rv {
		if h.rv[i].Load() == 0 {
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

// matchEnd publishes the value for the receiver that was found.
func (h *handle) matchEnd(pos uint64, receiver int) error {
	h.ctl.poster.Store(uint64(h.idx))
	if err := h.sendQuietly(pos); err != nil {
		return err
	}
	if h.rv[receiver].Load() == 0 && h.withdraw(pos) {
		return h.errs.noReceiver
	}
	if !h.wakePeer(receiver, receiving) { // It has been rung already, or spins, or is stopped.
		h.wakeOne(receiving)
	}
	return nil
}
