package main

// One measurement, and the run that is made of them.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

// measurement is one peer in one row, once. Times are in nanoseconds.
type measurement struct {
	Row       string    `json:"row"`
	Peer      string    `json:"peer"`
	Round     int       `json:"round"`
	Attempts  int       `json:"attempts"` // so often until the yardstick stood still
	Lines     []float64 `json:"lines"`    // the yardstick before and after
	Placement placement `json:"placement"`

	Count     uint64       `json:"count"`
	Seconds   float64      `json:"seconds"`
	PerSecond float64      `json:"per_second"`
	PerValue  float64      `json:"ns_per_value"` // there and back: a round
	CPU       float64      `json:"cpu_ns_per_value"`
	CPUShare  float64      `json:"cpu_share"` // of one CPU, of all processes
	P50       float64      `json:"p50,omitempty"`
	P99       float64      `json:"p99,omitempty"`
	P999      float64      `json:"p99_9,omitempty"`
	Curve     [][2]float64 `json:"curve,omitempty"` // part of all, and what they are at most
	Note      string       `json:"note,omitempty"`
	Error     string       `json:"error,omitempty"`
}

func (m measurement) line() float64 { return (m.Lines[0] + m.Lines[1]) / 2 }

// figure is what the row's table, ratios and progress are about.
func (m measurement) figure(r row) float64 {
	switch {
	case r.idle():
		return m.CPUShare
	case r.latency():
		return m.P50
	default:
		return m.PerSecond
	}
}

// inLines is the time of a value, or of a round, in units of the yardstick.
func (m measurement) inLines(r row) float64 {
	if r.latency() {
		return m.P50 / m.line()
	}
	return m.PerValue / m.line()
}

// settings are the flags that say how long.
type settings struct {
	Time   time.Duration `json:"time"` // of a measurement, about
	Idle   time.Duration `json:"idle"`
	Repeat int           `json:"repeat"`
	CPUs   []int         `json:"cpus"`
}

// bench is a run.
type bench struct {
	settings
	runner   *runner
	quick    bool     // figures do not matter
	line     []string // the yardstick's command
	counts   map[string]uint64
	after    int // so many rounds that were measured before
	progress func(format string, a ...any)
}

const (
	attempts     = 3    // of a measurement whose yardstick moved
	lineRuns     = 1000 // of 64 rounds each: 6 to 30 ms
	samples      = 100_000
	fewest       = 20  // calls of open, or of bursts where it is only to run
	fewestBursts = 100 // bursts, for a median that one disturbance does not move
)

// yardstick is the median of many means of 64 rounds.
func (b *bench) yardstick(ctx context.Context) (float64, error) {
	a := contract.Args{Row: contract.Line, Count: lineRuns, Size: 8, Cap: 1}
	if b.quick {
		a.Count = lineRuns / 100
	}
	recv, send := a, a
	recv.Role, send.Role = contract.Recv, contract.Send
	got, err := b.runner.run(ctx, b.line, []part{{recv, b.CPUs[1:2]}, {send, b.CPUs[:1]}})
	if err != nil {
		return 0, fmt.Errorf("the yardstick: %w", err)
	}
	return quantile(sorted(got[1].Lat), 0.5), nil
}

func sorted(lat []int64) []float64 {
	f := make([]float64, len(lat))
	for i, l := range lat {
		f[i] = float64(l)
	}
	slices.Sort(f)
	return f
}

// once runs a peer in a row.
func (b *bench) once(ctx context.Context, r row, p *peer, count uint64) (m measurement, err error) {
	every := uint64(1)
	if r.Kind == contract.PingPong {
		every = max(1, count/samples)
	}
	each := count
	if r.Kind == contract.Many {
		each = count / uint64(r.Sides)
	}
	parts := r.parts(p, b.CPUs, each, every, b.Idle)
	results, err := b.runner.run(ctx, p.program.command, parts)
	if err != nil {
		return m, err
	}
	return gather(r, parts, results)
}

// gather makes one of the answers of all processes, and checks what only all of them show.
func gather(r row, parts []part, results []contract.Result) (m measurement, err error) {
	start, end, cpu, took := int64(math.MaxInt64), int64(0), int64(0), int64(0)
	got := make([][2]uint64, parts[0].args.Senders)
	received := uint64(0)
	for i, result := range results {
		start, end = min(start, result.Start), max(end, result.End)
		cpu += result.CPU
		took = max(took, result.Took)
		m.Note = cmp.Or(m.Note, result.Note)
		if len(result.Lat) > 0 && (r.Kind != contract.PingPong || parts[i].args.Role != contract.Recv) {
			lat := sorted(result.Lat)
			m.P50, m.P99, m.P999 = quantile(lat, 0.5), quantile(lat, 0.99), quantile(lat, 0.999)
			m.Curve = curve(lat)
		}
		if parts[i].args.Role == contract.Send {
			continue
		}
		received += result.Count
		for j := range min(len(got), len(result.Got)) {
			got[j][0] += result.Got[j][0]
			got[j][1] += result.Got[j][1]
		}
		if r.idle() { // Of the receiver only: the sender sleeps.
			cpu, start, end = result.CPU, result.Start, result.End
			break
		}
	}
	if want := expected(r, parts[0].args); received != want {
		return m, fmt.Errorf("%w: %d were received, not %d", errWrong, received, want)
	}
	if r.Kind == contract.Many {
		n := parts[0].args.Count
		for from, g := range got {
			if want := [2]uint64{n, n * (n - 1) / 2}; g != want {
				return m, fmt.Errorf("%w: of sender %d came %d values with the sum %d, not %d with %d", errWrong, from, g[0], g[1], want[0], want[1])
			}
		}
	}
	if took == 0 {
		took = end - start
	}
	m.Count, m.Seconds = received, float64(took)/1e9
	m.PerValue = float64(took) / float64(received)
	m.PerSecond = 1e9 / m.PerValue
	m.CPU = float64(cpu) / float64(received)
	m.CPUShare = float64(cpu) / float64(end-start)
	return m, nil
}

// expected is how many values are to arrive in all.
func expected(r row, a contract.Args) uint64 {
	switch r.Kind {
	case contract.Many:
		return a.Count * uint64(a.Senders)
	case contract.Bursts:
		return a.Count * uint64(a.Batch)
	case contract.Idle:
		return 1
	}
	return a.Count
}

// count is how many values, or rounds, take about b.Time; found by trying.
func (b *bench) count(ctx context.Context, r row, p *peer) (uint64, error) {
	key := r.Name + "\n" + p.Name
	if n, ok := b.counts[key]; ok {
		return n, nil
	}
	n := uint64(8 * whole)
	if r.Size > 1024 {
		n = whole
	}
	switch r.Kind {
	case contract.Idle:
		return 1, nil
	case contract.Bursts:
		if b.quick {
			return fewest, nil
		}
		return uint64(max(fewestBursts, min(b.Time/r.Gap, samples))), nil
	case contract.PingPong, contract.Open:
		n = fewest
	}
	if b.quick {
		return n, nil
	}
	for {
		m, err := b.once(ctx, r, p, n)
		if err != nil {
			return 0, err
		}
		if took := time.Duration(m.Seconds * 1e9); took >= b.Time/8 {
			n = uint64(float64(n) * float64(b.Time) / float64(took))
			break
		}
		n = r.round(uint64(float64(n) * min(64, max(2, b.Time.Seconds()/4/m.Seconds))))
	}
	n = r.round(n)
	b.counts[key] = n
	return n, nil
}

// round makes a count one that the row can have.
func (r row) round(n uint64) uint64 {
	if r.latency() {
		return max(n, fewest)
	}
	return max(1, (n+whole-1)/whole) * whole
}

// measure is once between two readings of the yardstick, again if they differ too much.
func (b *bench) measure(ctx context.Context, r row, p *peer, round int) (m measurement, err error) {
	count, err := b.count(ctx, r, p)
	if err != nil {
		return m, err
	}
	for attempt := 1; ; attempt++ {
		before, err := b.yardstick(ctx)
		if err != nil {
			return m, err
		}
		if m, err = b.once(ctx, r, p, count); err != nil {
			return m, err
		}
		after, err := b.yardstick(ctx)
		if err != nil {
			return m, err
		}
		m.Row, m.Peer, m.Round, m.Attempts = r.Name, p.Name, round, attempt
		m.Lines, m.Placement = []float64{before, after}, classify(before, after)
		if m.Placement != unsteady || attempt == attempts || b.quick {
			return m, nil
		}
	}
}

// run measures all rows of all peers, the peers of a row in turn. A wrong value ends it;
// a peer that dies or hangs is noted, and does not take part in that row any more.
func (b *bench) run(ctx context.Context, rows []row, peers []*peer) ([]measurement, error) {
	var all []measurement
	for i, r := range rows {
		failed := map[*peer]bool{}
		for round := b.after + 1; round <= b.after+b.Repeat; round++ {
			for _, p := range peers {
				if !p.can(r) || failed[p] {
					continue
				}
				m, err := b.measure(ctx, r, p, round)
				at := fmt.Sprintf("[%d/%d] %-15s %d/%d  %-26s", i+1, len(rows), r.Name, round, b.after+b.Repeat, p.Name)
				switch {
				case errors.Is(err, errWrong):
					return all, fmt.Errorf("%s, %s: %w", r.Name, p.Name, err)
				case ctx.Err() != nil:
					return all, context.Cause(ctx)
				case err != nil:
					failed[p] = true
					all = append(all, measurement{Row: r.Name, Peer: p.Name, Round: round, Error: err.Error()})
					b.progress("%s  FAILED: %v", at, err)
				default:
					all = append(all, m)
					b.progress("%s  %12s  %-8s  line %3.0f ns", at, r.show(m.figure(r)), m.Placement, m.line())
				}
			}
		}
	}
	return all, nil
}

// show is a figure with its unit.
func (r row) show(f float64) string {
	switch {
	case math.IsNaN(f):
		return ""
	case r.idle():
		return fmt.Sprintf("%.3f %% CPU", 100*f)
	case r.latency():
		return nanoseconds(f)
	default:
		return perSecond(f)
	}
}

// nanoseconds and perSecond show three digits.

func nanoseconds(f float64) string { return scaled(f, " ns", " µs", " ms", " s") }

func perSecond(f float64) string { return scaled(f, "/s", " k/s", " M/s", " G/s") }

func scaled(f float64, units ...string) string {
	for len(units) > 1 && f >= 999.5 {
		f /= 1000
		units = units[1:]
	}
	return strconv.FormatFloat(f, 'f', max(0, min(2, 2-int(math.Floor(math.Log10(max(f, 1e-3)))))), 64) + units[0]
}
