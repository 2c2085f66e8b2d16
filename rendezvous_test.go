package shmchan

// The rendezvous, and the wakes between handles that a hand-over needs. The backstop is off, so
// that it cannot stand in for a wake that is missing.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A parked receiver on another handle is woken by every form of send, a parked sender by every form of
// receive; with the handle's index in each word of the flags.
func TestEveryCallWakes(t *testing.T) {
	noBackstop(t)
	sends := map[string]func(ch *Chan[int64]) error{
		"send":  func(ch *Chan[int64]) error { return ch.Send(1) },
		"try":   func(ch *Chan[int64]) error { return ch.TrySend(1) },
		"batch": func(ch *Chan[int64]) error { _, err := ch.SendBatch(forever, []int64{1}); return err },
		"func":  func(ch *Chan[int64]) error { return ch.SendFunc(forever, func(v *int64) error { *v = 1; return nil }) },
	}
	recvs := map[string]func(ch *Chan[int64]) error{
		"recv":  func(ch *Chan[int64]) error { _, err := ch.Recv(); return err },
		"try":   func(ch *Chan[int64]) error { _, err := ch.TryRecv(); return err },
		"batch": func(ch *Chan[int64]) error { _, err := ch.RecvBatch(forever, make([]int64, 1)); return err },
		"func":  func(ch *Chan[int64]) error { return ch.RecvFunc(forever, func(*int64) error { return nil }) },
	}
	for _, capacity := range []int{0, 1, 2} {
		ch := openTest[int64](t, WithCapacity(capacity))
		others := []*Chan[int64]{}
		for range 66 { // The last ones' flags are in the second word.
			others = append(others, again(t, ch, WithWait(Park)))
		}
		for _, other := range []*Chan[int64]{others[0], others[62], others[63], others[65]} {
			done := make(chan error)
			for name, send := range sends {
				parking(t, other.Sender.h, func() { _, err := other.Recv(); done <- err })
				require.NoError(t, send(ch), name)
				require.NoError(t, <-done, name)
			}
			for name, recv := range recvs {
				for range capacity {
					require.NoError(t, ch.TrySend(1))
				}
				parking(t, other.Sender.h, func() { done <- other.Send(1) })
				require.NoError(t, recv(ch), name)
				require.NoError(t, <-done, name)
				for range capacity {
					_, err := ch.TryRecv()
					require.NoError(t, err)
				}
			}
		}
		assert.Zero(t, ch.Stats().Waiting)
	}
}

// An offer that is taken back makes room for the next sender, who is woken for it, and counts as none.
func TestWithdrawnOffer(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(0), WithWait(Park))
	first, second := again(t, ch, WithWait(Park)), again(t, ch, WithWait(Park))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, done := make(chan error), make(chan error)
	parking(t, first.Sender.h, func() { cancelled <- first.SendContext(ctx, 1) })
	parking(t, second.Sender.h, func() { done <- second.Send(2) })
	before := second.Stats().Parked
	cancel()
	require.ErrorIs(t, <-cancelled, context.Canceled)
	until(t, "it was woken, has made its offer, and waits for a taker", func() bool { return second.Stats().Parked > before })
	v, err := ch.TryRecv()
	require.NoError(t, err)
	require.Equal(t, int64(2), v)
	require.NoError(t, <-done)
	st := ch.Stats()
	assert.Equal(t, []uint64{1, 1, 1}, []uint64{st.Sent, st.Received, st.Abandoned})
}

// TrySend does not count on a receiver that died while it waited, but on one of its own handle.
func TestTrySendToTheDead(t *testing.T) {
	noBackstop(t)
	ch := openTest[message](t, WithCapacity(0), WithWait(Park))
	c := start(t, "holder", ch.Sender.h.opts.dir, "parked")
	require.Equal(t, "in", c.line())
	until(t, "it waits", func() bool { return ch.Sender.h.anyWaiting(receiving) })
	c.kill()
	require.ErrorIs(t, ch.TrySend(newMessage(1, 1)), ErrFull)
	done := make(chan error)
	parking(t, ch.Sender.h, func() { _, err := ch.Recv(); done <- err })
	require.NoError(t, ch.TrySend(newMessage(1, 2)))
	require.NoError(t, <-done)
}

// Without WithDisconnect an offer stands though nobody is there to take it.
func TestOfferWaitsForSomebodyToCome(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(0), WithWait(Park))
	require.NoError(t, ch.Receiver.Detach())
	done := make(chan error)
	parking(t, ch.Sender.h, func() { done <- ch.Send(1) })
	r, err := OpenReceiver[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.NoError(t, err)
	v, err := r.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
	require.NoError(t, <-done)
	require.NoError(t, r.Detach())
}
