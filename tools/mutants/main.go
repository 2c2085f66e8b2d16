// Command mutants breaks the ring and recovery code in every small way it knows, one at a time, and
// shows which of the breaks no test notices.
//
// All mutants are compiled into one test binary, and an environment variable says which is on: a
// compilation takes far longer than the test that kills the mutant. Child processes of the tests
// inherit the variable. (gremlins finds 701 places in the same files and would compile and run
// the whole suite, 100 s, for each.) Each mutant meets the fast tests first; one that survives them meets the others.
// One whose test takes too long has timed out, which counts as killed, for a broken ring tends to hang;
// the limit is for each test, so that a busy machine is not taken for a broken ring.
//
// A mutant is the change of one operator, the negation of a condition, or the removal of one statement.
//
//	go -C tools run ./mutants            all of them
//	go -C tools run ./mutants -files ring.go -only 17,18 -v
//	go -C tools run ./mutants -files hold.go -run Hold
//
// A module that has another in place of a published one by its path, as cmd/shmchan has, must be broken beside itself, and in its directory:
//
//	GOWORK=off go -C tools build -o /tmp/mutants ./mutants && cd cmd/shmchan
//	TMPDIR=.. /tmp/mutants -root . -files export.go,watch.go -known ../../tools/mutants/known.txt -run 'Export|Watch'
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	root    = flag.String("root", "..", "the module to break")
	files   = flag.String("files", "ring.go,straight.go,side.go,rendezvous.go,peers.go,wait.go,handle.go,codec.go", "the files to break")
	only    = flag.String("only", "", "numbers of mutants, with commas; empty: all")
	list    = flag.Bool("list", false, "only list the mutants")
	workers = flag.Int("workers", 2, "how many mutants run at the same time")
	limit   = flag.Duration("limit", 30*time.Second, "how long one test may take before its mutant counts as timed out")
	slow    = flag.String("slow", "^(TestKills|TestStops|TestNoWakeIsLost|TestCloseAgainstSend|TestDetachAgainstEverything|TestManyToMany|TestCancelledOfferGivenBack|TestWaits|TestStoppedUnderTheNamesLock|TestSoak|TestLinearizable|TestKillAtEveryInstruction|TestStopAtEveryInstruction|TestDoorbellSwapped|TestEveryByteBeforeOpen|TestScribbler)$", "tests that only those meet that survive the others")
	never   = flag.String("never", "^(TestIdle|Example.*)$", "tests that no mutant meets: what they measure depends on what else the machine does")
	which   = flag.String("run", "", "the only tests that mutants meet; empty: all")
	fast    = flag.Bool("fast", false, "leave out the slow tests")
	known   = flag.String("known", "mutants/known.txt", "survivors that are explained")
	verbose = flag.Bool("v", false, "show what the tests of a mutant print")
)

// variable names the environment variable that turns a mutant on; the generated code reads it.
const variable = "SHMCHAN_MUTANT"

type outcome string

const (
	killed   outcome = "killed"
	timedOut outcome = "timed out"
	survived outcome = "SURVIVED"
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		log.Fatal(err)
	}
	failed := run(dir)
	_ = os.RemoveAll(dir)
	if failed {
		os.Exit(1)
	}
}

// run says whether something survived that is not known to.
func run(dir string) (failed bool) {
	mutants, err := breakAll(*root, dir, strings.Split(*files, ","))
	if err != nil {
		log.Fatal(err)
	}
	explained := readKnown(*known)
	if *list {
		for _, m := range mutants {
			fmt.Println(m)
		}
		return false
	}
	bin := filepath.Join(dir, "mutants.test")
	build := exec.Command("go", "test", "-vet=off", "-c", "-o", bin, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("the broken package does not compile: %v\n%s", err, out)
	}
	// With no mutant on, the tests must pass, or the results mean nothing.
	if o, out := test(dir, bin, 0); o != survived {
		log.Fatalf("the tests fail without a mutant: %s\n%s", o, out)
	}
	if *only != "" {
		wanted := strings.Split(*only, ",")
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !slices.Contains(wanted, strconv.Itoa(m.id)) })
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[outcome]int{}
	next, unexplained, began := 0, 0, time.Now()
	for range *workers {
		wg.Go(func() {
			for {
				mu.Lock()
				if next == len(mutants) {
					mu.Unlock()
					return
				}
				m := mutants[next]
				next++
				mu.Unlock()
				o, out := test(dir, bin, m.id)
				mu.Lock()
				counts[o]++
				why := ""
				if o == survived {
					if w, ok := explained[m.key()]; ok {
						why = " (known: " + w + ")"
					} else {
						unexplained++
					}
				}
				done := counts[killed] + counts[timedOut] + counts[survived]
				fmt.Printf("%5d/%d %6s  %-9s  %v%s\n", done, len(mutants), time.Since(began).Round(time.Second), o, m, why)
				if *verbose {
					fmt.Println(out)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d mutants: %d killed, %d timed out, %d survived, of these %d not explained in %s\n",
		len(mutants), counts[killed], counts[timedOut], counts[survived], unexplained, *known)
	return unexplained > 0
}

// test runs the fast tests and then the others with mutant id on.
func test(dir, bin string, id int) (outcome, string) {
	if o, out := testOnce(dir, bin, id, "-test.run", *which, "-test.skip", *slow+"|"+*never); o != survived || *fast || *which != "" {
		return o, out
	}
	return testOnce(dir, bin, id, "-test.run", *slow, "-kills=15", "-histories=2")
}

// testOnce runs the binary in a process group of its own, with directories of its own, and
// leaves nothing of either behind.
func testOnce(dir, bin string, id int, args ...string) (outcome, string) {
	tmp, err := os.MkdirTemp(dir, "tmp-")
	if err != nil {
		log.Fatal(err)
	}
	shm, err := os.MkdirTemp(memoryDir(), "shmchan-mutants-")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chmod(shm, 0o755); err != nil { // One test is another user.
		log.Fatal(err)
	}
	defer func() { _ = errors.Join(os.RemoveAll(tmp), os.RemoveAll(shm)) }()
	cmd := exec.Command(bin, append([]string{"-test.v", "-test.failfast", "-test.timeout=0"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", variable, id), "TMPDIR="+tmp, "SHMCHAN_TEST_DIR="+shm)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out progress
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	out.mu.Lock() // Until the timer is there.
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	killAll := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out.stall = time.AfterFunc(*limit, func() { out.stalled.Store(true); killAll() })
	out.mu.Unlock()
	err = cmd.Wait()
	out.stall.Stop()
	killAll() // Children that a failed test has left.
	var exit *exec.ExitError
	switch {
	case out.stalled.Load():
		return timedOut, out.String()
	case err == nil:
		return survived, out.String()
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay): // The second: a child was left.
		return killed, out.String()
	}
	log.Fatal(err)
	return "", ""
}

// progress keeps what the tests print, and starts the time limit anew with each that begins.
type progress struct {
	mu      sync.Mutex
	text    bytes.Buffer
	stall   *time.Timer
	stalled atomic.Bool
}

func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Contains(b, []byte("=== RUN")) {
		p.stall.Reset(*limit)
	}
	return p.text.Write(b)
}

// String is the end of the text.
func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.text.Bytes()
	return string(b[max(0, len(b)-2000):])
}

func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// readKnown reads lines of "key: why".
func readKnown(path string) map[string]string {
	known := map[string]string{}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if key, why, ok := strings.Cut(strings.TrimSpace(line), " :: "); ok {
			known[key] = why
		}
	}
	return known
}
