package shmchan

// Channels of bytes in the histories of linear_test.go: the same calls, but for batches, which they do not have. A message is a
// value and some bytes more, by its number none, as many as fit in a slot, or so many that it lies in the arena.
//
// Invariant: the arena has room for as many messages as the channel, so that a channel that is not full has room for one.

import (
	"bytes"
	"context"
	"fmt"
	"unsafe"
)

const (
	linearMaxMessage = 5 << 10 // beyond 4 KiB, so that there is an arena
	linearArena      = 1 << 20
)

func linearBytesOptions() []Option {
	return []Option{WithMaxMessage(linearMaxMessage), WithArena(linearArena)}
}

// more is how many bytes stand behind a value, and what each of them is.
func (m *message) more() (n int, b byte) {
	switch x := m.Seq * 0x9e3779b97f4a7c15 >> 33; m.Seq % 3 {
	case 0:
		n = int(x % 800)
	case 1:
		n = 1100 + int(x%3800)
	}
	return n, byte(m.Seq*31 + m.From)
}

func (m *message) put(buf []byte) (n int) {
	n = copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(m)), unsafe.Sizeof(*m)))
	more, b := m.more()
	for i := range more {
		buf[n+i] = b
	}
	return n + more
}

func (m *message) size() int {
	more, _ := m.more()
	return int(unsafe.Sizeof(*m)) + more
}

// get is the value at the start of a message, which must be as put makes it. A value that is not whole is for identify.
func (m *message) get(msg []byte) error {
	n := copy(unsafe.Slice((*byte)(unsafe.Pointer(m)), unsafe.Sizeof(*m)), msg)
	if !m.whole() {
		return nil
	}
	more, b := m.more()
	if len(msg) != n+more || bytes.Count(msg[n:], []byte{b}) != more {
		return fmt.Errorf("a message of %d bytes, not %d, or with others in it: %+v", len(msg), n+more, *m)
	}
	return nil
}

// linearBytesSender and linearBytesReceiver are the two ends as the histories have them.
type linearBytesSender struct{ *BytesSender }

func (s linearBytesSender) bytesOf(m *message) []byte {
	buf := make([]byte, m.size())
	m.put(buf)
	return buf
}

func (s linearBytesSender) Send(m message) error    { return s.BytesSender.Send(s.bytesOf(&m)) }
func (s linearBytesSender) TrySend(m message) error { return s.BytesSender.TrySend(s.bytesOf(&m)) }
func (s linearBytesSender) SendContext(ctx context.Context, m message) error {
	return s.BytesSender.SendContext(ctx, s.bytesOf(&m))
}

func (s linearBytesSender) SendFunc(ctx context.Context, fill func(*message) error) error {
	return s.BytesSender.SendFunc(ctx, linearMaxMessage, func(buf []byte) (int, error) {
		var m message
		if err := fill(&m); err != nil {
			return 0, err
		}
		return m.put(buf), nil
	})
}

type linearBytesReceiver struct{ *BytesReceiver }

func got(msg []byte, err error) (m message, _ error) {
	if err == nil {
		err = m.get(msg)
	}
	return m, err
}

func (r linearBytesReceiver) Recv() (message, error)    { return got(r.BytesReceiver.Recv(nil)) }
func (r linearBytesReceiver) TryRecv() (message, error) { return got(r.BytesReceiver.TryRecv(nil)) }
func (r linearBytesReceiver) RecvContext(ctx context.Context) (message, error) {
	return got(r.BytesReceiver.RecvContext(ctx, nil))
}

func (r linearBytesReceiver) RecvFunc(ctx context.Context, use func(*message) error) error {
	return r.BytesReceiver.RecvFunc(ctx, func(msg []byte) error {
		m, err := got(msg, nil)
		if err != nil {
			return err
		}
		return use(&m)
	})
}

// openBytesSides is openSides for a channel of bytes.
func openBytesSides(sends, receives bool, name string, opts ...Option) (e sides, err error) {
	var s *BytesSender
	var r *BytesReceiver
	switch {
	case !receives:
		s, err = OpenBytesSender(name, opts...)
	case !sends:
		r, err = OpenBytesReceiver(name, opts...)
	default:
		var b *Bytes
		if b, err = OpenBytes(name, opts...); err == nil {
			s, r = b.BytesSender, b.BytesReceiver
		}
	}
	if s != nil {
		e.s = linearBytesSender{s}
	}
	if r != nil {
		e.r, e.h = linearBytesReceiver{r}, r.h
	}
	return e, err
}
