package shmchan

// Select: one of several sends and receives, whichever may go on.
//
// Invariants:
//   - At most one case runs. All that is done before is undone: an offer that stands is taken back before another
//     case runs, and if that fails its own case has run, or will have or be given back, and that is waited for.
//   - A Select has one waiter in the queue of each case, all with one wake. After a wake it takes all of them out, and
//     a wake that was spent on a case that does not run is passed on.
//   - It waits for nothing but the outcome of its own offer without an eye on all of its cases.
//   - With the fault guard: what is to be undone on a case is noted before another handle's memory is touched.
//     If memory is gone, wherever that is found, the rest is undone from these notes.
//
// Rendezvous. A receive takes an offer that stands, by CAS as ever: that is the moment at which it runs. Of the sends at most one
// has its offer in its slot. If there is just one, that offer stands while the Select waits. If there are several, or a
// receive of the same channel beside it (with which it must not meet, and for whose sender the slot must be
// free), the Select goes by the flags of those who receive: it says with a bit in its own that it would
// send (rendezvous.go), and moves its offer to where somebody waits.
//
// Two Selects with an offer each that the other would take: to take the other's a Select takes back its own. If both
// do, neither is there any more, and so for ever. So both slots are held at once, and taken in hand in the order of the channels' ids: the lower one
// first. Whoever fails at the second lets go of the first. Of several who are after each other's, whoever fails at the highest
// slot of all fails because another has it in hand who needs no more: somebody goes on.

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"
)

// Case is a send or a receive for Select and TrySelect, made by SendCase and RecvCase. It may be
// used again. The zero Case is never ready.
type Case struct {
	h    *handle
	d    direction
	ops  caseOps
	into unsafe.Pointer        // where a received value goes, or a value to send that is too large for near
	near [nearBytes / 8]uint64 // the value to send
}

// nearBytes is the size up to which a value to send lies in its Case.
const nearBytes = 64

// caseOps is what needs to know the type.
type caseOps interface {
	putCase(pos uint64, v unsafe.Pointer)
	takeCase(pos uint64, into unsafe.Pointer) error
}

func (s *Sender[T]) putCase(pos uint64, v unsafe.Pointer) { s.putOld(s.h.value(pos), (*T)(v)) }
func (*Sender[T]) takeCase(uint64, unsafe.Pointer) error  { return nil }
func (*Receiver[T]) putCase(uint64, unsafe.Pointer)       {}
func (r *Receiver[T]) takeCase(p uint64, v unsafe.Pointer) error {
	if v != nil && r.plain == nil {
		return r.take(p, (*T)(v))
	}
	var got T // Not wanted; or a fault may come half way.
	err := r.take(p, &got)
	if v != nil && !r.h.faults.broken.Load() {
		*(*T)(v) = got
	}
	return err
}

// RecvCase is a receive from r into *into, which is written only if this case runs; nil
// drops the value. It escapes to the heap: in a loop, declare it before the loop. With a nil r the case is never ready.
func RecvCase[T any](r *Receiver[T], into *T) Case {
	if r == nil {
		return Case{}
	}
	return Case{h: r.h, d: receiving, ops: r, into: unsafe.Pointer(into)}
}

// SendCase is a send of v to s. A value of more than 64 bytes costs an allocation. With a nil s the case is never ready.
func SendCase[T any](s *Sender[T], v T) Case {
	if s == nil {
		return Case{}
	}
	c := Case{h: s.h, d: sending, ops: s}
	if unsafe.Sizeof(v) <= nearBytes {
		*(*T)(unsafe.Pointer(&c.near)) = v
	} else {
		far := new(T)
		*far = v
		c.into = unsafe.Pointer(far)
	}
	return c
}

// Select waits until one of the cases may go on, runs it, and returns its index. If several may, each of them is as likely.
//
// A case runs also if its call would fail, and then Select returns its index with that error: ErrClosed if
// the channel is closed (a receive: and drained), ErrDetached, ErrCorrupt, or, with WithDisconnect,
// ErrDisconnected. When ctx ends Select returns -1 and ctx.Err(), and no case has run.
// Without a case that can ever be ready it waits for ctx.
//
// The cases may be of any channels and types, of several processes, with or without a buffer; the same channel
// may be in several, also to send and to receive, which do not meet. Select spins before it parks unless one of the handles has
// WithWait(Park), and never parks if one has WithWait(Spin) and none Park.
//
// A send without a buffer has run when its value has been received, as with Send. If several of the cases
// are such sends, or the same channel is to be received from in another case, a TryRecv does not find those that
// wait; Recv and Select do.
func Select(ctx context.Context, cases ...Case) (int, error) {
	if ctx != nil {
		if err := ctx.Err(); err != nil {
			return -1, err
		}
	}
	return newSelection(cases).run(ctx, true)
}

// TrySelect runs one of the cases that are ready, each of them as likely, and returns its index, as Select does. If none is, it
// returns -1 and ErrWouldBlock, as each case's own Try call would, also for a descriptor. The cases are looked at one after another: each was not ready at some moment of the call.
func TrySelect(cases ...Case) (int, error) {
	return newSelection(cases).run(forever, false)
}

// selected is a case in a Select under way.
type selected struct {
	Case
	w       waiter
	order   int    // a permutation of the indices
	begun   bool   // counted as a call on its side
	counted bool   // its bit of the rendezvous flag is up
	meets   bool   // a rendezvous send that goes by the flags of those who receive
	crosses bool   // one of a channel that another case receives from
	queued  bool   // w is, or was, in a queue
	woken   bool   // a wake was spent on it
	holds   bool   // pos is in our hands, READING
	pos     uint64 // of its offer
}

// selection is a Select under way.
type selection struct {
	cases  []selected
	few    [8]selected
	wake   chan struct{} // buffered, 1: of all waiters
	offer  int           // the case whose offer stands, -1 for none
	sends  int           // of rendezvous
	tired  bool          // the offer has stood for long, and somebody waits elsewhere
	timer  *time.Timer
	spins  bool
	always bool // it never parks
	guards bool // a handle has the fault guard
	broken int  // the case at which memory was found to be gone, -1 for none
}

var selections = sync.Pool{New: func() any {
	s := &selection{wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	s.timer.Stop()
	return s
}}

func newSelection(cases []Case) *selection {
	s := selections.Get().(*selection)
	if s.cases = s.few[:0]; len(cases) > len(s.few) {
		s.cases = make([]selected, 0, len(cases))
	}
	s.offer, s.sends, s.tired, s.spins, s.always, s.guards, s.broken = -1, 0, false, true, false, false, -1
	s.cases = s.cases[:len(cases)]
	for i := range cases {
		c := &s.cases[i]
		c.Case, c.order = cases[i], i
		c.w.ch, c.w.shared = s.wake, true
		if c.h == nil {
			continue
		}
		if c.begun = c.side().begin(); c.begun && c.h.opts.faultGuard {
			c.h.checkSize(checkEvery)
		}
		s.spins = s.spins && c.h.spins
		s.always = s.always || c.h.opts.wait == Spin
		s.guards = s.guards || c.h.opts.faultGuard
		if c.offers() {
			s.sends++
		}
	}
	s.always = s.always && s.spins
	return s
}

func (c *selected) side() *side { return c.h.side(c.d) }

// offers says whether c is a send to a rendezvous.
func (c *selected) offers() bool { return c.h != nil && c.d == sending && c.h.rendezvous }

func (c *selected) value() unsafe.Pointer {
	if c.into != nil {
		return c.into
	}
	return unsafe.Pointer(&c.near)
}

// run is Select, or TrySelect.
func (s *selection) run(ctx context.Context, waits bool) (i int, err error) {
	if s.guards {
		i, err = s.runGuarded(ctx, waits)
	} else {
		i, err = s.choose(ctx, waits)
		s.leave()
	}
	clear(s.cases)
	s.cases = nil
	selections.Put(s)
	return i, err
}

func (s *selection) choose(ctx context.Context, waits bool) (int, error) {
	if i, err := s.tryAll(waits); i >= 0 {
		return i, err
	}
	if waits {
		s.countIn()
		return s.await(ctx, nil)
	}
	for i := range s.cases {
		if c := &s.cases[i]; c.h != nil {
			if err := c.side().refused(c.none()); err != c.none() { //nolint:errorlint // The very one.
				return i, err
			}
		}
	}
	return -1, ErrWouldBlock
}

// none is what a Try call that finds nothing says.
func (c *selected) none() error {
	if c.d == sending {
		return c.h.errs.full
	}
	return c.h.errs.empty
}

// leave leaves all sides, with no offer standing. After a fault it goes on where it was.
func (s *selection) leave() {
	for i := range s.cases {
		c := &s.cases[i]
		if c.counted {
			c.uncount()
		}
		c.passOn()
		if c.begun {
			c.begun = false
			c.side().end()
		}
	}
}

// runGuarded is choose and leave if a handle has the fault guard.
func (s *selection) runGuarded(ctx context.Context, waits bool) (i int, err error) {
	for again := s.caught(func() { i, err = s.choose(ctx, waits) }); again; {
		again = s.caught(func() { i, err = s.undo() })
	}
	for k := range s.cases { // Those who saw only zeros, perhaps.
		if c := &s.cases[k]; i < 0 && err == ErrWouldBlock && c.isBroken() { //nolint:errorlint // The very one.
			i = k
		}
	}
	if i >= 0 && s.cases[i].isBroken() {
		err = s.cases[i].side().whyGone()
	}
	for s.caught(s.leave) {
	}
	return i, err
}

// caught is handle.caught for all handles with the guard. Their cases are in hand, so that the memory is theirs.
func (s *selection) caught(f func()) (fault bool) {
	defer s.catch(debug.SetPanicOnFault(true), &fault)
	f()
	return false
}

func (s *selection) catch(was bool, fault *bool) {
	p := recover()
	for i := range s.cases {
		if c := &s.cases[i]; p != nil && c.begun && c.h.opts.faultGuard && c.h.isFault(p) {
			c.h.breakUp()
			p, *fault, s.broken = nil, true, i
		}
	}
	debug.SetPanicOnFault(was)
	if p != nil {
		panic(p)
	}
}

// undo undoes after a fault what was done on the other cases, unless one has run.
func (s *selection) undo() (int, error) {
	s.dequeue()
	for i := range s.cases {
		if c := &s.cases[i]; c.holds {
			c.holds = false
			if !c.isBroken() {
				c.h.recvAbort(c.pos)
			}
		}
	}
	i, err := s.await(forever, s.cases[s.broken].h.errs.broken)
	if i < 0 {
		i = s.broken
	}
	return i, err
}

func (c *selected) isBroken() bool { return c.h != nil && c.h.faults.broken.Load() }

// count puts the bit of a rendezvous case up, and uncount takes it down.
func (c *selected) count() {
	c.counted = true
	if c.d == sending {
		c.h.rvCountBy(rvSender, 1)
		return
	}
	c.h.rvEnter(rvSelect)
}

func (c *selected) uncount() {
	c.counted = false
	if c.d == sending {
		c.h.rvCountBy(rvSender, -1)
		return
	}
	c.h.rvCountBy(rvSelect, -1)
	if wordState(c.h.slot(0).Load()) == stFull { // Of a TrySend that counts on us, perhaps.
		c.h.wakePeer(int(c.h.ctl.poster.Load()%maxPeers), sending)
	}
}

// shuffle makes a new order.
func (s *selection) shuffle() {
	for i := len(s.cases) - 1; i > 0; i-- {
		j := int(rand.Uint32N(uint32(i + 1)))
		s.cases[i].order, s.cases[j].order = s.cases[j].order, s.cases[i].order
	}
}

// tryAll runs a case that is ready now, -1 if there is none.
func (s *selection) tryAll(waits bool) (int, error) {
	s.shuffle()
	for k := range s.cases {
		i := s.cases[k].order
		if c := &s.cases[i]; c.h != nil {
			if ran, err := c.try(waits); ran {
				return i, err
			}
			if c.h.opts.disconnect && c.side().desertedNow() {
				return i, c.side().disconnected()
			}
		}
	}
	return -1, nil
}

// try runs c if that needs no waiting, but for the outcome of what it has offered, for a call that waits.
func (c *selected) try(waits bool) (ran bool, err error) {
	h := c.h
	switch {
	case !c.begun || c.side().detached.Load():
		return true, h.errs.detached
	case c.isBroken():
		return true, h.errs.broken
	case c.d == receiving:
		pos, err := h.tryRecvBegin()
		if err == nil {
			return true, c.ops.takeCase(pos, c.into)
		}
		return err != h.errs.empty, err //nolint:errorlint // The very one.
	case h.rendezvous:
		pos, receiver, err := h.matchBegin()
		if err == nil {
			c.ops.putCase(pos, c.value())
			err = h.matchFor(pos, receiver, waits)
		}
		return err != h.errs.full && err != h.errs.noReceiver, err //nolint:errorlint // The very one.
	}
	pos, err := h.trySendBegin()
	if err == nil {
		c.ops.putCase(pos, c.value())
		return true, h.sendEnd(forever, pos)
	}
	return err != h.errs.full, err //nolint:errorlint // The very one.
}

// await waits for a case to run. Why: why to end without a case.
func (s *selection) await(ctx context.Context, why error) (int, error) {
	for {
		reading := false
		if s.offer >= 0 {
			c := &s.cases[s.offer]
			taken, inHand, err := c.offered()
			if taken || err != nil || c.isBroken() {
				i := s.offer
				s.offer = -1
				return i, err
			}
			reading = inHand
		}
		if reading { // Others may go on with what we were woken for.
			for i := range s.cases {
				s.cases[i].passOn()
			}
		} else {
			if why != nil {
				if s.withdraw() {
					return -1, why
				}
				continue
			}
			i, again, err := s.tryEach()
			if i >= 0 {
				return i, err
			}
			if again {
				continue
			}
			if i, again, err = s.place(); i >= 0 {
				return i, err
			} else if again {
				continue
			}
		}
		err := s.wait(ctx, reading)
		if err != nil {
			why = err
		}
	}
}

// countIn says to the others what we wait for, where that is a rendezvous.
func (s *selection) countIn() {
	for i := range s.cases {
		c := &s.cases[i]
		if c.h == nil || !c.h.rendezvous {
			continue
		}
		for k := range s.cases {
			c.crosses = c.crosses || c.d == sending && s.cases[k].d == receiving && c.same(&s.cases[k])
		}
		if c.meets = c.d == sending && (s.sends > 1 || c.crosses); c.meets || c.d == receiving {
			c.count()
		}
	}
}

// same says whether two cases are of one channel, by whatever handles.
func (c *selected) same(o *selected) bool {
	return c.h != nil && o.h != nil && (c.h == o.h || c.h.info.id == o.h.info.id)
}

func (c *selected) passOn() {
	if c.woken {
		c.woken = false
		c.h.passOn(c.side(), true)
	}
}

// offered says what has become of the offer of c.
func (c *selected) offered() (taken, inHand bool, err error) {
	h := c.h
	w := h.slot(c.pos).Load()
	switch d := dist(wordPos(w), c.pos); {
	case !h.wellFormed(w, c.pos), d < 0, d == 0 && wordState(w) != stFull && wordState(w) != stReading:
		return false, false, h.corruptAt(c.pos)
	case d > 0:
		if raceEnabled {
			h.race.own(c.pos, h.mask)
		}
		return true, false, nil
	}
	return false, wordState(w) == stReading, nil
}

// withdraw takes back the offer that stands. False: somebody has it in hand, or has taken it.
func (s *selection) withdraw() bool {
	if s.offer < 0 {
		return true
	}
	c := &s.cases[s.offer]
	if !c.h.withdraw(c.pos) {
		return false
	}
	s.offer = -1
	return true
}

// tryEach runs a case that is ready, -1 if there is none, with the own offer taken back before. Again: that could not be done.
func (s *selection) tryEach() (i int, again bool, err error) {
	s.shuffle()
	for k := range s.cases {
		i := s.cases[k].order
		c := &s.cases[i]
		if c.h == nil || !s.mayRun(i) {
			continue
		}
		if s.offer >= 0 && i != s.offer && c.d == receiving && c.h.rendezvous {
			if wordState(c.h.slot(0).Load()) == stFull {
				if !s.exchange(c) {
					return -1, true, nil
				}
				return i, false, s.take(c)
			}
		}
		if !s.withdraw() {
			return -1, true, nil
		}
		gone := c.side().deserted(waitTurn) // Before the last look.
		switch {
		case c.side().detached.Load():
			return i, false, c.h.errs.detached
		case c.isBroken():
			return i, false, c.h.errs.broken
		case c.offers() && c.h.ctl.closed.Load() != 0:
			return i, false, c.h.errs.sendClosed
		case !c.offers():
			if ran, err := c.try(true); ran {
				return i, false, err
			}
		}
		if gone {
			return i, false, c.side().disconnected()
		}
	}
	return -1, false, nil
}

func (s *selection) take(c *selected) error {
	if raceEnabled {
		c.h.race.own(c.pos, c.h.mask)
	}
	return c.ops.takeCase(c.pos, c.into)
}

// exchange takes back the own offer and claims that of another for c, or does neither.
func (s *selection) exchange(c *selected) bool {
	own := &s.cases[s.offer]
	if bytes.Compare(c.h.info.id[:], own.h.info.id[:]) < 0 {
		pos, _, v := c.h.claimRecv()
		if v != claimed {
			return false
		}
		if c.pos, c.holds = pos, true; s.withdraw() {
			return true
		}
		c.holds = false
		c.h.recvAbort(pos)
		return false
	}
	if !own.h.slot(own.pos).CompareAndSwap(word(own.pos, own.h.full, stFull), word(own.pos, own.h.me, stReading)) {
		return false
	}
	own.holds = true
	pos, _, v := c.h.claimRecv()
	if v != claimed {
		own.holds = false
		own.h.recvAbort(own.pos)
		return false
	}
	c.pos, c.holds, own.holds = pos, true, false
	own.h.free(own.pos)
	own.h.ctl.wasted.Add(1)
	own.h.ctl.givenUp.Add(1)
	own.h.wakeAfterFree()
	s.offer = -1
	return true
}

// mayRun says whether case i would run now. Whether somebody waits for an offer is for want to say.
func (s *selection) mayRun(i int) bool {
	c := &s.cases[i]
	h := c.h
	switch {
	case c.side().detached.Load() || c.isBroken():
		return true
	case c.offers():
		if h.ctl.closed.Load() != 0 {
			return true
		}
	case c.isBehind(s): // What is there is our own.
	case h.ready(c.d, waitTurn, 0):
		return true
	}
	return h.opts.disconnect && c.side().deserted(waitTurn)
}

// want is the case whose offer should stand, -1 for none.
func (s *selection) want() int {
	if s.sends == 0 {
		return -1
	}
	if s.offer >= 0 && (!s.cases[s.offer].meets || !s.tired && s.awaited(s.offer)) {
		return s.offer
	}
	for k := range s.cases {
		if i := s.cases[k].order; i != s.offer && s.cases[i].meets && s.awaited(i) {
			return i
		}
	}
	if s.offer >= 0 && (!s.cases[s.offer].crosses || s.awaited(s.offer)) {
		return s.offer
	}
	for k := range s.cases {
		if i := s.cases[k].order; s.cases[i].offers() && !s.cases[i].crosses {
			return i
		}
	}
	return -1
}

// awaited says whether somebody else waits to receive what case i would send.
func (s *selection) awaited(i int) bool {
	h := s.cases[i].h
	for p := range h.rv {
		switch up := h.rv[p].Load(); {
		case up&rvReceives == 0:
		case up&(1<<rvRecv) != 0 || !s.isOurs(i, p):
			return true
		}
	}
	return false
}

// isOurs says whether of the Selects of participant p that receive from the channel of case i there is none but this one.
func (s *selection) isOurs(i, p int) bool {
	var h *handle
	mine := 0
	for k := range s.cases {
		if c := &s.cases[k]; c.d == receiving && c.same(&s.cases[i]) && c.h.idx == p && c.counted {
			h = c.h
			mine++
		}
	}
	if h == nil {
		return false
	}
	h.rvMu.Lock()
	defer h.rvMu.Unlock()
	return h.rvCount[rvSelect] == mine
}

// place has the offer stand that should, if its slot is free. The rest as tryEach.
func (s *selection) place() (i int, again bool, err error) {
	i = s.want()
	if i == s.offer {
		return -1, false, nil
	}
	if !s.withdraw() {
		return -1, true, nil
	}
	if i >= 0 {
		c := &s.cases[i]
		pos, err := c.h.trySendBegin()
		if err == nil {
			c.pos = pos
			c.ops.putCase(pos, c.value())
			c.h.ctl.poster.Store(uint64(c.h.idx))
			err = c.h.sendQuietly(pos)
		}
		switch err {
		case nil:
			s.offer, s.tired = i, false
			c.h.wakeOne(receiving)
		case c.h.errs.full: //nolint:errorlint // The very one.
		default:
			return i, false, err
		}
	}
	for k := range s.cases { // A turn that we do not use is another's.
		if c := &s.cases[k]; c.offers() && k != s.offer {
			c.passOn()
		}
	}
	return -1, false, nil
}

// isBehind says whether c would receive from where the own offer stands: a wake for that is for others.
func (c *selected) isBehind(s *selection) bool {
	return s.offer >= 0 && c.d == receiving && c.same(&s.cases[s.offer])
}

// look says whether there is something to do.
func (s *selection) look() bool {
	for i := range s.cases {
		c := &s.cases[i]
		if c.h == nil {
			continue
		}
		if i == s.offer && c.h.settled(waitTaken, c.pos) || s.mayRun(i) {
			return true
		}
	}
	if i := s.want(); i != s.offer {
		return i < 0 || s.cases[i].h.ready(sending, waitTurn, 0)
	}
	return false
}

// wait waits until there is something to do; when the offer is in somebody's hands, only for its outcome.
func (s *selection) wait(ctx context.Context, reading bool) error {
	if !reading && s.spins && s.spin() {
		return nil
	}
	for i := range s.cases {
		c := &s.cases[i]
		if c.h == nil {
			continue
		}
		if c.h.opts.faultGuard {
			c.h.checkSize(checkEvery)
		}
		c.h.checkHolders(c.d)
	}
	if s.always && !reading {
		runtime.Gosched()
		if ctx != nil {
			return ctx.Err()
		}
		return nil
	}
	want := s.want()
	fences, ok := false, true
	for i := range s.cases {
		c := &s.cases[i]
		if c.h == nil || i != s.offer && (reading || c.isBehind(s)) {
			continue
		}
		switch c.w.pos = c.pos; {
		case reading:
			c.w.kind = waitOutcome
		case i == s.offer:
			c.w.kind = waitTaken
		case c.offers() && i != want:
			c.w.kind = waitReceiver
		default:
			c.w.kind = waitTurn
		}
		if c.h.onPark != nil {
			c.h.onPark()
		}
		if c.queued = c.side().enqueue(&c.w); !c.queued {
			ok = false
			break
		}
		fences = fences || c.h.fences
	}
	if fences {
		fenceOthers()
	}
	var err error
	switch {
	case !ok:
	case reading:
		if c := &s.cases[s.offer]; !c.h.settled(waitOutcome, c.pos) {
			<-s.wake
		}
	case !s.look():
		err = s.park(ctx)
	}
	s.dequeue()
	return err
}

// dequeue takes all waiters out.
func (s *selection) dequeue() {
	for i := range s.cases {
		if c := &s.cases[i]; c.queued {
			c.queued = false
			c.woken = c.side().dequeue(&c.w) || c.woken
		}
	}
	select { // Nobody can wake us any more.
	case <-s.wake:
	default:
	}
}

func (s *selection) park(ctx context.Context) error {
	for i := range s.cases {
		if c := &s.cases[i]; c.queued {
			c.side().sleeps()
		}
	}
	defer s.goesOn()
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	var late <-chan time.Time
	if s.rivals() {
		s.timer.Reset(offerPatience)
		defer s.timer.Stop()
		late = s.timer.C
	}
	select {
	case <-s.wake:
	case <-late:
		s.tired = true
	case <-done:
		return ctx.Err()
	}
	return nil
}

func (s *selection) goesOn() {
	for i := range s.cases {
		if c := &s.cases[i]; c.queued {
			c.side().goesOn()
		}
	}
}

// offerPatience is how long an offer stands for one who waits for it, while another waits elsewhere: he may be stopped.
const offerPatience = 10 * time.Millisecond

// rivals says whether somebody waits for another offer than that which stands.
func (s *selection) rivals() bool {
	for i := range s.cases {
		if s.offer >= 0 && i != s.offer && s.cases[i].meets && s.awaited(i) {
			return true
		}
	}
	return false
}

// spin looks for as long as that has paid lately.
func (s *selection) spin() bool {
	for i := range s.cases {
		if c := &s.cases[i]; c.h != nil {
			return c.side().spinUntil(s.look)
		}
	}
	return false
}
