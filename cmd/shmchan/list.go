package main

// shmchan ls: a table of the channels in a directory.
//
// Invariant: a channel that cannot be read has its line all the same, with the
// reason at its end. What comes from a file is shown harmlessly, whatever it holds.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newList(w *where) *cobra.Command {
	var over time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the channels",
		Long: `Lists the channels: type, capacity, length, live senders and receivers, state, size and mode of the file, and
values sent and received a second, from two looks. --json has all that stat shows of each.`,
		Example:           "  shmchan ls\n  shmchan ls --over 1s --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE:           func(*cobra.Command, []string) error { return notNegative("over", over) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(cmd.OutOrStdout(), cmd.ErrOrStderr(), w, over, asJSON)
		},
	}
	overFlag(cmd, &over)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// overFlag says how far apart the two looks are that rates come from.
func overFlag(cmd *cobra.Command, over *time.Duration) {
	cmd.Flags().DurationVar(over, "over", 200*time.Millisecond, "how long to look for the rates; 0: look once, without rates")
}

func list(out, notes io.Writer, w *where, over time.Duration, asJSON bool) error {
	views, err := lookAll(w)
	if err == nil && over > 0 && len(views) > 0 {
		before := views
		time.Sleep(over)
		if views, err = lookAll(w); err == nil {
			sinceAll(views, before)
		}
	}
	if err != nil {
		return fail(err)
	}
	if asJSON {
		return writeJSON(out, views, true)
	}
	if len(views) == 0 {
		fmt.Fprintln(notes, "no channels")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTYPE\tCAP\tLEN\tSENDERS\tRECEIVERS\tSTATE\tSIZE\tMODE\tSENT/S\tRECEIVED/S")
	for _, v := range views {
		if v.Error != "" {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t%s\t-\t-  %s\n", plain(v.Name), v.State, plain(v.Error))
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%v\t%s\t%s\n", plain(v.Name), typeOf(v.info), v.Capacity, v.Length,
			v.Senders, v.Receivers, v.State, byteCount(v.FileBytes), v.Mode, v.Rates.sent(), v.Rates.received())
	}
	return t.Flush()
}

// stateOf is one word for how a channel is.
func stateOf(info shmchan.Info, err error) string {
	switch {
	case errors.Is(err, shmchan.ErrCorrupt):
		return "corrupt"
	case errors.Is(err, shmchan.ErrMismatch):
		return "foreign"
	case errors.Is(err, fs.ErrPermission):
		return "forbidden"
	case err != nil:
		return "unreadable"
	case info.Closed:
		return "closed"
	}
	return "open"
}

// plain is s, quoted if a terminal might take it for more than text.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// byteCount is n bytes in words.
func byteCount(n int64) string {
	f, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, next
	}
	if f == float64(int64(f)) {
		return fmt.Sprintf("%d %s", int64(f), unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
