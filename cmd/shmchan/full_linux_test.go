package main

// The directory of the channels is on a file system without room: who makes something there says so, and nothing of it stays. Nobody dies of a
// memory that was mapped and is not there.

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fullFS is a directory of a file system of its own, in which a file has all the room. It ends with the test, however that ends: it has no
// place in the tree of directories.
func fullFS(t *testing.T) *os.File {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	} else {
		require.NoError(t, err)
	}
	root, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600), unix.ENOSPC)
	require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
	return root
}

func TestFullFileSystem(t *testing.T) {
	root := fullFS(t)
	for _, c := range []struct {
		args, says string
	}{
		{"demo --values 10", "no space left on device; the file system is full: make room there (shmchan gc --dry-run shows what the dead have left), or use another --dir"},
		{"bench --time 1ms", "shmchan: "}, // With one CPU it has no use for the file.
		{"doctor --quick", "something is bad here: memory file system"},
	} {
		cmd := command(t, append(strings.Fields(c.args), "--dir", "/proc/self/fd/3")...)
		cmd.ExtraFiles = []*os.File{root}
		var errs strings.Builder
		cmd.Stderr = &errs
		_ = cmd.Run()
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s: %s", c.args, &errs)
		require.NotContains(t, errs.String(), "goroutine", c.args)
		require.Contains(t, errs.String(), c.says)
	}
	dir := fmt.Sprintf("/proc/self/fd/%d", root.Fd())
	_, err := lineThereAndBack(dir)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, "use another --dir")
	_, err = lineThereAndBack(filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "no such file or directory; use another --dir")
	_, err = shmchan.OpenRawSender("ticks", shmchan.WithDir(dir), shmchan.WithLayout("uint64", ". uint64 0 8 8\n")) // As bridge --recv makes it.
	require.ErrorIs(t, err, unix.ENOSPC)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "but for what fills it")
}

// Where no file can be made the doctor says so once, and does not blame the locks.
func TestDoctorOfNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o700))
	for dir, found := range map[string]string{file: "write in " + file + ": not a directory", file + "s": "no such file or directory"} {
		status, stdout, _ := shmchanRun("doctor", "--quick", "--json", "--dir", dir)
		require.Equal(t, 1, status)
		var r report
		require.NoError(t, json.Unmarshal([]byte(stdout), &r))
		require.Equal(t, []string{"memory file system"}, r.bad())
		for _, f := range r.Findings {
			switch f.Check {
			case "memory file system":
				require.Contains(t, f.Found, found)
				require.Contains(t, f.Change, "make the directory")
			case "locks in " + dir:
				require.Equal(t, isUnknown, f.Verdict)
			}
		}
	}
}
