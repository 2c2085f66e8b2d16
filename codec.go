package shmchan

// A value into its slot and back.
//
// Invariants: what is read from a slot is copied once to private memory and
// checked there; a copy is always of exactly the size that the type has, which
// Open has compared with the slot; nothing is read or written beyond it.

import "unsafe"

// lengthTag is what a FULL word carries of the length of its value: the low 21
// bits. A typed value has one length, so a word that says another lies (ring.wellFormed).
func lengthTag(size uint64) uint64 { return size & tagMask }

// codec moves values of one type.
type codec[T any] struct {
	bools []uintptr // offsets of the bools in T
}

// wordwise says whether a value that was just written is to be copied word by word: a wider load would have to wait
// until the fields, which the caller has most likely just written one by one, are in the cache, and those wait for
// everything that was written before them, slots among it.
func wordwise[T any]() bool {
	const small = 128
	n := unsafe.Sizeof(*new(T))
	return n%8 == 0 && n > 8 && n <= small
}

// put copies the value in.
func (c codec[T]) put(slot unsafe.Pointer, v *T) {
	if wordwise[T]() {
		copyWords(slot, unsafe.Pointer(v), unsafe.Sizeof(*v))
		return
	}
	*(*T)(slot) = *v
}

// putOld is put for a value that was not written just now.
func (c codec[T]) putOld(slot unsafe.Pointer, v *T) { *(*T)(slot) = *v }

// blank is the slot's memory for a value that is to be built there: no bool in it is neither 0 nor 1.
func (c codec[T]) blank(slot unsafe.Pointer) *T {
	for _, off := range c.bools {
		*(*uint8)(unsafe.Add(slot, off)) = 0
	}
	return (*T)(slot)
}

// copyWords copies n bytes, a multiple of eight. The loads come first, or the compiler makes pairs of them.
func copyWords(to, from unsafe.Pointer, n uintptr) {
	for ; n >= 64; n -= 64 {
		t, f := (*[8]uint64)(to), (*[8]uint64)(from)
		a, b, c, d, e, g, h, i := f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]
		t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7] = a, b, c, d, e, g, h, i
		to, from = unsafe.Add(to, 64), unsafe.Add(from, 64)
	}
	for ; n > 0; n -= 8 {
		*(*uint64)(to) = *(*uint64)(from)
		to, from = unsafe.Add(to, 8), unsafe.Add(from, 8)
	}
}

// get copies the value out. False, and a zero *v, if a bool in it is neither 0
// nor 1: such a bool would be undefined behaviour in Go.
func (c codec[T]) get(slot unsafe.Pointer, v *T) bool {
	*v = *(*T)(slot)
	return len(c.bools) == 0 || c.valid(v)
}

// valid looks at the bools of a value that was copied out.
func (c codec[T]) valid(v *T) bool {
	for _, off := range c.bools {
		if *(*uint8)(unsafe.Add(unsafe.Pointer(v), off)) > 1 {
			var zero T
			*v = zero
			return false
		}
	}
	return true
}
