package main

// What the shell completes: the names of channels. "shmchan completion bash" is cobra's.

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// addCompletion adds the library's completion command, which writes to what is the output now, and has it say what is wrong usage, with
// examples.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Use = "completion SHELL"
		c.Short = "Write what a shell needs to complete commands, flags and names of channels"
		c.Example = "  source <(shmchan completion bash)\n  source <(shmchan completion zsh)\n  shmchan completion fish | source"
		c.Args = cobra.ArbitraryArgs
		var shells []string
		for _, shell := range c.Commands() {
			shells = append(shells, shell.Name())
			shell.Args = noArgs
			shell.Example = "  shmchan completion " + shell.Name()
		}
		c.RunE = func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the shell: " + strings.Join(shells, ", "))
			}
			return fmt.Errorf("nothing can be completed in %q; the shells are %s", args[0], strings.Join(shells, ", "))
		}
	}
}

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
