package main

// What it costs a channel to be looked at: by ten stat --watch, as the test, and by these and tail, for docs/tools.md.
//
// Measured is what a thread that sends and receives on a channel gets done in its own CPU time, so that it does not matter who else is on
// the machine. Nothing of the channel leaves that thread's CPU but for who looks: nothing is as easily disturbed. A window with
// those who look stands between two in which they are stopped, and these two, held against each other, say how large the noise is.

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var looking = flag.Duration("looking", 0, "measure for docs/tools.md what looking costs, in windows of this length; it needs a quiet machine")

// busy sends and receives for that long, and says how long one value took, in nanoseconds of the thread's time and of the clock.
func busy(t *testing.T, ch *shmchan.Chan[trade], window time.Duration) (own, clock float64) {
	began, n := time.Now(), 0
	used := ownTime(t, func() {
		for ; time.Since(began) < window; n += 256 {
			for range 256 {
				if err := ch.Send(trade{}); err != nil {
					require.NoError(t, err)
				}
				if _, err := ch.Recv(); err != nil {
					require.NoError(t, err)
				}
			}
		}
	})
	return float64(used) / float64(n), float64(time.Since(began)) / float64(n)
}

// ownTime is the CPU time that the thread needs for f.
func ownTime(t *testing.T, f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var ts unix.Timespec
		require.NoError(t, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
		return time.Duration(ts.Nano())
	}
	had := used()
	f()
	return used() - had
}

// compared is what came of windows with and without those who look.
type compared struct {
	own, clock float64 // by how much a value takes longer, as a part; medians
	noise      float64 // how far own may be from 0 by chance: five times its standard error
	free       float64 // what a value takes without, in nanoseconds of the thread
	used       float64 // CPU time of those who look, as a part of the time
}

// compare has them look in every second window.
func compare(t *testing.T, ch *shmchan.Chan[trade], lookers []*exec.Cmd, rounds int, window time.Duration) (c compared) {
	signal := func(s syscall.Signal) {
		for _, l := range lookers {
			require.NoError(t, l.Process.Signal(s))
		}
	}
	signal(syscall.SIGSTOP)
	var own, clock, noise, free []float64
	var spent time.Duration
	ownBefore, clockBefore := busy(t, ch, window)
	for range rounds {
		had := usedBy(t, lookers)
		signal(syscall.SIGCONT)
		ownWith, clockWith := busy(t, ch, window)
		signal(syscall.SIGSTOP)
		spent += usedBy(t, lookers) - had
		ownAfter, clockAfter := busy(t, ch, window)
		own = append(own, math.Log(ownWith/math.Sqrt(ownBefore*ownAfter)))
		clock = append(clock, math.Log(clockWith/math.Sqrt(clockBefore*clockAfter)))
		noise = append(noise, math.Abs(math.Log(ownBefore/ownAfter)))
		free = append(free, ownAfter)
		ownBefore, clockBefore = ownAfter, clockAfter
	}
	signal(syscall.SIGCONT)
	// Of two windows that differ by s as a rule, the median of the differences is 0.95 s; own has 1.22 s, and its median over n rounds an error of 1.25/√n of that.
	return compared{
		own: math.Expm1(median(own)), clock: math.Expm1(median(clock)), free: median(free),
		noise: 5 * 1.25 * 1.22 / 0.95 * median(noise) / math.Sqrt(float64(rounds)), used: spent.Seconds() / (window.Seconds() * float64(rounds)),
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// usedBy is the CPU time of all threads of these processes.
func usedBy(t *testing.T, all []*exec.Cmd) (d time.Duration) {
	for _, cmd := range all {
		clock := int32(^cmd.Process.Pid<<3 | 2) // As clock_getcpuclockid has it.
		var ts unix.Timespec
		require.NoError(t, unix.ClockGettime(clock, &ts))
		d += time.Duration(ts.Nano())
	}
	return d
}

// lookers starts so many of a command, and returns when each has looked for the first time: what it takes to start is not what looking costs. Their
// output nobody reads: a pipe has room for some minutes of it.
func lookers(t *testing.T, n int, args ...string) (all []*exec.Cmd) {
	var outs []*bufio.Scanner
	for range n {
		cmd := command(t, args...)
		outs = append(outs, started(t, cmd))
		all = append(all, cmd)
	}
	for _, out := range outs {
		require.True(t, out.Scan())
	}
	return all
}

// A channel that ten watch, as often as they do if nothing is said, is as fast as one that nobody does: what is seen is within the noise of the same
// minute; and they hardly take any CPU time. They are stopped half of the time and look at once when they are late, so a window has twice the looks.
func TestWatchedIsAsFast(t *testing.T) {
	if *looking > 0 {
		t.Skip("TestWhatLookingCosts measures")
	}
	dir := t.TempDir()
	ch := open(t, dir, "trades")
	all := lookers(t, 10, "stat", "--dir", dir, "trades", "--watch")
	const least = 0.01 // The looks themselves, and what a quiet machine would see by chance.
	c := compare(t, ch, all, 60, 50*time.Millisecond)
	one := ownTime(t, func() {
		for range 50 {
			_, err := look("trades", &where{dir})
			require.NoError(t, err)
		}
	}).Seconds() / 50
	// Two looks a second each, as long as five here, and what it takes their processes to wake up, to stop and to go on: that was 0.03 to 0.06.
	little := 0.12 + 10*2*5*one
	t.Logf("a value takes %.1f ns; watched by ten, %+.2f %%; by chance up to %.2f %%; by the clock %+.2f %%; the ten use %.2f %% of a CPU, which may be %.2f; a look takes %.2f ms", c.free, 100*c.own, 100*c.noise, 100*c.clock, 100*c.used, 100*little, 1000*one)
	require.Positive(t, c.used, "nobody has looked")
	require.Less(t, c.own, c.noise+least, "it is slower while it is watched")
	require.Less(t, c.used, little, "those who watch take the time of others")
}

// The figures of docs/tools.md.
func TestWhatLookingCosts(t *testing.T) {
	if *looking == 0 {
		t.Skip("it measures for docs/tools.md, with -looking=1s on a quiet machine")
	}
	for _, l := range []struct {
		what   string
		n      int
		values bool
		args   []string
	}{
		{"ten stat --watch", 10, false, []string{"stat", "--watch"}}, {"ten stat --watch --every 10ms", 10, false, []string{"stat", "--watch", "--every", "10ms"}},
		{"tail", 1, true, []string{"tail"}},
	} {
		t.Run(l.what, func(t *testing.T) {
			dir := t.TempDir()
			ch := open(t, dir, "trades")
			c := compare(t, ch, lookers(t, l.n, append(l.args, "--dir", dir, "trades")...), 15, *looking)
			t.Logf("one thread sends and receives: a value takes %.1f ns; with %s %+.2f %% (by chance up to %.2f %%), by the clock %+.2f %%; it uses %.2f %% of a CPU", c.free, l.what, 100*c.own, 100*c.noise, 100*c.clock, 100*c.used)
		})
		if l.values {
			for _, pause := range []time.Duration{0, time.Millisecond} {
				t.Run(l.what+", at rate", func(t *testing.T) { atRate(t, l.args, pause) })
			}
		}
	}
}

// atRate measures by the clock what passes between two goroutines: as fast as it goes, or a hundred values after each pause.
func atRate(t *testing.T, args []string, pause time.Duration) {
	dir := t.TempDir()
	ch, err := shmchan.Open[trade]("trades", shmchan.WithDir(dir))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() {
		for n := 0; ; n++ {
			if err := ch.SendContext(ctx, trade{}); err != nil {
				ended <- err
				return
			}
			if pause > 0 && n%100 == 99 {
				time.Sleep(pause)
			}
		}
	}()
	go func() {
		for {
			if _, err := ch.RecvContext(ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	cmd := command(t, append(args, "--dir", dir, "trades")...)
	var errs strings.Builder
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	all := []*exec.Cmd{cmd}
	var ratios, free []float64
	rate := func() float64 {
		began, was := time.Now(), ch.Stats().Received
		time.Sleep(*looking)
		return float64(ch.Stats().Received-was) / time.Since(began).Seconds()
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	before := rate()
	var spent time.Duration
	for range 9 {
		had := usedBy(t, all)
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		with := rate()
		require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
		spent += usedBy(t, all) - had
		after := rate()
		ratios, free = append(ratios, with/math.Sqrt(before*after)), append(free, after)
		before = after
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait())
	cancel()
	require.ErrorIs(t, errors.Join(<-ended, <-ended), context.Canceled)
	require.NoError(t, ch.Detach())
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	t.Logf("two goroutines, pause %v: %.2f million values a second; with %s %.2f times that; it uses %.1f %% of a CPU; last: %s", pause, median(free)/1e6, args[0], median(ratios), 100*spent.Seconds()/(9*looking.Seconds()), lines[len(lines)-1])
}
