package shmchan

// Files: how channels come and go, and what is left of them.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func layoutOfT[T any]() (*layout, error) { return layoutOf(reflect.TypeFor[T]()) }

func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for mode, opts := range map[fs.FileMode][]Option{0o600: nil, 0o660: {WithMode(0o660)}} {
		ch := openTest[int64](t, opts...)
		entries, err := os.ReadDir(ch.Sender.h.opts.dir)
		require.NoError(t, err)
		require.Len(t, entries, 2, "the ring and our doorbell")
		for _, e := range entries {
			st, err := e.Info()
			require.NoError(t, err)
			assert.Equal(t, mode, st.Mode().Perm(), e.Name())
		}
	}
}

func TestPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may open everything")
	}
	ch := openTest[int64](t)
	require.NoError(t, os.Chmod(ch.Sender.h.path, 0))
	_, err := Open[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.ErrorIs(t, err, fs.ErrPermission)
}

func TestLastToLeaveRemoves(t *testing.T) {
	for _, closed := range []bool{true, false} {
		ch := openTest[int64](t)
		dir := ch.Sender.h.opts.dir
		other := again(t, ch)
		if closed {
			require.NoError(t, ch.Close())
		}
		require.NoError(t, ch.Detach())
		_, err := os.Stat(ch.Sender.h.path)
		require.NoError(t, err, "one is still there")
		require.NoError(t, other.Detach())
		if closed {
			dirEmpty(t, dir)
		} else {
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 1, "the channel goes on, its doorbells do not")
		}
	}
}

func TestRemove(t *testing.T) {
	ch := openTest[int64](t)
	dir := WithDir(ch.Sender.h.opts.dir)
	other := again(t, ch)
	require.NoError(t, Remove("test", dir))
	require.ErrorIs(t, Remove("test", dir), fs.ErrNotExist)
	require.NoError(t, ch.Send(1))
	v, err := other.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v, "who is attached goes on")
	done := make(chan error)
	go func() { _, err := other.Recv(); done <- err }()
	until(t, "parked", func() bool { return other.Stats().Parked > 0 })
	sweep(ch.Sender.h.opts.dir) // no living doorbell
	require.NoError(t, ch.Send(2))
	require.NoError(t, <-done)
}

// The name of a closed channel that nobody holds makes a new one.
func TestOpenAfterTheEnd(t *testing.T) {
	dir := memDir(t)
	c := start(t, "closer", dir)
	require.Equal(t, "closed", c.line())
	ch, err := Open[message]("test", WithDir(dir))
	require.NoError(t, err)
	require.True(t, ch.Stats().Closed, "it is held")
	require.NoError(t, ch.Detach())
	c.kill()
	_, err = Open[message]("test", WithDir(dir), WithAttach())
	require.ErrorIs(t, err, fs.ErrNotExist)
	dirEmpty(t, dir)

	c = start(t, "closer", dir)
	require.Equal(t, "closed", c.line())
	c.kill()
	ch, err = Open[message]("test", WithDir(dir), WithCapacity(5), WithCreate())
	require.NoError(t, err)
	require.False(t, ch.Stats().Closed)
	require.Equal(t, 5, ch.Cap())
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

func init() {
	roles["closer"] = func(args []string) error {
		ch, err := Open[message]("test", WithDir(args[0]))
		if err != nil {
			return err
		}
		if err := ch.Close(); err != nil {
			return err
		}
		fmt.Println("closed")
		_, _ = fmt.Scanln(new(string))
		return ch.Detach()
	}
	// A creator that is about to give its file the name.
	roles["creator"] = func(args []string) error {
		f, _, err := lockedTemp(args[0])
		if err != nil {
			return err
		}
		fmt.Println("made")
		_, _ = fmt.Scanln(new(string))
		return f.Close()
	}
	roles["racer"] = func(args []string) error {
		if _, err := fmt.Scanln(new(string)); err != nil {
			return err
		}
		ch, err := Open[message]("test", WithDir(args[0]), WithCapacity(100))
		if err != nil {
			return err
		}
		if err := ch.Send(message{}); err != nil {
			return err
		}
		fmt.Println("sent")
		_, _ = fmt.Scanln(new(string))
		return ch.Detach()
	}
}

// What a creator left that died before its channel had a name goes with the next Open; that of a live one stays.
func TestLeftovers(t *testing.T) {
	dir := memDir(t)
	dead, live := start(t, "creator", dir), start(t, "creator", dir)
	require.Equal(t, "made", dead.line())
	require.Equal(t, "made", live.line())
	bell := start(t, "closer", dir) // its doorbell is left too
	require.Equal(t, "closed", bell.line())
	bell.kill()
	require.NoError(t, Remove("test", WithDir(dir)))
	dead.kill()
	ch, err := Open[int64]("test", WithDir(dir))
	require.NoError(t, err)
	var left []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			left = append(left, e.Name())
		}
	}
	require.Len(t, left, 1, "the live creator's")
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	live.kill()
	ch, err = Open[int64]("test", WithDir(dir))
	require.NoError(t, err)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

// Processes that race to create get one channel.
func TestRaceToCreate(t *testing.T) {
	for range 5 {
		dir := memDir(t)
		var all []*child
		for range 6 {
			all = append(all, start(t, "racer", dir))
		}
		for _, c := range all {
			c.say("go")
		}
		for _, c := range all {
			require.Equal(t, "sent", c.line())
		}
		ch, err := Open[message]("test", WithDir(dir), WithAttach())
		require.NoError(t, err)
		require.Equal(t, len(all), ch.Len())
		for _, c := range all {
			c.say("end")
			c.wait()
		}
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
		dirEmpty(t, dir)
	}
}

// Opening, closing and leaving one name from many goroutines: one channel at a time, nothing left.
func TestComeAndGo(t *testing.T) {
	patient(t)
	dir := memDir(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				ch, err := Open[int64]("test", WithDir(dir))
				if !assert.NoError(t, err) {
					return
				}
				if i%3 == 0 {
					if err := ch.Close(); err != nil && !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
				}
				assert.NoError(t, ch.Detach())
			}
		})
	}
	wg.Wait()
	ch, err := Open[int64]("test", WithDir(dir))
	require.NoError(t, err)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

// A full file system is ENOSPC from Open, never a signal from Send.
func TestNoSpace(t *testing.T) {
	var st unix.Statfs_t
	dir := memDir(t)
	require.NoError(t, unix.Statfs(dir, &st))
	bytes := st.Blocks * uint64(st.Bsize)
	if bytes == 0 || bytes > 1<<38 || ^uint(0)>>32 == 0 {
		t.Skipf("the memory file system has no limit that a mapping here could exceed (%d bytes)", bytes)
	}
	_, err := Open[[1 << 15]byte]("test", WithDir(dir), WithCapacity(int(bytes>>15)+1))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "smaller WithCapacity")
	dirEmpty(t, dir)
}

// What has the name but is no channel is refused with a clear error, and may be removed.
func TestNotAChannel(t *testing.T) {
	for what, put := range map[string]func(path string) error{
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"text":      func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 9999)), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"link":      func(p string) error { return os.Symlink("/etc/passwd", p) },
		"dangling":  func(p string) error { return os.Symlink(p+".no", p) },
		"loop":      func(p string) error { return os.Symlink(p, p) },
		"socket":    func(p string) error { return listenAt(t, p) },
		"device":    func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, 1<<8|3) },
	} {
		dir := memDir(t)
		path := filepath.Join(dir, filePrefix+"test")
		if err := put(path); errors.Is(err, fs.ErrPermission) {
			t.Logf("%s: not allowed to make one: %v", what, err)
			continue
		} else {
			require.NoError(t, err)
		}
		_, err := Open[int64]("test", WithDir(dir))
		require.Error(t, err, what)
		require.ErrorContains(t, err, `channel "test"`)
		t.Log(what, err)
		_, err = Inspect("test", WithDir(dir))
		require.Error(t, err, what)
		require.NoError(t, Remove("test", WithDir(dir)), what)
		dirEmpty(t, dir)
	}
}

func TestTruncatedAndGrown(t *testing.T) {
	for _, by := range []int64{-4096, -1, 1} {
		dir := memDir(t)
		ch, err := Open[int64]("test", WithDir(dir))
		require.NoError(t, err)
		require.NoError(t, ch.Detach())
		path := filepath.Join(dir, filePrefix+"test")
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, st.Size()+by))
		_, err = Open[int64]("test", WithDir(dir))
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "header says")
	}
}

func TestInspectAndList(t *testing.T) {
	ch := openTest[tick](t, WithCapacity(3), WithSingleSender())
	dir := WithDir(ch.Sender.h.opts.dir)
	require.NoError(t, ch.Send(tick{}))
	names, err := List(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"test"}, names)
	c := start(t, "idle-reader", ch.Sender.h.opts.dir)
	require.Equal(t, "in", c.line())
	info, err := Inspect("test", dir)
	require.NoError(t, err)
	assert.Equal(t, 1, info.Len)
	assert.Equal(t, 3, info.Cap)
	assert.Equal(t, "shmchan.tick", info.Type)
	assert.True(t, info.SingleSender)
	assert.False(t, info.SingleReceiver)
	assert.Equal(t, os.Getpid(), info.PID)
	assert.Equal(t, fs.FileMode(0o600), info.Mode)
	assert.Equal(t, 1, info.Senders)
	assert.Equal(t, 2, info.Receivers)
	require.Len(t, info.Peers, 2)
	assert.Equal(t, c.cmd.Process.Pid, info.Peers[1].PID)
	assert.True(t, info.Peers[1].Alive)
	c.kill()
	info, err = Inspect("test", dir)
	require.NoError(t, err)
	assert.Equal(t, 1, info.Receivers)
	assert.False(t, info.Peers[1].Alive, "dead, and not cleared away by a look")
	_, err = List(WithDir("/nowhere"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func init() {
	roles["idle-reader"] = func(args []string) error {
		r, err := OpenReceiver[tick]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		fmt.Println("in")
		_, _ = fmt.Scanln(new(string))
		return r.Detach()
	}
}

// The locks of macOS, run here: two handles, the single role, a death, and nothing left.
func TestFlockLocks(t *testing.T) {
	usual := testLocks
	testLocks = func(h *handle) locker { return newFlockLocks(h.opts.dir, h.info.id) }
	defer func() { testLocks = usual }()
	dir := memDir(t)
	ch, err := Open[message]("test", WithDir(dir), WithSingleSender(), WithCapacity(3))
	require.NoError(t, err)
	_, err = OpenSender[message]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrBusy)
	r, err := OpenReceiver[message]("test", WithDir(dir))
	require.NoError(t, err)
	require.NoError(t, ch.Send(newMessage(1, 2)))
	m, err := r.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(1, 2), m)

	require.NoError(t, ch.Send(newMessage(1, 3)))
	c := start(t, "flock-holder", dir)
	require.Equal(t, "in", c.line())
	_, err = r.TryRecv()
	require.ErrorIs(t, err, ErrEmpty, "it is in a live process's hands")
	c.kill()
	m, err = r.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(1, 3), m, "and then another's")
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	require.NoError(t, r.Detach())
	sweep(dir)
	dirEmpty(t, dir)
}

func init() {
	roles["flock-holder"] = func(args []string) error {
		testLocks = func(h *handle) locker { return newFlockLocks(h.opts.dir, h.info.id) }
		r, err := OpenReceiver[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		return r.RecvFunc(forever, func(*message) error {
			fmt.Println("in")
			_, err := fmt.Scanln(new(string))
			return err
		})
	}
}
