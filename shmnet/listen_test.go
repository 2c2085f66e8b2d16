package shmnet

// Who dials and who listens when the other is not as he should be: gone, going, another, or with other options.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan"
)

// hello names a pair to who listens, as one who dials does.
func hello(t *testing.T, dir string, id []byte) {
	t.Helper()
	said := binary.BigEndian.AppendUint32(append([]byte{}, id...), shmchan.DefaultCapacity)
	said = binary.BigEndian.AppendUint32(said, shmchan.DefaultMaxMessage)
	s, err := shmchan.OpenBytesSender("test", helloOptions([]shmchan.Option{in(dir)}, shmchan.WithAttach())...)
	require.NoError(t, err)
	require.NoError(t, s.Send(said))
	require.NoError(t, s.Detach())
}

func init() {
	// Makes a pair as one who dials, and dies.
	roles["dials-and-dies"] = func(dir string) {
		_, err := shmchan.OpenBytesDuplex(pairName("test", make([]byte, idSize)), shmchan.SideA, in(dir))
		fmt.Println(err)
	}
	// Takes one hello, and does nothing about it.
	roles["listens-only"] = func(dir string) {
		r, err := shmchan.OpenBytesReceiver("test", helloOptions([]shmchan.Option{in(dir)})...)
		fmt.Println(err)
		_, err = r.Recv(nil)
		fmt.Println(err)
		select {}
	}
	// Listens with no more descriptors than it needs for that, and says what Accept does.
	roles["listens-poor"] = func(dir string) {
		l, err := Listen("test", in(dir))
		fmt.Println(err)
		var held []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			held = append(held, f)
		}
		fmt.Println("full")
		_, err = l.Accept()
		var temporary interface{ Temporary() bool } // As net/http asks.
		for _, f := range held {                    // Before the line: who reads it dials.
			_ = f.Close()
		}
		fmt.Println(errors.As(err, &temporary) && temporary.Temporary(), err)
		c, err := l.Accept()
		fmt.Println(err)
		if err == nil {
			_, _ = io.Copy(c, c)
		}
	}
}

// One who has died before his hello is read is no connection that waits for him.
func TestDiallerHasDied(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	cmd, out := start(t, "dials-and-dies", dir)
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)
	_ = cmd.Wait()
	hello(t, dir, make([]byte, idSize))
	go func() { // A connection that lives, behind it.
		c, err := Dial("test", in(dir))
		if assert.NoError(t, err) {
			_, _ = c.Write([]byte("x"))
		}
	}()
	c, err := l.Accept()
	require.NoError(t, err)
	n, err := c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, c.Close())
}

// A listener that has read the hello and dies before it answers, and another in its place before that is noticed.
func TestAnotherListens(t *testing.T) {
	dir := t.TempDir()
	cmd, out := start(t, "listens-only", dir)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	dialled := make(chan error, 1)
	go func() {
		c, err := Dial("test", in(dir))
		if err == nil {
			_ = c.Close()
		}
		dialled <- err
	}()
	_, err = out.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	listen(t, dir)
	require.ErrorIs(t, <-dialled, syscall.ECONNREFUSED)
}

// A listener that has answered, and closes before who dials has heard that, has left it a connection.
func TestAnsweredAndClosed(t *testing.T) {
	dir := t.TempDir()
	r, err := shmchan.OpenBytesReceiver("test", helloOptions([]shmchan.Option{in(dir)})...)
	require.NoError(t, err)
	var a accepted
	before := beforeStillThere
	defer func() { beforeStillThere = before }()
	beforeStillThere = func() {
		beforeStillThere = before
		said, err := r.Recv(nil)
		require.NoError(t, err)
		var ok bool
		a, ok = (&Listener{name: "test", opts: []shmchan.Option{in(dir)}}).take(said)
		require.True(t, ok)
		require.NoError(t, r.Close())
		require.NoError(t, r.Detach())
	}
	c, err := Dial("test", in(dir))
	require.NoError(t, err)
	_, err = a.conn.Write([]byte("x"))
	require.NoError(t, err)
	n, err := c.Read(make([]byte, 2))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, c.Close())
	require.NoError(t, a.conn.Close())
	emptyAtLast(t, dir)
}

// Who waits longer than he may is told so by whatever he waits in, as by a socket.
func TestDialTooLate(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err := DialContext(ctx, "test", in(dir))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
}

// A listener that closes with a hello unread, and another in its place.
func TestAnotherListensAfterClose(t *testing.T) {
	dir := t.TempDir()
	r, err := shmchan.OpenBytesReceiver("test", helloOptions([]shmchan.Option{in(dir)})...)
	require.NoError(t, err)
	dialled := make(chan error, 1)
	go func() {
		_, err := Dial("test", in(dir))
		dialled <- err
	}()
	until(t, "it has said its name", func() bool { return r.Len() > 0 })
	require.NoError(t, r.Close())
	require.NoError(t, r.Detach())
	listen(t, dir)
	require.ErrorIs(t, <-dialled, syscall.ECONNREFUSED)
}

// Of those who listen at once where a closed listener's channel is still held, one has the name, and whoever dials reaches it.
func TestListenAtOnce(t *testing.T) {
	dir := t.TempDir()
	for range 200 {
		r, err := shmchan.OpenBytesReceiver("test", helloOptions([]shmchan.Option{in(dir)})...)
		require.NoError(t, err)
		held, err := shmchan.OpenBytesSender("test", in(dir))
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, r.Detach())
		var mu sync.Mutex
		var all []*Listener
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				l, err := Listen("test", in(dir))
				if err != nil {
					assert.ErrorIs(t, err, syscall.EADDRINUSE)
					return
				}
				mu.Lock()
				all = append(all, l)
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Len(t, all, 1, "who listens on one name")
		c, err := Dial("test", in(dir))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, all[0].Close())
		require.NoError(t, held.Detach())
	}
}

// What cannot be is refused, with a reason, and nobody waits for it.
func TestOptionsRefused(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	_, err := Dial("test", in(dir), shmchan.WithCapacity(0))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "WithCapacity(0)")
	require.NoError(t, l.Close())
	long := strings.Repeat("n", 165)
	_, err = Listen(long, in(dir))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "at most 164")
	_, err = Dial(long, in(dir))
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = Listen("", in(dir))
	require.ErrorIs(t, err, fs.ErrInvalid)
	l, err = Listen(long[1:], in(dir))
	require.NoError(t, err)
	c, err := Dial(long[1:], in(dir))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())

	// A listener whose options say what a connection must be, and one who dials and makes another.
	l = listen(t, dir, shmchan.WithChecksum())
	_, err = Dial("test", in(dir))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "options")
	c, err = Dial("test", in(dir), shmchan.WithChecksum())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())
	l = listen(t, dir, shmchan.WithCapacity(10), shmchan.WithMaxMessage(10))
	c, err = Dial("test", in(dir))
	require.NoError(t, err, "how much a connection holds is for who dials to say")
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())
	emptyAtLast(t, dir)
}

// The name of something else.
func TestNameOfAnotherKind(t *testing.T) {
	dir := t.TempDir()
	ch, err := shmchan.Open[int64]("test", in(dir))
	require.NoError(t, err)
	require.NoError(t, ch.Send(1))
	_, err = Listen("test", in(dir))
	require.ErrorIs(t, err, shmchan.ErrMismatch)
	_, err = Dial("test", in(dir))
	require.ErrorIs(t, err, shmchan.ErrMismatch)
	require.Equal(t, 1, ch.Len())
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
}

// What listening sweeps away is connections to that name, and no channel of another kind that nobody holds just now.
func TestSweepLeavesOthers(t *testing.T) {
	dir := t.TempDir()
	cmd, out := start(t, "leaves", dir)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	_ = cmd.Wait()
	before, err := shmchan.List(in(dir))
	require.NoError(t, err)
	require.Len(t, before, len(foreign)+2)
	l := listen(t, dir)
	after, err := shmchan.List(in(dir))
	require.NoError(t, err)
	for _, n := range foreign {
		require.Contains(t, after, n)
	}
	require.Len(t, after, len(foreign)+1, "and the listener's own")
	require.NoError(t, l.Close())
}

const id32 = "0123456789abcdef0123456789abcdef"

var foreign = []string{
	"test." + id32 + ".events", "test." + strings.Repeat("z", 32) + ".ab", "test." + strings.ToUpper(id32) + ".ab",
	"test." + id32 + "." + id32 + ".ab", "test." + id32, "testing." + id32 + ".ab", "test." + id32 + ".ab.more", "test.1" + id32[1:] + ".ab",
}

func init() {
	roles["leaves"] = func(dir string) {
		for i, n := range foreign {
			var err error
			if i%2 == 0 {
				_, err = shmchan.OpenBytes(n, in(dir))
			} else {
				_, err = shmchan.Open[int64](n, in(dir))
			}
			if err != nil {
				fmt.Println(err)
			}
		}
		_, err := shmchan.OpenBytesDuplex("test.2"+id32[1:], shmchan.SideA, in(dir))
		fmt.Println(err)
	}
}

// A listener that is out of descriptors says so to who accepts, as a socket does, and to who dials; and goes on when it has some.
func TestOutOfDescriptors(t *testing.T) {
	dir := t.TempDir()
	_, out := startLimited(t, "listens-poor", dir, 40)
	for _, want := range []string{"<nil>\n", "full\n"} {
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	_, err := Dial("test", in(dir))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "true accept shm test: too many open files")
	c, err := Dial("test", in(dir))
	require.NoError(t, err)
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// Who dials while as many do as the listener's channel has places waits for one.
func TestCrowded(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	var held []*shmchan.BytesSender
	for {
		s, err := shmchan.OpenBytesSender("test", in(dir))
		if err != nil {
			require.ErrorIs(t, err, shmchan.ErrTooManyPeers)
			break
		}
		held = append(held, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := DialContext(ctx, "test", in(dir))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, held[0].Detach())
	c, err := Dial("test", in(dir))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	for _, s := range held[1:] {
		require.NoError(t, s.Detach())
	}
}

// A connection has the mode of its listener's channel, so that whoever may dial is understood.
func TestMode(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir, shmchan.WithMode(0o660))
	c, err := Dial("test", in(dir))
	require.NoError(t, err)
	for _, n := range connections(t, dir) {
		info, err := shmchan.Inspect(n, in(dir))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o660), info.Mode)
	}
	require.NoError(t, c.Close())
}

// A listener that is stopped keeps who dials waiting, until his context ends or it goes on.
func TestStoppedListener(t *testing.T) {
	dir := t.TempDir()
	cmd, out := start(t, "http", dir)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	var state syscall.WaitStatus // The signal is sent, not yet obeyed by all of its threads.
	_, err = syscall.Wait4(cmd.Process.Pid, &state, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, state.Stopped())
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		_, err = DialContext(ctx, "test", in(dir))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var ne net.Error
		require.ErrorAs(t, err, &ne)
		require.True(t, ne.Timeout())
	}
	var ok atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := Dial("test", in(dir))
		if assert.NoError(t, err) {
			ok.Store(true)
			_ = c.Close()
		}
	})
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	wg.Wait()
	require.True(t, ok.Load())
}

// What a user is told speaks of names and of who listens, not of what a connection is made of.
func TestListenAndDialAdvice(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen("test", in(dir))
	require.NoError(t, err)
	_, err = Listen("test", in(dir))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorIs(t, err, shmchan.ErrBusy)
	require.EqualError(t, err, fmt.Sprintf("listen shm test: address already in use: pid %d listens on that name; end it, or choose another name", os.Getpid()))
	require.NoError(t, l.Close())
	_, err = Dial("test", in(dir))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "nobody listens on that name; start who does, or check the name and the directory")
	for _, name := range []string{"", "a/b", strings.Repeat("x", maxName+1)} {
		_, err = Listen(name, in(dir))
		require.ErrorContains(t, err, "a name to listen on has at least 1 and at most 164 bytes, and no slash")
		_, err = Dial(name, in(dir))
		require.ErrorContains(t, err, "a name to listen on has at least 1 and at most 164 bytes, and no slash")
	}
}
