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
