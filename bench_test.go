package shmchan

// Benchmarks. Between processes: the parent on CPU 0, its child on CPU 1, every
// value checked at the other end for its number and for being whole.
//
// A figure means little without the distance of the two CPUs at that moment, so
// beside each stands the yardstick, a cache line there and back between the same
// two processes, plain loads and stores:
//
//	line-ns     the yardstick, the mean of a reading before and one after
//	line-shift  the larger of the two over the smaller; only if that is over 1.3:
//	            then the machine changed under way, and the row is to be repeated
//	lines/op    ns/op in units of the yardstick
//	cpu-ns/op   CPU time of all the processes; with both spinning, much less than
//	            2 ns/op means that somebody else had the CPUs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

var benchSizes = []int{8, 64, 1024}

func rolesName(single bool) string {
	if single {
		return "single"
	}
	return "many"
}

func waitName(w Wait) string { return [...]string{Adaptive: "adaptive", Spin: "spin", Park: "park"}[w] }

func BenchmarkUncontended(b *testing.B) {
	for _, single := range []bool{false, true} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("roles=%s/size=%d", rolesName(single), size), func(b *testing.B) {
				s := benchSpec{Dir: memDir(b), Size: size, Single: single, Sends: "a", Receives: "a"}
				e, err := openEnds(s)
				require.NoError(b, err)
				b.ReportAllocs()
				b.ResetTimer()
				_, err = e.ping(uint64(b.N), nil)
				b.StopTimer()
				require.NoError(b, err)
				require.NoError(b, e.detach())
			})
		}
	}
}

func BenchmarkYardstick(b *testing.B) {
	m := newMeter(b)
	m.child(benchSpec{})
	m.pin()
	m.c[0].say("line")
	require.NoError(b, m.volley(1000))
	b.ResetTimer()
	require.NoError(b, m.volley(b.N))
	b.StopTimer()
	m.endLine()
}

func BenchmarkOneWay(b *testing.B) {
	for _, wait := range []Wait{Spin, Adaptive} {
		for _, single := range []bool{false, true} {
			for _, batch := range []int{1, 64} {
				for _, size := range benchSizes {
					name := fmt.Sprintf("wait=%s/roles=%s/batch=%d/size=%d", waitName(wait), rolesName(single), batch, size)
					b.Run(name, func(b *testing.B) {
						m := newMeter(b)
						s := benchSpec{Dir: m.dir, Size: size, Batch: batch, Single: single, Wait: wait}
						child := s
						s.Sends, child.Receives = "a", "a"
						e := m.ends(s)
						m.child(child)
						m.measure(func() {
							m.ask(0, "receive %d", b.N)
							m.check(e.send(uint64(b.N)))
							m.answer(0)
						})
						m.report()
						b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "values/s")
					})
				}
			}
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, wait := range []Wait{Spin, Park} {
		for _, single := range []bool{false, true} {
			for _, size := range benchSizes {
				name := fmt.Sprintf("wait=%s/roles=%s/size=%d", waitName(wait), rolesName(single), size)
				b.Run(name, func(b *testing.B) {
					m := newMeter(b)
					s := benchSpec{Dir: m.dir, Size: size, Single: single, Wait: wait}
					child := s
					s.Sends, s.Receives = "there", "back"
					child.Receives, child.Sends = "there", "back"
					e := m.ends(s)
					m.child(child)
					took := make([]time.Duration, 1<<16)
					clear(took) // so that no page is new while the clock runs
					m.measure(func() {
						m.ask(0, "pong %d", b.N)
						var err error
						took, err = e.ping(uint64(b.N), took)
						m.check(err)
						m.answer(0)
					})
					m.report()
					slices.Sort(took)
					for _, q := range []struct {
						part float64
						name string
					}{{0.5, "p50-ns"}, {0.99, "p99-ns"}, {0.999, "p99.9-ns"}} {
						b.ReportMetric(float64(took[int(q.part*float64(len(took)))]), q.name)
					}
				})
			}
		}
	}
}

// The senders on CPU 0, the receivers on CPU 1. They share CPUs, so they wait as by default.
func BenchmarkManyToMany(b *testing.B) {
	const senders, receivers = 2, 2
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			m := newMeter(b)
			s := benchSpec{Dir: m.dir, Size: size, Sends: "a"}
			e := m.ends(s)
			s.Sends, s.Receives = "", "a"
			for range receivers { // The first is the yardstick's other end.
				m.child(s)
			}
			s.Sends, s.Receives, s.CPU = "a", "", 0
			share := [senders]uint64{}
			for i := range share {
				s.From = uint64(i)
				m.child(s)
				share[i] = uint64((b.N + i) / senders)
			}
			got := [benchSenders]tally{}
			m.measure(func() {
				for i := range receivers {
					m.ask(i, "drain")
				}
				for i, n := range share {
					m.ask(receivers+i, "send %d", n)
				}
				for i := range share {
					m.answer(receivers + i)
				}
				require.NoError(b, e.close())
				for i := range receivers {
					for from, t := range m.answer(i).Got {
						got[from].Count += t.Count
						got[from].Sum += t.Sum
					}
				}
			})
			for from, n := range share {
				require.Equal(b, tally{n, n * (n - 1) / 2}, got[from], "sender %d: what came of its %d values", from, n)
			}
			m.report()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "values/s")
		})
	}
}

// The values. The first word and the last say who sent it and which it is.

type benchValue interface {
	[1]uint64 | [8]uint64 | [128]uint64
}

const (
	benchSenders = 4
	seqBits      = 48
)

// tally is what was received from one sender. Modulo 2^64 it is as exact as needed:
// in order and the right count and sum.
type tally struct{ Count, Sum uint64 }

// benchSpec says what a process does with the channels.
type benchSpec struct {
	Dir             string
	Size, Batch     int
	Single          bool
	Wait            Wait
	Sends, Receives string // names of channels, empty: none
	CPU             int
	From            uint64
}

// benchEnds is what a process has of the channels; it hides the type of the values.
type benchEnds interface {
	send(n uint64) error
	receive(n uint64) error
	// ping sends n values, one at a time, and receives each back. It measures some, at
	// most as many as fit into took, which is overwritten.
	ping(n uint64, took []time.Duration) ([]time.Duration, error)
	pong(n uint64) error
	drain() ([benchSenders]tally, error) // until the channel is closed
	close() error
	detach() error
}

func openEnds(s benchSpec, opts ...Option) (benchEnds, error) {
	switch s.Size {
	case 8:
		return openTyped[[1]uint64](s, opts)
	case 64:
		return openTyped[[8]uint64](s, opts)
	case 1024:
		return openTyped[[128]uint64](s, opts)
	}
	return nil, fmt.Errorf("no values of %d bytes", s.Size)
}

type typedEnds[T benchValue] struct {
	spec benchSpec
	s    *Sender[T]
	r    *Receiver[T]
	buf  []T
}

func openTyped[T benchValue](spec benchSpec, opts []Option) (_ benchEnds, err error) {
	e := &typedEnds[T]{spec: spec, buf: make([]T, max(1, spec.Batch))}
	opts = append(opts, WithDir(spec.Dir), WithCapacity(1024), WithWait(spec.Wait))
	if spec.Single {
		opts = append(opts, WithSingleSender(), WithSingleReceiver())
	}
	if spec.Sends != "" {
		if e.s, err = OpenSender[T](spec.Sends, opts...); err != nil {
			return nil, err
		}
	}
	if spec.Receives != "" {
		if e.r, err = OpenReceiver[T](spec.Receives, opts...); err != nil {
			return nil, errors.Join(err, e.detach())
		}
	}
	return e, nil
}

func (e *typedEnds[T]) close() error { return e.s.Close() }

func (e *typedEnds[T]) detach() (err error) {
	if e.s != nil {
		err = e.s.Detach()
	}
	if e.r != nil {
		err = errors.Join(err, e.r.Detach())
	}
	return err
}

func (e *typedEnds[T]) mark(v *T, seq uint64) {
	(*v)[0] = e.spec.From<<seqBits | seq
	(*v)[len(*v)-1] = (*v)[0]
}

func wrong[T benchValue](v *T, want uint64) error {
	if first, last := (*v)[0], (*v)[len(*v)-1]; first != want || last != want {
		return fmt.Errorf("value %#x..%#x where %#x was next", first, last, want)
	}
	return nil
}

func (e *typedEnds[T]) send(n uint64) error {
	if e.spec.Batch > 1 {
		for seq := uint64(0); seq < n; {
			vs := e.buf[:min(uint64(len(e.buf)), n-seq)]
			for i := range vs {
				e.mark(&vs[i], seq)
				seq++
			}
			if _, err := e.s.SendBatch(forever, vs); err != nil {
				return err
			}
		}
		return nil
	}
	var v T
	for seq := range n {
		e.mark(&v, seq)
		if err := e.s.Send(v); err != nil {
			return err
		}
	}
	return nil
}

func (e *typedEnds[T]) receive(n uint64) error {
	if e.spec.Batch > 1 {
		for seq := uint64(0); seq < n; {
			k, err := e.r.RecvBatch(forever, e.buf[:min(uint64(len(e.buf)), n-seq)])
			if err != nil {
				return err
			}
			for i := range e.buf[:k] {
				if err := wrong(&e.buf[i], seq); err != nil {
					return err
				}
				seq++
			}
		}
		return nil
	}
	for seq := range n {
		v, err := e.r.Recv()
		if err == nil {
			err = wrong(&v, seq)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *typedEnds[T]) round(v *T, seq uint64) error {
	e.mark(v, seq)
	if err := e.s.Send(*v); err != nil {
		return err
	}
	var err error
	if *v, err = e.r.Recv(); err != nil {
		return err
	}
	return wrong(v, seq)
}

func (e *typedEnds[T]) ping(n uint64, took []time.Duration) ([]time.Duration, error) {
	var v T
	room := uint64(len(took))
	took = took[:0]
	every := n + 1
	if room > 0 {
		every = (n + room - 1) / room
	}
	left := every
	for seq := range n {
		if left--; left > 0 {
			if err := e.round(&v, seq); err != nil {
				return nil, err
			}
			continue
		}
		left = every
		began := time.Now()
		if err := e.round(&v, seq); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func (e *typedEnds[T]) pong(n uint64) error {
	for seq := range n {
		v, err := e.r.Recv()
		if err == nil {
			err = wrong(&v, seq)
		}
		if err == nil {
			err = e.s.Send(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *typedEnds[T]) drain() (got [benchSenders]tally, err error) {
	var next [benchSenders]uint64
	for {
		v, err := e.r.Recv()
		if errors.Is(err, ErrClosed) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		from, seq := v[0]>>seqBits, v[0]&(1<<seqBits-1)
		if from >= benchSenders || v[len(v)-1] != v[0] || seq < next[from] {
			return got, fmt.Errorf("value %#x..%#x where sender %d had come to %d", v[0], v[len(v)-1], from, next[min(from, benchSenders-1)])
		}
		next[from] = seq + 1
		got[from].Count++
		got[from].Sum += seq
	}
}

// The child: a line of input tells it what to do, a line of output that it is done.

type benchAnswer struct {
	Skip string // why it cannot take part
	CPU  time.Duration
	Got  [benchSenders]tally
}

func init() {
	roles["bench"] = func(args []string) error {
		var spec benchSpec
		if err := json.Unmarshal([]byte(args[1]), &spec); err != nil {
			return err
		}
		out := json.NewEncoder(os.Stdout)
		if _, err := pin(spec.CPU); err != nil {
			return out.Encode(benchAnswer{Skip: err.Error()})
		}
		word, err := lineWord(nil, args[0])
		if err != nil {
			return err
		}
		var e benchEnds
		if spec.Size > 0 {
			if e, err = openEnds(spec, WithAttach()); err != nil {
				return err
			}
		}
		commands := make(chan string)
		go func() { // When the parent is gone, so are we, also in the middle of a call.
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				commands <- in.Text()
			}
			os.Exit(0)
		}()
		if err := out.Encode(benchAnswer{}); err != nil {
			return err
		}
		for c := range commands {
			var what string
			var n uint64
			_, _ = fmt.Sscan(c, &what, &n)
			var a benchAnswer
			began := cpuTime()
			switch what {
			case "line":
				returnVolleys(word)
			case "send":
				err = e.send(n)
			case "receive":
				err = e.receive(n)
			case "pong":
				err = e.pong(n)
			case "drain":
				a.Got, err = e.drain()
			default:
				err = fmt.Errorf("cannot %q", c)
			}
			if err != nil {
				return err
			}
			a.CPU = cpuTime() - began
			if err := out.Encode(a); err != nil {
				return err
			}
		}
		return nil
	}
}

// The yardstick: one word on a line of its own. The parent makes it odd, the child even.

const lineOver = 1<<64 - 1

func lineWord(t testing.TB, path string) (*atomic.Uint64, error) {
	mem, err := sharedMemory(t, path, 4096)
	if err != nil {
		return nil, err
	}
	return (*atomic.Uint64)(unsafe.Pointer(&mem[1024])), nil
}

func returnVolleys(word *atomic.Uint64) {
	for {
		switch w := word.Load(); {
		case w == lineOver:
			word.Store(0)
			return
		case w%2 == 1:
			word.Store(w + 1)
		}
	}
}

// meter is the parent's side of a benchmark between processes.
type meter struct {
	b       *testing.B
	dir     string
	path    string
	word    *atomic.Uint64
	e       benchEnds
	c       []*child
	answers []chan *benchAnswer
	ended   chan int      // which child has ended
	burnt   time.Duration // by the children
	lines   [2]float64    // the yardstick before and after
	cpu     time.Duration // by all
}

func newMeter(b *testing.B) *meter {
	if runtime.NumCPU() < 2 {
		b.Skip("two processes at once need two CPUs")
	}
	m := &meter{b: b, dir: memDir(b), ended: make(chan int, 8)}
	m.path = filepath.Join(m.dir, "line")
	m.word = must[*atomic.Uint64](b)(lineWord(b, m.path))
	return m
}

// pin keeps this process on CPU 0 until the benchmark ends. The children are there
// by now: they would inherit it, and see a machine with one CPU.
func (m *meter) pin() {
	undo, err := pin(0)
	if err != nil {
		m.b.Skipf("cannot pin: %v", err)
	}
	m.b.Cleanup(func() { require.NoError(m.b, undo()) })
}

// ends opens our own ends of the channels. If a child dies they are detached, lest
// we wait for it.
func (m *meter) ends(s benchSpec) benchEnds {
	var err error
	m.e, err = openEnds(s)
	require.NoError(m.b, err)
	m.b.Cleanup(func() { _ = m.e.detach() })
	return m.e
}

// child starts a process, on CPU 1 if it receives or only takes part in the yardstick.
func (m *meter) child(s benchSpec) {
	if s.Receives != "" || s.Sends == "" {
		s.CPU = 1
	}
	spec, err := json.Marshal(s)
	require.NoError(m.b, err)
	var listening sync.WaitGroup
	m.b.Cleanup(listening.Wait)
	c := start(m.b, "bench", m.path, string(spec))
	i, answers := len(m.c), make(chan *benchAnswer)
	listening.Go(func() {
		for c.out.Scan() {
			a := new(benchAnswer)
			if json.Unmarshal(c.out.Bytes(), a) != nil {
				break
			}
			select {
			case answers <- a:
			case <-m.b.Context().Done():
				return
			}
		}
		m.ended <- i
		if m.e != nil {
			_ = m.e.detach()
		}
	})
	m.c, m.answers = append(m.c, c), append(m.answers, answers)
	if why := m.answer(i).Skip; why != "" {
		m.b.Skipf("the child cannot pin: %s", why)
	}
}

func (m *meter) ask(i int, format string, a ...any) {
	m.b.Helper()
	m.c[i].say(format, a...)
}

// answer waits for a child's line.
func (m *meter) answer(i int) *benchAnswer {
	m.b.Helper()
	select {
	case a := <-m.answers[i]:
		m.burnt += a.CPU
		return a
	case i := <-m.ended:
		m.failed(i)
		return nil
	}
}

func (m *meter) failed(i int) {
	m.b.Helper()
	m.c[i].done = true
	m.b.Fatalf("the child ended: %v: %s", m.c[i].cmd.Wait(), m.c[i].errs.String())
}

// check: if we were detached, a child has ended, and it knows better why.
func (m *meter) check(err error) {
	m.b.Helper()
	if errors.Is(err, ErrDetached) {
		m.failed(<-m.ended)
	}
	require.NoError(m.b, err)
}

// volley does n rounds of the yardstick with the first child.
func (m *meter) volley(n int) error {
	at := m.word.Load()
	for range n {
		m.word.Store(at + 1)
		began := time.Time{}
		for i := 1; m.word.Load() != at+2; i++ {
			if i%(1<<20) != 0 {
				continue
			}
			if began.IsZero() {
				began = time.Now()
			} else if time.Since(began) > 3*time.Minute { // Far beyond what a busy machine takes.
				return errors.New("the child does not answer")
			}
		}
		at += 2
	}
	return nil
}

func (m *meter) endLine() {
	m.word.Store(lineOver)
	m.answer(0)
}

// line is a reading of the yardstick: the median of rounds by the 64, of 20 ms, in ns.
func (m *meter) line() float64 {
	const some = 64
	m.ask(0, "line")
	require.NoError(m.b, m.volley(1000))
	var took []time.Duration
	for all := time.Duration(0); all < 20*time.Millisecond; {
		began := time.Now()
		require.NoError(m.b, m.volley(some))
		took = append(took, time.Since(began))
		all += took[len(took)-1]
	}
	m.endLine()
	slices.Sort(took)
	return float64(took[len(took)/2]) / some
}

// measure runs f between two readings of the yardstick.
func (m *meter) measure(f func()) {
	m.pin()
	m.lines[0] = m.line()
	m.burnt = 0
	began := cpuTime()
	m.b.ResetTimer()
	f()
	m.b.StopTimer()
	m.cpu = m.burnt + cpuTime() - began
	m.lines[1] = m.line()
}

func (m *meter) report() {
	b, n := m.b, float64(m.b.N)
	line := (m.lines[0] + m.lines[1]) / 2
	b.ReportMetric(line, "line-ns")
	b.ReportMetric(float64(b.Elapsed())/n/line, "lines/op")
	b.ReportMetric(float64(m.cpu)/n, "cpu-ns/op")
	if shift := max(m.lines[0], m.lines[1]) / min(m.lines[0], m.lines[1]); shift > 1.3 {
		b.ReportMetric(shift, "line-shift")
	}
}

// Two Selects that find a case ready, beside Go's select; and a value there and back to one who waits in Select, on another handle.
func BenchmarkSelect(b *testing.B) {
	b.Run("ready", func(b *testing.B) {
		ch, idle := openTest[int64](b, WithCapacity(1)), openTest[int64](b, WithCapacity(1))
		var v int64
		for b.Loop() {
			_, _ = Select(forever, SendCase(ch.Sender, 1), RecvCase(idle.Receiver, &v))
			_, _ = Select(forever, RecvCase(ch.Receiver, &v), RecvCase(idle.Receiver, &v))
		}
	})
	b.Run("ready/go", func(b *testing.B) {
		ch, idle := make(chan int64, 1), make(chan int64, 1)
		for b.Loop() {
			select {
			case ch <- 1:
			case <-idle:
			}
			select {
			case <-ch:
			case <-idle:
			}
		}
	})
	b.Run("thereandback", func(b *testing.B) {
		x, y := openTest[int64](b, WithCapacity(1)), openTest[int64](b, WithCapacity(1))
		x2, y2, idle := again(b, x), again(b, y), openTest[int64](b, WithCapacity(1))
		go func() {
			var v int64
			for {
				if _, err := Select(forever, RecvCase(x2.Receiver, &v), RecvCase(idle.Receiver, nil)); err != nil {
					return
				}
				_ = y2.Send(v)
			}
		}()
		var v int64
		for b.Loop() {
			_ = x.Send(1)
			v, _ = y.Recv()
		}
		_ = v
		_ = x.Close()
	})
}
