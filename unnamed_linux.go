package shmchan

// The memory and the doorbells of unnamed channels: memfds and eventfds.
//
// Invariant: nobody waits in a read or a write of an eventfd, though its mode is blocking: both ask first
// whether they may go on; but for a peer that fills an eventfd between the look and the write, and a listener on a kernel
// and in a sandbox that both do not let it ask, which Close wakes. (It is blocking so that no *os.File that others make of
// it is one that their poller listens to.)

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// wantSeals: nobody can change the size, so nobody's access is SIGBUS, nor add a seal against us.
const wantSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// memfdCreate is replaced by tests of what old kernels and sandboxes say.
var memfdCreate = unix.MemfdCreate

// makeMemfd makes a sealed memfd of that size, with its memory.
func makeMemfd(size int64) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := memfdCreate(memoryFile, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Before Linux 6.3.
		fd, err = memfdCreate(memoryFile, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), memoryFile)
	if err = allocate(f, size); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, wantSeals)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// checkMemfd refuses what is not a memfd of the kind that makeMemfd makes.
func checkMemfd(f *os.File) error {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if errors.Is(err, unix.EINVAL) {
		return invalidFiles("the memory %q is not a memfd; pass on all that Files returned, in that order", f.Name())
	} else if err != nil {
		return advise(unnamed, "look at its memory", err)
	}
	if seals&wantSeals != wantSeals {
		return invalidFiles("the memory %q is not sealed (%#x of %#x), so that another process could cut it short; only use what Files returned", f.Name(), seals&wantSeals, wantSeals)
	}
	mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return advise(unnamed, "look at its memory", err)
	}
	if seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 || mode&unix.O_ACCMODE != unix.O_RDWR {
		return invalidFiles("the memory %q cannot be written (seals %#x, mode %#x); only use what Files returned", f.Name(), seals, mode)
	}
	return nil
}

// procSelf is replaced by tests.
var procSelf = "/proc/self/fd"

// reopen makes another open file description of a memfd.
func reopen(f *os.File) (*os.File, error) {
	path := fmt.Sprintf("%s/%d", procSelf, f.Fd())
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("by %s, which must be there and allowed in a process that calls Files: %w", path, err)
	}
	again := os.NewFile(uintptr(fd), f.Name())
	a, errA := f.Stat()
	b, errB := again.Stat()
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		_ = again.Close()
		return nil, fmt.Errorf("%s leads to another file; is that a /proc? %w", path, os.ErrInvalid)
	}
	return again, nil
}

// An eventfd adds up what is written to it: a field for each kind of ring. A field that runs over
// is read as a ring of the next kind, which is one too many and looked at all the same.
const ringBits = 10

var ringKinds = [...]byte{ringReceiver, ringSender, ringAll, ringJoined, ringRecvPoll, ringSendPoll}

// makeEventBell makes a doorbell, for our poller if it is ours.
func makeEventBell(ours bool) (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if ours {
		return pollFile(fd, bellFile)
	}
	return os.NewFile(uintptr(fd), bellFile), nil
}

// checkEventBell refuses what is not an eventfd, as far as can be told without reading from it.
func checkEventBell(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != 0 || unixPoll(int(f.Fd()), unix.POLLIN|unix.POLLOUT) == 0 {
		return errors.New("it is not an eventfd")
	}
	if _, err := unix.Write(int(f.Fd()), make([]byte, 8)); err != nil { // Adds nothing.
		return errors.New("it is not an eventfd that can be written")
	}
	return nil
}

// pollFds and preadv2 are replaced by tests of what old kernels and sandboxes say.
var pollFds, preadv2 = unix.Poll, unix.Preadv2

// unixPoll says which of these may be done with fd now. Where it cannot be asked, as with a limit of 0
// descriptors, that is all of them.
func unixPoll(fd int, events int16) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if err := eintr(func() error { _, err := pollFds(p, 0); return err }); err != nil {
		return events
	}
	return p[0].Revents & events
}

// readNow reads without waiting, whatever the mode of fd: EAGAIN if there is nothing.
func readNow(fd int, p []byte) (n int, err error) {
	err = eintr(func() (err error) { n, err = preadv2(fd, [][]byte{p}, -1, unix.RWF_NOWAIT); return err })
	if err == nil || errors.Is(err, unix.EAGAIN) {
		return n, err
	}
	if unixPoll(fd, unix.POLLIN) == 0 { // Before Linux 5.8, or a sandbox.
		return 0, unix.EAGAIN
	}
	err = eintr(func() (err error) { n, err = unix.Read(fd, p); return err })
	return n, err
}

// ring rings the bell of seat i. False: there is no such seat. That somebody sits there is not known.
func (s *seats) ring(i int, kind byte) bool {
	if i >= len(s.bells) {
		return false
	}
	for k, b := range ringKinds {
		if b != kind || unixPoll(s.bells[i], unix.POLLOUT) == 0 { // Full: it has been rung often enough.
			continue
		}
		var buf [8]byte
		binary.NativeEndian.PutUint64(buf[:], 1<<(ringBits*k))
		_ = eintr(func() error { _, err := unix.Write(s.bells[i], buf[:]); return err })
	}
	return true
}

// eventBell is a doorbell as its owner has it.
type eventBell struct {
	f    *os.File
	conn syscall.RawConn
	once func(fd uintptr) bool // reads buf, for conn
	buf  [8]byte
	err  error
	done atomic.Bool // nobody reads any more
}

func listenTo(f *os.File) (io.ReadCloser, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &eventBell{f: f, conn: conn}
	b.once = func(fd uintptr) bool {
		var n int
		if b.done.Load() { // What has woken us may have been Close.
			b.err = os.ErrClosed
			return true
		}
		if n, b.err = readNow(int(fd), b.buf[:]); b.err == nil && n != len(b.buf) {
			b.err = io.ErrUnexpectedEOF
		}
		return !errors.Is(b.err, unix.EAGAIN)
	}
	return b, nil
}

// Read waits for rings and returns them as bytes, at least one.
func (b *eventBell) Read(p []byte) (n int, err error) {
	for n == 0 {
		if err := b.conn.Read(b.once); err != nil {
			return 0, err
		}
		if b.err != nil {
			return 0, b.err
		}
		n = expandRings(binary.NativeEndian.Uint64(b.buf[:]), p)
	}
	return n, nil
}

// expandRings writes a byte for each ring, as many of a kind as have their share of room in p. One that was
// woken passes it on, so that no ring is missed of so many.
func expandRings(sum uint64, p []byte) (n int) {
	for k, b := range ringKinds {
		count := sum >> (ringBits * k) & (1<<ringBits - 1)
		for range min(count, uint64(len(p)/len(ringKinds))) {
			p[n] = b
			n++
		}
	}
	return n
}

// Close wakes the reader first, should it wait in a read, where readNow cannot ask.
func (b *eventBell) Close() error {
	b.done.Store(true)
	if fd := int(b.f.Fd()); unixPoll(fd, unix.POLLOUT) != 0 { // Else it is full, and no read of it waits.
		_, _ = unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1<<(ringBits*3)))
	}
	return b.f.Close()
}
