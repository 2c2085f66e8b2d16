package main

// shmchan doctor: what of this machine makes channels slower than they could be, or keeps them from working.
//
// Invariants:
//   - Nothing of the machine is changed, and nothing is left behind.
//   - What cannot be known here is said to be unknown, and never guessed.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// verdict says how a thing is. The greatest of all findings is the machine's.
type verdict string

const (
	isUnknown verdict = "unknown"
	isOK      verdict = "ok"
	isBetter  verdict = "could be better"
	isBad     verdict = "bad"
)

var verdictRank = map[verdict]int{isUnknown: 0, isOK: 0, isBetter: 1, isBad: 2}

// finding is what one check came to.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Found   string  `json:"found"`
	Change  string  `json:"change,omitempty"` // what to do about it
	Brings  string  `json:"brings,omitempty"` // what that is good for
}

// measured is a thing measured in two ways, in nanoseconds.
type measured struct {
	What     string  `json:"what"`
	Before   string  `json:"before"` // which way
	BeforeNs float64 `json:"before_ns"`
	After    string  `json:"after"`
	AfterNs  float64 `json:"after_ns"`
	Error    string  `json:"error,omitempty"` // why there is no figure
}

// report is all that the doctor says, and its JSON.
type report struct {
	Verdict  verdict    `json:"verdict"`
	Findings []finding  `json:"findings"`
	Measured []measured `json:"measured"`
}

func newDoctor(w *where) *cobra.Command {
	var asJSON, quick bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what of this machine could be changed for faster channels",
		Long: `Looks at what channels depend on: the memory file system, the limits of a container, locked
memory, huge pages, processors and their caches, the kernel and what it allows here. For each it
says "ok", "could be better" or "bad", what to change, and what that brings. Then it measures, for
some seconds, what can be measured on the spot, before and after. docs/tuning.md has more figures.

It changes nothing, and needs no privileges. The exit status is 1 if something is bad.`,
		Example:           "  shmchan doctor\n  shmchan doctor --quick --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := thisMachine(w)
			r := m.examine()
			if !quick {
				r.Measured = m.measure(cmd.ErrOrStderr())
			}
			if err := r.write(cmd.OutOrStdout(), asJSON); err != nil {
				return fail(err)
			}
			if r.Verdict == isBad {
				return fail(fmt.Errorf("shmchan: something is bad here: %s; see what the doctor says to change", strings.Join(r.bad(), ", ")))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.Flags().BoolVar(&quick, "quick", false, "measure nothing")
	return cmd
}

// examine makes all checks.
func (m *machine) examine() report {
	r := report{Verdict: isOK, Findings: m.checks(), Measured: []measured{}}
	for _, f := range r.Findings {
		if verdictRank[f.Verdict] > verdictRank[r.Verdict] {
			r.Verdict = f.Verdict
		}
	}
	return r
}

func (r report) bad() (checks []string) {
	for _, f := range r.Findings {
		if f.Verdict == isBad {
			checks = append(checks, f.Check)
		}
	}
	return checks
}

func (r report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "%-15s  %s: %s\n", f.Verdict, f.Check, plain(f.Found))
		if f.Change != "" {
			fmt.Fprintf(out, "%17schange: %s\n", "", f.Change)
		}
		if f.Brings != "" {
			fmt.Fprintf(out, "%17sbrings: %s\n", "", f.Brings)
		}
	}
	if len(r.Measured) > 0 {
		fmt.Fprintln(out, "\nmeasured just now, medians; other work on the machine shows in them:")
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, x := range r.Measured {
		if x.Error != "" {
			fmt.Fprintf(t, "%s\tnot measured: %s\n", x.What, plain(x.Error))
			continue
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s %s\n", x.What, x.Before, nanoseconds(x.BeforeNs), x.After, nanoseconds(x.AfterNs))
	}
	return t.Flush()
}

func nanoseconds(ns float64) string {
	switch {
	case ns >= 1e6:
		return fmt.Sprintf("%.1f ms", ns/1e6)
	case ns >= 1e4:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// directory is where channels lie if --dir is not given: the library's rule.
func (w *where) directory() string {
	for _, dir := range []string{w.dir, os.Getenv(envDir)} {
		if dir != "" {
			return dir
		}
	}
	return memoryDir()
}
