package main

// The processes of one measurement: started, told to go, heard, and gone afterwards
// whatever happens.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

// errWrong is a value that was not the next one: it fails the whole run.
var errWrong = errors.New("a value was wrong")

// part is one process of a measurement.
type part struct {
	args contract.Args
	cpus []int
}

// process is a part that runs.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	errs  tail
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// runner starts processes in directories of their own, one a measurement.
type runner struct {
	launch *launcher
	limit  time.Duration // for one measurement

	late func() <-chan struct{} // in tests: when one has taken that long, instead of by the clock; else nil
}

// limited is a context that ends when a measurement has taken too long.
func (r *runner) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	why := fmt.Errorf("not done after %v", r.limit)
	if r.late == nil {
		return context.WithTimeoutCause(ctx, r.limit, why)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	late := r.late()
	go func() {
		select {
		case <-late:
			cancel(why)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// memory is where the directories lie, if it is there.
const memory = "/dev/shm"

// run starts the parts of a peer, lets them go when all are ready, and returns their
// answers, in the same order. It leaves no process and no file.
func (r *runner) run(ctx context.Context, command []string, parts []part) (_ []contract.Result, err error) {
	ctx, cancel := r.limited(ctx)
	defer cancel()
	root := memory
	if _, err := os.Stat(root); err != nil {
		root = os.TempDir()
	}
	dir, err := os.MkdirTemp(root, "shmchan-bench-")
	if err != nil {
		return nil, err
	}
	id := filepath.Base(dir) + "-"
	var processes []*process
	defer func() {
		for _, p := range processes {
			p.end()
		}
		clean(dir, id)
	}()
	for _, p := range parts {
		p.args.Dir, p.args.ID = dir, id
		started, err := r.start(command, p)
		if err != nil {
			return nil, err
		}
		processes = append(processes, started)
	}
	for _, p := range processes {
		line, err := p.line(ctx)
		if err != nil {
			return nil, err
		}
		if line != "ready" {
			return nil, fmt.Errorf("%q instead of ready", line)
		}
	}
	for _, p := range processes { // The parts list who receives first.
		if _, err := io.WriteString(p.in, "go\n"); err != nil {
			return nil, p.died(ctx)
		}
	}
	return answers(ctx, processes)
}

// answers waits for all. If one dies, the others may wait for it for ever: so whoever
// comes first is heard first.
func answers(ctx context.Context, processes []*process) ([]contract.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]contract.Result, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() {
			line, err := p.line(ctx)
			if err == nil {
				err = json.Unmarshal([]byte(line), &results[i])
			}
			if err == nil && results[i].Wrong != "" {
				err = fmt.Errorf("%w: %s", errWrong, results[i].Wrong)
			}
			if err != nil {
				cancel(err) // Only the first counts.
			}
		})
	}
	all.Wait()
	return results, context.Cause(ctx)
}

func (r *runner) start(command []string, p part) (*process, error) {
	args := append(command[1:len(command):len(command)], p.args.List()...)
	s := &process{cmd: exec.Command(command[0], args...), lines: make(chan string)}
	s.cmd.Stderr = &s.errs
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.launch.start(s.cmd, p.cpus); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.lines)
		for in := bufio.NewReaderSize(out, 1<<16); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			s.lines <- strings.TrimSpace(line)
		}
	}()
	return s, nil
}

// line is the process's next line.
func (s *process) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-s.lines:
		if !ok {
			return "", s.died(ctx)
		}
		return line, nil
	case <-ctx.Done():
		err := context.Cause(ctx)
		if said := s.errs.String(); said != "" {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return "", err
	}
}

func (s *process) died(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := s.cmd.Wait()
	if err == nil {
		err = errors.New("without an error")
	}
	return fmt.Errorf("ended, %w: %s", err, s.errs.String())
}

// end kills the process with all that it has started, if it is still there, and waits.
func (s *process) end() {
	killGroup(s.cmd.Process.Pid)
	_ = s.in.Close()
	for range s.lines { // What it still said; nobody listens any more.
	}
	_ = s.cmd.Wait()
}

// clean removes what a measurement had: its directory, and what a peer names by id
// because it cannot be put there.
func clean(dir, id string) {
	_ = os.RemoveAll(dir)
	left, _ := filepath.Glob(filepath.Join(memory, "*"+id+"*"))
	for _, path := range left {
		_ = os.RemoveAll(path)
	}
	unlinkQueues(id)
}
