package shmchan

// Holding values: several at once in the hands of one handle, each taken or given back when its fate is known. For those who pass values
// on, to a network say, and may take one from the channel only when it has arrived there, but cannot wait for each before the next.
//
// Invariants:
//   - A held value is in READING, as one in a RecvFunc is, and counts as a call under way on its handle: the memory stays until Done or Return.
//   - All below edge was free, or in the hands of this handle, when edge went past it. So who claims at edge overtakes no value, but for those
//     that were given back since. For their sake every edgeTurn-th look begins at the head, as all others do.
//   - A handle that holds claims, also where the channel has a single receiver (WithHold).

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"unsafe"
)

// WithHold makes a handle for receiving one that can Hold values, also of a channel with WithSingleReceiver; there the role stays single, but
// any number of goroutines may use the handle. It belongs to the handle, and costs a receive of a single receiver its quick way.
func WithHold() Option { return func(o *options) { o.hold = true } }

// edgeTurn is how many values are held by the short way in a row.
const edgeTurn = 64

// holder is what a handle needs for the short way to the next value to hold.
type holder struct {
	mu   sync.Mutex // guards the rest
	edge uint64     // see the invariants
	left int        // values until the next look from the head
}

// Held is a value that a Hold has in hand. Its zero value holds nothing. One goroutine at a time may use it.
type Held struct {
	h       *handle
	pos     uint64
	data    []byte // of the value, where it lies or in own
	own     []byte // memory for copies
	inArena bool
}

// Bytes are the value's bytes as they lie in the channel, in this machine's byte order; of a channel of bytes the message. They are valid until
// Done or Return, and not to be written.
func (v *Held) Bytes() []byte { return v.data }

// ID names the value: the channel, which has a random number of its own, and the value's position in it. It stays the same when the value is
// given back and received again. Positions begin anew after 2^40 values.
func (v *Held) ID() string { return string(v.AppendID(nil)) }

// AppendID appends the ID to dst.
func (v *Held) AppendID(dst []byte) []byte {
	if v.h == nil {
		return dst
	}
	dst = base64.RawURLEncoding.AppendEncode(dst, v.h.info.id[:])
	return strconv.AppendUint(append(dst, '.'), v.pos, 10)
}

// Holds says whether there is a value in hand.
func (v *Held) Holds() bool { return v.h != nil }

// Done takes the value from the channel: it counts as received. It fails with ErrCorrupt, and with fs.ErrInvalid if nothing is held.
func (v *Held) Done() error {
	return v.end(func(h *handle) (err error) {
		if err = h.recvEnd(v.pos); err == nil {
			h.wakeRoom(v.inArena)
		}
		return err
	})
}

// Return gives the value back: it goes to another Recv, later than it would have come. It fails like Done. Of several, return the
// last first, lest one is received before another that came before it.
func (v *Held) Return() error {
	return v.end(func(h *handle) error {
		h.hold.mu.Lock()
		h.hold.left = 0
		h.hold.mu.Unlock()
		h.recvAbort(v.pos)
		return nil
	})
}

func (v *Held) end(how func(h *handle) error) (err error) {
	h := v.h
	if h == nil {
		return fmt.Errorf("shmchan: %w: nothing is held; call Done or Return once after a Hold that succeeded", fs.ErrInvalid)
	}
	err = h.guard(&h.recv, func() error { return how(h) })
	v.h, v.data = nil, nil
	h.recv.end()
	return err
}

// Hold waits for a value like RecvContext, and leaves it in the channel, in the hands of this handle: into has it until its Done or Return, or
// until the process dies. Then it goes to another Recv. A handle may hold as many as the channel has, and others go on meanwhile, but
// for senders once the channel has come round to a value that is held. Detach waits for nobody: what is held stays valid, and the handle lets
// go of the channel with the last Done or Return.
//
// Values are held in the order in which Recv would have them. It fails like RecvContext, and with ErrBusy if into still has a value, or the channel has a
// single receiver and the handle was made without WithHold.
func (r *Receiver[T]) Hold(ctx context.Context, into *Held) error {
	h := r.h
	return h.holdNext(ctx, into, func(pos uint64) (bad error) {
		var p *T
		if len(r.bools) != 0 || h.checked || h.opts.faultGuard {
			p = new(T)
			bad = r.copyOut(pos, p)
		} else {
			p = (*T)(h.value(pos))
		}
		into.data = unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
		return bad
	})
}

// Hold is Receiver.Hold for messages of bytes.
func (r *BytesReceiver) Hold(ctx context.Context, into *Held) error {
	return r.h.holdMessage(ctx, into)
}

// holdMessage holds a message of bytes.
func (h *handle) holdMessage(ctx context.Context, into *Held) error {
	return h.holdNext(ctx, into, func(pos uint64) (err error) {
		if h.checked || h.opts.faultGuard {
			into.own, into.inArena, err = h.appendMessage(into.own[:0], pos)
			into.data = into.own
			return err
		}
		m, err := h.messageAt(pos)
		into.inArena, into.data = m.inArena(), m.data[:len(m.data):len(m.data)]
		return err
	})
}

// holdNext holds the next value, which look reads; an error of look says that it is none, and it is dropped.
func (h *handle) holdNext(ctx context.Context, into *Held, look func(pos uint64) error) error {
	if into.h != nil {
		return &chanError{h.name, ErrBusy, "this Held has a value; call its Done or Return first, or use another"}
	}
	if !h.recv.begin() {
		return h.recv.whyGone()
	}
	if h.oneRecver {
		h.recv.end()
		return &chanError{h.name, ErrBusy, "it has a single receiver; open it with WithHold to hold values"}
	}
	into.inArena = false
	held := false
	err := h.guard(&h.recv, func() error {
		pos, err := h.holdBegin(ctx)
		if err != nil {
			return err
		}
		if bad := look(pos); bad != nil {
			if err := h.recvEnd(pos); err != nil {
				return err
			}
			h.wakeRoom(into.inArena)
			return bad
		}
		into.h, into.pos, held = h, pos, true
		return nil
	})
	if err != nil && held {
		into.h = nil
		held = false
	}
	if !held {
		into.data = nil
		h.recv.end()
	}
	return err
}

// holdBegin is recvBegin that goes the short way where it can.
func (h *handle) holdBegin(ctx context.Context) (uint64, error) {
	if ctx != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if !h.rendezvous {
		if pos, ok := h.claimEdge(); ok {
			if raceEnabled {
				h.race.own(pos, h.mask)
			}
			return pos, nil
		}
	}
	return h.recvBegin(ctx)
}

// claimEdge claims the value at edge, if there is one. It spares the walk over all that is held.
func (h *handle) claimEdge() (uint64, bool) {
	e := &h.hold
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left--; e.left < 0 {
		e.edge, e.left = h.headHint(), edgeTurn
		return 0, false // By the way of all: it takes the lowest there is.
	}
	for range h.n {
		w := h.slot(e.edge).Load()
		if !h.wellFormed(w, e.edge) {
			return 0, false
		}
		switch d := dist(wordPos(w), e.edge); {
		case d > 0:
			e.edge = h.skipFree(e.edge, w)
		case d < 0:
			return 0, false
		case w == word(e.edge, h.me, stReading):
			e.edge = (e.edge + 1) & posMask
		case wordState(w) == stFull:
			pos := e.edge
			if !h.slot(pos).CompareAndSwap(w, word(pos, h.me, stReading)) {
				return 0, false
			}
			e.edge = (pos + 1) & posMask
			return pos, true
		default:
			return 0, false
		}
	}
	return 0, false
}

// Hold is Receiver.Hold for values of any type.
func (r *RawReceiver) Hold(ctx context.Context, into *Held) error {
	h := r.h
	if r.bytes != nil {
		return h.holdMessage(ctx, into)
	}
	return h.holdNext(ctx, into, func(pos uint64) (err error) {
		if !r.layout.Root.bools && !h.checked && !h.opts.faultGuard {
			into.data = h.bytesAt(pos)
			return nil
		}
		into.own, err = r.append(into.own[:0], pos)
		into.data = into.own
		return err
	})
}
