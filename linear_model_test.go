package shmchan

// The model that recorded histories are checked against (linear_test.go): a bounded
// queue with Close, made of what api.md, README.md and DESIGN.md promise, and no
// weaker than they are. An operation has its effect at one moment between its call
// and its return; porcupine looks for moments at which all results are true at once.
//
// The queue is a list of places in the order of their sends. A place is full, in
// somebody's hands (a RecvFunc that gives back, or one that died), or taken.
//
//   - A send needs fewer than capacity places that are not taken.
//   - A receive takes the first full place. Only a value that was given back may be
//     overtaken: by a receive that was under way when it came back; and its order to
//     a value whose send overlapped its own is open.
//   - Empty is exact: no place is full. On a closed channel it also needs somebody who
//     may have a value in hand; else only closed is true.
//   - Full is exact but for operations in progress: some place that is not taken, or a
//     call under way that may not have let go of its place (or not have filled it), has
//     capacity-1 places behind it. A place that a sender gave up or died on is one, too,
//     if another was sent behind it.
//   - After Close only a send that had begun before Close returned may still win. Closed is
//     said to receivers when nothing is full or in hand, and then nothing is ever sent.
//   - A call of a process that was killed before it returned may have done what it was
//     about to do, or not. A receive may have taken its value along, a RecvFunc not, and
//     what it had in hand comes back before its recovery is over.
//
// With capacity 0 a send and its receive are one operation, at a moment that lies in
// both calls. A TrySend needs a receiver that waits, and leaves its value in a place,
// as does a sender that was killed: whoever receives first takes it.
//
// What it does not check: that TrySend and TryRecv with capacity 0 find somebody who
// is certain to wait (nobody can see that from a history), that calls end in time, and
// how much a RecvBatch takes.

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// callKind says which method was called.
type callKind uint64

const (
	callSend callKind = iota + 1
	callSendContext
	callTrySend
	callSendBatch
	callSendFunc
	callSendFuncFails
	callRecv
	callRecvContext
	callTryRecv
	callRecvBatch
	callRecvFunc
	callRecvFuncFails
	callClose
)

var callNames = [...]string{"", "Send", "SendContext", "TrySend", "SendBatch", "SendFunc", "SendFunc (fails)",
	"Recv", "RecvContext", "TryRecv", "RecvBatch", "RecvFunc", "RecvFunc (fails)", "Close"}

func (k callKind) String() string { return callNames[k] }
func (k callKind) sends() bool    { return k >= callSend && k <= callSendFuncFails }
func (k callKind) receives() bool { return k >= callRecv && k <= callRecvFuncFails }
func (k callKind) batch() bool    { return k == callSendBatch || k == callRecvBatch }

// callResult says what it returned.
type callResult uint64

const (
	resultNone callResult = iota // it was killed before it returned
	resultOK
	resultFull
	resultEmpty
	resultClosed
	resultCancelled
	resultFailed // the function that the caller gave did
)

var resultNames = [...]string{"killed", "ok", "full", "empty", "closed", "cancelled", "failed"}

func (r callResult) String() string { return resultNames[r] }

// call is a call on the channel as it was recorded.
type call struct {
	id         int
	client     int
	kind       callKind
	result     callResult
	start, end int64    // for a call that was killed: until it was recovered
	in, out    int64    // when the function of a RecvFunc began and ended
	values     []uint64 // sent, or that it was to send; received, or seen by a RecvFunc
	n          int      // how many of a batch

	killed, died int64 // of the process, if it was before the call returned: died after that
}

func (c *call) overlaps(d *call) bool { return c.start <= d.end && d.start <= c.end }

// sendsMaybe says whether c may at some time have had a place for a value.
func (c *call) sendsMaybe(capacity int) bool {
	switch {
	case !c.kind.sends():
		return false
	case capacity == 0: // An offer may be taken back.
		return true
	}
	return c.result == resultOK || c.n > 0 || c.result == resultNone || c.result == resultFailed
}

func (c *call) receivesMaybe() bool {
	return c.kind.receives() && (c.result == resultOK || c.result == resultNone || c.result == resultFailed)
}

// source is the send of a value.
type source struct {
	call *call
	ord  int // in its batch
}

// precedes says whether a is certain to come before b.
func (a source) precedes(b source) bool {
	if a.call == b.call {
		return a.ord < b.ord
	}
	return a.call.end < b.call.start
}

type actKind int

const (
	actSend     actKind = iota // a value comes into its place
	actMeet                    // a send and its receive, with capacity 0
	actTake                    // a value is taken for good
	actHold                    // a value is taken in hand
	actBack                    // and given back
	actDies                    // a receive that is killed: it takes, has in hand, or nothing
	actRecovers                // and what it has in hand is given back
	actFull
	actEmpty
	actSendClosed
	actRecvClosed
	actClose
	actCloseClosed
)

// act is an operation of the model: a call has one, or one for each value, or two.
type act struct {
	kind  actKind
	call  *call
	value uint64
	ord   int     // in the batch
	other *call   // actMeet: who receives
	oord  int     // in its batch
	maybe bool    // actClose of one that was killed: it may not have happened
	near  []*call // actFull: who may have a place beside the queue's. actSend with TrySend, capacity 0: who may wait
	held  bool    // actEmpty: somebody may have had something in hand
}

func (a *act) String() string {
	s := fmt.Sprintf("%v %v", a.call.kind, a.call.result)
	switch a.kind {
	case actSend, actTake, actHold, actBack, actMeet:
		s += fmt.Sprintf(" %x", a.value)
	case actDies, actRecovers:
		s += [...]string{" (dies)", " (recovered)"}[a.kind-actDies]
	}
	if a.kind == actBack {
		s += " given back"
	}
	if a.other != nil {
		s += fmt.Sprintf(" to %v of client %d", a.other.kind, a.other.client)
	}
	return s
}

// history is what the model knows of a history in advance.
type history struct {
	capacity int
	clients  int
	calls    []*call
	sources  map[uint64]source
	takers   map[uint64]source // who has received a value
	late     map[uint64]bool   // what was in hand and came back
	guesses  map[uint64]bool   // what those that were killed may have had in hand and given back
	atOnce   int               // how many of the guesses may be true
}

func newHistory(capacity int, calls []*call) *history {
	h := &history{capacity: capacity, calls: calls, sources: map[uint64]source{}, takers: map[uint64]source{}, late: map[uint64]bool{}, guesses: map[uint64]bool{}}
	for i, c := range calls {
		c.id = i
		h.clients = max(h.clients, c.client+1)
		switch {
		case c.kind.sends():
			for ord, v := range c.values {
				h.sources[v] = source{c, ord}
			}
		case c.kind.receives() && c.result == resultOK:
			for ord, v := range c.values {
				h.takers[v] = source{c, ord}
			}
		}
	}
	for _, c := range calls { // One that was killed when its function was through: received, if nobody else has.
		if c.kind == callRecvFunc && c.result == resultNone && c.out != 0 {
			if _, ok := h.takers[c.values[0]]; !ok {
				h.takers[c.values[0]] = source{c, 0}
			}
		}
	}
	for _, c := range calls {
		if c.kind.receives() && (c.result == resultNone || c.result == resultFailed) {
			h.noteLate(c)
		}
	}
	return h
}

// noteLate notes what c may have had in hand and given back.
func (h *history) noteLate(c *call) {
	for _, v := range c.values {
		h.late[v] = true
	}
	if len(c.values) > 0 {
		return
	}
	h.atOnce += max(1, c.n)
	for v, s := range h.sources {
		if t, ok := h.takers[v]; s.call.start <= c.died && ok && t.call.end >= c.killed {
			h.guesses[v] = true
		}
	}
}

// operations are the history as porcupine wants it. It fails if a send and its
// receive were at no time both under way, with capacity 0.
func (h *history) operations() (ops []porcupine.Operation, err error) {
	add := func(from, to int64, a act) {
		if from > to {
			err = fmt.Errorf("%v of client %d: one had returned before the other was called", &a, a.call.client)
		}
		ops = append(ops, porcupine.Operation{ClientId: a.call.client, Input: &a, Call: from, Output: a.call.result, Return: to})
	}
	for _, c := range h.calls {
		switch {
		case c.kind.sends():
			h.addSend(c, add)
		case c.kind.receives():
			h.addRecv(c, add)
		case c.result == resultNone:
			add(c.start, c.died, act{kind: actClose, call: c, maybe: true})
		case c.result == resultClosed:
			add(c.start, c.end, act{kind: actCloseClosed, call: c})
		default:
			add(c.start, c.end, act{kind: actClose, call: c})
		}
	}
	return ops, err
}

func (h *history) addSend(c *call, add func(from, to int64, a act)) {
	switch c.result {
	case resultNone:
		sent := 0 // What nobody received may as well never have been sent: full knows this call anyway.
		for ord, v := range c.values {
			if _, received := h.takers[v]; received {
				sent = ord + 1
			}
		}
		for ord, v := range c.values[:sent] {
			add(c.start, c.died, act{kind: actSend, call: c, value: v, ord: ord})
		}
		return
	case resultFull:
		if h.capacity > 0 {
			add(c.start, c.end, act{kind: actFull, call: c, near: h.nearFull(c)})
		}
		return
	case resultClosed:
		add(c.start, c.end, act{kind: actSendClosed, call: c})
	}
	for ord, v := range c.values[:c.n] {
		r, received := h.takers[v]
		if h.capacity == 0 && received && c.kind != callTrySend {
			from, to := max(c.start, r.call.start), min(c.end, takenBy(r.call))
			add(from, to, act{kind: actMeet, call: c, value: v, ord: ord, other: r.call, oord: r.ord})
			continue
		}
		a := act{kind: actSend, call: c, value: v, ord: ord}
		if h.capacity == 0 && c.kind == callTrySend {
			a.near = h.waiters(c)
		}
		add(c.start, c.end, a)
	}
}

// takenBy is until when the receive c took its first value.
func takenBy(c *call) int64 {
	if c.in != 0 {
		return c.in
	}
	return c.end
}

func (h *history) addRecv(c *call, add func(from, to int64, a act)) {
	switch c.result {
	case resultEmpty:
		add(c.start, c.end, act{kind: actEmpty, call: c, held: h.somethingHeld(c)})
	case resultClosed:
		add(c.start, c.end, act{kind: actRecvClosed, call: c})
	case resultFailed:
		add(c.start, c.in, act{kind: actHold, call: c, value: c.values[0]})
		add(c.out, c.end, act{kind: actBack, call: c, value: c.values[0]})
	case resultNone:
		h.addKilledRecv(c, add)
	case resultOK:
		for ord, v := range c.values {
			s, known := h.sources[v]
			if met := h.takers[v]; h.capacity == 0 && known && met.call == c && s.call.kind != callTrySend && s.call.result != resultNone && s.ord < s.call.n {
				continue // It is in the sender's operation.
			}
			add(c.start, takenBy(c), act{kind: actTake, call: c, value: v, ord: ord})
		}
	}
}

func (h *history) addKilledRecv(c *call, add func(from, to int64, a act)) {
	if len(c.values) == 0 { // It had nothing in hand, or the function had not begun.
		for range max(1, c.n) {
			add(c.start, c.died, act{kind: actDies, call: c})
		}
		add(c.killed, c.end, act{kind: actRecovers, call: c})
		return
	}
	v := c.values[0]
	if h.takers[v].call == c {
		s := h.sources[v]
		if h.capacity > 0 || s.call == nil || s.call.kind == callTrySend || s.call.result == resultNone {
			add(c.start, c.in, act{kind: actTake, call: c, value: v})
		}
		return
	}
	from := c.killed
	if c.out != 0 {
		from = c.out
	}
	add(c.start, c.in, act{kind: actHold, call: c, value: v})
	add(from, c.end, act{kind: actBack, call: c, value: v})
}

// nearFull are the senders that may have had a place during the TrySend c, or left one
// before it that nobody filled.
func (h *history) nearFull(c *call) (near []*call) {
	for _, d := range h.calls {
		if d != c && d.sendsMaybe(h.capacity) && d.start <= c.end && (d.end >= c.start || h.leftBelow(d, c)) {
			near = append(near, d)
		}
	}
	return near
}

// leftBelow says whether the sender d may have left a place, before c, with another's behind it.
func (h *history) leftBelow(d, c *call) bool {
	return (d.result == resultNone || d.result == resultFailed) && slices.ContainsFunc(h.calls, func(e *call) bool {
		return e != d && e.sendsMaybe(h.capacity) && e.start <= c.end && e.end >= d.start
	})
}

// waiters are the receivers that may have waited when the TrySend c came, with capacity 0.
func (h *history) waiters(c *call) (near []*call) {
	for _, d := range h.calls {
		if d.kind.receives() && d.kind != callTryRecv && d.overlaps(c) {
			near = append(near, d)
		}
	}
	return near
}

// somethingHeld says whether somebody may have had something in hand during the TryRecv c.
func (h *history) somethingHeld(c *call) bool {
	for _, d := range h.calls {
		if d != c && d.overlaps(c) && (d.sendsMaybe(h.capacity) || d.receivesMaybe()) {
			return true
		}
	}
	return false
}

type placeState uint8

const (
	placeFull placeState = iota
	placeHeld
	placeTaken
)

// queuePlace is a place of the queue.
type queuePlace struct {
	value uint64
	state placeState
	by    *call // who holds it, or has taken it
	late  *call // who gave it back last
}

// progress is how far a batch is.
type progress struct {
	call *call
	next int
}

type queueStage uint8

const (
	stageOpen queueStage = iota
	stageClosed
	stageSealed // closed was said to a receiver
)

// queue is a state of the model. It is never changed, but copied.
type queue struct {
	places  []queuePlace
	stage   queueStage
	closeBy int64      // until when Close was under way
	batches []progress // of the batches under way, by the calls' ids
	met     callSet    // capacity 0: the receives that do not wait any more
	over    callSet    // those that have given back what they had, or were recovered
}

// callSet is a set of calls, a bit for each id.
type callSet []uint64

func (s callSet) has(c *call) bool { return s[c.id/64]&(1<<(c.id%64)) != 0 }

func (s callSet) with(c *call) callSet {
	n := slices.Clone(s)
	n[c.id/64] |= 1 << (c.id % 64)
	return n
}

func (q *queue) clone() *queue {
	n := *q
	n.places = slices.Clone(q.places)
	return &n
}

func (q *queue) equal(o *queue) bool {
	return q.stage == o.stage && q.closeBy == o.closeBy && slices.Equal(q.places, o.places) &&
		slices.Equal(q.batches, o.batches) && slices.Equal(q.met, o.met) && slices.Equal(q.over, o.over)
}

func (q *queue) String() string {
	var b strings.Builder
	for i, p := range q.places {
		fmt.Fprintf(&b, "%s%x%s", []string{"", " "}[min(i, 1)], p.value, [...]string{"", " (held)", " (taken)"}[p.state])
	}
	return "[" + b.String() + "]" + [...]string{"", " closed", " closed and drained"}[q.stage]
}

// find is the index of the value's place, -1 if it has none.
func (q *queue) find(v uint64) int {
	return slices.IndexFunc(q.places, func(p queuePlace) bool { return p.value == v })
}

// inUse counts the places that are not taken.
func (q *queue) inUse() (n int) {
	for _, p := range q.places {
		if p.state != placeTaken {
			n++
		}
	}
	return n
}

// turn notes that value ord of a batch is through; false: it is not its turn. It is always that of -1.
func (q *queue) turn(c *call, ord int) bool {
	if !c.kind.batch() || ord < 0 {
		return true
	}
	i := slices.IndexFunc(q.batches, func(p progress) bool { return p.call == c })
	q.batches = slices.Clone(q.batches)
	switch {
	case i < 0 && ord != 0, i >= 0 && q.batches[i].next != ord:
		return false
	case i < 0:
		i, _ = slices.BinarySearchFunc(q.batches, c.id, func(p progress, id int) int { return p.call.id - id })
		q.batches = slices.Insert(q.batches, i, progress{c, 0})
	}
	q.batches[i].next++
	if c.result != resultNone && q.batches[i].next == c.n {
		q.batches = slices.Delete(q.batches, i, i+1)
	}
	return true
}

// explained says whether there is an order that explains the history. That those who
// were killed had nothing in hand, or one certain value, is a part of what they may have had, and
// much quicker to look through than all of it: minutes became milliseconds.
func (h *history) explained() bool {
	ops, err := h.operations()
	if err != nil {
		return false
	}
	guesses, atOnce := h.guesses, h.atOnce
	defer func() { h.guesses, h.atOnce = guesses, atOnce }()
	if h.guesses, h.atOnce = nil, 0; porcupine.CheckOperations(h.model(), ops) {
		return true
	}
	for v := range guesses {
		if h.guesses, h.atOnce = map[uint64]bool{v: true}, 1; porcupine.CheckOperations(h.model(), ops) {
			return true
		}
	}
	h.guesses, h.atOnce = guesses, atOnce
	return atOnce > 1 && porcupine.CheckOperations(h.model(), ops)
}

func (h *history) model() porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any {
			return []any{&queue{met: make(callSet, len(h.calls)/64+1), over: make(callSet, len(h.calls)/64+1)}}
		},
		Step: func(state, input, _ any) (next []any) {
			for _, q := range h.step(state.(*queue), input.(*act)) {
				next = append(next, q)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a.(*queue).equal(b.(*queue)) },
		DescribeOperation: func(input, _ any) string { return input.(*act).String() },
		DescribeState:     func(state any) string { return state.(*queue).String() },
	}).ToModel()
}

// step is what may become of q if a happens now; nothing: it cannot.
func (h *history) step(q *queue, a *act) (next []*queue) {
	if a.maybe {
		next = append(next, q)
	}
	yes := func(n *queue, ok bool) {
		if ok {
			next = append(next, n)
		}
	}
	switch a.kind {
	case actSend:
		yes(h.send(q.clone(), a))
	case actMeet:
		yes(h.meet(q.clone(), a))
	case actTake:
		yes(h.take(q.clone(), a.call, a.value, a.ord, placeTaken))
	case actHold:
		if q.find(a.value) < 0 && h.capacity == 0 { // An offer, whose sender takes note of nothing.
			n, s := q.clone(), h.sources[a.value].call
			n.met = n.met.with(a.call)
			yes(n, s != nil && s.overlaps(a.call))
			break
		}
		yes(h.take(q.clone(), a.call, a.value, 0, placeHeld))
	case actBack, actRecovers:
		yes(giveBack(q.clone(), a.call), true)
	case actDies:
		next = append(next, h.dies(q, a)...)
	case actFull:
		yes(q, h.full(q, a))
	case actEmpty:
		yes(q, h.empty(q, a))
	case actSendClosed, actCloseClosed:
		yes(q, q.stage != stageOpen)
	case actClose:
		n := q.clone()
		n.stage, n.closeBy = stageClosed, a.call.end
		yes(n, q.stage == stageOpen)
	case actRecvClosed:
		n := q.clone()
		n.stage = stageSealed
		yes(n, q.stage != stageOpen && q.inUse() == 0)
	}
	return next
}

// mayStart says whether c may still have effects that a closed channel forbids: it had
// begun before Close was through.
func (q *queue) mayStart(c *call) bool {
	return q.stage == stageOpen || q.stage == stageClosed && c.start <= q.closeBy
}

func (h *history) send(q *queue, a *act) (*queue, bool) {
	if !q.mayStart(a.call) || q.inUse() >= max(1, h.capacity) || !q.turn(a.call, a.ord) {
		return nil, false
	}
	if h.capacity == 0 && a.call.kind == callTrySend && a.call.result != resultNone && !slices.ContainsFunc(a.near, func(c *call) bool { return !q.met.has(c) }) {
		return nil, false
	}
	if h.tooEarly(q, a.value) {
		return nil, false
	}
	q.places = append(q.places, queuePlace{value: a.value})
	// Those that were taken matter to full only, and as far back as senders may have
	// claimed their places in another order than they filled them.
	for len(q.places) > h.capacity+h.clients && q.places[0].state == placeTaken {
		q.places = q.places[1:]
	}
	return q, true
}

// tooEarly says whether v cannot come behind what is in the queue because it was
// received before some of that. The receive would be found impossible later; but to
// know it now is what makes the search short.
func (h *history) tooEarly(q *queue, v uint64) bool {
	if !slices.ContainsFunc(q.places, func(p queuePlace) bool { return p.state == placeFull && h.before(v, p.value) }) {
		return false
	}
	// Of two that were received the other way round, one had been given back. So count
	// pairs that have none in common.
	all := append(slices.Clone(q.places), queuePlace{value: v})
	pairs, paired := 0, make([]bool, len(all))
	for j, second := range all {
		for i, first := range all[:j] {
			if paired[i] || first.state != placeFull || second.state != placeFull || !h.before(second.value, first.value) {
				continue
			}
			if !h.guesses[first.value] && !h.guesses[second.value] {
				return true
			}
			pairs, paired[i], paired[j] = pairs+1, true, true
			break
		}
	}
	return pairs > h.atOnce
}

// before says whether v was received before u, and neither is known to have been in hand.
func (h *history) before(v, u uint64) bool {
	if h.late[v] || h.late[u] {
		return false
	}
	t, ok := h.takers[v]
	if !ok {
		return false
	}
	o, ok := h.takers[u]
	return ok && t.precedes(o)
}

func (h *history) meet(q *queue, a *act) (*queue, bool) {
	ok := q.mayStart(a.call) && q.inUse() == 0 && q.turn(a.call, a.ord) && q.turn(a.other, a.oord)
	if ok {
		q.met = q.met.with(a.other)
	}
	return q, ok
}

// take has c take the value v, for good or in hand.
func (h *history) take(q *queue, c *call, v uint64, ord int, to placeState) (*queue, bool) {
	i := q.find(v)
	if i < 0 || q.places[i].state != placeFull || q.over.has(c) || !q.turn(c, ord) {
		return nil, false
	}
	p := &q.places[i]
	for _, u := range q.places[:i] {
		if u.state == placeFull && !h.mayOvertake(*p, u, c) {
			return nil, false
		}
	}
	p.state, p.by = to, c
	if h.capacity == 0 {
		q.met = q.met.with(c)
	}
	return q, true
}

// mayOvertake says whether the receive c may take p while u lies before it.
func (h *history) mayOvertake(p, u queuePlace, c *call) bool {
	if u.late != nil && c.start <= u.late.end {
		return true // It was under way when u came back.
	}
	return (u.late != nil || p.late != nil) && !h.sources[u.value].precedes(h.sources[p.value])
}

// giveBack makes what c has in hand, if anything, full again.
func giveBack(q *queue, c *call) *queue {
	for i, p := range q.places {
		if p.state == placeHeld && p.by == c {
			q.places[i] = queuePlace{value: p.value, state: placeFull, late: c}
		}
	}
	q.over = q.over.with(c)
	return q
}

// dies is what a receive may have done when it was killed.
func (h *history) dies(q *queue, a *act) []*queue {
	next := []*queue{q}
	for _, p := range q.places {
		if p.state == placeHeld && p.by == a.call {
			return next // It has one in hand already.
		}
	}
	takesAlong := a.call.kind != callRecvFunc && a.call.kind != callRecvFuncFails
	for _, p := range q.places {
		_, received := h.takers[p.value]
		to := placeHeld
		switch {
		case p.state != placeFull, received && !h.guesses[p.value]:
			continue
		case !received && takesAlong:
			to = placeTaken // To have it in hand allows nothing that this does not.
		}
		if n, ok := h.take(q.clone(), a.call, p.value, -1, to); ok {
			next = append(next, n)
		}
	}
	return next
}

// full says whether c places in a row may have been in use.
func (h *history) full(q *queue, a *act) bool {
	if !q.mayStart(a.call) {
		return false
	}
	var near []*call // without those that have their place in the queue
	for _, c := range a.near {
		if c.n == 0 || q.find(c.values[c.n-1]) < 0 {
			near = append(near, c)
		}
	}
	// behind counts the places that may lie behind that of first.
	behind := func(first source, self *call) (n int) {
		for _, p := range q.places {
			if s := h.sources[p.value]; s != first && !s.precedes(first) {
				n++
			}
		}
		for _, c := range near {
			if c != self && c.end >= first.call.start {
				n++
			}
		}
		return n
	}
	for _, p := range q.places {
		if p.state == placeTaken && p.by.end < a.call.start {
			continue
		}
		if behind(h.sources[p.value], nil) >= h.capacity-1 {
			return true
		}
	}
	for _, c := range near {
		if c.end >= a.call.start && behind(source{c, len(c.values)}, c) >= h.capacity-1 {
			return true
		}
	}
	return false
}

func (h *history) empty(q *queue, a *act) bool {
	held := a.held
	for _, p := range q.places {
		if p.state == placeFull {
			return false
		}
		held = held || p.state == placeHeld
	}
	return q.stage == stageOpen || q.stage == stageClosed && held
}

// TestLinearModel shows that the model says no where it must, and yes where it may
// not say no. A line is a call: when it began and ended, what it was, what came of it, and values.
func TestLinearModel(t *testing.T) {
	for _, c := range []struct {
		what     string
		capacity int
		ok       bool
		calls    string
	}{
		{"in order", 2, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Recv ok 1; 7 8 Recv ok 2"},
		{"out of order", 2, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Recv ok 2; 7 8 Recv ok 1"},
		{"sends overlap", 2, true, "1 3 Send ok 1; 2 4 Send ok 2; 5 6 Recv ok 2; 7 8 Recv ok 1"},
		{"receives overlap", 2, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 8 Recv ok 2; 6 7 Recv ok 1"},
		{"batches in order", 4, true, "1 2 SendBatch ok 1 2 3; 3 4 RecvBatch ok 1 2; 5 6 Recv ok 3"},
		{"a batch sent out of order", 4, false, "1 2 SendBatch ok 1 2; 3 4 Recv ok 2; 5 6 Recv ok 1"},
		{"a batch received out of order", 4, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 RecvBatch ok 2 1"},
		{"doubled", 2, false, "1 2 Send ok 1; 3 4 Recv ok 1; 5 6 Recv ok 1"},
		{"invented", 2, false, "1 2 Recv ok 1"},
		{"before it was sent", 2, false, "1 2 Recv ok 1; 3 4 Send ok 1"},
		{"received from a cancelled send", 2, false, "1 2 SendContext cancelled 1; 3 4 Recv ok 1"},
		{"lost", 2, false, "1 2 Send ok 1; 3 4 Close ok; 5 6 Recv closed"},
		{"more than the capacity", 1, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Recv ok 1"},
		{"empty", 1, true, "1 2 TryRecv empty; 3 4 Send ok 1; 5 6 Recv ok 1; 7 8 TryRecv empty"},
		{"empty beside a value", 1, false, "1 2 Send ok 1; 3 4 TryRecv empty; 5 6 Recv ok 1"},
		{"empty beside a value that another takes", 1, true, "1 2 Send ok 1; 3 6 Recv ok 1; 4 5 TryRecv empty"},
		{"full", 1, true, "1 2 Send ok 1; 3 4 TrySend full 2"},
		{"full with one of two", 2, false, "1 2 Send ok 1; 3 4 TrySend full 2"},
		{"full with one of two, another under way", 2, true, "1 2 Send ok 1; 3 9 Send ok 3; 4 5 TrySend full 2"},
		{"full while the first is received", 2, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 9 Recv ok 1; 6 7 Recv ok 2; 8 8 TrySend full 3"},
		{"full when the first has been received", 2, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Recv ok 1; 7 8 TrySend full 3; 9 10 Recv ok 2"},
		{"full before the ring has come round", 3, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 9 Recv ok 1; 6 7 Recv ok 2; 8 8 TrySend full 3"},
		{"full by what a sender gave up", 2, true, "1 5 SendFunc! failed 1; 2 3 Send ok 2; 6 7 TrySend full 3"},
		{"full by what a sender gave up at the end", 2, false, "1 2 Send ok 1; 3 4 SendFunc! failed 2; 6 7 TrySend full 3"},
		{"full by what a sender gave up long ago", 2, false, "1 2 SendFunc! failed 1; 3 4 Send ok 2; 6 7 TrySend full 3"},
		{"given back in its place", 3, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 RecvFunc! failed 1; 7 8 Recv ok 1; 9 10 Recv ok 2"},
		{"passed while in hand", 3, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 9 RecvFunc! failed 1; 6 7 Recv ok 2; 10 11 Recv ok 1"},
		{"overtaken after it was given back", 3, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 RecvFunc! failed 1; 7 8 Recv ok 2; 9 10 Recv ok 1"},
		{"given back, not there", 3, false, "1 2 Send ok 1; 3 4 RecvFunc! failed 1; 5 6 TryRecv empty; 7 8 Recv ok 1"},
		{"sent after close", 2, false, "1 2 Close ok; 3 4 Send ok 1"},
		{"under way at close", 2, true, "1 5 Send ok 1; 2 3 Close ok; 6 7 Recv ok 1; 8 9 Recv closed"},
		{"closed before it is drained", 2, false, "1 2 Send ok 1; 3 4 Close ok; 5 6 TryRecv closed; 7 8 Recv ok 1"},
		{"empty, though closed", 2, false, "1 2 Close ok; 3 4 TryRecv empty"},
		{"empty, though closed, while a send is under way", 2, true, "1 9 Send ok 1; 2 3 Close ok; 4 5 TryRecv empty; 10 11 Recv ok 1"},
		{"sent after closed was said", 2, false, "1 9 Send ok 1; 2 3 Close ok; 4 5 Recv closed; 10 11 Recv ok 1"},
		{"closed, and nobody closed", 2, false, "1 2 Send closed 1"},
		{"closed twice", 2, false, "1 2 Close ok; 3 4 Close ok"},
		{"killed: sent", 2, true, "1 5 Send killed 1; 6 7 Recv ok 1"},
		{"killed: not sent", 2, true, "1 5 Send killed 1; 6 7 TryRecv empty"},
		{"killed: sent later", 2, false, "1 5 Send killed 1; 6 7 TryRecv empty; 8 9 Recv ok 1"},
		{"killed: taken along", 2, true, "1 2 Send ok 1; 3 5 Recv killed; 6 7 TryRecv empty"},
		{"killed: comes back", 2, true, "1 2 Send ok 1; 3 6 Recv killed; 4 5 TryRecv empty; 7 8 Recv ok 1"},
		{"killed: two come back", 3, true, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Send ok 3; 7 20 Recv killed; 7 20 Recv killed; 8 9 Recv ok 3; 21 22 Recv ok 1; 23 24 Recv ok 2"},
		{"killed: two come back from one", 3, false, "1 2 Send ok 1; 3 4 Send ok 2; 5 6 Send ok 3; 7 20 Recv killed; 8 9 Recv ok 3; 21 22 Recv ok 1; 23 24 Recv ok 2"},
		{"killed: two taken along", 2, false, "1 2 SendBatch ok 1 2; 3 5 Recv killed; 6 7 TryRecv empty"},
		{"killed: a function takes nothing along", 2, false, "1 2 Send ok 1; 3 5 RecvFunc killed; 6 7 TryRecv empty"},
		{"killed: a function in the middle", 2, false, "1 2 Send ok 1; 3 5 RecvFunc killed-inside 1; 6 7 TryRecv empty"},
		{"killed: a function in the middle, and it comes back", 2, true, "1 2 Send ok 1; 3 5 RecvFunc killed-inside 1; 6 7 Recv ok 1"},
		{"killed: a function that was through", 2, true, "1 2 Send ok 1; 3 5 RecvFunc killed 1; 6 7 TryRecv empty"},
		{"killed: once more after a function", 2, true, "1 2 Send ok 1; 3 5 RecvFunc killed 1; 6 7 Recv ok 1"},
		{"killed: closed", 2, true, "1 5 Close killed; 6 7 Send closed 1"},

		{"a meeting", 0, true, "1 4 Send ok 1; 2 3 Recv ok 1"},
		{"no meeting", 0, false, "1 2 Send ok 1; 3 4 Recv ok 1"},
		{"a send that nobody meets", 0, false, "1 2 Send ok 1; 3 4 Close ok; 5 6 Recv closed"},
		{"a receiver waits", 0, true, "1 5 Recv ok 1; 2 3 TrySend ok 1"},
		{"nobody waits", 0, false, "1 2 TrySend ok 1; 3 4 Recv ok 1"},
		{"two count on one receiver", 0, false, "1 6 Recv ok 1; 2 3 TrySend ok 1; 4 5 TrySend ok 2; 7 8 Recv ok 2"},
		{"another comes first", 0, true, "1 9 RecvContext cancelled; 2 3 TrySend ok 1; 4 5 Recv ok 1"},
		{"empty beside what was left", 0, false, "1 9 Recv ok 1; 2 3 TrySend ok 1; 10 11 TrySend full 2; 4 5 TryRecv empty; 6 7 TryRecv ok 1"},
		{"an offer seen and given back", 0, true, "1 8 Send ok 1; 2 3 RecvFunc! failed 1; 4 5 Recv ok 1"},
		{"a meeting after close", 0, false, "1 2 Close ok; 3 6 Send ok 1; 4 5 Recv ok 1"},
		{"an offer that stood at close", 0, true, "1 6 Send ok 1; 2 3 Close ok; 4 5 Recv ok 1"},
		{"killed: its offer stands", 0, true, "1 5 Send killed 1; 6 7 Recv ok 1"},
		{"killed: its offer to one that waited", 0, true, "1 5 TrySend killed 1; 6 7 Recv ok 1"},
		{"killed: its offer is taken along", 0, true, "1 5 Send ok 1; 2 6 Recv killed; 7 8 TryRecv empty"},
	} {
		calls, err := parseCalls(c.calls)
		require.NoError(t, err, c.what)
		require.Equal(t, c.ok, newHistory(c.capacity, calls).explained(), c.what)
	}
}

// TestLinearModelIsQuick has the model explain, in no time, a history with thirty pairs of sends under way
// at once and a receive that was killed. All orders of the pairs would be a billion.
func TestLinearModelIsQuick(t *testing.T) {
	const pairs = 30
	for killed, ok := range map[string]bool{"90 350 Recv killed": true, "360 361 TryRecv empty": false} {
		lines := []string{killed}
		for i := range pairs {
			at, v := 100+4*i, 2*i+1
			lines = append(lines, fmt.Sprintf("%d %d Send ok %d; %d %d Send ok %d", at, at+2, v, at+1, at+3, v+1))
		}
		for i := range pairs { // The other way round than the search begins with.
			at, v := 400+4*i, 2*i+1
			lines = append(lines, fmt.Sprintf("%d %d Recv ok %d; %d %d Recv ok %d", at, at+1, v+1, at+2, at+3, v))
		}
		calls, err := parseCalls(strings.Join(lines, "; "))
		require.NoError(t, err)
		require.Equal(t, ok, newHistory(64, calls).explained(), killed)
	}
}

func parseCalls(text string) (calls []*call, err error) {
	for i, line := range strings.Split(text, "; ") {
		words := strings.Fields(line)
		c := &call{client: i, kind: callKind(slices.Index(callNames[:], strings.Replace(words[2], "!", " (fails)", 1)))}
		if _, err := fmt.Sscan(strings.Join(words[:2], " "), &c.start, &c.end); err != nil {
			return nil, err
		}
		c.result = resultOK
		rest := words[3:]
		if i := slices.Index(resultNames[:], words[3]); i >= 0 {
			c.result = callResult(i)
		}
		for _, w := range rest[1:] {
			var v uint64
			if _, err := fmt.Sscan(w, &v); err != nil {
				return nil, err
			}
			c.values = append(c.values, v)
		}
		if c.result == resultOK {
			c.n = len(c.values)
		}
		inside := words[3] == "killed-inside"
		if inside {
			c.result, c.n = resultNone, 0
		}
		if c.result == resultNone {
			c.killed, c.died = c.end, c.end
		}
		if strings.HasPrefix(words[2], "RecvFunc") && len(c.values) > 0 {
			c.in = c.start
			if !inside {
				c.out = c.end
			}
		}
		calls = append(calls, c)
	}
	return calls, nil
}
