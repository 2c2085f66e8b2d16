package shmchan

// WithDisconnect: is anybody alive at the other end?
//
// Invariants:
//   - Nobody is missed who held a handle all the time: who joins stands in an entry before he is counted in ctl.joins, and is
//     back from Open after that. A look at all entries that found nobody, with no join meanwhile, therefore says that at some moment of
//     it nobody was there.
//   - Whoever parks looks after his flag is up. Whoever leaves, or clears away the last one who had a role, takes
//     the role down and then wakes all.
//   - A lock that is held is life, also if its holder is stopped.

import "time"

// aliveEvery is how often, at most, a Try call asks for a lock. In between it believes an entry.
const aliveEvery = 5 * time.Millisecond

// anyLive says whether a live handle, this one included, has the role. It asks for the lock of one that had it
// when it was last asked, and for the others' only if that one has gone.
func (h *handle) anyLive(role uint64) bool {
	if !h.hasMet(role) {
		return true
	}
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	if h.entry(h.idx).state.Load()&role != 0 {
		return true
	}
	partner := &h.partners[role/peerReceives]
	if i := int(partner.Load()); h.plays(i, role) && !h.clearIfDead(i) && h.plays(i, role) {
		return true
	}
	for range maxLooks {
		joins := h.ctl.joins.Load()
		for i := range maxPeers {
			if h.plays(i, role) && !h.clearIfDead(i) && h.plays(i, role) {
				partner.Store(int32(i))
				return true
			}
		}
		if h.ctl.joins.Load() == joins {
			return false
		}
	}
	return true // Somebody comes all the time, or scribbles on the count.
}

// meet notes, when half of a pair is joined, who has come so far, and who is there.
func (h *handle) meet() {
	for i := range h.came {
		h.came[i] = h.ctl.came[i].Load()
	}
	h.met.Store(peerSends | peerReceives)
	for _, role := range []uint64{peerSends, peerReceives} {
		if !h.anyLive(role) {
			h.met.And(^role)
		}
	}
}

// hasMet says whether somebody has been there whom a side of a pair can miss; else it waits for him.
func (h *handle) hasMet(role uint64) bool {
	if !h.opts.pair || h.met.Load()&role != 0 {
		return true
	}
	if i := role / peerReceives; h.ctl.came[i].Load() == h.came[i] {
		return false
	}
	h.met.Or(role)
	return true
}

// maxLooks is how often anyLive looks at all entries because somebody joined meanwhile.
const maxLooks = 1000

// plays says whether entry i, another's, has the role.
func (h *handle) plays(i int, role uint64) bool {
	s := h.entry(i).state.Load()
	return i != h.idx && isUsed(s) && s&role != 0 && s&peerDead == 0
}

// mayLive is anyLive for calls that ask all the time: it says yes for up to aliveEvery after the last one's death,
// and never no before.
func (h *handle) mayLive(role uint64) bool {
	if !h.hasMet(role) {
		return true
	}
	if h.entry(h.idx).state.Load()&role != 0 {
		return true
	}
	if h.plays(int(h.partners[role/peerReceives].Load()), role) {
		now := int64(time.Since(processStart))
		if last := h.lastAlive.Load(); now-last < int64(aliveEvery) || !h.lastAlive.CompareAndSwap(last, now) {
			return true
		}
	}
	return h.anyLive(role)
}

// deserted says whether a call ends because the other side has gone. Asked with the flag
// up, as who leaves takes his role down and then looks for flags.
func (s *side) deserted(k waitKind) bool {
	if !s.h.opts.disconnect || k == waitOutcome || s.h.anyLive(s.other()) {
		return false
	}
	return s.d == sending || !s.h.somethingLeft()
}

// desertedNow is deserted for a Try call that has found nothing. It looks again, as he who has gone may have sent, or freed, before.
func (s *side) desertedNow() bool {
	h := s.h
	switch {
	case h.mayLive(s.other()):
		return false
	case s.d == receiving:
		return !h.somethingLeft() && h.ctl.closed.Load() == 0
	}
	return h.rendezvous || !h.readyFor(sending)
}

func (s *side) disconnected() error {
	if s.d == sending {
		return s.h.errs.sendDisconnected
	}
	return s.h.errs.recvDisconnected
}

// tellDeserted wakes all if a dead one, whose entry was s, was the last of a role.
func (h *handle) tellDeserted(s uint64) {
	missing := s & (peerSends | peerReceives)
	for i := range maxPeers {
		if t := h.entry(i).state.Load(); isUsed(t) {
			missing &^= t
		}
	}
	if missing != 0 {
		h.wakeAll()
	}
}
