package shmchan

// The single roles' way past claims: the next slot is theirs, if it is free, or full.
//
// Invariants:
//   - Only the role's goroutine touches tx, or rx; detach does once no call is under way.
//   - slot and word belong to the same position, the role's next, and left is never 0.
//   - The slot that was looked at stays as it is until the role itself changes it, but for a
//     seal in the place of FREE, on which the CAS that publishes fails.

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// solo is where a single role stands, and what it needs for the next slot.
type solo struct {
	_     [64]byte
	slot  unsafe.Pointer // of the next position
	word  uint64         // that slot's if it is for us: FREE for the sender, FULL for the receiver
	step  uint64         // from that word to the one that we leave there
	left  uint64         // positions until the next turn
	bound uint64         // at the last hint, the other side was not at work below it
	_     [64]byte
}

func (f *solo) pos() uint64 { return f.word >> posShift }

// ready says whether the slot is for us.
func (f *solo) ready() bool { return (*atomic.Uint64)(f.slot).Load() == f.word }

// done publishes the value in the slot, or frees it. False: somebody has changed the word.
func (f *solo) done() bool { return (*atomic.Uint64)(f.slot).CompareAndSwap(f.word, f.word+f.step) }

// next goes on to the next slot, and asks for a turn once in a while. After a turn it is right again.
func (f *solo) next(stride uintptr) (turn bool) {
	f.slot = unsafe.Add(f.slot, stride)
	f.word += 1 << posShift
	f.left--
	return f.left == 0
}

// prefetches says how far ahead a role asks for the lines of slots, so that several of them
// are on their way from the other CPU at once, and a locked instruction finds its line here.
type prefetches struct {
	chunk uint64 // slots from turn to turn, a power of two; their lines are asked for at once
	ahead uint64 // how many slots ahead, 0 for never
	lines uint64 // of a chunk
}

// prefetchBytes is how much is asked for at once, unless that is less than a slot: when as much again lies before it.
const prefetchBytes = 1024

func (r *ring) startSingle() {
	r.chunk = min(max(uint64(1)<<bits.Len64(prefetchBytes/uint64(r.stride))>>1, 1), r.n, hintMask+1)
	r.lines = (r.chunk*uint64(r.stride) + 63) / 64
	if r.ahead = 2 * r.chunk; r.ahead*4 > r.capacity {
		r.ahead = 0
	}
	r.tx.step = word(0, r.full, stFull) - word(0, 0, stFree)
	r.rx.step = word(r.n, 0, stFree) - word(0, r.full, stFull)
	r.setTail(r.tailHint())
	r.setHead(r.headHint())
	r.tx.bound, r.rx.bound = r.headHint()+r.capacity, r.tailHint()
}

func (r *ring) setTail(p uint64) { r.set(&r.tx, p, word(p, 0, stFree)) }
func (r *ring) setHead(p uint64) { r.set(&r.rx, p, word(p, r.full, stFull)) }

func (r *ring) set(f *solo, p, w uint64) {
	f.slot, f.word, f.left = unsafe.Pointer(r.slot(p)), w, r.chunk-p&(r.chunk-1)
}

// turn is what is due every chunk: to begin anew at the ring's end, to tell the others where we are, and to
// ask for lines. Those beyond bound the other side is at work on.
func (r *ring) turn(f *solo, own, other *atomic.Uint64, room uint64) {
	p := f.pos()
	r.set(f, p, f.word)
	if p&hintMask == 0 {
		own.Store(p)
		f.bound = other.Load()&posMask + room
	}
	if a := p + r.ahead; r.ahead != 0 && dist(f.bound, a+r.chunk) >= 0 {
		prefetchWrite(unsafe.Pointer(r.slot(a)), r.lines)
	}
}

// nextFree is the slot in which the single sender's next value goes, if there is nothing to think about.
func (h *handle) nextFree() (slot unsafe.Pointer, ok bool) {
	return h.tx.slot, h.tx.ready() && h.ctl.closed.Load() == 0
}

// sendAlone publishes the value that was put there, and wakes nobody.
func (h *handle) sendAlone() bool {
	if !h.tx.done() {
		return false
	}
	if h.tx.next(h.stride) {
		h.turn(&h.tx, &h.ctl.tail, &h.ctl.head, h.capacity)
	}
	return true
}

// recvAlone frees the slot of the value that was taken from there, and wakes nobody.
func (h *handle) recvAlone() bool {
	if !h.rx.done() {
		return false
	}
	if h.rx.next(h.stride) {
		h.turn(&h.rx, &h.ctl.head, &h.ctl.tail, 0)
	}
	return true
}
