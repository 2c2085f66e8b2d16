// Package shmnet has net.Conn and net.Listener over shared memory, so that what speaks over a
// connection (net/http, net/rpc, gRPC) does so between processes of one machine without the kernel's sockets, unchanged.
//
//	l, err := shmnet.Listen("api")
//	go http.Serve(l, handler)
//
//	client := http.Client{Transport: &http.Transport{
//		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return shmnet.DialContext(ctx, "api") },
//	}}
//
// A connection is a pair of channels of bytes (shmchan.OpenBytesDuplex), and a listener a channel on which those who dial leave the pair's
// name. Nothing is left behind when a side is killed: the other side's calls fail with syscall.ECONNRESET, and its Close removes the
// files; if both are killed at once, the next Listen on the name does.
//
// The options are those of shmchan that say where the files are and who may use them, WithDir and WithMode, and how to wait, WithWait. Who
// dials may also say how much a connection holds in each direction, with WithCapacity and WithMaxMessage: 64 messages of 4096 bytes if they are left out.
package shmnet

// Invariants of listening and dialling:
//   - Whoever dials makes the pair and holds its side A before he says its name on the listener's channel.
//   - The listener takes side B at once, not only when Accept is called, and says so with an empty message: the first of every
//     connection, which no Write sends. Dial returns when it has come.
//   - A pair is removed by the last who leaves it, which Close does. A pair of which all who held it have died is
//     removed by the next who listens on the name.

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
)

// Network is the name of the network in addresses: Addr.Network.
const Network = "shm"

// Addr is the name of a listener, or of a connection.
type Addr string

// Network is "shm".
func (Addr) Network() string  { return Network }
func (a Addr) String() string { return string(a) }

// What a connection is made with, unless the options say otherwise: a Write of more goes in several messages, each of which lies in its slot.
const (
	connCapacity   = 64
	connMaxMessage = 4096 // bytes
)

// backlog is how many connections a listener has at hand that nobody has accepted yet. Beyond that Dial waits.
const backlog = 128

// idSize is the length, in bytes, of what one who dials says: what the pair is called after the name of the listener.
const idSize = 16

func pairName(name string, id []byte) string { return name + "." + hex.EncodeToString(id) }

// helloOptions are those of the listener's channel.
func helloOptions(opts []shmchan.Option, more ...shmchan.Option) []shmchan.Option {
	opts = append(opts[:len(opts):len(opts)], shmchan.WithSingleReceiver(), shmchan.WithCapacity(backlog), shmchan.WithMaxMessage(idSize))
	return append(opts, more...)
}

// Listener is a net.Listener. Its methods may be called by many goroutines.
type Listener struct {
	name   string
	opts   []shmchan.Option
	hellos *shmchan.BytesReceiver
	conns  chan *Conn
	closed chan struct{}
	once   sync.Once
	ended  error // why no connection will come any more, once conns is closed
}

// Listen listens on the name. Another who listens on it already is syscall.EADDRINUSE.
func Listen(name string, opts ...shmchan.Option) (*Listener, error) {
	fail := func(err error) error { return &net.OpError{Op: "listen", Net: Network, Addr: Addr(name), Err: err} }
	for {
		r, err := shmchan.OpenBytesReceiver(name, helloOptions(opts)...)
		if errors.Is(err, shmchan.ErrBusy) {
			err = both{syscall.EADDRINUSE, err}
		}
		if err != nil {
			return nil, fail(err)
		}
		if r.Stats().Closed { // Its last listener's, and somebody who dials still holds it.
			_ = r.Detach()
			if err := shmchan.Remove(name, opts...); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fail(err)
			}
			continue
		}
		l := &Listener{name: name, opts: opts, hellos: r, conns: make(chan *Conn, backlog), closed: make(chan struct{})}
		l.sweep()
		go l.serve()
		return l, nil
	}
}

// sweep removes the connections to this name of which all sides have died.
func (l *Listener) sweep() {
	names, err := shmchan.List(l.opts...)
	if err != nil {
		return
	}
	for _, n := range names {
		id, ok := strings.CutPrefix(n, l.name+".")
		if id, _, ok2 := strings.Cut(id, "."); !ok || !ok2 || len(id) != 2*idSize {
			continue
		}
		info, err := shmchan.Inspect(n, l.opts...)
		dead := err == nil && len(info.Peers) > 0 // One that is being made has nobody yet.
		for _, p := range info.Peers {
			dead = dead && !p.Alive
		}
		if dead {
			_ = shmchan.Remove(n, l.opts...)
		}
	}
}

// serve takes the other side of the pairs that are named to it.
func (l *Listener) serve() {
	defer close(l.conns)
	for {
		id, err := l.hellos.Recv(nil)
		if err != nil {
			l.ended = err
			return
		}
		name := pairName(l.name, id)
		pair, err := shmchan.OpenBytesDuplex(name, shmchan.SideB, append(l.opts[:len(l.opts):len(l.opts)], shmchan.WithAttach())...)
		if err != nil {
			continue // Whoever dialled has gone.
		}
		if err := pair.Send(nil); err != nil {
			_ = pair.Detach()
			continue
		}
		c := newConn(pair, Addr(l.name), Addr(name))
		select {
		case l.conns <- c:
		case <-l.closed:
			_ = c.Close()
		}
	}
}

// Accept waits for a connection. After Close it fails with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	case c, ok := <-l.conns:
		if ok {
			return c, nil
		}
		select {
		case <-l.closed:
		default:
			return nil, &net.OpError{Op: "accept", Net: Network, Addr: l.Addr(), Err: l.ended}
		}
	}
	return nil, &net.OpError{Op: "accept", Net: Network, Addr: l.Addr(), Err: net.ErrClosed}
}

// Close ends the listener: Accept fails, and who dials is refused. Connections that were accepted go on, those that were
// not are closed.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		err = errors.Join(l.hellos.Close(), l.hellos.Detach())
		for c := range l.conns {
			_ = c.Close()
		}
	})
	if err != nil {
		return &net.OpError{Op: "close", Net: Network, Addr: l.Addr(), Err: err}
	}
	return nil
}

// Addr is the name that it listens on.
func (l *Listener) Addr() net.Addr { return Addr(l.name) }

// Dial connects to who listens on the name. Nobody is syscall.ECONNREFUSED.
func Dial(name string, opts ...shmchan.Option) (*Conn, error) {
	return DialContext(context.Background(), name, opts...)
}

// refusedEvery is how often one who dials and gets no answer looks whether somebody is alive who could give it.
const refusedEvery = 100 * time.Millisecond

// DialContext is Dial that also ends, with ctx.Err(), when ctx does.
func DialContext(ctx context.Context, name string, opts ...shmchan.Option) (*Conn, error) {
	c, err := dial(ctx, name, opts)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: Network, Addr: Addr(name), Err: err}
	}
	return c, nil
}

func dial(ctx context.Context, name string, opts []shmchan.Option) (_ *Conn, err error) {
	hellos, err := shmchan.OpenBytesSender(name, helloOptions(opts, shmchan.WithAttach(), shmchan.WithDisconnect())...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, both{syscall.ECONNREFUSED, err}
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = hellos.Detach() }()
	id := make([]byte, idSize)
	_, _ = rand.Read(id) // Never fails.
	pair, err := shmchan.OpenBytesDuplex(pairName(name, id), shmchan.SideA, append([]shmchan.Option{
		shmchan.WithCapacity(connCapacity), shmchan.WithMaxMessage(connMaxMessage), shmchan.WithCreate(),
	}, opts...)...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = pair.Close()
			_ = pair.Detach()
		}
	}()
	refused := func(err error) bool {
		return errors.Is(err, shmchan.ErrDisconnected) || errors.Is(err, shmchan.ErrClosed)
	}
	if listens, err := listening(name, opts); err != nil {
		return nil, err
	} else if !listens {
		return nil, both{syscall.ECONNREFUSED, shmchan.ErrDisconnected}
	}
	if err = hellos.SendContext(ctx, id); refused(err) {
		err = both{syscall.ECONNREFUSED, err}
	}
	for err == nil {
		var first []byte
		look, cancel := context.WithTimeout(ctx, refusedEvery)
		first, err = pair.RecvContext(look, nil)
		cancel()
		switch {
		case err == nil && len(first) > 0:
			err = errors.New("whoever listens does not speak like this package; is the name another's?")
		case err == nil:
			return newConn(pair, Addr(pairName(name, id)), Addr(name)), nil
		case refused(err): // It has come and gone.
			err = both{syscall.ECONNREFUSED, err}
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			var listens bool
			if listens, err = listening(name, opts); err == nil && !listens {
				err = both{syscall.ECONNREFUSED, shmchan.ErrDisconnected}
			}
		}
	}
	return nil, err
}

// listening says whether a live process listens on the name.
func listening(name string, opts []shmchan.Option) (bool, error) {
	info, err := shmchan.Inspect(name, opts...)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return info.Receivers > 0 && !info.Closed, err
}

// both is an error that is also that of a socket, for those who ask for it.
type both struct {
	errno syscall.Errno
	why   error
}

func (b both) Error() string   { return b.errno.Error() + ": " + b.why.Error() }
func (b both) Unwrap() []error { return []error{b.errno, b.why} }

var _ net.Listener = (*Listener)(nil)
