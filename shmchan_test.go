package shmchan

// The API, call by call.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type tick struct {
	Seq  uint64
	From uint32
	Up   bool
	Px   float64
	Sym  [8]byte
}

func openTest[T any](t testing.TB, opts ...Option) *Chan[T] {
	t.Helper()
	dir := memDir(t)
	ch, err := Open[T]("test", append([]Option{WithDir(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	return ch
}

// again opens the channel once more, on a handle of its own.
func again[T any](t testing.TB, ch *Chan[T], opts ...Option) *Chan[T] {
	t.Helper()
	other, err := Open[T](ch.Name(), append([]Option{WithDir(ch.Sender.h.opts.dir), WithAttach()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Detach() })
	return other
}

// kinds are the forms of a channel that all have the same semantics.
var kinds = map[string][]Option{
	"many":            nil,
	"single sender":   {WithSingleSender()},
	"single receiver": {WithSingleReceiver()},
	"single":          {WithSingleSender(), WithSingleReceiver()},
}

func TestSendRecv(t *testing.T) {
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			ch := openTest[tick](t, append(opts, WithCapacity(3))...)
			for round := range 10 {
				for i := range 3 {
					require.NoError(t, ch.Send(tick{Seq: uint64(round*3 + i), Up: true, Px: 1.5, Sym: [8]byte{'A'}}))
					assert.Equal(t, i+1, ch.Len())
				}
				require.ErrorIs(t, ch.TrySend(tick{}), ErrFull)
				for i := range 3 {
					v, err := ch.Recv()
					require.NoError(t, err)
					require.Equal(t, tick{Seq: uint64(round*3 + i), Up: true, Px: 1.5, Sym: [8]byte{'A'}}, v)
				}
				_, err := ch.TryRecv()
				require.ErrorIs(t, err, ErrEmpty)
			}
			assert.Equal(t, 3, ch.Cap())
			assert.Equal(t, "test", ch.Name())
			st := ch.Stats()
			assert.Equal(t, uint64(30), st.Sent)
			assert.Equal(t, uint64(30), st.Received)
			assert.Equal(t, 1, st.Senders)
			assert.Equal(t, 1, st.Receivers)
		})
	}
}

func TestCapacityIsExact(t *testing.T) {
	for _, c := range []int{1, 2, 3, 5, 7, 8, 1000, 1024} {
		for kind, opts := range kinds {
			t.Run(fmt.Sprintf("%d %s", c, kind), func(t *testing.T) {
				ch := openTest[int64](t, append(opts, WithCapacity(c))...)
				require.Equal(t, c, ch.Cap())
				for shift := range 3 { // Also when full begins elsewhere in the ring.
					for i := range c {
						require.NoError(t, ch.TrySend(int64(i)), "value %d", i)
					}
					require.ErrorIs(t, ch.TrySend(0), ErrFull)
					require.Equal(t, c, ch.Len())
					for i := range c {
						v, err := ch.TryRecv()
						require.NoError(t, err)
						require.Equal(t, int64(i), v)
					}
					for range shift + 1 {
						require.NoError(t, ch.Send(0))
						_, err := ch.Recv()
						require.NoError(t, err)
					}
				}
			})
		}
	}
}

func TestDefaultCapacityAndAttach(t *testing.T) {
	ch := openTest[int64](t)
	assert.Equal(t, DefaultCapacity, ch.Cap())
	other := again(t, ch)
	assert.Equal(t, DefaultCapacity, other.Cap())
	require.NoError(t, ch.Send(7))
	v, err := other.Recv()
	require.NoError(t, err)
	assert.Equal(t, int64(7), v)
}

func TestCloseDrains(t *testing.T) {
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			ch := openTest[int64](t, append(opts, WithCapacity(4))...)
			for i := range 4 {
				require.NoError(t, ch.Send(int64(i)))
			}
			require.NoError(t, ch.Close(), "also when full")
			err := ch.Close()
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, err, os.ErrClosed)
			require.ErrorIs(t, ch.Send(9), ErrClosed)
			require.ErrorIs(t, ch.TrySend(9), ErrClosed)
			n, err := ch.SendBatch(t.Context(), []int64{1, 2})
			require.ErrorIs(t, err, ErrClosed)
			require.Zero(t, n)
			var got []int64
			for v := range ch.All() {
				got = append(got, v)
			}
			require.NoError(t, ch.Err())
			require.Equal(t, []int64{0, 1, 2, 3}, got)
			_, err = ch.Recv()
			require.ErrorIs(t, err, ErrClosed)
			_, err = ch.TryRecv()
			require.ErrorIs(t, err, ErrClosed)
			_, err = ch.RecvBatch(t.Context(), make([]int64, 2))
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, ch.RecvFunc(t.Context(), func(*int64) error { return nil }), ErrClosed)
			assert.True(t, ch.Stats().Closed)
		})
	}
}

func TestCloseWakesAll(t *testing.T) {
	for _, c := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(c))
		other := again(t, ch)
		if c == 1 {
			require.NoError(t, ch.Send(1))
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.ErrorIs(t, ch.Send(2), ErrClosed) })
			wg.Go(func() { assert.ErrorIs(t, other.Send(2), ErrClosed) })
		}
		until(t, "all are parked", func() bool { return ch.Stats().Parked+other.Stats().Parked >= 6 })
		require.NoError(t, other.Close())
		wg.Wait()

		ch = openTest[int64](t, WithCapacity(c))
		other = again(t, ch)
		for range 3 {
			wg.Go(func() { _, err := ch.Recv(); assert.ErrorIs(t, err, ErrClosed) })
			wg.Go(func() { _, err := other.Recv(); assert.ErrorIs(t, err, ErrClosed) })
		}
		until(t, "all are parked", func() bool { return ch.Stats().Parked+other.Stats().Parked >= 6 })
		require.NoError(t, ch.Close())
		wg.Wait()
	}
}

func TestContexts(t *testing.T) {
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			ch := openTest[int64](t, append(opts, WithCapacity(1))...)
			gone, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New("a cause"))
			require.Equal(t, context.Canceled, ch.SendContext(gone, 1), "the context's own error, not wrapped")
			_, err := ch.RecvContext(gone)
			require.Equal(t, context.Canceled, err)
			require.Zero(t, ch.Len(), "a value whose SendContext failed was not sent")

			blocked := func(call func(ctx context.Context) error) {
				ctx, cancel := context.WithCancel(t.Context())
				before := ch.Stats().Parked
				result := make(chan error, 1)
				go func() { result <- call(ctx) }()
				until(t, "parked", func() bool { return ch.Stats().Parked > before })
				cancel()
				require.Equal(t, context.Canceled, <-result)
			}
			blocked(func(ctx context.Context) error { _, err := ch.RecvContext(ctx); return err })
			blocked(func(ctx context.Context) error { _, err := ch.RecvBatch(ctx, make([]int64, 1)); return err })
			blocked(func(ctx context.Context) error { return ch.RecvFunc(ctx, func(*int64) error { return nil }) })
			require.NoError(t, ch.Send(1))
			blocked(func(ctx context.Context) error { return ch.SendContext(ctx, 2) })
			blocked(func(ctx context.Context) error { return ch.SendFunc(ctx, func(*int64) error { return nil }) })
			v, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, int64(1), v)
			blocked(func(ctx context.Context) error {
				n, err := ch.SendBatch(ctx, []int64{5, 6, 7})
				assert.Equal(t, 1, n)
				return err
			})
		})
	}
}

func TestBatches(t *testing.T) {
	for _, c := range []int{0, 1, 3, 64} {
		for kind, opts := range kinds {
			t.Run(fmt.Sprintf("%d %s", c, kind), func(t *testing.T) {
				ch := openTest[int64](t, append(opts, WithCapacity(c))...)
				const total = 1000
				vs := make([]int64, total)
				for i := range vs {
					vs[i] = int64(i)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					n, err := ch.SendBatch(t.Context(), vs)
					assert.NoError(t, err)
					assert.Equal(t, total, n)
					assert.NoError(t, ch.Close())
				})
				buf := make([]int64, 7)
				next := int64(0)
				for {
					n, err := ch.RecvBatch(t.Context(), buf)
					if err != nil {
						require.ErrorIs(t, err, ErrClosed)
						break
					}
					require.Positive(t, n)
					for _, v := range buf[:n] {
						require.Equal(t, next, v)
						next++
					}
				}
				require.Equal(t, int64(total), next)
				wg.Wait()
			})
		}
	}
	ch := openTest[int64](t)
	n, err := ch.RecvBatch(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestSendFunc(t *testing.T) {
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			ch := openTest[tick](t, append(opts, WithCapacity(2))...)
			bad := errors.New("bad")
			for i := range 10 { // More often than there are slots.
				require.Equal(t, bad, ch.SendFunc(t.Context(), func(v *tick) error {
					require.False(t, v.Up, "bools are false")
					*v = tick{Seq: 99, Up: true}
					return bad
				}))
				require.PanicsWithValue(t, "boom", func() {
					_ = ch.SendFunc(t.Context(), func(v *tick) error { *v = tick{Seq: 98, Up: true}; panic("boom") })
				})
				require.NoError(t, ch.SendFunc(t.Context(), func(v *tick) error { *v = tick{Seq: uint64(i), Up: v.Up}; return nil }))
				require.Equal(t, 1, ch.Len())
				v, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, tick{Seq: uint64(i)}, v)
			}
			assert.Equal(t, uint64(10), ch.Stats().Sent)
			assert.Equal(t, uint64(10), ch.Stats().Received)
		})
	}
}

func TestRecvFunc(t *testing.T) {
	for _, c := range []int{0, 2} {
		for kind, opts := range kinds {
			t.Run(fmt.Sprintf("%d %s", c, kind), func(t *testing.T) {
				ch := openTest[tick](t, append(opts, WithCapacity(c))...)
				sent := make(chan error, 1)
				go func() { sent <- ch.Send(tick{Seq: 7}) }()
				bad := errors.New("bad")
				require.Equal(t, bad, ch.RecvFunc(t.Context(), func(v *tick) error {
					require.Equal(t, uint64(7), v.Seq)
					return bad
				}))
				require.PanicsWithValue(t, "boom", func() { _ = ch.RecvFunc(t.Context(), func(*tick) error { panic("boom") }) })
				if c == 0 {
					require.Empty(t, sent, "a value given back was not received")
				}
				require.NoError(t, ch.RecvFunc(t.Context(), func(v *tick) error {
					require.Equal(t, uint64(7), v.Seq)
					return nil
				}))
				require.NoError(t, <-sent)
				_, err := ch.TryRecv()
				require.ErrorIs(t, err, ErrEmpty)
			})
		}
	}
}

// A value in somebody's hands does not hold up the others, and comes later when given back.
func TestOthersPassAHeldSlot(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(4))
	for i := range 3 {
		require.NoError(t, ch.Send(int64(i)))
	}
	bad := errors.New("bad")
	require.Equal(t, bad, ch.RecvFunc(t.Context(), func(v *int64) error {
		require.Equal(t, int64(0), *v)
		for want := range int64(2) {
			got, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, want+1, got)
		}
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty)
		require.NoError(t, ch.TrySend(10))
		require.ErrorIs(t, ch.TrySend(0), ErrFull, "the ring has come round to the held slot")
		return bad
	}))
	for _, want := range []int64{0, 10} {
		got, err := ch.TryRecv()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, ch.SendFunc(t.Context(), func(v *int64) error {
		*v = 20
		require.NoError(t, ch.Send(21))
		got, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, int64(21), got, "a sender in the middle of a Send does not hold up what is behind it")
		require.NoError(t, ch.Send(22))
		return nil
	}))
	for _, want := range []int64{20, 22} {
		got, err := ch.TryRecv()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A receiver that steps past a slot looks there again before it takes what lies
// behind: else a sender that publishes here and then there is overtaken by itself.
func TestSecondLook(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(4))
	sender := again(t, ch)
	h := sender.Sender.h
	pos, err := h.sendBegin(forever)
	require.NoError(t, err)
	ch.Sender.h.onPass = func() {
		ch.Sender.h.onPass = nil
		first := int64(1)
		sender.Sender.put(h.value(pos), &first)
		require.NoError(t, h.sendEnd(forever, pos))
		require.NoError(t, sender.Send(2))
	}
	for _, want := range []int64{1, 2} {
		v, err := ch.TryRecv()
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	require.Nil(t, ch.Sender.h.onPass)
}

// Closed is only said when nothing is in anybody's hands that may come back.
func TestCloseWaitsForHeldSlots(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2))
	require.NoError(t, ch.Send(1))
	bad := errors.New("bad")
	require.Equal(t, bad, ch.RecvFunc(t.Context(), func(*int64) error {
		require.NoError(t, ch.Close())
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty, "it may come back")
		return bad
	}))
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrClosed)

	ch = openTest[int64](t, WithCapacity(2))
	require.NoError(t, ch.SendFunc(t.Context(), func(v *int64) error {
		require.NoError(t, ch.Close())
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty, "a Send under way may still win")
		*v = 5
		return nil
	}))
	v, err = ch.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(5), v)
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
}

// A single sender claims nothing, so where it does not say in the window what it has in hand the seal decides.
func TestSealStopsASingleSender(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2), WithSingleSender())
	ch.Sender.h.send.bar.Or(barShared)
	require.ErrorIs(t, ch.SendFunc(t.Context(), func(v *int64) error {
		require.NoError(t, ch.Close())
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrClosed)
		return nil
	}), ErrClosed)
	_, err := ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
}

// In its lane a single sender does say so, and is waited for.
func TestWindowStaysOpenInSendFunc(t *testing.T) {
	for _, fails := range []error{nil, errors.New("no value")} {
		ch := openTest[int64](t, WithCapacity(2), WithSingleSender())
		if ch.Sender.h.send.bar.Load() != 0 {
			t.Skip("no lane here: under the race detector, or membarrier is not allowed")
		}
		got := make(chan error, 1)
		require.Equal(t, fails, ch.SendFunc(t.Context(), func(v *int64) error {
			require.NoError(t, ch.Close())
			_, err := ch.TryRecv()
			require.ErrorIs(t, err, ErrEmpty, "a Send under way may still win")
			parking(t, ch.Receiver.h, func() { _, err := ch.Recv(); got <- err })
			*v = 5
			return fails
		}))
		if fails == nil {
			require.NoError(t, <-got)
			_, err := ch.Recv()
			require.ErrorIs(t, err, ErrClosed)
		} else {
			require.ErrorIs(t, <-got, ErrClosed)
		}
	}
}

func TestRendezvous(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(0))
	require.Equal(t, 0, ch.Cap())
	require.ErrorIs(t, ch.TrySend(1), ErrFull, "no receiver waits")
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)

	other := again(t, ch)
	for _, r := range []*Chan[int64]{ch, other} {
		got := make(chan int64)
		go func() { v, _ := r.Recv(); got <- v }()
		until(t, "TrySend finds the receiver", func() bool { return ch.TrySend(7) == nil })
		require.Equal(t, int64(7), <-got)
		require.ErrorIs(t, ch.TrySend(1), ErrFull)
	}

	sent := make(chan error, 1)
	parked := ch.Stats().Parked
	go func() { sent <- ch.Send(8) }()
	until(t, "the offer stands", func() bool { return ch.Stats().Parked > parked })
	require.Empty(t, sent, "a Send waits for its Recv")
	v, err := other.TryRecv()
	require.NoError(t, err)
	require.Equal(t, int64(8), v)
	require.NoError(t, <-sent)

	ctx, cancel := context.WithCancel(t.Context())
	parked = ch.Stats().Parked
	go func() { sent <- ch.SendContext(ctx, 9) }()
	until(t, "the offer stands", func() bool { return ch.Stats().Parked > parked })
	cancel()
	require.Equal(t, context.Canceled, <-sent)
	_, err = other.TryRecv()
	require.ErrorIs(t, err, ErrEmpty, "the offer was taken back")
	require.Zero(t, ch.Len())
}

// waitsForOutcome says whether a poster waits for what becomes of its offer, which it wants back.
func waitsForOutcome(h *handle) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.send.posters.first != nil && h.send.posters.first.kind == waitOutcome
}

// A cancelled Send whose value is being read waits for the outcome.
func TestRendezvousCancelWhileRead(t *testing.T) {
	for _, taken := range []bool{true, false} {
		ch := openTest[int64](t, WithCapacity(0))
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() { sent <- ch.SendContext(ctx, 9) }()
		bad := errors.New("bad")
		err := ch.RecvFunc(t.Context(), func(*int64) error {
			cancel()
			until(t, "the sender has seen the cancel", func() bool { return waitsForOutcome(ch.Sender.h) })
			require.Empty(t, sent)
			if taken {
				return nil
			}
			return bad
		})
		if taken {
			require.NoError(t, err)
			require.NoError(t, <-sent, "it was received")
		} else {
			require.Equal(t, bad, err)
			require.Equal(t, context.Canceled, <-sent)
		}
		_, err = ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty)
	}
}

func TestDetach(t *testing.T) {
	for _, c := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(c))
		dir := ch.Sender.h.opts.dir
		if c > 0 {
			require.NoError(t, ch.Send(1))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { assert.ErrorIs(t, ch.Send(2), ErrDetached) })
		}
		until(t, "all are parked", func() bool { return ch.Stats().Parked >= 4 })
		require.NoError(t, ch.Detach())
		wg.Wait()
		require.ErrorIs(t, ch.Detach(), ErrDetached)
		require.ErrorIs(t, ch.Send(1), ErrDetached)
		require.ErrorIs(t, ch.TrySend(1), ErrDetached)
		_, err := ch.Recv()
		require.ErrorIs(t, err, ErrDetached)
		_, err = ch.TryRecv()
		require.ErrorIs(t, err, ErrDetached)
		require.ErrorIs(t, ch.Close(), ErrDetached)
		require.Equal(t, c, ch.Cap())
		require.Zero(t, ch.Len())
		require.Equal(t, "test", ch.Stats().Name)

		ch, err = Open[int64]("test", WithDir(dir), WithAttach())
		require.NoError(t, err)
		require.Equal(t, c, ch.Len(), "the channel went on")
		if c > 0 {
			_, err = ch.Recv()
			require.NoError(t, err)
		}
		for range 4 {
			wg.Go(func() { _, err := ch.Recv(); assert.ErrorIs(t, err, ErrDetached) })
		}
		until(t, "all are parked", func() bool { return ch.Stats().Parked >= 4 })
		require.NoError(t, ch.Detach())
		wg.Wait()
	}
}

// Detach in the middle of a call: the call finishes what it does, then the handle goes.
func TestDetachInTheMiddle(t *testing.T) {
	ch := openTest[int64](t)
	watcher := again(t, ch)
	require.NoError(t, ch.SendFunc(t.Context(), func(v *int64) error {
		require.NoError(t, ch.Detach())
		*v = 3
		return nil
	}))
	v, err := watcher.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(3), v)
	require.Equal(t, 1, watcher.Stats().Senders)
}

// The halves of a Chan are let go one by one.
func TestDetachHalves(t *testing.T) {
	ch := openTest[int64](t, WithSingleSender())
	require.NoError(t, ch.Send(1))
	require.NoError(t, ch.Sender.Detach())
	require.ErrorIs(t, ch.Send(2), ErrDetached)
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
	s, err := OpenSender[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.NoError(t, err, "the single role is free again")
	require.NoError(t, s.Send(2))
	require.NoError(t, s.Detach())
	require.NoError(t, ch.Close(), "by the half that is left")
	require.Equal(t, 1, ch.Receiver.Len())
}

func TestSingleRoles(t *testing.T) {
	ch := openTest[int64](t, WithSingleSender(), WithSingleReceiver())
	dir := WithDir(ch.Sender.h.opts.dir)
	_, err := OpenSender[int64]("test", dir)
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "another handle of this process")
	_, err = OpenReceiver[int64]("test", dir, WithSingleReceiver())
	require.ErrorIs(t, err, ErrBusy)
	for i := range 100 {
		require.NoError(t, ch.Send(int64(i)))
	}
	require.NoError(t, ch.Detach())
	s, err := OpenSender[int64]("test", dir)
	require.NoError(t, err)
	require.NoError(t, s.Send(100))
	r, err := OpenReceiver[int64]("test", dir)
	require.NoError(t, err)
	for i := range 101 {
		v, err := r.Recv()
		require.NoError(t, err)
		require.Equal(t, int64(i), v)
	}
	require.NoError(t, s.Detach())
	require.NoError(t, r.Detach())
}

func TestOpenChecksOptions(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(8))
	dir := WithDir(ch.Sender.h.opts.dir)
	for what, c := range map[string]struct {
		opt  Option
		want string
	}{
		"capacity": {WithCapacity(9), "the capacity is 9 here, 8 in the channel that pid"},
		"sender":   {WithSingleSender(), "the sender's role is single here, for many"},
		"receiver": {WithSingleReceiver(), "the receiver's role is single here, for many"},
	} {
		_, err := Open[int64]("test", dir, c.opt)
		require.ErrorIs(t, err, ErrMismatch, what)
		var m *MismatchError
		require.ErrorAs(t, err, &m)
		require.Equal(t, "test", m.Channel)
		require.Equal(t, os.Getpid(), m.PID)
		require.ErrorContains(t, err, c.want)
	}
	_, err := Open[int64]("test", dir, WithCreate())
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = Open[int64]("other", dir, WithAttach())
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, bad := range []Option{WithCapacity(-1), WithMode(0o1777), WithMode(0o400), WithWait(7)} {
		_, err = Open[int64]("other", dir, bad)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	_, err = Open[int64]("other", dir, WithCreate(), WithAttach())
	require.ErrorIs(t, err, fs.ErrInvalid)
	for _, name := range []string{"", "a/b", "a\x00b", strings.Repeat("x", 201)} {
		_, err = Open[int64](name, dir)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
	}
	_, err = Open[int64]("other", WithDir(t.TempDir()+"/none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	same, err := Open[int64]("test", nil, dir, nil)
	require.NoError(t, err, "an option that is nil changes nothing")
	require.NoError(t, same.Detach())
	unnamed, err := New[int64](nil)
	require.NoError(t, err)
	require.NoError(t, unnamed.Detach())
	_, err = Open[[1 << 15]byte]("other", dir, WithCapacity(1<<30))
	require.Error(t, err)
	_, err = Open[int64]("other", dir, WithCapacity(1<<30+1))
	require.ErrorIs(t, err, ErrTooLarge)
}

// Every error that a handle can give names its channel and says what to do.
func TestErrorTexts(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1))
	zero := openTest[int64](t, WithCapacity(0))
	say := map[string]error{}
	_, say["empty"] = ch.TryRecv()
	require.NoError(t, ch.Send(1))
	say["full"] = ch.TrySend(1)
	say["no receiver"] = zero.TrySend(1)
	require.NoError(t, ch.Close())
	say["send closed"] = ch.Send(1)
	say["close closed"] = ch.Close()
	_, err := ch.Recv()
	require.NoError(t, err)
	_, say["recv closed"] = ch.Recv()
	require.NoError(t, ch.Detach())
	say["detached"] = ch.Send(1)
	_, say["mismatch"] = Open[int32]("test", WithDir(zero.Sender.h.opts.dir))
	_, say["type"] = Open[string]("test")
	_, say["exists"] = Open[int64]("test", WithDir(zero.Sender.h.opts.dir), WithCreate())
	_, say["missing"] = Open[int64]("test", WithDir(t.TempDir()), WithAttach())
	for what, err := range say {
		require.Error(t, err, what)
		text := err.Error()
		assert.Contains(t, text, `channel "test"`, what)
		assert.Contains(t, text, "; ", "%s: what to do", what)
		t.Logf("%-12s %s", what, text)
	}
}

func TestDisconnect(t *testing.T) {
	for _, c := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(c))
		dir := WithDir(ch.Sender.h.opts.dir)
		r, err := OpenReceiver[int64]("test", dir, WithDisconnect())
		require.NoError(t, err)
		s, err := OpenSender[int64]("test", dir, WithDisconnect())
		require.NoError(t, err)
		if c == 1 {
			require.NoError(t, s.Send(1))
		}
		require.NoError(t, ch.Detach())
		result := make(chan error, 1)
		if c == 0 {
			go func() { _, err := r.Recv(); result <- err }()
			require.NoError(t, s.Send(2))
			require.NoError(t, <-result)
		} else {
			v, err := r.Recv()
			require.NoError(t, err)
			require.Equal(t, int64(1), v)
		}
		parking(t, r.h, func() { _, err := r.Recv(); result <- err })
		require.Empty(t, result, "a live sender holds it")
		require.NoError(t, s.Detach())
		err = <-result
		require.ErrorIs(t, err, ErrDisconnected)
		require.NoError(t, r.Detach())

		s, err = OpenSender[int64]("test", dir, WithDisconnect())
		require.NoError(t, err)
		if c == 1 {
			require.NoError(t, s.Send(1), "there is space")
		}
		require.ErrorIs(t, s.Send(2), ErrDisconnected)
		require.NoError(t, s.Detach())
	}
}

func TestWaits(t *testing.T) {
	for _, w := range []Wait{Adaptive, Spin, Park} {
		for _, c := range []int{0, 1, 16} {
			t.Run(fmt.Sprintf("%d %d", w, c), func(t *testing.T) {
				a := openTest[int64](t, WithCapacity(c), WithWait(w))
				b := again(t, a, WithWait(w))
				var wg sync.WaitGroup
				const n = 2000
				wg.Go(func() {
					for i := range n {
						assert.NoError(t, a.Send(int64(i)))
					}
				})
				for i := range n {
					v, err := b.Recv()
					require.NoError(t, err)
					require.Equal(t, int64(i), v)
				}
				wg.Wait()
			})
		}
	}
}

func TestTooManyPeers(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1))
	var all []*Chan[int64]
	for {
		other, err := Open[int64]("test", WithDir(ch.Sender.h.opts.dir))
		if err != nil {
			require.ErrorIs(t, err, ErrTooManyPeers)
			break
		}
		all = append(all, other)
	}
	require.Len(t, all, maxPeers-1)
	require.NoError(t, all[7].Detach())
	other, err := Open[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.NoError(t, err)
	all[7] = other
	for _, c := range all {
		require.NoError(t, c.Detach())
	}
}

func TestZeroSize(t *testing.T) {
	ch := openTest[struct{}](t, WithCapacity(2))
	require.NoError(t, ch.Send(struct{}{}))
	require.NoError(t, ch.Send(struct{}{}))
	require.ErrorIs(t, ch.TrySend(struct{}{}), ErrFull)
	_, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, 1, ch.Len())
}

// Values of any size come whole, and beside each other.
func TestSizes(t *testing.T) {
	sizes[[1]byte](t)
	sizes[[7]byte](t)
	sizes[uint64](t)
	sizes[[9]byte](t)
	sizes[[3]uint32](t)
	sizes[[2]uint64](t)
	sizes[[5]uint32](t)
	sizes[[7]uint64](t)
	sizes[[8]uint64](t)
	sizes[[9]uint64](t)
	sizes[[65]byte](t)
	sizes[[15]uint64](t)
	sizes[[16]uint64](t)
	sizes[[17]uint64](t)
	sizes[[130]byte](t)
	sizes[[1000]byte](t)
}

func sizes[T comparable](t *testing.T) {
	for kind, opts := range kinds {
		ch := openTest[T](t, append(opts, WithCapacity(2))...)
		next := byte(0)
		value := func() (v T) {
			for i := range unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)) {
				next++
				*(*byte)(unsafe.Add(unsafe.Pointer(&v), i)) = next
			}
			return v
		}
		for range 3 { // From one slot to the other.
			sent := []T{value(), value(), value(), value()}
			require.NoError(t, ch.Send(sent[0]))
			require.NoError(t, ch.TrySend(sent[1]))
			got := make([]T, 4)
			var err error
			got[0], err = ch.Recv()
			require.NoError(t, err)
			require.NoError(t, ch.SendContext(t.Context(), sent[2]))
			got[1], err = ch.TryRecv()
			require.NoError(t, err)
			_, err = ch.SendBatch(t.Context(), sent[3:])
			require.NoError(t, err)
			n, err := ch.RecvBatch(t.Context(), got[2:])
			require.NoError(t, err)
			require.Equal(t, 2, n)
			require.Equal(t, sent, got, "%T, %s", sent[0], kind)
		}
	}
}

// No call of the hot path allocates.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for kind, opts := range kinds {
		ch := openTest[tick](t, append(opts, WithCapacity(8))...)
		ctx := t.Context()
		batch := make([]tick, 4)
		fill, use := func(*tick) error { return nil }, func(*tick) error { return nil }
		for what, call := range map[string]func(){
			"Send Recv":               func() { _ = ch.Send(tick{}); _, _ = ch.Recv() },
			"SendContext RecvContext": func() { _ = ch.SendContext(ctx, tick{}); _, _ = ch.RecvContext(ctx) },
			"TrySend TryRecv":         func() { _ = ch.TrySend(tick{}); _, _ = ch.TryRecv() },
			"TryRecv on empty":        func() { _, _ = ch.TryRecv() },
			"SendBatch RecvBatch":     func() { _, _ = ch.SendBatch(ctx, batch); _, _ = ch.RecvBatch(ctx, batch) },
			"SendFunc RecvFunc":       func() { _ = ch.SendFunc(ctx, fill); _ = ch.RecvFunc(ctx, use) },
		} {
			assert.Zero(t, testing.AllocsPerRun(100, call), "%s: %s", kind, what)
		}
	}
	ping, pong := openTest[int64](t, WithCapacity(1), WithWait(Park)), openTest[int64](t, WithCapacity(1), WithWait(Park))
	go func() {
		for v := range ping.All() {
			_ = pong.Send(v)
		}
	}()
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = ping.Send(1); _, _ = pong.Recv() }), "parked, there and back")
	require.NoError(t, ping.Close())
}
