package contract

import (
	"fmt"
	"unsafe"
)

// Value is what travels: 8, 64, 120, 1024 or 65528 bytes. The first word and the last say who
// sent it and which it is; a peer copies all of it.
type Value interface {
	[1]uint64 | [8]uint64 | [15]uint64 | [128]uint64 | [8191]uint64
}

const (
	seqBits = 48
	seqMask = 1<<seqBits - 1
	// Pill is the number of the value that ends a receiver of the row many: each sender
	// sends one for each receiver, each receiver takes one for each sender.
	Pill = seqMask
)

// Mark makes v the value number seq of sender from.
func Mark[T Value](v *T, from int, seq uint64) {
	w := words(v)
	w[0] = uint64(from)<<seqBits | seq
	w[len(w)-1] = w[0]
}

// Check is an error unless v is whole and the value number seq of sender 0.
func Check[T Value](v *T, seq uint64) error {
	w := words(v)
	if w[0] != seq || w[len(w)-1] != seq {
		return wrong(w, seq)
	}
	return nil
}

func wrong(w []uint64, seq uint64) error {
	return &WrongError{fmt.Sprintf("value %#x..%#x where %#x was next", w[0], w[len(w)-1], seq)}
}

// words and Bytes show a value for what it is. No type parameter is indexed in the hot
// loops: that is a call through a dictionary.
func words[T Value](v *T) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(v)), unsafe.Sizeof(*v)/8)
}

// Bytes are the bytes of a value.
func Bytes[T Value](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// Audit checks the values that a receiver of the row many gets.
type Audit struct {
	next  []uint64
	got   [][2]uint64
	pills int
}

// NewAudit is for that many senders.
func NewAudit(senders int) *Audit {
	return &Audit{next: make([]uint64, senders), got: make([][2]uint64, senders)}
}

// Take notes a value; done says that it was the last pill.
func (a *Audit) take(w []uint64) (done bool, err error) {
	from, seq := w[0]>>seqBits, w[0]&seqMask
	if w[len(w)-1] != w[0] || from >= uint64(len(a.next)) {
		return false, &WrongError{fmt.Sprintf("value %#x..%#x is not whole", w[0], w[len(w)-1])}
	}
	if seq == Pill {
		a.pills++
		return a.pills == len(a.next), nil
	}
	if seq < a.next[from] {
		return false, &WrongError{fmt.Sprintf("value %d of sender %d where it had come to %d", seq, from, a.next[from])}
	}
	a.next[from] = seq + 1
	a.got[from][0]++
	a.got[from][1] += seq
	return false, nil
}
