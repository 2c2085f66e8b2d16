package main

// Standard output that may fail: who reads it has gone, or the disk is full.
//
// Invariants:
//   - The first write that fails ends the command, by its context where it goes on for long. No command is ended in the middle of a write, so each
//     tidies up as it does otherwise: recv gives back the value that it could not write, demo ends its processes and removes its channel.
//   - What failed is said once, by run, and not at all where who reads has gone: that one has what it wanted.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// statusNobodyReads is what a shell shows of a program that SIGPIPE has ended.
const statusNobodyReads = 128 + int(syscall.SIGPIPE)

// output is standard output, or standard error.
type output struct {
	io.Writer
	to     string
	failed func(cause error) // told of the first write that fails

	mu  sync.Mutex
	err *outputError
}

// outputError is why nothing more can be written. Errors of commands wrap it.
type outputError struct {
	to  string
	err error
}

func (e *outputError) Error() string {
	advice := "; see where it goes"
	if errors.Is(e.err, unix.ENOSPC) || errors.Is(e.err, unix.EDQUOT) || errors.Is(e.err, unix.EFBIG) {
		advice = "; make room there, or send it elsewhere"
	}
	var path *fs.PathError // It would name /dev/stdout, which is nobody's name for it.
	if err := e.err; errors.As(err, &path) {
		return fmt.Sprintf("cannot write to %s: %v%s", e.to, path.Err, advice)
	}
	return fmt.Sprintf("cannot write to %s: %v%s", e.to, e.err, advice)
}

func (e *outputError) Unwrap() error { return e.err }

// unread: who reads has gone.
func (e *outputError) unread() bool { return errors.Is(e.err, unix.EPIPE) }

func (o *output) Write(p []byte) (n int, err error) {
	if err := o.why(); err != nil {
		return 0, err
	}
	if n, err = o.Writer.Write(p); err != nil {
		return n, o.fail(err)
	}
	return n, nil
}

// fail notes that nothing more can be written.
func (o *output) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = &outputError{o.to, err}
		o.failed(o.err)
	}
	return o.err
}

func (o *output) why() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		return nil
	}
	return o.err
}

// outputs are both, and a context that ends when one of them does. What cannot be written to standard error ends a command only where it goes
// to a pipe that nobody reads: a log that is full should not stop what goes on.
func outputs(stdout, stderr io.Writer) (ctx context.Context, out, notes *output) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // Then a write to such a pipe is an error, and does not end the process.
	ctx, end := context.WithCancelCause(context.Background())
	out = &output{Writer: stdout, to: "standard output", failed: end}
	notes = &output{Writer: stderr, to: "standard error", failed: func(err error) {
		if errors.Is(err, unix.EPIPE) {
			end(err)
		}
	}}
	return ctx, out, notes
}

// fileOf is the file behind a command's output, or nil.
func fileOf(out io.Writer) *os.File {
	if o, ok := out.(*output); ok {
		out = o.Writer
	}
	f, _ := out.(*os.File)
	return f
}

// whileRead is a context that ends also when out is a pipe or a socket that nobody reads any more. A command that may wait for long before it
// writes again notices by this.
func whileRead(ctx context.Context, out io.Writer) context.Context {
	o, _ := out.(*output)
	f := fileOf(out)
	if o == nil || f == nil {
		return ctx
	}
	if st, err := f.Stat(); err != nil || st.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) == 0 {
		return ctx
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() { // Left there when the command ends, and with it the process.
		for {
			p := []unix.PollFd{{Fd: int32(f.Fd())}}
			switch n, err := unix.Poll(p, -1); {
			case errors.Is(err, unix.EINTR):
			case n == 1 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0:
				end(o.fail(unix.EPIPE))
				return
			default: // It cannot be asked; the next write will say.
				return
			}
		}
	}()
	return ctx
}

// interrupted is the error of a command whose context has ended: err, or why nothing can be written.
func interrupted(ctx context.Context, err error) error {
	var unwritten *outputError
	if errors.As(context.Cause(ctx), &unwritten) {
		return unwritten
	}
	return err
}
