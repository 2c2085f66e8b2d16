package main

// The arithmetic: percentiles, placements, ratios, and what all answers together must
// add up to. That a peer measures what it says it does is not shown here.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func upTo(n int) []float64 {
	var f []float64
	for i := range n {
		f = append(f, float64(i+1))
	}
	return f
}

func TestQuantile(t *testing.T) {
	thousand := upTo(1000)
	for q, want := range map[float64]float64{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		assert.InDelta(t, want, quantile(thousand, q), 0, "the part %v", q)
	}
	assert.InDelta(t, 7, quantile([]float64{7}, 0.999), 0)
	assert.True(t, math.IsNaN(quantile(nil, 0.5)))
}

func TestSummarize(t *testing.T) {
	assert.Equal(t, summary{3, 1, 9, 3}, summarize([]float64{9, 1, 3}))
	assert.Equal(t, summary{2.5, 1, 4, 4}, summarize([]float64{4, 1, 3, 2}))
	assert.Zero(t, summarize(nil).N)
}

func TestCurve(t *testing.T) {
	points := curve(upTo(1000))
	assert.Equal(t, [2]float64{0, 1}, points[0])
	assert.Equal(t, [2]float64{1, 1000}, points[len(points)-1])
	for i := 1; i < len(points); i++ {
		assert.Greater(t, points[i][0], points[i-1][0])
		assert.GreaterOrEqual(t, points[i][1], points[i-1][1])
	}
	assert.Len(t, curve(upTo(1)), 2, "one value has no shape")
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		before, after float64
		want          placement
	}{
		{100, 100, near},
		{199, 200, near},
		{200, 200, far},
		{450, 500, far},
		{100, 130, near},
		{100, 131, unsteady},
		{131, 100, unsteady},
		{100, 500, unsteady},
		{0, 0, unsteady},
		{math.NaN(), 100, unsteady},
	} {
		assert.Equal(t, c.want, classify(c.before, c.after), "%v, then %v", c.before, c.after)
	}
}

// A ratio is between two measurements of one round and one placement, or it is none.
func TestRatios(t *testing.T) {
	m := func(round int, at placement, figure float64) measurement {
		return measurement{Round: round, Placement: at, PerSecond: figure}
	}
	failed := m(6, near, 1)
	failed.Error = "died"
	of := []measurement{m(1, near, 10), m(2, far, 8), m(3, near, 30), m(4, unsteady, 5), m(5, near, 7), failed}
	to := []measurement{m(1, near, 5), m(2, near, 4), m(3, near, 10), m(4, unsteady, 5), m(6, near, 1)}
	got := ratios(of, to, func(m measurement) float64 { return m.PerSecond })
	assert.Equal(t, map[placement][]float64{near: {2, 3}}, got)
}

func TestGather(t *testing.T) {
	rows := map[string]row{}
	for _, r := range allRows() {
		rows[r.Name] = r
	}
	p := &peer{}
	cpus := []int{0, 1}

	r := rows["oneway/64"]
	parts := r.parts(p, cpus, 1000, 1, 0)
	require.Equal(t, contract.Recv, parts[0].args.Role, "who receives comes first")
	require.Equal(t, []int{1}, parts[0].cpus)
	require.Equal(t, []int{0}, parts[1].cpus)
	answers := []contract.Result{
		{Start: 1_000, End: 11_000, CPU: 9_000, Count: 1000},
		{Start: 2_000, End: 10_000, CPU: 7_000, Count: 1000},
	}
	m, err := gather(r, parts, answers)
	require.NoError(t, err)
	assert.InDelta(t, 10, m.PerValue, 1e-9)
	assert.InDelta(t, 1e8, m.PerSecond, 1e-3)
	assert.InDelta(t, 16, m.CPU, 1e-9)
	answers[0].Count = 999
	_, err = gather(r, parts, answers)
	require.ErrorIs(t, err, errWrong)

	r = rows["many2/64"]
	parts = r.parts(p, cpus, 3, 1, 0)
	require.Len(t, parts, 4)
	answers = []contract.Result{
		{Start: 1, End: 9, Count: 2, Got: [][2]uint64{{1, 0}, {1, 2}}},
		{Start: 1, End: 9, Count: 4, Got: [][2]uint64{{2, 3}, {2, 1}}},
		{Start: 1, End: 9}, {Start: 1, End: 9},
	}
	_, err = gather(r, parts, answers)
	require.NoError(t, err)
	answers[1].Got[1][1] = 2 // One of sender 1's values came twice, another not at all.
	_, err = gather(r, parts, answers)
	require.ErrorIs(t, err, errWrong)
}

func TestScaled(t *testing.T) {
	for f, want := range map[float64]string{0.5: "0.50 ns", 5.21: "5.21 ns", 52.1: "52.1 ns", 521: "521 ns", 999.6: "1.00 µs", 52_100: "52.1 µs", 1.5e6: "1.50 ms", 2e9: "2.00 s"} {
		assert.Equal(t, want, nanoseconds(f))
	}
	assert.Equal(t, "17.3 M/s", perSecond(17.3e6))
}

func TestArguments(t *testing.T) {
	a := contract.Args{Row: "many", Mode: "x", Role: "send", Size: 64, Cap: 1024, Count: 1 << 40, Batch: 8, Gap: 1500, Idle: 7, Senders: 4, Receivers: 2, Index: 3, Dir: "/d", ID: "i"}
	got, err := contract.Parse(a.List())
	require.NoError(t, err)
	assert.Equal(t, a, got)
	_, err = contract.Parse([]string{"-unheard", "of"})
	require.Error(t, err)
}
