// Command shmchan looks at channels in shared memory, removes them, and shows with
// "shmchan demo" what the package does.
//
// Invariant: results go to standard output, one clear line for each error to
// standard error. The exit status is 0, 1 for what failed, 2 for wrong usage, and that of SIGPIPE when nobody reads.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	ctx, out, notes := outputs(stdout, stderr)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(notes)
	addCompletion(root)
	cmd, err := root.ExecuteContextC(ctx)
	var failed *failure
	var unwritten *outputError
	switch {
	case errors.As(err, &failed):
	case err != nil && !errors.As(err, &unwritten):
		fmt.Fprintf(notes, "shmchan: %s; see %s --help\n", oneLine.Replace(err.Error()), cmd.CommandPath())
		return 2
	default:
		failed = &failure{}
	}
	for _, line := range failed.lines {
		fmt.Fprintln(notes, line)
	}
	if errors.As(out.why(), &unwritten) && !unwritten.unread() {
		fmt.Fprintf(notes, "shmchan: %v\n", unwritten)
		return 1
	}
	switch {
	case len(failed.lines) > 0:
		return 1
	case errors.As(errors.Join(out.why(), notes.why()), &unwritten) && unwritten.unread():
		return statusNobodyReads
	}
	return 0
}

// failure is the error of a command that was used rightly and failed: a line for
// each thing that went wrong; run adds that of the output. All other errors are of usage.
type failure struct{ lines []string }

func (f *failure) Error() string { return fmt.Sprint(f.lines) }

func fail(errs ...error) error {
	f := &failure{}
	for _, err := range errs {
		if unwritten := (*outputError)(nil); !errors.As(err, &unwritten) { // Else: run says it.
			f.lines = append(f.lines, words(err))
		}
	}
	return f
}

// where is what --dir says: the directory of the channels.
type where struct{ dir string }

func (w *where) options() []shmchan.Option {
	if w.dir == "" {
		return nil // $SHMCHAN_DIR, or the system's memory file system.
	}
	return []shmchan.Option{shmchan.WithDir(w.dir)}
}

func newRoot() *cobra.Command {
	w := &where{}
	root := &cobra.Command{
		Use:   "shmchan",
		Short: "Go channels across processes over shared memory",
		Long: "Shows and removes channels that programs have made with the package\n" +
			"github.com/shmchan/shmchan, and demonstrates them with real processes.\n\n" +
			"The exit status is 0, 1 for what failed, 2 for wrong usage, 141 when nobody reads its\n" +
			"output any more. Results go to standard output, with --json, which every command\n" +
			"takes, as JSON; an error is a line on standard error.",
		Example:       "  shmchan ls\n  shmchan stat trades --watch\n  shmchan top",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&w.dir, "dir", "",
		"the directory of the channels (default: $"+shmchan.EnvDir+", or else the system's memory file system)")
	_ = root.MarkPersistentFlagDirname("dir") // It is there.
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	root.AddCommand(newList(w), newStat(w), newRemove(w), newVersion(), newDemo(w), newDemoSender(w), newDemoReceiver(w), newDoctor(w), newDoctorEcho(), newExport(w))
	root.AddCommand(newTail(w), newRecv(w), newSend(w), newSchema(w))
	root.AddCommand(newTop(w), newCollect(w), newBenchCommand(w), newBenchPeer(), newBridge(w), newDemoBridge(w))
	return root
}
