package shmchan

// A collector that is stopped while it holds the locks of a channel: who opens the channel is told what the matter is, and nothing is
// lost, whether the collector goes on or is killed.

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// stopsAt is a locker that stops its process when it has taken one of the locks.
type stopsAt struct {
	locker
	last int
}

func (l stopsAt) tryLock(i int) (bool, error) {
	ok, err := l.locker.tryLock(i)
	if ok && i == l.last {
		err = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		_, _ = fmt.Scanln(new(string)) // Another thread may be the first to stop.
	}
	return ok, err
}

func init() {
	// It collects, stops when it has all locks of a channel, and says what it has removed.
	roles["collector"] = func(args []string) error {
		was := testLocks
		testLocks = func(h *handle) locker { return stopsAt{was(h), maxPeers - 1} }
		all, err := Collect(Collection{Detached: true, Values: len(args) > 1}, WithDir(args[0]))
		for _, l := range all {
			fmt.Println(l.Name, l.Goes)
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
		return err
	}
}

// stopped waits until the child has stopped itself.
func (c *child) stopped() {
	c.t.Helper()
	var st syscall.WaitStatus
	require.NoError(c.t, eintr(func() error { _, err := syscall.Wait4(c.cmd.Process.Pid, &st, syscall.WUNTRACED, nil); return err }))
	require.True(c.t, st.Stopped(), "%v: %s", st, c.errs.String())
}

func TestStoppedCollector(t *testing.T) {
	was := nameTries.Load()
	t.Cleanup(func() { nameTries.Store(was) })
	for _, end := range []string{"goes on", "is killed"} {
		t.Run(end, func(t *testing.T) {
			dir := memDir(t)
			in := WithDir(dir)
			ch := must[*Chan[int64]](t)(Open[int64]("test", in))
			require.NoError(t, ch.Send(7))
			require.NoError(t, ch.Detach())
			c := start(t, "collector", dir, "with its value")
			c.stopped()

			nameTries.Store(10) // It is stopped: no use to wait for it.
			_, errOpen := Open[int64]("test", in)
			errRemove := Remove("test", in)
			left := must[[]Leftover](t)(Collect(Collection{Detached: true, Values: true}, in))
			nameTries.Store(was)
			require.ErrorIs(t, errOpen, ErrBusy)
			require.ErrorIs(t, errRemove, ErrBusy)
			require.NotErrorIs(t, errOpen, ErrTooManyPeers)
			require.Len(t, left, 1)
			require.False(t, left[0].Goes)
			who := "another process is about to join, leave or remove it"
			if _, err := os.Stat("/proc/locks"); err == nil && runtime.GOOS == "linux" {
				who = fmt.Sprintf("pid %d is about to join, leave or remove it, and is stopped", c.cmd.Process.Pid)
				require.Equal(t, fmt.Sprintf("held by pid %d, which is about to join, leave or remove it, and is stopped", c.cmd.Process.Pid), left[0].Why)
				require.ErrorContains(t, errOpen, fmt.Sprintf("let it go on (kill -CONT %d) or end it", c.cmd.Process.Pid))
			}
			require.ErrorContains(t, errOpen, who)
			require.ErrorContains(t, errOpen, "try again")
			require.ErrorContains(t, errRemove, who)

			if end == "is killed" {
				c.kill()
				ch = must[*Chan[int64]](t)(Open[int64]("test", in, WithAttach()))
				require.Equal(t, int64(7), must[int64](t)(ch.Recv()), "it is as it was")
			} else {
				c.signal(syscall.SIGCONT)
				c.say("")
				require.Equal(t, "test true", c.line())
				c.wait()
				ch = must[*Chan[int64]](t)(Open[int64]("test", in, WithCreate()))
			}
			require.NoError(t, ch.Close())
			require.NoError(t, ch.Detach())
			dirEmpty(t, dir)
		})
	}
}

// Who has the lock of a name.
func TestRemover(t *testing.T) {
	path := filepath.Join(memDir(t), "file")
	f := must[*os.File](t)(os.Create(path))
	defer f.Close()
	is := func(who, does string, stopped int) {
		t.Helper()
		w, d, s := remover(f)
		require.Equal(t, []any{who, does, stopped}, []any{w, d, s})
	}
	is("another process", "is about to join, leave or remove it", 0)
	if _, err := os.Stat("/proc/locks"); err != nil || runtime.GOOS != "linux" {
		t.Skip("only Linux tells who has a lock")
	}
	require.True(t, lockName(f))
	is("another goroutine of this process", "is about to join, leave or remove it", 0)
	unlockName(f)
	c := start(t, "remover", path)
	require.Equal(t, "true", c.line())
	pid := c.cmd.Process.Pid
	is(fmt.Sprintf("pid %d", pid), "is about to join, leave or remove it", 0)
	require.ErrorContains(t, removing("test", f), "is about to join, leave or remove it; try again")
	c.stop()
	is(fmt.Sprintf("pid %d", pid), "is about to join, leave or remove it, and is stopped", pid)
	c.signal(syscall.SIGCONT)
	c.wait()
}

// locksUnderName is a locker that gets no lock of a place unless the name's lock is held.
type locksUnderName struct {
	locker
	file *os.File // the channel's, open once more
}

func (l locksUnderName) tryLock(i int) (bool, error) {
	if free, err := flockFile(l.file); free || err != nil {
		unlockName(l.file)
		return false, err
	}
	return l.locker.tryLock(i)
}

// A collector that lets go of the locks as late as can be is not taken for 256 handles.
func TestOpenBehindACollector(t *testing.T) {
	dir := memDir(t)
	ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	require.NoError(t, ch.Detach())
	f := must[*os.File](t)(os.OpenFile(filepath.Join(dir, filePrefix+"test"), os.O_RDWR, 0))
	defer f.Close()
	was := testLocks
	testLocks = func(h *handle) locker { return locksUnderName{was(h), f} }
	defer func() { testLocks = was }()
	ch = must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir), WithAttach()))
	require.True(t, must[bool](t)(flockFile(f)), "it lets go of the name's lock")
	unlockName(f)
	require.NoError(t, ch.Detach())
}
