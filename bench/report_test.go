package main

// The files of a run, from measurements that are made up. That the plots can be read
// is for people to see.

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var plotsDir = flag.String("plots", "", "where TestFiles leaves its files, to be looked at")

func madeUp() *report {
	r := &report{Facts: facts{CPU: "a CPU"}, Rows: allRows(), Peers: allPeers(), Missing: []missingPeer{{"a peer", "needs what is not there"}}}
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
	dir := cmp.Or(*plotsDir, t.TempDir())
	r := madeUp()
	require.NoError(t, r.write(dir))

	js, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	var back report
	require.NoError(t, json.Unmarshal(js, &back))
	assert.Equal(t, r.All, back.All)

	md, err := os.ReadFile(filepath.Join(dir, "results.md"))
	require.NoError(t, err)
	for _, w := range r.Rows {
		assert.Contains(t, string(md), "## "+w.Title+"\n")
	}
	assert.Contains(t, string(md), "Go chan (in-process)")
	assert.Contains(t, string(md), "needs what is not there")
	assert.NotContains(t, string(md), "NaN")

	plots, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	require.NoError(t, err)
	assert.Len(t, plots, 6)
	for _, p := range plots {
		f, err := os.Open(p)
		require.NoError(t, err)
		for d := xml.NewDecoder(f); err == nil; _, err = d.Token() {
		}
		require.ErrorIs(t, err, io.EOF, p)
		require.NoError(t, f.Close())
		assert.Contains(t, string(md), filepath.Base(p))
	}
}

// A run of a few rows has plots of a single point.
func TestFilesOfEachRowAlone(t *testing.T) {
	for _, w := range allRows() {
		r := madeUp()
		r.Rows = []row{w}
		require.NoError(t, r.write(t.TempDir()), w.Name)
	}
}

// Every peer does some row, every row has the peer that its ratios are to.
func TestTables(t *testing.T) {
	rows, peers := allRows(), allPeers()
	names := map[string]*peer{}
	for _, p := range peers {
		assert.Nil(t, names[p.Name], "%s stands there twice", p.Name)
		names[p.Name] = p
		some := false
		for _, w := range rows {
			some = some || p.can(w)
		}
		assert.True(t, some, "%s does nothing", p.Name)
	}
	for _, w := range rows {
		if ref := w.reference(); ref != "" {
			require.NotNil(t, names[ref], ref)
			assert.True(t, names[ref].can(w), "%s does not do %s", ref, w.Name)
		}
	}
	r := report{All: []measurement{{Row: "a row", Peer: "a peer", Error: "it died"}}}
	require.ErrorContains(t, r.failures(), "a peer")
	require.NoError(t, errors.Join((&report{}).failures()))
}
