package shmchan

// Channels of bytes: messages of any length up to a limit.
//
// Invariants:
//   - A message lies in its slot if it fits there, and else in the arena (arena.go). Its slot says where, and how long it is.
//   - What the slot says is read once and checked: what nobody could have sent is ErrCorrupt and dropped, and nothing beyond the slot, or
//     beyond the message's extent, is read or written.
//   - Too long is refused before anything is claimed.
//
// All else is as with values: handle.go.

import (
	"context"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// DefaultMaxMessage is the largest message, in bytes, of a channel of bytes made without WithMaxMessage.
const DefaultMaxMessage = 4096

const (
	maxMessage  = 1 << 30 // bytes
	inlineMost  = 4096    // bytes: up to so large a largest message all lie in their slots
	inlineSmall = 1008    // bytes of a slot for messages where larger ones lie in the arena
	metaSize    = 8       // bytes before the message
	metaLength  = 1<<32 - 1
	metaArena   = 1 << 63 // the message lies in the arena, and its first block's number follows
)

// WithMaxMessage says how long a message of a channel of bytes may be, in bytes: 1 to 1<<30, DefaultMaxMessage if
// it is left out. It belongs to the channel. Only for OpenBytes and its like.
//
// Up to 4096 bytes each slot has room for the longest. Beyond that a slot has room for 1008, and what is longer lies in an arena that
// the messages share: see WithArena.
func WithMaxMessage(n int) Option {
	return func(o *options) {
		if n < 1 || n > maxMessage {
			o.refuse("WithMaxMessage(%d): a message may have at most 1 to %d bytes", n, maxMessage)
			return
		}
		o.maxMessage = uint64(n)
	}
}

// WithArena says how many bytes a channel with a WithMaxMessage of more than 4096 has for the messages that do not fit in a slot, for
// all of them together. It must have room for two of the longest, a few blocks for rounding included. A message takes whole blocks, of 1 KiB, or more if
// the arena is larger than 32 MiB, and a Send waits while there is no room for it. If it is left out the arena has
// room for as many of the longest as the channel's capacity, but no more than 16 MiB, or four of the longest if that is more.
// It belongs to the channel.
func WithArena(n int) Option {
	return func(o *options) {
		if n < 1 || uint64(n) > maxArena {
			o.refuse("WithArena(%d): an arena has 1 to %d bytes", n, uint64(maxArena))
			return
		}
		o.arena = uint64(n)
	}
}

// bytesLayout describes a channel of bytes. How long its messages may be is an option of it.
var bytesLayout = sync.OnceValue(func() *layout {
	l := &layout{text: ". bytes 0 0 8\n", typeName: "[]byte", bytes: true}
	l.fingerprint = fingerprintOf(l.text)
	return l
})

// BytesSender is the sending side of a channel of bytes. Many goroutines may use it, but for a channel with WithSingleSender:
// then one at a time.
type BytesSender struct{ h *handle }

// BytesReceiver is the receiving side of a channel of bytes. Many goroutines may use it, but for a channel with
// WithSingleReceiver: then one at a time.
type BytesReceiver struct {
	h      *handle
	copies sync.Pool // of *[]byte, for RecvFunc with checksums
}

// Bytes is a channel of messages of bytes, for sending and receiving. Its halves may be passed on, and detached, on their own.
type Bytes struct {
	*BytesSender
	*BytesReceiver
}

// OpenBytes is Open for messages of bytes, up to WithMaxMessage long. They are what was sent, byte for byte: it is for the programs to agree on what
// they mean. A channel of bytes and one of values are not the same (ErrMismatch).
func OpenBytes(name string, opts ...Option) (*Bytes, error) {
	h, err := openHandle(name, bytesLayout(), peerSends|peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &Bytes{&BytesSender{h}, &BytesReceiver{h: h}}, nil
}

// OpenBytesSender is OpenBytes for sending only.
func OpenBytesSender(name string, opts ...Option) (*BytesSender, error) {
	h, err := openHandle(name, bytesLayout(), peerSends, opts)
	if err != nil {
		return nil, err
	}
	return &BytesSender{h}, nil
}

// OpenBytesReceiver is OpenBytes for receiving only.
func OpenBytesReceiver(name string, opts ...Option) (*BytesReceiver, error) {
	h, err := openHandle(name, bytesLayout(), peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &BytesReceiver{h: h}, nil
}

// NewBytes is New for messages of bytes: a channel without a name. Others get to it by Bytes.Files and BytesFromFiles.
func NewBytes(opts ...Option) (*Bytes, error) {
	h, err := newUnnamed(bytesLayout(), opts)
	if err != nil {
		return nil, err
	}
	return &Bytes{&BytesSender{h}, &BytesReceiver{h: h}}, nil
}

// Files returns a set of files for one more handle on an unnamed channel, which BytesFromFiles makes of them; see Chan.Files.
func (b *Bytes) Files() ([]*os.File, error) { return b.BytesSender.h.handOut() }

// BytesFromFiles is FromFiles for messages of bytes: the other end of NewBytes.
func BytesFromFiles(files []*os.File, opts ...Option) (*Bytes, error) {
	h, err := openFiles(files, bytesLayout(), peerSends|peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &Bytes{&BytesSender{h}, &BytesReceiver{h: h}}, nil
}

// BytesSenderFromFiles is BytesFromFiles for sending only.
func BytesSenderFromFiles(files []*os.File, opts ...Option) (*BytesSender, error) {
	h, err := openFiles(files, bytesLayout(), peerSends, opts)
	if err != nil {
		return nil, err
	}
	return &BytesSender{h}, nil
}

// BytesReceiverFromFiles is BytesFromFiles for receiving only.
func BytesReceiverFromFiles(files []*os.File, opts ...Option) (*BytesReceiver, error) {
	h, err := openFiles(files, bytesLayout(), peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &BytesReceiver{h: h}, nil
}

// Send sends a copy of p, and waits while the channel is full, or its arena has no room for p; with capacity 0, until p has
// been received. p may be empty, and is the caller's again when Send returns.
//
// It fails with ErrTooLarge for a p of more than MaxMessage bytes, ErrClosed, ErrDetached, ErrDisconnected or ErrCorrupt; p was then not sent.
func (s *BytesSender) Send(p []byte) error { return s.SendContext(forever, p) }

// SendContext is Send that also ends, with ctx.Err(), when ctx does. A message whose SendContext failed was not sent.
func (s *BytesSender) SendContext(ctx context.Context, p []byte) error {
	h := s.h
	if uint64(len(p)) > h.info.maxMessage {
		return h.tooLarge(len(p))
	}
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendWith(ctx, p)
	}
	if (ctx == nil || ctx.Err() == nil) && s.straight(p) {
		h.send.leaveLane(l)
		return nil
	}
	h.send.goSlow(l)
	err := s.sendWith(ctx, p)
	h.send.doneSlow(l)
	return err
}

// straight, for a call in the lane, sends p if it fits in a slot and there is nothing to wait for and nothing to think about.
func (s *BytesSender) straight(p []byte) bool {
	h := s.h
	if len(p) > h.inline {
		return false
	}
	slot := h.txSoon()
	if slot == nil {
		return false
	}
	if h.stride > 64 && len(p) > 64-valueOffset-metaSize {
		prefetchWrite(unsafe.Add(slot, 64), 1)
	}
	if !h.txTake(slot) {
		h.txDrop()
		return false
	}
	putInline(unsafe.Add(slot, valueOffset), p)
	h.sent(slot)
	if h.txDone() {
		h.wakeOne(receiving)
	}
	return true
}

// txSoon is txSlot that waits a little where that pays.
func (h *handle) txSoon() unsafe.Pointer {
	slot := h.txSlot()
	if slot == nil && h.spins && !h.oneSender {
		slot = h.soon(&h.tx)
	}
	return slot
}

// rxSoon is the same for rxSlot, where it pays a single receiver too.
func (h *handle) rxSoon() unsafe.Pointer {
	slot := h.rxSlot()
	if slot == nil && h.spins {
		slot = h.soon(&h.rx)
	}
	return slot
}

// putInline puts a message that fits in its slot.
func putInline(v unsafe.Pointer, p []byte) {
	*(*uint64)(v) = uint64(len(p))
	copy(unsafe.Slice((*byte)(unsafe.Add(v, metaSize)), len(p)), p)
}

func (s *BytesSender) sendWith(ctx context.Context, p []byte) error {
	if s.h.opts.faultGuard {
		return s.h.guard(&s.h.send, func() error { return s.send(ctx, p) })
	}
	return s.send(ctx, p)
}

func (s *BytesSender) send(ctx context.Context, p []byte) error {
	h := s.h
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	pos, err := h.sendBegin(ctx)
	if err != nil {
		return err
	}
	room, err := h.roomAt(ctx, pos, len(p))
	if err != nil {
		h.sendAbort(pos)
		return err
	}
	copy(room, p)
	return h.sendEnd(ctx, pos)
}

// roomAt is the memory for a message of n bytes at pos, which the call has in hand. It waits for room in the arena, and fails like a Send.
func (h *handle) roomAt(ctx context.Context, pos uint64, n int) ([]byte, error) {
	v := h.value(pos)
	if n <= h.inline {
		*(*uint64)(v) = uint64(n)
		return unsafe.Slice((*byte)(unsafe.Add(v, metaSize)), n), nil
	}
	b, err := h.makeRoom(ctx, h.arena.need(n), pos)
	if err != nil {
		return nil, err
	}
	return h.putExtent(pos, b, n)
}

// putExtent says in the slot of pos that its message of n bytes begins at block b.
func (h *handle) putExtent(pos, b uint64, n int) ([]byte, error) {
	v := h.value(pos)
	*(*uint64)(v) = metaArena | uint64(n)
	*(*uint64)(unsafe.Add(v, metaSize)) = b
	if room := h.arena.at(b, uint64(n), pos); room != nil {
		return room, nil
	}
	return nil, h.corruptArena()
}

// TrySend sends p if that needs no waiting: there is a slot, and room in the arena if it takes that; or with capacity 0 a
// receiver that waits. Else it fails with ErrFull, or, with WithDisconnect and nobody alive to receive, ErrDisconnected.
func (s *BytesSender) TrySend(p []byte) error {
	h := s.h
	if uint64(len(p)) > h.info.maxMessage {
		return h.tooLarge(len(p))
	}
	if l := h.send.enterLane(); l != nil {
		if s.straight(p) {
			h.send.leaveLane(l)
			return nil
		}
		h.send.goSlow(l)
		defer h.send.doneSlow(l)
	}
	if h.opts.faultGuard {
		return h.guard(&h.send, func() error { return s.trySend(p) })
	}
	return s.trySend(p)
}

func (s *BytesSender) trySend(p []byte) error {
	h := s.h
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	blocks := uint64(0)
	if len(p) > h.inline {
		blocks = h.arena.need(len(p))
	}
	h.wantRoom(0)
	if blocks > 0 && !h.oneSender && !h.tryRoom(blocks) && h.ctl.closed.Load() == 0 { // A position in hand, to be given up, costs a single sender nothing.
		h.wantRoom(blocks)
		return h.send.refused(h.errs.noRoom)
	}
	var pos uint64
	var receiver int
	var err error
	if h.rendezvous {
		pos, receiver, err = h.matchBegin()
	} else {
		pos, err = h.trySendBegin()
	}
	if err != nil {
		return h.send.refused(err)
	}
	if blocks == 0 {
		putInline(h.value(pos), p)
	} else {
		b, v := h.arena.take(blocks, pos)
		var room []byte
		switch v {
		case claimed:
			room, err = h.putExtent(pos, b, len(p))
		case blocked:
			h.wantRoom(blocks)
			err = h.errs.noRoom
		default:
			err = h.corruptArena()
		}
		if err != nil {
			h.sendAbort(pos)
			return h.send.refused(err)
		}
		copy(room, p)
	}
	if h.rendezvous {
		return h.send.refused(h.matchEnd(pos, receiver))
	}
	return h.sendEnd(forever, pos)
}

// SendFunc waits like SendContext for a slot and for room for a message of n bytes, at most MaxMessage, and has fill write it where it
// will lie. What buf, of n bytes, holds when fill gets it is left over from earlier messages. buf is not to be kept. fill says how many bytes
// the message has, which may be fewer. If it fails, panics, or says more than n or fewer than 0 (fs.ErrInvalid), nothing is sent. Others go
// on meanwhile, but once the channel has come round to the slot that fill holds, or the arena to its room.
//
// A message that lies in the arena has room for n bytes there until it is received, also if fill has filled fewer. One that fits in its slot
// after all, of 1008 bytes at most, is copied there, and its room is free again when SendFunc returns.
func (s *BytesSender) SendFunc(ctx context.Context, n int, fill func(buf []byte) (int, error)) error {
	h := s.h
	if n < 0 || uint64(n) > h.info.maxMessage {
		return h.tooLarge(n)
	}
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendFuncWith(ctx, n, fill)
	}
	if n <= h.inline && (ctx == nil || ctx.Err() == nil) {
		if slot := h.txSoon(); slot != nil {
			if h.txTake(slot) {
				return s.fillHere(l, slot, n, fill)
			}
			h.txDrop()
		}
	}
	h.send.goSlow(l)
	defer h.send.doneSlow(l) // fill may panic.
	return s.sendFuncWith(ctx, n, fill)
}

// fillHere is SendFunc for a call in the lane that has taken its slot.
func (s *BytesSender) fillHere(l *lane, slot unsafe.Pointer, n int, fill func(buf []byte) (int, error)) error {
	h := s.h
	filled := false
	h.send.inside(h.oneSender, true)
	defer func() {
		if !filled {
			h.send.inside(h.oneSender, false)
			h.txDrop()
			h.sendAbort(h.tx.pos())
		}
		h.send.leaveLane(l)
	}()
	v := unsafe.Add(slot, valueOffset)
	m, err := h.filled(n, unsafe.Slice((*byte)(unsafe.Add(v, metaSize)), n), fill)
	if err != nil {
		return err
	}
	filled = true
	*(*uint64)(v) = uint64(m)
	h.send.inside(h.oneSender, false)
	if !h.txStill(slot) {
		h.txDrop()
		return h.corruptAt(h.tx.pos())
	}
	h.sent(slot)
	if h.txDone() {
		h.wakeOne(receiving)
	}
	return nil
}

// filled has fill write a message of at most n bytes, and says how many it has.
func (h *handle) filled(n int, buf []byte, fill func(buf []byte) (int, error)) (int, error) {
	m, err := fill(buf)
	if err == nil && (m < 0 || m > n) {
		err = &chanError{h.name, fmt.Errorf("%w: the function given to SendFunc says that its message has %d bytes, of a buffer of %d", fs.ErrInvalid, m, n),
			"return how many bytes of the buffer are the message"}
	}
	return m, err
}

func (s *BytesSender) sendFuncWith(ctx context.Context, n int, fill func(buf []byte) (int, error)) error {
	if s.h.opts.faultGuard {
		return s.h.guard(&s.h.send, func() error { return s.sendFunc(ctx, n, fill) })
	}
	return s.sendFunc(ctx, n, fill)
}

func (s *BytesSender) sendFunc(ctx context.Context, n int, fill func(buf []byte) (int, error)) error {
	h := s.h
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	pos, err := h.sendBegin(ctx)
	if err != nil {
		return err
	}
	var room []byte
	filled := false
	h.send.inside(h.oneSender, true)
	defer func() {
		if !filled {
			h.send.inside(h.oneSender, false)
			inArena := n > h.inline && room != nil
			if inArena {
				h.arena.drop(*(*uint64)(unsafe.Add(h.value(pos), metaSize)), pos)
			}
			h.sendAbort(pos)
			h.wakeRoom(inArena)
		}
	}()
	room, err = h.roomAt(ctx, pos, n)
	if err != nil {
		return err
	}
	m, err := h.filled(n, room, fill)
	if err != nil {
		return err
	}
	filled = true
	meta := uint64(m)
	if m > h.inline {
		meta |= metaArena
	} else if n > h.inline {
		h.intoSlot(pos, room[:m])
	}
	*(*uint64)(h.value(pos)) = meta
	h.send.inside(h.oneSender, false)
	return h.sendEnd(ctx, pos)
}

// intoSlot moves a message that has come out short from the arena into the slot of pos, which the call has in hand, and gives its room back.
// The copy comes first: what is given back may be another's at once.
func (h *handle) intoSlot(pos uint64, msg []byte) {
	at := unsafe.Add(h.value(pos), metaSize)
	b := *(*uint64)(at)
	copy(unsafe.Slice((*byte)(at), len(msg)), msg)
	h.arena.drop(b, pos)
	h.wakeRoom(true)
}

// content is a message as its slot says it is.
type content struct {
	meta uint64
	data []byte // where it lies
}

func (m content) inArena() bool { return m.meta&metaArena != 0 }

// messageAt reads what the slot of pos says, once. An error: it lies.
func (h *handle) messageAt(pos uint64) (content, error) {
	v := h.value(pos)
	m := content{meta: (*atomic.Uint64)(v).Load()}
	n := m.meta & metaLength
	switch {
	case m.meta&^(metaArena|metaLength) != 0, n > h.info.maxMessage:
	case !m.inArena():
		if n <= uint64(h.inline) {
			m.data = unsafe.Slice((*byte)(unsafe.Add(v, metaSize)), n)
			return m, nil
		}
	case h.arena != nil:
		b := (*atomic.Uint64)(unsafe.Add(v, metaSize)).Load()
		if m.data = h.arena.at(b, n, pos); m.data != nil {
			return m, nil
		}
	}
	return m, corruptError(h.name, "the message at position %d, in slot %d of %d, says that its length is %d and lies in %s (%#x), which cannot be; it was dropped",
		pos, pos&h.mask, h.n, n, map[bool]string{true: "the arena", false: "its slot"}[m.inArena()], m.meta)
}

// sum is the sum of the message at pos with these bytes. What its slot says of it, of which no more than 31 bits and the uppermost one can be
// set, goes into what the sum begins with.
func (m content) sum(pos uint64, data []byte) uint32 {
	return crc32.Update(sumSeed(pos)^uint32(m.meta)^uint32(m.meta>>32), castagnoli, data)
}

// putMessageSum stores the sum of the message that was put at pos.
func (h *handle) putMessageSum(pos uint64) {
	if m, err := h.messageAt(pos); err == nil { // Else it has no sum, and the receiver says why.
		*h.sum(pos) = m.sum(pos, m.data)
	}
}

// appendMessage appends the message at pos to dst, checked. After an error dst is as it was.
func (h *handle) appendMessage(dst []byte, pos uint64) (out []byte, inArena bool, err error) {
	m, err := h.messageAt(pos)
	if err != nil {
		return dst, m.inArena(), err
	}
	out = append(dst, m.data...)
	if h.checked && *h.sum(pos) != m.sum(pos, out[len(dst):]) {
		return dst, m.inArena(), h.badSum(pos)
	}
	return out, m.inArena(), nil
}

// Recv receives a message, appends it to dst, which may be nil, and returns that, and waits while the channel is empty. It fails with
// ErrClosed once the channel is closed and drained, ErrDetached, ErrDisconnected, or ErrCorrupt, and then returns dst as it was; a corrupt
// message is dropped, so that the next Recv goes on behind it. It allocates only if dst has too little room.
func (r *BytesReceiver) Recv(dst []byte) ([]byte, error) { return r.RecvContext(forever, dst) }

// RecvContext is Recv that also ends, with ctx.Err(), when ctx does. A message that was taken is always returned.
func (r *BytesReceiver) RecvContext(ctx context.Context, dst []byte) ([]byte, error) {
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.receiveWith(ctx, dst)
	}
	if ctx == nil || ctx.Err() == nil {
		if out, ok, err := r.straight(dst); ok {
			h.recv.leaveLane(l)
			return out, err
		}
	}
	h.recv.goSlow(l)
	out, err := r.receiveWith(ctx, dst)
	h.recv.doneSlow(l)
	return out, err
}

// straight, for a call in the lane, receives a message if there is nothing to wait for and nothing to think about.
func (r *BytesReceiver) straight(dst []byte) (out []byte, ok bool, err error) {
	h := r.h
	slot := h.rxSoon()
	if slot == nil || !h.rxTake(slot) {
		return dst, false, nil
	}
	out, inArena, err := h.appendMessage(dst, h.rx.pos())
	h.received(slot)
	if h.rxDone() {
		h.wakeAfterFree()
	}
	h.wakeRoom(inArena)
	return out, true, err
}

func (r *BytesReceiver) receiveWith(ctx context.Context, dst []byte) ([]byte, error) {
	if r.h.opts.faultGuard {
		return r.guarded(dst, func() (uint64, error) { return r.h.recvBegin(ctx) })
	}
	h := r.h
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

// guarded receives with the fault guard a message whose position begin claims.
func (r *BytesReceiver) guarded(dst []byte, begin func() (uint64, error)) ([]byte, error) {
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

// take appends the message at pos to dst and frees the slot.
func (r *BytesReceiver) take(pos uint64, dst []byte) ([]byte, error) {
	h := r.h
	out, inArena, bad := h.appendMessage(dst, pos)
	if err := h.recvEnd(pos); err != nil {
		return dst, err
	}
	h.wakeRoom(inArena)
	return out, bad
}

// TryRecv receives a message, as Recv does, if that needs no waiting. Else it fails with ErrEmpty, or, with WithDisconnect and nobody alive to
// send, ErrDisconnected.
func (r *BytesReceiver) TryRecv(dst []byte) ([]byte, error) {
	h := r.h
	if l := h.recv.enterLane(); l != nil {
		if out, ok, err := r.straight(dst); ok {
			h.recv.leaveLane(l)
			return out, err
		}
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

// tryRecvOrWhy is tryRecvBegin that arms the descriptor if there is nothing.
func (h *handle) tryRecvOrWhy() (uint64, error) {
	pos, err := h.tryRecvBegin()
	if err != nil {
		err = h.recv.refused(err)
	}
	return pos, err
}

// RecvFunc waits for a message like RecvContext and has use read it where it lies, or a copy if the channel has checksums; msg is not to
// be kept, nor written. Bytes that a peer who is not trusted may change while use reads them are to be read once. The message counts as
// received when use has returned nil: if use fails or panics, or the process dies, it goes to another Recv, later than it would have come.
func (r *BytesReceiver) RecvFunc(ctx context.Context, use func(msg []byte) error) error {
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.recvFuncWith(ctx, use)
	}
	if ctx == nil || ctx.Err() == nil {
		if slot := h.rxSoon(); slot != nil && h.rxTake(slot) {
			return r.useHere(l, slot, use)
		}
	}
	h.recv.goSlow(l)
	defer h.recv.doneSlow(l) // use may panic.
	return r.recvFuncWith(ctx, use)
}

// useHere is RecvFunc for a call in the lane that has taken its slot.
func (r *BytesReceiver) useHere(l *lane, slot unsafe.Pointer, use func(msg []byte) error) error {
	h := r.h
	used := false
	h.recv.inside(h.oneRecver, true)
	defer func() {
		if !used {
			h.recv.inside(h.oneRecver, false)
			h.recvAbort(h.rx.pos())
		}
		h.recv.leaveLane(l)
	}()
	inArena, err := r.show(h.rx.pos(), use, &used)
	if used {
		h.recv.inside(h.oneRecver, false)
		if !h.rxStill(slot) {
			return h.corruptAt(h.rx.pos())
		}
		h.received(slot)
		if h.rxDone() {
			h.wakeAfterFree()
		}
		h.wakeRoom(inArena)
	}
	return err
}

func (r *BytesReceiver) recvFuncWith(ctx context.Context, use func(msg []byte) error) error {
	if r.h.opts.faultGuard {
		return r.h.guard(&r.h.recv, func() error { return r.recvFunc(ctx, use) })
	}
	return r.recvFunc(ctx, use)
}

func (r *BytesReceiver) recvFunc(ctx context.Context, use func(msg []byte) error) error {
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
	inArena, err := r.show(pos, use, &used)
	if !used {
		return err
	}
	h.recv.inside(h.oneRecver, false)
	if end := h.recvEnd(pos); end != nil {
		return end
	}
	h.wakeRoom(inArena)
	return err
}

// show has use read the message at pos. Used: the slot is to be freed, because use has returned nil or the message
// is none, which err says.
func (r *BytesReceiver) show(pos uint64, use func(msg []byte) error, used *bool) (inArena bool, err error) {
	h := r.h
	if !h.checked {
		m, err := h.messageAt(pos)
		if err != nil {
			*used = true
			return m.inArena(), err
		}
		err = use(m.data[:len(m.data):len(m.data)])
		*used = err == nil
		return m.inArena(), err
	}
	c, ok := r.copies.Get().(*[]byte)
	if !ok {
		c = new([]byte)
	}
	defer r.copies.Put(c)
	*c, inArena, err = h.appendMessage((*c)[:0], pos)
	if err != nil {
		*used = true
		return inArena, err
	}
	err = use((*c)[:len(*c):len(*c)])
	*used = err == nil
	return inArena, err
}

// Close closes the channel for all processes; see Sender.Close.
func (s *BytesSender) Close() error { return s.h.closeChannel(&s.h.send) }

// Close closes the channel for all processes; see Sender.Close.
func (r *BytesReceiver) Close() error { return r.h.closeChannel(&r.h.recv) }

// Close closes the channel for all processes; see Sender.Close.
func (b *Bytes) Close() error {
	if b.BytesSender.h.send.detached.Load() {
		return b.BytesReceiver.Close()
	}
	return b.BytesSender.Close()
}

// Detach lets go of this side of the handle; see Sender.Detach.
func (s *BytesSender) Detach() error { return s.h.send.detach() }

// Detach lets go of this side of the handle; see Sender.Detach.
func (r *BytesReceiver) Detach() error { return r.h.recv.detach() }

// Detach lets go of both sides of the handle; see Sender.Detach.
func (b *Bytes) Detach() error {
	errS, errR := b.BytesSender.Detach(), b.BytesReceiver.Detach()
	if errS != nil && errR != nil {
		return errS
	}
	return nil
}

// Len is how many messages are in the channel; see Sender.Len.
func (s *BytesSender) Len() int { return s.h.length() }

// Len is how many messages are in the channel; see Sender.Len.
func (r *BytesReceiver) Len() int { return r.h.length() }

// Len is how many messages are in the channel; see Sender.Len.
func (b *Bytes) Len() int { return b.BytesSender.Len() }

// Cap is the capacity that was asked for when the channel was made, in messages.
func (s *BytesSender) Cap() int { return int(s.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made, in messages.
func (r *BytesReceiver) Cap() int { return int(r.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made, in messages.
func (b *Bytes) Cap() int { return b.BytesSender.Cap() }

// MaxMessage is how many bytes a message may have.
func (s *BytesSender) MaxMessage() int { return int(s.h.info.maxMessage) }

// MaxMessage is how many bytes a message may have.
func (r *BytesReceiver) MaxMessage() int { return int(r.h.info.maxMessage) }

// MaxMessage is how many bytes a message may have.
func (b *Bytes) MaxMessage() int { return b.BytesSender.MaxMessage() }

// Name is the channel's name.
func (s *BytesSender) Name() string { return s.h.name }

// Name is the channel's name.
func (r *BytesReceiver) Name() string { return r.h.name }

// Name is the channel's name.
func (b *Bytes) Name() string { return b.BytesSender.Name() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (s *BytesSender) Stats() Stats { return s.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (r *BytesReceiver) Stats() Stats { return r.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (b *Bytes) Stats() Stats { return b.BytesSender.Stats() }

// RecvFD is a descriptor that polls readable when a receive may find something; see Receiver.RecvFD.
func (r *BytesReceiver) RecvFD() (int, error) { return r.h.recv.descriptor() }

// SendFD is a descriptor that polls readable when a TrySend may go ahead; see Sender.SendFD. After one that failed with ErrFull, that is when
// there is room for a message as long as that one's.
func (s *BytesSender) SendFD() (int, error) { return s.h.send.descriptor() }

// What only the option WithMaxMessage and its like say.

// inlineOf is how many bytes of a message a slot has room for.
func inlineOf(maxMessage uint64) uint64 {
	if maxMessage > inlineMost {
		return inlineSmall
	}
	return roundUp(maxMessage, metaSize)
}

// describeBytes is newHeader for a channel of bytes.
func (h *header) describeBytes(name string, o *options) error {
	h.flags |= flagBytes
	if h.maxMessage = o.maxMessage; h.maxMessage == 0 {
		h.maxMessage = DefaultMaxMessage
	}
	h.size = metaSize + inlineOf(h.maxMessage)
	if h.maxMessage <= inlineMost {
		if o.arena != 0 {
			return &chanError{name, fmt.Errorf("%w: WithArena(%d) for messages of up to %d bytes, all of which fit in a slot", fs.ErrInvalid, o.arena, h.maxMessage), "leave it out"}
		}
		return nil
	}
	if h.arena = o.arena; h.arena == 0 {
		h.arena = arenaFor(h.capacity, h.maxMessage)
	}
	if least := leastArena(h.maxMessage); h.arena < least {
		return &chanError{name, fmt.Errorf("%w: WithArena(%d) has no room for two messages of %d bytes", fs.ErrInvalid, h.arena, h.maxMessage), fmt.Sprintf("use %d bytes at least", least)}
	}
	return nil
}

// bytesAgree says whether what a header says of messages goes together.
func (h *header) bytesAgree() bool {
	if h.flags&flagBytes == 0 {
		return h.maxMessage == 0 && h.arena == 0
	}
	if h.maxMessage == 0 || h.size != metaSize+inlineOf(h.maxMessage) {
		return false
	}
	if h.maxMessage <= inlineMost {
		return h.arena == 0
	}
	return h.arena >= leastArena(h.maxMessage)
}

// compareBytes is compare for a channel of bytes.
func (h *header) compareBytes(name string, o *options) error {
	m := func(what string, here, there uint64) error {
		return &MismatchError{Channel: name, What: what, Here: fmt.Sprintf("%d bytes", here), There: fmt.Sprintf("%d bytes", there), PID: int(h.pid)}
	}
	switch {
	case h.flags&flagBytes == 0:
		return corruptError(name, "its type's description is that of bytes and its header's that of values")
	case o.maxMessage != 0 && o.maxMessage != h.maxMessage:
		return m("the longest message", o.maxMessage, h.maxMessage)
	case o.arena != 0 && o.arena != h.arena:
		return m("the arena", o.arena, h.arena)
	}
	return nil
}

// fit refuses what is an option of channels of bytes for others.
func (o *options) fit(l *layout) {
	if l = o.fitRaw(l); l == nil {
		return
	}
	if !l.bytes && (o.maxMessage != 0 || o.arena != 0) && o.invalid == "" {
		o.refuse("WithMaxMessage and WithArena are for channels of bytes; leave them out, or use OpenBytes")
	}
}

func (h *handle) tooLarge(n int) error {
	if n < 0 {
		return &chanError{h.name, fmt.Errorf("%w: a message of %d bytes", fs.ErrInvalid, n), "a message has 0 bytes or more"}
	}
	return &chanError{h.name, fmt.Errorf("%w: a message of %d bytes, and it takes at most %d", ErrTooLarge, n, h.info.maxMessage),
		"send it in parts, or make the channel with a larger WithMaxMessage"}
}
