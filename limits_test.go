package shmchan

// What the system refuses: descriptors, space, inodes, rights, a name's lock. Each from its real cause.
// An Open that fails says why and what to do, and leaves nothing open and no participant; but the channel
// may be there that it has made before it failed to join it.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	// A process that may have fewer and fewer descriptors; it tries a thing until it succeeds.
	roles["few-descriptors"] = func(args []string) error {
		dir, what := args[0], args[1]
		if _, err := os.Stat(dir); err != nil { // Go's poller is started by this, at the latest.
			return err
		}
		do := map[string]func() error{
			"create": func() error {
				ch, err := Open[message]("test", WithDir(dir))
				if err != nil {
					return err
				}
				return errors.Join(ch.Close(), ch.Detach())
			},
			"attach": func() error {
				ch, err := Open[message]("test", WithDir(dir), WithAttach())
				if err != nil {
					return err
				}
				return ch.Detach()
			},
			"inspect": func() error { _, err := Inspect("test", WithDir(dir)); return err },
			"list":    func() error { _, err := List(WithDir(dir)); return err },
		}[what]
		failures := 0
		for limit := uint64(3); ; limit++ {
			var old unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				return err
			}
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
				return err
			}
			err := do()
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				return err
			}
			if err == nil {
				fmt.Println(failures)
				return nil
			}
			if !errors.Is(err, unix.EMFILE) {
				return fmt.Errorf("with %d descriptors: %w", limit, err)
			}
			if leaks := leaked(); len(leaks) > 0 {
				return fmt.Errorf("with %d descriptors: left %v", limit, leaks)
			}
			failures++
		}
	}
	// A process of a user without rights.
	roles["wakened"] = func(args []string) error {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
		s, err := OpenSender[int64](args[0], WithDir(args[1]))
		if err != nil {
			return err
		}
		fmt.Println("sent", s.Send(7))
		_, _ = fmt.Scanln(new(string)) // The doorbells of both work across users.
		fmt.Println("sent", s.Send(8))
		return s.Detach()
	}
	// A process that is about to take a name away.
	roles["remover"] = func(args []string) error {
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		fmt.Println(lockName(f))
		_, _ = fmt.Scanln(new(string))
		return f.Close()
	}
}

func TestFewDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a process has open")
	}
	for _, what := range []string{"create", "attach", "inspect", "list"} {
		dir := memDir(t)
		var ch *Chan[message]
		if what != "create" {
			var err error
			ch, err = Open[message]("test", WithDir(dir))
			require.NoError(t, err)
		}
		c := start(t, "few-descriptors", dir, what)
		failures, err := strconv.Atoi(c.line())
		require.NoError(t, err)
		c.wait()
		assert.Positive(t, failures, what)
		if ch != nil {
			assert.Zero(t, ch.Stats().Recovered, "who cannot join leaves as one who does")
			require.NoError(t, ch.Close())
			require.NoError(t, ch.Detach())
		}
		dirEmpty(t, dir)
	}
}

// smallFS is a directory that is a memory file system of its own, with these options.
func smallFS(t *testing.T, typ, options string) string {
	dir, err := mountMemory(t, typ, options)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("cannot mount a %s here: %v", typ, err)
	}
	require.NoError(t, err)
	return dir
}

// A full file system, and one without inodes: for the channel's file, for the doorbell.
func TestSmallFileSystem(t *testing.T) {
	dir := smallFS(t, "tmpfs", "size=64k,nr_inodes=8")
	_, err := Open[message]("test", WithDir(dir), WithCapacity(10000))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "smaller WithCapacity")
	dirEmpty(t, dir)

	ch, err := Open[message]("test", WithDir(dir), WithCapacity(2))
	require.NoError(t, err)
	require.NoError(t, ch.Send(newMessage(1, 1)))
	for i := 0; ; i++ { // Until no inode is left.
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
		require.NoError(t, f.Close())
	}
	_, err = Open[message]("test", WithDir(dir))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "doorbell")
	_, err = Open[message]("other", WithDir(dir))
	require.ErrorIs(t, err, syscall.ENOSPC)
	st := ch.Stats()
	assert.Equal(t, 1, st.Senders, "who has no doorbell is no participant")
	assert.Zero(t, st.Recovered)
	m, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(1, 1), m)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
}

// A file system that cannot allocate: then zeros are written.
func TestFileSystemWithoutAllocation(t *testing.T) {
	dir := smallFS(t, "ramfs", "")
	ch, err := Open[message]("test", WithDir(dir), WithCapacity(3000)) // Several times what is written at once.
	require.NoError(t, err)
	for i := range uint64(3000) {
		require.NoError(t, ch.TrySend(newMessage(1, i)))
	}
	for i := range uint64(3000) {
		m, err := ch.TryRecv()
		require.NoError(t, err)
		require.Equal(t, newMessage(1, i), m)
	}
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

// The doorbells of two users reach each other.
func TestAnotherUserIsWoken(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := memDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	open, err := Open[int64]("open", WithDir(dir), WithMode(0o666), WithCapacity(1))
	require.NoError(t, err)
	c := start(t, "wakened", "open", dir)
	require.Equal(t, "sent <nil>", c.line())
	c.say("go") // It blocks, for the channel is full, and is woken.
	until(t, "it waits", func() bool { return open.Stats().Waiting > 0 })
	for want := range int64(2) {
		v, err := open.Recv()
		require.NoError(t, err)
		require.Equal(t, 7+want, v)
	}
	require.Equal(t, "sent <nil>", c.line())
	c.wait()
	require.NoError(t, open.Close())
	require.NoError(t, open.Detach())
}

// A process that is stopped while it holds a name's lock: Remove, and an Open that needs the lock, say
// so, and that they may be tried again. A channel that is not closed is opened all the same.
func TestStoppedUnderTheNamesLock(t *testing.T) {
	ch := openTest[int64](t)
	dir := WithDir(ch.Sender.h.opts.dir)
	c := start(t, "remover", ch.Sender.h.path)
	require.Equal(t, "true", c.line())
	c.stop()
	other, err := Open[int64]("test", dir)
	require.NoError(t, err)
	require.NoError(t, other.Close())
	results := make(chan error)
	go func() { _, err := Open[int64]("test", dir); results <- err }()
	go func() { results <- Remove("test", dir) }()
	for range 2 {
		err := <-results
		assert.ErrorIs(t, err, ErrBusy)
		assert.ErrorContains(t, err, "try again")
	}
	require.NoError(t, other.Detach())
	c.kill()
	require.NoError(t, Remove("test", dir))
}

// Where the channels lie: WithDir, else the environment, else the system's memory file system.
func TestDefaultDirectory(t *testing.T) {
	dir := memDir(t)
	t.Setenv(EnvDir, dir)
	ch, err := Open[int64]("test")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, filePrefix+"test"), ch.Sender.h.path)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	t.Setenv(EnvDir, "")
	o := newOptions(nil)
	assert.Equal(t, defaultDir(), o.dir)
}
