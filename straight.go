package shmchan

// The way straight to a slot, for calls that know where they are and need not think: those of single roles,
// and of the goroutine in a side's lane (side.go), which go on where the last one was. A single role need not
// claim. Others claim by CAS as all do, and all publish and free by a plain store, for nobody else changes a word that is theirs.
//
// Invariants:
//   - tx, and rx, are touched only in the lane; detach does once no call is under way.
//   - off and word belong to the same position, the next, and the turn due there was made.
//   - Below tx everything was claimed; below rx everything is free: either begins at a hint, of which that is true, and
//     goes on by its own claims only. So nothing is gone past that is, or may become, a value.
//   - The slot that a single role has looked at stays as it is until the role itself changes it, but for a
//     seal in the place of FREE.
//   - The sender says in the window what it has in hand, then looks whether the channel is
//     closed, and shuts the window when its value is published. Who would seal has seen that the channel is
//     closed, fences for all, and then looks at the window. One of the two sees the other, so
//     that no value is stored over a seal (model/straight.pml). A slot that was claimed is not sealed.
//   - A store that publishes or frees may reach the others after the look for sleepers that
//     follows it. So who goes to sleep fences for all too, between his flag and his look.

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// spot is where a side stands, and what it needs for the next slot.
type spot struct {
	_      [64]byte
	off    uintptr // of the next position's slot, from the first
	word   uint64  // that slot's if it is for us: FREE for the sender, FULL for the receiver
	step   uint64  // from that word to the one that we leave there
	claim  uint64  // from that word to WRITING, or READING, by us
	turns  uint64  // bits of word, all 0 where a turn is due
	bound  uint64  // the other side is not at work below it
	waited uint64  // the position at which it last had to wait
	hold   uint32  // pauses, see holdFor
	stream bool    // see clear
	_      [64]byte
}

func (f *spot) pos() uint64 { return f.word >> posShift }

// next goes on to the next slot, and asks for a turn once in a while. After a turn it is right again.
func (f *spot) next(stride uintptr) (turn bool) {
	f.off += stride
	f.word += 1 << posShift
	return f.word&f.turns == 0
}

// left is how many positions there are until the next turn, at least 1.
func (f *spot) left() uint64 { return (f.turns-f.word&f.turns)>>posShift + 1 }

// prefetches says how far ahead a side asks for the lines of slots, so that several of them
// are on their way from the other CPU at once, and are here when they are needed.
type prefetches struct {
	chunk uint64 // slots from turn to turn, a power of two; their lines are asked for at once
	ahead uint64 // how many slots ahead, 0 for never
	lines uint64 // of a chunk
	pair  bool   // a sender that claims asks for its value's second line, which is then on its way while the CAS waits for the first
	both  bool   // a single receiver of values of two lines that waits looks at both, so that the second comes with the first
}

// prefetchBytes is how much is asked for at once, unless that is less than a slot. It is asked
// for when as much again lies before it.
const prefetchBytes = 1024

// prefetchMost is the slot, in bytes, beyond which no lines are asked for: so many would push each other out before they are used, and
// a processor fetches on along a large slot by itself.
const prefetchMost = 8 << 10

func (r *ring) startStraight(messages bool) {
	r.chunk = min(max(uint64(1)<<bits.Len64(prefetchBytes/uint64(r.stride))>>1, 1), r.n, hintMask+1)
	r.lines = (r.chunk*uint64(r.stride) + 63) / 64
	if r.ahead = 2 * r.chunk; r.ahead*4 > r.capacity || r.stride > prefetchMost {
		r.ahead = 0
	}
	r.pair = r.stride > 64 && !r.oneSender
	r.both = r.stride > 64 && r.stride <= 128 && r.oneRecver && !messages
	r.tx.step = word(0, r.full, stFull) - word(0, 0, stFree)
	r.rx.step = word(r.n, 0, stFree) - word(0, r.full, stFull)
	r.tx.claim = word(0, r.me, stWriting) - word(0, 0, stFree)
	r.rx.claim = word(0, r.me, stReading) - word(0, r.full, stFull)
	r.tx.turns, r.rx.turns = (r.chunk-1)<<posShift, (r.chunk-1)<<posShift
	r.findPlace(sending)
	r.findPlace(receiving)
	r.tx.bound, r.rx.bound = r.headHint()+r.capacity, r.tailHint()
}

// findPlace begins anew at the shared hint.
func (r *ring) findPlace(d direction) {
	if d == sending {
		r.setTail(r.tailHint())
	} else {
		r.setHead(r.headHint())
	}
}

func (r *ring) place(d direction) *spot {
	if d == sending {
		return &r.tx
	}
	return &r.rx
}

func (r *ring) setTail(p uint64) { r.set(&r.tx, p, word(p, 0, stFree)) }
func (r *ring) setHead(p uint64) { r.set(&r.rx, p, word(p, r.full, stFull)) }

func (r *ring) set(f *spot, p, w uint64) {
	f.off, f.word = uintptr(p&r.mask)*r.stride, w
}

// turn is what is due every chunk: to begin anew at the ring's end, to tell the others where we are, to keep
// away from them, and to ask for lines.
func (r *ring) turn(f *spot, own, other *atomic.Uint64, room uint64, single bool) {
	p := f.pos()
	r.set(f, p, f.word)
	if p&hintMask == 0 {
		if single {
			storeRelease(own, p)
		} else {
			tell(own, p)
		}
	}
	if r.ahead == 0 {
		return
	}
	a := p + r.ahead
	if dist(f.bound, a+r.chunk) >= 0 || f.clear(a+r.chunk, r.chunk, other, room) {
		prefetchWrite(unsafe.Pointer(r.slot(a)), r.lines)
	}
}

//go:noinline
func (r *ring) turnTail() { r.turn(&r.tx, &r.ctl.tail, &r.ctl.head, r.capacity, r.oneSender) }

//go:noinline
func (r *ring) turnHead() { r.turn(&r.rx, &r.ctl.head, &r.ctl.tail, 0, r.oneRecver) }

// tell brings a shared hint up to p, by CAS: who is stopped here must not set it back.
func tell(hint *atomic.Uint64, p uint64) {
	if h := hint.Load(); dist(p, h&posMask) > 0 {
		hint.CompareAndSwap(h, p)
	}
}

// tellAll brings the shared hint up to where we are.
func (r *ring) tellAll(d direction) {
	if d == sending {
		tell(&r.ctl.tail, r.tx.pos())
	} else {
		tell(&r.ctl.head, r.rx.pos())
	}
}

// txSlot is the slot in which our next value goes, and rxSlot that in which the
// next one for us is. Nil if it is not there yet.
func (r *ring) txSlot() unsafe.Pointer { return r.straight(&r.tx) }
func (r *ring) rxSlot() unsafe.Pointer { return r.straight(&r.rx) }

func (r *ring) straight(f *spot) unsafe.Pointer {
	slot := unsafe.Add(r.slots, f.off)
	if (*atomic.Uint64)(slot).Load() != f.word {
		return nil
	}
	return slot
}

// txTake makes the slot ours, which a single sender says in the window. False: the channel is closed, or the slot is not to be had.
func (r *ring) txTake(slot unsafe.Pointer) bool {
	if r.oneSender {
		storeRelease(&r.ctl.window, r.tx.word+r.tx.claim)
		return r.ctl.closed.Load() == 0
	}
	return r.ctl.closed.Load()|r.ctl.holes.Load() == 0 && (*atomic.Uint64)(slot).CompareAndSwap(r.tx.word, r.tx.word+r.tx.claim)
}

// rxTake makes the slot ours. False: another was quicker.
func (r *ring) rxTake(slot unsafe.Pointer) bool {
	return r.oneRecver || (*atomic.Uint64)(slot).CompareAndSwap(r.rx.word, r.rx.word+r.rx.claim)
}

// txStill and rxStill say whether the word of the slot in hand is as we left it, after a user's function had the time for others to scribble.
func (r *ring) txStill(slot unsafe.Pointer) bool { return r.still(slot, &r.tx, r.oneSender) }
func (r *ring) rxStill(slot unsafe.Pointer) bool { return r.still(slot, &r.rx, r.oneRecver) }

func (r *ring) still(slot unsafe.Pointer, f *spot, single bool) bool {
	w := f.word
	if !single {
		w += f.claim
	}
	return (*atomic.Uint64)(slot).Load() == w
}

// openRun is txTake for all slots until the next turn, which others than a single sender claim one by one. False: the channel is
// closed, or there are holes. A single sender that finds it closed has its window shut by closeRun.
func (r *ring) openRun() bool {
	if r.oneSender {
		storeRelease(&r.ctl.window, r.tx.word+r.tx.claim)
		return r.ctl.closed.Load() == 0
	}
	return r.ctl.closed.Load()|r.ctl.holes.Load() == 0
}

// shutWindow says that the single sender has nothing in hand.
func (r *ring) shutWindow() { storeRelease(&r.ctl.window, 0) }

// txDone says after sent whether a receiver may wait for it.
func (r *ring) txDone() (awaited bool) {
	if r.oneSender {
		r.shutWindow()
	}
	return r.sentAwaited()
}

// sentAwaited is txDone but for the window.
func (r *ring) sentAwaited() bool {
	w := &r.ctl.receivers
	return w[0].Load()|w[1].Load()|w[2].Load()|w[3].Load() != 0
}

// rxDone says after received whether a sender may wait for it, or a receiver, to seal.
func (r *ring) rxDone() (awaited bool) {
	w := &r.ctl.senders
	return w[0].Load()|w[1].Load()|w[2].Load()|w[3].Load()|r.ctl.closed.Load() != 0
}

// inWindow is what the single sender has in hand: 0, or a WRITING word. The caller has seen that the
// channel is closed.
func (r *ring) inWindow() uint64 {
	if !r.oneSender {
		return 0
	}
	r.fenceAll()
	return r.ctl.window.Load()
}

// fenceAll has all who share the channel pass a full fence, if their stores need that.
func (r *ring) fenceAll() {
	if r.fences {
		fenceOthers()
	}
}

// sent publishes the value that was put in the slot, and wakes nobody.
func (r *ring) sent(slot unsafe.Pointer) {
	storeRelease((*atomic.Uint64)(slot), r.tx.word+r.tx.step)
	if r.tx.next(r.stride) {
		r.turnTail()
	}
}

// received frees the slot whose value was taken, and wakes nobody.
func (r *ring) received(slot unsafe.Pointer) {
	storeRelease((*atomic.Uint64)(slot), r.rx.word+r.rx.step)
	if r.rx.next(r.stride) {
		r.turnHead()
	}
}

// Distance. Who looks at a slot takes its line from the one who is at work on it, and so does his processor with
// the lines behind it, which it fetches unasked. If the two follow each other closely they wait for each other's lines,
// for each value anew; apart by some lines each finds its own where it needs them. The quicker
// one therefore stays behind, as long as that pays. These are the measures, in pauses and looks, found by trying (docs/performance.md):
const (
	minHold   = 2    // before the next look at a slot that was not ready; less than the way there and back
	maxHold   = 64   // the same, while values come thick and fast
	soonLooks = 200  // after that, one after the other
	apart     = 16   // looks at the other's hint, eight pauses each, before coming close
	tryEvery  = 2048 // positions after which that is tried again
)

// clear says whether the other side is beyond p, and waits a little for that as long as it pays.
func (f *spot) clear(p, chunk uint64, other *atomic.Uint64, room uint64) bool {
	if f.bound = other.Load()&posMask + room; dist(f.bound, p) >= 0 {
		return true
	}
	if !f.stream && f.pos()&(tryEvery-1) >= chunk {
		return false
	}
	f.stream = false
	for range apart {
		for range 8 {
			pause()
		}
		if f.bound = other.Load()&posMask + room; dist(f.bound, p) >= 0 {
			f.stream = true
			break
		}
	}
	return f.stream
}

// soon is the slot that a call in the lane waits for, if it is ready before long.
func (r *ring) soon(f *spot) unsafe.Pointer {
	n := min(maxHold, uint32(r.capacity/16)) // Full: there is time.
	if f == &r.rx {
		n = f.holdFor(n)
	}
	for range n {
		pause()
	}
	slot := unsafe.Add(r.slots, f.off)
	both := r.both && f == &r.rx
	for range soonLooks {
		if both {
			(*atomic.Uint64)(unsafe.Add(slot, 64)).Load()
		}
		w := (*atomic.Uint64)(slot).Load()
		if w == f.word {
			return slot
		}
		if d := dist(wordPos(w), f.pos()); f == &r.tx && d >= 0 || f == &r.rx && (d != 0 || wordState(w) > stWriting) {
			break // Another was quicker, or has it in hand.
		}
	}
	return nil
}

// holdFor is for how many pauses, at most that many, a receiver does not look at a slot that was not ready: twice as many as
// before, if values came at least that fast since then.
func (f *spot) holdFor(most uint32) uint32 {
	run := uint64(dist(f.pos(), f.waited))
	f.waited = f.pos()
	if run >= 2 && 2*run >= uint64(f.hold) {
		f.hold *= 2
	} else {
		f.hold /= 2
	}
	f.hold = min(max(f.hold, minHold), most)
	return f.hold
}
