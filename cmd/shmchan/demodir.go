package main

// The directory of a demo of two machines.
//
// Invariant: a demo and the processes that it starts hold a lock on its directory, from before it has its name for long until the last of them
// is gone, however it ends. So one that nobody has locked is a dead demo's, and the next demo removes it.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// demoDirs begins the names of such directories; digits follow.
const demoDirs = "shmchan-demo-"

// What is in them.
const (
	demoHere  = "here"
	demoThere = "there"
	demoStore = "store"
)

// newDemoDir makes one, and returns it locked: whoever inherits the file holds the lock too.
func newDemoDir() (*os.File, error) {
	for {
		path, err := os.MkdirTemp("", demoDirs)
		if err != nil {
			return nil, err
		}
		switch dir, err := lockedDir(path); {
		case err == nil:
			return dir, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist): // Else: another demo took it for a dead one's, as it was not locked yet.
			return nil, errors.Join(err, os.Remove(path))
		}
	}
}

// lockedDir opens a directory of this user and locks it. The error is EWOULDBLOCK if another has it locked, and fs.ErrNotExist if it is gone.
func lockedDir(path string) (dir *os.File, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	dir = os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			_ = dir.Close()
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(st.Uid) != os.Geteuid() {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: fs.ErrPermission}
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	mine, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !os.SameFile(mine, now) {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	return dir, nil
}

// sweepDemoDirs removes what demos that are dead have left: this user's directories of that name which nobody has locked and that have nothing else in them. What it
// cannot remove it leaves.
func sweepDemoDirs() {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), demoDirs+"*")) // The pattern is right, unless $TMPDIR is strange: then nothing is swept.
	for _, path := range paths {
		if strings.Trim(strings.TrimPrefix(filepath.Base(path), demoDirs), "0123456789") != "" {
			continue
		}
		dir, err := lockedDir(path)
		if err != nil {
			continue
		}
		names, err := dir.Readdirnames(-1)
		if err == nil && !slices.ContainsFunc(names, func(n string) bool { return n != demoHere && n != demoThere && n != demoStore }) {
			_ = os.RemoveAll(path)
		}
		_ = dir.Close()
	}
}
