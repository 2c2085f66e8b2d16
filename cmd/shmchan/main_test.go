package main

// The test binary is also the program: started with a demo command or doctor-echo it is shmchan.

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		os.Exit(hold(dir))
	}
	if os.Getenv(programEnv) != "" || len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") { // A command, and no flag of a test.
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// shmchanRun runs the program in this process.
func shmchanRun(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestWrongUsageExitsWith2(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"--nonsense"},
		{"ls", "--nonsense"},
		{"ls", "more"},
		{"stat"},
		{"stat", "a", "b"},
		{"rm"},
		{"version", "more"},
		{"demo", "more"},
		{"doctor", "more"},
		{"doctor", "--nonsense"},
		{"demo", "--values", "0"},
		{"demo", "--values", "10000001"},
		{"demo", "--values", "many"},
		{"demo", "--capacity", "-1"},
		{"stat", "a", "--every", "1ms"},
		{"top", "--sort", "?"},
		{"top", "more"},
		{"gc", "more"},
		{"bench", "--time", "0s"},
	} {
		status, stdout, stderr := shmchanRun(args...)
		require.Equal(t, 2, status, "%v: %s", args, stderr)
		require.Empty(t, stdout, "%v", args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
		require.Contains(t, stderr, "--help", "%v", args)
	}
}

func TestHelpSaysWhatTheTradesAre(t *testing.T) {
	status, stdout, _ := shmchanRun("demo", "--help")
	require.Equal(t, 0, status)
	for _, s := range []string{"synthetic", "symbol", "side", "price", "quantity", "SIGKILL"} {
		require.Contains(t, stdout, s)
	}
	require.NotContains(t, stdout, "demo-sender")
}
