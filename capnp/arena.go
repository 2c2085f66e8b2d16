package shmcapnp

// The arena in which SendFunc's message is built: one segment, in memory that was there before and does not grow.
//
// Invariant: the segment's bytes are the first of that memory, and nothing is allocated beyond it.

import (
	"fmt"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
)

// slotArena is an arena over memory of somebody else's.
type slotArena interface {
	capnp.Arena
	use(room []byte) // Only when the arena is new or released. What room holds does not matter.
	outgrown() bool  // Was something refused since then?
}

// arena is a slotArena. A is the type of an address in a segment, which the package capnp does not export. Nor can others fill
// a capnp.Segment, but for one that is to be read: so that is set to more and more of the memory.
type arena[A ~uint32] struct {
	one    capnp.ReadOnlySingleSegment
	room   []byte
	missed bool
}

// arenaOf takes A from what Allocate of an arena returns.
func arenaOf[A ~uint32](func(capnp.Arena, capnp.Size, *capnp.Message, *capnp.Segment) (*capnp.Segment, A, error)) *arena[A] {
	return &arena[A]{}
}

func newSlotArena() slotArena { return arenaOf(capnp.Arena.Allocate) }

func (a *arena[A]) use(room []byte) {
	a.room, a.missed = room, false
	a.one.ReplaceData(room[:0])
}

func (a *arena[A]) outgrown() bool { return a.missed }

func (a *arena[A]) NumSegments() int64 { return 1 }

func (a *arena[A]) Segment(id capnp.SegmentID) *capnp.Segment { return a.one.Segment(id) }

func (a *arena[A]) Allocate(size capnp.Size, m *capnp.Message, _ *capnp.Segment) (*capnp.Segment, A, error) {
	s := a.one.Segment(0)
	at := len(s.Data())
	if uint64(size) > uint64(len(a.room)-at) {
		a.missed = true
		return nil, 0, fmt.Errorf("%w: %d more bytes, and there is room for %d", shmchan.ErrTooLarge, size, len(a.room)-at)
	}
	end := at + int(size)
	a.one.Release()
	a.one.ReplaceData(a.room[:end:end])
	s.BindTo(m)
	return s, A(at), nil
}

func (a *arena[A]) Release() {
	a.one.Release()
	a.room = nil
}
