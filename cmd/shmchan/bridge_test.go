package main

import (
	"testing"

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
