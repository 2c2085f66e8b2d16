package shmchan

// membarrier(2): a fence on behalf of other threads and processes. Linux 4.16 has all of it.

import (
	"sync"

	"golang.org/x/sys/unix"
)

const ( // linux/membarrier.h
	membarrierSlow           = 1 << 0 // for all processes; it waits for every CPU to have come by
	membarrierGlobal         = 1 << 1 // for all that have registered
	membarrierRegisterGlobal = 1 << 2
)

func membarrier(cmd int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, uintptr(cmd), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// canFenceProcesses says whether fenceProcesses works here.
var canFenceProcesses = sync.OnceValue(func() bool { return membarrier(membarrierGlobal) == nil })

// fenceProcesses returns when each thread of the processes that have registered has passed a full fence.
func fenceProcesses() {
	if membarrier(membarrierGlobal) != nil { // It was there at Open.
		_ = membarrier(membarrierSlow)
	}
}

// fencesReach has the fences of others reach this process from now on, and says whether they do.
// The first call takes some 10 ms, in which the kernel waits for every CPU to have come by.
var fencesReach = sync.OnceValue(func() bool { return membarrier(membarrierRegisterGlobal) == nil })

// fenceThreads is fence.
func fenceThreads() {
	if fencesReach() && membarrier(membarrierGlobal) == nil {
		return
	}
	stopTheWorld() // An old kernel, or a sandbox.
}
