package shmcapnp

// Processes for tests: the test binary runs itself with a role. And after all tests: nothing may be left open or mapped.

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const childEnv = "SHMCAPNP_TEST_CHILD"

// roles are what a child can be. A role ends when it is done or its standard input ends, for then the parent is gone.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	code := m.Run()
	if maps, _ := os.ReadFile("/proc/self/maps"); code == 0 && strings.Contains(string(maps), "/shmcapnp-test-") { // Only Linux tells.
		fmt.Fprintf(os.Stderr, "left mapped after all tests:\n%s", maps)
		code = 1
	}
	os.Exit(code)
}

// memDir is a directory for channels, in the memory file system where there is one.
func memDir(t testing.TB) string {
	t.Helper()
	parent := ""
	if runtime.GOOS == "linux" {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "shmcapnp-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// child is a process in a role.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	errs strings.Builder
	done bool
}

func start(t testing.TB, role string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0], args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+role)
	c.cmd.Stderr = &c.errs
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewScanner(out)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(c.kill)
	return c
}

// kill ends the child by SIGKILL and waits until it is gone.
func (c *child) kill() {
	if !c.done {
		c.done = true
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// line waits for the child's next line.
func (c *child) line() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.done = true
		c.t.Fatalf("the child ended: %v: %s", c.cmd.Wait(), c.errs.String())
	}
	return c.out.Text()
}

// wait waits until the child has ended by itself.
func (c *child) wait() {
	c.t.Helper()
	c.done = true
	require.NoError(c.t, c.cmd.Wait(), c.errs.String())
}
