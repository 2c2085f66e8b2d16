package main

// What a run leaves: a table on the terminal, results.json, results.md and the plots.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

type missingPeer struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

type report struct {
	Scenario string        `json:"scenario"`
	Facts    facts         `json:"facts"`
	Settings settings      `json:"settings"`
	Rows     []row         `json:"rows"`
	Peers    []*peer       `json:"peers"`
	Missing  []missingPeer `json:"missing,omitempty"`
	Goals    []reached     `json:"goals,omitempty"`
	All      []measurement `json:"measurements"`
	// How many values each peer moves in a row, as it was found by trying.
	Counts map[string]uint64 `json:"counts,omitempty"`

	scenario scenario
}

// resume takes up what an earlier run left: its rounds come before those of this one.
func (r *report) resume(dir string) error {
	path := filepath.Join(dir, r.scenario.files+".json")
	js, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("-more adds to the results of an earlier run: %w", err)
	}
	var old report
	if err := json.Unmarshal(js, &old); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	now, then := r.Facts, old.Facts
	now.Date, then.Date = "", ""
	if now != then || r.Settings.Time != old.Settings.Time || r.Settings.Idle != old.Settings.Idle || !slices.Equal(r.Settings.CPUs, old.Settings.CPUs) {
		return fmt.Errorf("%s is of another commit, machine or setting: measure anew, without -more", path)
	}
	r.Settings.Repeat += old.Settings.Repeat
	r.All = old.All
	maps.Copy(r.Counts, old.Counts)
	return nil
}

// of are the measurements of a peer in a row.
func (r *report) of(w row, peer string) []measurement {
	var found []measurement
	for _, m := range r.All {
		if m.Row == w.Name && m.Peer == peer {
			found = append(found, m)
		}
	}
	return found
}

// line is a peer's line of a table: what it did in one placement of the CPUs.
type line struct {
	peer      *peer
	placement placement
	figure    summary
	ratios    []summary // to the row's references, in the same rounds
	lines     summary   // in units of the yardstick
	cpu       summary
	p99, p999 summary
	yardstick summary
	failed    string
}

func (r *report) lines(w row) []line {
	var lines []line
	for _, p := range r.Peers {
		of := r.of(w, p.Name)
		var to []map[placement][]float64
		for _, ref := range w.references() {
			to = append(to, ratios(of, r.of(w, ref), func(m measurement) float64 { return m.figure(w) }))
		}
		for _, at := range []placement{near, far, unsteady} {
			pick := func(value func(measurement) float64) summary {
				var values []float64
				for _, m := range of {
					if m.Placement == at && m.Error == "" {
						values = append(values, value(m))
					}
				}
				return summarize(values)
			}
			l := line{
				peer: p, placement: at,
				figure:    pick(func(m measurement) float64 { return m.figure(w) }),
				lines:     pick(func(m measurement) float64 { return m.inLines(w) }),
				cpu:       pick(func(m measurement) float64 { return m.CPU }),
				p99:       pick(func(m measurement) float64 { return m.P99 }),
				p999:      pick(func(m measurement) float64 { return m.P999 }),
				yardstick: pick(measurement.line),
			}
			for _, of := range to {
				l.ratios = append(l.ratios, summarize(of[at]))
			}
			if l.figure.N > 0 {
				lines = append(lines, l)
			}
		}
		for _, m := range of {
			if m.Error != "" {
				lines = append(lines, line{peer: p, failed: m.Error})
			}
		}
	}
	// The best first, each placement by itself.
	slices.SortStableFunc(lines, func(a, b line) int {
		if a.placement != b.placement {
			return slices.Index(order, a.placement) - slices.Index(order, b.placement)
		}
		if w.latency() || w.idle() {
			return cmp.Compare(a.figure.Median, b.figure.Median)
		}
		return cmp.Compare(b.figure.Median, a.figure.Median)
	})
	return lines
}

var order = []placement{near, far, unsteady, ""}

// columns are the table's head and cells; the same for terminal and Markdown.
func (w row) columns() []string {
	head := []string{"peer", "CPUs", map[bool]string{true: "p50", false: "values"}[w.latency()], "range"}
	if w.idle() {
		return []string{"peer", "CPUs", "of a CPU", "range", "runs"}
	}
	if w.latency() {
		head = append(head, "p99", "p99.9")
	}
	for _, ref := range w.references() {
		head = append(head, "to "+ref)
	}
	return append(head, "lines", "CPU", "line", "runs")
}

func (l line) cells(w row) []string {
	name := l.peer.Name
	if l.peer.InProcess {
		name += " (in-process)"
	}
	if l.failed != "" {
		return []string{name, "failed"}
	}
	cells := []string{name, string(l.placement), w.show(l.figure.Median),
		w.show(l.figure.Low) + " to " + w.show(l.figure.High)}
	if w.idle() {
		return append(cells, fmt.Sprint(l.figure.N))
	}
	if w.latency() {
		cells = append(cells, nanoseconds(l.p99.Median), nanoseconds(l.p999.Median))
	}
	for _, of := range l.ratios {
		ratio := ""
		if of.N > 0 {
			ratio = short2(of.Median)
		}
		cells = append(cells, ratio)
	}
	return append(cells, short2(l.lines.Median), nanoseconds(l.cpu.Median),
		nanoseconds(l.yardstick.Median), fmt.Sprint(l.figure.N))
}

// short2 has two digits behind the point, or three in all.
func short2(f float64) string {
	if math.Abs(f) < 0.1 {
		return fmt.Sprintf("%.3g", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// notes are what peers said beside their figures.
func (r *report) notes(w row) []string {
	var notes []string
	for _, m := range r.All {
		note := m.Peer + " " + m.Note
		if m.Row == w.Name && m.Note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}

// received is how many values came in all measurements; a value that was not the next one
// would have ended the run.
func (r *report) received() (n uint64) {
	for _, m := range r.All {
		n += m.Count
	}
	return n
}

func (r *report) text() string {
	var b strings.Builder
	for _, w := range r.Rows {
		lines := r.lines(w)
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s (%s)\n", w.Title, w.Name)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  "+strings.Join(w.columns(), "\t"))
		for _, l := range lines {
			fmt.Fprintln(t, "  "+strings.Join(l.cells(w), "\t"))
		}
		_ = t.Flush() // To memory.
		for _, note := range r.notes(w) {
			fmt.Fprintln(&b, "  "+note)
		}
		fmt.Fprintln(&b)
	}
	if len(r.Goals) > 0 {
		fmt.Fprintln(&b, "Goals")
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, cells := range r.goalCells() {
			fmt.Fprintln(t, "  "+strings.Join(cells, "\t"))
		}
		_ = t.Flush() // To memory.
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "Received %d values, each the one that was next.\n", r.received())
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "did not run: %s: %s\n", m.Peer, m.Why)
	}
	return b.String()
}

func (r *report) markdown(plots []string) string {
	var b strings.Builder
	f := r.Facts
	changed := ""
	if f.Changed {
		changed = ", with changes"
	}
	fmt.Fprintf(&b, `# %s

%s, %d CPUs, %s, %s, %s, commit %s%s. Each measurement took about %v; median of %d, the peers of a row in turn.

**near** and **far** say how long a cache line took there and back between the two CPUs at that
time: less than %.0f ns, or more. Figures of the two are never mixed. **unsteady** is what was
still moving after %d attempts. **lines** is the time in units of that yardstick, **CPU** the
CPU time that all processes burned for a value. (in-process) marks what does not cross to another process.

Received %d values, each the one that was next.

`, r.scenario.title, f.CPU, f.CPUs, f.Kernel, f.Go, f.Date, f.Commit, changed, r.Settings.Time, r.Settings.Repeat, nearBelow, attempts, r.received())
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](%s)\n", strings.TrimSuffix(p, ".svg"), p)
	}
	if len(r.Goals) > 0 {
		cells := r.goalCells()
		fmt.Fprintf(&b, "\n## Goals\n\n| %s |\n|%s\n", strings.Join(cells[0], " | "), strings.Repeat("---|", len(cells[0])))
		for _, c := range cells[1:] {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(c, " | "))
		}
	}
	for _, w := range r.Rows {
		lines := r.lines(w)
		if len(lines) == 0 {
			continue
		}
		head := w.columns()
		fmt.Fprintf(&b, "\n## %s\n\n| %s |\n|%s\n", w.Title, strings.Join(head, " | "), strings.Repeat("---|", len(head)))
		for _, l := range lines {
			cells := l.cells(w)
			for len(cells) < len(head) {
				cells = append(cells, "")
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
		for _, note := range r.notes(w) {
			fmt.Fprintf(&b, "\n%s.\n", note)
		}
	}
	fmt.Fprintf(&b, "\n## The peers\n\n| peer | setting |\n|---|---|\n")
	for _, p := range r.Peers {
		fmt.Fprintf(&b, "| %s | %s |\n", p.Name, p.Setting)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(&b, "\n## What did not run\n\n| peer | why |\n|---|---|\n")
		for _, m := range r.Missing {
			fmt.Fprintf(&b, "| %s | %s |\n", m.Peer, strings.ReplaceAll(m.Why, "|", "/"))
		}
	}
	return b.String()
}

// write makes the files.
func (r *report) write(dir string) error {
	plots, err := r.plots(dir)
	if err != nil {
		return err
	}
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, r.scenario.files+".json"), append(js, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, r.scenario.files+".md"), []byte(r.markdown(plots)), 0o644))
}

// failures is an error if a peer died or hung.
func (r *report) failures() error {
	var errs []error
	for _, m := range r.All {
		if m.Error != "" {
			errs = append(errs, fmt.Errorf("%s, %s: %s", m.Row, m.Peer, m.Error))
		}
	}
	return errors.Join(errs...)
}
