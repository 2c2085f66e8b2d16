package shmchan

// Memory that is there before it is used: prefaulted, and locked.
//
// Invariant: both are of one handle's mapping. They change nothing that others see, and end with the mapping.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// WithPrefault makes Open touch every page of the channel once. Else each page costs the first call that comes to it a fault of one to some
// microseconds, which shows in the first lap round the ring. The time goes to Open: see docs/tuning.md for how much. The system may still
// swap pages out; WithLockedMemory prevents that too.
func WithPrefault() Option { return func(o *options) { o.prefault = true } }

// WithLockedMemory makes Open lock the channel's memory (mlock), so that no call on this handle waits for a page that was swapped out or was never
// touched. It includes WithPrefault.
//
// What a process without privileges may lock is limited, all of it together (RLIMIT_MEMLOCK, often 8 MiB or 64 KiB): beyond that Open fails with
// syscall.ENOMEM, or with syscall.EPERM where nothing may be locked, and says what the limit is and how to raise it. It never goes on unlocked. It belongs to the handle; others
// may have the same channel unlocked, and theirs then can still fault, though seldom while the pages are kept for us.
func WithLockedMemory() Option { return func(o *options) { o.locked = true } }

// mlock is replaced by tests of what systems say.
var mlock = unix.Mlock

// settle does what the options want of our mapping, if the making of the file has not done it.
func (h *handle) settle() error {
	if h.memReady {
		return nil
	}
	return h.opts.settle(h.name, h.mem)
}

// settle does what the options want of a mapping, which has its contents by now.
func (o *options) settle(name string, mem []byte) error {
	if o.locked {
		if err := mlock(mem); err != nil {
			return lockError(name, len(mem), err)
		}
	} else if o.prefault {
		touchEvery(mem, os.Getpagesize())
	}
	return nil
}

// touchEvery reads a word in every so many bytes. A shared page that was read may then be written without another fault.
func touchEvery(mem []byte, step int) {
	for off := 0; off < len(mem); off += step {
		atomicAt(mem, uint64(off)).Load()
	}
}

// lockError says why memory could not be locked.
func lockError(name string, n int, err error) error {
	limit := "is not known"
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) == nil {
		limit = fmt.Sprintf("allows %d KiB", uint64(l.Cur)>>10) //nolint:unconvert // Signed elsewhere.
	}
	advice := fmt.Sprintf("the limit of locked memory (RLIMIT_MEMLOCK) %s for all of the process: raise it (ulimit -l, LimitMEMLOCK= of a systemd unit, --ulimit memlock= of a container), "+
		"give the program CAP_IPC_LOCK, use a smaller WithCapacity, or leave out WithLockedMemory", limit)
	if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, fs.ErrPermission) {
		advice = "the system has too little memory that it can lock, or none for this file; make room, use a smaller WithCapacity, or leave out WithLockedMemory"
	}
	return &chanError{name, fmt.Errorf("cannot lock its %d KiB of memory: %w", n>>10, err), advice}
}
