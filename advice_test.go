package shmchan

// What an Open says that the system refuses: why, and what to do. Nothing of it stays.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	// A process that may have small files only.
	roles["small-files"] = func(args []string) error {
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			return err
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 8192, Max: old.Max}); err != nil {
			return err
		}
		_, err := Open[message]("test", WithDir(args[0]))
		_, unnamed := New[message]()
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil { // What the process writes at its end may be longer.
			return err
		}
		for _, err := range []error{err, unnamed} {
			fmt.Println(errors.Is(err, unix.EFBIG), err)
		}
		return nil
	}
}

func TestFilesLimitedInSize(t *testing.T) {
	dir := memDir(t)
	c := start(t, "small-files", dir)
	for range 2 {
		line := c.line()
		assert.Regexp(t, `^true shmchan: channel "`, line)
		assert.Contains(t, line, "raise that limit (ulimit -f), or use a smaller WithCapacity")
	}
	c.wait()
	dirEmpty(t, dir)
}

func TestAdviceAboutDirectories(t *testing.T) {
	dir := memDir(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for where, says := range map[string]string{
		file:                      "check the directory that WithDir or $SHMCHAN_DIR names",
		filepath.Join(file, "x"):  "check the directory that WithDir or $SHMCHAN_DIR names",
		filepath.Join(dir, "not"): "make the directory and let this user write there, or use another WithDir",
	} {
		_, err := Open[int64]("test", WithDir(where))
		require.ErrorContains(t, err, `channel "test"`)
		require.ErrorContains(t, err, says)
	}
	for what, says := range map[error]string{
		unix.EDQUOT: "this user may have no more there",
		unix.EROFS:  "nobody may write to that file system",
		unix.ENOSPC: "the file system is full",
	} {
		require.ErrorContains(t, advise("test", "try", what), says)
	}
}

// A file of another kind has the channel's name.
func TestNamesOfOtherFiles(t *testing.T) {
	dir := memDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, filePrefix+"dir"), 0o700))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, filePrefix+"fifo"), 0o600))
	for name, says := range map[string]string{"dir": "is a directory and no channel", "fifo": "is a FIFO and no channel"} {
		_, err := Inspect(name, WithDir(dir))
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, "a device", kindOf(os.ModeDevice|os.ModeCharDevice))
	require.Equal(t, "no regular file", kindOf(os.ModeIrregular))
}

// Who removes what is not there is not told to make it first.
func TestAdviceOfRemove(t *testing.T) {
	dir := memDir(t)
	for _, err := range []error{Remove("none", WithDir(dir)), RemoveDuplex("none", WithDir(dir))} {
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, "List says which there are")
		require.NotContains(t, err.Error(), "Open")
	}
}
