package main

// What the doctor measures on the spot: values there and back between two processes, and the first lap round a large channel.
//
// Invariants:
//   - The other process ends with this one: it waits with WithDisconnect, and its channels have no names.
//   - Every value is checked. A figure that could not be had is an error in its place, not a zero.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// ball goes there and back: 64 bytes.
type ball [8]uint64

// large goes round a channel of 65536.
type large [128]uint64

const (
	measureTime = 250 * time.Millisecond
	lapCapacity = 1 << 16
)

// how a measurement of there and back is made. CPUs: -1 for not pinned.
type how struct {
	wait       shmchan.Wait
	here, away int
}

// measure makes all measurements, and says on progress which.
func (m *machine) measure(progress io.Writer) []measured {
	var all []measured
	pair := func(what, before, after string, a, b how) {
		fmt.Fprintf(progress, "measuring: %s, %s and %s\n", what, before, after)
		x := measured{What: what, Before: before, After: after}
		var errA, errB error
		x.BeforeNs, errA = thereAndBack(a)
		x.AfterNs, errB = thereAndBack(b)
		if err := errors.Join(errA, errB); err != nil {
			x.BeforeNs, x.AfterNs, x.Error = 0, 0, firstLine(err)
		}
		all = append(all, x)
	}
	const rally = "64 bytes there and back between two processes"
	groups, _ := m.near()
	free := how{shmchan.Spin, -1, -1}
	if m.cpus < 2 {
		all = append(all, measured{What: rally, Before: "parked", After: "spinning", Error: "this process may use one CPU only"})
	} else {
		pair(rally, "parked", "spinning", how{shmchan.Park, -1, -1}, free)
		if len(groups) > 0 && len(groups[0]) > 1 {
			near := how{shmchan.Spin, groups[0][0], groups[0][1]}
			pair(rally+", spinning", "not pinned", fmt.Sprintf("on CPUs %d and %d", near.here, near.away), free, near)
			if len(groups) > 1 {
				far := how{shmchan.Spin, groups[0][0], groups[1][0]}
				pair(rally+", spinning", fmt.Sprintf("on CPUs %d and %d", far.here, far.away), fmt.Sprintf("on CPUs %d and %d, which share a cache", near.here, near.away), far, near)
			}
		}
	}
	return append(all, m.measureLaps(progress)...)
}

// measureLaps goes twice round a channel of 69 MiB, in this process.
func (m *machine) measureLaps(progress io.Writer) []measured {
	const first = "1 KiB sent and received by one goroutine, first lap of a new handle"
	const second = "the same, second lap"
	fmt.Fprintf(progress, "measuring: the first lap round a channel of %d values of 1 KiB, with small pages, prefaulted, and with huge pages\n", lapCapacity)
	if err := m.roomFor(256 * mib); err != nil {
		return []measured{{What: first, Error: err.Error()}}
	}
	var laps [3][2]float64
	for i, opts := range [][2][]shmchan.Option{{}, {nil, {shmchan.WithPrefault()}}, {{shmchan.WithHugePages()}, nil}} {
		var err error
		if laps[i], err = twoLaps(opts[0], opts[1]); err != nil {
			return []measured{{What: first, Error: firstLine(err)}}
		}
	}
	return []measured{
		{What: first, Before: "small pages", BeforeNs: laps[0][0], After: "WithPrefault", AfterNs: laps[1][0]},
		{What: first, Before: "small pages", BeforeNs: laps[0][0], After: "WithHugePages", AfterNs: laps[2][0]},
		{What: second, Before: "small pages", BeforeNs: laps[0][1], After: "WithHugePages", AfterNs: laps[2][1]},
	}
}

// roomFor says no if there is no such memory to spare.
func (m *machine) roomFor(n int64) error {
	s, _ := m.read("/proc/meminfo")
	for line := range bytes.Lines([]byte(s)) {
		var kib int64
		if k, _ := fmt.Sscanf(string(line), "MemAvailable: %d", &kib); k == 1 && kib<<10 < n {
			return fmt.Errorf("the machine has %s of memory to spare and this takes %s", byteCount(kib<<10), byteCount(n))
		}
	}
	limit, used := "memory.limit_in_bytes", "memory.usage_in_bytes"
	dirs, two := m.cgroup("memory")
	if two {
		limit, used = "memory.max", "memory.current"
	}
	for _, d := range dirs {
		l, okL := m.number(d + "/" + limit)
		u, okU := m.number(d + "/" + used)
		if okL && okU && l-u < n {
			return fmt.Errorf("the cgroup has %s of memory left and this takes %s", byteCount(max(0, l-u)), byteCount(n))
		}
	}
	return nil
}

// twoLaps makes a channel, opens it once more and goes round it twice on that handle: nanoseconds a value.
func twoLaps(made, attached []shmchan.Option) (laps [2]float64, err error) {
	ch, err := shmchan.New[large](append(made, shmchan.WithCapacity(lapCapacity), shmchan.WithPeers(2))...)
	if err != nil {
		return laps, err
	}
	defer func() { err = errors.Join(err, ch.Detach()) }()
	files, err := ch.Files()
	if err != nil {
		return laps, err
	}
	other, err := shmchan.FromFiles[large](files, attached...)
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return laps, err
	}
	defer func() { err = errors.Join(err, other.Detach()) }()
	for i := range laps {
		began := time.Now()
		for seq := range uint64(lapCapacity) {
			if err := other.Send(large{seq}); err != nil {
				return laps, err
			}
			v, err := other.Recv()
			if err != nil {
				return laps, err
			}
			if v[0] != seq {
				return laps, fmt.Errorf("value %d came as %d", seq, v[0])
			}
		}
		laps[i] = float64(time.Since(began)) / lapCapacity
	}
	return laps, nil
}

// thereAndBack starts a process that sends back what it gets, and says how long a value takes: the median of many runs of some.
func thereAndBack(h how) (ns float64, err error) {
	var chans [2]*shmchan.Chan[ball]
	var sets [][]*os.File
	for i := range chans {
		if chans[i], err = shmchan.New[ball](shmchan.WithSingleSender(), shmchan.WithSingleReceiver(), shmchan.WithWait(h.wait), shmchan.WithDisconnect()); err != nil {
			return 0, err
		}
		defer func() { _ = chans[i].Detach() }()
		files, err := chans[i].Files()
		if err != nil {
			return 0, err
		}
		sets = append(sets, files)
	}
	there, back := chans[0], chans[1]
	if err := errors.Join(there.Receiver.Detach(), back.Sender.Detach()); err != nil {
		return 0, err
	}
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(program, "doctor-echo", "--wait", fmt.Sprint(int(h.wait)), "--cpu", fmt.Sprint(h.away))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := shmchan.StartWithFiles(cmd, sets...); err != nil {
		return 0, err
	}
	defer func() {
		_ = there.Close()
		if ended := cmd.Wait(); ended != nil {
			err = errors.Join(fmt.Errorf("the other process: %w: %s", ended, errs.String()), err)
		}
	}()
	return onThread(h.here, func() (float64, error) { return rallies(there.Sender, back.Receiver, h.wait) })
}

// rallies plays until the time is up.
func rallies(there *shmchan.Sender[ball], back *shmchan.Receiver[ball], wait shmchan.Wait) (float64, error) {
	run := uint64(32)
	if wait == shmchan.Park {
		run = 4
	}
	var took []time.Duration
	seq, began := uint64(0), time.Time{}
	for began.IsZero() || len(took) == 0 || time.Since(began) < measureTime {
		start := time.Now()
		for range run {
			seq++
			if err := there.Send(ball{seq}); err != nil {
				return 0, err
			}
			v, err := back.Recv()
			if err != nil {
				return 0, err
			}
			if v[0] != seq {
				return 0, fmt.Errorf("value %d came back as %d", seq, v[0])
			}
		}
		if began.IsZero() { // The other one has begun.
			began = time.Now()
			continue
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return float64(took[len(took)/2]) / float64(run), nil
}

// onThread runs f in a thread of its own, on that CPU unless it is -1. The thread ends with it.
func onThread(cpu int, f func() (float64, error)) (ns float64, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // And not unlocked.
		if cpu >= 0 {
			if err = pin(cpu); err != nil {
				return
			}
		}
		ns, err = f()
	}()
	<-done
	return ns, err
}

// newDoctorEcho is the other process.
func newDoctorEcho() *cobra.Command {
	var wait, cpu int
	cmd := &cobra.Command{
		Use:    "doctor-echo",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			sets, err := shmchan.InheritedFiles()
			if err != nil {
				return fail(err)
			}
			if len(sets) != 2 {
				return fail(errors.New("shmchan: doctor-echo is started by shmchan doctor only"))
			}
			if _, err := onThread(cpu, func() (float64, error) { return 0, echo(sets, shmchan.Wait(wait)) }); err != nil {
				return fail(err)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&wait, "wait", int(shmchan.Adaptive), "how to wait, as the library numbers it")
	cmd.Flags().IntVar(&cpu, "cpu", -1, "the CPU to run on")
	return cmd
}

// echo sends back what comes, until there is no more or the other process is gone.
func echo(sets [][]*os.File, wait shmchan.Wait) error {
	in, err := shmchan.ReceiverFromFiles[ball](sets[0], shmchan.WithWait(wait), shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	defer func() { _ = in.Detach() }()
	out, err := shmchan.SenderFromFiles[ball](sets[1], shmchan.WithWait(wait), shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	defer func() { _ = out.Detach() }()
	for v := range in.All() {
		if err := out.Send(v); err != nil {
			return err
		}
	}
	return in.Err()
}
