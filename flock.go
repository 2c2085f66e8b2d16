package shmchan

// Locks by flock, each on a file of its own: what macOS uses, where record locks
// vanish when any descriptor of the file is closed. It runs on Linux too, so that
// it can be tested there.
//
// Invariant: a lock counts only while its file still has its name; so a holder
// that removes the file cannot leave two others holding two files of one name.

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

type flockLocks struct {
	dir string
	id  [16]byte
	fds map[int]*os.File
}

func newFlockLocks(dir string, id [16]byte) *flockLocks {
	return &flockLocks{dir: dir, id: id, fds: map[int]*os.File{}}
}

func (l *flockLocks) path(i int) string {
	return filepath.Join(l.dir, fmt.Sprintf("%slock.%s.%d", hiddenPrefix, hex.EncodeToString(l.id[:]), i))
}

func (l *flockLocks) tryLock(i int) (bool, error) {
	for {
		f, err := os.OpenFile(l.path(i), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
		if err != nil {
			return false, err
		}
		ok, err := flockFile(f)
		if !ok || err != nil {
			_ = f.Close()
			return false, err
		}
		if sameFile(f, l.path(i)) {
			l.fds[i] = f
			return true, nil
		}
		_ = f.Close() // Its last holder has removed it meanwhile.
	}
}

func (l *flockLocks) held(i int) (bool, error) {
	f, err := os.OpenFile(l.path(i), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return true, err
	}
	defer f.Close()
	// Shared, so that those who only look are in nobody's way but, for that instant, of one who wants the lock itself.
	ok, err := flockAs(f, unix.LOCK_SH)
	return !ok, err
}

func (l *flockLocks) unlock(i int) error {
	f := l.fds[i]
	if f == nil {
		return nil
	}
	delete(l.fds, i)
	return errors.Join(os.Remove(l.path(i)), f.Close())
}

func (l *flockLocks) close() error {
	var errs []error
	for i := range l.fds {
		errs = append(errs, l.unlock(i))
	}
	return errors.Join(errs...)
}

// flockFile takes the whole-file lock of f if nobody has it.
func flockFile(f *os.File) (bool, error) { return flockAs(f, unix.LOCK_EX) }

// flockAs takes it shared or exclusively.
func flockAs(f *os.File, how int) (bool, error) {
	err := eintr(func() error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// sameFile says whether path names the file that f is.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// eintr repeats a call that a signal interrupted.
func eintr(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeZeros gives a file its size where the file system cannot allocate.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 1<<16)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // Never fails: crypto/rand.
	return hex.EncodeToString(b[:])
}
