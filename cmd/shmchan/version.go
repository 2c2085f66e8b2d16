package main

// shmchan version: what this program was built from, and which channels it can read.

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// layoutVersion is the version of a channel's file that the library reads and
// writes. A test compares it with a channel that the library makes.
const layoutVersion = 5

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of the layout it reads",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			showVersion(cmd.OutOrStdout(), info)
			return nil
		},
	}
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
