package main

// The audit: what became of every value, and whether that is what a channel promises.
//
// Invariant: it believes only the shared record, which each receiver writes while it
// has the value in hand and each sender after its Send has returned, and what the
// channel counts itself only in comparison with it.

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shmchan/shmchan"
)

// audit is the result. Values are told apart by their sender's number and theirs.
type audit struct {
	sent        uint64 // Sends that returned nil
	received    uint64 // values delivered, each counted once
	redelivered uint64 // deliveries of a value that had been delivered
	lost        uint64 // sent and not delivered
	torn        uint64 // delivered, and never sent so
	late        uint64 // deliveries after a later value of the same sender, to the same receiver
	unanswered  []unanswered
	killed      map[string]int // processes killed, by role
	counts      shmchan.Stats  // the channel's own

	elapsed   time.Duration // first send to last receive
	latencies []int64       // sorted, nanoseconds
}

// unanswered is a value whose Send did not return: its sender was killed in it.
type unanswered struct {
	sender    int
	seq       uint64
	delivered bool
}

// newAudit reads the record, when the channel is closed and drained and all processes have ended.
func newAudit(s *sharedFile, killed map[string]int, counts shmchan.Stats) *audit {
	a := &audit{killed: killed, counts: counts, sent: s.sent()}
	var firstAt, lastAt int64
	for i := range s.head.receivers {
		r := &s.head.receivers[i]
		a.torn += r.torn.Load()
		a.late += r.late.Load()
		lastAt = max(lastAt, r.lastAt.Load())
	}
	for i := range s.head.senders {
		r := &s.head.senders[i]
		if at := r.firstAt.Load(); at != 0 && (firstAt == 0 || at < firstAt) {
			firstAt = at
		}
		acked := r.acked.Load()
		for seq := uint64(1); seq <= r.attempted.Load(); seq++ {
			var o outcome
			if w := s.word(uint32(i), seq); w != nil {
				o = outcome(w.Load())
			}
			if o.count() > 0 {
				a.received++
				a.redelivered += uint64(o.count() - 1)
				a.latencies = append(a.latencies, o.latency())
			} else if seq <= acked {
				a.lost++
			}
			if seq > acked {
				a.unanswered = append(a.unanswered, unanswered{i, seq, o.count() > 0})
			}
		}
	}
	a.elapsed = time.Duration(lastAt - firstAt)
	slices.Sort(a.latencies)
	return a
}

// problems are the promises that were not kept; none if all is well.
func (a *audit) problems(quota uint64) (list []string) {
	add := func(bad bool, format string, args ...any) {
		if bad {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	receivers, senders := uint64(a.killed[roleReceiver]), a.killed[roleSender]
	add(a.lost > 0, "%d values were sent and never received", a.lost)
	add(a.torn > 0, "%d values were received that nobody sent so", a.torn)
	add(a.sent != quota, "%d values were sent, and %d should have been", a.sent, quota)
	add(a.redelivered > receivers, "%d values were delivered again, at most 1 for each receiver killed (%d) may be", a.redelivered, receivers)
	add(a.late > receivers, "%d values came out of their sender's order, at most 1 for each receiver killed (%d) may", a.late, receivers)
	add(len(a.unanswered) > senders, "%d Sends did not return, at most 1 for each sender killed (%d) may", len(a.unanswered), senders)
	add(a.counts.Sent != a.received || a.counts.Received != a.received || a.counts.Len != 0,
		"the channel has counted %d sent, %d received and %d left, the receivers %d", a.counts.Sent, a.counts.Received, a.counts.Len, a.received)
	return list
}

// percentile is the latency that p of 100 values did not exceed.
func (a *audit) percentile(p float64) time.Duration {
	if len(a.latencies) == 0 {
		return 0
	}
	i := int(float64(len(a.latencies))*p/100 + 0.5)
	return time.Duration(a.latencies[min(max(i-1, 0), len(a.latencies)-1)])
}

// rate is in values a second.
func (a *audit) rate() uint64 {
	if a.elapsed <= 0 {
		return 0
	}
	return uint64(float64(a.received) / a.elapsed.Seconds())
}

// print shows the audit and its verdict.
func (a *audit) print(out io.Writer, quota uint64) {
	receivers := a.killed[roleReceiver]
	allowed := fmt.Sprintf("at most %d: 1 for each receiver killed", receivers)
	fmt.Fprintln(out, "\nAudit")
	for _, l := range []struct {
		what  string
		n     uint64
		notes string
	}{
		{"sent", a.sent, "Sends that returned nil"},
		{"received", a.received, "each value counted once"},
		{"lost", a.lost, "must be 0"},
		{"torn", a.torn, "must be 0"},
		{"redelivered", a.redelivered, allowed},
		{"late", a.late, allowed + "; all else came in its sender's order"},
		{"unanswered", uint64(len(a.unanswered)), fmt.Sprintf("at most %d: 1 for each sender killed", a.killed[roleSender])},
	} {
		fmt.Fprintf(out, "  %-12s %11s   %s\n", l.what, grouped(l.n), l.notes)
	}
	for _, u := range a.unanswered {
		how := "it was not delivered"
		if u.delivered {
			how = "it was delivered all the same"
		}
		fmt.Fprintf(out, "    number %s of sender %d, which was killed while sending it: %s\n", grouped(u.seq), u.sender, how)
	}
	fmt.Fprintf(out, "  %-12s %11s   values a second, over %s\n", "rate", grouped(a.rate()), short(a.elapsed))
	fmt.Fprintf(out, "  %-12s p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", "latency", short(a.percentile(50)), short(a.percentile(90)),
		short(a.percentile(99)), short(a.percentile(99.9)), short(a.percentile(100)))
	fmt.Fprintf(out, "  %-12s from before the Send to the receiver, waiting for space and in the channel included\n", "")
	problems := a.problems(quota)
	for _, p := range problems {
		fmt.Fprintf(out, "FAILED: %s\n", p)
	}
	if len(problems) == 0 {
		order := "every sender's order kept"
		if a.late > 0 {
			order += ", but for what a killed receiver had in hand"
		}
		fmt.Fprintln(out, "PASSED: nothing lost, nothing torn, "+order)
	}
}

// auditResult is the audit in JSON.
type auditResult struct {
	Passed          bool             `json:"passed"`
	Problems        []string         `json:"problems"` // promises that were not kept
	Sent            uint64           `json:"sent"`
	Received        uint64           `json:"received"`
	Lost            uint64           `json:"lost"`
	Torn            uint64           `json:"torn"`
	Redelivered     uint64           `json:"redelivered"`
	Late            uint64           `json:"late"`
	Unanswered      int              `json:"unanswered"`
	SendersKilled   int              `json:"senders_killed"`
	ReceiversKilled int              `json:"receivers_killed"`
	PerSecond       uint64           `json:"per_second"`
	Seconds         float64          `json:"seconds"`
	LatencyNs       map[string]int64 `json:"latency_ns"`
}

func (a *audit) result(quota uint64) auditResult {
	r := auditResult{
		Sent: a.sent, Received: a.received, Lost: a.lost, Torn: a.torn, Redelivered: a.redelivered, Late: a.late, Unanswered: len(a.unanswered),
		SendersKilled: a.killed[roleSender], ReceiversKilled: a.killed[roleReceiver], PerSecond: a.rate(), Seconds: a.elapsed.Seconds(),
		Problems: append([]string{}, a.problems(quota)...), LatencyNs: map[string]int64{},
	}
	r.Passed = len(r.Problems) == 0
	for name, p := range map[string]float64{"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9, "max": 100} {
		r.LatencyNs[name] = int64(a.percentile(p))
	}
	return r
}

// grouped is n with its digits in threes.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short is d in three digits or so.
func short(d time.Duration) string {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}
