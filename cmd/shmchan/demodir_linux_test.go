package main

// What a demo of two machines leaves in the temporary directory: nothing, and if it is killed nothing that the next does not remove.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDemoOfTwoMachinesClearsUp(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		m := startTwoMachines(t)
		require.NoError(t, m.Process.Signal(s))
		require.Error(t, m.Wait())
		require.Equal(t, 1, m.ProcessState.ExitCode(), m.errs.String())
		require.Contains(t, m.errs.String(), "interrupted")
		require.NoDirExists(t, filepath.Dir(m.here), "%v", s)
	}
}

func TestDemoRemovesWhatAKilledOneLeft(t *testing.T) {
	target := t.TempDir()
	m := startTwoMachines(t)
	dir := filepath.Dir(m.here)
	tmp := filepath.Dir(dir) // Nothing else is in it.
	t.Setenv("TMPDIR", tmp)
	var ends []int
	for _, pid := range append(holders(t, m.here), holders(t, m.there)...) {
		if pid != m.Process.Pid {
			ends = append(ends, pid)
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
			for stat := []byte(nil); !bytes.Contains(stat, []byte(") T ")); runtime.Gosched() {
				var err error
				stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				require.NoError(t, err)
			}
		}
	}
	require.Len(t, ends, 2)
	require.NoError(t, m.Process.Kill())
	require.Error(t, m.Wait())
	sweepDemoDirs()
	require.DirExists(t, dir, "its processes are there yet")
	for _, pid := range ends {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	f, err := os.Open(dir)
	require.NoError(t, err)
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX) // Waits until both are gone.
	}
	require.NoError(t, err)
	require.NoError(t, f.Close())

	// Beside it: that of one who is alive, one that holds something else, a link to one, names that are no demo's.
	living, err := newDemoDir()
	require.NoError(t, err)
	defer living.Close()
	keep := []string{living.Name()}
	for _, name := range []string{demoDirs + "1", "shmchan-demo-x1", "shmchan-demos"} {
		keep = append(keep, filepath.Join(tmp, name))
		require.NoError(t, os.MkdirAll(filepath.Join(tmp, name, demoHere), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(tmp, demoDirs+"1", "mine"), nil, 0o600))
	require.NoError(t, os.Symlink(target, filepath.Join(tmp, demoDirs+"2")))
	keep = append(keep, target)
	left := 5
	others := filepath.Join(tmp, demoDirs+"3")
	require.NoError(t, os.MkdirAll(filepath.Join(others, demoHere), 0o700))
	if err := os.Chown(others, 12345, 12345); err == nil { // Only root may give a directory away, and only root could remove another user's.
		keep, left = append(keep, others), left+1
	} else {
		t.Logf("no directory of another user: %v", err)
	}

	status, stdout, stderr := shmchanRun("demo", "--machines", "2", "--values", "300")
	require.Equal(t, 0, status, "%s%s", stdout, stderr)
	require.NoDirExists(t, dir)
	for _, path := range keep {
		require.DirExists(t, path)
	}
	entries, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Len(t, entries, left)
	require.FileExists(t, filepath.Join(tmp, demoDirs+"1", "mine"))
}
