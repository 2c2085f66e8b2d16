//go:build amd64 || arm64

// Command shmipc is the bench's peer for cloudwego/shmipc-go. Its mode is flush1 or
// flush64: so many values are written before they are flushed; in batches, a batch.
//
// It has no flow control of its own: who sends faster than the other receives finds its
// queue full and sleeps 10 ms. So the receiver says after each half of the capacity how
// far it is, and the sender is never more than the capacity ahead.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cloudwego/shmipc-go"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	every := 1
	if a.Mode == "flush64" {
		every = 64
	}
	if a.Row == contract.Batch {
		every = a.Batch
	}
	s, err := connect(a, every)
	if err != nil {
		return nil, err
	}
	l := &link{s: s, every: every, size: a.Size, window: a.Cap, twoWay: a.Row == contract.PingPong}
	return func(r *contract.Result) error { return contract.WorkBytes(a, l, r) }, nil
}

// config has pieces of memory as large as what is flushed, which its documentation advises.
func config(a contract.Args, every int) *shmipc.Config {
	c := shmipc.DefaultConfig()
	c.QueuePath = filepath.Join(a.Dir, "queue")
	c.ShareMemoryPathPrefix = filepath.Join(a.Dir, "memory")
	c.LogOutput = io.Discard
	c.InitializeTimeout = time.Minute // A busy machine is no error; the runner has a limit of its own.
	piece := max(64, every*a.Size)
	c.ShareMemoryBufferCap = max(32<<20, uint32(4*a.Cap*a.Size))
	c.BufferSliceSizes = []*shmipc.SizePercentPair{{Size: uint32(piece), Percent: 100}}
	return c
}

// connect also says hello: the other side has a stream only when something came on it.
func connect(a contract.Args, every int) (*shmipc.Stream, error) {
	path := filepath.Join(a.Dir, "socket")
	if a.Role == contract.Recv {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return nil, err
		}
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		session, err := shmipc.Server(c, config(a, every))
		if err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
		s, err := session.AcceptStream()
		if err != nil {
			return nil, err
		}
		_, err = s.BufferReader().ReadBytes(8)
		s.BufferReader().ReleasePreviousRead()
		return s, err
	}
	c := shmipc.DefaultSessionManagerConfig()
	c.Config = config(a, every)
	c.UnixPath, c.Network, c.Address = path, "unix", path
	c.SessionNum = 1
	m, err := shmipc.NewSessionManager(c)
	for errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) { // It does not listen yet.
		time.Sleep(time.Millisecond)
		m, err = shmipc.NewSessionManager(c)
	}
	if err != nil {
		return nil, err
	}
	s, err := m.GetStream()
	if err != nil {
		return nil, err
	}
	return s, errors.Join(write(s, make([]byte, 8)), s.Flush(false))
}

func write(s *shmipc.Stream, b []byte) error {
	room, err := s.BufferWriter().Reserve(len(b))
	if err != nil {
		return err
	}
	copy(room, b)
	return nil
}

type link struct {
	s                   *shmipc.Stream
	every, size, window int
	twoWay              bool // there and back: one value at a time needs no window
	sent, acked         int
	received, kept      int
}

func (l *link) Send(b []byte) error {
	for !l.twoWay && l.sent-l.acked >= l.window {
		if err := errors.Join(l.Flush(), l.hear()); err != nil {
			return err
		}
	}
	if err := write(l.s, b); err != nil {
		return err
	}
	l.sent++
	if l.kept++; l.kept >= l.every {
		return l.Flush()
	}
	return nil
}

func (l *link) Flush() error {
	l.kept = 0
	return l.s.Flush(false)
}

// hear reads how far the receiver is.
func (l *link) hear() error {
	b, err := l.s.BufferReader().ReadBytes(8)
	if err == nil {
		l.acked = int(binary.LittleEndian.Uint64(b))
		l.s.BufferReader().ReleasePreviousRead()
	}
	return err
}

func (l *link) Recv(b []byte) error {
	got, err := l.s.BufferReader().ReadBytes(len(b))
	if err != nil {
		return err
	}
	copy(b, got)
	l.received++
	if l.twoWay || l.received%l.every == 0 || l.received%64 == 0 {
		l.s.BufferReader().ReleasePreviousRead()
	}
	if l.twoWay || l.received%(l.window/2) != 0 {
		return nil
	}
	ack := binary.LittleEndian.AppendUint64(nil, uint64(l.received))
	return errors.Join(write(l.s, ack), l.s.Flush(false))
}
