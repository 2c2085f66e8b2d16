//go:build amd64

package shmchan

// How many instructions the hot paths take, against testdata/instructions.txt: no more than 5 % above it.
//
// What it shows: that no call, check or copy has crept in. It does not show time: that is the bench's.
// A process does each operation many times, and then once between marks, with
// nothing to wait for and nobody to wake, while this one steps through it: the count is the same each time.
// It belongs to a compiler, so the file names one; with another the test skips.

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var countInstructions = flag.Bool("count-instructions", false, "write testdata/instructions.txt anew")

const instructionsFile = "testdata/instructions.txt"

// counted is an operation that is counted; undo leaves the channel as it was.
type counted struct {
	name     string
	op, undo func()
}

func countedFor[T any](ch *Chan[T]) []counted {
	var v T
	vs, buf := make([]T, 32), make([]T, 32)
	send := func() { mustCount(ch.Send(v)) }
	recv := func() { _, err := ch.Recv(); mustCount(err) }
	return []counted{
		{"Send", send, recv},
		{"SendContext", func() { mustCount(ch.SendContext(forever, v)) }, recv},
		{"TrySend", func() { mustCount(ch.TrySend(v)) }, recv},
		{"SendFunc", func() { mustCount(ch.SendFunc(forever, func(*T) error { return nil })) }, recv},
		{"SendBatch of 32", func() { _, err := ch.SendBatch(forever, vs); mustCount(err) }, func() { _, err := ch.RecvBatch(forever, buf); mustCount(err) }},
		{"Recv", recv, send},
		{"RecvContext", func() { _, err := ch.RecvContext(forever); mustCount(err) }, send},
		{"TryRecv", func() { _, err := ch.TryRecv(); mustCount(err) }, send},
		{"RecvFunc", func() { mustCount(ch.RecvFunc(forever, func(*T) error { return nil })) }, send},
		{"RecvBatch of 32", func() { _, err := ch.RecvBatch(forever, buf); mustCount(err) }, func() { _, err := ch.SendBatch(forever, vs); mustCount(err) }},
	}
}

// countedForBytes are those of a channel of bytes, with messages of that size.
func countedForBytes(ch *Bytes, size int) []counted {
	p, buf := make([]byte, size), make([]byte, 0, size)
	send := func() { mustCount(ch.Send(p)) }
	recv := func() { _, err := ch.Recv(buf); mustCount(err) }
	return []counted{
		{"Send", send, recv},
		{"TrySend", func() { mustCount(ch.TrySend(p)) }, recv},
		{"SendFunc", func() { mustCount(ch.SendFunc(forever, size, func([]byte) (int, error) { return size, nil })) }, recv},
		{"Recv", recv, send},
		{"TryRecv", func() { _, err := ch.TryRecv(buf); mustCount(err) }, send},
		{"RecvFunc", func() { mustCount(ch.RecvFunc(forever, func([]byte) error { return nil })) }, send},
	}
}

func mustCount(err error) {
	if err != nil {
		panic(err)
	}
}

// countedForms are the forms of channel that are counted.
var countedForms = []struct {
	name string
	opts []Option
	long bool // the goroutine is not in the lane
}{
	{"many", nil, false},
	{"many, not in the lane", nil, true},
	{"single", []Option{WithSingleSender(), WithSingleReceiver()}, false},
}

// countAll does each operation between marks.
func countAll[T any](size, dir string, mark func(unix.Signal)) error {
	for i, f := range countedForms {
		ch, err := Open[T](fmt.Sprint("test", size, i), append([]Option{WithDir(dir), WithCapacity(1024)}, f.opts...)...)
		if err != nil {
			return err
		}
		h := ch.Sender.h
		if f.long {
			h.send.bar.Or(barShared)
			h.recv.bar.Or(barShared)
		}
		if _, err := ch.SendBatch(forever, make([]T, 512)); err != nil { // Neither full nor empty.
			return err
		}
		countEach(countedFor(ch), size+", "+f.name, mark)
		if err := ch.Detach(); err != nil {
			return err
		}
	}
	return nil
}

func countEach(all []counted, what string, mark func(unix.Signal)) {
	for _, c := range all {
		for range 3*1024 + 33 { // Not where a hint or lines are due.
			c.op()
			c.undo()
		}
		fmt.Printf("%s, %s\n", c.name, what)
		mark(beginMark)
		c.op()
		mark(endMark)
		c.undo()
	}
}

// countAllBytes is countAll for channels of bytes, with messages of 64 bytes, in slots, and of 8 KiB, in the arena.
func countAllBytes(dir string, mark func(unix.Signal)) error {
	for i, f := range countedForms {
		for _, size := range []int{64, 8 << 10} {
			b, err := OpenBytes(fmt.Sprint("test", size, i), append([]Option{WithDir(dir), WithMaxMessage(16 << 10), WithCapacity(1024)}, f.opts...)...)
			if err != nil {
				return err
			}
			if f.long {
				b.BytesSender.h.send.bar.Or(barShared)
				b.BytesSender.h.recv.bar.Or(barShared)
			}
			for range 100 {
				if err := b.Send(make([]byte, size)); err != nil {
					return err
				}
			}
			countEach(countedForBytes(b, size), fmt.Sprintf("a message of %d bytes, %s", size, f.name), mark)
			if err := b.Detach(); err != nil {
				return err
			}
		}
	}
	return nil
}

func init() {
	roles["counted"] = func(args []string) error {
		debug.SetGCPercent(-1)
		return notLeader(func() error {
			mark := marker()
			fmt.Println(unix.Gettid())
			if n, _ := fmt.Scanln(new(string)); n != 1 {
				return nil
			}
			fmt.Println("nothing")
			mark(beginMark)
			mark(endMark)
			if err := countAll[uint64]("8 bytes", args[0], mark); err != nil {
				return err
			}
			if err := countAll[[8]uint64]("64 bytes", args[0], mark); err != nil {
				return err
			}
			return countAllBytes(args[0], mark)
		})
	}
}

func TestInstructionCounts(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("counting covered statements takes instructions too")
	}
	mayTrace(t)
	compiler := strings.Join(strings.SplitN(runtime.Version(), ".", 3)[:2], ".")
	want := map[string]int{}
	b, err := os.ReadFile(instructionsFile)
	require.NoError(t, err)
	for in := bufio.NewScanner(strings.NewReader(string(b))); in.Scan(); {
		if n, name, ok := strings.Cut(strings.TrimSpace(in.Text()), "  "); ok {
			want[name] = must[int](t)(strconv.Atoi(n))
		}
	}
	if !*countInstructions && !strings.HasPrefix(string(b), compiler+"\n") {
		t.Skipf("%s is for another compiler than %s; write it anew with -count-instructions", instructionsFile, compiler)
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	quietStops(t)
	dir := filepath.Join(memDir(t), "counted")
	require.NoError(t, os.Mkdir(dir, 0o700))
	c := start(t, "counted", dir)
	var tid int
	_, err = fmt.Sscan(c.line(), &tid)
	require.NoError(t, err)
	v, err := trace(t, tid)
	require.NoError(t, err)
	v.holdMonitor(c.cmd.Process.Pid)
	c.say("go")
	got := fmt.Sprintf("%s\n", compiler)
	for nothing := 0; c.out.Scan(); {
		name := c.out.Text()
		v.toBegin()
		n := v.count()
		if name == "nothing" {
			nothing = n
			continue
		}
		n -= nothing
		got += fmt.Sprintf("%6d  %s\n", n, name)
		t.Logf("%6d  %s", n, name)
		if !*countInstructions {
			require.Contains(t, want, name)
			require.LessOrEqual(t, 100*n, 105*want[name], "%s takes %d instructions, and took %d; if that is meant, write %s anew with -count-instructions", name, n, want[name], instructionsFile)
		}
	}
	v.reap()
	c.kill()
	require.Equal(t, 1+2*3*10+2*3*6, strings.Count(got, "\n"))
	if *countInstructions {
		require.NoError(t, os.WriteFile(instructionsFile, []byte(got), 0o644))
	}
}

// count steps to the end mark, says how many instructions there were, and lets the thread go on.
func (v *tracer) count() (n int) {
	v.t.Helper()
	for ; !v.ended; n++ {
		v.step()
	}
	again := func() error { return unix.PtraceCont(v.tid, 0) }
	require.NoError(v.t, again())
	require.Equal(v.t, endMark, v.stop(false, again))
	require.NoError(v.t, again())
	v.ended = false
	return n
}
