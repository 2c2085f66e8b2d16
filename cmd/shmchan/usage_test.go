package main

// What every command has in common: the exit status, --json, and errors in the command's own words.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Each command, done rightly, failing and used wrongly, as a process. "{}" is a directory with the channels ticks, of bytes too, and junk.
var statuses = map[string]struct {
	in     string
	ok     [][]string
	failed [][]string
	wrong  [][]string
}{
	"ls":         {ok: [][]string{{"ls"}, {"ls", "--json", "--over", "0"}}, failed: [][]string{{"ls", "--dir", "{}/none"}}, wrong: [][]string{{"ls", "x"}, {"ls", "--over", "x"}}},
	"stat":       {ok: [][]string{{"stat", "ticks"}}, failed: [][]string{{"stat", "none"}, {"stat", "junk"}, {"stat", "a/b"}, {"stat", "none", "--watch"}}, wrong: [][]string{{"stat"}, {"stat", "ticks", "--every", "1ms"}, {"stat", "a", "b"}}},
	"top":        {failed: [][]string{{"top"}, {"top", "--json", "--dir", "{}/none"}}, wrong: [][]string{{"top", "--sort", "?"}, {"top", "--every", "0"}}},
	"gc":         {ok: [][]string{{"gc", "--dry-run"}, {"gc", "--json"}}, failed: [][]string{{"gc", "--dir", "{}/none"}}, wrong: [][]string{{"gc", "ticks"}}},
	"rm":         {ok: [][]string{{"rm", "spare"}}, failed: [][]string{{"rm", "none"}}, wrong: [][]string{{"rm"}}},
	"schema":     {ok: [][]string{{"schema", "ticks"}, {"schema", "--go", "ticks"}}, failed: [][]string{{"schema", "none"}}, wrong: [][]string{{"schema"}, {"schema", "--go", "--json", "ticks"}}},
	"tail":       {ok: [][]string{{"tail", "--count", "1", "ticks"}}, failed: [][]string{{"tail", "none"}, {"tail", "--raw", "ticks"}}, wrong: [][]string{{"tail"}, {"tail", "--format", "xml", "ticks"}, {"tail", "--json", "--format", "csv", "ticks"}}},
	"recv":       {ok: [][]string{{"recv", "--count", "1", "ticks"}}, failed: [][]string{{"recv", "none"}, {"recv", "--timeout", "1ms", "--count", "100", "ticks"}}, wrong: [][]string{{"recv"}, {"recv", "--count", "-1", "ticks"}, {"recv", "--json", "--raw", "ticks"}, {"recv", "--timeout", "-1s", "ticks"}}},
	"send":       {in: "1\n", ok: [][]string{{"send", "ticks"}}, failed: [][]string{{"send", "none"}, {"send", "bytes"}}, wrong: [][]string{{"send"}, {"send", "--format", "xml", "ticks"}}},
	"export":     {failed: [][]string{{"export", "--listen", "x"}, {"export", "--dir", "{}/none"}}, wrong: [][]string{{"export", "x"}, {"export", "--listen"}}},
	"demo":       {ok: [][]string{{"demo", "--values", "50"}}, failed: [][]string{{"demo", "--input", "{}/none"}}, wrong: [][]string{{"demo", "--values", "0"}, {"demo", "--machines", "3"}}},
	"version":    {ok: [][]string{{"version"}}, wrong: [][]string{{"version", "x"}}},
	"bench":      {failed: [][]string{{"bench", "--time", "1ms", "--svg", "{}/none/x.svg"}}, wrong: [][]string{{"bench", "--time", "0s"}}}, // ok: TestBench
	"doctor":     {wrong: [][]string{{"doctor", "x"}}},                                                                                     // ok and failed: what it finds here
	"completion": {ok: [][]string{{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"completion", "powershell"}}, wrong: [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "x"}}},
	"help":       {ok: [][]string{{"help"}, {"help", "stat"}, {"stat", "--help"}, {}}, wrong: [][]string{{"help", "none"}, {"help", "stat", "x"}, {"none"}, {"--none"}}},
}

func TestExitStatuses(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if !c.Hidden && c.Name() != "bridge" { // The bridge's tests have its own.
			require.Contains(t, statuses, c.Name())
		}
	}
	for name, s := range statuses {
		t.Run(name, func(t *testing.T) {
			for want, all := range map[int][][]string{0: s.ok, 1: s.failed, 2: s.wrong} {
				for _, args := range all {
					dir := t.TempDir()
					someChannels(t, dir)
					var with []string
					for _, a := range args {
						with = append(with, strings.ReplaceAll(a, "{}", dir))
					}
					if len(with) > 0 && !strings.Contains(strings.Join(with, " "), "--dir") && name != "help" {
						with = append(with, "--dir", dir)
					}
					if len(args) > 0 && args[len(args)-1] == "--listen" {
						with = args
					}
					cmd := command(t, with...)
					cmd.Stdin = strings.NewReader(s.in)
					var out, errs strings.Builder
					cmd.Stdout, cmd.Stderr = &out, &errs
					_ = cmd.Run()
					require.Equal(t, want, cmd.ProcessState.ExitCode(), "%v: %s%s", args, out.String(), errs.String())
					switch want {
					case 1:
						require.Contains(t, errs.String(), "shmchan: ", args)
					case 2:
						require.Empty(t, out.String())
						require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
						require.Contains(t, errs.String(), "--help", args)
						require.NotContains(t, errs.String(), "strconv", args)
						require.NotContains(t, errs.String(), "arg(s)", args)
					}
				}
			}
		})
	}
}

// someChannels makes what the table of statuses names.
func someChannels(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"ticks", "spare"} {
		ch, err := shmchan.Open[uint64](name, shmchan.WithDir(dir), shmchan.WithCapacity(8))
		require.NoError(t, err)
		require.NoError(t, ch.Send(7))
		require.NoError(t, ch.Detach())
	}
	b, err := shmchan.OpenBytes("bytes", shmchan.WithDir(dir), shmchan.WithMaxMessage(10))
	require.NoError(t, err)
	require.NoError(t, b.Detach())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), []byte("junk"), 0o600))
}

// Those that go on end with 0 when they are interrupted, but for one that has not done all it was told to.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	someChannels(t, dir)
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{0, "", []string{"stat", "ticks", "--watch", "--every", "10ms"}},
		{0, "", []string{"top", "--json", "--every", "10ms"}},
		{0, "", []string{"tail", "ticks"}},
		{0, "", []string{"recv", "ticks"}},
		{1, "interrupted: 1 of 3 values received", []string{"recv", "--count", "3", "ticks"}},
		{0, "", []string{"export", "--listen", "127.0.0.1:0"}},
	} {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			ch, err := shmchan.OpenSender[uint64]("ticks", shmchan.WithDir(dir))
			require.NoError(t, err)
			if ch.Len() == 0 {
				require.NoError(t, ch.Send(1))
			}
			require.NoError(t, ch.Detach())
			cmd := command(t, append(c.args, "--dir", dir)...)
			var errs strings.Builder
			cmd.Stderr = &errs
			out := started(t, cmd)
			require.True(t, out.Scan(), "%v begins: %s", c.args, &errs)
			require.NoError(t, cmd.Process.Signal(sig))
			for out.Scan() {
			}
			_ = cmd.Wait()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%v: %s", c.args, &errs)
			require.Contains(t, errs.String(), c.says)
		}
	}
}

// Who types at send may end it, though the read from a terminal or a pipe goes on.
func TestSendInterrupted(t *testing.T) {
	dir := t.TempDir()
	ch, err := shmchan.Open[uint64]("ticks", shmchan.WithDir(dir), shmchan.WithCapacity(2))
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	for _, c := range []struct {
		lines, sent int
		says        string
	}{{1, 1, "interrupted; 1 value was sent"}, {3, 2, "line 3: interrupted while it waited for room; 2 values were sent before it"}} {
		cmd := command(t, "send", "--dir", dir, "--json", "ticks")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		_, err = io.WriteString(in, strings.Repeat("5\n", c.lines))
		require.NoError(t, err)
		// The last line is in the channel, or waits for room in it: a line that is not read yet is none that was interrupted.
		for ch.Len() < c.sent || c.lines > c.sent && ch.Stats().Waiting == 0 {
			runtime.Gosched()
		}
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait()
		require.Equal(t, 1, cmd.ProcessState.ExitCode())
		require.Contains(t, errs.String(), c.says)
		var r sendResult
		require.NoError(t, json.Unmarshal([]byte(out.String()), &r))
		require.Equal(t, c.sent, r.Sent)
		require.NotEmpty(t, r.Error)
		for range c.sent {
			_, err := ch.Recv()
			require.NoError(t, err)
		}
	}
}

// Who closes stays until all is received: with the last who leaves a closed channel goes what is in it.
func TestSendAndClose(t *testing.T) {
	dir := t.TempDir()
	someChannels(t, dir)
	cmd := command(t, "send", "--dir", dir, "--close", "--json", "ticks")
	cmd.Stdin = strings.NewReader("8\n9\n")
	var out strings.Builder
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for info, err := shmchan.Inspect("ticks", shmchan.WithDir(dir)); ; info, err = shmchan.Inspect("ticks", shmchan.WithDir(dir)) {
		require.NoError(t, err, "it has gone, and what was sent with it")
		if info.Closed {
			break
		}
		runtime.Gosched()
	}
	status, stdout, stderr := ownProcess(t, "", "recv", "--dir", dir, "ticks")
	require.Equal(t, 0, status, stderr)
	require.Equal(t, "7\n8\n9\n", stdout)
	require.NoError(t, cmd.Wait())
	require.JSONEq(t, `{"sent":2,"closed":true}`, out.String())

	cmd = command(t, "send", "--dir", dir, "--close", "--json", "spare")
	var errs strings.Builder
	out.Reset()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("8\n"), &out, &errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for info, err := shmchan.Inspect("spare", shmchan.WithDir(dir)); !info.Closed; info, err = shmchan.Inspect("spare", shmchan.WithDir(dir)) {
		require.NoError(t, err)
		runtime.Gosched()
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, errs.String(), `channel "spare": interrupted; 1 value was sent, and it is closed, but 2 values were not received: what is left in it goes with the last who leaves it`)
	require.Contains(t, out.String(), `"closed":true`)
}

// Every command takes --json, and what it writes then is JSON, a value or a value a line.
func TestEveryCommandTakesJSON(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			switch {
			case sub.Hidden || sub.Name() == "completion" || sub.Name() == "help": // No facts.
			default:
				require.NotNil(t, sub.Flags().Lookup("json"), sub.CommandPath())
				check(sub)
			}
		}
	}
	check(newRoot())
	dir := t.TempDir()
	someChannels(t, dir)
	for _, args := range [][]string{
		{"ls"}, {"stat", "ticks"}, {"gc", "--dry-run"}, {"schema", "ticks"}, {"schema", "bytes"}, {"version"}, {"doctor", "--quick"}, {"demo", "--values", "50"},
		{"tail", "--count", "1", "ticks"}, {"recv", "--count", "1", "ticks"}, {"send", "ticks"}, {"rm", "spare"}, {"bench", "--time", "1ms"},
	} {
		_, stdout, stderr := ownProcess(t, "3\n", append(args, "--json", "--dir", dir)...)
		d, n := json.NewDecoder(strings.NewReader(stdout)), 0
		for ; ; n++ {
			var v any
			err := d.Decode(&v)
			if err == io.EOF {
				break
			}
			require.NoError(t, err, "%v: %s%s", args, stdout, stderr)
		}
		require.Positive(t, n, "%v: %s", args, stderr)
	}
	cmd := command(t, "export", "--json", "--listen", "127.0.0.1:0", "--dir", dir)
	out := started(t, cmd)
	require.True(t, out.Scan())
	var at struct{ Serving string }
	require.NoError(t, json.Unmarshal(out.Bytes(), &at))
	status, _ := get(t, at.Serving)
	require.Equal(t, 200, status)
}

func TestDemoAsJSON(t *testing.T) {
	status, stdout, stderr := shmchanRun("demo", "--dir", cleanDirs(t), "--values", "3000", "--json")
	require.Equal(t, 0, status, stderr)
	var r auditResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.Passed)
	require.Equal(t, uint64(6000), r.Sent)
	require.Equal(t, uint64(6000), r.Received)
	require.Equal(t, []int{1, 1}, []int{r.SendersKilled, r.ReceiversKilled})
	require.Len(t, r.LatencyNs, 5)
	require.LessOrEqual(t, r.LatencyNs["p50"], r.LatencyNs["max"])
	require.Contains(t, stderr, "killed receiver 2 ")
}

// The library advises options of Open; who has the command needs flags.
func TestErrorsAreInTheCommandsWords(t *testing.T) {
	dir := t.TempDir()
	someChannels(t, dir)
	held, err := shmchan.Open[uint64]("single", shmchan.WithDir(dir), shmchan.WithSingleReceiver(), shmchan.WithSingleSender())
	require.NoError(t, err)
	defer func() { _ = held.Detach() }()
	option := regexp.MustCompile(`\b(With[A-Z]\w+|Open\w*|List|SendFunc|Detached|Values)\b`)
	for _, args := range [][]string{
		{"stat", "none"}, {"tail", "none"}, {"recv", "none"}, {"send", "none"}, {"schema", "none"}, {"rm", "none"}, {"stat", "junk"}, {"recv", "junk"}, {"recv", "single"}, {"send", "single"},
		{"ls", "--dir", "none"}, {"gc", "--dir", "none"}, {"top", "--json", "--dir", "none"}, {"export", "--dir", "none"},
	} {
		if !strings.Contains(strings.Join(args, " "), "--dir") {
			args = append(args, "--dir", dir)
		}
		status, _, stderr := shmchanRun(args...)
		require.Equal(t, 1, status, args)
		require.NotRegexp(t, option, stderr, args)
		require.Equal(t, 1, strings.Count(stderr, "shmchan: "), stderr)
	}
	_, stdout, _ := shmchanRun("gc", "--dry-run", "--dir", dir)
	require.Contains(t, stdout, "with 1 value; --detached takes it")
	require.NotRegexp(t, option, stdout)
}

func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 850: "850 ns", 1200: "1.2 µs", 34247704: "34.2 ms", 12345 * time.Millisecond: "12.3 s", 3*time.Minute + 7*time.Second: "3m7s",
	} {
		require.Equal(t, want, inWords(d))
	}
	require.Equal(t, "1.5 µs", shownCount("send_blocked_ns", 1500))
	require.Equal(t, "1500", shownCount("sent", 1500))
	require.Equal(t, fmt.Sprint(time.Duration(1<<63-1).Round(time.Second)), shownCount("x_ns", 1<<63))
}
