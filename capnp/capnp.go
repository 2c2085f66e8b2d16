// Package shmcapnp carries Cap'n Proto messages through shared memory: over a channel of bytes of
// github.com/shmchan/shmchan, and as the transport of Cap'n Proto RPC over a pair of them.
//
// # Which call to choose
//
// SendFunc builds a message where it will lie, and RecvFunc reads it there: nothing is copied, and there is no
// step to marshal or unmarshal. Send takes a message that exists already, and Recv gives one that stays: each copies it once.
// NewTransport is for RPC.
//
// # What lies in the channel
//
// A message of the channel is a message of Cap'n Proto in the standard framing for streams, unpacked: a table of its segments, and
// the segments. A program in any language that has the channel can read it. It begins at a multiple of 8 bytes.
//
// # Peers that are not trusted
//
// What a message says of itself is checked against what is there: no call, and no accessor of a message, reads beyond its bytes,
// however they are chosen. Cap'n Proto's limits hold: by default 64 MiB of a message may be traversed, counting again what is read again, to a depth of 64.
// RecvFunc may change them (see capnp.Message). A message that is none is ErrMalformed.
//
// A peer that may write the memory may also change a message while RecvFunc's function reads it. Each pointer is loaded
// once and then checked, so that bounds and limits hold all the same. What does not: two reads of one field may differ, and a text may change after it was
// compared. Copy what you decide on, or use Recv, whose message nobody else can reach. NewTransport does the same.
package shmcapnp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
)

// ErrMalformed is returned for a message of the channel that is no message of Cap'n Proto, or that the function given to RecvFunc
// found to be none (Malformed). It was dropped.
var ErrMalformed = errors.New("shmcapnp: not a message of Cap'n Proto")

// Malformed makes err, for the function given to RecvFunc to return, say that the message cannot be read, by anybody: RecvFunc then
// drops it and returns err, instead of giving it back for another to receive. It is ErrMalformed as well as err. nil stays nil.
func Malformed(err error) error {
	if err == nil {
		return nil
	}
	return &malformedError{err}
}

type malformedError struct{ err error }

func (e *malformedError) Error() string        { return ErrMalformed.Error() + ": " + e.err.Error() }
func (e *malformedError) Unwrap() error        { return e.err }
func (e *malformedError) Is(target error) bool { return target == ErrMalformed }

// Send sends a copy of m, and waits like BytesSender.SendContext. m stays the caller's.
//
// It fails as SendContext does, with shmchan.ErrTooLarge for a message that takes more than the channel's MaxMessage, framing included,
// and for a message with capabilities: they cross by RPC only (NewTransport). Nothing was sent then.
func Send(ctx context.Context, to *shmchan.BytesSender, m *capnp.Message) error {
	if err := noCapabilities(to.Name(), m); err != nil {
		return err
	}
	g, err := gatherOf(m)
	if err != nil {
		return channelError(to.Name(), err)
	}
	return to.SendFunc(ctx, g.left, g.fill)
}

// SendFunc has build make a message where it will lie, in a channel's slot or its arena, and sends it. It waits like
// BytesSender.SendFunc, and others go on meanwhile as is said there. The message has one segment, to which build adds the root (market.NewRootQuote(s), say)
// and all else. n is how many bytes there is room for, framing included, which takes 8: 16 at least and MaxMessage at most. In a channel whose messages may have more
// than 4096 bytes, one of more than 1008 has room for n bytes in the arena, used or not, until it has been received. One of at most 1008 for which n was more is
// copied, once, into its slot.
//
// If build fails or panics nothing is sent. If what it makes does not fit in n bytes, the call of Cap'n Proto that needed
// more fails, and so does SendFunc, with shmchan.ErrTooLarge, whatever build returns. Nor may it contain capabilities.
// Neither the segment nor anything in it is to be kept.
func SendFunc(ctx context.Context, to *shmchan.BytesSender, n int, build func(s *capnp.Segment) error) error {
	b := builders.Get().(*builder)
	b.to, b.build = to, build
	defer func() {
		b.to, b.build = nil, nil
		builders.Put(b)
	}()
	return to.SendFunc(ctx, n, b.fill)
}

// builder is a SendFunc that is under way. It is used again.
type builder struct {
	to    *shmchan.BytesSender
	build func(*capnp.Segment) error
	fill  func([]byte) (int, error) // b.run
	m     capnp.Message
	a     slotArena
}

var builders = sync.Pool{New: func() any {
	b := &builder{a: newSlotArena()}
	b.fill = b.run
	return b
}}

func (b *builder) run(buf []byte) (int, error) {
	if len(buf) < headerSize+wordSize {
		return 0, channelError(b.to.Name(), fmt.Errorf("%w: a message takes 16 bytes at least, and SendFunc was given room for %d", shmchan.ErrTooLarge, len(buf)))
	}
	size := len(buf) &^ (wordSize - 1)
	b.a.use(buf[headerSize:size:size])
	s, err := b.m.Reset(b.a)
	defer b.m.Release()
	if err == nil {
		err = b.m.SetRoot(capnp.Ptr{}) // So that there is one, whatever was here before.
	}
	if err == nil {
		err = b.build(s)
	}
	if b.a.outgrown() {
		return 0, channelError(b.to.Name(), fmt.Errorf("%w: the message outgrew the %d bytes that SendFunc was given room for, of the %d that the channel takes",
			shmchan.ErrTooLarge, len(buf), b.to.MaxMessage()))
	}
	if err == nil {
		err = noCapabilities(b.to.Name(), &b.m)
	}
	if err != nil {
		return 0, err
	}
	n := len(s.Data())
	putHeader(buf, n)
	return headerSize + n, nil
}

// Recv receives a message and waits like BytesReceiver.RecvContext, whose errors it has. The message is the caller's own: no peer
// can change it. Bytes that are no message are dropped and ErrMalformed.
func Recv(ctx context.Context, from *shmchan.BytesReceiver) (*capnp.Message, error) {
	b, err := from.RecvContext(ctx, nil)
	if err != nil {
		return nil, err
	}
	m, one := new(capnp.Message), new(capnp.ReadOnlySingleSegment)
	if err := open(m, one, b); err != nil {
		return nil, channelError(from.Name(), err)
	}
	return m, nil
}

// RecvFunc waits for a message like BytesReceiver.RecvFunc, whose errors it has, and has use read it where it lies. Neither m nor anything in it is to
// be kept, nor written. The message counts as received when use has returned nil. If use fails or panics, or the process dies, it goes to another
// Recv; but if use returns Malformed of an error, the message is dropped, and RecvFunc returns that. Bytes that are no message at all
// are dropped and ErrMalformed.
//
// What an accessor returns for a pointer that leads out of the message, or over a limit, is an error of Cap'n Proto. If it goes
// back to the channel, so does the message, to be received again.
func RecvFunc(ctx context.Context, from *shmchan.BytesReceiver, use func(m *capnp.Message) error) error {
	r := readers.Get().(*reader)
	r.use, r.bad = use, nil
	defer func() {
		r.use = nil
		readers.Put(r)
	}()
	if err := from.RecvFunc(ctx, r.show); err != nil {
		return err
	}
	if r.bad != nil {
		return channelError(from.Name(), r.bad)
	}
	return nil
}

// reader is a RecvFunc that is under way. It is used again.
type reader struct {
	use  func(*capnp.Message) error
	show func([]byte) error // r.run
	bad  error              // why the message was dropped
	m    capnp.Message
	one  capnp.ReadOnlySingleSegment
}

var readers = sync.Pool{New: func() any {
	r := &reader{}
	r.show = r.run
	return r
}}

func (r *reader) run(b []byte) error {
	r.m.TraverseLimit, r.m.DepthLimit = 0, 0
	if r.bad = open(&r.m, &r.one, b); r.bad != nil {
		return nil
	}
	defer r.m.Release()
	err := r.use(&r.m)
	if errors.Is(err, ErrMalformed) {
		r.bad = err
		return nil
	}
	return err
}

// noCapabilities refuses a message that refers to some.
func noCapabilities(channel string, m *capnp.Message) error {
	if n := m.CapTable().Len(); n > 0 {
		return channelError(channel, fmt.Errorf("the message has %d capabilities, which cross by RPC only; use NewTransport", n))
	}
	return nil
}

// channelError says which channel err is about.
func channelError(channel string, err error) error {
	return fmt.Errorf("shmcapnp: channel %q: %w", channel, err)
}
