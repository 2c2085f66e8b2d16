package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// cleanDirs are the channels' and the temporary directory, empty now and after the test.
func cleanDirs(t *testing.T) (dir string) {
	t.Helper()
	dir, tmp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		for _, d := range []string{dir, tmp} {
			left, err := os.ReadDir(d)
			require.NoError(t, err)
			require.Empty(t, left, "nothing must be left behind")
		}
	})
	return dir
}

func TestDemo(t *testing.T) {
	for _, capacity := range []string{"1024", "1", "0"} {
		t.Run("capacity "+capacity, func(t *testing.T) {
			dir := cleanDirs(t)
			status, stdout, stderr := shmchanRun("demo", "--dir", dir, "--values", "3000", "--capacity", capacity)
			require.Equal(t, 0, status, "%s%s", stdout, stderr)
			require.Empty(t, stderr)
			require.Contains(t, stdout, "killed receiver 2 ")
			require.Contains(t, stdout, "started receiver 4 in its place\n")
			require.Regexp(t, `killed sender 1 \(pid \d+\) with SIGKILL after [\d,]+ values, with its number 1,501 half written`, stdout)
			require.Contains(t, stdout, "started sender 3 in its place for the remaining 1,500 values\n")
			require.Regexp(t, `(?m)^  sent +6,000 `, stdout)
			require.Regexp(t, `(?m)^  received +6,000 `, stdout)
			require.Regexp(t, `(?m)^  unanswered +1 `, stdout)
			require.Contains(t, stdout, "number 1,501 of sender 1, which was killed while sending it: it was not delivered")
			require.Contains(t, stdout, "PASSED")
		})
	}
}

func TestDemoOfVeryFewValues(t *testing.T) {
	for _, values := range []string{"1", "2", "5"} {
		status, stdout, stderr := shmchanRun("demo", "--dir", cleanDirs(t), "--values", values)
		require.Equal(t, 0, status, "%s%s", stdout, stderr)
		require.Contains(t, stdout, "PASSED")
	}
}

func TestDemoSendsTheInput(t *testing.T) {
	dir := cleanDirs(t)
	input := t.TempDir() + "/mine.csv"
	require.NoError(t, os.WriteFile(input, []byte("symbol,side,price,quantity\nMINE,buy,1,1\n"), 0o600))
	status, stdout, stderr := shmchanRun("demo", "--dir", dir, "--values", "50", "--input", input)
	require.Equal(t, 0, status, "%s%s", stdout, stderr)
}

// longDemo starts a demo that would go on for half a minute, as a process, and returns when it
// has shown its progress for the first time. The pipe ends when it and all its processes are gone.
func longDemo(t *testing.T, dir string) (cmd *exec.Cmd, stdout *bufio.Reader, stderr *bytes.Buffer, allGone io.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "demo", "--dir", dir, "--values", "10000000", "--capacity", "0")
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	// Descriptor 3 is replaced in the demo's processes, 4 they inherit.
	cmd.ExtraFiles = []*os.File{w, w}
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = r.Close() })
	require.NoError(t, r.SetReadDeadline(time.Now().Add(patience)))
	stdout = bufio.NewReader(pipe)
	waitForLine(t, stdout, "processes 5")
	return cmd, stdout, stderr, r
}

func waitForLine(t *testing.T, out *bufio.Reader, with string) {
	t.Helper()
	for {
		line, err := out.ReadString('\n')
		require.NoError(t, err, "before a line with %q", with)
		if strings.Contains(line, with) {
			return
		}
	}
}

func TestDemoInterrupted(t *testing.T) {
	dir := cleanDirs(t)
	cmd, stdout, stderr, allGone := longDemo(t, dir)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_, err := io.Copy(io.Discard, stdout)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, stderr.String(), "interrupted")
	_, err = io.Copy(io.Discard, allGone)
	require.NoError(t, err, "its processes must be gone")
}

func TestDemoThatIsKilledTakesItsProcessesAlong(t *testing.T) {
	dir := cleanDirs(t)
	cmd, _, _, allGone := longDemo(t, dir)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	_, err := io.Copy(io.Discard, allGone)
	require.NoError(t, err, "its processes must be gone")
}

// Somebody else may kill its processes, too.
func TestDemoReplacesWhatOthersKill(t *testing.T) {
	dir := cleanDirs(t)
	var out lineWriter
	name, killed := "", 0
	out.onLine = func(line string) {
		if m := regexp.MustCompile(`"(demo-[0-9a-f]+)"`).FindStringSubmatch(line); m != nil {
			name = m[1]
		}
		m := regexp.MustCompile(`killed sender 1 \(pid (\d+)\)`).FindStringSubmatch(line)
		if m == nil {
			return
		}
		// In the middle; the receivers end when the demo closes the channel, and it waits for this.
		info, err := shmchan.Inspect(name, shmchan.WithDir(dir))
		require.NoError(t, err)
		for _, p := range info.Peers {
			if p.Alive && p.PID != os.Getpid() && fmt.Sprint(p.PID) != m[1] {
				require.NoError(t, syscall.Kill(p.PID, syscall.SIGKILL))
				killed++
			}
		}
		require.Positive(t, killed)
	}
	var stderr bytes.Buffer
	status := run([]string{"demo", "--dir", dir, "--values", "500000"}, &out, &stderr)
	require.Equal(t, 0, status, "%s%s", out.String(), stderr.String())
	require.Positive(t, killed)
	require.Contains(t, out.String(), "was killed by somebody else")
	require.Contains(t, out.String(), "PASSED")
}

// lineWriter calls onLine for what is written, at once.
type lineWriter struct {
	bytes.Buffer
	onLine func(string)
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.onLine(string(b))
	return w.Buffer.Write(b)
}

func TestDemoFailsWithAProcessThatFails(t *testing.T) {
	dir := cleanDirs(t)
	var out lineWriter
	out.onLine = func(line string) {
		// Without its channel no process can begin.
		if m := regexp.MustCompile(`"(demo-[0-9a-f]+)"`).FindStringSubmatch(line); m != nil {
			require.NoError(t, shmchan.Remove(m[1], shmchan.WithDir(dir)))
		}
	}
	var stderr bytes.Buffer
	status := run([]string{"demo", "--dir", dir}, &out, &stderr)
	require.Equal(t, 1, status, "%s%s", out.String(), stderr.String())
	require.Regexp(t, `^shmchan: (sender|receiver) \d \(pid \d+\) failed: exit status 1: shmchan: channel "demo-`, stderr.String())
	require.Equal(t, 1, strings.Count(stderr.String(), "\n"))
}

func TestMembersAreForTheDemoOnly(t *testing.T) {
	for _, args := range [][]string{{"demo-sender"}, {"demo-receiver"}, {"demo-sender", "--number", "-1"}, {"demo-receiver", "--number", "64"}} {
		cmd := exec.Command(os.Args[0], args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 1, cmd.ProcessState.ExitCode())
		require.Equal(t, 1, bytes.Count(out, []byte("\n")), "%s", out)
		require.Contains(t, string(out), "start")
	}
}
