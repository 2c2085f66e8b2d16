package shmchan

// membarrier(2), since Linux 4.14: a fence on behalf of the other threads of this process.

import (
	"errors"

	"golang.org/x/sys/unix"
)

const ( // linux/membarrier.h
	membarrierPrivate         = 1 << 3
	membarrierRegisterPrivate = 1 << 4
)

func membarrier(cmd int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, uintptr(cmd), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// fenceThreads is fence.
func fenceThreads() {
	err := membarrier(membarrierPrivate)
	if errors.Is(err, unix.EPERM) { // Not registered yet. That takes some milliseconds, once.
		if err = membarrier(membarrierRegisterPrivate); err == nil {
			err = membarrier(membarrierPrivate)
		}
	}
	if err != nil { // An old kernel, or a sandbox.
		stopTheWorld()
	}
}
