package main

// What a scenario is to reach, and what it did.

import "fmt"

// goal is how much better than another a peer is to be in a row: a rate that is so many times
// the other's, a time that is at most one part in so many of it.
type goal struct {
	Text    string   `json:"goal"`
	Row     string   `json:"row"`
	Peers   []string `json:"-"`
	Against string   `json:"against"`
	Want    float64  `json:"want"`
}

// reached is what one peer came to, in one placement of the CPUs.
type reached struct {
	goal
	Peer      string    `json:"peer"`
	Placement placement `json:"placement"`
	Got       float64   `json:"got"` // the median of the rounds, as Low and High are their range
	Low       float64   `json:"low"`
	High      float64   `json:"high"`
	Rounds    int       `json:"rounds"`
	Met       bool      `json:"met"`
}

// reach says of all goals what came out, as far as it was measured.
func (r *report) reach() []reached {
	var all []reached
	for _, g := range r.scenario.goals {
		for _, w := range r.Rows {
			if w.Name != g.Row {
				continue
			}
			times := func(m measurement) float64 {
				if w.latency() {
					return 1 / m.figure(w)
				}
				return m.figure(w)
			}
			for _, p := range g.Peers {
				found := ratios(r.of(w, p), r.of(w, g.Against), times)
				for _, at := range []placement{near, far} {
					if s := summarize(found[at]); s.N > 0 {
						all = append(all, reached{g, p, at, s.Median, s.Low, s.High, s.N, s.Median >= g.Want})
					}
				}
			}
		}
	}
	return all
}

// goalCells are the table of goals, its head first.
func (r *report) goalCells() [][]string {
	cells := [][]string{{"goal", "against", "wanted", "peer", "CPUs", "got", "range", "rounds", ""}}
	for _, g := range r.Goals {
		word := "missed"
		if g.Met {
			word = "met"
		}
		cells = append(cells, []string{
			g.Text, g.Against, fmt.Sprintf("%g times", g.Want), g.Peer, string(g.Placement),
			times(g.Got), times(g.Low) + " to " + times(g.High), fmt.Sprint(g.Rounds), word,
		})
	}
	return cells
}

// times has three digits.
func times(f float64) string { return fmt.Sprintf("%.3g", f) }
