package main

// shmchan demo --machines 2: two directories of channels and two groups of processes, joined by TCP alone. The far end has the server.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan"
)

// machinesDemo sends trades on one machine's channel and receives them on the other's, with both ends of the bridge killed on the way.
func machinesDemo(ctx context.Context, o demoOptions, out, notes io.Writer) (err error) {
	values := o.values
	tell := o.progress(out, notes)
	sweepDemoDirs()
	locked, err := newDemoDir()
	if err != nil {
		return fmt.Errorf("shmchan: cannot make directories for two machines: %w; set $TMPDIR to a directory that can be written", err)
	}
	dir := locked.Name()
	defer func() { err = errors.Join(err, os.RemoveAll(dir), locked.Close()) }()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("shmchan: cannot find the program to start its processes: %w", err)
	}
	here, there := filepath.Join(dir, demoHere), filepath.Join(dir, demoThere)
	for _, d := range []string{here, there} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("shmchan: %w", err)
		}
	}
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	sendArgs := []string{"--dir", here, "--send", "--url", "nats://" + addr}
	recvArgs := []string{"--dir", there, "--recv", "--listen", addr, "--store", filepath.Join(dir, demoStore)}

	sender, err := shmchan.OpenSender[trade]("trades", shmchan.WithDir(here))
	if err != nil {
		return err
	}
	defer func() { _ = sender.Detach() }()
	receiver, err := shmchan.OpenReceiver[trade]("trades", shmchan.WithDir(there))
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Detach() }()

	ctx, fails := context.WithCancelCause(ctx)
	defer fails(nil)
	ends := map[string]*bridgeEnd{"sending": {args: sendArgs, lock: locked}, "receiving": {args: recvArgs, lock: locked}}
	defer func() {
		for _, e := range ends {
			e.kill()
		}
	}()
	for name, e := range ends {
		if err := e.start(ctx, program, name, fails); err != nil {
			return err
		}
	}
	fmt.Fprintf(tell, "two machines: %s and %s, joined by %s; %s trades of 64 bytes\n", here, there, addr, grouped(uint64(values)))

	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		for i := range values {
			if err := sender.SendContext(ctx, trade{Seq: uint64(i), SentAt: now()}); err != nil {
				sent <- err
				return
			}
		}
		sent <- sender.Close()
	}()
	seen := make([]uint8, values)
	got, doubled := 0, 0
	for {
		t, err := receiver.RecvContext(ctx)
		if errors.Is(err, shmchan.ErrClosed) {
			break
		}
		if err != nil {
			if cause := (*endError)(nil); errors.As(context.Cause(ctx), &cause) {
				return cause
			}
			if ctx.Err() != nil {
				return interrupted(ctx, errInterrupted)
			}
			return err
		}
		if t.Seq >= uint64(values) {
			return fmt.Errorf("shmchan: a trade arrived that was not sent, number %d", t.Seq)
		}
		if seen[t.Seq]++; seen[t.Seq] > 1 {
			doubled++
			continue
		}
		got++
		for at, name := range map[int]string{values / 3: "sending", 2 * values / 3: "receiving"} {
			if got != at || at == 0 {
				continue
			}
			ends[name].kill()
			if err := ends[name].start(ctx, program, name, fails); err != nil {
				return err
			}
			fmt.Fprintf(tell, "killed the %s end after %s trades, and started another\n", name, grouped(uint64(got)))
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	d := time.Since(began)
	if o.asJSON {
		r := machinesResult{got == values, values, got, doubled, values - got, float64(values) / d.Seconds(), d.Seconds()}
		if err := writeJSON(out, r, true); err != nil {
			return fmt.Errorf("shmchan: cannot write: %w", err)
		}
	}
	fmt.Fprintf(tell, "  sent       %s\n  received   %s\n  doubled    %s\n  lost       %s\n  in %v, %s a second\n", grouped(uint64(values)), grouped(uint64(got)),
		grouped(uint64(doubled)), grouped(uint64(values-got)), d.Round(time.Millisecond), grouped(uint64(float64(values)/d.Seconds())))
	if got != values {
		return fmt.Errorf("shmchan: %d trades were lost; please report it with the output above", values-got)
	}
	fmt.Fprintln(tell, "PASSED")
	return nil
}

// bridgeEnd is a process that is one end of the bridge.
type bridgeEnd struct {
	args   []string
	lock   *os.File      // of the demo's directory, to be held for as long as it lives
	cmd    *exec.Cmd     // nil: it was never started
	killed *atomic.Bool  // by us
	over   chan struct{} // closed when it has ended
}

// endError is that an end has ended by itself, and why.
type endError struct {
	name string
	err  error
	said string // last
}

func (e *endError) Error() string {
	s := fmt.Sprintf("shmchan: the %s end of the bridge ended: %v", e.name, e.err)
	if e.said != "" {
		s += fmt.Sprintf("; it last said: %s", e.said)
	}
	return s
}

// start starts it, or another in its place. It is stopped when ctx ends, and by the other's end, for a channel that is closed ends both; if it fails otherwise
// fails is told.
func (e *bridgeEnd) start(ctx context.Context, program, name string, fails context.CancelCauseFunc) error {
	cmd := exec.CommandContext(ctx, program, append([]string{"demo-bridge", "trades"}, e.args...)...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	cmd.ExtraFiles = []*os.File{e.lock}
	_, err := cmd.StdinPipe() // Open for as long as we live; it ends when we do.
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("shmchan: cannot start the %s end of the bridge: %w", name, err)
	}
	killed, over := new(atomic.Bool), make(chan struct{})
	e.cmd, e.killed, e.over = cmd, killed, over
	go func() {
		defer close(over)
		if err := cmd.Wait(); err != nil && !killed.Load() {
			lines := strings.Split(strings.TrimSpace(text.String()), "\n")
			fails(&endError{name, err, lines[len(lines)-1]})
		}
	}()
	return nil
}

// kill kills it, and waits until it has ended. It may have before.
func (e *bridgeEnd) kill() {
	if e.cmd == nil {
		return
	}
	e.killed.Store(true)
	_ = e.cmd.Process.Kill()
	<-e.over
}

// machinesResult is what became of the trades, in JSON.
type machinesResult struct {
	Passed    bool    `json:"passed"`
	Sent      int     `json:"sent"`
	Received  int     `json:"received"` // each counted once
	Doubled   int     `json:"doubled"`
	Lost      int     `json:"lost"`
	PerSecond float64 `json:"per_second"`
	Seconds   float64 `json:"seconds"`
}

// freeAddress is one that nobody listens on. It is to stay so while its server is killed: on Linux its host is this process's own, so that nobody who
// connects, or listens on a port that the system chooses, gets the same port there.
func freeAddress() (string, error) {
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16%200, pid>>8%256, 2+pid%250))
	if err != nil { // Elsewhere there is but one.
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("shmchan: %w", err)
	}
	return l.Addr().String(), l.Close()
}
