package main

// Wrong usage, said in words of this program's and not of the library's that parses flags.
//
// Invariant: each says what was given and what may be.

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noArgs is for commands that take flags only.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, and %q is one", cmd.Name(), args[0])
	}
	return nil
}

func exactlyOneName(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return errors.New("name the channel; shmchan ls shows which there are")
	}
	return fmt.Errorf("name one channel, not %d", len(args))
}

// notNegative is for times that may be 0.
func notNegative(flag string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("--%s %v: a time is 0 or more", flag, d)
	}
	return nil
}

// oneLine is the library's text about a command that there is not, which has others that are like it in lines of their own.
var oneLine = strings.NewReplacer("\n\nDid you mean this?\n\t", ", did you mean ", "\n\t", ", ", "\n", "")

// values of flags, by the type that the library names.
var flagValues = map[string]string{
	"uint64":   "use a whole number, 0 or more",
	"int":      "use a whole number",
	"int64":    "use a whole number",
	"duration": "use a time, as 500ms, 2s or 1m",
	"bool":     "use true or false, or the flag alone",
}

// flagError says what is wrong with a flag.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var without *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		if what, ok := flagValues[invalid.GetFlag().Value.Type()]; ok {
			return fmt.Errorf("--%s %s: %s", invalid.GetFlag().Name, plain(invalid.GetValue()), what)
		}
	case errors.As(err, &without):
		name := without.GetFlag().Name
		if what, ok := flagValues[without.GetFlag().Value.Type()]; ok {
			return fmt.Errorf("--%s has no value: %s", name, what)
		}
		return fmt.Errorf("--%s has no value", name)
	}
	return err
}

// newHelp is the library's help command, but that one who asks for what there is not is told so.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  shmchan help stat\n  shmchan stat --help",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			at, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), begun) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("there is no command %q to help with", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}
