package main

// shmchan rm: takes the names of channels away.
// Invariant: one name that fails does not keep the others from being removed.

import (
	"errors"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newRemove(w *where) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Remove channels",
		Long: "Takes the names of channels away. Programs that are attached go on with the\n" +
			"channel they have; whoever opens the name next makes a new one.",
		Example:           "  shmchan rm trades quotes",
		ValidArgsFunction: completeChannels(w, 0),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the channels to remove")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			results := []removed{}
			for _, name := range args {
				r := removed{Name: name, Removed: true}
				if err := shmchan.Remove(name, w.options()...); err != nil {
					errs = append(errs, err)
					r.Removed, r.Error = false, words(err)
				}
				results = append(results, r)
			}
			if asJSON {
				if err := writeJSON(cmd.OutOrStdout(), results, true); err != nil {
					errs = append(errs, err)
				}
			}
			if len(errs) > 0 {
				return fail(errs...)
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// removed is what became of a name.
type removed struct {
	Name    string `json:"name"`
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
}
