package main

// Peers that misbehave: a wrong value fails the run; one that dies or hangs fails with
// its name, and neither leaves a process nor a file. The peers are this test binary.
//
// What it does not show: that each real peer checks what it receives. That code is small
// and the same for all peers of a language.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

const (
	peerEnv = "SHMCHAN_BENCH_TEST_PEER" // how the binary misbehaves as a peer
	pidsEnv = "SHMCHAN_BENCH_TEST_PIDS" // a directory in which it notes the processes that it is
	hangEnv = "SHMCHAN_BENCH_TEST_HANG" // a named pipe in which it says that it hangs
)

func TestMain(m *testing.M) {
	if how := os.Getenv(peerEnv); how != "" {
		note(os.Getpid())
		contract.Main(func(a contract.Args) (func(*contract.Result) error, error) { return misbehave(how, a) })
		return
	}
	os.Exit(m.Run())
}

func note(pid int) {
	if err := os.WriteFile(filepath.Join(os.Getenv(pidsEnv), fmt.Sprint(pid)), nil, 0o600); err != nil {
		panic(err)
	}
}

// hang says so, and does.
func hang() {
	f, err := os.OpenFile(os.Getenv(hangEnv), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("h")
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// misbehave is a peer that has made a file, and does one thing wrong.
func misbehave(how string, a contract.Args) (func(*contract.Result) error, error) {
	if a.Row == contract.Line {
		return func(r *contract.Result) error {
			r.Lat = []int64{100}
			return nil
		}, nil
	}
	if err := os.WriteFile(filepath.Join(a.Dir, a.Role), nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(memory, "by-id-"+a.ID+a.Role), nil, 0o600); err != nil {
		return nil, err
	}
	if a.Role == contract.Recv && how == "parent" {
		c := exec.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			return nil, err
		}
		note(c.Process.Pid)
		how = "hangs"
	}
	switch how {
	case "dies before":
		return nil, fmt.Errorf("it died of something")
	case "hangs before":
		hang()
	}
	return func(r *contract.Result) error {
		if a.Role == contract.Send {
			r.Count = a.Count
			return nil
		}
		switch how {
		case "hangs":
			hang()
		case "dies":
			return fmt.Errorf("it died of something")
		}
		return contract.Work(a, &counter{how: how}, r)
	}, nil
}

// counter gives the values that it should, but for one.
type counter struct {
	next uint64
	how  string
}

func (c *counter) Send(*[8]uint64) error { return nil }

func (c *counter) Recv(v *[8]uint64) error {
	contract.Mark(v, 0, c.next)
	c.next++
	if c.next == 100 {
		switch c.how {
		case "loses":
			c.next++
		case "repeats":
			c.next--
		case "tears":
			v[7]--
		}
	}
	return nil
}

// once runs the row in which the peers misbehave, and returns what the run says. The limit is over when one of them hangs.
func once(t *testing.T, how string) ([]measurement, error) {
	t.Helper()
	if err := canPin([]int{0}); err != nil {
		t.Skip(err)
	}
	pids := t.TempDir()
	t.Setenv(peerEnv, how)
	t.Setenv(pidsEnv, pids)
	before := leftovers(t)
	pipe := filepath.Join(t.TempDir(), "hangs")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	t.Setenv(hangEnv, pipe)
	hangs, err := os.OpenFile(pipe, os.O_RDWR, 0) // So that nobody waits for the other to open it.
	require.NoError(t, err)
	defer func() { _ = hangs.Close() }()
	late := make(chan struct{})
	go func() {
		for {
			if _, err := hangs.Read(make([]byte, 1)); err != nil {
				return
			}
			select {
			case late <- struct{}{}:
			case <-t.Context().Done():
			}
		}
	}()

	self, err := os.Executable()
	require.NoError(t, err)
	r := row{Name: "oneway/64", Kind: contract.OneWay, Size: 64, Cap: capacity}
	p := &peer{Name: "the odd one", rows: does(oneway), program: &program{command: []string{self}}}
	b := &bench{
		settings: settings{Time: time.Millisecond, Repeat: 2, CPUs: []int{0, 0}},
		quick:    true,
		line:     []string{self},
		runner:   &runner{launch: newLauncher(), limit: 2 * time.Second, late: func() <-chan struct{} { return late }},
		progress: t.Logf,
	}
	all, runErr := b.run(context.Background(), []row{r}, []*peer{p})

	assert.Equal(t, before, leftovers(t), "files that were left")
	noted, dirErr := os.ReadDir(pids)
	require.NoError(t, dirErr)
	require.NotEmpty(t, noted)
	for _, n := range noted {
		for began := time.Now(); !gone(n.Name()); runtime.Gosched() { // It was killed, and dies when it is its turn.
			require.Less(t, time.Since(began), 5*time.Minute, "process %s is still there", n.Name()) // It would be for longer.
		}
	}
	if runErr == nil {
		runErr = (&report{All: all}).failures()
	}
	return all, runErr
}

func leftovers(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(memory, "*shmchan-bench-*"))
	require.NoError(t, err)
	return found
}

// gone says that no such process runs; one that is dead and whose parent has not yet
// heard of it counts as gone.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

func TestPeerThatBehaves(t *testing.T) {
	all, err := once(t, "behaves")
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.EqualValues(t, 8*whole, all[1].Count)
	assert.Equal(t, near, all[1].Placement)
}

func TestWrongValueFailsTheRun(t *testing.T) {
	for _, how := range []string{"loses", "repeats", "tears"} {
		t.Run(how, func(t *testing.T) {
			_, err := once(t, how)
			require.ErrorIs(t, err, errWrong)
			assert.ErrorContains(t, err, "the odd one")
			assert.ErrorContains(t, err, "was next")
		})
	}
}

func TestPeerThatDies(t *testing.T) {
	for _, how := range []string{"dies", "dies before"} {
		t.Run(how, func(t *testing.T) {
			all, err := once(t, how)
			require.ErrorContains(t, err, "the odd one")
			require.ErrorContains(t, err, "it died of something")
			assert.Len(t, all, 1, "it does not take part in the second round")
		})
	}
}

// The limit is what ends it, and is over when a peer hangs, however long it took to start.
func TestPeerThatHangs(t *testing.T) {
	for _, how := range []string{"hangs", "hangs before", "parent"} {
		t.Run(how, func(t *testing.T) {
			_, err := once(t, how)
			require.ErrorContains(t, err, "the odd one")
			require.ErrorContains(t, err, "not done after 2s")
		})
	}
}
