package main

// shmchan demo: real processes, killed in the middle, and an audit of every value.
//
// Invariants:
//   - Only run starts and ends processes, all from one goroutine; a process in
//     demo.members has not been waited for yet.
//   - Whatever way run ends, its processes are dead and waited for, and the channel's name is gone.

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

const (
	roleSender   = "sender"
	roleReceiver = "receiver"

	senders   = 2
	receivers = 3

	defaultValues = 1_000_000
	maxValues     = 10_000_000

	tick       = 5 * time.Millisecond
	stallTicks = int(15 * time.Second / tick) // without progress: something hangs
)

// demoOptions are the flags.
type demoOptions struct {
	input    string
	values   int
	capacity int
	machines int
	asJSON   bool
}

func newDemo(w *where) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Send trades between processes, kill some of them, and audit every value",
		Long: fmt.Sprintf(`Starts %d senders and %d receivers, each a process of its own, and sends trades of
64 bytes through one channel. In the middle it kills a receiver with SIGKILL while
it has a value in hand, and a sender while it has half written one, and starts
others in their place. The trade in the dead receiver's hands goes to another
receiver; the half-written one is never seen.

All processes note in shared memory what they send and receive, so that at the end
every value is accounted for: what was lost, torn, delivered twice or out of its
sender's order. The exit status is 1 if a promise was not kept. You may kill -9
senders and receivers yourself meanwhile; the audit takes account of it.

The trades come from a CSV file, over and over until each sender has sent its
number. The file that comes with the program is synthetic: 2000 trades of invented
shares, a random walk from a fixed seed, made by internal/gentrades.
Your own is read with --input. %s

With --json the audit is an object, and what happens is told on standard error.`, senders, receivers, columnsHelp),
		Example:           "  shmchan demo\n  shmchan demo --values 100000 --capacity 0\n  shmchan demo --json | jq .latency_ns",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"input", "capacity"} {
				if o.machines == 2 && cmd.Flags().Changed(flag) {
					return fmt.Errorf("--%s and --machines 2 exclude each other: leave out one of them", flag)
				}
			}
			if o.values < 1 || o.values > maxValues {
				return fmt.Errorf("--values %d: use a number from 1 to %d", o.values, maxValues)
			}
			if o.machines < 1 || o.machines > 2 {
				return fmt.Errorf("--machines %d: use 1, or 2 for two that a bridge over NATS joins", o.machines)
			}
			if o.capacity < 0 {
				return fmt.Errorf("--capacity %d: a capacity is 0 or more", o.capacity)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			if o.machines == 2 {
				if err := machinesDemo(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
					return fail(err)
				}
				return nil
			}
			if err := runDemo(ctx, o, w, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return fail(err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.input, "input", "", "a CSV file of trades to send instead of the synthetic ones")
	f.IntVar(&o.values, "values", defaultValues, "how many values each of the senders sends")
	f.IntVar(&o.machines, "machines", 1, "2: two directories of channels, joined by TCP alone, with a bridge over NATS whose ends are killed")
	f.IntVar(&o.capacity, "capacity", shmchan.DefaultCapacity, "capacity of the channel; 0 is a rendezvous")
	jsonFlag(cmd, &o.asJSON)
	_ = cmd.MarkFlagFilename("input", "csv") // It is there.
	return cmd
}

// process is a sender or a receiver.
type process struct {
	role   string
	number int // of its role, from 1
	cmd    *exec.Cmd
	stderr bytes.Buffer
	err    error // of Wait
	killed bool  // we have sent SIGKILL
	victim bool  // it stops in the middle, to be killed there
}

func (p *process) String() string {
	return fmt.Sprintf("%s %d (pid %d)", p.role, p.number, p.cmd.Process.Pid)
}

// demo is one run.
type demo struct {
	demoOptions
	where   *where
	program string
	name    string
	show    *display
	shared  *sharedFile
	channel *shmchan.Sender[trade] // it closes, and sends nothing

	members map[*process]struct{}
	exits   chan *process
	started map[string]int // so far, by role
	killed  map[string]int // with SIGKILL, by us or somebody else
}

func runDemo(ctx context.Context, o demoOptions, w *where, out, notes io.Writer) (err error) {
	rows, err := o.readInput()
	if err != nil {
		return fmt.Errorf("shmchan: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("shmchan: cannot find the program to start its processes: %w", err)
	}
	d := &demo{
		demoOptions: o, where: w, program: program, name: newName(), show: newDisplay(o.progress(out, notes)),
		members: map[*process]struct{}{}, exits: make(chan *process, 2*maxProcesses),
		started: map[string]int{}, killed: map[string]int{},
	}
	if d.shared, err = newSharedFile(rows, d.wordCount()); err != nil {
		return err
	}
	defer d.shared.close()
	d.channel, err = shmchan.OpenSender[trade](d.name, append(w.options(), shmchan.WithCreate(), shmchan.WithCapacity(o.capacity))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.clear()) }()
	return d.run(ctx, out)
}

// progress is where it tells what happens.
func (o *demoOptions) progress(out, notes io.Writer) io.Writer {
	if o.asJSON {
		return notes
	}
	return out
}

// readInput reads the trades.
func (o *demoOptions) readInput() ([]row, error) {
	if o.input == "" {
		return readTrades("trades.csv", strings.NewReader(shippedTrades))
	}
	f, err := os.Open(o.input)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trades: %w; check --input, or leave it out to send those that come with the program", err)
	}
	defer f.Close()
	return readTrades(o.input, f)
}

func newName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // Never fails: crypto/rand.
	return "demo-" + hex.EncodeToString(b[:])
}

// A sender that is killed may have begun one value more than it has sent, so a line
// of senders, each in place of the one before, needs a word more for each of them.
func (d *demo) lineWords() int { return d.values + maxProcesses }
func (d *demo) wordCount() int { return senders * d.lineWords() }
func (d *demo) quota() uint64  { return senders * uint64(d.values) }

// run starts the processes, replaces those that are killed, and audits.
func (d *demo) run(ctx context.Context, out io.Writer) error {
	d.show.event("%d senders and %d receivers, each a process; %s trades of 64 bytes; channel %q of capacity %d",
		senders, receivers, grouped(d.quota()), d.name, d.capacity)
	// The second receiver is killed with the first value in hand that is beyond a third,
	// the first sender in the middle of the one at half.
	for n := 1; n <= receivers; n++ {
		var stopAt uint64
		if n == 2 {
			stopAt = uint64(d.values/3 + 1)
		}
		if err := d.start(roleReceiver, stopAt); err != nil {
			return err
		}
	}
	for n := 1; n <= senders; n++ {
		r := &d.shared.head.senders[n]
		r.quota.Store(uint64(d.values))
		r.base.Store(uint64((n - 1) * d.lineWords()))
		r.firstRow.Store(uint64((n - 1) * len(d.shared.rows) / senders))
		var stopAt uint64
		if n == 1 {
			stopAt = uint64(d.values/2 + 1)
		}
		if err := d.start(roleSender, stopAt); err != nil {
			return err
		}
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	d.show.clear()
	for n := range d.shared.head.receivers {
		r := &d.shared.head.receivers[n]
		sender, seq := uint32(r.heldSender.Load()), r.stopped.Load()
		if w := d.shared.word(sender, seq); w != nil && outcome(w.Load()).count() > 0 {
			d.show.event("what receiver %d had in hand, number %s of sender %d, went to receiver %d",
				n, grouped(seq), sender, outcome(w.Load()).receiver())
		}
	}
	a := newAudit(d.shared, d.killed, d.channel.Stats())
	if !d.asJSON {
		a.print(out, d.quota())
	} else if err := writeJSON(out, a.result(d.quota()), true); err != nil {
		return fmt.Errorf("shmchan: cannot write: %w", err)
	}
	if n := len(a.problems(d.quota())); n > 0 {
		return fmt.Errorf("shmchan: the audit failed in %d points; please report it with the output above", n)
	}
	return nil
}

// watch goes on until all processes have done their part.
func (d *demo) watch(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	closed, still, before := false, 0, uint64(0)
	for len(d.members) > 0 {
		if !closed && d.living(roleSender) == 0 && !d.killing() {
			if err := d.channel.Close(); err != nil {
				return err
			}
			closed = true
		}
		select {
		case <-ctx.Done():
			return interrupted(ctx, errInterrupted)
		case p := <-d.exits:
			delete(d.members, p)
			if err := d.ended(p); err != nil {
				return err
			}
		case <-ticker.C:
			if err := d.killVictims(); err != nil {
				return err
			}
			d.show.progress(d.shared, d.channel.Len, len(d.members))
			if moved := d.shared.sent() + d.shared.received(); moved != before {
				still, before = 0, moved
			} else if still++; still > stallTicks {
				return fmt.Errorf("shmchan: nothing has moved for 15 seconds, %d processes are left; please report it with this: %+v",
					len(d.members), d.channel.Stats())
			}
		}
	}
	return nil
}

var errInterrupted = errors.New("shmchan: interrupted; its processes were ended and the channel removed")

// living counts the processes of a role.
func (d *demo) living(role string) (n int) {
	for p := range d.members {
		if p.role == role {
			n++
		}
	}
	return n
}

// killing says whether a process has still to die of our SIGKILL, or to be sent it.
func (d *demo) killing() bool {
	for p := range d.members {
		if p.killed || p.victim {
			return true
		}
	}
	return false
}

// killVictims kills the processes that have stopped in the middle of a value. A
// receiver that got no value to stop at is killed once all has been sent.
func (d *demo) killVictims() error {
	for p := range d.members {
		if !p.victim || p.killed {
			continue
		}
		what := "with nothing in hand"
		switch s, r := &d.shared.head.senders[p.number], &d.shared.head.receivers[p.number]; {
		case p.role == roleSender && s.stopped.Load() != 0:
			what = fmt.Sprintf("with its number %s half written", grouped(s.stopped.Load()))
		case p.role == roleReceiver && r.stopped.Load() != 0:
			what = fmt.Sprintf("with number %s of sender %d in hand", grouped(r.stopped.Load()), r.heldSender.Load())
		case p.role == roleReceiver && d.living(roleSender) == 0:
		default:
			continue
		}
		if err := p.cmd.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
			continue // Somebody else was quicker; its end is on the way.
		} else if err != nil {
			return fmt.Errorf("shmchan: cannot kill %v: %w", p, err)
		}
		p.killed = true
		d.show.event("killed %v with SIGKILL after %s values, %s", p, grouped(d.shared.received()), what)
	}
	return nil
}

// ended deals with a process that has ended: it was done, or is to be replaced.
func (d *demo) ended(p *process) error {
	if p.err == nil {
		return nil
	}
	var status syscall.WaitStatus
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		status, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		d.killed[p.role]++
		if !p.killed {
			d.show.event("%v was killed by somebody else after %s values", p, grouped(d.shared.received()))
		}
		return d.replace(p)
	case status.Signaled() && (status.Signal() == syscall.SIGINT || status.Signal() == syscall.SIGTERM || status.Signal() == syscall.SIGHUP):
		return errInterrupted
	}
	return fmt.Errorf("shmchan: %v failed: %w: %s", p, p.err, strings.TrimSpace(p.stderr.String()))
}

// replace starts another process in the place of a dead one; a sender gets what the
// dead one has not sent, under a number of its own.
func (d *demo) replace(p *process) error {
	next := d.started[p.role] + 1
	if next >= maxProcesses {
		return fmt.Errorf("shmchan: more than %d %ss were killed; start shmchan demo anew", maxProcesses-1, p.role)
	}
	rest := ""
	if p.role == roleSender {
		dead, r := &d.shared.head.senders[p.number], &d.shared.head.senders[next]
		acked := dead.acked.Load()
		left := dead.quota.Load() - acked
		if left == 0 {
			return nil
		}
		r.quota.Store(left)
		r.base.Store(dead.base.Load() + dead.attempted.Load())
		r.firstRow.Store(dead.firstRow.Load() + acked)
		rest = fmt.Sprintf(" for the remaining %s values", grouped(left))
	}
	if err := d.start(p.role, 0); err != nil {
		return err
	}
	d.show.event("started %s %d in its place%s", p.role, next, rest)
	return nil
}

// start starts the next process of a role.
func (d *demo) start(role string, stopAt uint64) error {
	d.started[role]++
	p := &process{role: role, number: d.started[role], victim: stopAt != 0}
	p.cmd = exec.Command(d.program, "demo-"+role, "--dir", d.where.dir, "--channel", d.name,
		"--number", fmt.Sprint(p.number), "--stop-at", fmt.Sprint(stopAt))
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = []*os.File{d.shared.file}
	_, err := p.cmd.StdinPipe() // Open for as long as we live; it ends when we do.
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("shmchan: cannot start %s %d: %w", role, p.number, err)
	}
	d.members[p] = struct{}{}
	go func() {
		p.err = p.cmd.Wait()
		d.exits <- p
	}()
	return nil
}

// clear ends what is left of the processes and removes the channel.
func (d *demo) clear() error {
	d.show.clear()
	for p := range d.members {
		_ = p.cmd.Process.Kill() // It may have ended meanwhile.
	}
	for len(d.members) > 0 {
		delete(d.members, <-d.exits)
	}
	_ = d.channel.Detach()
	// Once closed it goes with the last who leaves, else now; the dead leave doorbells, which go too.
	if err := shmchan.Remove(d.name, d.where.options()...); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
