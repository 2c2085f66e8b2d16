package shmchan

// Messages of bytes that carry a message, for the tests over processes: a channel of bytes
// in the place of a Sender[message] and a Receiver[message].
//
// The bytes are the message, and behind it so many of a pattern as its number says, where the pattern begins where
// its number says: so a message that is torn, cut short, or another's in part, is not whole.

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"unsafe"
)

// sendsAny is a sending side as those tests need it, and recvsAny the other one.
type sendsAny interface {
	Send(message) error
	TrySend(message) error
	SendBatch(context.Context, []message) (int, error)
	SendFunc(context.Context, func(*message) error) error
	Close() error
	Detach() error
	Stats() Stats
	of() *handle
}

type recvsAny interface {
	Recv() (message, error)
	TryRecv() (message, error)
	RecvBatch(context.Context, []message) (int, error)
	RecvFunc(context.Context, func(*message) error) error
	Close() error
	Detach() error
	of() *handle
}

func (s *Sender[T]) of() *handle   { return s.h }
func (r *Receiver[T]) of() *handle { return r.h }

const (
	messageSize = int(unsafe.Sizeof(message{}))
	bulkMost    = 20000 // bytes of the longest message, where they are of all lengths
	bulkLarge   = 5120  // where all are of one, which takes five blocks
)

// pattern is what follows a message.
var pattern = sync.OnceValue(func() []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 1<<15)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
})

// tail is what follows m in a channel for messages of at most most bytes.
func (m *message) tail(most int) []byte {
	n := most
	if most > bulkLarge {
		n = []int{messageSize, 200, inlineSmall, inlineSmall + 1, most / 4, most, most / 2}[(m.From+m.Seq)%7]
	}
	from := int(m.From*101+m.Seq*37) % 4096
	return pattern()[from : from+n-messageSize]
}

// bulk appends m as bytes to p.
func (m *message) bulk(p []byte, most int) []byte {
	return append(append(p, unsafe.Slice((*byte)(unsafe.Pointer(m)), messageSize)...), m.tail(most)...)
}

// messageOf is the message in the bytes; one that nobody sent, if they are not whole.
func messageOf(p []byte, most int) (m message) {
	if len(p) >= messageSize {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&m)), messageSize), p)
		if bytes.Equal(p[messageSize:], m.tail(most)) {
			return m
		}
	}
	return message{From: 1 << 63, Seq: uint64(len(p))}
}

// buffers are for messages as bytes.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, bulkMost); return &b }}

type bulkSender struct{ *BytesSender }

func (s bulkSender) of() *handle { return s.h }

func (s bulkSender) with(m *message, send func([]byte) error) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	return send(m.bulk((*b)[:0], s.MaxMessage()))
}

func (s bulkSender) Send(m message) error    { return s.with(&m, s.BytesSender.Send) }
func (s bulkSender) TrySend(m message) error { return s.with(&m, s.BytesSender.TrySend) }

func (s bulkSender) SendBatch(ctx context.Context, ms []message) (n int, err error) {
	for n < len(ms) && err == nil {
		if err = s.with(&ms[n], func(p []byte) error { return s.SendContext(ctx, p) }); err == nil {
			n++
		}
	}
	return n, err
}

func (s bulkSender) SendFunc(ctx context.Context, fill func(*message) error) error {
	return s.BytesSender.SendFunc(ctx, s.MaxMessage(), func(buf []byte) (int, error) {
		var m message
		if err := fill(&m); err != nil {
			return 0, err
		}
		return len(m.bulk(buf[:0], s.MaxMessage())), nil
	})
}

type bulkReceiver struct{ *BytesReceiver }

func (r bulkReceiver) of() *handle { return r.h }

func (r bulkReceiver) with(recv func([]byte) ([]byte, error)) (m message, err error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	p, err := recv((*b)[:0])
	if err == nil {
		m = messageOf(p, r.MaxMessage())
	}
	return m, err
}

func (r bulkReceiver) Recv() (message, error)    { return r.with(r.BytesReceiver.Recv) }
func (r bulkReceiver) TryRecv() (message, error) { return r.with(r.BytesReceiver.TryRecv) }

func (r bulkReceiver) RecvBatch(ctx context.Context, ms []message) (n int, err error) {
	ms[0], err = r.with(func(p []byte) ([]byte, error) { return r.RecvContext(ctx, p) })
	for ; n < len(ms) && err == nil; n++ {
		if n > 0 {
			if ms[n], err = r.TryRecv(); errors.Is(err, ErrEmpty) {
				return n, nil
			}
		}
	}
	return n, err
}

func (r bulkReceiver) RecvFunc(ctx context.Context, use func(*message) error) error {
	return r.BytesReceiver.RecvFunc(ctx, func(p []byte) error {
		m := messageOf(p, r.MaxMessage())
		return use(&m)
	})
}

// ofBytes says whether the options are those of a channel of bytes.
func ofBytes(opts []Option) bool {
	var o options
	for _, f := range opts {
		f(&o)
	}
	return o.maxMessage != 0
}

// openSends opens the sending side of a channel of messages, as bytes if the options are for that.
func openSends(opts ...Option) (sendsAny, error) {
	if ofBytes(opts) {
		s, err := OpenBytesSender("test", opts...)
		return bulkSender{s}, err
	}
	s, err := OpenSender[message]("test", opts...)
	return s, err
}

func openReceives(opts ...Option) (recvsAny, error) {
	if ofBytes(opts) {
		r, err := OpenBytesReceiver("test", opts...)
		return bulkReceiver{r}, err
	}
	r, err := OpenReceiver[message]("test", opts...)
	return r, err
}

// openBoth opens both sides on one handle.
func openBoth(opts ...Option) (s sendsAny, r recvsAny, detach func() error, err error) {
	if ofBytes(opts) {
		b, err := OpenBytes("test", opts...)
		if err != nil {
			return nil, nil, nil, err
		}
		return bulkSender{b.BytesSender}, bulkReceiver{b.BytesReceiver}, b.Detach, nil
	}
	ch, err := Open[message]("test", opts...)
	if err != nil {
		return nil, nil, nil, err
	}
	return ch.Sender, ch.Receiver, ch.Detach, nil
}

// asItIs is the option with which a role opens the channel in the directory: what it finds there.
func asItIs(dir string) []Option {
	opts := []Option{WithDir(dir), WithAttach()}
	if i, err := Inspect("test", WithDir(dir)); err == nil && i.MaxMessage > 0 {
		opts = append(opts, WithMaxMessage(i.MaxMessage))
	}
	return opts
}

// fileOfBytes says whether the memory of a set is that of a channel of bytes.
func fileOfBytes(f *os.File) bool {
	h, err := readHeader("test", "its memory", f)
	return err == nil && h.maxMessage > 0
}
