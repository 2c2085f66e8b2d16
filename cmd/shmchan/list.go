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
	"unicode"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newList(w *where) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the channels",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(cmd.OutOrStdout(), cmd.ErrOrStderr(), w)
		},
	}
}

func list(out, notes io.Writer, w *where) error {
	names, err := shmchan.List(w.options()...)
	if err != nil {
		return fail(fmt.Errorf("shmchan: cannot list the channels: %w; check --dir and $%s", err, shmchan.EnvDir))
	}
	if len(names) == 0 {
		fmt.Fprintln(notes, "no channels")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTYPE\tCAP\tLEN\tSENDERS\tRECEIVERS\tSTATE\tSIZE\tMODE")
	for _, name := range names {
		info, err := shmchan.Inspect(name, w.options()...)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Removed since it was listed.
		}
		if err != nil {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t%s\t-\t-  %s\n", plain(name), stateOf(info, err), plain(err.Error()))
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%v\n", plain(name), typeOf(info), info.Cap, info.Len,
			info.Senders, info.Receivers, stateOf(info, nil), byteCount(info.Bytes), info.Mode)
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
