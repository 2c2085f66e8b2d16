package main

// shmchan send: puts values into a channel, from lines of text.
//
// Invariant: a line is checked as a whole before anything of it is sent; at the first bad one it ends, and says how many were sent before.

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newSend(w *where) *cobra.Command {
	var f form
	var closes bool
	cmd := &cobra.Command{
		Use:   "send NAME",
		Short: "Put values into a channel, from lines",
		Long: "Reads values from standard input, JSON lines or CSV, and sends them, waiting while the channel is full.\n" +
			"It is strict: every field once, none other, each in its range. The first bad line ends it, with the line's\n" +
			"number and how many values were sent before.",
		Example: "  echo '{\"Sym\":[65,0,0,0,0,0,0,0],\"Px\":99.5,\"Qty\":100}' | shmchan send ticks\n  shmchan send --format csv ticks <ticks.csv",
		Args:    exactlyOneName,
		RunE: f.whileAsked(func(ctx context.Context, cmd *cobra.Command, name string) error {
			return sendLines(ctx, cmd.InOrStdin(), w, name, &f, closes)
		}),
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&closes, "close", false, "close the channel when all was sent")
	return cmd
}

func sendLines(ctx context.Context, in io.Reader, w *where, name string, f *form, closes bool) error {
	ch, err := shmchan.OpenRawSender(name, w.options()...)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = ch.Detach() }()
	if err := f.fits(name, ch.Layout()); err != nil {
		return fail(err)
	}
	text := newReader(in, f, ch.Layout())
	for n := 0; ; n++ {
		v, err := text.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			if err = ch.SendContext(ctx, v); err != nil {
				err = fmt.Errorf("line %d: %w", text.n, err)
			}
		}
		if err != nil {
			return fail(fmt.Errorf("shmchan: channel %q: %w; %d values were sent before it", name, err, n))
		}
	}
	if closes {
		if err := ch.Close(); err != nil {
			return fail(err)
		}
	}
	return nil
}
