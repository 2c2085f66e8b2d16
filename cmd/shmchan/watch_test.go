package main

// What is drawn in place on a terminal, how often one may look, and how export ends while it is asked.

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestFrameFitsTheTerminal(t *testing.T) {
	for _, c := range []struct {
		text          string
		width, height int
		want          []string
	}{
		{"a\nb\nc\n", 80, 4, []string{"a", "b", "c"}},
		{"a\nb\nc\nd\n", 80, 4, []string{"a", "b", "... more than the terminal has room for"}},
		{"a\nb\nc\nd\n", 10, 4, []string{"a", "b", "... more t"}},
		{"12345\n123456\n1234µ6\n", 5, 24, []string{"12345", "12345", "1234µ"}},
		{"a\nb\n", 80, 2, []string{"... more than the terminal has room for"}},
		{"abc\n", 2, 2, []string{"ab"}},
		{"abc\n", 1, 9, []string{"abc"}},
		{"a\nb\n", 80, 1, []string{"a", "b"}},
		{"a\n" + strings.Repeat("x", 90) + "\n", -1, -1, []string{"a", strings.Repeat("x", 80)}},
	} {
		require.Equal(t, "\x1b[H"+strings.Join(c.want, "\x1b[K\n")+"\x1b[K\n\x1b[J", frame(c.text, c.width, c.height), c.text)
	}
}

func TestHowOftenOneMayLook(t *testing.T) {
	require.NoError(t, checkEvery(leastEvery))
	require.ErrorContains(t, checkEvery(leastEvery-1), "use 10ms or more")
	require.ErrorContains(t, checkEvery(0), "--every 0s: use 10ms or more")
}

// Without a terminal there is none, whatever else the output is.
func TestScreenIsATerminal(t *testing.T) {
	require.Nil(t, screen(&strings.Builder{}))
	require.Nil(t, screen(&output{Writer: &strings.Builder{}}))
}

func TestAdviceAboutOutput(t *testing.T) {
	for _, err := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		require.EqualError(t, &outputError{"standard output", err}, "cannot write to standard output: "+err.Error()+"; make room there, or send it elsewhere")
	}
	require.EqualError(t, &outputError{"standard output", unix.EIO}, "cannot write to standard output: input/output error; see where it goes")
}

// Who has connected and asks nothing, or has not asked all yet, may keep export for endTime, and not from ending well.
func TestExportEndsWhileItIsAsked(t *testing.T) {
	cmd, url := startExport(t, t.TempDir())
	silent, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics"))
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	status, _ := get(t, url) // Connected later: so that one has been accepted.
	require.Equal(t, 200, status)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "it ends with 0")
}
