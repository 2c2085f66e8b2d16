package shmchan

// Raw handles: channels of any type, for who does not have the type. For tools, and for bridges to elsewhere.
//
// Invariants:
//   - A raw handle is a handle as any other: its roles, locks, wakes and recovery are those of handle.go and bytes.go. Only how a value
//     gets into its slot and out of it is here: as its bytes, exactly as many as the type has.
//   - The layout that the channel says it has is taken apart and checked before its values are touched. One that a type cannot have is ErrCorrupt.
//   - What a typed handle could not have sent is refused before anything is claimed: another length, a bool that is neither 0 nor 1.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"unsafe"
)

// RawSender is the sending side of a channel of any type; see Raw. Many goroutines may use it, but for a channel with
// WithSingleSender: then one at a time.
type RawSender struct {
	h      *handle
	layout *Layout
	bytes  *BytesSender // of a channel of bytes, else nil
}

// RawReceiver is the receiving side of a channel of any type; see Raw. Many goroutines may use it, but for a channel with
// WithSingleReceiver: then one at a time.
type RawReceiver struct {
	h      *handle
	layout *Layout
	bytes  *BytesReceiver // of a channel of bytes, else nil
	copies sync.Pool      // of *[]byte, for RecvFunc
}

// Raw is a channel of any type, for who does not have the type. A value is its bytes: of a typed channel exactly Layout().Size() of them, as they lie in memory, in the
// machine's byte order, padding included; of a channel of bytes a message of up to MaxMessage. Its halves may be passed on, and detached, on their own.
type Raw struct {
	*RawSender
	*RawReceiver
}

// OpenRaw attaches to the channel of that name, whatever its type is: one of values, one of bytes, or half of a pair (name.ab or name.ba, whose roles one
// handle at a time has). It never makes a channel, unless WithLayout says of what: if there is none it fails with fs.ErrNotExist. The options are those of Open;
// what they state must match (ErrMismatch).
func OpenRaw(name string, opts ...Option) (*Raw, error) {
	h, l, err := openRaw(name, peerSends|peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &Raw{newRawSender(h, l), newRawReceiver(h, l)}, nil
}

// OpenRawSender is OpenRaw for sending only.
func OpenRawSender(name string, opts ...Option) (*RawSender, error) {
	h, l, err := openRaw(name, peerSends, opts)
	if err != nil {
		return nil, err
	}
	return newRawSender(h, l), nil
}

// OpenRawReceiver is OpenRaw for receiving only.
func OpenRawReceiver(name string, opts ...Option) (*RawReceiver, error) {
	h, l, err := openRaw(name, peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return newRawReceiver(h, l), nil
}

// WithLayout has OpenRaw make the channel if it is not there, of values with that canonical layout, which came from elsewhere: the Info.Layout of another
// channel, say. A program that has the type can then open it. On attaching the layout must match: else it is ErrMismatch, with the field named. The type's
// name is for people only. A text that is not that of a type is fs.ErrInvalid, see ParseLayout; for messages of bytes it is that of any channel of bytes, and WithMaxMessage says the
// rest. Only for OpenRaw and its like.
func WithLayout(typeName, text string) Option {
	return func(o *options) {
		l, err := ParseLayout(text)
		switch {
		case err != nil:
			o.refuse("WithLayout: %v; use the Layout that Inspect gives of the other channel, unchanged", strings.TrimPrefix(err.Error(), "shmchan: "))
		case len(typeName) > maxText:
			o.refuse("WithLayout: the name of the type has %d bytes; at most %d may be", len(typeName), maxText)
		default:
			o.layout = l.describe(typeName)
		}
	}
}

// fitRaw is the layout of which a channel may be made, nil if that is not known.
func (o *options) fitRaw(l *layout) *layout {
	if l != nil {
		if o.layout != nil && o.invalid == "" {
			o.refuse("WithLayout is for OpenRaw; leave it out, for a handle of a type has that of its type")
		}
		return l
	}
	if o.raw = true; o.layout != nil {
		return o.layout
	}
	if o.create && o.invalid == "" {
		o.refuse("WithCreate without WithLayout: OpenRaw does not know of what type the channel shall be")
	}
	o.attach = true
	return nil
}

func openRaw(name string, roles uint64, opts []Option) (*handle, *Layout, error) {
	h, err := openHandle(name, nil, roles, opts)
	if err != nil {
		return nil, nil, err
	}
	l, err := ParseLayout(h.info.text) // It was checked before the handle joined.
	return h, l, err
}

// layoutFor is the layout with which a raw handle attaches: that which was stated, or else the channel's own. It takes over
// what else is the channel's.
func (h *handle) layoutFor(stated *layout) (*layout, error) {
	o, i := &h.opts, h.info
	own, err := ParseLayout(i.text)
	if err != nil {
		return nil, corruptError(h.name, "the description of its type is none: %s", strings.TrimPrefix(err.Error(), "shmchan: layout: "))
	}
	if own.bytes != (i.flags&flagBytes != 0) {
		return nil, corruptError(h.name, "its type's description and its header do not agree whether it is one of bytes")
	}
	if i.flags&flagPair != 0 {
		o.pair, o.disconnect = true, true
	}
	if stated != nil {
		return stated, nil
	}
	if !own.bytes && (o.maxMessage != 0 || o.arena != 0) {
		return nil, &MismatchError{Channel: h.name, What: "the kind of channel", Here: "one of bytes (WithMaxMessage or WithArena)", There: "one of " + i.typeName, PID: int(i.pid)}
	}
	return own.describe(i.typeName), nil
}

func newRawSender(h *handle, l *Layout) *RawSender {
	s := &RawSender{h: h, layout: l}
	if l.bytes {
		s.bytes = &BytesSender{h}
	}
	return s
}

func newRawReceiver(h *handle, l *Layout) *RawReceiver {
	r := &RawReceiver{h: h, layout: l}
	if l.bytes {
		r.bytes = &BytesReceiver{h: h}
	}
	return r
}

// ownLayout is the layout that the handle's channel has; a handle that joined has compared it.
func (h *handle) ownLayout() *Layout {
	l, err := ParseLayout(h.info.text)
	if err != nil {
		panic(err) // The type's own text.
	}
	return l
}

// Raw is this handle for who passes values on as their bytes, a bridge say: the two are one handle, with one role, and detached together.
func (s *Sender[T]) Raw() *RawSender { return newRawSender(s.h, s.h.ownLayout()) }

// Raw is this handle for who passes values on as their bytes; see Sender.Raw.
func (r *Receiver[T]) Raw() *RawReceiver { return newRawReceiver(r.h, r.h.ownLayout()) }

// Raw is this handle for who passes values on as their bytes; see Sender.Raw.
func (c *Chan[T]) Raw() *Raw { return &Raw{c.Sender.Raw(), c.Receiver.Raw()} }

// Raw is this handle for who does not care whether a channel is one of bytes; see Sender.Raw.
func (s *BytesSender) Raw() *RawSender { return newRawSender(s.h, s.h.ownLayout()) }

// Raw is this handle for who does not care whether a channel is one of bytes; see Sender.Raw.
func (r *BytesReceiver) Raw() *RawReceiver { return newRawReceiver(r.h, r.h.ownLayout()) }

// Raw is this handle for who does not care whether a channel is one of bytes; see Sender.Raw.
func (b *Bytes) Raw() *Raw { return &Raw{b.BytesSender.Raw(), b.BytesReceiver.Raw()} }

// check says why v is no value of the channel's type.
func (s *RawSender) check(v []byte) error {
	if len(v) != s.layout.Root.Size {
		return &chanError{s.h.name, fmt.Errorf("%w: a value of %d bytes, and those of %s have %d", fs.ErrInvalid, len(v), s.h.info.typeName, s.layout.Root.Size),
			"send all the bytes of a value, padding included"}
	}
	if bad := s.layout.Root.badBool(v); bad != "" {
		return &chanError{s.h.name, fmt.Errorf("%w: %s is a bool that is neither 0 nor 1", fs.ErrInvalid, bad), "send 0 or 1"}
	}
	return nil
}

// at is the value at pos.
func (h *handle) bytesAt(pos uint64) []byte {
	return unsafe.Slice((*byte)(h.value(pos)), h.info.size)
}

// Send sends a copy of v, and waits while the channel is full; with capacity 0, until it has been received. v is the caller's again when Send returns.
//
// It fails with fs.ErrInvalid for a v that is no value of the channel's type, ErrTooLarge for a message of more than MaxMessage, ErrClosed, ErrDetached, ErrDisconnected
// or ErrCorrupt; v was then not sent.
func (s *RawSender) Send(v []byte) error { return s.SendContext(forever, v) }

// SendContext is Send that also ends, with ctx.Err(), when ctx does. A value whose SendContext failed was not sent.
func (s *RawSender) SendContext(ctx context.Context, v []byte) error {
	if s.bytes != nil {
		return s.bytes.SendContext(ctx, v)
	}
	if err := s.check(v); err != nil {
		return err
	}
	h := s.h
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendWith(ctx, v)
	}
	if (ctx == nil || ctx.Err() == nil) && s.straight(v) {
		h.send.leaveLane(l)
		return nil
	}
	h.send.goSlow(l)
	err := s.sendWith(ctx, v)
	h.send.doneSlow(l)
	return err
}

// straight, for a call in the lane, sends v if there is nothing to wait for and nothing to think about.
func (s *RawSender) straight(v []byte) bool {
	h := s.h
	slot := h.txSoon()
	if slot == nil {
		return false
	}
	if !h.txTake(slot) {
		h.txDrop()
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Add(slot, valueOffset)), len(v)), v)
	h.sent(slot)
	if h.txDone() {
		h.wakeOne(receiving)
	}
	return true
}

func (s *RawSender) sendWith(ctx context.Context, v []byte) error {
	if s.h.opts.faultGuard {
		return s.h.guard(&s.h.send, func() error { return s.send(ctx, v) })
	}
	return s.send(ctx, v)
}

func (s *RawSender) send(ctx context.Context, v []byte) error {
	h := s.h
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	pos, err := h.sendBegin(ctx)
	if err != nil {
		return err
	}
	copy(h.bytesAt(pos), v)
	return h.sendEnd(ctx, pos)
}

// TrySend sends v if that needs no waiting: there is space, or with capacity 0 a receiver that waits. Else it fails with ErrFull, or, with
// WithDisconnect and nobody alive to receive, ErrDisconnected.
func (s *RawSender) TrySend(v []byte) error {
	if s.bytes != nil {
		return s.bytes.TrySend(v)
	}
	if err := s.check(v); err != nil {
		return err
	}
	h := s.h
	if l := h.send.enterLane(); l != nil {
		if s.straight(v) {
			h.send.leaveLane(l)
			return nil
		}
		h.send.goSlow(l)
		defer h.send.doneSlow(l)
	}
	return h.guard(&h.send, func() error { return s.trySend(v) })
}

func (s *RawSender) trySend(v []byte) error {
	h := s.h
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	if h.rendezvous {
		pos, receiver, err := h.matchBegin()
		if err != nil {
			return h.send.refused(err)
		}
		copy(h.bytesAt(pos), v)
		return h.send.refused(h.matchEnd(pos, receiver))
	}
	pos, err := h.trySendBegin()
	if err != nil {
		return h.send.refused(err)
	}
	copy(h.bytesAt(pos), v)
	return h.sendEnd(forever, pos)
}

// Recv receives a value, appends it to dst, which may be nil, and returns that, and waits while the channel is empty. It fails with ErrClosed once the channel
// is closed and drained, ErrDetached, ErrDisconnected, or ErrCorrupt, and then returns dst as it was; a corrupt value is dropped, so that the next Recv goes
// on behind it. It allocates only if dst has too little room.
func (r *RawReceiver) Recv(dst []byte) ([]byte, error) { return r.RecvContext(forever, dst) }

// RecvContext is Recv that also ends, with ctx.Err(), when ctx does. A value that was taken is always returned.
func (r *RawReceiver) RecvContext(ctx context.Context, dst []byte) ([]byte, error) {
	if r.bytes != nil {
		return r.bytes.RecvContext(ctx, dst)
	}
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.receiveWith(ctx, dst)
	}
	if ctx == nil || ctx.Err() == nil {
		if slot := h.rxSoon(); slot != nil && h.rxTake(slot) {
			out, err := r.append(dst, h.rx.pos())
			h.received(slot)
			if h.rxDone() {
				h.wakeAfterFree()
			}
			h.recv.leaveLane(l)
			return out, err
		}
	}
	h.recv.goSlow(l)
	out, err := r.receiveWith(ctx, dst)
	h.recv.doneSlow(l)
	return out, err
}

func (r *RawReceiver) receiveWith(ctx context.Context, dst []byte) ([]byte, error) {
	h := r.h
	if h.opts.faultGuard {
		return r.guarded(dst, func() (uint64, error) { return h.recvBegin(ctx) })
	}
	if !h.recv.begin() {
		return dst, h.errs.detached
	}
	pos, err := h.recvBegin(ctx)
	if err == nil {
		dst, err = r.take(pos, dst)
	}
	h.recv.end()
	return dst, err
}

// TryRecv receives a value, as Recv does, if that needs no waiting. Else it fails with ErrEmpty, or, with WithDisconnect and nobody alive to
// send, ErrDisconnected.
func (r *RawReceiver) TryRecv(dst []byte) ([]byte, error) {
	if r.bytes != nil {
		return r.bytes.TryRecv(dst)
	}
	h := r.h
	if l := h.recv.enterLane(); l != nil {
		h.recv.goSlow(l)
		defer h.recv.doneSlow(l)
	}
	if h.opts.faultGuard {
		return r.guarded(dst, h.tryRecvOrWhy)
	}
	if !h.recv.begin() {
		return dst, h.errs.detached
	}
	defer h.recv.end()
	pos, err := h.tryRecvOrWhy()
	if err != nil {
		return dst, err
	}
	return r.take(pos, dst)
}

// guarded receives with the fault guard a value whose position begin claims.
func (r *RawReceiver) guarded(dst []byte, begin func() (uint64, error)) ([]byte, error) {
	h, out := r.h, dst
	err := h.guard(&h.recv, func() error {
		if !h.recv.begin() {
			return h.errs.detached
		}
		defer h.recv.end()
		pos, err := begin()
		if err == nil {
			out, err = r.take(pos, dst)
		}
		return err
	})
	if err != nil {
		out = dst
	}
	return out, err
}

// take appends the value at pos to dst and frees the slot.
func (r *RawReceiver) take(pos uint64, dst []byte) ([]byte, error) {
	out, bad := r.append(dst, pos)
	if err := r.h.recvEnd(pos); err != nil {
		return dst, err
	}
	return out, bad
}

// append appends the value at pos to dst, checked. After an error dst is as it was.
func (r *RawReceiver) append(dst []byte, pos uint64) ([]byte, error) {
	h := r.h
	out := append(dst, h.bytesAt(pos)...)
	v := out[len(dst):]
	if h.checked && *h.sum(pos) != sumOf(pos, v) {
		return dst, h.badSum(pos)
	}
	if bad := r.layout.Root.badBool(v); bad != "" {
		return dst, corruptError(h.name, "%s, of the value at position %d, is a bool that is neither 0 nor 1; it was dropped", bad, pos)
	}
	return out, nil
}

// RecvFunc waits for a value like RecvContext and has use read its bytes where they lie, or a copy if the type holds a bool or the channel has checksums; v is not to
// be kept, nor written. The value counts as received when use has returned nil: if use fails or panics, or the process dies, it goes to another Recv,
// later than it would have come.
func (r *RawReceiver) RecvFunc(ctx context.Context, use func(v []byte) error) error {
	if r.bytes != nil {
		return r.bytes.RecvFunc(ctx, use)
	}
	return r.RecvFuncAt(ctx, func(_ uint64, v []byte) error { return use(v) })
}

// RecvFuncAt is RecvFunc that also says the value's position in the channel, modulo 1<<40. Positions go up in the order in which places were taken for sending, not each has a
// value, and a value keeps its own when it goes to another Recv: with ID, it tells a value that comes again.
func (r *RawReceiver) RecvFuncAt(ctx context.Context, use func(pos uint64, v []byte) error) error {
	h := r.h
	if l := h.recv.enterLane(); l != nil {
		h.recv.goSlow(l)
		defer h.recv.doneSlow(l) // use may panic.
	} else {
		h.recv.moveLane()
	}
	return h.guard(&h.recv, func() error { return r.recvFunc(ctx, use) })
}

func (r *RawReceiver) recvFunc(ctx context.Context, use func(pos uint64, v []byte) error) error {
	h := r.h
	if !h.recv.begin() {
		return h.errs.detached
	}
	defer h.recv.end()
	pos, err := h.recvBegin(ctx)
	if err != nil {
		return err
	}
	used := false
	h.recv.inside(h.oneRecver, true)
	defer func() {
		if !used {
			h.recv.inside(h.oneRecver, false)
			h.recvAbort(pos)
		}
	}()
	here, inArena := func(v []byte) error { return use(pos, v) }, false
	if r.bytes != nil {
		inArena, err = r.bytes.show(pos, here, &used)
	} else {
		err = r.show(pos, here, &used)
	}
	if !used {
		return err
	}
	h.recv.inside(h.oneRecver, false)
	if end := h.recvEnd(pos); end != nil {
		return errors.Join(end, err)
	}
	h.wakeRoom(inArena)
	return err
}

// show has use read the value at pos. Used: the slot is to be freed, because use has returned nil or the value is none, which err says.
func (r *RawReceiver) show(pos uint64, use func(v []byte) error, used *bool) error {
	v := r.h.bytesAt(pos)
	if r.layout.Root.bools || r.h.checked {
		c, ok := r.copies.Get().(*[]byte)
		if !ok {
			c = new([]byte)
		}
		defer r.copies.Put(c)
		var bad error
		if *c, bad = r.append((*c)[:0], pos); bad != nil {
			*used = true
			return bad
		}
		v = *c
	}
	err := use(v[:len(v):len(v)])
	*used = err == nil
	return err
}

// Close closes the channel for all processes; see Sender.Close.
func (s *RawSender) Close() error { return s.h.closeChannel(&s.h.send) }

// Close closes the channel for all processes; see Sender.Close.
func (r *RawReceiver) Close() error { return r.h.closeChannel(&r.h.recv) }

// Close closes the channel for all processes; see Sender.Close.
func (c *Raw) Close() error {
	if err := c.RawSender.Close(); !errors.Is(err, ErrDetached) {
		return err
	}
	return c.RawReceiver.Close()
}

// Detach lets go of this side of the handle; see Sender.Detach.
func (s *RawSender) Detach() error { return s.h.send.detach() }

// Detach lets go of this side of the handle; see Sender.Detach.
func (r *RawReceiver) Detach() error { return r.h.recv.detach() }

// Detach lets go of both sides of the handle; see Sender.Detach.
func (c *Raw) Detach() error {
	errS, errR := c.RawSender.Detach(), c.RawReceiver.Detach()
	if errS != nil && errR != nil {
		return errS
	}
	return nil
}

// Len is how many values are in the channel; see Sender.Len.
func (s *RawSender) Len() int { return s.h.length() }

// Len is how many values are in the channel; see Sender.Len.
func (r *RawReceiver) Len() int { return r.h.length() }

// Len is how many values are in the channel; see Sender.Len.
func (c *Raw) Len() int { return c.RawSender.Len() }

// Cap is the capacity that was asked for when the channel was made.
func (s *RawSender) Cap() int { return int(s.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made.
func (r *RawReceiver) Cap() int { return int(r.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made.
func (c *Raw) Cap() int { return c.RawSender.Cap() }

// MaxMessage is how many bytes a message may have, 0 if the channel is not one of bytes.
func (s *RawSender) MaxMessage() int { return int(s.h.info.maxMessage) }

// MaxMessage is how many bytes a message may have, 0 if the channel is not one of bytes.
func (r *RawReceiver) MaxMessage() int { return int(r.h.info.maxMessage) }

// MaxMessage is how many bytes a message may have, 0 if the channel is not one of bytes.
func (c *Raw) MaxMessage() int { return c.RawSender.MaxMessage() }

// Type is the element type, as the channel's maker named it.
func (s *RawSender) Type() string { return s.h.info.typeName }

// Type is the element type, as the channel's maker named it.
func (r *RawReceiver) Type() string { return r.h.info.typeName }

// Type is the element type, as the channel's maker named it.
func (c *Raw) Type() string { return c.RawSender.Type() }

// Layout is that of the channel's values.
func (s *RawSender) Layout() *Layout { return s.layout }

// Layout is that of the channel's values.
func (r *RawReceiver) Layout() *Layout { return r.layout }

// Layout is that of the channel's values.
func (c *Raw) Layout() *Layout { return c.RawSender.Layout() }

// ID is the channel's identity, random, given when it was made: a channel made anew by the same name has another.
func (s *RawSender) ID() [16]byte { return s.h.info.id }

// ID is the channel's identity; see RawSender.ID.
func (r *RawReceiver) ID() [16]byte { return r.h.info.id }

// ID is the channel's identity; see RawSender.ID.
func (c *Raw) ID() [16]byte { return c.RawSender.ID() }

// Name is the channel's name.
func (s *RawSender) Name() string { return s.h.name }

// Name is the channel's name.
func (r *RawReceiver) Name() string { return r.h.name }

// Name is the channel's name.
func (c *Raw) Name() string { return c.RawSender.Name() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (s *RawSender) Stats() Stats { return s.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (r *RawReceiver) Stats() Stats { return r.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (c *Raw) Stats() Stats { return c.RawSender.Stats() }
