package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile is the q-th part of sorted values, by the nearest rank.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// summary is the median of some values, with their range.
type summary struct {
	Median, Low, High float64
	N                 int
}

func summarize(values []float64) summary {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		nan := math.NaN()
		return summary{nan, nan, nan, 0}
	}
	return summary{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1], n}
}

// curve is a distribution by percentiles: evenly on the scale 1/(1-q), which shows the tail.
func curve(sorted []float64) [][2]float64 {
	var points [][2]float64
	for q := 0.0; ; {
		points = append(points, [2]float64{q, quantile(sorted, q)})
		// Five steps for each halving of what is left above.
		q = 1 - (1-q)*math.Pow(0.5, 0.2)
		if (1-q)*float64(len(sorted)) < 1 {
			return append(points, [2]float64{1, quantile(sorted, 1)})
		}
	}
}

// placement says how far the two CPUs were apart during a measurement.
type placement string

const (
	near     placement = "near"
	far      placement = "far"
	unsteady placement = "unsteady" // the yardstick moved in every attempt
)

const (
	nearBelow = 200.0 // ns, a line there and back
	steady    = 1.3   // the larger reading of the yardstick over the smaller
)

func classify(before, after float64) placement {
	lo, hi := min(before, after), max(before, after)
	switch {
	case !(lo > 0) || hi > steady*lo:
		return unsteady
	case (before+after)/2 < nearBelow:
		return near
	default:
		return far
	}
}

// ratios pairs a peer's measurements with another's of the same round and placement.
func ratios(of, to []measurement, value func(measurement) float64) map[placement][]float64 {
	found := map[placement][]float64{}
	for _, m := range of {
		i := slices.IndexFunc(to, func(o measurement) bool {
			return o.Round == m.Round && o.Placement == m.Placement && o.Error == ""
		})
		if i < 0 || m.Error != "" || m.Placement == unsteady {
			continue
		}
		if r := value(m) / value(to[i]); !math.IsNaN(r) && !math.IsInf(r, 0) {
			found[m.Placement] = append(found[m.Placement], r)
		}
	}
	return found
}

func orderBy[T any, K cmp.Ordered](s []T, key func(T) K) {
	slices.SortStableFunc(s, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}
