package shmnet

// What a Write and a Read cost between two processes, beside a Unix socket.
//
//	go test ./shmnet -run '^$' -bench . -benchmem

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func init() {
	// Listens both ways, and answers every so many bytes with what it got. How many is the first line of a connection; 0: no answers.
	roles["echo"] = func(dir string) {
		shared, err := Listen("bench", in(dir))
		if err != nil {
			panic(err)
		}
		socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		serve := func(l net.Listener) {
			for {
				c, err := l.Accept()
				if err != nil {
					panic(err)
				}
				go func() {
					defer func() { _ = c.Close() }()
					var size uint32
					if _, err := fmt.Fscanln(c, &size); err != nil {
						return
					}
					if size == 0 {
						_, _ = io.Copy(io.Discard, c)
						return
					}
					b := make([]byte, size)
					for {
						if _, err := io.ReadFull(c, b); err != nil {
							return
						}
						if _, err := c.Write(b); err != nil {
							return
						}
					}
				}()
			}
		}
		go serve(socket)
		serve(shared)
	}
}

// dials are the ways to the echo.
func dials(b *testing.B) map[string]func() (net.Conn, error) {
	b.Helper()
	dir := b.TempDir()
	_, out := start(b, "echo", dir)
	_, err := out.ReadString('\n')
	require.NoError(b, err)
	return map[string]func() (net.Conn, error){
		"shm":  func() (net.Conn, error) { return Dial("bench", in(dir)) },
		"unix": func() (net.Conn, error) { return net.Dial("unix", filepath.Join(dir, "socket")) },
	}
}

// There and back, one message at a time.
func BenchmarkThereAndBack(b *testing.B) {
	ways := dials(b)
	for _, size := range []int{64, 1024, 16384} {
		for _, way := range []string{"shm", "unix"} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				c, err := ways[way]()
				require.NoError(b, err)
				defer func() { _ = c.Close() }()
				_, err = fmt.Fprintln(c, size)
				require.NoError(b, err)
				buf := make([]byte, size)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Write(buf); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// One way, as fast as the reader takes it.
func BenchmarkStream(b *testing.B) {
	ways := dials(b)
	for _, size := range []int{4096, 65536} {
		for _, way := range []string{"shm", "unix"} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				c, err := ways[way]()
				require.NoError(b, err)
				defer func() { _ = c.Close() }()
				_, err = fmt.Fprintln(c, 0)
				require.NoError(b, err)
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Write(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A Write and a Read allocate nothing.
func TestNoAllocations(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // It empties the pools.
	c1, c2, l := pipe(t, t.TempDir())
	defer func() { _ = l.Close() }()
	defer func() { _ = c2.Close() }()
	defer func() { _ = c1.Close() }()
	b := make([]byte, 1000)
	n := testing.AllocsPerRun(1000, func() {
		_, err := c1.Write(b)
		if err == nil {
			_, err = c2.Read(b[:10])
		}
		if err == nil {
			_, err = c2.Read(b)
		}
		if err != nil {
			panic(err)
		}
	})
	require.Zero(t, n)
}
