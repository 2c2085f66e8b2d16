package main

import (
	"os"
	"runtime"
	"strings"
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

// Both ends of the bridge end with the demo, also if that is killed: nobody holds the channels any more.
func TestDemoOfTwoMachinesKilled(t *testing.T) {
	tmp, err := os.MkdirTemp("", "shmchan-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(tmp) }) // The server may still be writing there.
	cmd := command(t, "demo", "--machines", "2", "--values", "10000000")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	out := started(t, cmd)
	require.True(t, out.Scan())
	_, rest, _ := strings.Cut(out.Text(), "two machines: ")
	rest, _, _ = strings.Cut(rest, ", joined by ")
	here, there, ok := strings.Cut(rest, " and ")
	require.True(t, ok, out.Text())
	holders := func(dir string, n int) bool {
		info, err := shmchan.Inspect("trades", shmchan.WithDir(dir))
		require.NoError(t, err)
		alive := 0
		for _, p := range info.Peers {
			if p.Alive {
				alive++
			}
		}
		return alive == n
	}
	for !holders(here, 2) || !holders(there, 2) { // The demo and its end of the bridge.
		runtime.Gosched()
	}
	require.NoError(t, cmd.Process.Kill())
	for !holders(here, 0) || !holders(there, 0) {
		runtime.Gosched()
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
