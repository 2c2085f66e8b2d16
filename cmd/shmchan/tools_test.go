package main

// ls, stat --watch, gc, top, bench and completion as a user has them: the real program, started as a process, in a
// real terminal where it is made for one.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

const (
	programEnv = "SHMCHAN_TEST_PROGRAM" // the test binary is the program
	holderEnv  = "SHMCHAN_TEST_HOLD"    // the test binary holds channels in that directory, until it is killed
)

// hold makes two channels, one with values.
func hold(dir string) int {
	for name, values := range map[string]int{"dead-empty": 0, "dead-full": 2} {
		ch, err := shmchan.Open[trade](name, shmchan.WithDir(dir), shmchan.WithCapacity(4))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		for range values {
			_ = ch.Send(trade{})
		}
	}
	fmt.Println("there")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	return cmd
}

// started starts it, to be killed at the end, and returns its output.
func started(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return bufio.NewScanner(out)
}

func TestEveryCommandHasAnExample(t *testing.T) {
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		require.NotEmpty(t, c.Example, "the help of %q has an example", c.CommandPath())
		require.NotEmpty(t, c.Short, c.CommandPath())
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				check(sub)
			}
		}
	}
	root := newRoot()
	addCompletion(root)
	check(root)
}

func TestChannelsComplete(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "trades")
	open(t, dir, "quotes")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"stat", ""}, "quotes\ntrades\n"},
		{[]string{"stat", "tr"}, "trades\n"},
		{[]string{"stat", "trades", ""}, ""},
		{[]string{"rm", "trades", ""}, "quotes\n"},
	} {
		_, stdout, _ := shmchanRun(append([]string{"__complete", "--dir", dir}, c.args...)...)
		names, _, _ := strings.Cut(stdout, ":")
		require.Equal(t, c.want, names, "%v", c.args)
	}
	status, stdout, _ := shmchanRun("completion", "bash")
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "__complete")

	// PowerShell's, which is not there to press the key in: it asks the program as the others do.
	status, stdout, stderr := shmchanRun("completion", "powershell")
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stdout, "Register-ArgumentCompleter -CommandName 'shmchan' -ScriptBlock")
	require.Contains(t, stdout, "__complete")
	require.True(t, strings.HasSuffix(stdout, "\n"))
}

func TestJSON(t *testing.T) {
	dir := t.TempDir()
	ch := open(t, dir, "trades")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), []byte("junk"), 0o600))
	status, stdout, stderr := shmchanRun("ls", "--dir", dir, "--json", "--over", "10ms")
	require.Equal(t, 0, status, stderr)
	var all []view
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 2)
	require.Equal(t, "corrupt", all[0].State)
	require.NotEmpty(t, all[0].Error)
	v := all[1]
	require.Equal(t, 10, v.Capacity)
	require.Equal(t, 3, v.Length)
	require.Equal(t, uint64(3), v.Counters["sent"])
	require.NotNil(t, v.Rates)
	require.Zero(t, v.Rates.Sent)
	require.Len(t, v.Peers, 1)
	require.Equal(t, os.Getpid(), v.Peers[0].PID)
	if runtime.GOOS == "linux" {
		require.Contains(t, v.Peers[0].Command, filepath.Base(os.Args[0]))
	}
	require.Equal(t, "no", v.Peers[0].Blocked)
	require.NotEmpty(t, v.Layout)

	// Who waits is blocked, and in which direction.
	for range 3 {
		_, err := ch.Recv()
		require.NoError(t, err)
	}
	done := make(chan error)
	go func() { _, err := ch.Recv(); done <- err }()
	for ch.Stats().Parked == 0 {
		runtime.Gosched()
	}
	_, stdout, _ = shmchanRun("stat", "--dir", dir, "--json", "trades")
	v = view{}
	require.NoError(t, json.Unmarshal([]byte(stdout), &v))
	require.Equal(t, "receiving", v.Peers[0].Blocked)
	require.NoError(t, ch.Send(trade{}))
	require.NoError(t, <-done)

	status, stdout, _ = shmchanRun("rm", "--dir", dir, "--json", "trades", "missing")
	require.Equal(t, 1, status)
	var gone []removed
	require.NoError(t, json.Unmarshal([]byte(stdout), &gone))
	require.True(t, gone[0].Removed)
	require.False(t, gone[1].Removed)
	require.NotEmpty(t, gone[1].Error)
	_, stdout, _ = shmchanRun("version", "--json")
	require.True(t, json.Valid([]byte(stdout)), stdout)
}

// It goes on until the channel is gone, which is an error.
func TestStatWatches(t *testing.T) {
	dir := t.TempDir()
	ch := open(t, dir, "trades")
	cmd := command(t, "stat", "--dir", dir, "trades", "--watch", "--every", "20ms", "--json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out := started(t, cmd)
	var v view
	for i := 0; v.Rates == nil || v.Rates.Sent == 0; i++ {
		require.True(t, out.Scan())
		v = view{}
		require.NoError(t, json.Unmarshal(out.Bytes(), &v), out.Text())
		require.NoError(t, ch.Send(trade{}))
		_, err := ch.Recv()
		require.NoError(t, err)
		require.Less(t, i, 1000)
	}
	require.NoError(t, shmchan.Remove("trades", shmchan.WithDir(dir)))
	for out.Scan() {
		require.True(t, json.Valid(out.Bytes()))
	}
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, errs.String(), `channel "trades"`)

	open(t, dir, "others")
	cmd = command(t, "stat", "--dir", dir, "others", "--watch", "--every", "20ms")
	out = started(t, cmd)
	require.True(t, out.Scan())
	require.Contains(t, out.Text(), "length 3 of 10")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	for out.Scan() {
	}
	require.NoError(t, cmd.Wait(), "an interrupted watch has done what it was to do")
}

// Ten watch a channel that nobody uses: no byte of it changes, and none of them has a lock. TestWatchedIsAsFast is about one that is busy.
func TestWatchersDoNotDisturb(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "trades")
	path := filepath.Join(dir, "shmchan.trades")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	var watchers []*exec.Cmd
	var outs []*bufio.Scanner
	for range 10 {
		cmd := command(t, "stat", "--dir", dir, "trades", "--watch", "--every", "50ms")
		outs = append(outs, started(t, cmd))
		watchers = append(watchers, cmd)
	}
	for range 3 {
		for _, out := range outs {
			require.True(t, out.Scan())
		}
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the channel's memory has changed")
	locks, err := os.ReadFile("/proc/locks")
	if err == nil {
		for _, w := range watchers {
			require.NotContains(t, string(locks), fmt.Sprintf(" %d ", w.Process.Pid), "a watcher holds a lock")
		}
	}
}

// Every look opens the channel to read and maps it to read, and asks for locks but takes none.
func TestStatOnlyReads(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace to see what stat calls")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	dir := t.TempDir()
	open(t, dir, "trades")
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(strace, "-f", "-yy", "-o", log, "-e", "trace=openat,mmap,mprotect,fcntl,flock,write,pwrite64,ftruncate,unlinkat", os.Args[0], "stat", "--dir", dir, "trades", "--over", "10ms")
	cmd.Env = append(os.Environ(), programEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	opened, mapped := 0, 0
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "shmchan.trades") {
			continue
		}
		switch {
		case strings.Contains(line, "openat("):
			opened++
			require.Contains(t, line, "O_RDONLY", line)
		case strings.Contains(line, "mmap("):
			mapped++
			require.Contains(t, line, "PROT_READ, ", line)
		case strings.Contains(line, "fcntl("):
			require.NotContains(t, line, "SETLK", line)
		case strings.Contains(line, "write(1<"), strings.Contains(line, "resumed"):
		default:
			require.Fail(t, "it does more than look", line)
		}
	}
	require.Equal(t, 2, opened, string(b))
	require.Equal(t, 2, mapped, string(b))
}

func TestGC(t *testing.T) {
	dir := t.TempDir()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderEnv+"="+dir)
	out := started(t, holder)
	require.True(t, out.Scan())
	open(t, dir, "held")
	gc := func(args ...string) map[string]leftover {
		var b bytes.Buffer
		cmd := command(t, append([]string{"gc", "--dir", dir, "--json"}, args...)...)
		cmd.Stdout = &b
		require.NoError(t, cmd.Run())
		var all []leftover
		require.NoError(t, json.Unmarshal(b.Bytes(), &all))
		found := map[string]leftover{}
		for _, l := range all {
			require.NotEmpty(t, l.Why)
			found[l.Name] = l
		}
		return found
	}
	require.True(t, gc("--values", "--detached")["dead-empty"].Held)
	require.NoError(t, holder.Process.Kill())
	_ = holder.Wait()

	status, stdout, stderr := shmchanRun("gc", "--dir", dir, "--dry-run")
	require.Equal(t, 0, status, stderr)
	require.Equal(t, "would go", strings.Join(fields(t, stdout, "would")[:2], " "))
	require.Contains(t, stdout, fmt.Sprintf("pid %d died while attached", holder.Process.Pid))
	require.Contains(t, stdout, "--values takes it")
	all := gc("--dry-run", "--values")
	require.True(t, all["dead-full"].Goes)
	require.Equal(t, 2, all["dead-full"].Values)
	all = gc()
	require.True(t, all["dead-empty"].Goes)
	require.False(t, all["dead-full"].Goes)
	require.False(t, all["held"].Goes)
	require.True(t, gc("--values")["dead-full"].Goes)
	names, err := shmchan.List(shmchan.WithDir(dir))
	require.NoError(t, err)
	require.Equal(t, []string{"held"}, names)
	status, _, stderr = shmchanRun("gc", "--dir", filepath.Join(dir, "missing"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "check --dir")
}

func TestTopInATerminal(t *testing.T) {
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("there is no tmux, whose terminal this needs")
	}
	dir := t.TempDir()
	ch := open(t, dir, "alpha")
	open(t, dir, "beta", shmchan.WithSingleSender())
	sockets, server := t.TempDir(), 0
	socket := ""
	do := func(args ...string) string {
		out, err := exec.Command(tmux, append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return string(out)
	}
	// A screen may be seen when only a part of what changes is drawn anew: so what is looked for is waited for.
	showsSo := func(colours bool, so func(screen string) bool, what ...string) (screen string) {
		args := []string{"capture-pane", "-p"}
		if colours {
			args = append(args, "-e")
		}
		for began := time.Now(); ; runtime.Gosched() {
			screen = do(args...)
			if !slices.ContainsFunc(what, func(s string) bool { return !strings.Contains(screen, s) }) && so(screen) {
				return screen
			}
			require.Less(t, time.Since(began), patience, "%v in\n%s", what, screen)
		}
	}
	shows := func(colours bool, what ...string) (screen string) {
		return showsSo(colours, func(string) bool { return true }, what...)
	}
	begin := func(env ...string) {
		line := fmt.Sprintf("env %s=1 %s '%s' top --dir '%s' --every 100ms; echo ended $?", programEnv, strings.Join(env, " "), os.Args[0], dir)
		server++ // A server of its own: the one before may still be ending.
		socket = filepath.Join(sockets, fmt.Sprint(server))
		do("new-session", "-d", "-x", "80", "-y", "24", "sh")
		do("send-keys", "-l", line)
		do("send-keys", "Enter")
	}
	t.Cleanup(func() { _ = exec.Command(tmux, "-S", socket, "kill-server").Run() })

	begin("NO_COLOR=")
	screen := showsSo(false, func(screen string) bool { return strings.Index(screen, "alpha") < strings.Index(screen, "beta") },
		"2 channels", "NAME▾", "alpha", "beta", "open", "STATE", "q quit")
	for line := range strings.Lines(screen) {
		require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80)
	}
	require.NotContains(t, screen, "TYPE", "80 columns have no room for it")
	shows(true, "alpha", "\x1b[3") // There are colours.
	do("send-keys", "n")
	showsSo(false, func(screen string) bool { return strings.Index(screen, "alpha") > strings.Index(screen, "beta") }, "NAME▴", "alpha", "beta") // The other way round.
	do("send-keys", "l")
	shows(false, "LEN▾")
	do("resize-window", "-x", "120", "-y", "12")
	shows(false, "TYPE", "main.trade")
	for range 7 {
		require.NoError(t, ch.Send(trade{}))
	}
	shows(false, " 10 ")
	do("send-keys", "q")
	shows(false, "ended 0")
	do("kill-server")

	begin("NO_COLOR=1")
	shows(false, "alpha")
	screen = shows(true, "alpha")
	for _, colour := range []string{"\x1b[31", "\x1b[33", "\x1b[36", ";36", ";33", ";31", "[38;"} {
		require.NotContains(t, screen, colour, "NO_COLOR is set")
	}
	do("send-keys", "q")
	shows(false, "ended 0")
	do("kill-server")

	status, _, stderr := shmchanRun("top", "--dir", dir)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "needs a terminal")
	cmd := command(t, "top", "--dir", dir, "--json", "--every", "20ms")
	out := started(t, cmd)
	for range 2 {
		require.True(t, out.Scan())
		require.True(t, json.Valid(out.Bytes()))
	}
}

func TestBench(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "bench.svg")
	status, stdout, stderr := shmchanRun("bench", "--time", "20ms", "--svg", svg)
	if runtime.NumCPU() < 2 {
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "one CPU only")
		return
	}
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stderr, "[11/11]")
	require.Contains(t, stdout, "a cache line there and back")
	require.Contains(t, stdout, "█")
	b, err := os.ReadFile(svg)
	require.NoError(t, err)
	require.Contains(t, string(b), "<svg")
	status, _, stderr = shmchanRun("bench-peer")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "shmchan")
}

func TestBar(t *testing.T) {
	require.Equal(t, "████", bar(1, 4))
	require.Equal(t, "██", bar(0.5, 4))
	require.Equal(t, "▏", bar(1.0/32, 4))
	require.Equal(t, "", bar(0, 4))
}
