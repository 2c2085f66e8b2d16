package shmchan

// Processes for tests: the test binary runs itself with a role. And after all
// tests: nothing may be left open or mapped.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	childEnv   = "SHMCHAN_TEST_CHILD"
	testDirEnv = "SHMCHAN_TEST_DIR" // for those who kill tests and want to clear up after them: tools/mutants
)

// roles are what a child can be; each file adds its own. A role ends when it is
// done or its standard input ends, for then the parent is gone.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	_ = fencesReach() // It takes its time, once.
	if role := os.Getenv(childEnv); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	code := m.Run()
	leaks := leaked()
	for began := time.Now(); code == 0 && len(leaks) > 0 && time.Since(began) < time.Minute; leaks = leaked() {
		runtime.Gosched() // A call of the last test may be on its way out, and lets go of its handle.
	}
	if code == 0 && len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "left open or mapped after all tests:\n%s\n", strings.Join(leaks, "\n"))
		code = 1
	}
	os.Exit(code)
}

// leaked lists the descriptors and mappings of channels that this process still has.
// Only Linux tells.
func leaked() (found []string) {
	if runtime.GOOS != "linux" {
		return nil
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.Contains(to, filePrefix) {
			found = append(found, "descriptor "+to)
		}
	}
	self, _ := os.Executable()
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if (strings.Contains(line, "/"+filePrefix) || strings.Contains(line, "/memfd:"+filePrefix)) && !strings.Contains(line, self) {
			found = append(found, "mapping "+strings.TrimSpace(line))
		}
	}
	return found
}

// programEnv is the command that runs the roles, if it is not this binary: the same
// behind an emulator, or a binary for another machine.
const programEnv = "SHMCHAN_TEST_PROGRAM"

// program is the command that runs a role. Tests put others in its place.
var program = func(string) []string {
	if p := strings.Fields(os.Getenv(programEnv)); len(p) > 0 {
		return p
	}
	return []string{os.Args[0]}
}

// child is a process in a role.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	args []string // of the role
	in   io.WriteCloser
	out  *bufio.Scanner
	errs strings.Builder
	done bool
}

func start(t testing.TB, role string, args ...any) *child {
	t.Helper()
	return startBy(t, (*exec.Cmd).Start, role, args...)
}

// startBy is start by a function of one's own.
func startBy(t testing.TB, run func(*exec.Cmd) error, role string, args ...any) *child {
	t.Helper()
	c := &child{t: t}
	words := slices.Clone(program(role))
	for _, a := range args {
		c.args = append(c.args, fmt.Sprint(a))
	}
	c.cmd = exec.Command(words[0], append(words[1:], c.args...)...)
	c.cmd.Env = append(os.Environ(), childEnv+"="+role)
	c.cmd.Stderr = &c.errs
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewScanner(out)
	require.NoError(t, run(c.cmd))
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

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(s))
}

// stop stops the child by SIGSTOP, all of its threads, before it returns.
func (c *child) stop() {
	c.t.Helper()
	c.signal(syscall.SIGSTOP)
	var st syscall.WaitStatus
	_, err := syscall.Wait4(c.cmd.Process.Pid, &st, syscall.WUNTRACED, nil)
	require.NoError(c.t, err)
	require.True(c.t, st.Stopped())
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

func (c *child) say(format string, a ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.in, format+"\n", a...)
	require.NoError(c.t, err)
}

// wait ends the child's standard input, and waits until it ends, without an error.
func (c *child) wait() {
	c.t.Helper()
	_ = c.in.Close()
	c.done = true
	require.NoError(c.t, c.cmd.Wait(), c.errs.String())
}

// until looks again and again until the condition holds. The test's own time
// limit is the only one.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for i := 0; !cond(); i++ {
		if t.Context().Err() != nil {
			t.Fatalf("ended before %s", what)
		}
		runtime.Gosched()
	}
}

// patience is how long a test waits for what is sure to come, if it can then say what it waited for. No machine is so busy.
const patience = 5 * time.Minute

// sharedMemory is a file's memory, for processes to share; a child says nil for t.
func sharedMemory(t testing.TB, path string, size int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil && t != nil {
		t.Cleanup(func() { _ = unix.Munmap(mem) })
	}
	return mem, err
}

// dirEmpty requires that nothing of a channel is left in the directory.
func dirEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// memDir is a directory of its own in the memory file system, or where testDirEnv says.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(cmp.Or(os.Getenv(testDirEnv), defaultDir()), "shmchan-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}
