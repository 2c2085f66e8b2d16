package shmchan

// Ordinary channels: RecvChan and SendChan, for a select beside timers and other channels.
//
// Invariants:
//   - The receiving pump holds its value as READING, and frees the slot only when the Go channel has taken the value:
//     else it is given back, by the pump or, if the process dies, by whoever clears away.
//   - The sending pump holds no slot while it has no value, as that would keep other senders away. A value that the Go
//     channel has taken is sent, also after ctx has ended: it waits for space until the channel is
//     closed or deserted, or the handle detached.

import (
	"context"
	"errors"
)

// RecvChan is an ordinary channel of what this side receives, for a select. It has no buffer. One goroutine feeds it, and
// closes it when the shared channel is closed and drained, when ctx ends, or at an error; then Err says why.
//
// That goroutine holds one value until somebody takes it. While it does, nobody else receives that value, its slot is in use, a TryRecv behind it says empty
// on a closed channel, and with capacity 0 the Send whose value it is waits, beyond its context. If ctx ends, the
// handle is detached or the process dies before the value was taken from the Go channel, it goes to another Recv, later than it would have come; if
// the process dies right after it was taken, it may be received once more.
//
// End ctx, or detach, when you leave off before it is closed: else the goroutine stays, with its value. On a channel with WithSingleReceiver
// it is the one goroutine that may receive. Several calls share the values; Err is then that of the last that ended.
func (r *Receiver[T]) RecvChan(ctx context.Context) <-chan T {
	c := make(chan T)
	ended := endOf(ctx)
	detached := r.h.recv.gone()
	r.ended.Store(nil)
	go func() {
		defer close(c)
		for {
			err := r.RecvFunc(ctx, func(v *T) error {
				select {
				case c <- *v:
					return nil
				case <-ended:
					return ctx.Err()
				case <-detached:
					return r.h.errs.detached
				}
			})
			if err != nil {
				r.endedBy(err)
				return
			}
		}
	}()
	return c
}

// endedBy notes why a loop or a pump has ended.
func (r *Receiver[T]) endedBy(err error) {
	if !errors.Is(err, ErrClosed) {
		r.ended.Store(&err)
	}
}

// SendChan is an ordinary channel whose values this side sends, for a select. It has no buffer, but the one goroutine that
// receives from it takes a value before there is space for it, so that it is as good as one more place: a value that it has taken is sent
// as by Send, in order, after what it took before, though perhaps later, and with capacity 0 perhaps not yet received.
//
// When ctx ends it takes no more. A value that it has then still goes to the channel, as soon as there is space: no value is lost by
// the end of ctx. It is lost if before that the channel is closed, the handle detached or the last receiver gone (WithDisconnect), and [Sender.SendErr] says
// so; or if the process dies, as with one who dies in Send. That is one value at most: what it took before is in the channel, and stays there.
// So is, with capacity 0, one that it offers: who receives after the death gets it.
//
// Nobody takes from it after ctx has ended, or the first error. Do not close it. So that a select does not wait there for
// ever, give it cases for ctx.Done() and [Sender.Done] too.
//
// On a channel with WithSingleSender the goroutine is the one that may send.
func (s *Sender[T]) SendChan(ctx context.Context) chan<- T {
	c := make(chan T)
	ended := endOf(ctx)
	done := s.Done()
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-done:
				return
			default:
			}
			select {
			case v := <-c:
				if err := s.Send(v); err != nil {
					s.h.send.fail(err)
					return
				}
			case <-ended:
				return
			case <-done:
				return
			}
		}
	}()
	return c
}

// SendErr says why the first value was lost that a channel of SendChan had taken. Nil: none was.
func (s *Sender[T]) SendErr() error {
	if err := s.h.send.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Done is closed when nothing can be sent on this handle any more: when the channel is closed, by whomever, the
// sending side detached, or a value of SendChan could not be sent. It is closed at once for what happens on this handle, and
// within some 200 ms for a Close on another.
func (s *Sender[T]) Done() <-chan struct{} {
	side := &s.h.send
	done := side.gone()
	if !side.enter() {
		return done
	}
	defer side.leave()
	side.noted.Store(true)
	told := false
	s.h.surely(func() { told = side.noteClosed() })
	if !told {
		s.h.watch() // The backstop looks for a Close by others.
	}
	return done
}

// endOf is the channel that says that ctx has ended; nil for none.
func endOf(ctx context.Context) <-chan struct{} {
	if ctx == nil {
		return nil
	}
	return ctx.Done()
}

// gone is closed when the side is detached, or, if somebody asked for Done, cannot send.
func (s *side) gone() <-chan struct{} {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.goneCh == nil {
		s.goneCh = make(chan struct{})
		if s.detached.Load() || s.h.faults.broken.Load() {
			s.closeGone()
		}
	}
	return s.goneCh
}

// tellGone closes what gone returns.
func (s *side) tellGone() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.closeGone()
}

// closeGone is tellGone for who holds h.mu.
func (s *side) closeGone() {
	if s.goneCh != nil && !s.isGone {
		s.isGone = true
		close(s.goneCh)
	}
}

// noteClosed tells those who wait for Done if the channel is closed, and says whether nobody waits for that any more.
func (s *side) noteClosed() (told bool) {
	if !s.noted.Load() {
		return true
	}
	if s.h.ctl.closed.Load() == 0 && !s.detached.Load() {
		return false
	}
	s.noted.Store(false)
	s.tellGone()
	return true
}

// fail notes that a value was lost.
func (s *side) fail(err error) {
	s.failed.CompareAndSwap(nil, &err)
	s.tellGone()
}
