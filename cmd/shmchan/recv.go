package main

// shmchan recv: takes values out of a channel, as lines of text.
//
// Invariant: a value counts as received once its line was handed to standard output, and not before. What could not be written stays.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newRecv(w *where) *cobra.Command {
	var f form
	var count uint64
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "recv NAME",
		Short: "Take values out of a channel, as lines",
		Long: "Takes values out of a channel and writes them to standard output as JSON lines or CSV, until it is\n" +
			"closed and drained. A value counts as received once its line was written: if that fails, it stays.\n" +
			"With --count it fails if the channel closes before so many came.",
		Example:           "  shmchan recv --count 1 ticks\n  shmchan recv --format csv --timeout 5s ticks",
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		PreRunE:           func(*cobra.Command, []string) error { return f.checkToWrite() },
		RunE: f.whileAsked(func(ctx context.Context, cmd *cobra.Command, name string) error {
			if err := notNegative("timeout", timeout); err != nil {
				return err
			}
			return receive(whileRead(ctx, cmd.OutOrStdout()), cmd.OutOrStdout(), w, name, &f, count, timeout)
		}),
	}
	f.flagsToWrite(cmd)
	cmd.Flags().Uint64Var(&count, "count", 0, "take so many values; 0: all until the channel is closed")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "fail if a value does not come in this time, as 500ms or 5s; 0: wait")
	return cmd
}

func receive(ctx context.Context, out io.Writer, w *where, name string, f *form, count uint64, timeout time.Duration) error {
	ch, err := shmchan.OpenRawReceiver(name, w.options()...)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = ch.Detach() }()
	if err := f.fits(name, ch.Layout()); err != nil {
		return fail(err)
	}
	text, err := newWriter(out, f, ch.Layout())
	if err != nil {
		return fail(fmt.Errorf("shmchan: cannot write: %w", err))
	}
	for n := uint64(0); count == 0 || n < count; n++ {
		one, cancel := ctx, context.CancelFunc(func() {})
		if timeout > 0 {
			one, cancel = context.WithTimeout(ctx, timeout)
		}
		err := ch.RecvFunc(one, text.write)
		cancel()
		unwritten := (*outputError)(nil)
		switch {
		case err == nil:
		case errors.As(err, &unwritten) && unwritten.unread():
			return fail(err)
		case errors.As(err, &unwritten):
			return fail(err, fmt.Errorf("shmchan: channel %q: after %d values: the next could not be written; the value stays in the channel", name, n))
		case errors.Is(err, shmchan.ErrClosed) && count == 0, ctx.Err() != nil && count == 0:
			return nil
		case ctx.Err() != nil:
			return fail(interrupted(ctx, fmt.Errorf("shmchan: channel %q: interrupted: %d of %d values received", name, n, count)))
		case errors.Is(err, shmchan.ErrClosed):
			return fail(fmt.Errorf("shmchan: channel %q: closed and drained: %d of %d values received", name, n, count))
		case errors.Is(err, context.DeadlineExceeded):
			return fail(fmt.Errorf("shmchan: channel %q: no value came in %v, after %d; wait longer with --timeout", name, timeout, n))
		case errors.Is(err, shmchan.ErrCorrupt):
			return fail(fmt.Errorf("%w (after %d values)", err, n))
		default:
			return fail(fmt.Errorf("shmchan: channel %q: after %d values: %w; the value stays in the channel", name, n, within(name, err)))
		}
	}
	return nil
}
