package main

// What the doctor asks Linux.

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

func memoryDir() string { return "/dev/shm" }

func thisMachine(w *where) *machine {
	dir := w.directory()
	return &machine{
		system: runtime.GOOS, dir: dir, cpus: runtime.NumCPU(), statfs: statfs, memlock: memlockLimit, huge: hugeOf,
		attempts: []attempt{
			{"membarrier(2)", membarrier, isBetter, "sends and receives without a fence, and attaching to channels made where it is allowed, which fails without"},
			{"pidfd_open(2)", pidfdOpen, isBetter, "deaths noticed at once, not by looking every 90 ms"},
			{"locks in " + dir, func() error { return lockIn(dir) }, isBad, "channels: without these locks nobody can attach"},
			{"memfd_create(2)", memfd, isBetter, "unnamed channels"},
		},
	}
}

// statfs also says why the directory cannot be used.
func statfs(dir string) (fileSystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fileSystem{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return fileSystem{}, &os.PathError{Op: "write in", Path: dir, Err: unix.ENOTDIR}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fileSystem{}, &os.PathError{Op: "write in", Path: dir, Err: err}
	}
	fs := fileSystem{"another", int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize)} //nolint:unconvert // Of 32 bits elsewhere.
	switch int64(st.Type) & math.MaxUint32 {                                                            //nolint:unconvert // Of 32 bits elsewhere.
	case unix.TMPFS_MAGIC:
		fs.kind = "tmpfs"
		if st.Blocks == 0 { // Mounted without a limit.
			fs.size, fs.free = 1<<50, 1<<50
		}
	case unix.HUGETLBFS_MAGIC:
		fs.kind = "hugetlbfs"
	}
	return fs, nil
}

func memlockLimit() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l)
	return l.Cur, err
}

func membarrier() error {
	const query, globalExpedited = 0, 1 << 1
	has, _, e := unix.Syscall(unix.SYS_MEMBARRIER, query, 0, 0)
	switch {
	case e != 0:
		return os.NewSyscallError("membarrier", e)
	case has&globalExpedited == 0:
		return errors.New("membarrier: the kernel has no GLOBAL_EXPEDITED")
	}
	return nil
}

func pidfdOpen() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	return unix.Close(fd)
}

func memfd() error {
	fd, err := unix.MemfdCreate("shmchan-doctor", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	return unix.Close(fd)
}

// lockIn takes a lock of an open file description on a file that has no name any more.
func lockIn(dir string) error {
	f, err := os.CreateTemp(dir, ".shmchan-doctor-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 1}); err != nil {
		return fmt.Errorf("cannot lock a file in %s: %w", filepath.Clean(dir), err)
	}
	return nil
}

// pin keeps the calling goroutine, which has locked its thread, on a CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("cannot pin to CPU %d: %w", cpu, err)
	}
	return nil
}
