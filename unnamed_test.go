package shmchan

// Unnamed channels, in one process and over several.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// How a role gets at an unnamed channel, in place of a directory.
const (
	byInheritance = "by inheritance"
	bySocket      = "by socket"
)

// elsewhere has this process seem to be in another pid namespace, where the system knows them.
var elsewhere = func() {}

// socketFD is where a child has its socket.
const socketFD = 3

// roleFiles are the files of a role.
func roleFiles(how string) ([]*os.File, error) {
	if how == byInheritance {
		sets, err := InheritedFiles()
		if err != nil {
			return nil, err
		}
		return sets[0], nil
	}
	f := os.NewFile(socketFD, "socket")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return ReceiveFiles(conn.(*net.UnixConn))
}

// roleSender opens a role's channel, by its directory or as an unnamed one.
func roleSender(dir string) (sendsAny, error) {
	if dir != byInheritance && dir != bySocket {
		return openSends(asItIs(dir)...)
	}
	files, err := roleFiles(dir)
	if err != nil {
		return nil, err
	}
	if fileOfBytes(files[0]) {
		s, err := BytesSenderFromFiles(files)
		return bulkSender{s}, err
	}
	return SenderFromFiles[message](files)
}

func roleReceiver(dir string) (recvsAny, error) {
	if dir != byInheritance && dir != bySocket {
		return openReceives(asItIs(dir)...)
	}
	files, err := roleFiles(dir)
	if err != nil {
		return nil, err
	}
	if fileOfBytes(files[0]) {
		r, err := BytesReceiverFromFiles(files)
		return bulkReceiver{r}, err
	}
	return ReceiverFromFiles[message](files)
}

// sockets are the two ends of a connection.
func sockets(t testing.TB) (ours *net.UnixConn, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	conn, err := net.FileConn(f)
	require.NoError(t, errors.Join(err, f.Close()))
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "socket")
}

// startWith starts a role and gives it a set of files.
func startWith(t testing.TB, files []*os.File, role, how string, args ...any) *child {
	t.Helper()
	args = append([]any{how}, args...)
	if how == byInheritance {
		return startBy(t, func(cmd *exec.Cmd) error { return StartWithFiles(cmd, files) }, role, args...)
	}
	ours, theirs := sockets(t)
	c := startBy(t, func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd.Start()
	}, role, args...)
	require.NoError(t, theirs.Close())
	require.NoError(t, SendFiles(ours, files))
	return c
}

// newTest makes an unnamed channel that the test lets go of.
func newTest[T any](t testing.TB, opts ...Option) *Chan[T] {
	t.Helper()
	ch, err := New[T](opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	return ch
}

func filesOf[T any](t testing.TB, ch *Chan[T]) []*os.File {
	t.Helper()
	files, err := ch.Files()
	require.NoError(t, err)
	t.Cleanup(func() { closeAll(files) })
	return files
}

// descriptors is how many this process has open, but for those that come and go with who waits.
func descriptors(t testing.TB) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a process has open")
	}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && !strings.Contains(to, "timerfd") && !strings.Contains(to, "pidfd") {
			n++
		}
	}
	return n
}

// onePoller has Go's poller started, so that its descriptors are there.
func onePoller(t testing.TB) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, errors.Join(r.Close(), w.Close()))
}

func bothWays(t *testing.T, a, b *Chan[int64]) {
	t.Helper()
	for _, p := range [][2]*Chan[int64]{{a, b}, {b, a}} {
		got := make(chan int64)
		go func() {
			for range 100 {
				v, _ := p[1].Recv()
				got <- v
			}
		}()
		for i := range int64(100) {
			require.NoError(t, p[0].Send(i))
			require.Equal(t, i, <-got)
		}
	}
}

func TestUnnamed(t *testing.T) {
	onePoller(t)
	for _, capacity := range []int{0, 1, 64} {
		before := descriptors(t)
		a, err := New[int64](WithCapacity(capacity), WithPeers(3), WithWait(Park))
		require.NoError(t, err)
		files, err := a.Files()
		require.NoError(t, err)
		require.Len(t, files, 4)
		b, err := FromFiles[int64](files, WithPeers(3), WithCapacity(capacity), WithWait(Park))
		require.NoError(t, err)
		require.Equal(t, a.Name(), b.Name())
		require.Regexp(t, fmt.Sprintf("^unnamed-%d-[0-9a-f]{6}$", os.Getpid()), a.Name())
		require.Equal(t, capacity, b.Cap())
		bothWays(t, a, b)
		require.Equal(t, 2, a.Stats().Senders)

		// Of three seats two are taken: there is one more, also from b's files.
		more, err := b.Files()
		require.NoError(t, err)
		_, err = a.Files()
		require.ErrorIs(t, err, ErrTooManyPeers)
		require.ErrorContains(t, err, "all of its 3 seats")
		c, err := FromFiles[int64](more)
		require.NoError(t, err)
		bothWays(t, b, c)
		require.NoError(t, a.Detach(), "who made it may go")
		bothWays(t, b, c)
		again, err := c.Files()
		require.NoError(t, err)
		a, err = FromFiles[int64](again)
		require.NoError(t, err, "on the seat of the first, with the next generation")
		bothWays(t, a, b)

		require.NoError(t, b.Close())
		_, err = a.Recv()
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorContains(t, err, a.Name())
		require.Zero(t, a.Stats().Recovered)
		for _, ch := range []*Chan[int64]{a, b, c} {
			require.NoError(t, ch.Detach())
			_, err = ch.Files()
			require.ErrorIs(t, err, ErrDetached)
		}
		require.Equal(t, before, descriptors(t))
	}
	require.Empty(t, leaked())
}

// A set is for one handle. Who comes second is told so, and the first one goes on.
func TestUnnamedSetUsedTwice(t *testing.T) {
	a := newTest[int64](t)
	files, err := a.Files()
	require.NoError(t, err)
	var copies []*os.File
	for _, f := range files {
		c, err := dupOf(int(f.Fd()), f.Name())
		require.NoError(t, err)
		copies = append(copies, c)
	}
	defer closeAll(copies)

	// For another type it is not used, so that it can be used after that.
	_, err = FromFiles[int32](files)
	require.ErrorIs(t, err, ErrMismatch)
	_, err = FromFiles[int64](files, WithCapacity(3))
	require.ErrorIs(t, err, ErrMismatch)
	_, err = FromFiles[int64](files, WithPeers(3))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "the number of handles is 3 here, 16 in the channel")

	b, err := FromFiles[int64](files)
	require.NoError(t, err)
	for _, set := range [][]*os.File{files, copies} {
		_, err = FromFiles[int64](set)
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorContains(t, err, "used before")
	}
	held, err := a.Sender.h.locks.held(b.Sender.h.idx)
	require.NoError(t, err)
	require.True(t, held)
	bothWays(t, a, b)

	// Of many who use it at once, one gets it.
	set := filesOf(t, a)
	var wg sync.WaitGroup
	got := make(chan *Chan[int64], 8)
	for range cap(got) {
		wg.Go(func() {
			ch, err := FromFiles[int64](set)
			if err == nil {
				got <- ch
			} else if !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, got, 1)
	require.NoError(t, (<-got).Detach())
	_, err = FromFiles[int64](copies)
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, b.Detach())
	_, err = FromFiles[int64](copies)
	require.ErrorIs(t, err, ErrBusy, "nor after it")

	// And in another process.
	ours, theirs := sockets(t)
	set = filesOf(t, a)
	copies = nil
	for _, f := range set {
		c, err := dupOf(int(f.Fd()), f.Name())
		require.NoError(t, err)
		copies = append(copies, c)
	}
	require.NoError(t, SendFiles(ours, copies))
	b, err = FromFiles[int64](set)
	require.NoError(t, err)
	c := startBy(t, func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd.Start()
	}, "use-files", bySocket)
	require.NoError(t, theirs.Close())
	require.Contains(t, c.line(), "used before")
	c.wait()
	bothWays(t, a, b)
	require.NoError(t, b.Detach())
}

func init() {
	// One of whose death nobody is told.
	roles["unnamed-stranger"] = func(args []string) error {
		elsewhere()
		return roles["unnamed-holder"](args)
	}
	// Says what FromFiles says.
	roles["use-files"] = func(args []string) error {
		files, err := roleFiles(args[0])
		if err != nil {
			return err
		}
		_, err = FromFiles[int64](files)
		fmt.Println(err)
		return nil
	}
	// Holds a channel, uses it as it is told, and lives until it is killed or told to end.
	roles["unnamed-holder"] = func(args []string) error {
		if args[1] == "unused" {
			if _, err := roleFiles(args[0]); err != nil {
				return err
			}
			fmt.Println("in")
			_, _ = fmt.Scanln(new(string))
			return nil
		}
		files, err := roleFiles(args[0])
		if err != nil {
			return err
		}
		ch, err := FromFiles[message](files, WithWait(Park))
		if err != nil {
			return err
		}
		wait := func() error {
			fmt.Println("in")
			_, _ = fmt.Scanln(new(string))
			return nil
		}
		switch args[1] {
		case "send":
			err = ch.SendFunc(forever, func(m *message) error { *m = newMessage(1, 77); return wait() })
		case "recv":
			err = ch.RecvFunc(forever, func(*message) error { return wait() })
		case "parked":
			fmt.Println("in")
			_, err = ch.Recv()
		default:
			err = wait()
		}
		return errors.Join(err, ch.Detach())
	}
}

// unnamedForms are the forms of channel over processes.
var unnamedForms = []form{
	{64, nil, 2, 2, "send", "func"},
	{1, nil, 2, 2, "func", "func"},
	{3, nil, 2, 2, "batch", "batch"},
	{0, nil, 2, 2, "send", "recv"},
	{64, []Option{WithSingleSender()}, 1, 2, "send", "func"},
	{7, []Option{WithSingleReceiver()}, 2, 1, "send", "recv"},
}

// TestUnnamedKills is TestKills for unnamed channels: every process that comes has a set of its own, more
// come than there are seats, and those who are killed leave nothing.
func TestUnnamedKills(t *testing.T) {
	for _, how := range []string{byInheritance, bySocket} {
		for _, f := range unnamedForms {
			t.Run(how+" "+f.String(), func(t *testing.T) { hammerUnnamed(t, how, f, max(3, *kills/2)) })
		}
	}
}

// newUnnamedBoth makes an unnamed channel of messages, as bytes if the options are for that, and what makes sets of its files.
func newUnnamedBoth(t *testing.T, opts ...Option) (sendsAny, recvsAny, func() []*os.File) {
	if !ofBytes(opts) {
		ch := newTest[message](t, opts...)
		return ch.Sender, ch.Receiver, func() []*os.File { return filesOf(t, ch) }
	}
	b := must[*Bytes](t)(NewBytes(opts...))
	t.Cleanup(func() { _ = b.Detach() })
	return bulkSender{b.BytesSender}, bulkReceiver{b.BytesReceiver}, func() []*os.File {
		files := must[[]*os.File](t)(b.Files())
		t.Cleanup(func() { closeAll(files) })
		return files
	}
}

func hammerUnnamed(t *testing.T, how string, f form, kills int) {
	rnd := testRand(t)
	auditPath := filepath.Join(t.TempDir(), "audit")
	a := openAudit(t, auditPath)
	ch, receiver, files := newUnnamedBoth(t, append([]Option{WithCapacity(f.capacity), WithPeers(7), withStart(1<<posBits - 1000)}, f.opts...)...)
	if f.single() { // The single role is the children's.
		if ch.of().info.flags&flagSingleSender != 0 {
			require.NoError(t, ch.Detach())
		} else {
			require.NoError(t, receiver.Detach())
		}
	}
	numbers := uint64(0)
	newSender := func() *child {
		c := startWith(t, files(), "sender", how, auditPath, numbers, f.send)
		numbers++
		require.Less(t, numbers, uint64(auditSenders))
		require.Equal(t, "open", c.line())
		return c
	}
	newReceiver := func() *child {
		c := startWith(t, files(), "receiver", how, auditPath, f.recv)
		require.Equal(t, "open", c.line())
		return c
	}
	var senders, receivers []*child
	for range f.senders {
		senders = append(senders, newSender())
	}
	for range f.receivers {
		receivers = append(receivers, newReceiver())
	}
	done := func(c *child) bool { return a.acked(numberOf(c)).Load() >= auditSeqs }
	receiverKills := 0
	for k := range kills {
		goal := a.progress().Load() + rnd.Uint64N(400)
		until(t, fmt.Sprintf("value %d, after %d kills", goal, k), func() bool {
			all := true
			for _, c := range senders {
				all = all && done(c)
			}
			return all || a.progress().Load() >= goal
		})
		if i := rnd.IntN(f.senders + f.receivers); i < f.senders {
			senders[i].kill()
			senders[i] = newSender()
		} else {
			i -= f.senders
			receivers[i].kill()
			receiverKills++
			receivers[i] = newReceiver()
		}
		for i, c := range senders {
			if done(c) {
				require.Equal(t, "sent", c.line())
				c.wait()
				senders[i] = newSender()
			}
		}
	}
	if err := ch.Close(); errors.Is(err, ErrDetached) {
		require.NoError(t, receiver.Close())
	} else {
		require.NoError(t, err)
	}
	for _, c := range senders {
		require.Equal(t, "sent", c.line())
		c.wait()
	}
	for _, c := range receivers {
		require.Equal(t, "drained", c.line())
		c.wait()
	}
	a.check(t, f, numbers, kills, receiverKills, ch.Stats())
}

// The process that made the channel and handed it out is killed, with a set on its way: the others go on, and
// make sets themselves.
func TestUnnamedMakerDies(t *testing.T) {
	ours, theirs := sockets(t)
	c := startBy(t, func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd.Start()
	}, "maker")
	require.NoError(t, theirs.Close())
	files, err := ReceiveFiles(ours)
	require.NoError(t, err)
	ch, err := FromFiles[message](files, WithDisconnect(), WithWait(Park))
	require.NoError(t, err)
	require.Equal(t, "in", c.line())
	_, err = ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty, "it has the value in hand")
	got := make(chan message, 2)
	go func() {
		for range cap(got) {
			m, _ := ch.Recv()
			got <- m
		}
	}()
	until(t, "parked", func() bool { return ch.Stats().Parked > 0 })
	toldInTime(t, ch.Receiver.h)
	c.kill()
	require.Equal(t, newMessage(0, 1), <-got)
	second, err := ReceiveFiles(ours)
	require.NoError(t, err, "what it sent before it died")
	other, err := FromFiles[message](second)
	require.NoError(t, err)
	require.NoError(t, other.Send(newMessage(0, 2)))
	require.Equal(t, newMessage(0, 2), <-got)
	until(t, "the maker is cleared away", func() bool { return ch.Stats().Recovered == 1 }) // A moment after what it had in hand.
	require.Equal(t, 2, ch.Stats().Senders)
	third, err := FromFiles[message](filesOf(t, other))
	require.NoError(t, err)
	require.NoError(t, errors.Join(other.Detach(), ch.Detach(), third.Detach()))
}

func init() {
	roles["maker"] = func([]string) error {
		f := os.NewFile(socketFD, "socket")
		conn, err := net.FileConn(f)
		if err != nil {
			return err
		}
		ch, err := New[message](WithPeers(5))
		if err != nil {
			return err
		}
		if err := ch.Send(newMessage(0, 1)); err != nil {
			return err
		}
		for range 2 {
			files, err := ch.Files()
			if err == nil {
				err = SendFiles(conn.(*net.UnixConn), files)
			}
			if err != nil {
				return err
			}
		}
		return ch.RecvFunc(forever, func(*message) error {
			fmt.Println("in")
			_, _ = fmt.Scanln(new(string))
			return nil
		})
	}
}

// A set counts as a sender and a receiver from the moment it is made until it is gone: used and let go, closed by
// whoever had it, or dead with a process that never used it.
func TestUnnamedDisconnect(t *testing.T) {
	for _, end := range []string{"closed here", "detach", "kill", "kill unused", "receiver only"} {
		t.Run(end, func(t *testing.T) {
			ch := newTest[message](t, WithDisconnect(), WithWait(Park))
			files := filesOf(t, ch)
			require.NoError(t, ch.Sender.Detach())
			result := make(chan error, 1)
			go func() { _, err := ch.Recv(); result <- err }()
			until(t, "parked", func() bool { return ch.Stats().Parked > 0 })
			quiet := func() {
				for began := time.Now(); time.Since(began) < 2*backstopBlind; {
					require.Empty(t, result, "there is a set")
				}
			}
			quiet()
			require.True(t, ch.Receiver.h.blind.Load(), "nobody knows whose death to watch for")
			switch end {
			case "closed here":
				toldInTime(t, ch.Receiver.h)
				closeAll(files)
			case "receiver only":
				toldInTime(t, ch.Receiver.h)
				r, err := ReceiverFromFiles[message](files)
				require.NoError(t, err)
				defer func() { require.NoError(t, r.Detach()) }()
			default:
				what := "idle"
				if end == "kill unused" {
					what = "unused"
				}
				c := startWith(t, files, "unnamed-holder", byInheritance, what)
				require.Equal(t, "in", c.line())
				quiet()
				toldInTime(t, ch.Receiver.h)
				if end == "detach" {
					c.wait()
				} else {
					c.kill()
				}
			}
			require.ErrorIs(t, <-result, ErrDisconnected)
			if end != "kill" {
				assert.Zero(t, ch.Stats().Recovered, "nobody has died who took part")
			}
		})
	}
}

// A holder is killed with a value in hand, and one after it was rung: others go on in time, whether they are told of its death or not.
func TestUnnamedDeaths(t *testing.T) {
	for _, role := range []string{"unnamed-holder", "unnamed-stranger"} {
		t.Run(role, func(t *testing.T) {
			ch := newTest[message](t, WithCapacity(2), WithPeers(3), WithWait(Park))
			h := ch.Sender.h
			parks := func(result chan error, call func() error) {
				parked := ch.Stats().Parked
				go func() { result <- call() }()
				until(t, "parked", func() bool { return ch.Stats().Parked > parked })
				until(t, "it is known whether it is told", func() bool { return h.blind.Load() == (role == "unnamed-stranger") })
				toldInTime(t, h)
			}
			for range 6 { // More than there are seats.
				wakeBackstop()
				c := startWith(t, filesOf(t, ch), role, bySocket, "send")
				require.Equal(t, "in", c.line())
				require.NoError(t, ch.Send(newMessage(0, 1)))
				result := make(chan error, 1)
				parks(result, func() error { return ch.Send(newMessage(0, 2)) })
				c.kill()
				require.NoError(t, <-result)
				for range 2 {
					_, err := ch.Recv()
					require.NoError(t, err)
				}

				wakeBackstop()
				c = startWith(t, filesOf(t, ch), role, byInheritance, "parked")
				require.Equal(t, "in", c.line())
				until(t, "it waits", func() bool { return h.anyWaiting(receiving) })
				c.stop()
				parks(result, func() error { _, err := ch.Recv(); return err })
				// Ours is taken down as if somebody had taken it first, and rung the other.
				require.True(t, h.clearWaiting(receiving, h.idx))
				require.NoError(t, ch.Send(newMessage(0, 3)), "rings the one that is stopped")
				c.kill()
				require.NoError(t, <-result)
			}
		})
	}
}

// What has no place in a channel without a name is refused, and what has none with one.
func TestUnnamedOptions(t *testing.T) {
	for name, o := range map[string]Option{
		"WithDir": WithDir("/tmp"), "WithMode": WithMode(0o600), "WithCreate": WithCreate(), "WithAttach": WithAttach(),
		"WithCapacity": WithCapacity(-1), "WithPeers": WithPeers(1), "WithPeers(253)": WithPeers(253),
	} {
		_, err := New[int64](o)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, `channel "unnamed"`)
		_, err = FromFiles[int64](nil, o)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, name)
	}
	dir := memDir(t)
	_, err := Open[int64]("test", WithDir(dir), WithPeers(3))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "WithPeers is for New")
	named, err := Open[int64]("test", WithDir(dir))
	require.NoError(t, err)
	_, err = named.Files()
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "it has a name")
	require.NoError(t, named.Detach())
	_, err = New[string]()
	require.ErrorIs(t, err, ErrNotPOD)
	require.ErrorContains(t, err, `channel "unnamed"`)
	_, err = New[int64](WithCapacity(maxCapacity + 1))
	require.ErrorIs(t, err, ErrTooLarge)

	ch := newTest[int64](t, WithPeers(maxSeats))
	files := filesOf(t, ch)
	require.Len(t, files, maxSeats+1)
	ours, theirs := sockets(t)
	theirConn, err := net.FileConn(theirs)
	require.NoError(t, errors.Join(err, theirs.Close()))
	defer func() { _ = theirConn.Close() }()
	require.NoError(t, SendFiles(ours, files), "as many as a message takes")
	files, err = ReceiveFiles(theirConn.(*net.UnixConn))
	require.NoError(t, err)
	other, err := FromFiles[int64](files)
	require.NoError(t, err)
	bothWays(t, ch, other)
	require.NoError(t, other.Detach())
}

// A single role is one handle's, whatever the way to it; a set whose role is taken can be used later.
func TestUnnamedSingleRoles(t *testing.T) {
	ch := newTest[int64](t, WithSingleSender(), WithSingleReceiver(), WithCapacity(4))
	files := filesOf(t, ch)
	_, err := FromFiles[int64](files)
	require.ErrorIs(t, err, ErrBusy)
	_, err = ReceiverFromFiles[int64](files)
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "single role")
	require.NoError(t, ch.Receiver.Detach())
	_, err = FromFiles[int64](files)
	require.ErrorIs(t, err, ErrBusy, "it would send too")
	r, err := ReceiverFromFiles[int64](files)
	require.NoError(t, err)
	for i := range int64(20) {
		require.NoError(t, ch.Send(i))
		v, err := r.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v)
	}
	_, err = ReceiverFromFiles[int64](filesOf(t, ch))
	require.ErrorIs(t, err, ErrBusy)
	_, err = ReceiverFromFiles[int64](files)
	require.ErrorIs(t, err, ErrBusy)
	held, err := ch.Sender.h.locks.held(lockReceiver)
	require.NoError(t, err)
	require.True(t, held, "the second use has not let go of the role of the first")
	require.NoError(t, r.Detach())

	// One who gets one role and not the other keeps none.
	require.NoError(t, ch.Detach())
	ch = newTest[int64](t, WithSingleSender(), WithSingleReceiver(), WithCapacity(4))
	require.NoError(t, ch.Sender.Detach())
	files = filesOf(t, ch)
	_, err = FromFiles[int64](files)
	require.ErrorIs(t, err, ErrBusy)
	s, err := SenderFromFiles[int64](filesOf(t, ch))
	require.NoError(t, err)
	require.NoError(t, s.Detach())
}

// What comes over a socket, or by the environment, and is no set of files.
func TestNoSetOfFiles(t *testing.T) {
	onePoller(t)
	pair := func() (a, b *net.UnixConn) {
		ours, theirs := sockets(t)
		conn, err := net.FileConn(theirs)
		require.NoError(t, errors.Join(err, theirs.Close()))
		t.Cleanup(func() { _ = conn.Close() })
		return ours, conn.(*net.UnixConn)
	}
	a, b := pair()
	before := descriptors(t)
	fds := unix.UnixRights(0, 0, 0)
	for what, m := range map[string]struct{ text, rights []byte }{
		"text":          {[]byte("something"), nil},
		"no files":      {passMessage(3), nil},
		"too few files": {passMessage(4), fds},
		"no mark":       {[]byte("x"), fds},
	} {
		_, _, err := a.WriteMsgUnix(m.text, m.rights, nil)
		require.NoError(t, err)
		_, err = ReceiveFiles(b)
		require.ErrorIs(t, err, fs.ErrInvalid, what)
		require.Equal(t, before, descriptors(t), "they are closed")
		a, b = pair()
		before = descriptors(t)
	}
	require.ErrorIs(t, SendFiles(a, nil), fs.ErrInvalid)
	require.NoError(t, a.Close())
	_, err := ReceiveFiles(b)
	require.ErrorIs(t, err, io.EOF)
	ch := newTest[int64](t)
	before = descriptors(t)
	files := filesOf(t, ch)
	require.ErrorIs(t, SendFiles(a, files), net.ErrClosed)
	require.ErrorIs(t, files[0].Close(), fs.ErrClosed, "it is closed all the same")
	files = filesOf(t, ch)
	require.ErrorIs(t, StartWithFiles(exec.Command("/nothing/there"), files), fs.ErrNotExist)
	require.ErrorIs(t, files[0].Close(), fs.ErrClosed)
	require.Equal(t, before, descriptors(t))

	_, err = InheritedFiles()
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, v := range []string{"", "3", "x+1", "0+3", "3+0", "3+254", "3+5,", "-3+1", "70000+2"} {
		t.Setenv(EnvFiles, v)
		_, err = InheritedFiles()
		require.ErrorIs(t, err, fs.ErrInvalid, v)
		_, err = InheritedFiles()
		require.ErrorIs(t, err, fs.ErrNotExist, "it is asked once")
	}
	t.Setenv(EnvFiles, "60000+2")
	_, err = InheritedFiles()
	require.ErrorIs(t, err, unix.EBADF)
}

// Several channels go to one child, beside files of another kind, and not to its own children.
func TestSeveralSets(t *testing.T) {
	a, b := newTest[int64](t), newTest[int64](t, WithPeers(2))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	c := startBy(t, func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{w}
		return StartWithFiles(cmd, filesOf(t, a), filesOf(t, b))
	}, "two-sets")
	require.NoError(t, w.Close())
	for i, ch := range []*Chan[int64]{a, b} {
		v, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, int64(i), v)
	}
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "hello", string(text))
	require.NoError(t, r.Close())
	require.Equal(t, "0", c.line(), "a child of the child has none of the files")
	c.wait()
}

func init() {
	roles["two-sets"] = func([]string) error {
		f := os.NewFile(3, "pipe")
		_, err := f.WriteString("hello")
		sets, err2 := InheritedFiles()
		if err = errors.Join(err, err2, f.Close()); err != nil {
			return err
		}
		out, err := exec.Command("sh", "-c", "ls -l /proc/self/fd; env").Output()
		if err != nil {
			return err
		}
		for i, set := range sets {
			ch, err := FromFiles[int64](set)
			if err == nil {
				err = ch.Send(int64(i))
			}
			if err != nil {
				return err
			}
		}
		fmt.Println(strings.Count(string(out), "memfd") + strings.Count(string(out), EnvFiles))
		return nil
	}
}

// Wakes that reach everybody without the backstop: values there and back, to a child too; a close; the last
// sender that leaves; a seat that becomes a receiver only; a death with a value, or with a wake, in hand.
func TestUnnamedWithoutBackstop(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{0, 1, 64} {
		there, back := newTest[message](t, WithCapacity(capacity), WithWait(Park)), newTest[message](t, WithCapacity(capacity), WithWait(Park))
		c := startBy(t, func(cmd *exec.Cmd) error {
			return StartWithFiles(cmd, filesOf(t, there), filesOf(t, back))
		}, "unnamed-echo")
		for i := range uint64(2000) {
			require.NoError(t, there.Send(newMessage(1, i)))
			m, err := back.Recv()
			require.NoError(t, err)
			require.Equal(t, newMessage(1, i), m)
		}
		require.NoError(t, there.Close())
		_, err := back.Recv()
		require.ErrorIs(t, err, ErrClosed, "which the child says when it is told")
		c.wait()
	}

	ch := newTest[message](t, WithDisconnect(), WithWait(Park))
	sender, err := SenderFromFiles[message](filesOf(t, ch))
	require.NoError(t, err)
	files := filesOf(t, ch)
	require.NoError(t, ch.Sender.Detach())
	result := make(chan error, 1)
	wait := func() {
		parked := ch.Stats().Parked
		go func() { _, err := ch.Recv(); result <- err }()
		until(t, "parked", func() bool { return ch.Stats().Parked > parked })
	}
	wait()
	require.NoError(t, sender.Detach())
	until(t, "woken, and parked again", func() bool { return ch.Stats().Parked > 1 })
	r, err := ReceiverFromFiles[message](files)
	require.NoError(t, err)
	require.ErrorIs(t, <-result, ErrDisconnected)
	require.NoError(t, r.Detach())

	ch = newTest[message](t, WithWait(Park))
	result = make(chan error, 1)
	require.NoError(t, ch.Send(newMessage(0, 1)))
	c := startWith(t, filesOf(t, ch), "unnamed-holder", byInheritance, "recv")
	require.Equal(t, "in", c.line())
	wait()
	c.kill()
	require.NoError(t, <-result)
	c = startWith(t, filesOf(t, ch), "unnamed-holder", byInheritance, "parked")
	require.Equal(t, "in", c.line())
	h := ch.Sender.h
	until(t, "it waits", func() bool { return h.anyWaiting(receiving) })
	c.stop()
	wait()
	require.True(t, h.clearWaiting(receiving, h.idx), "as if somebody had taken it")
	require.NoError(t, ch.Send(newMessage(0, 3)), "rings the one that is stopped")
	require.False(t, h.anyWaiting(receiving))
	c.kill()
	require.NoError(t, <-result)
}

func init() {
	roles["unnamed-echo"] = func([]string) error {
		noBackstop(&testing.T{})
		sets, err := InheritedFiles()
		if err != nil {
			return err
		}
		in, err := ReceiverFromFiles[message](sets[0], WithWait(Park))
		if err != nil {
			return err
		}
		out, err := SenderFromFiles[message](sets[1], WithWait(Park))
		if err != nil {
			return err
		}
		for m := range in.All() {
			if err := out.Send(m); err != nil {
				return err
			}
		}
		return errors.Join(in.Err(), out.Close(), out.Detach(), in.Detach())
	}
}

// A descriptor of another handle is made readable by whoever sends, receives or closes, without the backstop.
func TestUnnamedDescriptorsAreRung(t *testing.T) {
	noBackstop(t)
	a := newTest[int64](t, WithCapacity(1), WithWait(Park))
	b, err := FromFiles[int64](filesOf(t, a))
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Detach()) }()
	recv, send := must[int](t)(b.RecvFD()), must[int](t)(b.SendFD())
	const soon = -1 // However long the listener takes.
	for i := range int64(100) {
		_, err = b.TryRecv()
		require.ErrorIs(t, err, ErrEmpty)
		require.False(t, readable(t, recv, 0))
		require.NoError(t, a.Send(i))
		require.True(t, readable(t, recv, soon))

		require.ErrorIs(t, b.TrySend(i), ErrFull)
		require.False(t, readable(t, send, 0))
		require.Equal(t, i, must[int64](t)(a.Recv()))
		require.True(t, readable(t, send, soon))
	}
	_, err = b.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
	require.NoError(t, a.Close())
	require.True(t, readable(t, recv, soon))
}

// A seat whose last owner died with a descriptor armed is as any other: its next owner is woken.
func TestUnnamedSeatOfADeadPoller(t *testing.T) {
	noBackstop(t)
	a := newTest[message](t, WithPeers(2), WithCapacity(4), WithWait(Park))
	c := startWith(t, filesOf(t, a), "unnamed-poller", byInheritance)
	require.Equal(t, "in", c.line())
	c.kill()
	until(t, "its seat is free", func() bool { files, err := a.Files(); closeAll(files); return err == nil })
	r, err := ReceiverFromFiles[message](filesOf(t, a), WithWait(Park))
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Detach()) }()
	got := make(chan error, 1)
	go func() { _, err := r.Recv(); got <- err }()
	until(t, "parked", func() bool { return r.Stats().Parked > 0 })
	require.NoError(t, a.Send(newMessage(0, 1)), "which wakes it")
	require.NoError(t, <-got)
}

func init() {
	roles["unnamed-poller"] = func([]string) error {
		files, err := roleFiles(byInheritance)
		if err != nil {
			return err
		}
		r, err := ReceiverFromFiles[message](files)
		if err != nil {
			return err
		}
		if _, err := r.RecvFD(); err != nil {
			return err
		}
		fmt.Println("in")
		select {}
	}
}
