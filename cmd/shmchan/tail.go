package main

// shmchan tail: values as they pass, without taking them.
//
// Invariant: what is not shown is counted, and the count is said before the next value.

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newTail(w *where) *cobra.Command {
	var f form
	var count uint64
	cmd := &cobra.Command{
		Use:   "tail NAME",
		Short: "Show values as they pass, without taking them",
		Long: "Shows the values of a channel, those that are in it first, then others as they pass, as JSON\n" +
			"lines or CSV, until it is closed and drained, or until it is interrupted. It takes nothing, writes nothing\n" +
			"and nobody waits for it: what was written over before it looked is missed. How many is\n" +
			"said on standard error, and with --format json also as a line {\"missed\":N} where they were.",
		Example:           "  shmchan tail ticks\n  shmchan tail --format csv --count 10 ticks",
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		PreRunE:           func(*cobra.Command, []string) error { return f.checkToWrite() },
		RunE: f.whileAsked(func(ctx context.Context, cmd *cobra.Command, name string) error {
			return tail(whileRead(ctx, cmd.OutOrStdout()), cmd.OutOrStdout(), cmd.ErrOrStderr(), w, name, &f, count)
		}),
	}
	f.flagsToWrite(cmd)
	cmd.Flags().Uint64Var(&count, "count", 0, "end after so many values; 0: go on")
	return cmd
}

func tail(ctx context.Context, out, notes io.Writer, w *where, name string, f *form, count uint64) error {
	ch, err := shmchan.Watch(name, w.options()...)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = ch.Close() }()
	if err := f.fits(name, ch.Layout()); err != nil {
		return fail(err)
	}
	text, err := newWriter(out, f, ch.Layout())
	if err != nil {
		return fail(fmt.Errorf("shmchan: cannot write: %w", err))
	}
	var buf []byte
	for n := uint64(0); count == 0 || n < count; n++ {
		v, missed, err := ch.Next(ctx, buf[:0])
		if missed > 0 {
			fmt.Fprintf(notes, "shmchan: missed %d, %d in all\n", missed, ch.Missed())
			if f.format == "json" && !f.raw {
				if _, err := fmt.Fprintf(out, "{\"missed\":%d}\n", missed); err != nil {
					return fail(fmt.Errorf("shmchan: cannot write: %w", err))
				}
			}
		}
		if errors.Is(err, shmchan.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		buf = v
		if err := text.write(v); err != nil {
			return fail(fmt.Errorf("shmchan: channel %q: cannot write: %w", name, err))
		}
	}
	return nil
}
