package shmchan

// What Linux gives: the memory file system, mapping, fallocate, locks on an open
// file description, FIFOs. Nothing else in the package makes a system call that
// differs between systems.

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func defaultDir() string { return "/dev/shm" }

// allocate gives the file its size and its memory, so that a full file system is
// ENOSPC here and not SIGBUS later.
func allocate(f *os.File, size int64) error {
	err := eintr(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(f, size)
	}
	return err
}

// rangeLocks are open-file-description locks on single bytes of the ring's file,
// far behind its end. They belong to the description, and so to this handle alone:
// closing another descriptor of the file does not drop them, the end of the
// process does. Source: fcntl(2), "Open file description locks".
type rangeLocks struct{ fd int }

const lockBase = 1 << 62

func newLocks(f *os.File, _ *header, _ string) locker { return rangeLocks{int(f.Fd())} }

func (l rangeLocks) op(cmd int, typ int16, i int) (unix.Flock_t, error) {
	lk := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: lockBase + int64(i), Len: 1}
	err := eintr(func() error { return unix.FcntlFlock(uintptr(l.fd), cmd, &lk) })
	return lk, err
}

func (l rangeLocks) tryLock(i int) (bool, error) {
	_, err := l.op(unix.F_OFD_SETLK, unix.F_WRLCK, i)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

func (l rangeLocks) held(i int) (bool, error) {
	lk, err := l.op(unix.F_OFD_GETLK, unix.F_WRLCK, i)
	return lk.Type != unix.F_UNLCK, err
}

func (l rangeLocks) unlock(i int) error {
	_, err := l.op(unix.F_OFD_SETLK, unix.F_UNLCK, i)
	return err
}

func (l rangeLocks) close() error { return nil }
