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
// files; if both are killed at once, or one who dials is before he is heard, the next Listen on the name does. A listener that is killed leaves its
// channel to that too.
//
// Errors are those of sockets, in a *net.OpError: io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNREFUSED, ECONNRESET, EPIPE, EADDRINUSE. As
// with TCP, a Write to a side that has died succeeds as long as there is room; the Read says so at once. There is no SyscallConn and no File, for there is
// no descriptor that is the connection.
//
// The options are those of shmchan that say where the files are and who may use them, WithDir and WithMode, and how to wait, WithWait. A
// connection has the mode of its listener's channel if who dials does not say another; where the two are of different users, the directory must give its
// files a group that both are in. Who dials may also say how much a connection holds in each direction, with WithCapacity and WithMaxMessage: 64
// messages of 4096 bytes if they are left out.
package shmnet

// Invariants of listening and dialling:
//   - Whoever dials makes the pair and holds its side A before he says its name on the listener's channel. He holds that channel only to say
//     so, for it has 256 places, and to take one among many others costs a look at each of theirs.
//   - The listener takes side B at once, not only when Accept is called, and says so with an empty message: the first of every
//     connection, which no Write sends. Dial returns when it has come.
//   - A pair whose side A has died before that is no connection. A pair that the listener cannot take it removes, which
//     tells who dials that he is refused.
//   - Dial waits for the one listener that it has seen before it said the name; if another listens since, it is refused, for
//     the name may have been heard by the one who is gone.
//   - A pair is removed by the last who leaves it, which Close does. A pair of which all who held it have died is
//     removed by the next who listens on the name.
//   - Whoever takes a closed channel's name away to listen holds its single role, so that of several one does.

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
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

// What one who dials says, in bytes: what the pair is called after the name of the listener; its capacity and its longest message, 4 bytes each.
const (
	idSize    = 16
	helloSize = idSize + 8
)

// maxName is how long a listener's name may be, in bytes, so that its connections have names too.
const maxName = 200 - len(".") - 2*idSize - len(".ab")

func pairName(name string, id []byte) string { return name + "." + hex.EncodeToString(id) }

// isHalf says whether a channel's name is that of half of a connection to who listens on name.
func isHalf(channel, name string) bool {
	rest, ok := strings.CutPrefix(channel, name+".")
	if id, half, _ := strings.Cut(rest, "."); !ok || half != "ab" && half != "ba" {
		return false
	} else if b, err := hex.DecodeString(id); err != nil || len(b) != idSize {
		return false
	} else {
		return hex.EncodeToString(b) == id
	}
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: a name to listen on has at least 1 and at most %d bytes, and no slash", fs.ErrInvalid, maxName)
	}
	return nil
}

// helloOptions are those of the listener's channel.
func helloOptions(opts []shmchan.Option, more ...shmchan.Option) []shmchan.Option {
	opts = append(opts[:len(opts):len(opts)], shmchan.WithSingleReceiver(), shmchan.WithCapacity(backlog), shmchan.WithMaxMessage(helloSize))
	return append(opts, more...)
}

// Listener is a net.Listener. Its methods may be called by many goroutines.
type Listener struct {
	name   string
	opts   []shmchan.Option
	hellos *shmchan.BytesReceiver
	conns  chan accepted
	closed chan struct{}
	once   sync.Once
	ended  error // why no connection will come any more, once conns is closed
}

// accepted is what Accept returns.
type accepted struct {
	conn *Conn
	err  error
}

// Listen listens on the name, of 1 to 164 bytes and no slash. Another who listens on it already is syscall.EADDRINUSE.
func Listen(name string, opts ...shmchan.Option) (*Listener, error) {
	fail := func(err error) error { return &net.OpError{Op: "listen", Net: Network, Addr: Addr(name), Err: err} }
	if err := checkName(name); err != nil {
		return nil, fail(err)
	}
	for {
		r, err := shmchan.OpenBytesReceiver(name, helloOptions(opts)...)
		if errors.Is(err, shmchan.ErrBusy) {
			if other, _, none := whoListens(name, opts); none == nil {
				err = worded{err, fmt.Sprintf("pid %d listens on that name; end it, or choose another name", other.pid)}
			}
			err = both{syscall.EADDRINUSE, err}
		}
		if err != nil {
			return nil, fail(err)
		}
		if r.Stats().Closed { // Its last listener's, and somebody who dials still holds it.
			err := shmchan.Remove(name, opts...)
			_ = r.Detach()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fail(err)
			}
			continue
		}
		l := &Listener{name: name, opts: opts, hellos: r, conns: make(chan accepted, backlog), closed: make(chan struct{})}
		l.sweep()
		go l.serve()
		return l, nil
	}
}

// sweep removes the connections to this name that nobody alive holds: all sides have died, or who dialled did before it held its own.
func (l *Listener) sweep() {
	half := func(n string) bool {
		if !isHalf(n, l.name) {
			return false
		}
		info, err := shmchan.Inspect(n, l.opts...)
		return err == nil && info.Type == "[]byte"
	}
	_, _ = shmchan.Collect(shmchan.Collection{Values: true, Detached: true, Only: half}, l.opts...)
}

// serve takes the other side of the pairs that are named to it.
func (l *Listener) serve() {
	defer close(l.conns)
	for {
		said, err := l.hellos.Recv(nil)
		if err != nil {
			l.ended = err
			_ = l.hellos.Detach() // Who dials sees that nobody listens.
			return
		}
		a, ok := l.take(said)
		if !ok {
			continue
		}
		select {
		case l.conns <- a:
		case <-l.closed:
			if a.conn != nil {
				_ = a.conn.Close()
			}
		}
	}
}

// take makes a connection of what one who dials has said. False: there is none, and nobody to be told but him.
func (l *Listener) take(said []byte) (_ accepted, ok bool) {
	if len(said) != helloSize {
		return accepted{}, false
	}
	name := pairName(l.name, said[:idSize])
	capacity, most := binary.BigEndian.Uint32(said[idSize:]), binary.BigEndian.Uint32(said[idSize+4:])
	pair, err := shmchan.OpenBytesDuplex(name, shmchan.SideB, append(l.opts[:len(l.opts):len(l.opts)],
		shmchan.WithAttach(), shmchan.WithCapacity(int(capacity)), shmchan.WithMaxMessage(int(most)))...)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, shmchan.ErrBusy) { // Whoever dialled has gone, or it is taken.
			return accepted{}, false
		}
		_ = shmchan.RemoveDuplex(name, l.opts...)
		for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
			if errors.Is(err, e) {
				return accepted{err: both{e, err}}, true
			}
		}
		return accepted{}, false
	}
	// The dead were cleared away when we joined; whoever is still there will be missed when he dies.
	if pair.BytesSender.Stats().Receivers == 0 || pair.BytesReceiver.Stats().Senders == 0 || pair.TrySend(nil) != nil {
		_ = pair.Close()
		_ = pair.Detach()
		return accepted{}, false
	}
	return accepted{conn: newConn(pair, Addr(l.name), Addr(name))}, true
}

// Accept waits for a connection. After Close it fails with net.ErrClosed. A connection for which this process had no descriptors is
// refused, and is syscall.EMFILE here, which is temporary: the next may go well.
func (l *Listener) Accept() (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "accept", Net: Network, Addr: l.Addr(), Err: err}
	}
	select {
	case <-l.closed:
	case a, ok := <-l.conns:
		if ok && a.err == nil {
			return a.conn, nil
		} else if ok {
			return fail(a.err)
		}
		select {
		case <-l.closed:
		default:
			return fail(l.ended)
		}
	}
	return fail(net.ErrClosed)
}

// Close ends the listener: Accept fails, and who dials is refused. Connections that were accepted go on, those that were
// not are closed.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		if err = l.hellos.Close(); errors.Is(err, shmchan.ErrClosed) || errors.Is(err, shmchan.ErrDetached) {
			err = nil // Another was first, and serve has ended.
		}
		_ = l.hellos.Detach()
		for a := range l.conns {
			if a.conn != nil {
				_ = a.conn.Close()
			}
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

// crowdedEvery is how often, at first, one who dials tries again while so many do that the listener's channel has no place for him.
const crowdedEvery = 5 * time.Millisecond

// DialContext is Dial that also ends, with ctx.Err(), when ctx does.
func DialContext(ctx context.Context, name string, opts ...shmchan.Option) (*Conn, error) {
	c, err := dial(ctx, name, opts)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: Network, Addr: Addr(name), Err: err}
	}
	return c, nil
}

func dial(ctx context.Context, name string, opts []shmchan.Option) (_ *Conn, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	listens, mode, err := whoListens(name, opts)
	if err != nil {
		return nil, err
	}
	said := make([]byte, helloSize)
	_, _ = rand.Read(said[:idSize]) // Never fails.
	own := pairName(name, said[:idSize])
	pair, err := shmchan.OpenBytesDuplex(own, shmchan.SideA, append([]shmchan.Option{
		shmchan.WithCapacity(connCapacity), shmchan.WithMaxMessage(connMaxMessage), shmchan.WithMode(mode | 0o600), shmchan.WithCreate(),
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
	if pair.Cap() == 0 {
		return nil, fmt.Errorf("%w: WithCapacity(0): a connection has room for a message at least", fs.ErrInvalid)
	}
	binary.BigEndian.PutUint32(said[idSize:], uint32(pair.Cap()))
	binary.BigEndian.PutUint32(said[idSize+4:], uint32(pair.MaxMessage()))
	refused := func(err error) bool {
		return errors.Is(err, shmchan.ErrDisconnected) || errors.Is(err, shmchan.ErrClosed)
	}
	if err = say(ctx, name, said, opts); refused(err) || errors.Is(err, fs.ErrNotExist) {
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
			return newConn(pair, Addr(own), Addr(name)), nil
		case refused(err): // It has come and gone.
			err = both{syscall.ECONNREFUSED, err}
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			beforeStillThere()
			if err = stillThere(name, own, listens, opts); err == nil {
				break
			}
			if first, none := pair.TryRecv(nil); none == nil && len(first) == 0 { // It has answered since, and gone: the connection goes on.
				return newConn(pair, Addr(own), Addr(name)), nil
			}
		}
	}
	return nil, err
}

// say puts what one who dials says on the listener's channel, where it takes a place no longer than that.
func say(ctx context.Context, name string, said []byte, opts []shmchan.Option) error {
	open := func() (*shmchan.BytesSender, error) {
		return shmchan.OpenBytesSender(name, helloOptions(opts, shmchan.WithAttach(), shmchan.WithDisconnect())...)
	}
	hellos, err := open()
	for delay := crowdedEvery; errors.Is(err, shmchan.ErrTooManyPeers); delay = min(2*delay, refusedEvery) { // So many dial just now.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
			hellos, err = open()
		}
	}
	if err != nil {
		return err
	}
	err = hellos.SendContext(ctx, said)
	if left := hellos.Detach(); err == nil {
		err = left
	}
	return err // As it is, for who asks it whether it is a timeout.
}

// beforeStillThere is replaced by tests in which the answer comes just then.
var beforeStillThere = func() {}

// stillThere is nil if an answer may still come to one who has said the name of his own pair to that listener.
func stillThere(name, own string, listener who, opts []shmchan.Option) error {
	now, _, err := whoListens(name, opts)
	if err == nil && now != listener {
		err = both{syscall.ECONNREFUSED, errors.New("whoever listened has gone and another listens now; dial again")}
	}
	if err != nil {
		return err
	}
	if _, err := shmchan.Inspect(own+".ba", opts...); errors.Is(err, fs.ErrNotExist) {
		return both{syscall.ECONNREFUSED, errors.New("whoever listens could not take the connection: it has no descriptors left, or its options do not agree with those given here")}
	}
	return nil
}

// who is a live listener: no two are the same.
type who struct {
	pid          int
	made, joined time.Time // its channel, and it
}

// whoListens says who listens on the name, and what mode its channel has. Nobody is syscall.ECONNREFUSED.
func whoListens(name string, opts []shmchan.Option) (who, fs.FileMode, error) {
	info, err := shmchan.Inspect(name, opts...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return who{}, 0, err
	}
	for _, p := range info.Peers {
		if p.Receives && p.Alive && !info.Closed {
			return who{p.PID, info.Created, p.Since}, info.Mode, nil
		}
	}
	return who{}, 0, both{syscall.ECONNREFUSED, worded{shmchan.ErrDisconnected, "nobody listens on that name; start who does, or check the name and the directory"}}
}

// worded is an error in the words of connections: what they are made of, its text says nothing of.
type worded struct {
	error
	text string
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.error }

// both is an error that is also that of a socket, for those who ask for it.
type both struct {
	errno syscall.Errno
	why   error
}

func (b both) Error() string   { return b.errno.Error() + ": " + b.why.Error() }
func (b both) Unwrap() []error { return []error{b.errno, b.why} }

// Temporary is asked for by those who accept: net/http tries again then.
func (b both) Temporary() bool { return b.errno.Temporary() }

var _ net.Listener = (*Listener)(nil)
