package main

// Looking again and again: stat --watch and top without a terminal.
//
// Invariant: on a terminal each look takes the place of the one before; elsewhere each is a line.

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

const leastEvery = 10 * time.Millisecond

func checkEvery(every time.Duration) error {
	if every < leastEvery {
		return fmt.Errorf("--every %v: use %v or more", every, leastEvery)
	}
	return nil
}

// again calls f now and at each interval until it fails, or the user ends it.
func again(ctx context.Context, every time.Duration, f func() error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// screen is the terminal that out is, or nil.
func screen(out io.Writer) *os.File {
	if f := fileOf(out); f != nil && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// redraw shows a text in place of what stands on the terminal that out is, cut to its size.
func redraw(out io.Writer, text string) error {
	width, height, _ := term.GetSize(int(fileOf(out).Fd())) // Below 0 if it cannot be told.
	_, err := io.WriteString(out, frame(text, width, height))
	return err
}

// frame is what puts a text in place of what stands on a terminal of that size; 80 by 24 if that can be none.
func frame(text string, width, height int) string {
	if width < 2 || height < 2 {
		width, height = 80, 24
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > height-1 {
		lines = append(lines[:height-2], "... more than the terminal has room for")
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, l := range lines {
		if r := []rune(l); len(r) > width {
			l = string(r[:width])
		}
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	return b.String()
}
