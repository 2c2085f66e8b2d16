package main

// What the demo sends.
//
// Invariant: sum is a checksum over all other fields, so a trade of which a part
// is missing or another's does not pass for whole.

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"
)

// trade is one value in the channel: 64 bytes, a cache line on most machines.
type trade struct {
	Seq      uint64 // 1, 2, 3... for each sender
	SentAt   int64  // CLOCK_MONOTONIC in nanoseconds, just before the Send
	Price    float64
	Quantity uint64
	Sender   uint32 // the sender's number, from 1
	Side     uint32 // buy or sell
	Symbol   [8]byte
	Row      uint64 // of the input, from 0
	Sum      uint64
}

var _ [64]byte = [unsafe.Sizeof(trade{})]byte{}

// Sides of a trade.
const (
	buy  uint32 = 1
	sell uint32 = 2
)

// sum is the checksum of everything in t but Sum.
func (t *trade) sum() uint64 {
	h := uint64(14695981039346656037) // FNV's offset basis and prime, a word at a time
	for _, w := range [...]uint64{
		t.Seq, uint64(t.SentAt), math.Float64bits(t.Price), t.Quantity,
		uint64(t.Sender)<<32 | uint64(t.Side), binary.LittleEndian.Uint64(t.Symbol[:]), t.Row,
	} {
		h = bits.RotateLeft64((h^w)*1099511628211, 29)
	}
	return h
}
