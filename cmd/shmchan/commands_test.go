package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// open makes a channel of trades with three values in it.
func open(t *testing.T, dir, name string, opts ...shmchan.Option) *shmchan.Chan[trade] {
	t.Helper()
	ch, err := shmchan.Open[trade](name, append(opts, shmchan.WithDir(dir), shmchan.WithCapacity(10))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	for i := range 3 {
		require.NoError(t, ch.Send(trade{Seq: uint64(i)}))
	}
	return ch
}

// fields are the words of the line of out that begins with first.
func fields(t *testing.T, out, first string) []string {
	t.Helper()
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == first {
			return f
		}
	}
	require.Failf(t, "no such line", "%q in\n%s", first, out)
	return nil
}

func TestListShowsAllChannels(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "trades")
	require.NoError(t, open(t, dir, "done", shmchan.WithMode(0o660)).Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), []byte("junk"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.a\x1b[31mb"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))

	status, stdout, stderr := shmchanRun("ls", "--dir", dir)
	require.Equal(t, 0, status, stderr)
	require.Equal(t, []string{"NAME", "TYPE", "CAP", "LEN", "SENDERS", "RECEIVERS", "STATE", "SIZE", "MODE", "SENT/S", "RECEIVED/S"}, fields(t, stdout, "NAME"))
	require.Equal(t, []string{"trades", "main.trade", "10", "3", "1", "1", "open"}, fields(t, stdout, "trades")[:7])
	require.Equal(t, "-rw-------", fields(t, stdout, "trades")[9])
	require.Equal(t, []string{"done", "main.trade", "10", "3", "1", "1", "closed"}, fields(t, stdout, "done")[:7])
	require.Equal(t, "-rw-rw----", fields(t, stdout, "done")[9])
	junk := fields(t, stdout, "junk")
	require.Equal(t, "corrupt", junk[6])
	require.Contains(t, strings.Join(junk, " "), "remove the channel", "the reason and what to do")
	require.NotContains(t, stdout, "\x1b", "a name must not reach the terminal as a command")
	require.Contains(t, stdout, `"a\x1b[31mb"`)
	require.NotContains(t, stdout, "other")

	t.Setenv(shmchan.EnvDir, dir)
	_, again, _ := shmchanRun("ls", "--over", "0")
	require.Equal(t, []string{"-", "-"}, fields(t, again, "trades")[10:], "one look has no rates")
	require.Equal(t, fields(t, stdout, "trades")[:10], fields(t, again, "trades")[:10])
}

func TestListOfNothing(t *testing.T) {
	status, stdout, stderr := shmchanRun("ls", "--dir", t.TempDir())
	require.Equal(t, 0, status)
	require.Empty(t, stdout)
	require.Equal(t, "no channels\n", stderr)

	status, _, stderr = shmchanRun("ls", "--dir", filepath.Join(t.TempDir(), "missing"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "--dir")
	require.Equal(t, 1, strings.Count(stderr, "\n"))
}

func TestStatShowsEverything(t *testing.T) {
	dir := t.TempDir()
	ch := open(t, dir, "trades", shmchan.WithSingleSender())
	_, err := ch.Recv()
	require.NoError(t, err)
	status, stdout, stderr := shmchanRun("stat", "--dir", dir, "trades")
	require.Equal(t, 0, status, stderr)
	require.Equal(t, []string{"path", filepath.Join(dir, "shmchan.trades")}, fields(t, stdout, "path"))
	require.Equal(t, []string{"state", "open"}, fields(t, stdout, "state"))
	require.Equal(t, []string{"capacity", "10"}, fields(t, stdout, "capacity"))
	require.Equal(t, []string{"senders", "1", "(single)"}, fields(t, stdout, "senders"))
	require.Equal(t, []string{"receivers", "1"}, fields(t, stdout, "receivers"))
	require.Equal(t, []string{"checksum", "none"}, fields(t, stdout, "checksum"))
	require.Equal(t, []string{"sent", "3"}, fields(t, stdout, "sent"))
	require.Equal(t, []string{"received", "1"}, fields(t, stdout, "received"))
	require.Equal(t, []string{"in", "channel", "2"}, fields(t, stdout, "in"))
	require.Equal(t, []string{"sends,", "receives", "yes", "no"}, fields(t, stdout, pid())[1:5])
	require.Equal(t, []string{"Symbol", "[8]uint8", "40", "8", "1"}, fields(t, stdout, "Symbol"))

	require.Equal(t, []string{"huge", "pages", "not", "asked", "for"}, fields(t, stdout, "huge"))

	require.NoError(t, ch.Detach())
	open(t, dir, "large", shmchan.WithHugePages())
	_, stdout, _ = shmchanRun("stat", "--dir", dir, "large")
	require.Equal(t, []string{"of", "2", "MiB"}, fields(t, stdout, "huge")[4:])
	_, stdout, _ = shmchanRun("stat", "--dir", dir, "trades")
	require.Contains(t, stdout, "nobody holds it")
}

func TestBytesAreShown(t *testing.T) {
	dir := t.TempDir()
	for name, most := range map[string]int{"large": 1 << 16, "small": 100} {
		ch, err := shmchan.OpenBytes(name, shmchan.WithDir(dir), shmchan.WithCapacity(4), shmchan.WithMaxMessage(most))
		require.NoError(t, err)
		defer func() { _ = ch.Detach() }()
		require.NoError(t, ch.Send(make([]byte, most)))
	}
	status, stdout, stderr := shmchanRun("ls", "--dir", dir)
	require.Equal(t, 0, status, stderr)
	require.Equal(t, []string{"large", "[]byte,", "at", "most", "65536", "4", "1", "1", "1", "open"}, fields(t, stdout, "large")[:10])
	require.Equal(t, []string{"small", "[]byte,", "at", "most", "100", "4", "1", "1", "1", "open"}, fields(t, stdout, "small")[:10])

	status, stdout, stderr = shmchanRun("stat", "--dir", dir, "large")
	require.Equal(t, 0, status, stderr)
	require.Equal(t, "type []byte, at most 65536, 1016 bytes a slot, larger ones in the arena", strings.Join(fields(t, stdout, "type"), " "))
	require.Equal(t, "arena 256 KiB (262144 bytes), 65536 of them used", strings.Join(fields(t, stdout, "arena"), " "))
	_, stdout, _ = shmchanRun("stat", "--dir", dir, "small")
	require.Equal(t, "type []byte, at most 100, 112 bytes a slot", strings.Join(fields(t, stdout, "type"), " "))
	require.Equal(t, []string{"arena", "none"}, fields(t, stdout, "arena"))
}

func TestStatSaysWhyItCannot(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), []byte("junk"), 0o600))
	for _, name := range []string{"junk", "missing", "a/b"} {
		status, stdout, stderr := shmchanRun("stat", "--dir", dir, name)
		require.Equal(t, 1, status)
		require.Empty(t, stdout)
		require.Contains(t, stderr, `channel "`+name+`"`)
		require.Equal(t, 1, strings.Count(stderr, "\n"))
	}
}

func TestRemoveGoesOnAfterAnError(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "one")
	open(t, dir, "two")
	status, stdout, stderr := shmchanRun("rm", "--dir", dir, "one", "missing", "two")
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `channel "missing"`)
	require.Equal(t, 1, strings.Count(stderr, "\n"))
	names, err := shmchan.List(shmchan.WithDir(dir))
	require.NoError(t, err)
	require.Empty(t, names)

	open(t, dir, "three")
	status, _, stderr = shmchanRun("rm", "--dir", dir, "three")
	require.Equal(t, 0, status)
	require.Empty(t, stderr)
}

func TestVersion(t *testing.T) {
	status, stdout, _ := shmchanRun("version")
	require.Equal(t, 0, status)
	require.Contains(t, stdout, fmt.Sprintf("layout   version %d\n", shmchan.LayoutVersion))
	require.Contains(t, stdout, "go1.")

	var out strings.Builder
	showVersion(&out, &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Deps:     []*debug.Module{{Path: "github.com/shmchan/shmchan", Version: "v1.2.4"}},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abcdef"}},
	})
	for _, s := range []string{"shmchan  v1.2.3", "library  v1.2.4", "commit   abcdef"} {
		require.Contains(t, out.String(), s)
	}
}

// The library does not say which layout it has, so look at a channel that it makes.
func TestLayoutVersionIsTheLibrarys(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "trades")
	b, err := os.ReadFile(filepath.Join(dir, "shmchan.trades"))
	require.NoError(t, err)
	require.Equal(t, "shmchan\x00", string(b[:8]))
	require.Equal(t, uint32(layoutVersion), binary.NativeEndian.Uint32(b[12:]))
}

func TestByteCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 4: "4 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 5 << 30: "5 GiB", 3 << 50: "3072 TiB"} {
		require.Equal(t, want, byteCount(n))
	}
}
