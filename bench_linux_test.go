package shmchan

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin keeps the whole process on one CPU.
//
// All threads, and no LockOSThread: a locked goroutine that yields or is woken costs
// two switches of threads more, which would be measured. And one P, which is what
// the runtime itself would come to within a second of the change of affinity.
func pin(cpu int) (undo func() error, err error) {
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		return nil, err
	}
	if !was.IsSet(cpu) {
		return nil, fmt.Errorf("CPU %d is not ours", cpu)
	}
	one.Set(cpu)
	if err := pinThreads(&one); err != nil {
		return nil, errors.Join(err, pinThreads(&was))
	}
	procs := runtime.GOMAXPROCS(1)
	return func() error {
		runtime.GOMAXPROCS(procs)
		return pinThreads(&was)
	}, nil
}

// pinThreads moves every thread. A new one inherits from the one that starts it, so
// it looks again until it has seen them all.
func pinThreads(to *unix.CPUSet) error {
	seen := map[string]bool{}
	for fresh := true; fresh; {
		fresh = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			if seen[t.Name()] {
				continue
			}
			seen[t.Name()], fresh = true, true
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, to); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

const rusageThread = unix.RUSAGE_THREAD
