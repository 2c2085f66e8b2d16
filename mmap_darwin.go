package shmchan

// What macOS gives: mapping, preallocation, flock on files of their own, FIFOs.
// There is no memory file system, so channels lie in the user's temporary
// directory, in the page cache. Never run on a real Mac so far; all but this file
// is run on Linux, flockLocks too.

import (
	"errors"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

func defaultDir() string { return os.TempDir() }

// allocate gives the file its size and its blocks, so that a full file system is
// ENOSPC here and not SIGBUS later. Source: fcntl(2), F_PREALLOCATE.
func allocate(f *os.File, size int64) error {
	err := eintr(func() error {
		return unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &unix.Fstore_t{
			Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: size,
		})
	})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(f, size)
	}
	if err != nil {
		return err
	}
	return f.Truncate(size)
}

func newTicker(every time.Duration) ticker { return goTicker{time.NewTicker(every)} }

func newAlarm(ring func()) alarm { return newGoAlarm(ring) }

// onDeath would want EVFILT_PROC in a queue of its own; without it a death is noticed
// by the backstop, at its next look.
func onDeath(int, func()) (func(), error) { return nil, errors.ErrUnsupported }

// pidSpace is not known, so that the backstop looks more often.
func pidSpace() uint64 { return 0 }

func newLocks(f *os.File, h *header, dir string) locker { return newFlockLocks(dir, h.id) }

// flockHolder is not known.
func flockHolder(*os.File) (pid int, stopped bool) { return 0, false }

// onlineCPUs is how many CPUs the machine has running.
func onlineCPUs() int { return runtime.NumCPU() }

// yieldCPU is for Linux: here the spin's Gosched does.
func yieldCPU() {}
