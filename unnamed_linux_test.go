package shmchan

// Unnamed channels where the system refuses, where files are not what they should be, and in a sandbox.

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	elsewhere = func() {
		usual := pidSpace
		pidSpace = func() uint64 { return usual() + 1 }
	}
}

// memfd makes one with these bytes and seals.
func memfd(t testing.TB, bytes []byte, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteAt(bytes, 0)
	require.NoError(t, err)
	if seals != 0 {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
		require.NoError(t, err)
	}
	return f
}

// Files that are no set: each is refused with an error that is documented, nothing is left open or mapped, and
// the files are still the caller's.
func TestFilesOfAnotherKind(t *testing.T) {
	onePoller(t)
	ch := newTest[int64](t, WithPeers(3))
	bytes := append([]byte(nil), ch.Sender.h.mem...)
	random := make([]byte, len(bytes))
	_, _ = rand.Read(random)
	good := filesOf(t, ch)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	sock, sock2 := sockets(t)
	require.NoError(t, sock.Close())
	regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	inMemory, err := os.Create(filepath.Join(memDir(t), "file"))
	require.NoError(t, err)
	_, err = inMemory.Write(bytes)
	require.NoError(t, err)
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	require.NoError(t, err)
	closed, err := os.Open("/dev/null")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	require.NoError(t, err)
	timer := os.NewFile(uintptr(fd), "timer")
	readOnlyFD, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", good[0].Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	readOnly := os.NewFile(uintptr(readOnlyFD), "read only")
	defer closeAll([]*os.File{r, w, sock2, regular, inMemory, dir, null, timer, readOnly})
	older := append([]byte(nil), bytes...)
	older[offVersion]++
	const sealed = wantSeals
	with := func(i int, f *os.File) []*os.File {
		set := append([]*os.File(nil), good...)
		set[i] = f
		return set
	}
	for what, c := range map[string]struct {
		files []*os.File
		is    error
		says  string
	}{
		"none":                 {nil, fs.ErrInvalid, "not 0 files"},
		"memory alone":         {good[:1], fs.ErrInvalid, "not 1 files"},
		"one bell":             {good[:2], fs.ErrInvalid, "not 2 files"},
		"a bell less":          {good[:3], fs.ErrInvalid, "has no seat"},
		"a bell more":          {append(good[:4:4], good[3]), fs.ErrInvalid, "has no seat"},
		"too many":             {make([]*os.File, 300), fs.ErrInvalid, "is nil"},
		"nil":                  {with(2, nil), fs.ErrInvalid, "doorbell 2 of 3, is nil"},
		"turned round":         {[]*os.File{good[3], good[2], good[1], good[0]}, fs.ErrInvalid, "not a memfd"},
		"pipe as memory":       {with(0, r), fs.ErrInvalid, "not a memfd"},
		"socket as memory":     {with(0, sock2), fs.ErrInvalid, "not a memfd"},
		"directory as memory":  {with(0, dir), fs.ErrInvalid, ""},
		"device as memory":     {with(0, null), fs.ErrInvalid, "not a memfd"},
		"file as memory":       {with(0, regular), fs.ErrInvalid, ""},
		"named channel's file": {with(0, inMemory), fs.ErrInvalid, "not sealed"},
		"closed memory":        {with(0, closed), fs.ErrInvalid, "the memory, is closed"},
		"read-only memory":     {with(0, readOnly), fs.ErrInvalid, "cannot be written"},
		"not sealed":           {with(0, memfd(t, bytes, 0)), fs.ErrInvalid, "not sealed"},
		"may shrink":           {with(0, memfd(t, bytes, unix.F_SEAL_GROW|unix.F_SEAL_SEAL)), fs.ErrInvalid, "not sealed"},
		"may grow":             {with(0, memfd(t, bytes, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)), fs.ErrInvalid, "not sealed"},
		"may be sealed":        {with(0, memfd(t, bytes, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)), fs.ErrInvalid, "not sealed"},
		"sealed for writing":   {with(0, memfd(t, bytes, sealed|unix.F_SEAL_FUTURE_WRITE)), fs.ErrInvalid, "cannot be written"},
		"empty":                {with(0, memfd(t, nil, sealed)), ErrCorrupt, "begin like a channel"},
		"random":               {with(0, memfd(t, random, sealed)), ErrCorrupt, "begin like a channel"},
		"cut short":            {with(0, memfd(t, bytes[:len(bytes)-4096], sealed)), ErrCorrupt, "bytes and the file has"},
		"too long":             {with(0, memfd(t, append(bytes[:len(bytes):len(bytes)], 0), sealed)), ErrCorrupt, "bytes and the file has"},
		"another version":      {with(0, memfd(t, older, sealed)), ErrMismatch, "layout version"},
		"a copy":               {with(0, memfd(t, bytes, sealed)), fs.ErrInvalid, "has no seat"},
		"pipe as bell":         {with(1, w), fs.ErrInvalid, "doorbell 1 of 3"},
		"socket as bell":       {with(2, sock2), fs.ErrInvalid, "not an eventfd"},
		"file as bell":         {with(3, regular), fs.ErrInvalid, "not an eventfd"},
		"memory as bell":       {with(3, good[0]), fs.ErrInvalid, "not an eventfd"},
		"timer as bell":        {with(2, timer), fs.ErrInvalid, "not an eventfd"},
		"closed bell":          {with(1, closed), fs.ErrInvalid, "doorbell 1 of 3"},
	} {
		before := descriptors(t)
		_, err := FromFiles[int64](c.files)
		require.ErrorIs(t, err, c.is, what)
		require.ErrorContains(t, err, c.says, what)
		require.ErrorContains(t, err, `channel "unnamed`, what)
		require.Equal(t, before, descriptors(t), what)
	}
	// A position that names no seat, or the seat of another.
	at, err := good[0].Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	h := ch.Sender.h
	for _, pos := range []int64{0, at + 1, at - 1, at + 1<<idxBits, at | 1<<40, seatOf(h.idx, tagGen(h.me), 3), seatOf(2, 0, 3)} {
		_, err := good[0].Seek(pos, io.SeekStart)
		require.NoError(t, err)
		_, err = FromFiles[int64](good)
		require.True(t, errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrBusy), "%#x: %v", pos, err)
	}
	_, err = good[0].Seek(at, io.SeekStart)
	require.NoError(t, err)
	other, err := FromFiles[int64](good)
	require.NoError(t, err, "after all of that")
	bothWays(t, ch, other)
	require.NoError(t, other.Detach())
}

// Nobody can change the memory's size.
func TestMemorySealed(t *testing.T) {
	ch := newTest[int64](t)
	f := filesOf(t, ch)[0]
	require.ErrorIs(t, f.Truncate(0), unix.EPERM)
	require.ErrorIs(t, f.Truncate(1<<30), unix.EPERM)
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	require.ErrorIs(t, err, unix.EPERM)
}

// What a sandbox or an old kernel says: clearly passed on, or done without.
func TestUnnamedRefused(t *testing.T) {
	defer func(old func(string, int) (int, error)) { memfdCreate = old }(memfdCreate)
	defer func(old string) { procSelf = old }(procSelf)
	onePoller(t)
	before := descriptors(t)
	memfdCreate = func(string, int) (int, error) { return -1, unix.EPERM }
	_, err := New[int64]()
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "memfd_create")
	memfdCreate = func(name string, flags int) (int, error) {
		if flags&unix.MFD_NOEXEC_SEAL != 0 {
			return -1, unix.EINVAL
		}
		return unix.MemfdCreate(name, flags)
	}
	ch := newTest[int64](t)
	procSelf = t.TempDir()
	_, err = ch.Files()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "must be there")
	f := ch.Sender.h.file
	link := filepath.Join(procSelf, fmt.Sprint(f.Fd()))
	require.NoError(t, os.WriteFile(link, []byte("x"), 0o600))
	_, err = ch.Files()
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "leads to another file")
	require.NoError(t, ch.Detach())
	require.Equal(t, before, descriptors(t))
}

// A process that has fewer and fewer descriptors to make one with, hand it out and take it.
func TestUnnamedFewDescriptors(t *testing.T) {
	c := start(t, "unnamed-few")
	require.Equal(t, "ok", c.line())
	c.wait()
}

func init() {
	roles["unnamed-few"] = func([]string) error {
		onePoller(&testing.T{})
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			return err
		}
		do := func() error {
			a, err := New[int64](WithPeers(4))
			if err != nil {
				return err
			}
			defer func() { _ = a.Detach() }()
			files, err := a.Files()
			if err != nil {
				return err
			}
			defer closeAll(files)
			b, err := FromFiles[int64](files)
			if err != nil {
				return err
			}
			return errors.Join(b.Send(1), b.Detach())
		}
		count := func() int { fds, _ := os.ReadDir("/proc/self/fd"); return len(fds) }
		before := count()
		failures := 0
		for limit := uint64(3); ; limit++ {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
				return err
			}
			err := do()
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				return err
			}
			if n := count(); n != before {
				return fmt.Errorf("with %d descriptors: %d open, %d before", limit, n, before)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EMFILE) {
				return fmt.Errorf("with %d descriptors: %w", limit, err)
			}
			failures++
		}
		if failures < 8 {
			return fmt.Errorf("only %d failures", failures)
		}
		fmt.Println("ok")
		return nil
	}
}

// sandboxes are ways to keep a process from opening files.
var sandboxes = map[string]struct {
	root bool
	in   func(dir string) error
}{
	"no descriptors": {false, func(string) error { // Those that it has are all that it will ever have.
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 0})
	}},
	"chroot": {true, func(dir string) error {
		if err := errors.Join(unix.Chroot(dir), unix.Chdir("/")); err != nil {
			return err
		}
		return syscall.Setuid(65534)
	}},
}

func init() {
	// Goes into a sandbox and doubles what it gets until the channel is closed.
	roles["sandboxed"] = func(args []string) error {
		files, err := roleFiles(args[0])
		if err != nil {
			return err
		}
		if err := sandboxes[args[1]].in(args[2]); err != nil {
			return err
		}
		if _, err := os.Open("/proc/self/status"); err == nil {
			return errors.New("it may still open files")
		}
		in, err := FromFiles[message](files, WithDisconnect(), WithWait(Park))
		if err != nil {
			return err
		}
		_, err = in.Files()
		fmt.Println("no files:", err)
		for m := range in.All() {
			if m.Seq == 1<<20 { // Now it is its turn to wait for the parent's death.
				if err := in.Sender.Detach(); err != nil {
					return err
				}
				fmt.Println("waits")
				_, err := in.Recv()
				if !errors.Is(err, ErrDisconnected) {
					return fmt.Errorf("not disconnected but %w", err)
				}
				fmt.Println("disconnected")
				return in.Detach()
			}
			if !m.whole() {
				return errors.New("torn")
			}
			fmt.Println(m.Seq)
		}
		return errors.Join(in.Err(), in.Detach())
	}
}

// A child that may not open anything takes part, wakes and is woken, and is told of deaths.
func TestSandboxed(t *testing.T) {
	for name, s := range sandboxes {
		for _, how := range []string{byInheritance, bySocket} {
			t.Run(name+" "+how, func(t *testing.T) {
				if s.root && os.Getuid() != 0 {
					t.Skip("needs root")
				}
				dir := t.TempDir()
				require.NoError(t, os.Chmod(dir, 0o755))
				ch := newTest[message](t, WithCapacity(1), WithWait(Park))
				c := startWith(t, filesOf(t, ch), "sandboxed", how, name, dir)
				require.Contains(t, c.line(), "no files: ")
				for i := range uint64(300) {
					require.NoError(t, ch.Send(newMessage(1, i)))
					require.Equal(t, fmt.Sprint(i), c.line())
				}
				require.NoError(t, ch.Receiver.Detach())
				require.NoError(t, ch.Send(newMessage(1, 1<<20)))
				require.Equal(t, "waits", c.line())
				require.NoError(t, ch.Detach())
				require.Equal(t, "disconnected", c.line())
				c.wait()
			})
		}
	}
}

// A child that may have no descriptors, and so watch for nobody's death, is told of it all the same.
func TestSandboxedIsToldOfDeath(t *testing.T) {
	ours, theirs := sockets(t)
	parent := startBy(t, func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{theirs}
		return cmd.Start()
	}, "sandbox-parent")
	require.NoError(t, theirs.Close())
	files, err := ReceiveFiles(ours)
	require.NoError(t, err)
	c := startWith(t, files, "sandboxed", byInheritance, "no descriptors", t.TempDir())
	require.Contains(t, c.line(), "no files: ")
	require.Equal(t, "in", parent.line())
	require.Equal(t, "waits", c.line())
	for began := time.Now(); time.Since(began) < 3*backstopBlind; { // Nobody has died.
		runtime.Gosched()
	}
	parent.kill()
	began := time.Now()
	require.Equal(t, "disconnected", c.line())
	t.Log(time.Since(began))
	c.wait()
}

func init() {
	roles["sandbox-parent"] = func([]string) error {
		conn, err := net.FileConn(os.NewFile(socketFD, "socket"))
		if err != nil {
			return err
		}
		ch, err := New[message]()
		if err != nil {
			return err
		}
		files, err := ch.Files()
		if err == nil {
			err = SendFiles(conn.(*net.UnixConn), files)
		}
		if err == nil {
			err = ch.Send(newMessage(0, 1<<20))
		}
		fmt.Println("in")
		_, _ = fmt.Scanln(new(string))
		return err
	}
}

// asOnDarwin has unnamed channels, and locks, as macOS has them.
func asOnDarwin() (undo func()) {
	wasLocks, wasPortable := testLocks, portableUnnamed
	testLocks = func(h *handle) locker { return newFlockLocks(h.opts.dir, h.info.id) }
	portableUnnamed = true
	return func() { testLocks, portableUnnamed = wasLocks, wasPortable }
}

// The way of macOS, run here: an unlinked file; doorbells and locks that are hidden files.
func TestUnnamedAsOnDarwin(t *testing.T) {
	defer asOnDarwin()()
	onePoller(t)
	dir := memDir(t)
	t.Setenv(EnvDir, dir)
	before := descriptors(t)
	a, err := New[message](WithCapacity(2))
	require.NoError(t, err)
	require.Equal(t, a.Name(), unnamedName(a.Sender.h.info))
	names, err := List()
	require.NoError(t, err)
	require.Empty(t, names)
	set, err := a.Files()
	require.NoError(t, err)
	require.Len(t, set, 1)
	b, err := FromFiles[message](set)
	require.NoError(t, err)
	require.Equal(t, a.Name(), b.Name())
	sent := make(chan error)
	for i := range uint64(100) {
		go func() { sent <- a.Send(newMessage(1, i)) }()
		m, err := b.Recv()
		require.NoError(t, err)
		require.Equal(t, newMessage(1, i), m)
		require.NoError(t, <-sent) // Detach does not wait for a call that is under way.
	}
	for _, how := range []string{byInheritance, bySocket} {
		require.NoError(t, a.Send(newMessage(0, 1)))
		c := startWith(t, filesOf(t, a), "darwin-holder", how, "recv")
		require.Equal(t, "in", c.line())
		got := make(chan error, 1)
		parked := b.Stats().Parked
		go func() { _, err := b.Recv(); got <- err }()
		until(t, "parked", func() bool { return b.Stats().Parked > parked })
		c.kill()
		require.NoError(t, <-got)
	}
	for what, files := range map[string][]*os.File{"two files": {set[0], set[0]}, "none": nil, "with a name": {memfdNamed(t)}} {
		_, err = FromFiles[message](files)
		require.ErrorIs(t, err, fs.ErrInvalid, what)
	}
	require.NoError(t, a.Close())
	require.NoError(t, errors.Join(a.Detach(), b.Detach()))
	require.Equal(t, before+2, descriptors(t), "the named one, and the socket to a child")
	dirEmpty(t, dir)
}

// There the file can be cut short, under handles and while one is made.
func TestUnnamedFaultGuardAsOnDarwin(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	defer asOnDarwin()()
	usual := mapShared
	t.Cleanup(func() { mapShared = usual })
	t.Setenv(EnvDir, memDir(t))
	for _, opened := range []bool{true, false} {
		a := newTest[message](t, WithCapacity(4096), WithFaultGuard())
		set := filesOf(t, a)
		if !opened {
			mapShared = func(f *os.File, length uint64) ([]byte, error) {
				mem, err := usual(f, length)
				return mem, errors.Join(err, f.Truncate(0))
			}
			_, err := FromFiles[message](set, WithFaultGuard())
			require.ErrorIs(t, err, ErrCorrupt)
			mapShared = usual
			require.ErrorIs(t, a.Send(newMessage(1, 1)), ErrCorrupt)
			continue
		}
		r, err := ReceiverFromFiles[message](set, WithFaultGuard())
		require.NoError(t, err)
		s, err := SenderFromFiles[message](filesOf(t, a), WithFaultGuard())
		require.NoError(t, err)
		require.NoError(t, s.Send(newMessage(1, 0)))
		require.Equal(t, newMessage(1, 0), must[message](t)(r.Recv()))
		got := make(chan error, 1)
		parked := r.Stats().Parked
		go func() { _, err := r.Recv(); got <- err }()
		until(t, "parked", func() bool { return r.Stats().Parked > parked })
		require.NoError(t, a.Sender.h.file.Truncate(0))
		require.ErrorIs(t, a.Send(newMessage(1, 1)), ErrCorrupt)
		require.ErrorIs(t, s.Send(newMessage(1, 1)), ErrCorrupt)
		require.ErrorIs(t, <-got, ErrCorrupt)
		require.ErrorIs(t, second(a.TryRecv()), ErrCorrupt)
		require.Zero(t, a.Len())
		require.NoError(t, errors.Join(r.Detach(), s.Detach()))
	}
}

func memfdNamed(t testing.TB) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "named"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func init() {
	roles["darwin-holder"] = func(args []string) error {
		asOnDarwin()
		return roles["unnamed-holder"](args)
	}
}

// A listener that cannot ask whether it may read, on a kernel before Linux 5.8 with no descriptors allowed say, waits in its
// read; Close ends that, whatever the listener does at the time.
func TestEventBellThatCannotAsk(t *testing.T) {
	wasPoll, wasPreadv2 := pollFds, preadv2
	defer func() { pollFds, preadv2 = wasPoll, wasPreadv2 }()
	pollFds = func([]unix.PollFd, int) (int, error) { return 0, unix.EINVAL }
	preadv2 = func(int, [][]byte, int64, int) (int, error) { return 0, unix.ENOSYS }
	alive := watchdog(t)
	for range 2000 {
		alive()
		bell := must[io.ReadCloser](t)(listenTo(must[*os.File](t)(makeEventBell(true))))
		ended := make(chan error)
		go func() {
			for buf := make([]byte, 256); ; {
				if _, err := bell.Read(buf); err != nil {
					ended <- err
					return
				}
			}
		}()
		require.NoError(t, bell.Close())
		require.Error(t, <-ended)
	}
}

// What an eventfd adds up is told apart again.
func TestRingsAddedUp(t *testing.T) {
	ch := newTest[int64](t, WithPeers(3))
	h := ch.Sender.h
	require.False(t, h.seats.ring(3, ringAll), "there is no such seat")
	for _, kind := range []byte{ringSendPoll, ringReceiver, ringReceiver, ringSender, ringAll, ringJoined, ringReceiver, ringRecvPoll} {
		require.True(t, h.seats.ring(2, kind))
	}
	var buf [8]byte
	n, err := readNow(h.seats.bells[2], buf[:])
	require.NoError(t, err)
	require.Equal(t, 8, n)
	p := make([]byte, 256)
	n = expandRings(binary.NativeEndian.Uint64(buf[:]), p)
	require.Equal(t, "rrrsajpq", string(p[:n]))
	_, err = readNow(h.seats.bells[2], buf[:])
	require.ErrorIs(t, err, unix.EAGAIN)
	n = expandRings(1<<64-1, p)
	require.Equal(t, len(p)/len(ringKinds)*len(ringKinds), n)

	// One that somebody has filled, and that would make a write wait, makes nobody wait.
	_, err = unix.Write(h.seats.bells[1], binary.NativeEndian.AppendUint64(nil, 1<<64-2))
	require.NoError(t, err)
	require.True(t, h.seats.ring(1, ringAll))
	for i := range 3 {
		for _, gen := range []uint64{0, 1, genMask} {
			gotI, gotGen, ok := seatFrom(seatOf(i, gen, 3), 3)
			require.True(t, ok)
			require.Equal(t, []uint64{uint64(i), gen}, []uint64{uint64(gotI), gotGen})
		}
	}
	for _, at := range []int64{0, -1, 1 << 30, seatOf(3, 1, 3), seatOf(1, 1, 4), seatOf(1, 1, 3) | 1<<50} {
		_, _, ok := seatFrom(at, 3)
		require.False(t, ok, "%#x", at)
	}
}
