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

func (c codec[T]) put(slot unsafe.Pointer, v *T) { *(*T)(slot) = *v }

// get copies the value out. False, and a zero *v, if a bool in it is neither 0
// nor 1: such a bool would be undefined behaviour in Go.
func (c codec[T]) get(slot unsafe.Pointer, v *T) bool {
	*v = *(*T)(slot)
	if len(c.bools) != 0 && !c.valid(unsafe.Pointer(v)) {
		var zero T
		*v = zero
		return false
	}
	return true
}

func (c codec[T]) valid(p unsafe.Pointer) bool {
	for _, off := range c.bools {
		if *(*uint8)(unsafe.Add(p, off)) > 1 {
			return false
		}
	}
	return true
}
