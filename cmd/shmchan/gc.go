package main

// shmchan gc: removes what dead processes left behind.
// Invariant: the library judges, under the locks that those who open take too; this only shows what it says.

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// leftover is a file that gc looked at, in JSON.
type leftover struct {
	Name   string `json:"name,omitempty"`
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Values int    `json:"values"`
	Held   bool   `json:"held"`
	Goes   bool   `json:"goes"`
	Why    string `json:"why"`
	Error  string `json:"error,omitempty"`
}

func newCollect(w *where) *cobra.Command {
	var c shmchan.Collection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what dead processes left behind, and only that",
		Long: `Looks at every channel and at the files beside them, and removes what dead processes left behind: empty
channels in which somebody died and that nobody alive holds; closed ones that nobody holds; halves of connections whose
ends are gone; temporaries and doorbells of the dead. It says of each why it goes, or why it is kept.

What is held is never touched, nor is what cannot be told. A channel with values that nobody has received is
kept, for somebody may come for them: --values takes those too. One that all have left by Detach, with nobody
dead in it, waits for whoever comes next: --detached takes those too.`,
		Example:           "  shmchan gc --dry-run\n  shmchan gc\n  shmchan gc --values --detached --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := shmchan.Collect(c, w.options()...)
			if err != nil {
				return fail(err)
			}
			out := cmd.OutOrStdout()
			var errs []error
			found := []leftover{}
			for _, l := range all {
				f := leftover{l.Name, l.Path, l.Bytes, l.Values, l.Held, l.Goes, asCommand.Replace(l.Why), ""}
				if l.Err != nil {
					f.Error = words(l.Err)
					errs = append(errs, l.Err)
				}
				found = append(found, f)
			}
			if asJSON {
				err = writeJSON(out, found, true)
			} else {
				t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				for _, f := range found {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", fateOf(f, c.DryRun), plain(filepath.Base(f.Path)), byteCount(f.Bytes), plain(f.Why))
				}
				if err = t.Flush(); len(found) == 0 {
					fmt.Fprintln(cmd.ErrOrStderr(), "nothing there")
				}
			}
			if err != nil {
				errs = append(errs, err)
			}
			if len(errs) > 0 {
				return fail(errs...)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.DryRun, "dry-run", false, "only say what would go")
	f.BoolVar(&c.Values, "values", false, "also channels of the dead that hold values nobody has received")
	f.BoolVar(&c.Detached, "detached", false, "also channels that all have left by Detach")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func fateOf(f leftover, dry bool) string {
	switch {
	case f.Error != "":
		return "failed"
	case f.Goes && dry:
		return "would go"
	case f.Goes:
		return "removed"
	}
	return "kept"
}
