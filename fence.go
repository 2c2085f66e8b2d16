package shmchan

// Fences for others: who seldom needs one makes it for those who would need it all the time.

import "runtime"

// fence returns when each goroutine has passed a full fence. Tests replace it by the slow one.
var fence = fenceThreads

// fenceOthers returns when each thread of the processes that share channels with us has passed a full fence.
// Tests replace it.
var fenceOthers = fenceProcesses

// stopTheWorld has each goroutine come to a stop and go on, which is a full fence for it.
func stopTheWorld() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
}
