package main

// How the demo shows its progress: on a terminal one line that is rewritten, else a
// line a second.
//
// Invariant: what is printed by event stays; the rewritten line is always the last.

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

type display struct {
	out      io.Writer
	terminal *os.File // nil: it is none
	every    time.Duration
	shownAt  time.Time
	shown    bool   // the last line is to be rewritten
	before   uint64 // received by then
}

// newDisplay shows the progress on out.
func newDisplay(out io.Writer) *display {
	d := &display{out: out, every: time.Second, shownAt: time.Now()}
	if f := fileOf(out); f != nil && term.IsTerminal(int(f.Fd())) {
		d.terminal, d.every = f, 100*time.Millisecond
	}
	return d
}

// event prints lines that stay.
func (d *display) event(format string, args ...any) {
	d.clear()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// progress shows where things are, if it is time to.
func (d *display) progress(s *sharedFile, inChannel func() int, processes int) {
	since := time.Since(d.shownAt)
	if since < d.every {
		return
	}
	received := s.received()
	rate := uint64(float64(received-d.before) / since.Seconds())
	d.shownAt, d.before = time.Now(), received
	line := fmt.Sprintf("  sent %s  received %s  %s/s  in channel %d  processes %d",
		grouped(max(received, s.sent())), grouped(received), grouped(rate), inChannel(), processes) // A Send may return after its Recv.
	if d.terminal == nil {
		fmt.Fprintln(d.out, line)
		return
	}
	if width, _, err := term.GetSize(int(d.terminal.Fd())); err == nil && width > 1 && len(line) >= width {
		line = line[:width-1] // One that wraps could not be rewritten.
	}
	fmt.Fprint(d.out, "\r\x1b[K"+line)
	d.shown = true
}

// clear takes the rewritten line away.
func (d *display) clear() {
	if d.shown {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.shown = false
	}
}
