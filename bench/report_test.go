package main

// The files of a run, from measurements that are made up. That the plots can be read
// is for people to see.

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var plotsDir = flag.String("plots", "", "where TestFiles leaves its files, to be looked at")

func madeUp(s scenario) *report {
	r := &report{
		Facts: facts{CPU: "a CPU"}, Rows: s.rows(), Peers: s.peers(), Missing: []missingPeer{{"a peer", "needs what is not there"}},
		Scenario: s.name, scenario: s,
	}
	for _, w := range r.Rows {
		for i, p := range r.Peers {
			if !p.can(w) {
				continue
			}
			for round := range 3 {
				f := math.Pow(1.4, float64(i)) * float64(10+round) * math.Sqrt(float64(w.Size)) * float64(1+w.Sides)
				m := measurement{
					Row: w.Name, Peer: p.Name, Round: round, Lines: []float64{100, 100}, Placement: near,
					Count: 1, PerSecond: 1e9 / f, PerValue: f, CPU: 2 * f, CPUShare: f / 1e6,
				}
				if w.latency() {
					m.P50, m.P99, m.P999 = f, 2*f, 3*f
					for _, point := range curve(upTo(1000)) {
						m.Curve = append(m.Curve, [2]float64{point[0], f + point[1]*point[1]/100})
					}
				}
				r.All = append(r.All, m)
			}
		}
	}
	return r
}

func TestFiles(t *testing.T) {
	plotsOf := map[string]int{"peers": 6, "original": 2, "tuning": 0}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			if *plotsDir != "" {
				dir = filepath.Join(*plotsDir, s.name)
				require.NoError(t, os.MkdirAll(dir, 0o755))
			}
			r := madeUp(s)
			r.Goals = r.reach()
			require.NoError(t, r.write(dir))

			js, err := os.ReadFile(filepath.Join(dir, s.files+".json"))
			require.NoError(t, err)
			var back report
			require.NoError(t, json.Unmarshal(js, &back))
			assert.Equal(t, r.All, back.All)
			assert.Equal(t, s.name, back.Scenario)
			assert.Len(t, back.Goals, len(r.Goals))

			md, err := os.ReadFile(filepath.Join(dir, s.files+".md"))
			require.NoError(t, err)
			assert.Contains(t, string(md), "# "+s.title+"\n")
			for _, w := range r.Rows {
				assert.Contains(t, string(md), "## "+w.Title+"\n")
			}
			for _, p := range r.Peers {
				assert.Contains(t, string(md), "| "+p.Name)
			}
			assert.Contains(t, string(md), "needs what is not there")
			assert.Contains(t, string(md), fmt.Sprintf("Received %d values", len(r.All)))
			assert.NotContains(t, string(md), "NaN")
			assert.Equal(t, len(s.goals) > 0, strings.Contains(string(md), "\n## Goals\n"))

			plots, err := filepath.Glob(filepath.Join(dir, "*.svg"))
			require.NoError(t, err)
			assert.Len(t, plots, plotsOf[s.name])
			for _, p := range plots {
				f, err := os.Open(p)
				require.NoError(t, err)
				for d := xml.NewDecoder(f); err == nil; _, err = d.Token() {
				}
				require.ErrorIs(t, err, io.EOF, p)
				require.NoError(t, f.Close())
				assert.Contains(t, string(md), filepath.Base(p))
			}
		})
	}
}

// A run of a few rows has plots of a single point.
func TestFilesOfEachRowAlone(t *testing.T) {
	for _, s := range scenarios() {
		for _, w := range s.rows() {
			r := madeUp(s)
			r.Rows = []row{w}
			require.NoError(t, r.write(t.TempDir()), w.Name)
		}
	}
}

// Every peer does some row, every row has the peers that its ratios are to, and every goal
// the row and the peers that it is about.
func TestTables(t *testing.T) {
	files := map[string]bool{}
	for _, s := range scenarios() {
		assert.False(t, files[s.files], "%s would write over another's files", s.name)
		files[s.files] = true
		rows, peers := map[string]row{}, map[string]*peer{}
		for _, w := range s.rows() {
			assert.Empty(t, rows[w.Name].Name, "%s stands there twice", w.Name)
			rows[w.Name] = w
		}
		for _, p := range s.peers() {
			assert.Nil(t, peers[p.Name], "%s stands there twice", p.Name)
			peers[p.Name] = p
			some := false
			for _, w := range rows {
				some = some || p.can(w)
			}
			assert.True(t, some, "%s does nothing", p.Name)
		}
		does := func(w row, peer string) {
			t.Helper()
			require.NotNil(t, peers[peer], peer)
			assert.True(t, peers[peer].can(w), "%s does not do %s", peer, w.Name)
		}
		quick := false
		for _, w := range rows {
			quick = quick || w.quick
			for _, ref := range w.references() {
				does(w, ref)
			}
		}
		assert.True(t, quick, "-quick leaves out all of %s", s.name)
		for _, g := range s.goals {
			does(rows[g.Row], g.Against)
			for _, p := range g.Peers {
				does(rows[g.Row], p)
			}
		}
	}
}

// A run can add its rounds to an earlier one's, if that was of the same program.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	old := madeUp(original())
	old.Settings = settings{Time: 5, Repeat: 3, CPUs: []int{0, 1}}
	old.Facts.Date, old.Counts = "yesterday", map[string]uint64{"a": 1}
	require.NoError(t, old.write(dir))

	anew := func() *report {
		return &report{Facts: facts{CPU: "a CPU"}, Settings: settings{Time: 5, Repeat: 2, CPUs: []int{0, 1}}, Counts: map[string]uint64{}, scenario: original()}
	}
	r := anew()
	require.NoError(t, r.resume(dir))
	assert.Equal(t, old.All, r.All)
	assert.Equal(t, 5, r.Settings.Repeat)
	assert.Equal(t, old.Counts, r.Counts)
	for name, change := range map[string]func(*report){
		"commit": func(r *report) { r.Facts.Commit = "another" },
		"time":   func(r *report) { r.Settings.Time = 6 },
		"CPUs":   func(r *report) { r.Settings.CPUs = []int{1, 0} },
	} {
		r := anew()
		change(r)
		require.ErrorContains(t, r.resume(dir), "measure anew", name)
	}
	require.ErrorIs(t, anew().resume(t.TempDir()), os.ErrNotExist)
}

func TestFailures(t *testing.T) {
	r := report{All: []measurement{{Row: "a row", Peer: "a peer", Error: "it died"}}}
	require.ErrorContains(t, r.failures(), "a peer")
	require.NoError(t, errors.Join((&report{}).failures()))
}
