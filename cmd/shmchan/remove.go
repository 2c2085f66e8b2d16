package main

// shmchan rm: takes the names of channels away.
// Invariant: one name that fails does not keep the others from being removed.

import (
	"errors"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newRemove(w *where) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Remove channels",
		Long: "Takes the names of channels away. Programs that are attached go on with the\n" +
			"channel they have; whoever opens the name next makes a new one.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the channels to remove")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				if err := shmchan.Remove(name, w.options()...); err != nil {
					errs = append(errs, err)
				}
			}
			if len(errs) > 0 {
				return fail(errs...)
			}
			return nil
		},
	}
}
