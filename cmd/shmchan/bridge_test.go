package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

func TestDemoOfTwoMachines(t *testing.T) {
	status, stdout, stderr := shmchanRun("demo", "--machines", "2", "--values", "20000", "--dir", cleanDirs(t))
	require.Equal(t, 0, status, "%s%s", stdout, stderr)
	require.Contains(t, stdout, "killed the sending end")
	require.Contains(t, stdout, "killed the receiving end")
	require.Contains(t, stdout, "lost       0\n")
	require.Contains(t, stdout, "PASSED")
}

// twoMachines is a demo of them at work, with an end of the bridge on each.
type twoMachines struct {
	*exec.Cmd
	errs        bytes.Buffer
	here, there string // the directories of their channels
}

func startTwoMachines(t *testing.T) *twoMachines {
	t.Helper()
	tmp, err := os.MkdirTemp("", "shmchan-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(tmp) }) // The server may still be writing there.
	m := &twoMachines{Cmd: command(t, "demo", "--machines", "2", "--values", "10000000")}
	m.Env = append(m.Env, "TMPDIR="+tmp)
	m.Stderr = &m.errs
	out := started(t, m.Cmd)
	require.True(t, out.Scan())
	_, rest, _ := strings.Cut(out.Text(), "two machines: ")
	rest, _, _ = strings.Cut(rest, ", joined by ")
	var ok bool
	m.here, m.there, ok = strings.Cut(rest, " and ")
	require.True(t, ok, out.Text())
	for len(holders(t, m.here)) < 2 || len(holders(t, m.there)) < 2 { // The demo and its end of the bridge.
		runtime.Gosched()
	}
	return m
}

// holders are the processes that have that directory's channel.
func holders(t *testing.T, dir string) (pids []int) {
	t.Helper()
	info, err := shmchan.Inspect("trades", shmchan.WithDir(dir))
	require.NoError(t, err)
	for _, p := range info.Peers {
		if p.Alive {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// Both ends of the bridge end with the demo, also if that is killed: nobody holds the channels any more.
func TestDemoOfTwoMachinesKilled(t *testing.T) {
	m := startTwoMachines(t)
	require.NoError(t, m.Process.Kill())
	for len(holders(t, m.here)) > 0 || len(holders(t, m.there)) > 0 {
		runtime.Gosched()
	}
}

// An end that somebody else ends is not waited for.
func TestDemoOfTwoMachinesLosesAnEnd(t *testing.T) {
	for _, end := range []string{"sending", "receiving"} {
		m := startTwoMachines(t)
		dir := map[string]string{"sending": m.here, "receiving": m.there}[end]
		for _, pid := range holders(t, dir) {
			if pid != m.Process.Pid {
				require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}
		require.Error(t, m.Wait())
		require.Equal(t, 1, m.ProcessState.ExitCode(), m.errs.String())
		require.Contains(t, m.errs.String(), "shmchan: the "+end+" end of the bridge ended: signal: killed")
		require.Equal(t, 1, strings.Count(m.errs.String(), "\n"), "one line: %s", m.errs.String())
	}
}

func TestBridgeSaysWhatIsWrong(t *testing.T) {
	for _, args := range [][]string{
		{"bridge"}, {"bridge", "x"}, {"bridge", "x", "--send"}, {"bridge", "x", "--send", "--recv", "--url", "u"},
		{"bridge", "x", "--send", "--url", "u", "--listen", "127.0.0.1:0"}, {"bridge", "x", "--recv", "--listen", "127.0.0.1:0"},
		{"bridge", "x", "--send", "--url", "u", "--window", "0"}, {"bridge", "x", "--send", "--url", "u", "--tls-cert", "c"}, {"demo", "--machines", "3"},
	} {
		status, stdout, stderr := shmchanRun(args...)
		require.Equal(t, 2, status, "%v: %s", args, stderr)
		require.Empty(t, stdout)
	}
	status, _, stderr := shmchanRun("bridge", "nothing", "--send", "--url", "nats://127.0.0.1:1", "--dir", t.TempDir())
	require.Equal(t, 1, status)
	require.Contains(t, stderr, `channel "nothing"`)
	for _, login := range [][]string{{"--nkey", "nowhere"}, {"--creds", "nowhere"}, {"--tls-ca", "nowhere"}, {"--tls-cert", "nowhere", "--tls-key", "nowhere"}} {
		status, _, stderr := shmchanRun(append([]string{"bridge", "nothing", "--recv", "--url", "nats://127.0.0.1:1", "--dir", t.TempDir()}, login...)...)
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "nowhere", "%v", login)
	}
}
