package shmnet

// A connection: a stream of bytes over the messages of a pair.
//
// Invariants:
//   - A Write is not torn by another Write; a Read takes the rest of the message that the last one left, before the next.
//   - What is read is not lost: a message leaves the channel only when all of it is in the reader's memory or in rest.
//   - Close ends both directions: what was written before can still be read at the other end, which then gets io.EOF, and whose
//     Write is syscall.EPIPE. A side that dies does not: the other gets syscall.ECONNRESET, after what was written.

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
)

// Conn is a net.Conn. Its methods may be called by many goroutines.
type Conn struct {
	pair          *shmchan.BytesDuplex
	local, remote Addr
	closed        chan struct{}
	once          sync.Once
	reads, writes deadline

	readMu sync.Mutex
	rest   []byte // of the last message, not read yet; guarded by readMu
	spare  []byte // the memory of rest; guarded by readMu

	writeMu sync.Mutex
}

func newConn(pair *shmchan.BytesDuplex, local, remote Addr) *Conn {
	return &Conn{pair: pair, local: local, remote: remote, closed: make(chan struct{})}
}

// Read reads what is there, at least a byte, and waits for it. io.EOF: the other side has closed, and all is read.
func (c *Conn) Read(b []byte) (n int, err error) {
	if len(b) == 0 && !c.isClosed() {
		return 0, nil
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	ctx := c.reads.context()
	for n == 0 && err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		if len(c.rest) > 0 {
			n = copy(b, c.rest)
			c.rest = c.rest[n:]
			break
		}
		err = c.pair.RecvFunc(ctx, func(msg []byte) error {
			n = copy(b, msg)
			c.spare = append(c.spare[:0], msg[n:]...)
			c.rest = c.spare
			return nil
		})
	}
	if errors.Is(err, shmchan.ErrClosed) && !c.isClosed() {
		return 0, io.EOF
	}
	return n, c.fail("read", err)
}

// Write writes all of b, and waits where it must. n bytes were written if it fails.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	ctx := c.writes.context()
	most := c.pair.MaxMessage()
	for err = ctx.Err(); len(b) > n && err == nil; {
		part := b[n:min(len(b), n+most)]
		if err = c.pair.SendContext(ctx, part); err == nil {
			n += len(part)
		}
	}
	return n, c.fail("write", err)
}

// fail is err as calls on a connection say it.
func (c *Conn) fail(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case c.isClosed(), errors.Is(err, shmchan.ErrDetached):
		err = net.ErrClosed
	case errors.Is(err, context.Canceled):
		err = os.ErrDeadlineExceeded
	case errors.Is(err, shmchan.ErrClosed):
		err = both{syscall.EPIPE, err}
	case errors.Is(err, shmchan.ErrDisconnected):
		err = both{syscall.ECONNRESET, err}
	}
	return &net.OpError{Op: op, Net: Network, Source: c.local, Addr: c.remote, Err: err}
}

func (c *Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// CloseWrite says that nothing more will be written: when all is read, the other side gets io.EOF.
func (c *Conn) CloseWrite() error {
	err := c.pair.BytesSender.Close()
	if errors.Is(err, shmchan.ErrClosed) && !c.isClosed() {
		return nil // By both sides, or twice.
	}
	return c.fail("close", err)
}

// Close ends the connection; see the package's text. Calls that wait on it fail with net.ErrClosed.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.closed)
		c.reads.stop()
		c.writes.stop()
		if err = c.pair.Close(); errors.Is(err, shmchan.ErrClosed) {
			err = nil // The other was first.
		}
		err = errors.Join(err, c.pair.Detach())
	})
	if err != nil {
		return &net.OpError{Op: "close", Net: Network, Source: c.local, Addr: c.remote, Err: err}
	}
	return nil
}

// LocalAddr is the name of this end: the listener's where it was accepted, else one of its own.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the name of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the moment at which reads and writes fail with os.ErrDeadlineExceeded, also those that wait already; the
// zero Time is never.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is SetDeadline for reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(&c.reads, t) }

// SetWriteDeadline is SetDeadline for writes. A Write that fails may have written some of its bytes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(&c.writes, t) }

func (c *Conn) set(d *deadline, t time.Time) error {
	if c.isClosed() {
		return &net.OpError{Op: "set", Net: Network, Source: c.local, Addr: c.remote, Err: net.ErrClosed}
	}
	d.set(t)
	return nil
}

// deadline is a moment as a context: calls that wait have its context, which is cancelled when the moment has come.
type deadline struct {
	mu     sync.Mutex
	ctx    context.Context
	cancel func()
	timer  *time.Timer
	over   bool // stop was called
	epoch  int  // of the deadline that is set: a timer that comes late for another does nothing
}

func (d *deadline) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current()
}

// current is called with mu held.
func (d *deadline) current() context.Context {
	if d.ctx == nil {
		d.ctx, d.cancel = context.WithCancel(context.Background())
	}
	return d.ctx
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	d.epoch++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.current().Err() != nil { // The last one has passed.
		d.ctx = nil
		d.current()
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.cancel()
		return
	}
	epoch := d.epoch
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.epoch == epoch {
			d.cancel()
		}
	})
}

// stop ends all calls for good.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.epoch++
	if d.timer != nil {
		d.timer.Stop()
	}
	d.current()
	d.cancel()
}

var _ net.Conn = (*Conn)(nil)
