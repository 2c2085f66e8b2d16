package shmcapnp

// RPC over two channels of bytes, one for each direction.
//
// Invariants:
//   - A message is sent in as many messages of the channel as it takes, one after the other: only the last may be
//     shorter than MaxMessage. Its table says how long it is, and so where the next one begins.
//   - What was received is private memory before anything of it is looked at.
//   - Close wakes who waits, and lets go of the pair when nobody is in a call on it: so once it has returned, the side is free for another.
//   - A message that was not sent and that the other side would wait for ends the connection.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/exc"
	"capnproto.org/go/capnp/v3/rpc/transport"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"github.com/shmchan/shmchan"
)

// Limits bound what a peer may make a transport do. What is 0 is as Cap'n Proto has it.
type Limits struct {
	Message  uint64 // bytes of one message; 64 MiB. A longer one ends the connection.
	Traverse uint64 // bytes of a message that may be traversed, what is read again counted again; 64 MiB
	Depth    uint   // how deep a message's pointers may be followed; 64
}

const defaultMessage = 64 << 20

// shared is a transport.Transport.
type shared struct {
	pair    *shmchan.BytesDuplex
	limits  Limits
	ctx     context.Context // ends with the transport
	cancel  context.CancelCauseFunc
	sending sync.Mutex   // keeps the parts of a message together
	calls   sync.RWMutex // held for reading by calls on the pair, for writing to let go of it
	closed  sync.Once
}

var errTransportClosed = fmt.Errorf("the transport is closed (%w)", os.ErrClosed)

// NewTransport makes a side of a pair a transport for RPC: rpc.NewConn(NewTransport(pair, Limits{}), options). The other side
// does the same with the other side of the pair. The pair is the transport's from then on, and its Close, by the Conn's, closes and detaches it.
// A message may be longer than the pair's MaxMessage: it is sent in parts.
//
// When the other side has closed its Conn or died, what it had sent is received, and then the Conn ends: its calls fail, with
// exc.Disconnected, and its Done is closed. So it does after a message that is none, that is over a limit, or that could not be sent. Until the
// other side has come, it waits for it.
//
// A connection begins with an empty pair. A Conn that is closed leaves none behind. If both processes were killed, the messages of that
// connection are still there: who is first, a server for instance, calls shmchan.RemoveDuplex before OpenBytesDuplex.
func NewTransport(pair *shmchan.BytesDuplex, limits Limits) transport.Transport {
	if limits.Message == 0 {
		limits.Message = defaultMessage
	}
	t := &shared{pair: pair, limits: limits}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	return t
}

// fault is err as RPC wants it: is the connection gone, or did something go wrong?
func (t *shared) fault(doing string, err error) error {
	kind := exc.Failed
	if t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	for _, gone := range []error{errTransportClosed, shmchan.ErrClosed, shmchan.ErrDisconnected, shmchan.ErrDetached} {
		if errors.Is(err, gone) {
			kind = exc.Disconnected
		}
	}
	return &exc.Exception{Type: kind, Prefix: "shared memory transport", Cause: fmt.Errorf("%s: %w", doing, err)}
}

// NewMessage makes a message in memory of its own. It cannot be built in a slot: RPC makes the answer to a call when the
// call comes in, and sends it when it is answered, which may be never.
func (t *shared) NewMessage() (transport.OutgoingMessage, error) {
	m, s := capnp.NewMultiSegmentMessage(nil)
	root, err := rpccp.NewRootMessage(s)
	if err != nil {
		return nil, t.fault("new message", err)
	}
	return &outgoing{t: t, m: m, root: root}, nil
}

type outgoing struct {
	t        *shared
	m        *capnp.Message
	root     rpccp.Message
	released atomic.Bool
}

func (o *outgoing) Message() rpccp.Message { return o.root }

func (o *outgoing) Release() {
	if !o.released.Swap(true) {
		o.m.Release()
	}
}

func (o *outgoing) Send() error {
	if o.released.Load() {
		panic("shmcapnp: Send of a message that was released")
	}
	err := o.t.send(o.m)
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, shmchan.ErrClosed), errors.Is(err, shmchan.ErrDisconnected):
		// The other side is gone. What it had sent can still be received, and then that fails, too.
	default:
		o.t.cancel(err)
	}
	return o.t.fault("send", err)
}

func (t *shared) send(m *capnp.Message) error {
	g, err := gatherOf(m)
	if err != nil {
		return channelError(t.pair.Name(), err)
	}
	t.calls.RLock()
	defer t.calls.RUnlock()
	most := t.pair.MaxMessage()
	t.sending.Lock()
	defer t.sending.Unlock()
	for g.left > 0 {
		if err := t.pair.SendFunc(t.ctx, min(g.left, most), g.fill); err != nil {
			return err
		}
	}
	return nil
}

// RecvMessage receives a message into memory of its own, so that it stays what it is until it is released, and no slot waits for that.
func (t *shared) RecvMessage() (transport.IncomingMessage, error) {
	i := &incoming{buf: buffers.Get().(*[]byte)}
	if err := t.receive(i); err != nil {
		i.Release()
		return nil, t.fault("receive", err)
	}
	return i, nil
}

func (t *shared) receive(i *incoming) (err error) {
	t.calls.RLock()
	defer t.calls.RUnlock()
	b := (*i.buf)[:0]
	for whole := uint64(headerSize); uint64(len(b)) < whole; {
		had := len(b)
		b, err = t.pair.RecvContext(t.ctx, b)
		*i.buf = b
		if err != nil {
			return err
		}
		if whole, err = lengthOf(b); err == nil && whole > t.limits.Message {
			err = fmt.Errorf("the message has %d bytes, or more, and may have %d (Limits)", whole, t.limits.Message)
		}
		if err == nil && len(b) == had {
			err = fmt.Errorf("%w: a part of it is empty", ErrMalformed)
		}
		if err != nil {
			return channelError(t.pair.Name(), err)
		}
	}
	i.m.TraverseLimit, i.m.DepthLimit = t.limits.Traverse, t.limits.Depth
	if err = open(&i.m, &i.one, b); err == nil {
		if i.root, err = rpccp.ReadRootMessage(&i.m); err != nil {
			err = Malformed(err)
		} else {
			err = possible(i.root)
		}
	}
	if err != nil {
		return channelError(t.pair.Name(), err)
	}
	return nil
}

// possible refuses what no side of RPC can mean, and the package rpc (3.1.0-alpha.2) panics about: a call on its own result.
func possible(m rpccp.Message) error {
	if m.Which() != rpccp.Message_Which_call {
		return nil
	}
	c, err := m.Call()
	if err != nil {
		return Malformed(err)
	}
	target, err := c.Target()
	if err != nil {
		return Malformed(err)
	}
	if target.Which() != rpccp.MessageTarget_Which_promisedAnswer {
		return nil
	}
	on, err := target.PromisedAnswer()
	if err != nil {
		return Malformed(err)
	}
	if on.QuestionId() == c.QuestionId() {
		return fmt.Errorf("%w: it calls the result of question %d, which it is itself", ErrMalformed, c.QuestionId())
	}
	return nil
}

type incoming struct {
	m        capnp.Message
	one      capnp.ReadOnlySingleSegment
	root     rpccp.Message
	buf      *[]byte
	released atomic.Bool
}

// buffers are what messages are received into. Large ones are left to the garbage collector.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const keptBuffer = 64 << 10 // bytes

func (i *incoming) Message() rpccp.Message { return i.root }

func (i *incoming) Release() {
	if i.released.Swap(true) {
		return
	}
	i.m.Release()
	if cap(*i.buf) <= keptBuffer {
		buffers.Put(i.buf)
	}
	i.buf = nil
}

// Close ends the connection for both sides; the other still receives what was sent.
func (t *shared) Close() (err error) {
	t.closed.Do(func() {
		t.cancel(errTransportClosed)
		if err = t.pair.Close(); errors.Is(err, shmchan.ErrClosed) { // By the other side.
			err = nil
		}
		t.calls.Lock()
		defer t.calls.Unlock()
		err = errors.Join(err, t.pair.Detach())
	})
	return err
}
