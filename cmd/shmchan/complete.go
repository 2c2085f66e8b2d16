package main

// What the shell completes: the names of channels. "shmchan completion bash" is cobra's.

import (
	"slices"
	"strings"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// completeChannels completes up to so many names of channels, none twice; 0: any number.
func completeChannels(w *where, most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := shmchan.List(w.options()...)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(n string) bool {
			return !strings.HasPrefix(n, begun) || slices.Contains(args, n) || plain(n) != n
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
