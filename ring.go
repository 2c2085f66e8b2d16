package shmchan

// The ring: lock-free claims of slots in memory that other processes share.
//
// Invariants, with p a position (modulo 2^40), n the number of slots (a power
// of two) and c the capacity (c <= n; a rendezvous has n = c = 1):
//
//   - The word of slot p mod n goes through
//         FREE(p) -> WRITING(p, sender) -> FULL(p) -> READING(p, receiver) -> FREE(p+n)
//     and besides READING -> FULL (given back, or its receiver died),
//     WRITING -> HOLE(p) (given up, or its sender died), HOLE -> WRITING (used
//     after all) or FREE(p+n), FULL -> FREE(p+n) (a rendezvous offer withdrawn, or the
//     single receiver) and FREE(p) -> FULL(p) (the single sender). So the position of
//     a slot never goes back.
//   - Whoever is named in a WRITING or READING word owns the slot's value; nobody
//     else touches it before the kernel has said that the owner is dead (peers.go).
//   - Claims are contiguous: if p is claimed, so is p-1. And p is claimed only
//     when p-c is free. Hence: p claimed means that every position <= p-c is free.
//   - tail is a hint: every position below it is claimed. head is a hint: every
//     position below it is free. Both may lag, neither runs ahead.
//   - A HOLE is claimed again only by a sender that, after it saw the hole, has seen
//     that nothing above it but other holes was claimed: so none of its own earlier
//     values is above. With one slot, what is given up is FREE(p+1) at once.
//   - SEALED(p) stands where FREE(p) stood: nothing will ever be sent at or after p.
//
// Every word is read once and checked; what the rules above forbid is reported
// as corrupt. This file makes no system call and knows no type.
//
// Ordering: Go's atomics are sequentially consistent. The CAS that publishes
// (WRITING or FREE -> FULL) pairs with the load that sees FULL: the value's plain
// stores come before its plain loads. The CAS that frees pairs with the load that
// sees FREE: the loads of the old value come before the stores of the next.

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Slot states: the low three bits of a slot's word.
const (
	stFree uint64 = iota
	stWriting
	stFull
	stReading
	stSealed
	stHole
	stMask = 7
)

// A slot's word: position (40 bits), tag (21 bits), state (3 bits). The tag names
// the owner (generation and index of the participant) while WRITING or READING,
// carries the low bits of the value's length while FULL, and is 0 otherwise.
const (
	posBits  = 40
	posMask  = 1<<posBits - 1
	tagShift = 3
	tagBits  = 21
	tagMask  = 1<<tagBits - 1
	posShift = tagShift + tagBits

	idxBits  = 8
	genBits  = tagBits - idxBits
	genMask  = 1<<genBits - 1
	maxPeers = 1 << idxBits
)

func word(pos, tag, state uint64) uint64 { return pos<<posShift | tag<<tagShift | state }
func wordPos(w uint64) uint64            { return w >> posShift }
func wordTag(w uint64) uint64            { return w >> tagShift & tagMask }
func wordState(w uint64) uint64          { return w & stMask }

// dist is a-b for positions, modulo 2^40 and signed.
func dist(a, b uint64) int64 { return int64((a-b)<<(64-posBits)) >> (64 - posBits) }

// verdict is what a look at the ring found.
type verdict uint8

const (
	claimed verdict = iota // a position is ours (or, for the single roles, would be)
	blocked                // full, or empty: nothing to do now
	sealed                 // closed, and drained where that matters
	corrupt                // the shared bytes break the rules
)

// direction says who waits: senders for space, receivers for values.
type direction int

const (
	sending direction = iota
	receiving
)

// ring is one handle's view of the shared memory. All fields are private to the
// process and constant after attach, but for those behind the pointers.
type ring struct {
	slots    unsafe.Pointer // the first slot
	mask     uint64         // slots - 1
	n        uint64         // slots
	capacity uint64         // at least 1, also for a rendezvous
	stride   uintptr        // bytes from slot to slot
	full     uint64         // the tag of a FULL word: the value's length, low bits
	me       uint64         // the tag of our WRITING and READING words

	rendezvous bool
	oneSender  bool // the single sender's fast path: no claim
	oneRecver  bool // the single receiver's
	fences     bool // some may publish and free without a fence, see straight.go
	plainFree  bool // we are a single receiver who may

	ctl    *control
	rv     *[maxPeers]atomic.Uint32 // rendezvous: who waits to receive, see rendezvous.go
	onPass func()                   // for tests: called when a receiver's look has stepped past a slot in somebody's hands

	prefetches

	tx, rx spot // where the sides stand that go straight to their slots, see straight.go
}

func (r *ring) slot(pos uint64) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(r.slots, uintptr(pos&r.mask)*r.stride))
}

// value is where the value of the slot at pos lies.
func (r *ring) value(pos uint64) unsafe.Pointer {
	return unsafe.Add(r.slots, uintptr(pos&r.mask)*r.stride+valueOffset)
}

// wellFormed says whether w may stand in the slot of pos at all.
func (r *ring) wellFormed(w, pos uint64) bool {
	if (wordPos(w)^pos)&r.mask != 0 {
		return false
	}
	switch wordState(w) {
	case stFree, stSealed, stHole:
		return wordTag(w) == 0
	case stFull:
		return wordTag(w) == r.full
	case stWriting, stReading:
		return true
	}
	return false
}

// lookLimit bounds the steps of one look. A look that neighbours outrun makes a
// step for each of theirs, so it is far above the number of slots; only nonsense gets there.
func (r *ring) lookLimit() uint64 { return 4*r.n + 1<<22 }

// claimSend claims the next position for the sender. With a single sender it
// claims nothing and only says which position is free: nobody else will take it.
//
// Blocked is exact: p-c was not free at a moment when everything below p was claimed
// and p-1 was no hole.
func (r *ring) claimSend() (uint64, verdict) {
	if r.oneSender {
		return r.nextSend()
	}
	p := r.tailHint()
	for limit := r.lookLimit(); limit > 0; limit-- {
		if r.ctl.holes.Load() != 0 {
			p = r.lookBack(p)
		}
		from, v := r.look(&p)
		if v == blocked && !r.stillFull(p) {
			continue
		}
		if v != claimed {
			return p, v
		}
		if r.slot(p).CompareAndSwap(from, word(p, r.me, stWriting)) {
			if wordState(from) == stHole {
				r.ctl.holes.Add(^uint64(0))
				return p, claimed
			}
			// Before the publish, so our own slot bounds how far a late store sets it back.
			if next := (p + 1) & posMask; dist(next, r.tailHint()) > 0 {
				r.ctl.tail.Store(next)
			}
			return p, claimed
		}
	}
	return p, corrupt
}

// stillFull makes sure of a look that was blocked at p: p-1 has not become a hole on
// the way, and after that p-c was still held. Then at that moment nothing below p was to be had.
func (r *ring) stillFull(p uint64) bool {
	below, q := (p-1)&posMask, (p-r.capacity)&posMask
	if r.slot(below).Load() == word(below, 0, stHole) {
		return false
	}
	w := r.slot(q).Load()
	return wordPos(w) == q && wordState(w) != stHole
}

// nextSend is claimSend for a single sender, and where it finds its place again
// after another held the role. The shared tail is only brought up now and then.
func (r *ring) nextSend() (uint64, verdict) {
	p := r.tx.pos()
	_, v := r.look(&p)
	r.setTail(p)
	return p, v
}

// lookBack goes back over the holes just below p.
func (r *ring) lookBack(p uint64) uint64 {
	for range r.n {
		q := (p - 1) & posMask
		if r.slot(q).Load() != word(q, 0, stHole) {
			break
		}
		p = q
	}
	return p
}

// look moves *p on to the next position to claim, and says whether it may be
// claimed, from which word. That is the first position not claimed, or the
// lowest of the holes just below it.
func (r *ring) look(p *uint64) (from uint64, v verdict) {
	hole, holes := uint64(0), false
	for limit := r.lookLimit(); limit > 0; limit-- {
		w := r.slot(*p).Load()
		if !r.wellFormed(w, *p) {
			return 0, corrupt
		}
		d, state := dist(wordPos(w), *p), wordState(w)
		switch {
		case d > 0: // The slot is laps further: all up to the position before that was claimed.
			*p, holes = (wordPos(w)-r.n+1)&posMask, false
			continue
		case d == 0 && state == stSealed:
			return 0, sealed
		case d == 0 && state == stHole:
			if !holes {
				hole, holes = *p, true
			}
			*p = (*p + 1) & posMask
			continue
		case d == 0 && state != stFree:
			*p, holes = (*p+1)&posMask, false
			continue
		}
		// The first position not claimed: FREE, or its slot still holds the lap before.
		if holes {
			*p = hole
			return word(hole, 0, stHole), claimed
		}
		if d == 0 && r.n == r.capacity {
			return w, claimed
		}
		// The position c before must be free.
		q := (*p - r.capacity) & posMask
		wq := w
		if d == 0 {
			if wq = r.slot(q).Load(); !r.wellFormed(wq, q) {
				return 0, corrupt
			}
			if dist(wordPos(wq), q) > 0 {
				return w, claimed
			}
		} else {
			q = (*p - r.n) & posMask
		}
		switch state := wordState(wq); {
		case wordPos(wq) == q && state == stHole:
			r.dropHole(q)
		case wordPos(wq) != q || state == stFree || state == stSealed:
			return 0, corrupt // Below a position that was claimed.
		default:
			return 0, blocked
		}
	}
	return 0, corrupt
}

// dropHole frees a hole that nobody will fill any more.
func (r *ring) dropHole(p uint64) {
	if r.slot(p).CompareAndSwap(word(p, 0, stHole), word((p+r.n)&posMask, 0, stFree)) {
		r.ctl.wasted.Add(1)
		r.ctl.holes.Add(^uint64(0))
	}
}

// makeHole gives up the position of w, a WRITING word of ours or of a dead owner.
// Holes are counted before they are there: a count too high costs a look, too low a hole.
func (r *ring) makeHole(w uint64) bool {
	p := wordPos(w)
	if r.n == 1 {
		if !r.slot(p).CompareAndSwap(w, word((p+1)&posMask, 0, stFree)) {
			return false
		}
		r.ctl.wasted.Add(1)
	} else {
		r.ctl.holes.Add(1)
		if !r.slot(p).CompareAndSwap(w, word(p, 0, stHole)) {
			r.ctl.holes.Add(^uint64(0))
			return false
		}
	}
	r.ctl.givenUp.Add(1)
	return true
}

// publish makes the value at pos visible. False: a single sender found the
// channel sealed (or, with any sender, the word was tampered with; see verdict).
func (r *ring) publish(pos uint64) verdict {
	from := word(pos, r.me, stWriting)
	if r.oneSender {
		from = word(pos, 0, stFree)
	}
	if r.slot(pos).CompareAndSwap(from, word(pos, r.full, stFull)) {
		if r.oneSender {
			r.setTail((pos + 1) & posMask)
			if pos&hintMask == hintMask {
				r.ctl.tail.Store(r.tx.pos())
			}
		}
		return claimed
	}
	if w := r.slot(pos).Load(); r.oneSender && w == word(pos, 0, stSealed) {
		return sealed
	}
	return corrupt
}

// hintMask: a single role brings its shared hint up every 64 positions. Whoever
// starts from the hint walks on from there, so this bounds the walk.
const hintMask = 63

// giveUp lets go of a claimed position without a value. Nothing to do for a single sender.
func (r *ring) giveUp(pos uint64) {
	if !r.oneSender {
		r.makeHole(word(pos, r.me, stWriting))
	}
}

// claimRecv claims the lowest value there is. Passed is the first word, if any,
// that it had to step past: somebody has that slot in hand.
//
// It stops at the first FREE position. At that moment everything below was free
// or in somebody's hands. If it stepped past anything it looks there again once
// it has found a value, and takes the lowest: a sender that published first below
// and then here would otherwise be overtaken by itself.
//
// When closed is set and nothing below is in hand it seals the FREE position, so
// that no sender can come after the receiver has said that the channel is drained.
func (r *ring) claimRecv() (pos uint64, passed uint64, v verdict) {
	head := r.ctl.head.Load() & posMask
	if r.oneRecver {
		head = r.rx.pos()
	}
	p, first := head, head
	for limit := r.lookLimit(); limit > 0; limit-- {
		w := r.slot(p).Load()
		if !r.wellFormed(w, p) {
			return p, passed, corrupt
		}
		if d := dist(wordPos(w), p); d > 0 {
			p = r.skipFree(p, w)
			continue
		} else if d < 0 {
			// Once around: only if the position a lap before is still in hand.
			if passed == 0 || dist(p, first) < int64(r.n) {
				return p, passed, corrupt
			}
			return p, passed, blocked
		}
		switch wordState(w) {
		case stSealed:
			return p, passed, sealed
		case stFree:
			if r.ctl.closed.Load() == 0 || passed != 0 {
				return p, passed, blocked
			}
			if w := r.inWindow(); w != 0 {
				if wordState(w) != stWriting {
					return p, passed, corrupt
				}
				return p, w, blocked
			}
			if r.slot(p).CompareAndSwap(w, word(p, 0, stSealed)) {
				return p, passed, sealed
			}
		case stHole:
			if passed == 0 || r.ctl.closed.Load() != 0 { // All below is free, or nobody shall fill it.
				r.dropHole(p)
				continue
			}
			p = (p + 1) & posMask
		case stWriting, stReading:
			if passed == 0 {
				passed, first = w, p
				if r.onPass != nil {
					r.onPass()
				}
			}
			p = (p + 1) & posMask
		case stFull:
			if passed != 0 {
				if q := r.lowestFull(first, p); q != p {
					p, w = q, word(q, r.full, stFull)
				}
			}
			if r.oneRecver {
				r.setHead(r.frontOf(p, first, passed != 0))
				return p, passed, claimed
			}
			if r.slot(p).CompareAndSwap(w, word(p, r.me, stReading)) {
				return p, passed, claimed
			}
		}
	}
	return p, passed, corrupt
}

// frontOf is how far the single receiver's own head may go before it takes p.
func (r *ring) frontOf(p, first uint64, passed bool) uint64 {
	if passed && dist(first, p) < 0 {
		return first
	}
	return p
}

// skipFree moves on from p, whose slot has gone on to the position of w: p is
// free, and if that slot is laps ahead, so is all that a claim there presupposed.
func (r *ring) skipFree(p, w uint64) uint64 {
	next := (p + 1) & posMask
	if far := (wordPos(w) - r.n - r.capacity + 1) & posMask; dist(far, next) > 0 {
		return far
	}
	return next
}

// lowestFull is the lowest position in [first, p) that is FULL now, or else p.
func (r *ring) lowestFull(first, p uint64) uint64 {
	if d := dist(p, first); d < 0 || d >= int64(r.capacity) { // p was claimed: all further back is free.
		first = (p - r.capacity + 1) & posMask
	}
	for q := first; q != p; q = (q + 1) & posMask {
		if r.slot(q).Load() == word(q, r.full, stFull) {
			return q
		}
	}
	return p
}

// walk calls f for every position from start to the frontier that is not free,
// until f says stop. It returns where it stopped, and whether the words it saw kept to the rules.
func (r *ring) walk(start uint64, f func(pos, w uint64) (more bool)) (end uint64, sane bool) {
	p, first, seen := start, uint64(0), false
	for limit := r.lookLimit(); limit > 0; limit-- {
		w := r.slot(p).Load()
		if !r.wellFormed(w, p) {
			return p, false
		}
		d := dist(wordPos(w), p)
		if d > 0 {
			p = r.skipFree(p, w)
			continue
		}
		if d < 0 {
			return p, seen && dist(p, first) >= int64(r.n)
		}
		if wordState(w) == stFree || wordState(w) == stSealed {
			return p, true
		}
		if !seen {
			first, seen = p, true
		}
		if !f(p, w) {
			return p, true
		}
		p = (p + 1) & posMask
	}
	return p, false
}

// nothingToTake makes sure that there was a moment at which nothing could be
// taken, after claimRecv was blocked. With nothing in hand the end of a look is such a
// moment, and with just the last position its middle. Else it looks twice: what was the
// same both times was so in between, for a slot comes back to the same word only by
// being given back, and that is counted.
func (r *ring) nothingToTake() bool {
	var last, lastBacks uint64
	for round := 0; ; round++ {
		backs := r.ctl.givenBack.Load()
		sum, held, next, found := uint64(14695981039346656037), 0, uint64(0), false // FNV's offset basis and prime
		end, _ := r.walk(r.recvFrom(), func(p, w uint64) bool {
			found = wordState(w) == stFull
			held, next = held+1, (p+1)&posMask
			sum = bits.RotateLeft64((sum^w)*1099511628211, 29)
			if r.onPass != nil {
				r.onPass()
			}
			return !found
		})
		switch {
		case found:
			return false
		case held == 0, held == 1 && end == next, round > 0 && sum == last && backs == lastBacks && backs == r.ctl.givenBack.Load():
			return true
		case round == 1<<16:
			return true // Only somebody who scribbles on the words gets here.
		}
		last, lastBacks = sum, backs
	}
}

// free hands the slot at pos, which we were reading, to the senders. False: the
// word was not ours any more, which only nonsense in the shared bytes can bring about.
func (r *ring) free(pos uint64) bool {
	s, from, to := r.slot(pos), word(pos, r.me, stReading), word((pos+r.n)&posMask, 0, stFree)
	if r.oneRecver {
		from = word(pos, r.full, stFull)
	}
	if r.plainFree { // Nobody else changes it: see straight.go.
		if s.Load() != from {
			return false
		}
		storeRelease(s, to)
	} else if !s.CompareAndSwap(from, to) {
		return false
	}
	if r.oneRecver {
		if r.rx.pos() == pos {
			r.setHead((pos + 1) & posMask)
		}
		if pos&hintMask == hintMask {
			r.ctl.head.Store(r.rx.pos())
		}
		return true
	}
	r.advanceHead()
	return true
}

// advanceHead moves the hint past positions that are free, after they were freed,
// by CAS: a plain store by a process that was stopped for long could set it back too far.
func (r *ring) advanceHead() {
	h := r.ctl.head.Load()
	p := h & posMask
	for i := uint64(0); i < r.n; i++ {
		w := r.slot(p).Load()
		if !r.wellFormed(w, p) || dist(wordPos(w), p) <= 0 {
			break
		}
		p = (p + 1) & posMask
	}
	if p != h {
		r.ctl.head.CompareAndSwap(h, p)
	}
}

// giveBack makes the value at pos, which we were reading, receivable again.
func (r *ring) giveBack(pos uint64) bool {
	if r.oneRecver {
		return true // It was never taken.
	}
	r.ctl.givenBack.Add(1) // Before, so that nothingToTake cannot miss it.
	return r.slot(pos).CompareAndSwap(word(pos, r.me, stReading), word(pos, r.full, stFull))
}

// sendFrom and recvFrom are where the role's own goroutine starts to look;
// others (the backstop, a waker) start from the shared hints.
func (r *ring) sendFrom() uint64 {
	if r.oneSender {
		return r.tx.pos()
	}
	return r.tailHint()
}

func (r *ring) recvFrom() uint64 {
	if r.oneRecver {
		return r.rx.pos()
	}
	return r.headHint()
}

func (r *ring) tailHint() uint64 { return r.ctl.tail.Load() & posMask }
func (r *ring) headHint() uint64 { return r.ctl.head.Load() & posMask }

// canSend says whether a send that starts to look at p may go on now: there is
// space, or nothing to wait for.
func (r *ring) canSend(p uint64) bool {
	if r.ctl.closed.Load() != 0 {
		return true
	}
	if r.ctl.holes.Load() != 0 {
		p = r.lookBack(p)
	}
	_, v := r.look(&p)
	return v != blocked
}

// canRecv says whether a receive that starts to look at p may find something now:
// a value, a seal, a frontier to seal, or nonsense.
func (r *ring) canRecv(p uint64) bool {
	if w := r.slot(p).Load(); w == word(p, r.full, stFull) {
		return true
	}
	inHand, found := false, false
	end, sane := r.walk(p, func(_, w uint64) bool {
		found = wordState(w) == stFull
		inHand = inHand || wordState(w) != stHole
		return !found
	})
	return found || !sane || !inHand && (r.ctl.closed.Load() != 0 && r.ctl.window.Load() == 0 || r.slot(end).Load() == word(end, 0, stSealed))
}

// holders calls f with the word of every slot in somebody's hands that a caller
// blocked in direction d may be waiting for.
func (r *ring) holders(d direction, f func(w uint64)) {
	inHand := func(w uint64) {
		if s := wordState(w); s == stWriting || s == stReading {
			f(w)
		}
	}
	if d == sending {
		// The next position waits for that of c before; and the positions just below it
		// would be holes, to be used, if those who write them are dead.
		p := r.tailHint()
		if _, v := r.look(&p); v != blocked {
			return
		}
		inHand(r.slot(p - r.capacity).Load())
		for i := uint64(1); i < r.capacity; i++ {
			q := (p - i) & posMask
			w := r.slot(q).Load()
			if wordPos(w) != q || wordState(w) != stWriting && wordState(w) != stHole {
				return
			}
			inHand(w)
		}
		return
	}
	r.walk(r.headHint(), func(_, w uint64) bool { // Whoever waits for values need not look behind one.
		inHand(w)
		return wordState(w) != stFull
	})
	inHand(r.ctl.window.Load())
}

// recoverTag gives back what the dead owner with this tag had in hand, by CAS on
// the exact word: several may do it at once, and an owner of the same index but
// another generation is not touched. It returns how many slots became free and full.
func (r *ring) recoverTag(tag uint64) (freed, refilled int) {
	if w := r.ctl.window.Load(); w != 0 && wordTag(w) == tag && r.ctl.window.CompareAndSwap(w, 0) {
		freed++
	}
	for i := uint64(0); i < r.n; i++ {
		s := r.slot(i)
		w := s.Load()
		if wordTag(w) != tag || (wordPos(w)^i)&r.mask != 0 {
			continue
		}
		p := wordPos(w)
		switch wordState(w) {
		case stWriting:
			if r.makeHole(w) {
				freed++
			}
		case stReading:
			r.ctl.givenBack.Add(1)
			if s.CompareAndSwap(w, word(p, r.full, stFull)) {
				refilled++
			}
		}
	}
	return freed, refilled
}

// census counts the values in the ring (FULL, or in a receiver's hands) and the
// positions without one (being written, or holes), and finds the true tail. It takes a
// step for each slot in use.
func (r *ring) census() (values, without int, tail uint64) {
	tail, _ = r.walk(r.headHint(), func(_, w uint64) bool {
		switch wordState(w) {
		case stFull, stReading:
			values++
		default:
			without++
		}
		return values+without < int(r.capacity)
	})
	if values+without == int(r.capacity) { // walk stopped on the last of them
		tail = (tail + 1) & posMask
	}
	return values, without, tail
}

// Waiters: a bit for each participant and direction in the control block. Set by
// the sleeper before it looks again, cleared by one waker by atomic and, before it rings.

// setWaiting puts our flag up; false: it was up.
func (r *ring) setWaiting(d direction, idx int) bool {
	w := &r.ctl.waiting(d)[idx/64]
	bit := uint64(1) << (idx % 64)
	return w.Load()&bit == 0 && w.Or(bit)&bit == 0
}

// clearWaiting takes our flag down; false: somebody had, and has rung or will.
func (r *ring) clearWaiting(d direction, idx int) bool {
	bit := uint64(1) << (idx % 64)
	return r.ctl.waiting(d)[idx/64].And(^bit)&bit != 0
}

func (r *ring) anyWaiting(d direction) bool {
	w := r.ctl.waiting(d)
	return w[0].Load()|w[1].Load()|w[2].Load()|w[3].Load() != 0
}

// takeWaiter clears one flag, the first from index start on, and says whose.
func (r *ring) takeWaiter(d direction, start int) (idx int, ok bool) {
	w := r.ctl.waiting(d)
	for i := 0; i <= len(w); i++ {
		k := (start/64 + i) % len(w)
		for {
			v := w[k].Load()
			if i == 0 {
				v &= ^uint64(0) << (start % 64)
			}
			if v == 0 {
				break
			}
			idx = k*64 + bits.TrailingZeros64(v)
			if r.clearWaiting(d, idx) {
				return idx, true
			}
		}
	}
	return 0, false
}
