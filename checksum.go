package shmchan

// WithChecksum: a CRC-32C beside each value, which tells a value that was damaged, or that belongs to another position.
//
// Invariants, for a channel with the option:
//   - The sum is of the bytes as they lie in the slot, padding too, and begins with the position. It is stored before the
//     value is published, and stays with the value if that is given back.
//   - The receiver copies the bytes once to private memory, checks that copy, and hands out that.
//   - All calls go the long way: their lanes are barred.
//
// It is no signature: who may write the memory can write a fitting sum. It tells accidents.

import (
	"hash/crc32"
	"unsafe"
)

// sumSize is what a slot has for the sum, behind the value, at a multiple of four.
const sumSize = 4

// sumOffset is where in its slot the sum of a value of that size lies.
func sumOffset(size uint64) uint64 { return roundUp(valueOffset+size, sumSize) }

// sumSeed is what the sum of the value at a position begins with: positions that share a slot have different ones.
func sumSeed(pos uint64) uint32 { return uint32(pos) ^ uint32(pos>>32)<<24 ^ 0x5348_4d43 }

func sumOf(pos uint64, value []byte) uint32 { return crc32.Update(sumSeed(pos), castagnoli, value) }

// sum is where the sum of the value at pos lies.
func (h *handle) sum(pos uint64) *uint32 {
	return (*uint32)(unsafe.Add(h.value(pos), sumOffset(h.info.size)-valueOffset))
}

// putSum stores the sum of the value that was put at pos.
func (h *handle) putSum(pos uint64) {
	if h.inline > 0 {
		h.putMessageSum(pos)
		return
	}
	*h.sum(pos) = sumOf(pos, unsafe.Slice((*byte)(h.value(pos)), h.info.size))
}

// takeChecked is take. The value goes through memory of its own, for v must stay on the caller's stack.
//
//go:noinline
func (r *Receiver[T]) takeChecked(pos uint64, v *T) error {
	c := r.private()
	defer r.copies.Put(c)
	bad := r.copyOut(pos, c)
	if err := r.h.recvEnd(pos); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	*v = *c
	return nil
}

// copyOut copies the value at pos to memory that private has given. An error, and a zero *v, if it is none.
func (r *Receiver[T]) copyOut(pos uint64, v *T) error {
	h := r.h
	if h.checked && !h.copyChecked(pos, unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))) {
		var zero T
		*v = zero
		return h.badSum(pos)
	}
	if h.checked && r.valid(v) || !h.checked && r.get(h.value(pos), v) {
		return nil
	}
	return r.badBool(pos)
}

// copyChecked copies the bytes of the value at pos to private memory, and says whether they have their sum.
func (h *handle) copyChecked(pos uint64, to []byte) bool {
	copy(to, unsafe.Slice((*byte)(h.value(pos)), len(to)))
	return *h.sum(pos) == sumOf(pos, to)
}

// private is memory for a value that nobody else sees.
func (r *Receiver[T]) private() *T {
	if v, ok := r.copies.Get().(*T); ok {
		return v
	}
	return new(T)
}

// badSum is the error for a value that does not have its sum.
func (h *handle) badSum(pos uint64) error {
	return corruptError(h.name, "the value at position %d, in slot %d of %d, does not match its checksum; it was dropped", pos, pos&h.mask, h.n)
}
