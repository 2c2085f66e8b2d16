package shmchan

// What messages of each size cost between two processes: docs/bytes.md.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// messageSizes are those of docs/bytes.md.
var messageSizes = []int{64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20}

// BenchmarkBytes sends messages of a size to another process, which touches every byte by copying it out, or in place looks at the
// first and last eight; and beside it the same through a Unix stream, and memcpy from a buffer to another of one process. An operation is
// a message, and its end is waited for.
func BenchmarkBytes(b *testing.B) {
	for _, size := range messageSizes {
		for _, how := range []string{"copy", "place"} {
			b.Run(fmt.Sprintf("%s/%d", how, size), func(b *testing.B) { benchBytes(b, how, size) })
		}
		b.Run(fmt.Sprintf("unix/%d", size), func(b *testing.B) { benchStream(b, size) })
		b.Run(fmt.Sprintf("memcpy/%d", size), func(b *testing.B) {
			from, to := make([]byte, size), make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(to, from)
			}
		})
	}
}

func benchBytes(b *testing.B, how string, size int) {
	dir := memDir(b)
	d := must[*BytesDuplex](b)(OpenBytesDuplex("bench", SideA, WithDir(dir), WithMaxMessage(size), WithCapacity(64)))
	defer func() { _ = d.Detach() }()
	c := start(b, "bytes-sink", dir, how)
	require.Equal(b, "in", c.line())
	p := make([]byte, size)
	b.SetBytes(int64(size))
	sent := uint64(0)
	for b.Loop() {
		sent++
		var err error
		if how == "place" {
			err = d.SendFunc(forever, size, func(buf []byte) (int, error) {
				binary.NativeEndian.PutUint64(buf, sent)
				binary.NativeEndian.PutUint64(buf[size-8:], sent)
				return size, nil
			})
		} else {
			binary.NativeEndian.PutUint64(p, sent)
			err = d.Send(p)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, d.BytesSender.Close())
	require.Equal(b, sent, binary.NativeEndian.Uint64(must[[]byte](b)(d.Recv(nil))))
	c.wait()
}

func benchStream(b *testing.B, size int) {
	path := filepath.Join(b.TempDir(), "socket")
	l := must[net.Listener](b)(net.Listen("unix", path))
	defer func() { _ = l.Close() }()
	c := start(b, "stream-sink", path, fmt.Sprint(size))
	conn := must[net.Conn](b)(l.Accept())
	p := make([]byte, size)
	b.SetBytes(int64(size))
	sent := uint64(0)
	for b.Loop() {
		sent++
		binary.NativeEndian.PutUint64(p, sent)
		if _, err := conn.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, conn.(*net.UnixConn).CloseWrite())
	got := must[[]byte](b)(io.ReadAll(conn))
	require.Equal(b, sent, binary.NativeEndian.Uint64(got))
	c.wait()
}

// BenchmarkBytesThereAndBack sends messages of a size to another process, one at a time, which sends each back: copied out and in,
// or in place, where of each message the first and last eight bytes are written and read. Beside it the same through a Unix stream,
// and the yardstick of the copies: the same two processes, spinning, with nothing but memory that they share and a word for each direction,
// which copy each message in and out again.
func BenchmarkBytesThereAndBack(b *testing.B) {
	for _, size := range messageSizes {
		for _, how := range []string{"copy", "place"} {
			b.Run(fmt.Sprintf("%s/%d", how, size), func(b *testing.B) { benchBytesBack(b, how, size) })
		}
		b.Run(fmt.Sprintf("unix/%d", size), func(b *testing.B) { benchStreamBack(b, size) })
		b.Run(fmt.Sprintf("memcpy/%d", size), func(b *testing.B) { benchCopyBack(b, size) })
	}
}

func benchBytesBack(b *testing.B, how string, size int) {
	dir := memDir(b)
	d := must[*BytesDuplex](b)(OpenBytesDuplex("bench", SideA, WithDir(dir), WithMaxMessage(size), WithCapacity(64)))
	defer func() { _ = d.Detach() }()
	c := start(b, "bytes-echo", dir, how)
	require.Equal(b, "in", c.line())
	p, buf := make([]byte, size), make([]byte, 0, size)
	for n := uint64(1); b.Loop(); n++ {
		var err error
		if how == "place" {
			if err = sendInPlace(d, size, n); err == nil {
				err = d.RecvFunc(forever, func(msg []byte) error { return inPlace(msg, size, n) })
			}
		} else {
			binary.NativeEndian.PutUint64(p, n)
			if err = d.Send(p); err == nil {
				buf, err = d.Recv(buf[:0])
			}
			if err == nil && (len(buf) != size || binary.NativeEndian.Uint64(buf) != n) {
				err = fmt.Errorf("message %d came as %d, of %d bytes", n, binary.NativeEndian.Uint64(buf), len(buf))
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, d.Close())
	c.wait()
}

func sendInPlace(d *BytesDuplex, size int, n uint64) error {
	return d.SendFunc(forever, size, func(buf []byte) (int, error) {
		binary.NativeEndian.PutUint64(buf, n)
		binary.NativeEndian.PutUint64(buf[size-8:], n)
		return size, nil
	})
}

func inPlace(msg []byte, size int, n uint64) error {
	if first, last := binary.NativeEndian.Uint64(msg), binary.NativeEndian.Uint64(msg[len(msg)-8:]); len(msg) != size || first != n || last != n {
		return fmt.Errorf("message %d came as %d and %d, of %d bytes", n, first, last, len(msg))
	}
	return nil
}

func benchStreamBack(b *testing.B, size int) {
	path := filepath.Join(b.TempDir(), "socket")
	l := must[net.Listener](b)(net.Listen("unix", path))
	defer func() { _ = l.Close() }()
	c := start(b, "stream-echo", path, size)
	conn := must[net.Conn](b)(l.Accept())
	p, buf := make([]byte, size), make([]byte, size)
	for n := uint64(1); b.Loop(); n++ {
		binary.NativeEndian.PutUint64(p, n)
		if _, err := conn.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
		if got := binary.NativeEndian.Uint64(buf); got != n {
			b.Fatalf("message %d came as %d", n, got)
		}
	}
	require.NoError(b, conn.Close())
	c.wait()
}

// desk is memory that two processes share: a word and a message for each direction.
type desk struct {
	there, back       *atomic.Uint64 // the number of the message that lies there
	toThere, fromBack []byte
}

const deskClosed = 1<<64 - 1

func openDesk(t testing.TB, path string, size int) (desk, error) {
	mem, err := sharedMemory(t, path, 256+2*size)
	if err != nil {
		return desk{}, err
	}
	return desk{atomicAt(mem, 0), atomicAt(mem, 128), mem[256:][:size], mem[256+size:][:size]}, nil
}

// awaitOther spins until the other one has put a number there that is not the last one's.
func awaitOther(w *atomic.Uint64, last uint64) uint64 {
	for i := 1; ; i++ {
		if n := w.Load(); n != last {
			return n
		}
		if i%1024 == 0 {
			runtime.Gosched() // With one CPU there may be others in this process.
		}
	}
}

func benchCopyBack(b *testing.B, size int) {
	path := filepath.Join(memDir(b), "desk")
	d := must[desk](b)(openDesk(b, path, size))
	c := start(b, "copy-echo", path, size)
	require.Equal(b, "in", c.line())
	p, buf := make([]byte, size), make([]byte, size)
	for n := uint64(1); b.Loop(); n++ {
		binary.NativeEndian.PutUint64(p, n)
		copy(d.toThere, p)
		d.there.Store(n)
		awaitOther(d.back, n-1)
		copy(buf, d.fromBack)
		if got := binary.NativeEndian.Uint64(buf); got != n {
			b.Fatalf("message %d came as %d", n, got)
		}
	}
	d.there.Store(deskClosed)
	c.wait()
}

func init() {
	// Sends each message back until the pair is closed.
	roles["bytes-echo"] = func(args []string) error {
		d, err := OpenBytesDuplex("bench", SideB, WithDir(args[0]))
		if err != nil {
			return err
		}
		fmt.Println("in")
		size := d.MaxMessage()
		buf := make([]byte, 0, size)
		for n := uint64(1); err == nil; n++ {
			if args[1] == "place" {
				if err = d.RecvFunc(forever, func(msg []byte) error { return inPlace(msg, size, n) }); err == nil {
					err = sendInPlace(d, size, n)
				}
			} else if buf, err = d.Recv(buf[:0]); err == nil {
				err = d.Send(buf)
			}
		}
		if errors.Is(err, ErrClosed) {
			err = nil
		}
		return errors.Join(err, d.Detach())
	}
	// The same through a Unix stream.
	roles["stream-echo"] = func(args []string) error {
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		conn, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		for buf := make([]byte, size); err == nil; {
			if _, err = io.ReadFull(conn, buf); err == nil {
				_, err = conn.Write(buf)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return errors.Join(err, conn.Close())
	}
	// And by copies alone.
	roles["copy-echo"] = func(args []string) error {
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		d, err := openDesk(nil, args[0], size)
		if err != nil {
			return err
		}
		fmt.Println("in")
		buf := make([]byte, size)
		for n := uint64(0); ; {
			if n = awaitOther(d.there, n); n == deskClosed {
				return nil
			}
			copy(buf, d.toThere)
			copy(d.fromBack, buf)
			d.back.Store(n)
		}
	}
}

func init() {
	// Receives until the channel is closed, each message being the next, and says how many came.
	roles["bytes-sink"] = func(args []string) error {
		d, err := OpenBytesDuplex("bench", SideB, WithDir(args[0]))
		if err != nil {
			return err
		}
		fmt.Println("in")
		var buf []byte
		n := uint64(0)
		next := func(p []byte) error {
			n++
			if got := binary.NativeEndian.Uint64(p); got != n {
				return fmt.Errorf("message %d came as %d", got, n)
			}
			return nil
		}
		for {
			if args[1] == "place" {
				err = d.RecvFunc(context.Background(), func(p []byte) error {
					return errors.Join(next(p), func() error {
						if binary.NativeEndian.Uint64(p[len(p)-8:]) != n {
							return errors.New("torn")
						}
						return nil
					}())
				})
			} else if buf, err = d.Recv(buf[:0]); err == nil {
				err = next(buf)
			}
			if errors.Is(err, ErrClosed) {
				return errors.Join(d.Send(binary.NativeEndian.AppendUint64(nil, n)), d.Detach())
			} else if err != nil {
				return err
			}
		}
	}
	// The same from a Unix stream.
	roles["stream-sink"] = func(args []string) error {
		conn, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		var size int
		if _, err := fmt.Sscan(args[1], &size); err != nil {
			return err
		}
		buf := make([]byte, size)
		for n := uint64(0); ; n++ {
			_, err := io.ReadFull(conn, buf)
			if errors.Is(err, io.EOF) {
				_, err = conn.Write(binary.NativeEndian.AppendUint64(nil, n))
				return errors.Join(err, conn.Close())
			} else if err != nil {
				return err
			}
			if got := binary.NativeEndian.Uint64(buf); got != n+1 {
				return fmt.Errorf("message %d came as %d", got, n+1)
			}
		}
	}
}
