package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A launcher starts processes on given CPUs. A child inherits the affinity of the thread
// that starts it, and dies with that thread (Pdeathsig); so there is one thread for it, that
// stays as long as we do.
type launcher struct{ jobs chan func() }

func newLauncher() *launcher {
	l := &launcher{make(chan func())}
	go func() {
		runtime.LockOSThread()
		for job := range l.jobs {
			job()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd, cpus []int) error {
	done := make(chan error)
	l.jobs <- func() {
		var set unix.CPUSet
		for _, c := range cpus {
			set.Set(c)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("CPUs %v: %w", cpus, err)
			return
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		done <- cmd.Start()
	}
	return <-done
}

// canPin says whether processes may be put on these CPUs.
func canPin(cpus []int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	for _, c := range cpus {
		if !set.IsSet(c) {
			return fmt.Errorf("CPU %d is not ours; -cpus says which two to use", c)
		}
	}
	return nil
}

// killGroup ends a process and all that it has started.
func killGroup(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) }

// unlinkQueues removes the message queues of the kernel that a peer may have left.
func unlinkQueues(id string) {
	for _, end := range []string{"there", "back"} {
		name, err := unix.BytePtrFromString(id + end)
		if err == nil {
			_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0)
		}
	}
}
