package shmnet

// Connections as net wants them, alone and under what uses them, in one process and between two.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/shmchan/shmchan"
)

const roleEnv = "SHMNET_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		roles[role](os.Getenv("SHMNET_TEST_DIR"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func in(dir string) shmchan.Option { return shmchan.WithDir(dir) }

// start starts this program in a role, and returns what it prints.
func start(t testing.TB, role, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	return startCommand(t, exec.Command(os.Args[0]), role, dir)
}

// startLimited is start with at most so many descriptors.
func startLimited(t testing.TB, role, dir string, files int) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	return startCommand(t, exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, files), os.Args[0]), role, dir)
}

func startCommand(t testing.TB, cmd *exec.Cmd, role, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "SHMNET_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

// until looks again and again until the condition holds. The test's own time limit is the only one.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for !cond() {
		if t.Context().Err() != nil {
			t.Fatalf("ended before %s", what)
		}
		runtime.Gosched()
	}
}

// emptyAtLast waits until nothing is left in the directory.
func emptyAtLast(t *testing.T, dir string) {
	t.Helper()
	until(t, "nothing is left", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	})
}

func listen(t *testing.T, dir string, opts ...shmchan.Option) *Listener {
	t.Helper()
	l, err := Listen("test", append(opts, in(dir))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func pipe(t testing.TB, dir string, opts ...shmchan.Option) (c1, c2 net.Conn, l *Listener) {
	l, err := Listen("test", in(dir))
	require.NoError(t, err)
	c1, err = Dial("test", append(opts, in(dir))...)
	require.NoError(t, err)
	c2, err = l.Accept()
	require.NoError(t, err)
	return c1, c2, l
}

func TestConn(t *testing.T) {
	for name, opts := range map[string][]shmchan.Option{
		"as it is": nil, "small": {shmchan.WithCapacity(1), shmchan.WithMaxMessage(397)},
		"parked": {shmchan.WithWait(shmchan.Park)}, "large": {shmchan.WithMaxMessage(1 << 20), shmchan.WithCapacity(3)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, c2, l := pipe(t, dir, opts...)
				return c1, c2, func() {
					_, _, _ = c1.Close(), c2.Close(), l.Close()
				}, nil
			})
			// A call that Close has ended may be on its way out yet, and the last one out removes the files.
			emptyAtLast(t, dir)
		})
	}
}

func TestCloseSides(t *testing.T) {
	c1, c2, l := pipe(t, t.TempDir())
	defer func() { _ = l.Close() }()
	_, err := c1.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, c1.(*Conn).CloseWrite())
	require.NoError(t, c1.(*Conn).CloseWrite())
	_, err = c1.Write([]byte("more"))
	require.ErrorIs(t, err, syscall.EPIPE)
	got, err := io.ReadAll(c2)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	_, err = c2.Write([]byte("answer"))
	require.NoError(t, err)
	b := make([]byte, 3)
	n, err := c1.Read(b)
	require.NoError(t, err)
	require.Equal(t, "ans", string(b[:n]))
	require.NoError(t, c2.Close())
	got, err = io.ReadAll(c1)
	require.NoError(t, err)
	require.Equal(t, "wer", string(got))
	_, err = c2.Read(b)
	require.ErrorIs(t, err, net.ErrClosed)
	for _, none := range [][]byte{nil, {}} {
		_, err = c2.Read(none)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = c2.Write(none)
		require.ErrorIs(t, err, net.ErrClosed)
	}
	require.ErrorIs(t, c2.Close(), net.ErrClosed)
	require.ErrorIs(t, c2.SetDeadline(time.Now()), net.ErrClosed)
	require.Equal(t, "shm", c1.LocalAddr().Network())
	require.Equal(t, "test", c1.RemoteAddr().String())
	require.Equal(t, c1.LocalAddr(), c2.RemoteAddr())
	require.NoError(t, c1.Close())
}

// A Close of the one ends a Write of the other that waits for space.
func TestCloseEndsWrite(t *testing.T) {
	c1, c2, l := pipe(t, t.TempDir(), shmchan.WithCapacity(1), shmchan.WithMaxMessage(8), shmchan.WithWait(shmchan.Park))
	defer func() { _ = l.Close() }()
	done := make(chan error)
	go func() {
		_, err := c1.Write(make([]byte, 1<<20))
		done <- err
	}()
	_, err := c2.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, c2.Close())
	require.ErrorIs(t, <-done, syscall.EPIPE)
	require.NoError(t, c1.Close())
}

func TestListener(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial("test", in(dir))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "dial shm test: connection refused")
	l := listen(t, dir)
	_, err = Listen("test", in(dir))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	c1, err := Dial("test", in(dir))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = c1.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "it was not accepted")
	require.NoError(t, c1.Close())
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = Dial("test", in(dir))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	// A listener that was closed while somebody who dials still holds its channel is no obstacle to the next.
	l = listen(t, dir)
	held, err := shmchan.OpenBytesSender("test", in(dir))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l = listen(t, dir)
	require.NoError(t, held.Detach())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = DialContext(ctx, "test", in(dir))
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, l.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// More dial at once than the backlog has room for, and each gets a connection of its own.
func TestManyDial(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	const n = 2 * backlog
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := Dial("test", in(dir), shmchan.WithCapacity(1))
			if !assert.NoError(t, err) {
				return
			}
			_, err = fmt.Fprintf(c, "%d\n", i)
			assert.NoError(t, err)
			back, err := bufio.NewReader(c).ReadString('\n')
			assert.NoError(t, err)
			assert.Equal(t, fmt.Sprintln(i), back)
			assert.NoError(t, c.Close())
		})
	}
	for range n {
		c, err := l.Accept()
		require.NoError(t, err)
		wg.Go(func() {
			_, err := io.Copy(c, c)
			assert.NoError(t, err)
			assert.NoError(t, c.Close())
		})
	}
	wg.Wait()
}

// The other side's death is no end of file, and comes after what it has written.
func TestDeath(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	cmd, out := start(t, "dial", dir)
	c, err := l.Accept()
	require.NoError(t, err)
	_, err = out.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	got, err := io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Equal(t, "before", string(got))
	require.NoError(t, c.Close())

	// A server that dies, and its clients.
	cmd, out = start(t, "serve", dir)
	_, err = out.ReadString('\n')
	require.NoError(t, err)
	opts := []shmchan.Option{in(dir)}
	c, err = Dial("server", opts...)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.NoError(t, c.Close())
	_ = cmd.Wait()
	_, err = Dial("server", opts...)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	// When both die, the next who listens on the name removes what is left.
	cmd, out = start(t, "both", dir)
	_, err = out.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Len(t, connections(t, dir), 2)
	s, err := Listen("server", opts...)
	require.NoError(t, err)
	require.Empty(t, connections(t, dir))
	require.NoError(t, s.Close())
}

func connections(t *testing.T, dir string) (found []string) {
	names, err := shmchan.List(in(dir))
	require.NoError(t, err)
	for _, n := range names {
		if strings.Contains(n, ".") {
			found = append(found, n)
		}
	}
	return found
}

var roles = map[string]func(dir string){
	"dial": func(dir string) {
		c, err := Dial("test", in(dir))
		if err == nil {
			_, err = c.Write([]byte("before"))
		}
		fmt.Println(err)
		_, _ = os.Stdin.Read(make([]byte, 1))
		select {}
	},
	"serve": func(dir string) {
		_, err := Listen("server", in(dir))
		fmt.Println(err)
		select {}
	},
	"both": func(dir string) {
		l, err := Listen("server", in(dir))
		if err == nil {
			_, err = Dial("server", in(dir))
		}
		if err == nil {
			_, err = l.Accept()
		}
		fmt.Println(err)
		select {}
	},
	"http": func(dir string) {
		l, err := Listen("test", in(dir))
		fmt.Println(err)
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // An HTTP/1 server does not read on once it has begun to answer.
			_, _ = w.Write(body)
		}))
	},
}

func TestHTTP(t *testing.T) {
	dir := t.TempDir()
	_, out := start(t, "http", dir)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	client := clientOf(t, "test", dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 20 {
				body := strings.Repeat(fmt.Sprint(i, k), 1+5000*k)
				r, err := client.Post("http://test/", "text/plain", strings.NewReader(body))
				if !assert.NoError(t, err) {
					return
				}
				got, err := io.ReadAll(r.Body)
				assert.NoError(t, errors.Join(err, r.Body.Close()))
				assert.True(t, string(got) == body)
			}
		})
	}
	wg.Wait()
}

// Arith is a service of net/rpc.
type Arith struct{}

// Double doubles.
func (Arith) Double(n int, out *int) error { *out = 2 * n; return nil }

func TestRPC(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	server := rpc.NewServer()
	require.NoError(t, server.Register(Arith{}))
	go func() {
		c, err := l.Accept()
		if err == nil {
			server.ServeConn(c)
		}
	}()
	c, err := Dial("test", in(dir))
	require.NoError(t, err)
	client := rpc.NewClient(c)
	var calls []*rpc.Call
	for i := range 1000 {
		calls = append(calls, client.Go("Arith.Double", i, new(int), nil))
	}
	for i, call := range calls {
		<-call.Done
		require.NoError(t, call.Error)
		require.Equal(t, 2*i, *call.Reply.(*int))
	}
	require.NoError(t, client.Close())
}
