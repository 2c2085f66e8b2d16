// Command late runs tests with a Go runtime that is late at random: for which test, or which line, counts on who gets on first.
//
//	GOWORK=off go -C tools run ./late -count=1 -timeout 60m github.com/shmchan/shmchan/...
//	GOWORK=off go -C tools run ./late -cpu 4 -count=20 -run Select .
//
// It takes what go test does, in the project's root.
//
// A goroutine that becomes runnable may run only some time later, a thread may lose its CPU for some time with what it runs, before it goes on
// from a system call too, and a process that ends may take some time over it, while its other goroutines go on. Nothing of that
// is more than what a busy machine does; it comes more often. A test that measures the time that something takes may fail for that.
//
// The runtime is that of the Go in use, with six places changed while it is compiled (go help build: -overlay). The child processes of a test are
// the test's own program, and so late themselves; what a test compiles is not.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// late is what the changed places call. Each time is drawn evenly below its most, which is in microseconds, in lateUntil in nanoseconds.
const late = `package runtime

//go:nosplit
func lateAt(oneIn, most uint32) {
	if cheaprandn(oneIn) == 0 {
		usleep(cheaprandn(most))
	}
}

func lateUntil() int64 {
	if cheaprandn(30) != 0 {
		return 0
	}
	return nanotime() + int64(cheaprandn(30000000))
}

// lateYet puts a goroutine that is to run later behind all others, again.
func lateYet(gp *g) bool {
	if gp.lateUntil == 0 {
		return false
	}
	if nanotime() >= gp.lateUntil {
		gp.lateUntil = 0
		return false
	}
	lock(&sched.lock)
	globrunqput(gp)
	unlock(&sched.lock)
	usleep(20)
	return true
}
`

// change is a line of the runtime, and what is to stand below it.
type change struct {
	file, in, line, below string
}

var changes = []change{
	{"runtime2.go", "type g struct {", "lockedm ", "lateUntil int64"},
	{"proc.go", "func runqput(", "func runqput(", "if gp.lateUntil == 0 { gp.lateUntil = lateUntil() }"},
	{"proc.go", "func schedule() {", "gcController.releaseNextGCMarkWorker(pp)", "if mp.spinning { resetspinning() }; if lateYet(gp) { goto top }"},
	{"proc.go", "func execute(", "func execute(", "lateAt(100, 1000); lateAt(500, 20000)"},
	{"proc.go", "func exitsyscall() {", "func exitsyscall() {", "lateAt(50, 5000)"},
	{"proc.go", "func os_beforeExit(", "func os_beforeExit(", "lateAt(2, 20000)"},
}

// changed is the text of a file of the runtime with its changes.
func changed(file string, text []byte) ([]byte, error) {
	for _, c := range changes {
		if c.file != file {
			continue
		}
		at := bytes.Index(text, []byte("\n"+c.in))
		if at < 0 || bytes.Count(text, []byte("\n"+c.in)) != 1 {
			return nil, fmt.Errorf("the runtime of %s has no %q, or several", runtime.Version(), c.in)
		}
		line := bytes.Index(text[at:], []byte(c.line))
		end := bytes.Index(text[at:], []byte("\n}\n"))
		if line < 0 || line > end {
			return nil, fmt.Errorf("%s of the runtime of %s has no %q", c.in, runtime.Version(), c.line)
		}
		line += at
		line += bytes.IndexByte(text[line:], '\n') + 1
		text = bytes.Join([][]byte{text[:line], []byte(c.below + "\n"), text[line:]}, nil)
	}
	return text, nil
}

func run(args []string) error {
	dir, err := os.MkdirTemp("", "late")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "runtime")
	replace := map[string]string{}
	write := func(file string, text []byte) error {
		replace[filepath.Join(source, file)] = filepath.Join(dir, file)
		return os.WriteFile(filepath.Join(dir, file), text, 0o600)
	}
	for _, file := range []string{"runtime2.go", "proc.go"} {
		text, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return err
		}
		if text, err = changed(file, text); err != nil {
			return err
		}
		if err := write(file, text); err != nil {
			return err
		}
	}
	if err := write("late.go", []byte(late)); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT) // go test has it too, and ends by it; what is ignored its tests would ignore.
	test := exec.Command("go", append([]string{"test", "-overlay", file}, args...)...)
	test.Dir, test.Stdout, test.Stderr = "..", os.Stdout, os.Stderr
	test.Env = append(os.Environ(), "GOWORK=") // It is off for this module alone.
	return test.Run()
}

func main() {
	err := run(os.Args[1:])
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		os.Exit(max(1, failed.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "late:", err)
		os.Exit(1)
	}
}
