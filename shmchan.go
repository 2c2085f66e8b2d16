package shmchan

// The typed shell: Chan, Sender, Receiver. It moves values; all else is in handle.go.
//
// Invariant: between sendBegin and sendEnd (recvBegin and recvEnd) nothing can fail
// but the caller's own function, and then the position is given up (the value given back).

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Sender is the sending side of a channel, as chan<- T. Many goroutines may use
// it, but for a channel with WithSingleSender: then one at a time.
type Sender[T any] struct {
	h *handle
	codec[T]
	plain *Sender[T] // with the fault guard only, see guard.go
}

// Receiver is the receiving side of a channel, as <-chan T. Many goroutines may use
// it, but for a channel with WithSingleReceiver: then one at a time.
type Receiver[T any] struct {
	h *handle
	codec[T]
	ended  atomic.Pointer[error]
	copies sync.Pool    // of *T, for RecvFunc
	plain  *Receiver[T] // with the fault guard only, see guard.go
}

// Chan is a channel for sending and receiving, as chan T. Its halves may be passed
// on, and detached, on their own.
type Chan[T any] struct {
	*Sender[T]
	*Receiver[T]
}

// Open makes the channel of that name, or attaches to it: see the options for what
// is fixed when it is made. Two processes that race to make it get one channel.
//
// T must be of fixed size and hold no pointers (ErrNotPOD), and the same field by
// field as in the program that made the channel (ErrMismatch).
//
// On Linux the first Open of a process takes some 10 ms, to register for membarrier(2). A process that may not
// call it cannot attach to a channel with a capacity that one who may has made (errors.ErrUnsupported).
func Open[T any](name string, opts ...Option) (*Chan[T], error) {
	h, c, err := open[T](name, peerSends|peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &Chan[T]{newSender(h, c), newReceiver(h, c)}, nil
}

// OpenSender is Open for sending only.
func OpenSender[T any](name string, opts ...Option) (*Sender[T], error) {
	h, c, err := open[T](name, peerSends, opts)
	if err != nil {
		return nil, err
	}
	return newSender(h, c), nil
}

// OpenReceiver is Open for receiving only.
func OpenReceiver[T any](name string, opts ...Option) (*Receiver[T], error) {
	h, c, err := open[T](name, peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return newReceiver(h, c), nil
}

func open[T any](name string, roles uint64, opts []Option) (*handle, codec[T], error) {
	l, err := layoutFor[T](name)
	if err != nil {
		return nil, codec[T]{}, err
	}
	h, err := openHandle(name, l, roles, opts)
	return h, codec[T]{bools: l.bools}, err
}

// layoutFor is layoutOf for a channel of that name.
func layoutFor[T any](name string) (*layout, error) {
	l, err := layoutOf(reflect.TypeFor[T]())
	if err != nil {
		var te *TypeError
		if errors.As(err, &te) {
			te.Channel = name
			return nil, te
		}
		return nil, &chanError{name, err, "use a smaller type"}
	}
	return l, nil
}

// Send sends v, and waits while the channel is full; with capacity 0, until v has
// been received.
//
// It fails with ErrClosed, ErrDetached, ErrDisconnected or ErrCorrupt; v was then not sent.
func (s *Sender[T]) Send(v T) error {
	h := s.h
	l := h.send.lane.Load()
	if l.goroutine != 0 {
		return s.sendShared(l, &v)
	}
	// A single role: sendShared without a claim, one condition at a time (docs/performance.md).
	if !h.send.knock(l) {
		return s.sendWith(forever, &v)
	}
	if h.send.bar.Load() != 0 { // isIn: the lane stays the same.
		return s.sendBarred(l, &v)
	}
	ctl, w, off := h.ctl, h.tx.word, h.tx.off
	slot := unsafe.Add(h.slots, off) // txSlot
	if (*atomic.Uint64)(slot).Load() != w {
		return s.sendSlow(l, false, forever, &v)
	}
	storeRelease(&ctl.window, w+h.tx.claim) // txTake
	if ctl.closed.Load() != 0 {
		return s.sendSlow(l, true, forever, &v)
	}
	if wordwise[T]() {
		copyWords(unsafe.Add(slot, valueOffset), unsafe.Pointer(&v), unsafe.Sizeof(v))
	} else {
		*(*T)(unsafe.Add(slot, valueOffset)) = v
	}
	storeRelease((*atomic.Uint64)(slot), w+h.tx.step) // sent
	w += 1 << posShift
	h.tx.off, h.tx.word = off+h.stride, w
	if w&h.tx.turns == 0 {
		h.turnTail()
	}
	storeRelease(&ctl.window, 0) // txDone
	if h.sentAwaited() {
		h.wakeOne(receiving)
	}
	h.send.leaveLane(l)
	return nil
}

// sendShared is Send in a lane that others may have.
//
//go:noinline
func (s *Sender[T]) sendShared(l *lane, v *T) error {
	h := s.h
	if l.goroutine == goroutine() && h.send.knock(l) {
		if h.send.isIn(l) {
			slot := unsafe.Add(h.slots, h.tx.off) // txSlot
			if (*atomic.Uint64)(slot).Load() != h.tx.word && (!h.spins || h.soon(&h.tx) == nil) {
				return s.sendSlow(l, false, forever, v)
			}
			if h.pair {
				prefetchWrite(unsafe.Add(slot, 64), 1)
			}
			if !h.txTake(slot) {
				return s.sendSlow(l, true, forever, v)
			}
			if wordwise[T]() {
				copyWords(unsafe.Add(slot, valueOffset), unsafe.Pointer(v), unsafe.Sizeof(*v))
			} else {
				*(*T)(unsafe.Add(slot, valueOffset)) = *v
			}
			storeRelease((*atomic.Uint64)(slot), h.tx.word+h.tx.step) // sent, which is not inlined
			if h.tx.next(h.stride) {
				h.turnTail()
			}
			if h.txDone() {
				h.wakeOne(receiving)
			}
			h.send.leaveLane(l)
			return nil
		}
		h.send.leaveLane(l)
	}
	h.send.moveLane()
	return s.sendWith(forever, v)
}

// sendBarred is for a call that has knocked and is not in the lane.
//
//go:noinline
func (s *Sender[T]) sendBarred(l *lane, v *T) error {
	s.h.send.leaveLane(l)
	s.h.send.moveLane()
	return s.sendWith(forever, v)
}

// sendSlow is for a call in the lane that could not go straight to its slot, though it may have tried to take it.
//
//go:noinline
func (s *Sender[T]) sendSlow(l *lane, tried bool, ctx context.Context, v *T) error {
	if tried {
		s.h.txDrop()
	}
	s.h.send.goSlow(l)
	err := s.sendWith(ctx, v)
	s.h.send.doneSlow(l)
	return err
}

// straight, for a call in the lane, sends v if there is nothing to wait for and nothing to think about.
func (s *Sender[T]) straight(v *T) bool {
	h := s.h
	slot := h.txSlot()
	if slot == nil {
		return false
	}
	if h.pair {
		prefetchWrite(unsafe.Add(slot, 64), 1)
	}
	if !h.txTake(slot) {
		h.txDrop()
		return false
	}
	s.put(unsafe.Add(slot, valueOffset), v)
	h.sent(slot)
	if h.txDone() {
		h.wakeOne(receiving)
	}
	return true
}

// SendContext is Send that also ends, with ctx.Err(), when ctx does. A value whose
// SendContext failed was not sent.
func (s *Sender[T]) SendContext(ctx context.Context, v T) error {
	h := s.h
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendWith(ctx, &v)
	}
	if (ctx == nil || ctx.Err() == nil) && s.straight(&v) {
		h.send.leaveLane(l)
		return nil
	}
	return s.sendSlow(l, false, ctx, &v)
}

func (s *Sender[T]) sendWith(ctx context.Context, v *T) error {
	h := s.h
	if s.plain != nil {
		return s.guardedSend(ctx, v)
	}
	if !h.send.begin() {
		return h.errs.detached
	}
	pos, err := h.sendBegin(ctx)
	if err == nil {
		s.put(h.value(pos), v)
		err = h.sendEnd(ctx, pos)
	}
	h.send.end()
	return err
}

// TrySend sends v if that needs no waiting: there is space, or with capacity 0 a
// receiver that waits. Else it fails with ErrFull, or, with WithDisconnect and nobody alive to receive, ErrDisconnected.
func (s *Sender[T]) TrySend(v T) error {
	h := s.h
	if l := h.send.enterLane(); l != nil {
		if s.straight(&v) {
			h.send.leaveLane(l)
			return nil
		}
		h.send.goSlow(l)
		defer h.send.doneSlow(l)
	}
	if s.plain != nil {
		return s.guardedTrySend(&v)
	}
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	if h.rendezvous {
		pos, receiver, err := h.matchBegin()
		if err != nil {
			return h.send.refused(err)
		}
		s.put(h.value(pos), &v)
		return h.send.refused(h.matchEnd(pos, receiver))
	}
	pos, err := h.trySendBegin()
	if err != nil {
		return h.send.refused(err)
	}
	s.put(h.value(pos), &v)
	return h.sendEnd(forever, pos)
}

// SendBatch sends all of vs in order, waiting where it must, and wakes receivers
// less often than as many Sends would. If it fails, the first n were sent and no other.
func (s *Sender[T]) SendBatch(ctx context.Context, vs []T) (n int, err error) {
	h := s.h
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendBatch(nil, ctx, vs, 0)
	}
	if ctx == nil || ctx.Err() == nil {
		n = s.putRun(vs)
	}
	if n == len(vs) {
		h.wakeFor(receiving, n)
	} else {
		n, err = s.sendBatch(l, ctx, vs, n)
	}
	h.send.leaveLane(l)
	return n, err
}

// sendBatch goes on with a batch of which n were sent, and nobody woken for them yet. l is the lane if the call is in it.
//
//go:noinline
func (s *Sender[T]) sendBatch(l *lane, ctx context.Context, vs []T, n int) (int, error) {
	if s.plain != nil {
		return s.guardedBatch(ctx, vs)
	}
	h := s.h
	if !h.send.begin() {
		h.wakeFor(receiving, n)
		return n, h.errs.detached
	}
	defer h.send.end()
	quiet := n // published, and nobody woken for it yet
	defer func() { h.wakeFor(receiving, quiet) }()
	for n < len(vs) {
		if ctx != nil && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if l != nil && h.send.isIn(l) {
			if k := s.putRun(vs[n:]); k > 0 {
				n, quiet = n+k, quiet+k
				continue
			}
		}
		h.send.goSlow(l)
		var pos uint64
		var err error
		if quiet > 0 {
			pos, err = h.trySendBegin()
		}
		if quiet == 0 || errors.Is(err, ErrFull) { // About to wait: for those whom we have not woken, perhaps.
			h.wakeFor(receiving, quiet)
			quiet = 0
			pos, err = h.sendBegin(ctx)
		}
		if err != nil {
			return n, err
		}
		s.putOld(h.value(pos), &vs[n])
		if h.rendezvous {
			err = h.post(ctx, pos)
		} else {
			err = h.sendQuietly(pos)
			quiet++
		}
		if err != nil {
			return n, err
		}
		n++
		h.send.goOn(l)
	}
	return n, nil
}

// putRun sends what a call in the lane can of vs without waiting or waking, and says how many. From one turn
// to the next it has all that it needs at hand.
func (s *Sender[T]) putRun(vs []T) (n int) {
	h, f := s.h, &s.h.tx
	single, slots, stride, step, claim := h.oneSender, h.slots, h.stride, f.step, f.claim
	for n < len(vs) {
		if !h.openRun() {
			break
		}
		run := vs[n:]
		run = run[:min(f.left(), uint64(len(run)))]
		off, w, k := f.off, f.word, 0
		if single {
			for k < len(run) {
				slot := (*atomic.Uint64)(unsafe.Add(slots, off))
				if slot.Load() != w {
					break
				}
				*(*T)(unsafe.Add(unsafe.Pointer(slot), valueOffset)) = run[k]
				storeRelease(slot, w+step)
				off, w, k = off+stride, w+1<<posShift, k+1
			}
		} else {
			for k < len(run) {
				slot := (*atomic.Uint64)(unsafe.Add(slots, off))
				if slot.Load() != w {
					break
				}
				if !slot.CompareAndSwap(w, w+claim) {
					break
				}
				*(*T)(unsafe.Add(unsafe.Pointer(slot), valueOffset)) = run[k]
				storeRelease(slot, w+step)
				off, w, k = off+stride, w+1<<posShift, k+1
			}
		}
		n += k
		f.off, f.word = off, w
		if k > 0 && f.word&f.turns == 0 {
			h.turnTail()
		}
		if k < len(run) {
			break
		}
	}
	if single {
		h.closeRun(n)
	}
	return n
}

// SendFunc waits for space like SendContext, and has fill build the value where it
// will lie. What *v holds when fill gets it is left over from an earlier value, but for bools, which are false: fill sets
// every field. v is not to be kept. If fill fails or
// panics, nothing is sent. Others go on meanwhile, but once the channel has come
// round to the slot that fill holds.
func (s *Sender[T]) SendFunc(ctx context.Context, fill func(v *T) error) error {
	h := s.h
	l := h.send.enterLane()
	if l == nil {
		h.send.moveLane()
		return s.sendFunc(ctx, fill)
	}
	if ctx == nil || ctx.Err() == nil {
		slot := h.txSlot()
		if slot == nil && h.spins && !h.oneSender {
			slot = h.soon(&h.tx)
		}
		if slot != nil {
			if h.txTake(slot) {
				return s.fillHere(l, slot, fill)
			}
			h.txDrop()
		}
	}
	h.send.goSlow(l)
	defer h.send.doneSlow(l) // fill may panic.
	return s.sendFunc(ctx, fill)
}

// fillHere is SendFunc for a call in the lane that has taken its slot.
func (s *Sender[T]) fillHere(l *lane, slot unsafe.Pointer, fill func(v *T) error) error {
	h := s.h
	filled := false
	h.send.inside(h.oneSender, true)
	defer func() {
		if !filled {
			h.send.inside(h.oneSender, false)
			h.txDrop()
			h.sendAbort(h.tx.pos())
		}
		h.send.leaveLane(l)
	}()
	if err := fill(s.blank(unsafe.Add(slot, valueOffset))); err != nil {
		return err
	}
	filled = true
	h.send.inside(h.oneSender, false)
	if !h.txStill(slot) {
		h.txDrop()
		return h.corruptAt(h.tx.pos())
	}
	h.sent(slot)
	if h.txDone() {
		h.wakeOne(receiving)
	}
	return nil
}

// sendFunc is SendFunc the way of all.
func (s *Sender[T]) sendFunc(ctx context.Context, fill func(v *T) error) error {
	h := s.h
	if s.plain != nil {
		return s.guardedFunc(ctx, fill)
	}
	if !h.send.begin() {
		return h.errs.detached
	}
	defer h.send.end()
	pos, err := h.sendBegin(ctx)
	if err != nil {
		return err
	}
	filled := false
	h.send.inside(h.oneSender, true)
	defer func() {
		if !filled {
			h.send.inside(h.oneSender, false)
			h.sendAbort(pos)
		}
	}()
	if err := fill(s.blank(h.value(pos))); err != nil {
		return err
	}
	filled = true
	h.send.inside(h.oneSender, false)
	return h.sendEnd(ctx, pos)
}

// Recv receives a value, and waits while the channel is empty. It fails with
// ErrClosed once the channel is closed and drained, ErrDetached, ErrDisconnected, or
// ErrCorrupt; a corrupt value is dropped, so that the next Recv goes on behind it.
func (r *Receiver[T]) Recv() (v T, err error) {
	for {
		h := r.h
		l := h.recv.lane.Load()
		single := l.goroutine == 0
		if !single {
			if l.goroutine != goroutine() {
				return r.recvElsewhere()
			}
		}
		if !h.recv.knock(l) {
			return r.recvElsewhere()
		}
		if h.recv.bar.Load() != 0 {
			return r.recvBarred(l)
		}
		if h.recv.lane.Load() != l { // isIn
			return r.recvBarred(l)
		}
		w, off := h.rx.word, h.rx.off
		slot := unsafe.Add(h.slots, off) // rxSlot
		if (*atomic.Uint64)(slot).Load() != w {
			if single {
				if h.recvSoon(l) {
					continue
				}
				return r.recvSlow(l, forever)
			}
			if !h.spins || h.soon(&h.rx) == nil {
				return r.recvSlow(l, forever)
			}
		}
		if len(r.bools) != 0 {
			return r.recvChecked(l)
		}
		if !single {
			if !(*atomic.Uint64)(slot).CompareAndSwap(w, w+h.rx.claim) { // rxTake
				return r.recvSlow(l, forever)
			}
		}
		v = *(*T)(unsafe.Add(slot, valueOffset))
		storeRelease((*atomic.Uint64)(slot), w+h.rx.step) // received
		w += 1 << posShift
		h.rx.off, h.rx.word = off+h.stride, w
		if w&h.rx.turns == 0 {
			h.turnHead()
		}
		if h.rxDone() {
			h.wakeAfterFree()
		}
		h.recv.leaveLane(l)
		return v, nil
	}
}

// recvElsewhere is for a call that is not in the lane.
//
//go:noinline
func (r *Receiver[T]) recvElsewhere() (T, error) {
	r.h.recv.moveLane()
	return r.receive(forever)
}

// recvBarred is for a call that has knocked and is not in the lane.
//
//go:noinline
func (r *Receiver[T]) recvBarred(l *lane) (T, error) {
	r.h.recv.leaveLane(l)
	r.h.recv.moveLane()
	return r.receive(forever)
}

// recvSoon is for the call of a single role in the lane that found its slot not to be ready. True: it is now, and the call has
// left the lane, to begin anew with nothing kept.
//
//go:noinline
func (h *handle) recvSoon(l *lane) bool {
	if !h.spins || h.soon(&h.rx) == nil {
		return false
	}
	h.recv.leaveLane(l)
	return true
}

// recvChecked is for a call in the lane whose value is there, and is to be looked at.
//
//go:noinline
func (r *Receiver[T]) recvChecked(l *lane) (v T, err error) {
	if ok, err := r.straight(&v); ok {
		r.h.recv.leaveLane(l)
		return v, err
	}
	return r.recvSlow(l, forever)
}

// recvSlow is for a call in the lane that could not go straight to its slot.
//
//go:noinline
func (r *Receiver[T]) recvSlow(l *lane, ctx context.Context) (v T, err error) {
	r.h.recv.goSlow(l)
	v, err = r.receive(ctx)
	r.h.recv.doneSlow(l)
	return v, err
}

// straight, for a call in the lane, receives a value if there is nothing to wait for and nothing to think about.
func (r *Receiver[T]) straight(v *T) (ok bool, err error) {
	h := r.h
	slot := h.rxSlot()
	if slot == nil || !h.rxTake(slot) {
		return false, nil
	}
	if !r.get(unsafe.Add(slot, valueOffset), v) {
		err = r.badBool(h.rx.pos())
	}
	h.received(slot)
	if h.rxDone() {
		h.wakeAfterFree()
	}
	return true, err
}

// RecvContext is Recv that also ends, with ctx.Err(), when ctx does. A value that
// was taken is always returned.
func (r *Receiver[T]) RecvContext(ctx context.Context) (v T, err error) {
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.receive(ctx)
	}
	if ctx == nil || ctx.Err() == nil {
		if ok, err := r.straight(&v); ok {
			h.recv.leaveLane(l)
			return v, err
		}
	}
	return r.recvSlow(l, ctx)
}

func (r *Receiver[T]) receive(ctx context.Context) (v T, err error) {
	h := r.h
	if r.plain != nil {
		return r.guardedReceive(ctx)
	}
	if !h.recv.begin() {
		return v, h.errs.detached
	}
	pos, err := h.recvBegin(ctx)
	if err == nil {
		err = r.take(pos, &v)
	}
	h.recv.end()
	return v, err
}

// take copies the value at pos out and frees the slot.
func (r *Receiver[T]) take(pos uint64, v *T) error {
	if r.h.checked {
		return r.takeChecked(pos, v)
	}
	ok := r.get(r.h.value(pos), v)
	if err := r.h.recvEnd(pos); err != nil {
		var zero T
		*v = zero
		return err
	}
	if !ok {
		return r.badBool(pos)
	}
	return nil
}

func (r *Receiver[T]) badBool(pos uint64) error {
	return corruptError(r.h.name, "the value at position %d has a bool that is neither 0 nor 1; it was dropped", pos)
}

// TryRecv receives a value if that needs no waiting. Else it fails with ErrEmpty, or, with WithDisconnect and nobody
// alive to send, ErrDisconnected.
func (r *Receiver[T]) TryRecv() (v T, err error) {
	h := r.h
	if l := h.recv.enterLane(); l != nil {
		if ok, err := r.straight(&v); ok {
			h.recv.leaveLane(l)
			return v, err
		}
		h.recv.goSlow(l)
		defer h.recv.doneSlow(l)
	}
	if r.plain != nil {
		return r.guardedTry()
	}
	if !h.recv.begin() {
		return v, h.errs.detached
	}
	pos, err := h.tryRecvBegin()
	if err == nil {
		err = r.take(pos, &v)
	} else {
		err = h.recv.refused(err)
	}
	h.recv.end()
	return v, err
}

// RecvBatch waits for a value like RecvContext, takes what else is there, at most
// len(buf) in all, and says how many. If it fails, the first n were received all the same.
func (r *Receiver[T]) RecvBatch(ctx context.Context, buf []T) (n int, err error) {
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.recvBatch(nil, ctx, buf)
	}
	if ctx == nil || ctx.Err() == nil {
		var freed int
		if n, freed, err = r.getRun(buf); n == 0 && err == nil && len(buf) > 0 && h.spins && !h.oneRecver && h.soon(&h.rx) != nil {
			n, freed, err = r.getRun(buf)
		}
		h.wakeAfterRun(freed)
	}
	if n == 0 && err == nil {
		n, err = r.recvBatch(l, ctx, buf)
	}
	h.recv.leaveLane(l)
	return n, err
}

// recvBatch is RecvBatch with nothing received yet. l is the lane if the call is in it.
//
//go:noinline
func (r *Receiver[T]) recvBatch(l *lane, ctx context.Context, buf []T) (n int, err error) {
	if r.plain != nil {
		return r.guardedBatch(ctx, buf)
	}
	h := r.h
	if !h.recv.begin() {
		return 0, h.errs.detached
	}
	defer h.recv.end()
	if len(buf) == 0 {
		return 0, nil
	}
	if h.rendezvous || h.checked {
		return r.recvEach(ctx, buf)
	}
	freed := 0
	defer func() { h.wakeAfterRun(freed) }()
	for n < len(buf) {
		h.recv.goSlow(l)
		var pos uint64
		if n == 0 {
			if pos, err = h.recvBegin(ctx); err != nil {
				return 0, err
			}
		} else {
			var v verdict
			if pos, v = h.recvMore(); v != claimed {
				return n, nil
			}
		}
		ok := r.get(h.value(pos), &buf[n])
		if err := h.recvQuietly(pos); err != nil {
			return n, err
		}
		freed++
		if !ok {
			return n, r.badBool(pos)
		}
		n++
		if l == nil {
			continue
		}
		h.recv.goOn(l)
		if !h.recv.isIn(l) {
			continue
		}
		k, f, err := r.getRun(buf[n:])
		n, freed = n+k, freed+f
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// recvEach is RecvBatch of a rendezvous, where each value has a sender that waits, and of a channel with checksums.
func (r *Receiver[T]) recvEach(ctx context.Context, buf []T) (n int, err error) {
	h := r.h
	pos, err := h.recvBegin(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.take(pos, &buf[0]); err != nil {
		return 0, err
	}
	for n = 1; n < len(buf); n++ {
		pos, none := h.tryRecvBegin()
		if none != nil {
			break
		}
		if err := r.take(pos, &buf[n]); err != nil {
			return n, err
		}
	}
	return n, nil //nolint:nilerr // There is no more just now.
}

// getRun receives what a call in the lane can without waiting or waking, and says how many, and how many slots came
// free. See putRun.
func (r *Receiver[T]) getRun(buf []T) (n, freed int, err error) {
	h, f := r.h, &r.h.rx
	single, slots, stride, step, claim := h.oneRecver, h.slots, h.stride, f.step, f.claim
	checks, bad := len(r.bools) != 0, false
	for n < len(buf) {
		run := buf[n:]
		run = run[:min(f.left(), uint64(len(run)))]
		off, w, k := f.off, f.word, 0
		if single && !checks {
			for k < len(run) {
				slot := (*atomic.Uint64)(unsafe.Add(slots, off))
				if slot.Load() != w {
					break
				}
				run[k] = *(*T)(unsafe.Add(unsafe.Pointer(slot), valueOffset))
				storeRelease(slot, w+step)
				off, w, k = off+stride, w+1<<posShift, k+1
			}
		} else {
			for k < len(run) {
				slot := (*atomic.Uint64)(unsafe.Add(slots, off))
				if slot.Load() != w {
					break
				}
				if !single {
					if !slot.CompareAndSwap(w, w+claim) {
						break
					}
				}
				run[k] = *(*T)(unsafe.Add(unsafe.Pointer(slot), valueOffset))
				storeRelease(slot, w+step)
				off, w = off+stride, w+1<<posShift
				if checks && !r.valid(&run[k]) {
					bad = true
					break
				}
				k++
			}
		}
		n += k
		moved := (w - f.word) >> posShift
		freed += int(moved)
		f.off, f.word = off, w
		if moved > 0 && w&f.turns == 0 {
			h.turnHead()
		}
		if bad {
			return n, freed, r.badBool((wordPos(w) - 1) & posMask)
		}
		if k < len(run) {
			break
		}
	}
	return n, freed, nil
}

// RecvFunc waits for a value like RecvContext and has use read it where it lies, or a
// copy if T holds a bool or the channel has checksums, for nobody must change what was checked; v is not to be
// kept. The value counts as received when use has returned nil: if use fails or panics,
// or the process dies, it goes to another Recv, later than it would have come.
func (r *Receiver[T]) RecvFunc(ctx context.Context, use func(v *T) error) error {
	h := r.h
	l := h.recv.enterLane()
	if l == nil {
		h.recv.moveLane()
		return r.recvFunc(ctx, use)
	}
	if ctx == nil || ctx.Err() == nil {
		slot := h.rxSlot()
		if slot == nil && h.spins && !h.oneRecver {
			slot = h.soon(&h.rx)
		}
		if slot != nil && h.rxTake(slot) {
			return r.useHere(l, slot, use)
		}
	}
	h.recv.goSlow(l)
	defer h.recv.doneSlow(l) // use may panic.
	return r.recvFunc(ctx, use)
}

// useHere is RecvFunc for a call in the lane that has taken its slot.
func (r *Receiver[T]) useHere(l *lane, slot unsafe.Pointer, use func(v *T) error) error {
	h := r.h
	used := false
	h.recv.inside(h.oneRecver, true)
	defer func() {
		if !used {
			h.recv.inside(h.oneRecver, false)
			h.recvAbort(h.rx.pos())
		}
		h.recv.leaveLane(l)
	}()
	err := r.show(h.rx.pos(), use, &used)
	if used {
		h.recv.inside(h.oneRecver, false)
		if !h.rxStill(slot) {
			return h.corruptAt(h.rx.pos())
		}
		h.received(slot)
		if h.rxDone() {
			h.wakeAfterFree()
		}
	}
	return err
}

// recvFunc is RecvFunc the way of all.
func (r *Receiver[T]) recvFunc(ctx context.Context, use func(v *T) error) error {
	h := r.h
	if r.plain != nil {
		return r.guardedFunc(ctx, use)
	}
	if !h.recv.begin() {
		return h.errs.detached
	}
	defer h.recv.end()
	pos, err := h.recvBegin(ctx)
	if err != nil {
		return err
	}
	used := false
	h.recv.inside(h.oneRecver, true)
	defer func() {
		if !used {
			h.recv.inside(h.oneRecver, false)
			h.recvAbort(pos)
		}
	}()
	err = r.show(pos, use, &used)
	if !used {
		return err
	}
	h.recv.inside(h.oneRecver, false)
	return errors.Join(h.recvEnd(pos), err)
}

// show has use read the value at pos. Used: the slot is to be freed, because use has returned nil or the value
// is none, which err says.
func (r *Receiver[T]) show(pos uint64, use func(v *T) error, used *bool) error {
	v := (*T)(r.h.value(pos))
	if len(r.bools) != 0 || r.h.checked {
		v = r.private()
		defer r.copies.Put(v)
		if bad := r.copyOut(pos, v); bad != nil {
			*used = true
			return bad
		}
	}
	if err := use(v); err != nil {
		return err
	}
	*used = true
	return nil
}

// All receives until the channel is closed and drained, or a receive fails: then
// Err says why. To break out of the loop loses nothing.
func (r *Receiver[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		r.ended.Store(nil)
		for {
			v, err := r.Recv()
			if err != nil {
				if why := err; !errors.Is(why, ErrClosed) { // A copy, lest every round allocate.
					r.ended.Store(&why)
				}
				return
			}
			if !yield(v) {
				return
			}
		}
	}
}

// Err says why the last loop over All ended, nil if because the channel was closed
// and drained or the loop was left.
func (r *Receiver[T]) Err() error {
	if err := r.ended.Load(); err != nil {
		return *err
	}
	return nil
}

// Close closes the channel for all processes, like close(ch): nobody can send any
// more, what was sent can still be received. A second Close is ErrClosed. It never waits.
func (s *Sender[T]) Close() error { return s.h.closeChannel(&s.h.send) }

// Close closes the channel for all processes; see Sender.Close.
func (r *Receiver[T]) Close() error { return r.h.closeChannel(&r.h.recv) }

// Close closes the channel for all processes; see Sender.Close.
func (c *Chan[T]) Close() error {
	if err := c.Sender.Close(); !errors.Is(err, ErrDetached) {
		return err
	}
	return c.Receiver.Close()
}

// Detach lets go of this side of the handle. The channel goes on. Later calls, and
// calls blocked on it, get ErrDetached; calls in the middle of something finish it.
// The last to leave a closed channel removes it, with what is still in it.
func (s *Sender[T]) Detach() error { return s.h.send.detach() }

// Detach lets go of this side of the handle; see Sender.Detach.
func (r *Receiver[T]) Detach() error { return r.h.recv.detach() }

// Detach lets go of both sides of the handle; see Sender.Detach.
func (c *Chan[T]) Detach() error {
	errS, errR := c.Sender.Detach(), c.Receiver.Detach()
	if errS != nil && errR != nil {
		return errS
	}
	return nil
}

// Len is how many values are in the channel, also those in a receiver's hands.
// It takes a step for each of them. 0 with capacity 0, and on a detached handle.
func (s *Sender[T]) Len() int { return s.h.length() }

// Len is how many values are in the channel; see Sender.Len.
func (r *Receiver[T]) Len() int { return r.h.length() }

// Len is how many values are in the channel; see Sender.Len.
func (c *Chan[T]) Len() int { return c.Sender.Len() }

// Cap is the capacity that was asked for when the channel was made.
func (s *Sender[T]) Cap() int { return int(s.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made.
func (r *Receiver[T]) Cap() int { return int(r.h.info.capacity) }

// Cap is the capacity that was asked for when the channel was made.
func (c *Chan[T]) Cap() int { return c.Sender.Cap() }

// Name is the channel's name.
func (s *Sender[T]) Name() string { return s.h.name }

// Name is the channel's name.
func (r *Receiver[T]) Name() string { return r.h.name }

// Name is the channel's name.
func (c *Chan[T]) Name() string { return c.Sender.Name() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (s *Sender[T]) Stats() Stats { return s.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (r *Receiver[T]) Stats() Stats { return r.h.statsNow() }

// Stats looks at the channel. On a detached handle only Name and Cap are set.
func (c *Chan[T]) Stats() Stats { return c.Sender.Stats() }
