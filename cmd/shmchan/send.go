package main

// shmchan send: puts values into a channel, from lines of text.
//
// Invariant: a line is checked as a whole before anything of it is sent; at the first bad one it ends, and says how many were sent before.
// Who closes the channel does not leave it before all was received, unless he is interrupted.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// sendResult is what became of the lines, in JSON.
type sendResult struct {
	Sent   int    `json:"sent"`
	Closed bool   `json:"closed"`         // by this command
	Line   int    `json:"line,omitempty"` // that could not be sent, from 1
	Error  string `json:"error,omitempty"`
}

func newSend(w *where) *cobra.Command {
	var f form
	var closes bool
	cmd := &cobra.Command{
		Use:   "send NAME",
		Short: "Put values into a channel, from lines",
		Long: "Reads values from standard input, JSON lines or CSV, and sends them, waiting while the channel is full.\n" +
			"It is strict: every field once, none other, each in its range. The first bad line ends it, with the line's\n" +
			"number and how many values were sent before, which --json says as an object. It sends to a channel that is\n" +
			"there, and makes none. With --close it stays until all is received, for what is in a closed channel goes with\n" +
			"the last who leaves it.",
		Example:           "  echo '{\"Sym\":[65,0,0,0,0,0,0,0],\"Px\":99.5,\"Qty\":100}' | shmchan send ticks\n  shmchan send --format csv ticks <ticks.csv",
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		RunE: f.whileAsked(func(ctx context.Context, cmd *cobra.Command, name string) error {
			r, err := sendLines(ctx, cmd.InOrStdin(), w, name, &f, closes)
			var failed []error
			if err != nil {
				r.Error = words(err)
				failed = append(failed, err)
			}
			if f.asJSON {
				if err := writeJSON(cmd.OutOrStdout(), r, false); err != nil {
					failed = append(failed, fmt.Errorf("shmchan: cannot write: %w", err))
				}
			}
			if len(failed) > 0 {
				return fail(failed...)
			}
			return nil
		}),
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&closes, "close", false, "close the channel when all was sent, and wait until it was received")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write how many values were sent, as JSON")
	return cmd
}

func sendLines(ctx context.Context, in io.Reader, w *where, name string, f *form, closes bool) (r sendResult, err error) {
	ch, err := shmchan.OpenRawSender(name, w.options()...)
	if err != nil {
		return r, err
	}
	defer func() { _ = ch.Detach() }()
	if err := f.fits(name, ch.Layout()); err != nil {
		return r, err
	}
	text := newReader(in, f, ch.Layout())
	lines := text.each(ctx)
	for {
		l, ok := lines()
		if !ok {
			return r, fmt.Errorf("shmchan: channel %q: interrupted; %s sent", name, valuesWere(r.Sent))
		}
		if errors.Is(l.err, io.EOF) {
			break
		}
		if l.err == nil {
			if l.err = ch.SendContext(ctx, l.value); l.err != nil && ctx.Err() != nil {
				l.err = errors.New("interrupted while it waited for room")
			}
		}
		if l.err != nil {
			r.Line = text.n
			return r, fmt.Errorf("shmchan: channel %q: line %d: %w; %s sent before it", name, text.n, within(name, l.err), valuesWere(r.Sent))
		}
		r.Sent++
	}
	if closes {
		if err := ch.Close(); err != nil {
			return r, err
		}
		r.Closed = true
		if left := drain(ctx, ch); left > 0 {
			return r, fmt.Errorf("shmchan: channel %q: interrupted; %s sent, and it is closed, but %s not received: what is left in it goes with the last who leaves it",
				name, valuesWere(r.Sent), valuesWere(left))
		}
	}
	return r, nil
}

// drain waits until all of a closed channel was received, and says how much is left if ctx ends before: who leaves it last
// takes away what is still in it.
func drain(ctx context.Context, ch *shmchan.RawSender) (left int) {
	for delay := time.Millisecond; ; delay = min(2*delay, 200*time.Millisecond) {
		if left = ch.Len(); left == 0 {
			return 0
		}
		select {
		case <-ctx.Done():
			return left
		case <-time.After(delay):
		}
	}
}
