package shmchan

// RecvFD and SendFD: with poll, select, epoll by level and edge, Go's poller, from C and from Python; no readiness
// lost, with the backstop off; pollers that come to rest.

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// readable says what poll(2) says within that many milliseconds, -1 for ever.
func readable(t testing.TB, fd int, ms int) bool {
	t.Helper()
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err)
		return n == 1 && p[0].Revents&unix.POLLIN != 0
	}
}

// bothEvents runs f with this system's events, and with those of others.
func bothEvents(t *testing.T, f func(t *testing.T)) {
	for name, e := range map[string]func() (event, error){"own": newPlatformEvent, "pipe": newPipeEvent} {
		t.Run(name, func(t *testing.T) {
			newEvent = e
			defer func() { newEvent = newPlatformEvent }()
			f(t)
		})
	}
}

func TestDescriptors(t *testing.T) {
	noBackstop(t) // It may make one readable for what has been taken since it looked.
	bothEvents(t, func(t *testing.T) {
		for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
			ch := openTest[int64](t, append(opts, WithCapacity(2))...)
			rfd := must[int](t)(ch.RecvFD())
			sfd := must[int](t)(ch.SendFD())
			require.Equal(t, rfd, must[int](t)(ch.RecvFD()), "one for each side")
			require.Equal(t, sfd, must[int](t)(ch.SendFD()), "one for each side")
			require.NotEqual(t, rfd, sfd)
			for range 3 {
				require.False(t, readable(t, rfd, 0), "empty")
				require.True(t, readable(t, sfd, 0))
				require.NoError(t, ch.TrySend(1))
				require.True(t, readable(t, rfd, -1))
				require.True(t, readable(t, rfd, 0), "by level")
				require.NoError(t, ch.TrySend(2))
				require.True(t, readable(t, sfd, 0), "until it has said full")
				require.ErrorIs(t, ch.TrySend(3), ErrFull)
				require.False(t, readable(t, sfd, 0))
				_, err := ch.TryRecv()
				require.NoError(t, err)
				require.True(t, readable(t, sfd, -1))
				_, err = ch.Recv()
				require.NoError(t, err)
				require.True(t, readable(t, rfd, 0), "until it has said empty")
				_, err = ch.TryRecv()
				require.ErrorIs(t, err, ErrEmpty)
			}
			require.NoError(t, ch.Send(1))
			require.NoError(t, ch.Close())
			require.True(t, readable(t, rfd, 0))
			_, err := ch.TryRecv()
			require.NoError(t, err)
			_, err = ch.TryRecv()
			require.ErrorIs(t, err, ErrClosed)
			require.True(t, readable(t, rfd, 0), "closed stays readable")
			require.ErrorIs(t, ch.TrySend(1), ErrClosed)
			require.True(t, readable(t, sfd, 0))
		}
	})
}

// Close, a seal, nonsense, the last sender's going and Detach make it readable, for dups too.
func TestDescriptorsTellErrors(t *testing.T) {
	bothEvents(t, func(t *testing.T) {
		for name, happen := range map[string]func(theirs *Chan[int64], ours *Receiver[int64]) error{
			"closed":       func(c *Chan[int64], _ *Receiver[int64]) error { _ = c.Close(); return ErrClosed },
			"disconnected": func(c *Chan[int64], _ *Receiver[int64]) error { _ = c.Detach(); return ErrDisconnected },
			"detached":     func(_ *Chan[int64], r *Receiver[int64]) error { _ = r.Detach(); return ErrDetached },
		} {
			for _, capacity := range []int{0, 3} {
				ch := openTest[int64](t, WithCapacity(capacity))
				r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", WithDir(ch.Sender.h.opts.dir), WithDisconnect()))
				fd := must[int](t)(r.RecvFD())
				dup := must[int](t)(unix.Dup(fd))
				require.False(t, readable(t, dup, 0), name)
				err := happen(ch, r)
				require.True(t, readable(t, dup, -1), name)
				_, got := r.TryRecv()
				require.ErrorIs(t, got, err)
				require.True(t, readable(t, dup, 0), name)
				_ = r.Detach()
				require.True(t, readable(t, dup, 0), name)
				_, err = r.RecvFD()
				require.ErrorIs(t, err, ErrDetached)
				require.NoError(t, unix.Close(dup))
			}
		}
	})
}

// A rendezvous: a receiver may go ahead when an offer stands, a sender when a receiver waits.
func TestDescriptorsOfARendezvous(t *testing.T) {
	noBackstop(t)
	for _, w := range []Wait{Park, Adaptive, Spin} {
		a := openTest[int64](t, WithCapacity(0), WithWait(w))
		b := again(t, a, WithWait(w))
		rfd, sfd := must[int](t)(a.RecvFD()), must[int](t)(a.SendFD())
		for i := range int64(20) {
			_, err := a.TryRecv()
			require.ErrorIs(t, err, ErrEmpty)
			require.False(t, readable(t, rfd, 0))
			done := make(chan error, 1)
			go func() { done <- b.Send(i) }()
			require.True(t, readable(t, rfd, -1))
			v, err := a.TryRecv()
			require.NoError(t, err)
			require.Equal(t, i, v)
			require.NoError(t, <-done)

			require.ErrorIs(t, a.TrySend(i), ErrFull)
			require.False(t, readable(t, sfd, 0))
			got := make(chan int64, 1)
			go func() { v, _ := b.Recv(); got <- v }()
			require.True(t, readable(t, sfd, -1))
			require.NoError(t, a.TrySend(i))
			require.Equal(t, i, <-got)
		}
	}
}

func TestDescriptorsByEpoll(t *testing.T) {
	noBackstop(t)
	for _, edge := range []bool{false, true} {
		ch := openTest[int64](t, WithCapacity(4))
		other := again(t, ch)
		poller := newTestPoller(t, must[int](t)(ch.RecvFD()), edge)
		const n = 4000
		go func() {
			for i := range int64(n) {
				_ = other.Send(i)
			}
		}()
		for want := int64(0); want < n; {
			poller.wait()
			for {
				v, err := ch.TryRecv()
				if errors.Is(err, ErrEmpty) {
					break
				}
				require.NoError(t, err)
				require.Equal(t, want, v)
				want++
			}
		}
		poller.close()
	}
}

// Go's own poller waits for a dup, and the condition is a TryRecv.
func TestDescriptorsByGoPoller(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(4))
	other := again(t, ch)
	fd := must[int](t)(unix.Dup(must[int](t)(ch.RecvFD())))
	f := os.NewFile(uintptr(fd), "channel")
	defer f.Close()
	require.NoError(t, f.SetReadDeadline(time.Now().Add(-time.Second)))
	conn, err := f.SyscallConn()
	require.NoError(t, err)
	require.ErrorIs(t, conn.Read(func(uintptr) bool { return false }), os.ErrDeadlineExceeded)
	require.NoError(t, f.SetReadDeadline(time.Time{}))
	const n = 4000
	go func() {
		for i := range int64(n) {
			_ = other.Send(i)
		}
	}()
	for want := range int64(n) {
		var v int64
		var err error
		require.NoError(t, conn.Read(func(uintptr) bool {
			v, err = ch.TryRecv()
			return !errors.Is(err, ErrEmpty)
		}))
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
}

func init() {
	// One who polls the receiving, or the sending side, by poll(2), and says what it did when the channel is closed.
	roles["poller"] = func(args []string) error {
		backstopPeriod.Store(int64(time.Hour))
		ch, err := Open[int64]("test", WithDir(args[0]), WithAttach(), WithWait(Park))
		if err != nil {
			return err
		}
		fd, err := ch.RecvFD()
		if args[1] == "send" {
			fd, err = ch.SendFD()
		}
		if err != nil {
			return err
		}
		fmt.Println("in")
		done, looks := 0, 0
		for {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(p, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			for looks++; ; looks++ {
				if args[1] == "send" {
					err = ch.TrySend(1)
				} else {
					_, err = ch.TryRecv()
				}
				if err != nil {
					break
				}
				done++
			}
			if errors.Is(err, ErrClosed) {
				fmt.Println(done, looks)
				_, _ = fmt.Scanln(new(string))
				return ch.Detach()
			}
			if !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrFull) {
				return err
			}
		}
	}
}

// Processes that poll, beside goroutines that block, on both sides; every process that polls is killed once and
// replaced; no backstop anywhere: all goes through.
func TestNoReadinessIsLost(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{0, 1, 3} {
		for _, theirs := range []string{"recv", "send"} {
			ch := openTest[int64](t, WithCapacity(capacity), WithWait(Park))
			dir := ch.Sender.h.opts.dir
			var pollers []*child
			poller := func() *child {
				c := start(t, "poller", dir, theirs)
				require.Equal(t, "in", c.line())
				return c
			}
			for range 3 {
				pollers = append(pollers, poller())
			}
			const n = 3000
			var through atomic.Int64
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { // The other side, blocking.
					for through.Add(1) <= n {
						if theirs == "recv" {
							assert.NoError(t, ch.Send(1))
						} else {
							_, err := ch.Recv()
							assert.NoError(t, err)
						}
					}
				})
			}
			rival := again(t, ch, WithWait(Park))
			var rivals sync.WaitGroup
			rivals.Go(func() { // One of their side who blocks.
				var err error
				for err == nil {
					if theirs == "recv" {
						_, err = rival.Recv()
					} else {
						err = rival.Send(1)
					}
				}
				assert.ErrorIs(t, err, ErrClosed)
			})
			for i := range pollers {
				at := through.Load()
				until(t, "some have gone through", func() bool { return through.Load() >= min(at+n/8, n) })
				pollers[i].kill()
				pollers[i] = poller()
			}
			ended := make(chan bool)
			go func() { wg.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatalf("capacity %d, pollers %s: somebody sleeps on: %+v", capacity, theirs, ch.Stats())
			}
			require.NoError(t, ch.Close())
			rivals.Wait()
			for _, c := range pollers {
				var done, looks int
				_, err := fmt.Sscan(c.line(), &done, &looks)
				require.NoError(t, err)
				t.Logf("capacity %d: a poller to %s: %d times, %d looks", capacity, theirs, done, looks)
				c.wait()
			}
		}
	}
}

// Many pollers share a channel. One value has each of them look a few times, and then all rest.
func TestPollersComeToRest(t *testing.T) {
	noBackstop(t) // It would make good for a wake that is lost.
	for _, capacity := range []int{0, 1, 4} {
		ch := openTest[int64](t, WithCapacity(capacity))
		const pollers, values = 8, 50
		var looks, got atomic.Int64
		var wg sync.WaitGroup
		stop := make([]*Chan[int64], 0, pollers)
		for range pollers {
			p := again(t, ch)
			stop = append(stop, p)
			rfd, sfd := must[int](t)(p.RecvFD()), must[int](t)(p.SendFD())
			dupR, dupS := must[int](t)(unix.Dup(rfd)), must[int](t)(unix.Dup(sfd))
			wg.Go(func() { // For a rendezvous the sending side is polled as well, and never has anybody to send to.
				defer func() { _, _ = unix.Close(dupR), unix.Close(dupS) }()
				fds := []unix.PollFd{{Fd: int32(dupR), Events: unix.POLLIN}, {Fd: int32(dupS), Events: unix.POLLIN}}
				if capacity > 0 {
					fds = fds[:1]
				}
				for {
					if _, err := unix.Poll(fds, -1); err != nil {
						continue
					}
					looks.Add(1)
					_, err := p.TryRecv()
					if err == nil {
						got.Add(1)
					} else if !errors.Is(err, ErrEmpty) {
						return
					}
					if capacity == 0 {
						if err := p.TrySend(9); !errors.Is(err, ErrFull) {
							return
						}
					}
				}
			})
		}
		rest := func(from int64) { // until nobody has looked for 50 ms
			last, since := looks.Load(), time.Now()
			for ; time.Since(since) < 50*time.Millisecond; time.Sleep(time.Millisecond) {
				if n := looks.Load(); n != last {
					last, since = n, time.Now()
				}
				require.Less(t, last-from, int64(20*pollers), "looks for one value, and no rest")
			}
		}
		rest(0)
		for i := range int64(values) {
			before := looks.Load()
			require.NoError(t, ch.Send(1))
			until(t, "somebody has received it", func() bool { return got.Load() == i+1 }) // On a busy machine a thread may wait for long.
			rest(before)
			require.Equal(t, i+1, got.Load())
		}
		t.Logf("capacity %d: %.1f looks a value with %d pollers", capacity, float64(looks.Load())/values, pollers)
		for _, p := range stop {
			require.NoError(t, p.Detach())
		}
		wg.Wait()
	}
}

// A goroutine that waits beside a descriptor on the same handle, and on others, gets the value though nobody reads for the descriptor.
func TestDescriptorKeepsNoWake(t *testing.T) {
	noBackstop(t)
	for _, where := range []string{"same handle", "another", "the waker's handle"} {
		for i := range 40 {
			ch := openTest[int64](t, WithCapacity(2), WithWait(Park))
			lazy := ch
			if where != "the waker's handle" {
				lazy = again(t, ch, WithWait(Park))
			}
			fd := must[int](t)(lazy.RecvFD())
			waits := lazy
			if where != "same handle" {
				waits = again(t, ch, WithWait(Park))
				ch.Sender.h.rotor.Store(uint32(i * maxPeers / 40)) // Whoever is first.
			}
			done := make(chan error, 1)
			go func() { _, err := waits.Recv(); done <- err }()
			until(t, "parked", func() bool { return waits.Stats().Parked > 0 })
			require.NoError(t, ch.Send(1))
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(patience):
				t.Fatal("the descriptor has kept the wake: " + where)
			}
			if where == "same handle" {
				require.True(t, readable(t, fd, 0))
			}
			for _, h := range []*Chan[int64]{ch, lazy, waits} {
				_ = h.Detach()
			}
		}
	}
}

// A wake for a goroutine that has left finds the descriptor only, and goes on to the next.
func TestWakeGoesOnFromADescriptor(t *testing.T) {
	noBackstop(t)
	a := openTest[int64](t, WithCapacity(2), WithWait(Park))
	b, c := again(t, a, WithWait(Park)), again(t, a, WithWait(Park))
	_ = must[int](t)(b.RecvFD())
	done := make(chan error, 1)
	h := a.Sender.h
	pos, err := h.sendBegin(forever)
	require.NoError(t, err)
	var v int64
	a.Sender.put(h.value(pos), &v)
	w := waiters.Get().(*waiter) // The first half of a Recv on b, which parks.
	w.kind = waitTurn
	require.True(t, b.Receiver.h.recv.enqueue(w))
	require.NoError(t, h.sendQuietly(pos))
	require.True(t, h.clearWaiting(receiving, b.Receiver.h.idx))
	require.False(t, h.onlyPolls(b.Receiver.h.idx, receiving), "a goroutine waits there")
	require.False(t, b.Receiver.h.recv.dequeue(w), "it leaves; the descriptor is still there")
	// Another parks that has not seen the value: it looked before.
	other := c.Receiver.h
	w2 := waiters.Get().(*waiter)
	w2.kind = waitTurn
	require.True(t, other.recv.enqueue(w2))
	go func() { <-w2.ch; done <- nil }()
	require.True(t, h.ring1(b.Receiver.h.idx, ringReceiver))
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the wake has ended at the descriptor")
	}
	waiters.Put(w)
	waiters.Put(w2)
}

func init() {
	// A process whose only waiting is a descriptor; it tells what that costs.
	roles["armed"] = func(args []string) error {
		ch, err := Open[message]("test", WithDir(args[0]), WithAttach(), WithWait(Park))
		if err != nil {
			return err
		}
		if _, err := ch.RecvFD(); err != nil {
			return err
		}
		sayShares(func() {})
		return ch.Detach()
	}
}

// A process whose only waiting is a descriptor costs next to nothing.
func TestDescriptorAlone(t *testing.T) {
	ch := openTest[message](t, WithCapacity(1))
	c := start(t, "armed", ch.Sender.h.opts.dir)
	t.Logf("%.4f %% of a CPU", 100*costsNothing(t, c))
	c.wait()
}

// It is told of a death at once: the value that a dead receiver had in hand makes the descriptor readable.
func TestDescriptorIsToldOfDeaths(t *testing.T) {
	noBackstop(t)
	ch := openTest[message](t, WithCapacity(1), WithWait(Park))
	fd := must[int](t)(ch.RecvFD())
	require.NoError(t, ch.Send(newMessage(0, 7)))
	require.True(t, readable(t, fd, -1))
	c := start(t, "holder", ch.Sender.h.opts.dir, "recv")
	require.Equal(t, "in", c.line())
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
	require.False(t, readable(t, fd, 0))
	c.kill()
	require.True(t, readable(t, fd, -1), "nobody else would say so")
	v, err := ch.TryRecv()
	require.NoError(t, err)
	require.Equal(t, newMessage(0, 7), v)
}

// The backstop makes a descriptor readable whose waker died with the flag down.
func TestBackstopCoversDescriptors(t *testing.T) {
	noBackstop(t) // Until all is as it is to find it.
	ch := openTest[int64](t, WithCapacity(2), WithWait(Park))
	fd := must[int](t)(ch.RecvFD())
	relieve(t, ch.Receiver.h, receiving) // A value, and the flag down, and no ring.
	require.True(t, ch.Receiver.h.clearWaiting(receiving, ch.Receiver.h.idx))
	require.False(t, readable(t, fd, 0))
	wakeBackstop()
	require.True(t, readable(t, fd, -1))
}

// Detach and calls against RecvFD and SendFD: no descriptor is left.
func TestDescriptorsAgainstDetach(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors in /proc")
	}
	open := func() (n int) {
		fds, _ := os.ReadDir("/proc/self/fd")
		for _, fd := range fds {
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(to, "[eventfd]") {
				n++
			}
		}
		return n
	}
	openTest[int64](t) // Go's poller has one too, from when it is first needed.
	before := open()
	for range 300 {
		ch := openTest[int64](t, WithCapacity(1))
		var wg sync.WaitGroup
		allowed := func(err error) {
			if err != nil && !errors.Is(err, ErrDetached) && !errors.Is(err, ErrFull) && !errors.Is(err, ErrEmpty) {
				t.Error(err)
			}
		}
		for range 2 {
			wg.Go(func() { _, err := ch.RecvFD(); allowed(err) })
			wg.Go(func() { _, err := ch.SendFD(); allowed(err) })
			wg.Go(func() { _, err := ch.TryRecv(); allowed(err) })
			wg.Go(func() { allowed(ch.TrySend(1)) })
		}
		require.NoError(t, ch.Detach())
		allBack(t, &wg)
	}
	until(t, "all are closed", func() bool { return open() <= before })
}

const pythonPoller = `
import select, sys
fd = 3
poll, epoll = select.poll(), None
poll.register(fd, select.POLLIN)
if sys.argv[1] == "epoll":
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN | select.EPOLLET)
while True:
    if sys.argv[1] == "select":
        r = select.select([fd], [], [])[0]
    elif epoll:
        r = epoll.poll()
    else:
        r = poll.poll()
    print("readable", len(r), flush=True)
    if not sys.stdin.readline():
        break
`

const cPoller = `
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
int main(int argc, char **argv) {
	char line[64];
	int ep = epoll_create1(0), n;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, out;
	if (strcmp(argv[1], "epoll") == 0 && epoll_ctl(ep, EPOLL_CTL_ADD, 3, &ev))
		return 1;
	for (;;) {
		struct pollfd p = {.fd = 3, .events = POLLIN};
		fd_set set;
		FD_ZERO(&set);
		FD_SET(3, &set);
		do if (strcmp(argv[1], "select") == 0)
			n = select(4, &set, NULL, NULL, NULL);
		else if (strcmp(argv[1], "epoll") == 0)
			n = epoll_wait(ep, &out, 1, -1);
		else
			n = poll(&p, 1, -1);
		while (n < 0 && errno == EINTR); // It was stopped, and goes on.
		printf("readable %d\n", n);
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 0;
	}
}
`

// Programs in other languages inherit the descriptor and wait for it, while the values are received here.
func TestDescriptorsInOtherLanguages(t *testing.T) {
	noBackstop(t)
	if runtime.GOOS != "linux" {
		t.Skip("uses epoll")
	}
	programs := map[string]func() []string{
		"python": func() []string {
			python, err := exec.LookPath("python3")
			if err != nil {
				t.Skip("there is no python3")
			}
			return []string{python, "-c", pythonPoller}
		},
		"C": func() []string {
			gcc, err := exec.LookPath("gcc")
			if err != nil {
				t.Skip("there is no gcc")
			}
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "p.c"), []byte(cPoller), 0o600))
			out, err := exec.Command(gcc, "-o", filepath.Join(dir, "p"), filepath.Join(dir, "p.c")).CombinedOutput()
			require.NoError(t, err, string(out))
			return []string{filepath.Join(dir, "p")}
		},
	}
	for name, program := range programs {
		for _, how := range []string{"poll", "select", "epoll"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				words := append(program(), how)
				ch := openTest[int64](t, WithCapacity(4))
				fd := must[int](t)(unix.Dup(must[int](t)(ch.RecvFD())))
				f := os.NewFile(uintptr(fd), "channel")
				cmd := exec.Command(words[0], words[1:]...)
				cmd.ExtraFiles = []*os.File{f}
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				require.NoError(t, err)
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				require.NoError(t, f.Close())
				other := again(t, ch)
				lines := bufio.NewScanner(out)
				for i := range int64(200) {
					require.NoError(t, other.Send(i))
					for { // It may look at what we have taken already.
						require.True(t, lines.Scan())
						require.Equal(t, "readable 1", lines.Text())
						v, err := ch.TryRecv()
						if err == nil {
							require.Equal(t, i, v)
							_, err = ch.TryRecv()
							require.ErrorIs(t, err, ErrEmpty)
							_, err = fmt.Fprintln(in, strconv.Itoa(int(i)))
							require.NoError(t, err)
							break
						}
						require.ErrorIs(t, err, ErrEmpty)
						_, err = fmt.Fprintln(in)
						require.NoError(t, err)
					}
				}
				require.NoError(t, ch.Close())
				require.True(t, lines.Scan())
				require.Equal(t, "readable 1", lines.Text())
				_, err = ch.TryRecv()
				require.ErrorIs(t, err, ErrClosed)
				require.NoError(t, in.Close())
				require.NoError(t, cmd.Wait())
			})
		}
	}
}
