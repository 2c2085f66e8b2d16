package shmchan

// What waiting costs: how calls waited, how long, and who was woken for it.
//
// A handle counts for itself, in memory of its own, and tells the channel what is new: so that who looks at the channel from
// outside knows it too, and so that it stays when the handle has gone.
//
// Invariants:
//   - Only calls that found nothing, and who wakes, count anything: a call that goes straight through does not come by here.
//   - Each thing is counted once by its handle, and told once: what was told is noted, under tally.mu, in the handle. A handle that
//     detaches tells the rest. One whose process dies takes along what it had not told: at most tellAfter-1
//     spins that paid, and what it was parked since the backstop last came.
//   - In the file the counts are in places that several participants share and only ever add to, since the channel was
//     made. A place belongs to no participant: nothing is folded, moved or cleared when one leaves.
//   - What is read there is for people. Nothing is decided by it.

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Waits is how calls waited, and what was done to end that, in one direction: to send, or to receive.
type Waits struct {
	// Blocked is for how long calls have waited: parked, by the clock, also those that are parked now, as of at most 200 ms ago; and
	// spinning, reckoned from the rounds. It is the sum over all calls, so it may grow by more than a second a second. A wait that ended
	// within some microseconds, before the call spun, takes no time here.
	Blocked   time.Duration
	Parks     uint64 // calls that went to sleep; a Select counts in each of its cases
	SpinsPaid uint64 // waits that ended while the call looked actively, so that it did not park; not those of the first microsecond or so
	SpinsVain uint64 // spins that were given up: the call parked, or where it never does began anew
	Wakes     uint64 // wakes that were sent to participants who wait in this direction; a system call each, but to who wakes himself
	// Saved is how many wakes were not sent, of those that would have been if every value sent woke a receiver and every value
	// received a sender: because nobody waited, or one wake was for many. 0 in OwnSend and OwnRecv, as no handle counts its values.
	Saved uint64
}

// The counts, in the order in which they lie in the file.
const (
	countBlocked = iota // nanoseconds
	countParks
	countPaid
	countVain
	countWakes
	countKinds
)

// stripes are the places for counts in the file; participant i has i%stripes.
const stripes = 16

// counts is a place: for each direction a cache line of its own.
type counts [2]struct {
	n [countKinds]atomic.Uint64
	_ [64 - 8*countKinds]byte
}

// countsOf is the place of participant i.
func (h *handle) countsOf(i int) *counts {
	return (*counts)(unsafe.Add(h.counts, uintptr(i%stripes)*unsafe.Sizeof(counts{})))
}

// tellAfter is how many spins that paid are told at once.
const tellAfter = 64

// waitTally is what a side has counted.
type waitTally struct {
	n      [countKinds]atomic.Uint64
	rounds atomic.Uint64 // of spins, whose time is part of countBlocked

	mu     sync.Mutex
	told   [countKinds]uint64 // of n, to the channel
	parked int                // calls that are parked now
	since  time.Duration      // until when their time is in n, since processStart
}

// count returns what the side has counted.
func (s *side) count(kind int) uint64 {
	n := s.tally.n[kind].Load()
	if kind == countBlocked {
		rounds, most := s.tally.rounds.Load(), uint64(maxSpins())
		n += rounds/most*uint64(spinTime) + rounds%most*uint64(spinTime)/most
	}
	return n
}

// tell tells the channel what is new.
func (s *side) tell() {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	s.settleTime()
	s.tellCounts()
}

// tellCounts is called with tally.mu held.
func (s *side) tellCounts() {
	if !s.h.joined {
		return
	}
	place, told := &s.h.countsOf(s.h.idx)[s.d], &s.tally.told
	for kind := range told {
		if n := s.count(kind); n != told[kind] {
			more := n - told[kind]
			told[kind] = n // First, so that a fault does not have it told twice.
			place.n[kind].Add(more)
		}
	}
}

// settleTime counts the time of those who are parked, up to now. It is called with tally.mu held.
func (s *side) settleTime() {
	t := &s.tally
	if t.parked > 0 {
		now := sinceStart()
		t.n[countBlocked].Add(uint64(t.parked) * uint64(now-t.since))
		t.since = now
	}
}

// sleeps and goesOn are called by who parks, before and after.
func (s *side) sleeps() {
	s.h.noteBase()
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	s.settleTime()
	if t.parked++; t.parked == 1 {
		t.since = sinceStart()
	}
	t.n[countParks].Add(1)
	s.tellCounts()
}

func (s *side) goesOn() {
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	s.settleTime()
	t.parked--
	s.tellCounts()
}

// spun counts a spin of so many rounds.
func (s *side) spun(rounds int32, paid bool) {
	t := &s.tally
	s.add(&t.rounds, uint64(rounds))
	switch {
	case !paid:
		t.n[countVain].Add(1) // It is told when the call parks.
	case s.add(&t.n[countPaid], 1)%tellAfter == 0:
		s.tell()
	}
}

// spunOn counts rounds of a call that never parks.
func (s *side) spunOn(rounds int32) {
	s.add(&s.tally.rounds, uint64(rounds))
	s.tell()
}

// add adds to what calls that spin count. Those of a single role come one at a time: it is on their way when what they wait for is there.
func (s *side) add(c *atomic.Uint64, n uint64) uint64 {
	if !s.alone {
		return c.Add(n)
	}
	n += c.Load()
	storeRelease(c, n)
	return n
}

// woke counts a wake that was sent to who waits in direction d.
func (h *handle) woke(d direction) {
	s := h.side(d)
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	s.tally.n[countWakes].Add(1)
	s.tellCounts()
}

// tellCounts tells the channel what is new, of both sides.
func (h *handle) tellCounts() {
	h.send.tell()
	h.recv.tell()
}

// ownWaits is what this handle has counted.
func (s *side) ownWaits() Waits {
	var n [countKinds]uint64
	for kind := range n {
		n[kind] = s.count(kind)
	}
	return waitsOf(n)
}

// waits is what all have told. Handed is how many values may have been waited for in that direction.
func (h *handle) waits(d direction, handed uint64) Waits {
	var n [countKinds]uint64
	for i := range stripes {
		for kind := range n {
			n[kind] += h.countsOf(i)[d].n[kind].Load()
		}
	}
	w := waitsOf(n)
	w.Saved = handed - min(handed, w.Wakes)
	return w
}

func waitsOf(n [countKinds]uint64) Waits {
	return Waits{
		Blocked: time.Duration(min(n[countBlocked], math.MaxInt64)), Parks: n[countParks],
		SpinsPaid: n[countPaid], SpinsVain: n[countVain], Wakes: n[countWakes],
	}
}

// The high-water mark, and positions beyond 2^40.

// noteDepth notes that so many values were in the channel.
func (r *ring) noteDepth(n uint64) {
	for high := &r.ctl.high; ; {
		if was := high.Load(); n <= was || high.CompareAndSwap(was, n) {
			return
		}
	}
}

// depthSteps bounds how many slots one who was parked looks at for the high-water mark.
const depthSteps = 64

// noteBurst is for a receiver that was parked: it notes how much has come until it went on. The tail hint is
// read first, so what is found below it is there, but for what other receivers have taken out of turn.
func (r *ring) noteBurst() {
	if r.rendezvous {
		return
	}
	tail, p, n := r.tailHint(), r.headHint(), uint64(0)
	for range 2 * depthSteps {
		w := r.slot(p).Load()
		if d := dist(wordPos(w), p); d < 0 || d == 0 && wordState(w) == stFree || !r.wellFormed(w, p) {
			break
		} else if d > 0 && n == 0 {
			p = (p + 1) & posMask // Free, above the hint.
			continue
		} else if d == 0 && (wordState(w) == stFull || wordState(w) == stReading) {
			if n++; n == 1 {
				if more := dist(tail, p); more > depthSteps {
					n = uint64(more)
					break
				}
			}
		}
		p = (p + 1) & posMask
	}
	r.noteDepth(min(n, r.capacity))
}

// noteBase keeps ctl.base near the positions in use, so that it can be told how often they have come round.
func (r *ring) noteBase() {
	const far = 1 << 32
	was := r.ctl.base.Load()
	if n := dist(r.tailHint(), was&posMask); n > far {
		r.ctl.base.CompareAndSwap(was, was+uint64(n))
	}
}

// since is how many positions there are from start to p, however often they have come round. It is right as long as somebody parks,
// or asks for Stats, once in 5·10^11 values.
func (r *ring) since(start, p uint64) uint64 {
	base := r.ctl.base.Load()
	return uint64(max(0, int64(base+uint64(dist(p, base&posMask))-start)))
}
