package main

// shmchan version: what this program was built from, and which channels it can read.

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// layoutVersion is the version of a channel's file that the library reads and
// writes. A test compares it with a channel that the library makes.
const layoutVersion = 5

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Show the version of this program and of the layout it reads",
		Example:           "  shmchan version\n  shmchan version --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			if !asJSON {
				showVersion(cmd.OutOrStdout(), info)
				return nil
			}
			var text strings.Builder
			showVersion(&text, info)
			all := map[string]string{}
			for line := range strings.Lines(text.String()) {
				if f := strings.Fields(line); len(f) > 1 {
					all[f[0]] = strings.Join(f[1:], " ")
				}
			}
			return writeJSON(cmd.OutOrStdout(), all, true)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func showVersion(out io.Writer, info *debug.BuildInfo) {
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	fmt.Fprintf(out, "shmchan  %s\n", version)
	for _, dep := range info.Deps {
		if dep.Path == "github.com/shmchan/shmchan" {
			fmt.Fprintf(out, "library  %s\n", dep.Version)
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			fmt.Fprintf(out, "commit   %s\n", s.Value)
		}
	}
	fmt.Fprintf(out, "go       %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(out, "layout   version %d\n", layoutVersion)
}
