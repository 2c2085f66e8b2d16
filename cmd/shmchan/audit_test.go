package main

import (
	"strings"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

const auditValues = 100

// bench is a run's record, filled in by hand: sender 1 has sent all its values.
type bench struct {
	*sharedFile
	one, two recorder
	killed   map[string]int
	missing  uint64 // values that the channel has not seen either
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := newSharedFile(make([]row, 3), auditValues+maxProcesses)
	require.NoError(t, err)
	t.Cleanup(s.close)
	r := &s.head.senders[1]
	r.firstAt.Store(now())
	r.attempted.Store(auditValues)
	r.acked.Store(auditValues)
	return &bench{s, recorder{shared: s, number: 1}, recorder{shared: s, number: 2}, map[string]int{}, 0}
}

func whole(seq uint64) *trade {
	t := &trade{Seq: seq, Sender: 1, SentAt: 1000, Price: 1, Symbol: [8]byte{'A'}}
	t.Sum = t.sum()
	return t
}

// receive has the two receivers take turns with the values from first to last.
func (b *bench) receive(first, last uint64) {
	for seq := first; seq <= last; seq++ {
		r := &b.one
		if seq%2 == 0 {
			r = &b.two
		}
		r.record(whole(seq), 1000+int64(seq))
	}
}

func (b *bench) audit() *audit {
	a := newAudit(b.sharedFile, b.killed, shmchan.Stats{})
	a.counts.Sent, a.counts.Received = a.received, a.received
	return a
}

func (b *bench) requireProblem(t *testing.T, want string) {
	t.Helper()
	problems := b.audit().problems(auditValues)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0], want)
	var out strings.Builder
	b.audit().print(&out, auditValues)
	require.Contains(t, out.String(), "FAILED: ")
	require.NotContains(t, out.String(), "PASSED")
}

func TestAuditOfAGoodRun(t *testing.T) {
	b := newBench(t)
	b.receive(1, auditValues)
	a := b.audit()
	require.Empty(t, a.problems(auditValues))
	require.EqualValues(t, auditValues, a.received)
	require.Equal(t, 50*time.Nanosecond, a.percentile(50))
	require.Equal(t, 99*time.Nanosecond, a.percentile(99))
	require.Equal(t, 100*time.Nanosecond, a.percentile(100))
	require.Equal(t, 1*time.Nanosecond, a.percentile(0))
	var out strings.Builder
	a.print(&out, auditValues)
	require.Contains(t, out.String(), "PASSED")
	require.NotContains(t, out.String(), "FAILED")
}

func TestAuditFindsALostValue(t *testing.T) {
	b := newBench(t)
	b.receive(1, 41)
	b.receive(43, auditValues)
	require.EqualValues(t, 1, b.audit().lost)
	b.requireProblem(t, "1 values were sent and never received")
}

func TestAuditFindsADoubledValue(t *testing.T) {
	b := newBench(t)
	b.receive(1, 42)
	fresh := recorder{shared: b.sharedFile, number: 3} // Has had nothing, so nothing is late to it.
	fresh.record(whole(42), 2000)
	b.receive(43, auditValues)
	require.EqualValues(t, 1, b.audit().redelivered)
	require.EqualValues(t, auditValues, b.audit().received)
	require.Equal(t, 42*time.Nanosecond, b.audit().percentile(42), "the first delivery counts")
	b.requireProblem(t, "1 values were delivered again")

	b.killed[roleReceiver] = 1
	require.Empty(t, b.audit().problems(auditValues), "a receiver killed may have had one in hand")
	fresh.record(whole(43), 2000)
	b.requireProblem(t, "2 values were delivered again")
}

func TestAuditFindsAValueOutOfOrder(t *testing.T) {
	b := newBench(t)
	b.receive(1, 39)
	b.receive(42, auditValues)
	b.receive(40, 40)
	b.killed[roleSender] = 1 // Is no excuse.
	b.one.record(whole(41), 2000)
	require.EqualValues(t, 2, b.audit().late)
	b.requireProblem(t, "2 values came out of their sender's order")
	b.killed[roleReceiver] = 1
	b.requireProblem(t, "2 values came out of their sender's order")
	b.killed[roleReceiver] = 2
	require.Empty(t, b.audit().problems(auditValues))
}

func TestAuditFindsTornValues(t *testing.T) {
	for name, tear := range map[string]func(*trade){
		"another price":    func(t *trade) { t.Price++ },
		"another quantity": func(t *trade) { t.Quantity++ },
		"another time":     func(t *trade) { t.SentAt++ },
		"another side":     func(t *trade) { t.Side++ },
		"another symbol":   func(t *trade) { t.Symbol[7]++ },
		"another row":      func(t *trade) { t.Row++ },
		"another sum":      func(t *trade) { t.Sum++ },
		"another number":   func(t *trade) { t.Seq = 1 },
		"all zero":         func(t *trade) { *t = trade{} },
		"no such number":   func(t *trade) { t.Seq = auditValues + 1; t.Sum = t.sum() },
		"number 0":         func(t *trade) { t.Seq = 0; t.Sum = t.sum() },
		"no such sender":   func(t *trade) { t.Sender = 2; t.Sum = t.sum() },
		"sender too high":  func(t *trade) { t.Sender = 1 << 31; t.Sum = t.sum() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.receive(1, auditValues)
			v := whole(50)
			tear(v)
			b.one.record(v, 2000)
			require.EqualValues(t, 1, b.audit().torn)
			b.requireProblem(t, "1 values were received that nobody sent so")
		})
	}
}

func TestAuditOfAKilledSender(t *testing.T) {
	for _, delivered := range []bool{false, true} {
		b := newBench(t)
		// It had sent 59 and was at 60; sender 2 has sent the remaining 41.
		dead, next := &b.head.senders[1], &b.head.senders[2]
		dead.acked.Store(59)
		dead.attempted.Store(60)
		next.base.Store(60)
		next.attempted.Store(41)
		next.acked.Store(41)
		b.receive(1, 59)
		if delivered {
			b.receive(60, 60)
		}
		for seq := range uint64(41) {
			v := whole(seq + 1)
			v.Sender = 2
			v.Sum = v.sum()
			b.one.record(v, 2000)
		}
		b.requireProblem(t, "1 Sends did not return")
		b.killed[roleSender] = 1
		a := b.audit()
		require.Empty(t, a.problems(auditValues))
		require.Equal(t, []unanswered{{1, 60, delivered}}, a.unanswered)
		var out strings.Builder
		a.print(&out, auditValues)
		require.Equal(t, delivered, strings.Contains(out.String(), "it was delivered all the same"))
		require.Equal(t, !delivered, strings.Contains(out.String(), "it was not delivered"))
	}
}

func TestAuditComparesWithTheChannelsCounts(t *testing.T) {
	b := newBench(t)
	b.receive(1, auditValues)
	for _, tamper := range []func(*shmchan.Stats){
		func(s *shmchan.Stats) { s.Sent++ },
		func(s *shmchan.Stats) { s.Received-- },
		func(s *shmchan.Stats) { s.Len++ },
	} {
		a := b.audit()
		tamper(&a.counts)
		require.Len(t, a.problems(auditValues), 1)
	}
}

func TestAuditOfASenderThatStoppedShort(t *testing.T) {
	b := newBench(t)
	b.head.senders[1].attempted.Store(auditValues - 1)
	b.head.senders[1].acked.Store(auditValues - 1)
	b.receive(1, auditValues-1)
	b.requireProblem(t, "99 values were sent, and 100 should have been")
}

func TestAnotherProcessSeesTheSameFile(t *testing.T) {
	b := newBench(t)
	again, err := openSharedFile(b.file)
	require.NoError(t, err)
	b.receive(1, 5)
	require.Len(t, again.rows, 3)
	require.EqualValues(t, 5, again.received())
	require.Equal(t, 1, outcome(again.word(1, 5).Load()).count())

	again.head.rows.Store(4) // Not what the file's size says.
	_, err = openSharedFile(b.file)
	require.ErrorContains(t, err, "should have")
}

func TestGroupedAndShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		require.Equal(t, want, grouped(n))
	}
	for d, want := range map[time.Duration]string{0: "0s", 999: "999ns", 1234: "1.23µs", 123456: "123µs", 1234567890: "1.23s"} {
		require.Equal(t, want, short(d))
	}
}
