package shmcapnp

// The framing: a table with the number of segments, less one, and the length of each, in words, as little-endian numbers
// of 32 bits, padded to a whole word; then the segments.
//
// Invariant: each number of a table that a peer may write is loaded once, and checked before it is used.

import (
	"encoding/binary"
	"fmt"

	capnp "capnproto.org/go/capnp/v3"
)

const (
	wordSize    = 8
	headerSize  = 8         // of a message in one segment
	maxSegments = 512       // as in other implementations
	maxSegment  = 1<<29 - 1 // words
)

// putHeader says that the message of buf has one segment, of n bytes.
func putHeader(buf []byte, n int) {
	binary.LittleEndian.PutUint32(buf, 0)
	binary.LittleEndian.PutUint32(buf[4:], uint32(n/wordSize))
}

// tableSize is how long the table for n segments is, in bytes.
func tableSize(n int) int { return (4*(n+1) + wordSize - 1) &^ (wordSize - 1) }

// segmentsOf is the number of segments of a message whose first bytes are b.
func segmentsOf(b []byte) (int, error) {
	n := binary.LittleEndian.Uint32(b)
	if n >= maxSegments {
		return 0, fmt.Errorf("%w: it says that it has %d segments, and may have %d", ErrMalformed, uint64(n)+1, maxSegments)
	}
	return int(n) + 1, nil
}

// wordsOf is the length of segment i, in words.
func wordsOf(b []byte, i int) (uint64, error) {
	w := binary.LittleEndian.Uint32(b[4*(i+1):])
	if w > maxSegment {
		return 0, fmt.Errorf("%w: it says that its segment %d has %d words, and may have %d", ErrMalformed, i, w, maxSegment)
	}
	return uint64(w), nil
}

// lengthOf is how many bytes a message has that begins with b: as far as b says, if that is not all of its table. It is never less than
// what it was for fewer bytes. Only for bytes that nobody else can write.
func lengthOf(b []byte) (uint64, error) {
	if len(b) < headerSize {
		return headerSize, nil
	}
	n, err := segmentsOf(b)
	if err != nil {
		return 0, err
	}
	size := uint64(tableSize(n))
	if uint64(len(b)) < size {
		return size, nil
	}
	for i := range n {
		w, err := wordsOf(b, i)
		if err != nil {
			return 0, err
		}
		size += w * wordSize
	}
	return size, nil
}

// open makes m the message that b is, all of it, for reading. One is used if it has one segment.
func open(m *capnp.Message, one *capnp.ReadOnlySingleSegment, b []byte) error {
	if len(b) < headerSize {
		return fmt.Errorf("%w: it has %d bytes", ErrMalformed, len(b))
	}
	n, err := segmentsOf(b)
	if err != nil {
		return err
	}
	at := uint64(tableSize(n))
	if uint64(len(b)) < at {
		return fmt.Errorf("%w: it says that it has %d segments, whose table does not fit in its %d bytes", ErrMalformed, n, len(b))
	}
	var arena capnp.Arena = one
	var all [][]byte
	if n > 1 {
		all = make([][]byte, n)
	}
	for i := range n {
		words, err := wordsOf(b, i)
		if err != nil {
			return err
		}
		end := at + words*wordSize
		if end > uint64(len(b)) {
			return fmt.Errorf("%w: it says that its segments up to %d end at byte %d, of %d", ErrMalformed, i, end, len(b))
		}
		if n == 1 {
			one.ReplaceData(b[at:end:end])
		} else {
			all[i] = b[at:end:end]
		}
		at = end
	}
	if at != uint64(len(b)) {
		one.Release()
		return fmt.Errorf("%w: it says that it has %d bytes, of %d", ErrMalformed, at, len(b))
	}
	if n > 1 {
		arena = capnp.MultiSegment(all)
	}
	if _, err := m.Reset(arena); err != nil {
		m.Release()
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// gather is what is still to be written of a message.
type gather struct {
	parts [][]byte // the table and the segments
	left  int      // bytes
	room  [4][]byte
	table [16]byte
}

// gatherOf is all of a message.
func gatherOf(m *capnp.Message) (*gather, error) {
	n := m.NumSegments()
	if n < 1 || n > maxSegments {
		return nil, fmt.Errorf("the message has %d segments; it may have 1 to %d", n, maxSegments)
	}
	g := &gather{}
	table := g.table[:]
	if size := tableSize(int(n)); size <= len(table) {
		table = table[:size]
	} else {
		table = make([]byte, size)
	}
	binary.LittleEndian.PutUint32(table, uint32(n-1))
	g.parts = append(g.room[:0], table)
	g.left = len(table)
	for i := range int(n) {
		s, err := m.Segment(capnp.SegmentID(i))
		if err != nil {
			return nil, err
		}
		data := s.Data()
		if words := len(data) / wordSize; len(data)%wordSize != 0 || words > maxSegment || g.left+len(data) < 0 {
			return nil, fmt.Errorf("the message's segment %d has %d bytes; it may have whole words, and %d of them", i, len(data), maxSegment)
		}
		binary.LittleEndian.PutUint32(table[4*(i+1):], uint32(len(data)/wordSize))
		g.parts = append(g.parts, data)
		g.left += len(data)
	}
	return g, nil
}

// fill writes as much as there is room for.
func (g *gather) fill(buf []byte) (n int, err error) {
	for len(g.parts) > 0 && n < len(buf) {
		c := copy(buf[n:], g.parts[0])
		n += c
		if g.parts[0] = g.parts[0][c:]; len(g.parts[0]) == 0 {
			g.parts = g.parts[1:]
		}
	}
	g.left -= n
	return n, nil
}
