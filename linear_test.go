package shmchan

// Linearizability: several processes, with several goroutines each, call everything
// that a channel has at random, each call is recorded with the times of its call and
// its return, and porcupine looks for an order that explains all results (what a
// channel may do is in linear_model_test.go). In some histories a process is killed
// in the middle; what it was doing then may have happened or not.
//
// The record lies in memory that the processes share, and a call is noted there
// before it begins: so those of a killed process are known. The times are the
// monotonic clock's, which is one for all processes of a machine.
//
// What it shows: no history that was seen contradicts the model. What it does not: the
// histories are those that chance, two or more CPUs and their memory order brought about.

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

var histories = flag.Int("histories", 25, "histories for each form of channel in TestLinearizable; thousands for the long mode")

// monotonic is the system's monotonic clock: that of the time package has another
// zero in every process.
//
//go:linkname monotonic runtime.nanotime
func monotonic() int64

// record is a call in the shared memory, word by word.
type record struct {
	start, end   atomic.Int64 // 0: not yet
	kind, result atomic.Uint64
	want, n      atomic.Uint64 // of a batch
	in, out      atomic.Int64
	values       [linearBatch]atomic.Uint64
	_            [8 - linearBatch]uint64
}

const (
	linearClients = 12  // goroutines of all processes that call
	linearCalls   = 512 // calls that one may record
	linearBatch   = 4   // values in a batch
)

// recorder is the memory that the processes of a history share.
type recorder struct {
	run, progress *atomic.Int64
	records       [linearClients][]record
}

func openRecorder(t testing.TB, path string) (*recorder, error) {
	const header = 128
	const size = header + linearClients*linearCalls*int(unsafe.Sizeof(record{}))
	mem, err := sharedMemory(t, path, size)
	if err != nil {
		return nil, err
	}
	r := &recorder{run: (*atomic.Int64)(unsafe.Pointer(&mem[0])), progress: (*atomic.Int64)(unsafe.Pointer(&mem[64]))}
	all := unsafe.Slice((*record)(unsafe.Pointer(&mem[header])), linearClients*linearCalls)
	for i := range r.records {
		r.records[i] = all[i*linearCalls : (i+1)*linearCalls]
	}
	return r, nil
}

// clear makes it ready for the next history.
func (r *recorder) clear() {
	r.run.Store(0)
	r.progress.Store(0)
	for _, records := range r.records {
		for i := range records {
			if records[i].start.Load() == 0 {
				break
			}
			records[i] = record{}
		}
	}
}

// calls are the calls that were recorded.
func (r *recorder) calls() (calls []*call) {
	for id, records := range r.records {
		for i := range records {
			rec := &records[i]
			if rec.start.Load() == 0 {
				break
			}
			c := &call{
				client: id, kind: callKind(rec.kind.Load()), result: callResult(rec.result.Load()),
				start: rec.start.Load(), end: rec.end.Load(), in: rec.in.Load(), out: rec.out.Load(), n: int(rec.n.Load()),
			}
			known := int(rec.want.Load())
			if c.end == 0 {
				c.result = resultNone
			}
			if c.kind.receives() {
				if c.result == resultNone { // A RecvFunc may have noted its value.
					known, c.n = int(min(1, c.in)), known
				} else {
					known = c.n
				}
			}
			for j := range known {
				c.values = append(c.values, rec.values[j].Load())
			}
			calls = append(calls, c)
		}
	}
	return calls
}

// linearSender and linearReceiver are the ends of a channel. Those of a channel of bytes have no batches.
type linearSender interface {
	Send(m message) error
	TrySend(m message) error
	SendContext(ctx context.Context, m message) error
	SendFunc(ctx context.Context, fill func(*message) error) error
	Close() error
	Detach() error
	Stats() Stats
}

type linearReceiver interface {
	Recv() (message, error)
	TryRecv() (message, error)
	RecvContext(ctx context.Context) (message, error)
	RecvFunc(ctx context.Context, use func(*message) error) error
	Close() error
	Detach() error
	Stats() Stats
}

// caller is a goroutine that calls a channel at random.
type caller struct {
	id      int
	rnd     *rand.Rand
	records []record
	rec     *recorder
	s       linearSender // nil: it does not send
	r       linearReceiver
	bias    float64 // how often it sends, if it may do both
	patient bool    // it also calls what may wait for ever
	seq     uint64
	ended   int // results that said closed
}

func newCaller(rec *recorder, id int, seed uint64, s linearSender, r linearReceiver) *caller {
	c := &caller{id: id, rnd: rand.New(rand.NewPCG(seed, uint64(id))), records: rec.records[id], rec: rec, s: s, r: r, patient: true}
	c.bias = []float64{0.3, 0.5, 0.7}[rand.New(rand.NewPCG(seed, 1<<32)).IntN(3)] // the same for all, so that it runs full or empty
	return c
}

var errFails = errors.New("the caller's function fails")

// begin notes that a call begins.
func (c *caller) begin(kind callKind, want int) *record {
	r := &c.records[0]
	c.records = c.records[1:]
	r.kind.Store(uint64(kind))
	r.want.Store(uint64(want))
	for i := range want {
		if kind.sends() {
			r.values[i].Store(c.value(i))
		}
	}
	r.start.Store(monotonic())
	return r
}

// value is what identifies value i of the next call.
func (c *caller) value(i int) uint64 { return uint64(c.id+1)<<32 | c.seq + uint64(i) }

func (c *caller) message(i int) message { return newMessage(uint64(c.id+1), c.seq+uint64(i)) }

func identify(m *message) (uint64, error) {
	if !m.whole() {
		return 0, fmt.Errorf("a value is torn: %+v", *m)
	}
	return m.From<<32 | m.Seq, nil
}

// end notes what a call returned.
func (c *caller) end(r *record, n int, err error) error {
	// What a single role has stored may be on its way still, and reading a clock does not wait for
	// that, as anything would by which another process can know that the call has returned.
	r.end.Add(0)
	end := monotonic()
	var result callResult
	switch {
	case err == nil:
		result = resultOK
	case errors.Is(err, ErrFull):
		result = resultFull
	case errors.Is(err, ErrEmpty):
		result = resultEmpty
	case errors.Is(err, ErrClosed):
		result = resultClosed
		c.ended++
	case errors.Is(err, context.DeadlineExceeded):
		result = resultCancelled
	case errors.Is(err, errFails):
		result = resultFailed
	default:
		return err
	}
	r.n.Store(uint64(n))
	r.result.Store(uint64(result))
	r.end.Store(end)
	c.rec.progress.Add(1)
	if kind := callKind(r.kind.Load()); kind.sends() {
		c.seq += r.want.Load()
	}
	return nil
}

// once is 1 for a call that went through.
func once(err error) int {
	if err != nil {
		return 0
	}
	return 1
}

// dawdle passes some time.
func (c *caller) dawdle(most int) {
	for range c.rnd.IntN(most) {
		pause()
	}
	if c.rnd.IntN(4) == 0 {
		runtime.Gosched()
	}
}

// within is a context that sides at a random moment soon.
func (c *caller) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(c.rnd.IntN(200))*time.Microsecond)
}

// sends are the calls of a sender that does, or does not, wait for ever.
var sends = map[bool][]callKind{
	true: {callSend, callSend, callSend, callTrySend, callTrySend, callTrySend, callSendContext, callSendContext,
		callSendBatch, callSendFunc, callSendFunc, callSendFuncFails},
	false: {callTrySend, callTrySend, callSendContext, callSendContext, callSendBatch, callSendFunc, callSendFuncFails},
}

var receives = map[bool][]callKind{
	true: {callRecv, callRecv, callRecv, callTryRecv, callTryRecv, callTryRecv, callRecvContext, callRecvContext,
		callRecvBatch, callRecvFunc, callRecvFunc, callRecvFuncFails},
	false: {callTryRecv, callTryRecv, callRecvContext, callRecvContext, callRecvBatch, callRecvFunc, callRecvFuncFails},
}

func (c *caller) step() error {
	if c.rnd.IntN(3) == 0 {
		c.dawdle(300)
	}
	if c.r == nil || c.s != nil && c.rnd.Float64() < c.bias {
		all := sends[c.patient]
		return c.send(all[c.rnd.IntN(len(all))])
	}
	all := receives[c.patient]
	return c.receive(all[c.rnd.IntN(len(all))])
}

func (c *caller) send(kind callKind) error {
	batches, ok := c.s.(interface {
		SendBatch(ctx context.Context, vs []message) (int, error)
	})
	if kind == callSendBatch && !ok {
		kind = callSendContext
	}
	ctx, cancel := c.within()
	defer cancel()
	want := 1
	if kind == callSendBatch {
		want = 2 + c.rnd.IntN(linearBatch-1)
	}
	batch := make([]message, want)
	for i := range batch {
		batch[i] = c.message(i)
	}
	m := batch[0]
	if c.patient && kind != callSendContext && c.rnd.IntN(2) == 0 {
		ctx = forever
	}
	fill := func(v *message) error {
		*v = m
		c.dawdle(600)
		if kind == callSendFuncFails {
			return errFails
		}
		return nil
	}
	r := c.begin(kind, want)
	switch kind {
	case callSend:
		err := c.s.Send(m)
		return c.end(r, once(err), err)
	case callTrySend:
		err := c.s.TrySend(m)
		return c.end(r, once(err), err)
	case callSendBatch:
		n, err := batches.SendBatch(ctx, batch)
		return c.end(r, n, err)
	case callSendContext:
		err := c.s.SendContext(ctx, m)
		return c.end(r, once(err), err)
	}
	err := c.s.SendFunc(ctx, fill)
	return c.end(r, once(err), err)
}

func (c *caller) receive(kind callKind) error {
	batches, ok := c.r.(batchReceiver)
	if kind == callRecvBatch && !ok {
		kind = callRecvContext
	}
	ctx, cancel := c.within()
	defer cancel()
	want := 1
	if kind == callRecvBatch {
		want = 2 + c.rnd.IntN(linearBatch-1)
	}
	if c.patient && kind != callRecvContext && c.rnd.IntN(2) == 0 {
		ctx = forever
	}
	r := c.begin(kind, want)
	note := func(m message, err error) error {
		if err == nil {
			v, bad := identify(&m)
			if bad != nil {
				return bad
			}
			r.values[0].Store(v)
		}
		return c.end(r, once(err), err)
	}
	switch kind {
	case callRecv:
		return note(c.r.Recv())
	case callTryRecv:
		return note(c.r.TryRecv())
	case callRecvContext:
		return note(c.r.RecvContext(ctx))
	case callRecvBatch:
		return c.receiveBatch(ctx, batches, r, want)
	}
	return c.receiveFunc(ctx, r, kind == callRecvFuncFails)
}

type batchReceiver interface {
	RecvBatch(ctx context.Context, buf []message) (int, error)
}

func (c *caller) receiveBatch(ctx context.Context, batches batchReceiver, r *record, want int) error {
	buf := make([]message, want)
	n, err := batches.RecvBatch(ctx, buf)
	for i := range n {
		v, bad := identify(&buf[i])
		if bad != nil {
			return bad
		}
		r.values[i].Store(v)
	}
	return c.end(r, n, err)
}

func (c *caller) receiveFunc(ctx context.Context, r *record, fails bool) error {
	var bad error
	err := c.r.RecvFunc(ctx, func(m *message) error {
		var v uint64
		if v, bad = identify(m); bad != nil {
			return bad
		}
		r.values[0].Store(v)
		r.in.Store(monotonic())
		c.dawdle(600)
		r.out.Store(monotonic())
		if fails {
			return errFails
		}
		return nil
	})
	if bad != nil {
		return bad
	}
	if errors.Is(err, errFails) {
		return c.end(r, 1, err)
	}
	return c.end(r, once(err), err)
}

func (c *caller) close() error {
	r := c.begin(callClose, 0)
	if c.s != nil {
		return c.end(r, 0, c.s.Close())
	}
	return c.end(r, 0, c.r.Close())
}

// calls makes n calls, or some more after the channel has been closed.
func (c *caller) calls(n int) error {
	for ; n > 0 && c.ended < 3; n-- {
		if err := c.step(); err != nil {
			return err
		}
	}
	return nil
}

// drain receives to the end.
func (c *caller) drain() error {
	for last := c.ended; c.ended == last; {
		if err := c.receive(callRecv); err != nil {
			return err
		}
	}
	return nil
}

// lines are those of the standard input, and how to wait for another one. When it
// ends the process does, whatever it waits for: the parent is gone, or wants no more.
func lines() iter.Seq2[string, func()] {
	in := make(chan string)
	go func() {
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			in <- s.Text()
		}
		os.Exit(0)
	}()
	return func(yield func(string, func()) bool) {
		for line := range in {
			if !yield(line, func() { <-in }) {
				return
			}
		}
	}
}

func init() {
	// A process that takes part in one history after another. A line of its standard
	// input says in which, the next that all have done with it.
	roles["caller"] = func(args []string) error {
		rec, err := openRecorder(nil, args[1])
		if err != nil {
			return err
		}
		for line, next := range lines() {
			var p linearPart
			if err := p.parse(line); err != nil {
				return err
			}
			if err := p.play(rec, args[0], next); err != nil {
				return err
			}
			fmt.Println("left")
		}
		return nil
	}
}

// linearPart is the part of a process in a history.
type linearPart struct {
	Name            string
	Seed            uint64
	Client, Callers int // the number of its first goroutine that calls, and how many
	Calls           int // each
	Sends, Receives bool
	Drains          bool // it is the only one that receives, and does so to the end
	Closes          bool // one of them closes at a random moment
	Bytes           bool // the channel is one of bytes
}

func (p *linearPart) parse(line string) error {
	_, err := fmt.Sscan(line, &p.Name, &p.Seed, &p.Client, &p.Callers, &p.Calls, &p.Sends, &p.Receives, &p.Drains, &p.Closes, &p.Bytes)
	return err
}

func (p *linearPart) String() string {
	return strings.TrimSpace(fmt.Sprintln(p.Name, p.Seed, p.Client, p.Callers, p.Calls, p.Sends, p.Receives, p.Drains, p.Closes, p.Bytes))
}

// sides are the halves of a handle that one has; the other is nil.
type sides struct {
	s linearSender
	r linearReceiver
	h *handle // of r
}

func (p *linearPart) open(opts ...Option) (sides, error) {
	if p.Bytes {
		return openBytesSides(p.Sends, p.Receives, p.Name, append(opts, linearBytesOptions()...)...)
	}
	return openSides(p.Sends, p.Receives, p.Name, opts...)
}

func openSides(sends, receives bool, name string, opts ...Option) (e sides, err error) {
	var s *Sender[message]
	var r *Receiver[message]
	switch {
	case !receives:
		s, err = OpenSender[message](name, opts...)
	case !sends:
		r, err = OpenReceiver[message](name, opts...)
	default:
		var ch *Chan[message]
		if ch, err = Open[message](name, opts...); err == nil {
			s, r = ch.Sender, ch.Receiver
		}
	}
	if s != nil {
		e.s = s
	}
	if r != nil {
		e.r, e.h = r, r.h
	}
	return e, err
}

func (e sides) detach() (err error) {
	if e.s != nil {
		err = e.s.Detach()
	}
	if e.r != nil {
		err = errors.Join(err, e.r.Detach())
	}
	return err
}

func (e sides) stats() Stats {
	if e.s != nil {
		return e.s.Stats()
	}
	return e.r.Stats()
}

func (p *linearPart) play(rec *recorder, dir string, next func()) error {
	wait := []Wait{Adaptive, Park}[p.Seed%2]
	e, err := p.open(WithDir(dir), WithAttach(), WithWait(wait))
	if err != nil {
		return err
	}
	if e.r != nil && p.Seed%4 < 2 { // Linger where a receiver has stepped past somebody.
		e.h.onPass = func() {
			for range 300 {
				pause()
			}
			runtime.Gosched()
		}
	}
	fmt.Println("ready")
	errs := make(chan error, p.Callers)
	for i := range p.Callers {
		c := newCaller(rec, p.Client+i, p.Seed, e.s, e.r)
		go func() {
			for rec.run.Load() == 0 {
				runtime.Gosched()
			}
			err := c.calls(p.Calls)
			if p.Closes && i == 0 && err == nil {
				err = c.close()
			}
			if p.Drains && err == nil {
				err = c.drain()
			}
			errs <- err
		}()
	}
	for range p.Callers {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Println("done")
	next()
	return e.detach()
}

// linearForm is a form of channel and who is on it.
type linearForm struct {
	kind     string
	capacity int
	kills    bool
	bytes    bool
}

func (f linearForm) String() string {
	s := fmt.Sprintf("%s %d", f.kind, f.capacity)
	if f.bytes {
		s = "bytes " + s
	}
	if f.kills {
		s += " kills"
	}
	return s
}

func linearForms() (all []linearForm) {
	for _, c := range []int{0, 1, 2, 7, 64} {
		for _, kind := range []string{"many", "single sender", "single receiver", "single"} {
			for _, kills := range []bool{false, true} {
				all = append(all, linearForm{kind: kind, capacity: c, kills: kills})
			}
		}
	}
	for _, c := range []int{0, 2, 64} {
		for _, kind := range []string{"many", "single"} {
			for _, kills := range []bool{false, true} {
				all = append(all, linearForm{kind: kind, capacity: c, kills: kills, bytes: true})
			}
		}
	}
	return all
}

// parts are what the tester does, and what the processes beside it do.
func (f linearForm) parts() (mine linearPart, others []linearPart) {
	mine = linearPart{Sends: true, Receives: true}
	both := linearPart{Callers: 3, Calls: 25, Sends: true, Receives: true}
	sender := linearPart{Callers: 1, Calls: 60, Sends: true}
	receiver := linearPart{Callers: 1, Calls: 60, Receives: true, Drains: true}
	switch f.kind {
	case "single sender":
		mine.Sends = false
		receiver.Drains, receiver.Callers, receiver.Calls = false, 3, 30
		others = []linearPart{sender, receiver}
	case "single receiver":
		mine.Receives = false
		sender.Callers, sender.Calls = 3, 30
		others = []linearPart{sender, receiver}
	case "single":
		if mine.Sends = f.capacity%2 == 0; mine.Sends {
			mine.Receives = false
			others = []linearPart{receiver}
		} else {
			others = []linearPart{sender}
		}
	default:
		others = []linearPart{both, both}
		if f.kills {
			both.Callers = 2
			others = []linearPart{both, both, both}
		}
	}
	mine.Bytes = f.bytes
	for i := range others {
		others[i].Bytes = f.bytes
	}
	return mine, others
}

// TestLinearizable records histories and checks them.
func TestLinearizable(t *testing.T) {
	rnd := testRand(t)
	for _, f := range linearForms() {
		seed := rnd.Uint64()
		t.Run(f.String(), func(t *testing.T) {
			s := newLinearStage(t, f)
			n := *histories
			if f.kills { // Each needs a new process.
				n = (n + 2) / 3
			}
			for i := range n {
				s.history(seed+uint64(i), i)
			}
			for _, c := range s.children {
				c.wait()
			}
			dirEmpty(t, s.dir)
			t.Logf("%d histories, %d calls, %d of them by killed processes that did not return; the checks took %v, at most %v",
				n, s.calls, s.pending, s.checking.Round(time.Millisecond), s.worst.Round(time.Millisecond))
		})
	}
}

// linearStage is where histories of one form are made.
type linearStage struct {
	t         *testing.T
	f         linearForm
	dir, path string
	rec       *recorder
	children  []*child

	calls, pending  int
	checking, worst time.Duration
}

func newLinearStage(t *testing.T, f linearForm) *linearStage {
	s := &linearStage{t: t, f: f, dir: memDir(t), path: filepath.Join(t.TempDir(), "record")}
	s.rec = must[*recorder](t)(openRecorder(t, s.path))
	_, others := f.parts()
	for range others {
		s.children = append(s.children, start(t, "caller", s.dir, s.path))
	}
	return s
}

// linearMost is how often the tester calls in a history, at most.
const linearMost = 150

// history has all play their parts, one perhaps killed, and checks what was recorded.
func (s *linearStage) history(seed uint64, number int) {
	t, rnd := s.t, rand.New(rand.NewPCG(seed, 1<<40))
	mine, others := s.f.parts()
	name := fmt.Sprintf("h%d", number)
	before := rnd.Uint64N(2) * rnd.Uint64N(60) // positions to the end of their numbers
	opts := append([]Option{WithDir(s.dir), WithCapacity(s.f.capacity), withStart(-before & posMask)}, kinds[s.f.kind]...)
	mine.Name = name
	e := must[sides](t)(mine.open(opts...))
	s.rec.clear()
	goal, client := int64(0), 1
	for i, c := range s.children {
		p := &others[i]
		p.Name, p.Seed, p.Client = name, seed, client
		p.Closes = s.f.kind == "many" && rnd.IntN(4) == 0
		client += p.Callers
		goal += int64(p.Callers * p.Calls)
		c.say("%v", p)
	}
	for _, c := range s.children {
		require.Equal(t, "ready", c.line())
	}
	goal = goal/2 + rnd.Int64N(goal/2)
	killAt := rnd.Int64N(goal)
	me := newCaller(s.rec, 0, seed, e.s, e.r)
	me.patient = false
	mineDone := make(chan error, 1)
	s.rec.run.Store(1)
	go func() { // Until most calls are through; or nobody is left who comes to meet those that wait.
		var err error
		for n := 0; err == nil && n < linearMost && s.rec.progress.Load() < goal && me.ended == 0; n++ {
			err = me.step()
		}
		mineDone <- err
	}()
	var d *death
	alive := s.children
	if s.f.kills {
		i := rnd.IntN(len(others))
		until(t, "it is time for the kill", func() bool { return s.rec.progress.Load() >= killAt || len(mineDone) > 0 })
		d = s.kill(i, others[i], client, seed)
		alive = slices.Delete(slices.Clone(alive), i, i+1)
	}
	require.NoError(t, <-mineDone)
	require.NoError(t, me.close())
	for _, c := range alive {
		require.Equal(t, "done", c.line())
	}
	if d != nil {
		require.NoError(t, d.end())
	}
	if e.r != nil {
		require.NoError(t, me.drain())
	}
	for _, c := range alive {
		c.say("leave")
	}
	require.NoError(t, e.detach())
	for _, c := range alive {
		require.Equal(t, "left", c.line())
	}
	s.check(number, d)
}

// death is what is known of a killed process.
type death struct {
	part                    linearPart
	killed, died, recovered int64
	heir                    *caller // holds its role after it
	sides                   sides
}

// kill kills process i, waits until what it had in hand is recovered, and calls in
// its stead if it had a single role.
func (s *linearStage) kill(i int, p linearPart, client int, seed uint64) *death {
	t := s.t
	d := &death{part: p}
	d.killed = monotonic()
	s.children[i].kill()
	d.died = monotonic()
	d.sides = must[sides](t)(p.open(WithDir(s.dir), WithAttach()))
	until(t, "it is recovered", func() bool { return d.sides.stats().Recovered == 1 })
	d.recovered = monotonic()
	s.children[i] = start(t, "caller", s.dir, s.path)
	d.heir = newCaller(s.rec, client, seed, d.sides.s, d.sides.r)
	d.heir.patient = false
	require.NoError(t, d.heir.calls(20))
	return d
}

// end is what the heir does when the channel has been closed.
func (d *death) end() error {
	if d.part.Drains {
		if err := d.heir.drain(); err != nil {
			return err
		}
	}
	return d.sides.detach()
}

// check looks for an order that explains what was recorded.
func (s *linearStage) check(number int, d *death) {
	calls := s.rec.calls()
	for _, c := range calls {
		if c.result != resultNone {
			continue
		}
		mine := d != nil && c.client >= d.part.Client && c.client < d.part.Client+d.part.Callers
		require.True(s.t, mine, "a call that did not return, of client %d, who lives", c.client)
		c.killed, c.died, c.end = d.killed, d.died, d.recovered
		s.pending++
	}
	s.calls += len(calls)
	began := time.Now()
	if err := linearizable(s.f.capacity, calls); err != nil {
		s.t.Fatalf("history %d of this form: %v", number, err)
	}
	took := time.Since(began)
	s.checking, s.worst = s.checking+took, max(s.worst, took)
}

// linearizable says why the calls cannot be explained, and draws them into a file.
func linearizable(capacity int, calls []*call) error {
	h := newHistory(capacity, calls)
	if h.explained() {
		return nil
	}
	ops, err := h.operations()
	if err != nil {
		return err
	}
	result, info := porcupine.CheckOperationsVerbose(h.model(), ops, 10*time.Second)
	f, err := os.CreateTemp("", "shmchan-linear-*.html")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := porcupine.Visualize(h.model(), info, f); err != nil {
		return err
	}
	return fmt.Errorf("not linearizable (%v): see %s", result, f.Name())
}
