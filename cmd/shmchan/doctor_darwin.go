package main

// What the doctor asks macOS, where little can be known.

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func memoryDir() string { return os.TempDir() }

func thisMachine(w *where) *machine {
	return &machine{system: runtime.GOOS, dir: w.directory(), cpus: runtime.NumCPU(), statfs: statfs, memlock: memlockLimit, huge: hugeOf}
}

// statfs also says why the directory cannot be used.
func statfs(dir string) (fileSystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fileSystem{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fileSystem{}, &os.PathError{Op: "write in", Path: dir, Err: err}
	}
	return fileSystem{"another", int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize)}, nil
}

func memlockLimit() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l)
	return l.Cur, err
}

func pin(int) error { return errors.ErrUnsupported }
