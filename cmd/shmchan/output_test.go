package main

// Where the output goes has no room, or nobody reads it: every command says so or ends quietly, and leaves things as it found them.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// What each command does that writes to standard output. The bridge's tests have its own.
var writing = map[string][][]string{
	"ls":         {{"ls", "--over", "0"}, {"ls", "--over", "0", "--json"}},
	"stat":       {{"stat", "ticks"}, {"stat", "ticks", "--json"}, {"stat", "ticks", "--watch"}, {"stat", "ticks", "--watch", "--json"}},
	"top":        {{"top", "--json"}},
	"gc":         {{"gc", "--dry-run"}, {"gc", "--dry-run", "--json"}},
	"rm":         {{"rm", "spare", "--json"}},
	"schema":     {{"schema", "ticks"}, {"schema", "ticks", "--go"}, {"schema", "ticks", "--json"}},
	"tail":       {{"tail", "ticks"}, {"tail", "ticks", "--count", "1"}},
	"recv":       {{"recv", "ticks"}, {"recv", "ticks", "--count", "1"}, {"recv", "bytes", "--format", "csv"}},
	"send":       {{"send", "ticks", "--json"}},
	"export":     {{"export", "--listen", "127.0.0.1:0"}, {"export", "--listen", "127.0.0.1:0", "--json"}},
	"demo":       {{"demo", "--values", "50"}, {"demo", "--values", "50", "--json"}, {"demo", "--values", "300", "--machines", "2"}},
	"version":    {{"version"}, {"version", "--json"}},
	"bench":      {{"bench", "--time", "1ms"}, {"bench", "--time", "1ms", "--json"}},
	"doctor":     {{"doctor", "--quick"}, {"doctor", "--quick", "--json"}},
	"completion": {{"completion", "bash"}, {"completion", "powershell"}},
	"help":       {{"help"}, {"help", "stat"}, {"stat", "--help"}, {"--help"}, {}},
}

// eachWriting runs them all, with that for standard output, in a directory with what someChannels makes. What they leave there is what was there.
func eachWriting(t *testing.T, stdout func(t *testing.T) *os.File, check func(t *testing.T, args []string, status int, stderr string)) {
	for _, c := range newRoot().Commands() {
		if !c.Hidden && c.Name() != "bridge" {
			require.Contains(t, writing, c.Name())
		}
	}
	for name, all := range writing {
		t.Run(name, func(t *testing.T) {
			if name == "bench" && runtime.NumCPU() < 2 {
				t.Skip("with one CPU bench has more to say: what it could not measure")
			}
			if status, _, stderr := shmchanRun("doctor", "--quick", "--dir", t.TempDir()); name == "doctor" && status != 0 {
				t.Skipf("the doctor has more to say here: %s", stderr)
			}
			for _, args := range all {
				dir := t.TempDir()
				someChannels(t, dir)
				out := stdout(t)
				tmp := t.TempDir()
				cmd := command(t, args...)
				cmd.Env = append(cmd.Env, shmchan.EnvDir+"="+dir, "TMPDIR="+tmp)
				cmd.Stdin = strings.NewReader("8\n")
				var errs strings.Builder
				cmd.Stdout, cmd.Stderr = out, &errs
				_ = cmd.Run()
				require.NoError(t, out.Close())
				require.NotContains(t, errs.String(), "goroutine", args)
				check(t, args, cmd.ProcessState.ExitCode(), errs.String())

				names, err := shmchan.List(shmchan.WithDir(dir))
				require.NoError(t, err)
				want := []string{"bytes", "junk", "spare", "ticks"}
				if name == "rm" {
					want = []string{"bytes", "junk", "ticks"}
				}
				require.Equal(t, want, names, args)
				left, err := os.ReadDir(tmp)
				require.NoError(t, err)
				require.Empty(t, left, args)
				ch, err := shmchan.Open[uint64]("ticks", shmchan.WithDir(dir))
				require.NoError(t, err)
				first, err := ch.TryRecv()
				require.NoError(t, err, "%v took the value and did not write it", args)
				require.Equal(t, uint64(7), first)
				require.Zero(t, ch.Stats().Recovered, "%v left as one who died", args)
				require.NoError(t, ch.Detach())
			}
		})
	}
}

func TestNobodyReads(t *testing.T) {
	eachWriting(t, func(t *testing.T) *os.File {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return w
	}, func(t *testing.T, args []string, status int, stderr string) {
		require.Equal(t, statusNobodyReads, status, "%v: %s", args, stderr)
		require.NotContains(t, stderr, "shmchan: ", args)
	})
}

func TestNoRoomForOutput(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("there is no device that is full: %v", err)
	}
	eachWriting(t, func(t *testing.T) *os.File {
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		return f
	}, func(t *testing.T, args []string, status int, stderr string) {
		require.Equal(t, 1, status, "%v: %s", args, stderr)
		const says = "shmchan: cannot write to standard output: no space left on device; make room there, or send it elsewhere\n"
		require.Equal(t, 1, strings.Count(stderr, says), "%v: %s", args, stderr)
		if len(args) > 0 && args[0] == "recv" && args[len(args)-1] != "csv" {
			require.Contains(t, stderr, `channel "ticks": after 0 values: the next could not be written; the value stays in the channel`)
		} else {
			require.Equal(t, 1, strings.Count(stderr, "shmchan: "), "%v: %s", args, stderr)
		}
	})
}

// Whoever waits for the next value notices that nobody reads any more: nothing comes to be written.
func TestNoticesThatNobodyReads(t *testing.T) {
	for _, args := range [][]string{{"tail", "ticks"}, {"recv", "ticks"}, {"recv", "ticks", "--count", "5"}} {
		dir := t.TempDir()
		someChannels(t, dir)
		cmd := command(t, append(args, "--dir", dir)...)
		var errs strings.Builder
		cmd.Stderr = &errs
		r, w, err := os.Pipe()
		require.NoError(t, err)
		cmd.Stdout = w
		require.NoError(t, cmd.Start())
		require.NoError(t, w.Close())
		line := make([]byte, 2)
		_, err = io.ReadFull(r, line)
		require.NoError(t, err)
		require.Equal(t, "7\n", string(line))
		require.NoError(t, r.Close())
		_ = cmd.Wait()
		require.Equal(t, statusNobodyReads, cmd.ProcessState.ExitCode(), "%v: %s", args, &errs)
		require.Empty(t, errs.String())
	}
}

// Who reads what is told on standard error has gone: what goes on for long ends, and what only tells on the way there does not fail.
func TestNobodyReadsErrors(t *testing.T) {
	for _, args := range [][]string{{"bench", "--time", "1m"}, {"demo", "--json", "--values", "10000000"}, {"ls"}} {
		dir := t.TempDir() // No channels: ls says so.
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		cmd := command(t, append(args, "--dir", dir)...)
		cmd.Stderr = w
		_ = cmd.Run()
		require.NoError(t, w.Close())
		require.Equal(t, statusNobodyReads, cmd.ProcessState.ExitCode(), args)
	}
}

// Whichever notices first that nobody reads, the write or the wait, it ends quietly, and the value stays.
func TestNobodyReadsAValue(t *testing.T) {
	for _, args := range [][]string{{"tail", "ticks"}, {"recv", "ticks"}, {"recv", "ticks", "--count", "1"}} {
		dir := t.TempDir()
		someChannels(t, dir)
		var errs strings.Builder
		status := run(append(args, "--dir", dir), writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE }), &errs)
		require.Equal(t, statusNobodyReads, status, args)
		require.Empty(t, errs.String())
		ch, err := shmchan.Open[uint64]("ticks", shmchan.WithDir(dir))
		require.NoError(t, err)
		require.Equal(t, 1, ch.Len(), args)
		require.NoError(t, ch.Detach())
	}
}

// What went wrong besides is told too.
func TestNoRoomIsNotAll(t *testing.T) {
	dir := t.TempDir()
	someChannels(t, dir)
	var errs strings.Builder
	status := run([]string{"rm", "none", "spare", "--json", "--dir", dir}, writerFunc(func([]byte) (int, error) { return 0, syscall.ENOSPC }), &errs)
	require.Equal(t, 1, status)
	require.Contains(t, errs.String(), `channel "none"`)
	require.Contains(t, errs.String(), "cannot write to standard output: no space left on device; make room")
	require.Equal(t, 2, strings.Count(errs.String(), "\n"))
	errs.Reset()
	require.Equal(t, 1, run([]string{"rm", "none", "--json", "--dir", dir}, writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE }), &errs), "it failed, read or not")
	require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
}

// What goes on for long ends with standard output, and with standard error where nobody reads that: a log that is full stops nothing.
func TestContextEndsWithOutput(t *testing.T) {
	var fails error
	w := writerFunc(func(p []byte) (int, error) { return 0, fails })
	for _, c := range []struct {
		fails error
		notes bool
		ends  bool
	}{{syscall.EPIPE, false, true}, {syscall.ENOSPC, false, true}, {syscall.EPIPE, true, true}, {syscall.ENOSPC, true, false}} {
		ctx, out, notes := outputs(w, w)
		fails = c.fails
		o := out
		if c.notes {
			o = notes
		}
		require.NoError(t, ctx.Err())
		_, err := o.Write(nil)
		require.ErrorIs(t, err, c.fails)
		require.Equal(t, c.ends, ctx.Err() != nil, c)
		if c.ends {
			require.Equal(t, err, interrupted(ctx, errInterrupted))
		} else {
			require.Equal(t, errInterrupted, interrupted(ctx, errInterrupted))
		}
	}
}

// The first failure is the one that is told, and nothing is written behind it.
func TestOutputFailsOnce(t *testing.T) {
	var told []error
	writes := 0
	o := &output{Writer: writerFunc(func([]byte) (int, error) { writes++; return 1, fmt.Errorf("failure %d", writes) }), to: "standard output", failed: func(err error) { told = append(told, err) }}
	require.NoError(t, o.why())
	n, err := o.Write([]byte("ab"))
	require.Equal(t, 1, n)
	require.EqualError(t, err, "cannot write to standard output: failure 1; see where it goes")
	n, again := o.Write([]byte("c"))
	require.Zero(t, n)
	require.Equal(t, err, again)
	require.Equal(t, 1, writes)
	require.Equal(t, []error{err}, told)
	require.True(t, errors.Is(o.why(), err))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
