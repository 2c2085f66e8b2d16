//go:build amd64

package shmchan

// The others on a channel of which one process is killed or stopped: what they hold
// beforehand, what they do afterwards, and what must be true of the values that they get.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// scene is a channel as the operation finds it.
type scene struct {
	name     string
	capacity int
	single   bool   // one sender, one receiver
	values   int    // in the channel
	start    uint64 // the first position
	closed   bool
	absent   bool   // there is no channel yet
	alone    bool   // nobody else has a handle
	parked   string // who is parked before the operation begins: "sender", "receiver", or nobody
	comes    string // who comes while the process stands still, before it is killed: these, or "closer"
	bulk     bool   // of bytes, all in the arena
	room     int    // so many messages have room in it; 0: as many as in the channel
	lonely   bool   // the parked receiver has WithDisconnect, and there is no sender but the process
}

func (sc *scene) String() string {
	form := "many"
	if sc.single {
		form = "single"
	}
	if sc.capacity == 0 {
		form = "rendezvous"
	}
	if sc.bulk {
		form = "bytes, " + form
	}
	return form + ", " + sc.name
}

func (sc *scene) options(dir string) []Option {
	opts := []Option{WithDir(dir), WithCapacity(sc.capacity), WithWait(Park), withStart(sc.start)}
	if sc.single {
		opts = append(opts, WithSingleSender(), WithSingleReceiver())
	}
	if sc.bulk {
		opts = append(opts, WithMaxMessage(bulkLarge))
		if sc.room > 0 {
			opts = append(opts, WithArena(sc.room*bulkLarge))
		}
	}
	return opts
}

// fits is how many values there may be in the channel.
func (sc *scene) fits() int {
	if sc.room > 0 {
		return sc.room
	}
	return max(1, sc.capacity)
}

// Who sent a value.
const (
	fromTest   = iota // before the operation, or to help it on
	fromVictim        // the process that is killed
	fromOther         // who was parked, and went on afterwards
)

// id is a value's sender and number.
type id struct{ from, seq uint64 }

// others is everybody else on the channel: a sender, a receiver, each with a handle and a
// goroutine of its own.
type others struct {
	t   testing.TB
	sc  *scene
	op  *operation
	dir string
	s   sendsAny
	r   recvsAny

	mu     sync.Mutex // guards what follows
	sent   []id       // whose Send returned nil
	helped uint64     // values of fromTest
	got    []message

	sending, receiving *worker
}

// worker is a goroutine that makes one call, then waits until it is told to go on.
type worker struct {
	first chan error // the outcome of its first call
	goOn  chan struct{}
	done  chan error
}

func newWorker() *worker {
	return &worker{make(chan error, 1), make(chan struct{}), make(chan error, 1)}
}

// newOthers makes the scene for a process that will have op's role.
func newOthers(t testing.TB, sc *scene, op *operation, dir string) *others {
	o := &others{t: t, sc: sc, op: op, dir: dir}
	if sc.absent {
		return o
	}
	opts := sc.options(dir)
	s := must[sendsAny](t)(openSends(opts...))
	for range sc.values {
		o.must(o.put(s.TrySend))
	}
	if sc.lonely {
		opts = append(opts, WithDisconnect())
	}
	if !sc.alone && (!sc.single || op.sends()) {
		o.r = must[recvsAny](t)(openReceives(opts...))
	}
	if sc.closed {
		o.must(s.Close())
	}
	switch {
	case sc.alone && op.name == "Open": // As if all who had it were killed: nobody removes it.
		aside := filepath.Join(filepath.Dir(dir), "aside")
		path := s.of().path
		o.must(os.Link(path, aside))
		o.must(s.Detach())
		if sc.closed {
			o.must(os.Rename(aside, path))
		} else {
			o.must(os.Remove(aside))
		}
	case sc.single && op.sends():
		o.must(s.Detach()) // The role is the process's.
	default:
		o.s = s
	}
	return o
}

// joined is called when the process has its handle.
func (o *others) joined() {
	if o.s != nil && (o.sc.alone || o.sc.lonely) {
		o.must(o.s.Detach())
		o.s = nil
	}
	o.arrive(o.sc.parked)
}

func (o *others) must(err error) {
	o.t.Helper()
	require.NoError(o.t, err)
}

// put sends the next value of fromTest.
func (o *others) put(send func(message) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := send(newMessage(fromTest, o.helped))
	if err == nil {
		o.sent = append(o.sent, id{fromTest, o.helped})
		o.helped++
	}
	return err
}

func (o *others) take(m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, m)
}

// arrive starts one of the others, and returns when it is parked or has gone through.
func (o *others) arrive(who string) {
	wait := func(s *side, w *worker, before uint64) {
		until(o.t, who+" is parked", func() bool { return s.count(countParks) > before || len(w.first) > 0 })
	}
	switch who {
	case "sender":
		before := o.s.of().send.count(countParks)
		o.sending = o.startSending()
		wait(&o.s.of().send, o.sending, before)
	case "receiver":
		before := o.r.of().recv.count(countParks)
		o.receiving = o.startReceiving()
		wait(&o.r.of().recv, o.receiving, before)
	case "closer":
		if err := o.r.Close(); !errors.Is(err, ErrClosed) {
			o.must(err)
		}
	}
}

// rounds is how many values go through the channel afterwards: it comes round twice.
func (o *others) rounds() int { return 2*max(1, o.sc.capacity) + 1 }

func (o *others) startSending() *worker {
	w := newWorker()
	go func() {
		var err error
		for i := range uint64(o.rounds()) {
			if err = o.s.Send(newMessage(fromOther, i)); err == nil {
				o.mu.Lock()
				o.sent = append(o.sent, id{fromOther, i})
				o.mu.Unlock()
			}
			if i == 0 {
				w.first <- err
				<-w.goOn
			}
			if err != nil {
				break
			}
		}
		if err == nil {
			err = o.s.Close()
		}
		if errors.Is(err, ErrClosed) {
			err = nil
		}
		w.done <- err
	}()
	return w
}

func (o *others) startReceiving() *worker {
	w := newWorker()
	go func() {
		for first := true; ; first = false {
			m, err := o.r.Recv()
			if err == nil {
				o.take(m)
			}
			if first {
				w.first <- err
				<-w.goOn
			}
			if err == nil || first && errors.Is(err, ErrDisconnected) {
				continue
			}
			if errors.Is(err, ErrClosed) {
				err = nil
			}
			w.done <- err
			return
		}
	}()
	return w
}

// help gets an operation on that waits: a value for a receiver, space for a sender.
func (o *others) help(victim int) {
	h := o.anyHandle()
	switch {
	case h == nil || victim < 0:
	case o.op.sends() && o.r != nil && (h.isWaiting(sending, victim) || h.rv[victim].Load()&(1<<rvRoom) != 0):
		if m, err := o.r.TryRecv(); err == nil {
			o.take(m)
		} else if !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrClosed) {
			o.must(err)
		}
	case !o.op.sends() && o.s != nil && h.isWaiting(receiving, victim) && !h.canRecv(h.headHint()):
		if err := o.put(o.s.TrySend); !errors.Is(err, ErrFull) && !errors.Is(err, ErrClosed) {
			o.must(err)
		}
	}
}

func (o *others) anyHandle() *handle {
	switch {
	case o.s != nil:
		return o.s.of()
	case o.r != nil:
		return o.r.of()
	}
	return nil
}

func (r *ring) isWaiting(d direction, idx int) bool {
	return r.ctl.waiting(d)[idx/64].Load()>>(idx%64)&1 != 0
}

// look is what the slots hold at a moment when the process stands still.
type look struct {
	values map[id]bool // there, or in a receiver's hands
	back   map[id]bool // of these, what is in the process's hands
	held   []uint64    // positions in the process's hands
	closed bool
}

func (o *others) look(victim int) look {
	l := look{values: map[id]bool{}, back: map[id]bool{}}
	h := o.anyHandle()
	if h == nil {
		return l
	}
	l.closed = h.ctl.closed.Load() != 0
	for i := uint64(0); i < h.n; i++ {
		w := h.slot(i).Load()
		m := o.messageIn(h, wordPos(w))
		if h.slot(i).Load() != w { // One of the others works on it.
			i--
			continue
		}
		mine := tagIndex(wordTag(w)) == victim
		switch wordState(w) {
		case stFull:
			l.values[id{m.From, m.Seq}] = true
		case stReading:
			l.values[id{m.From, m.Seq}] = true
			if mine {
				l.back[id{m.From, m.Seq}] = true
				l.held = append(l.held, wordPos(w))
			}
		case stWriting:
			if mine {
				l.held = append(l.held, wordPos(w))
			}
		}
	}
	return l
}

// messageIn is the message that stands at a position, if one does.
func (o *others) messageIn(h *handle, pos uint64) (m message) {
	if !o.sc.bulk {
		return *(*message)(h.value(pos))
	}
	if c, err := h.messageAt(pos); err == nil && len(c.data) >= messageSize {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&m)), messageSize), c.data)
	}
	return m
}

// mustGoOn says of who is parked whether there is something for it, once what the dead
// process had in hand is given back.
func (o *others) mustGoOn(w *worker, l look) bool {
	if w == nil {
		return false
	}
	if w == o.sending {
		return l.closed || len(l.values) < o.sc.fits()
	}
	return l.closed || o.sc.lonely || len(l.values) > 0
}

// wedged is how long the test waits for what must come, before it says that it will not.
// How soon it came is measured beside that, so this is far beyond what a busy machine may take.
const wedged = 3 * time.Minute

func (o *others) await(what string, c chan error) error {
	o.t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(wedged):
		h, words := o.anyHandle(), ""
		for i := uint64(0); h != nil && i < h.n; i++ {
			words += fmt.Sprintf(" %#x", h.slot(i).Load())
		}
		o.t.Fatalf("%s: nothing happens; slots%s", what, words)
		return nil
	}
}

// afterDeath has everybody go on, to the end of the channel, and checks what they got.
// L is the look at the moment of death.
func (o *others) afterDeath(l look, outcome outcome) {
	o.t.Helper()
	died := startWatch()
	began := time.Now()
	// Who was parked goes on by itself, if it can, before anybody else does anything.
	for what, w := range map[string]*worker{"the parked sender": o.sending, "the parked receiver": o.receiving} {
		if o.mustGoOn(w, l) {
			err := o.await(what, w.first)
			if !errors.Is(err, ErrClosed) && (!o.sc.lonely || !errors.Is(err, ErrDisconnected)) {
				o.must(err)
			}
		}
	}
	first := died.took()
	// Everybody else: those who were not there come.
	opts := o.sc.options(o.dir)
	if o.s == nil {
		o.s = must[sendsAny](o.t)(openSends(opts...))
	}
	if o.r == nil {
		o.r = must[recvsAny](o.t)(openReceives(opts...))
	}
	if o.sending == nil {
		o.sending = o.startSending()
	}
	if o.receiving == nil {
		o.receiving = o.startReceiving()
	}
	close(o.sending.goOn)
	close(o.receiving.goOn)
	o.must(o.await("to send on", o.sending.done))
	o.must(o.await("to receive to the end", o.receiving.done))
	took := died.took()
	slowest.note(took, time.Since(began))
	require.LessOrEqual(o.t, took, int64(100), "ms until all had gone on (%d until who was parked had), %v by the clock on the wall", first, time.Since(began))
	o.check(l, outcome)
	o.leave()
}

// passBy has the others go on as far as they can while the process stands still at a
// moment: nothing may be taken from it, and it holds up nothing but its own slot, and so
// the senders once the ring has come round to that.
func (o *others) passBy(victim int) {
	o.t.Helper()
	if o.sc.absent { // They come while it is about to make the channel.
		o.s = must[sendsAny](o.t)(openSends(o.sc.options(o.dir)...))
		o.r = must[recvsAny](o.t)(openReceives(o.sc.options(o.dir)...))
	}
	h := o.anyHandle()
	counts := func() [3]uint64 {
		return [3]uint64{h.ctl.recovered.Load(), h.ctl.givenBack.Load(), h.ctl.givenUp.Load()}
	}
	before := counts()
	if o.sc.parked == "" && o.sc.capacity > 0 {
		if o.r != nil {
			o.drain()
		}
		l := o.look(victim)
		require.LessOrEqual(o.t, len(l.held), 1)
		switch {
		case l.closed || o.s == nil:
		case o.r == nil:
			o.fill(l)
		default:
			o.goRound(h, l)
		}
	}
	if o.receiving != nil && o.s != nil && o.sc.capacity > 0 && !o.look(victim).closed { // It gets a value all the same.
		if err := o.put(o.s.TrySend); !errors.Is(err, ErrFull) { // The process has filled it, and not woken anybody yet.
			o.must(err)
		}
		o.must(o.await("the parked receiver", o.receiving.first))
		o.receiving.first <- nil
	}
	require.Equal(o.t, before, counts(), "handles recovered, values given back, sends given up: of one that is alive")
}

// drain receives all that is not in the process's hands.
func (o *others) drain() {
	for {
		m, err := o.r.TryRecv()
		if err != nil {
			if !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrClosed) {
				o.must(err)
			}
			return
		}
		o.take(m)
	}
}

// fill sends until the channel is full, which it must not be before its capacity.
func (o *others) fill(l look) {
	for range o.sc.capacity - len(l.values) {
		o.must(o.put(o.s.TrySend))
	}
	require.ErrorIs(o.t, o.put(o.s.TrySend), ErrFull)
}

// goRound sends value after value through the empty channel, twice round or until it
// comes to the slot that the process holds.
func (o *others) goRound(h *handle, l look) {
	_, _, next := h.census()
	for range 2 * h.n {
		err := o.put(o.s.TrySend)
		if len(l.held) > 0 && dist(next, l.held[0]) >= int64(h.capacity) {
			require.ErrorIs(o.t, err, ErrFull)
			_, err = o.r.TryRecv()
			require.ErrorIs(o.t, err, ErrEmpty)
			return
		}
		o.must(err)
		m, err := o.r.TryRecv()
		o.must(err)
		require.Equal(o.t, id{fromTest, o.helped - 1}, id{m.From, m.Seq})
		o.take(m)
		next = (next + 1) & posMask
	}
}

// outcome is what is known of the operation.
type outcome struct {
	ended bool // it was through when the process died
	used  int  // how often the function of RecvFunc was through
	took  []id // what it has received and told us of, if it lived
	lived bool // it was not killed
}

// check checks the values that were received against those sent.
func (o *others) check(l look, out outcome) {
	o.t.Helper()
	got := map[id]bool{}
	last := map[uint64]uint64{} // sender -> number of its last value + 1
	for _, m := range o.got {
		v := id{m.From, m.Seq}
		require.True(o.t, m.whole(), "torn: %+v", m)
		require.False(o.t, got[v], "doubled: %v", v)
		got[v] = true
		if !l.back[v] {
			require.GreaterOrEqual(o.t, v.seq+1, last[v.from]+1, "order: %v, in %v", v, o.got)
			last[v.from] = v.seq + 1
		}
	}
	for _, v := range out.took {
		require.False(o.t, got[v], "doubled: %v", v)
		got[v] = true
	}
	sent := map[id]bool{}
	lost := 0
	for _, v := range o.sent {
		if sent[v] = true; !got[v] && !o.sc.alone {
			lost++
		}
	}
	for v := range l.values { // An offer that was taken back because of Close has not been sent.
		takenBack := o.sc.capacity == 0 && v.from == fromOther && l.closed && !sent[v]
		require.True(o.t, got[v] || o.sc.alone || takenBack, "lost: %v was in the channel", v)
	}
	may := o.op.receives
	if o.op.name == "RecvFunc" {
		may = min(may, out.used) // It is freed after that only.
	}
	if out.lived {
		may = 0
	}
	require.LessOrEqual(o.t, lost, may, "lost, more than the receiver could take along")
	victims := 0
	for v := range got {
		switch v.from {
		case fromVictim:
			victims++
			require.Less(o.t, v.seq, uint64(o.op.values), "invented: %v", v)
		default:
			require.True(o.t, sent[v], "invented: %v", v)
		}
	}
	for i := range victims {
		require.True(o.t, got[id{fromVictim, uint64(i)}], "value %d is missing before a later one", i)
	}
	if out.ended && o.op.values > 0 && o.sc.comes != "closer" {
		want := o.op.values
		if o.sc.closed {
			want = 0
		}
		require.Equal(o.t, want, victims, "values that the process has sent")
	}
}

// leave lets everything go and requires that nothing is left, once somebody makes a
// channel in that directory: that sweeps up what the dead have left.
func (o *others) leave() {
	o.t.Helper()
	o.must(o.s.Detach())
	o.must(o.r.Detach())
	broom := must[*Sender[message]](o.t)(OpenSender[message]("broom", WithDir(o.dir)))
	o.must(broom.Close())
	o.must(broom.Detach())
	dirEmpty(o.t, o.dir)
}

// slowest is the longest that the others took, by either clock.
var slowest longest

type longest struct {
	naps int64
	wall time.Duration
}

func (l *longest) note(naps int64, wall time.Duration) {
	l.naps, l.wall = max(l.naps, naps), max(l.wall, wall)
}
