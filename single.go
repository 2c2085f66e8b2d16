package shmchan

// The single roles' way past claims: the next slot is theirs, if it is free, or full.
//
// Invariants:
//   - Only the role's goroutine touches ownTail, or ownHead; detach does once no call is under way.
//   - The slot that was looked at stays as it is until the role itself changes it, but for a
//     seal in the place of FREE, on which the CAS that publishes fails.

import (
	"sync/atomic"
	"unsafe"
)

// prefetches says how far ahead a role asks for the lines of slots, so that several of them
// are on their way from the other CPU at once, and a locked instruction finds its line here.
type prefetches struct {
	ahead uint64 // slots, 0 for never
	each  uint64 // of so many slots that share a line ask for the first; less one
}

// prefetchBytes is how far ahead slots are asked for.
const prefetchBytes = uintptr(1024)

func (r *ring) startSingle() {
	r.ownTail, r.ownHead = r.tailHint(), r.headHint()
	r.ownRoom, r.ownLast = r.ownHead+r.capacity, r.ownTail
	r.each = uint64(max(64/r.stride, 1) - 1)
	if r.ahead = uint64(max(prefetchBytes/r.stride, 2)); r.ahead*4 > r.capacity {
		r.ahead = 0
	}
}

// prefetch asks for the slot ahead of p, if that lies before end: beyond it the other side is at work.
func (r *ring) prefetch(p, end uint64) {
	if a := p + r.ahead; a&r.each == 0 && r.ahead != 0 && dist(end, a) > 0 {
		prefetchWrite(unsafe.Pointer(r.slot(a)))
	}
}

// nextFree is the slot in which the single sender's next value goes, if there is nothing to think about.
func (h *handle) nextFree() (slot unsafe.Pointer, ok bool) {
	p := h.ownTail
	w := h.slot(p)
	return unsafe.Pointer(w), w.Load() == word(p, 0, stFree) && h.n == h.capacity && h.ctl.closed.Load() == 0 && !h.send.inFunc
}

// sendAlone publishes the value that was put there, and wakes nobody.
func (h *handle) sendAlone(slot unsafe.Pointer) error {
	p := h.ownTail
	if !(*atomic.Uint64)(slot).CompareAndSwap(word(p, 0, stFree), word(p, h.full, stFull)) {
		return h.sendQuietly(p) // It says why.
	}
	h.ownTail = (p + 1) & posMask
	if p&hintMask == hintMask {
		h.ctl.tail.Store(h.ownTail)
		h.ownRoom = h.headHint() + h.capacity
	}
	h.prefetch(p, h.ownRoom)
	return nil
}

// nextFull is the slot in which the single receiver's next value is, if there is nothing to think about.
func (h *handle) nextFull() (slot unsafe.Pointer, ok bool) {
	p := h.ownHead
	w := h.slot(p)
	return unsafe.Pointer(w), w.Load() == word(p, h.full, stFull) && !h.recv.inFunc
}

// recvAlone frees the slot of the value that was taken from there, and wakes nobody.
func (h *handle) recvAlone(slot unsafe.Pointer) error {
	p := h.ownHead
	if !(*atomic.Uint64)(slot).CompareAndSwap(word(p, h.full, stFull), word((p+h.n)&posMask, 0, stFree)) {
		return h.corruptAt(p)
	}
	h.ownHead = (p + 1) & posMask
	if p&hintMask == hintMask {
		h.ctl.head.Store(h.ownHead)
		h.ownLast = h.tailHint()
	}
	h.prefetch(p, h.ownLast)
	return nil
}
