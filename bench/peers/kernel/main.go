// Command kernel is the bench's peer for what the kernel moves: pipe, unix, unixpacket
// and tcp are its modes, unix-bufio and tcp-bufio go through package bufio.
//
// All wait in Go's poller. A pipe is a FIFO here, which is the same code in the kernel
// but can be opened by name.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	kind, buffered := strings.CutSuffix(a.Mode, "-bufio")
	if a.Row == contract.Open {
		return opens(a, kind)
	}
	var l contract.Link
	var err error
	if kind == "pipe" {
		l, err = pipes(a)
	} else {
		l, err = sockets(a, kind, buffered)
	}
	if err != nil {
		return nil, err
	}
	return func(r *contract.Result) error { return contract.WorkBytes(a, l, r) }, nil
}

// stream is a link over anything that reads and writes.
type stream struct {
	io.Writer
	io.Reader
}

func (s stream) Send(b []byte) error {
	_, err := s.Write(b)
	return err
}

func (s stream) Recv(b []byte) error {
	_, err := io.ReadFull(s.Reader, b)
	return err
}

func (s stream) Flush() error {
	if w, ok := s.Writer.(*bufio.Writer); ok {
		return w.Flush()
	}
	return nil
}

func fifo(a contract.Args, name string) (*os.File, error) {
	path := filepath.Join(a.Dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// For both directions, so that no side waits for the other to open it; not
	// blocking, so that it goes into the poller.
	return os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
}

func pipes(a contract.Args) (contract.Link, error) {
	there, err := fifo(a, "there")
	if err != nil {
		return nil, err
	}
	back, err := fifo(a, "back")
	if err != nil {
		return nil, err
	}
	if a.Role == contract.Recv {
		return stream{back, there}, nil
	}
	return stream{there, back}, nil
}

func address(a contract.Args, kind string) string { return filepath.Join(a.Dir, kind) }

func sockets(a contract.Args, kind string, buffered bool) (contract.Link, error) {
	c, err := connect(a, kind)
	if err != nil {
		return nil, err
	}
	if !buffered {
		return stream{c, c}, nil
	}
	// The default size, which is what a user has who does not think about it; in
	// batches as much as a batch.
	size := max(4096, a.Batch*a.Size)
	return stream{bufio.NewWriterSize(c, size), bufio.NewReaderSize(c, size)}, nil
}

// connect listens as the receiver and dials as the sender. TCP's port is told by a file.
func connect(a contract.Args, kind string) (net.Conn, error) {
	path := address(a, kind)
	if a.Role == contract.Recv {
		l, err := listen(a, kind)
		if err != nil {
			return nil, err
		}
		return l.Accept()
	}
	if kind != "tcp" {
		return contract.Retry(func() (net.Conn, error) { return net.Dial(kind, path) }), nil
	}
	port := contract.Retry(func() ([]byte, error) { return os.ReadFile(path) })
	return net.Dial("tcp", string(port))
}

func listen(a contract.Args, kind string) (net.Listener, error) {
	path := address(a, kind)
	if kind != "tcp" {
		return net.Listen(kind, path)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", []byte(l.Addr().String()), 0o600); err != nil {
		return nil, err
	}
	return l, os.Rename(path+".new", path)
}

// opens measures open and close, of a socket at the side that connects.
func opens(a contract.Args, kind string) (func(*contract.Result) error, error) {
	once := func() error {
		f, err := fifo(a, "there")
		if err != nil {
			return err
		}
		return f.Close()
	}
	if kind != "pipe" {
		l, err := listen(a, kind)
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					contract.Fail(fmt.Errorf("accept: %w", err))
				}
				_ = c.Close()
			}
		}()
		once = func() error {
			c, err := net.Dial(kind, l.Addr().String())
			if err != nil {
				return err
			}
			return c.Close()
		}
	}
	return func(r *contract.Result) error { return contract.Opens(a, r, once) }, nil
}
