package shmchan

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mountMemory mounts a file system without a device, which ends with the test, or with the process if
// that is killed: it has no place in the tree of directories any more when this returns.
func mountMemory(t *testing.T, typ, options string) (string, error) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, typ, 0, options); err != nil {
		return "", err
	}
	root, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
	return fmt.Sprintf("/proc/self/fd/%d", root.Fd()), nil
}
