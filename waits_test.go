package shmchan

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// outside is what is to be seen of a test's channel from outside.
func outside(t *testing.T, h *handle) Stats {
	t.Helper()
	info, err := Inspect("test", WithDir(h.opts.dir))
	require.NoError(t, err)
	return info.Stats
}

func TestWaitsAreCounted(t *testing.T) {
	noBackstop(t) // It may wake somebody before he whose wake is counted.
	recv := openTest[int64](t, WithWait(Park), WithCapacity(4))
	send := again(t, recv, WithWait(Park))
	for i := range uint64(3) {
		done := make(chan error, 1)
		go func() { _, err := recv.Recv(); done <- err }()
		until(t, "the receiver is parked", func() bool { return outside(t, recv.Receiver.h).Recv.Parks == i+1 })
		before := outside(t, recv.Receiver.h).Recv.Blocked
		until(t, "its time is to be seen from outside while it is parked", func() bool {
			require.True(t, recv.Receiver.h.lookAfter(), "as the backstop does")
			return outside(t, recv.Receiver.h).Recv.Blocked > before
		})
		require.NoError(t, send.Send(1))
		require.NoError(t, <-done)
	}
	for range 4 {
		require.NoError(t, send.Send(1))
	}
	done := make(chan error, 1)
	go func() { done <- send.Send(1) }()
	until(t, "the sender is parked", func() bool { return outside(t, recv.Receiver.h).Send.Parks == 1 })
	_, err := recv.Recv()
	require.NoError(t, err)
	require.NoError(t, <-done)

	r, s, o := recv.Stats(), send.Stats(), outside(t, recv.Receiver.h)
	require.Equal(t, uint64(3), r.OwnRecv.Parks)
	require.Equal(t, uint64(3), r.Parked)
	require.Positive(t, r.OwnRecv.Blocked)
	require.Zero(t, r.OwnRecv.SpinsPaid+r.OwnRecv.SpinsVain, "Park never spins")
	require.Equal(t, uint64(1), r.OwnSend.Wakes, "the receiver woke the sender")
	require.Zero(t, r.OwnSend.Parks)
	require.Equal(t, uint64(3), s.OwnRecv.Wakes, "the sender woke the receiver three times")
	require.Equal(t, uint64(1), s.OwnSend.Parks)
	require.Zero(t, s.OwnRecv.Parks)

	require.Equal(t, r.OwnRecv.Blocked+s.OwnRecv.Blocked, o.Recv.Blocked)
	require.Equal(t, Waits{Blocked: o.Recv.Blocked, Parks: 3, Wakes: 3, Saved: 8 - 3}, o.Recv)
	require.Equal(t, Waits{Blocked: s.OwnSend.Blocked, Parks: 1, Wakes: 1, Saved: 4 - 1}, o.Send)
	require.Equal(t, o.Recv, recv.Stats().Recv)
	require.Equal(t, o.Send, send.Stats().Send)
	require.Zero(t, o.OwnSend)
	require.Zero(t, o.OwnRecv)
	require.Zero(t, o.Parked)
}

// What a handle has counted stays when it detaches, once, also if another has its entry afterwards.
func TestCountsStay(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(4))
	total := [2]Waits{}
	for range 5 {
		var hs [2]*Chan[int64]
		for i := range hs {
			hs[i] = again(t, ch, withSomeWait(i))
		}
		var all sync.WaitGroup
		all.Go(func() {
			for range 500 {
				require.NoError(t, hs[0].Send(1))
			}
		})
		all.Go(func() {
			for range 500 {
				_, err := hs[1].Recv()
				require.NoError(t, err)
			}
		})
		all.Wait()
		for _, h := range hs {
			require.NoError(t, h.Detach())
			for d, s := range []*side{&h.Sender.h.send, &h.Sender.h.recv} {
				total[d] = total[d].plus(s.ownWaits())
			}
		}
		for d, s := range []*side{&ch.Sender.h.send, &ch.Sender.h.recv} {
			total[d] = total[d].plus(s.ownWaits())
		}
		o := outside(t, ch.Sender.h)
		o.Send.Saved, o.Recv.Saved = 0, 0
		require.Equal(t, total, [2]Waits{o.Send, o.Recv})
	}
	require.NotZero(t, total[0].Wakes+total[1].Wakes+total[0].SpinsPaid+total[1].SpinsPaid)
}

// withSomeWait has one side park and the other one wait as by default.
func withSomeWait(i int) Option { return WithWait([]Wait{Park, Adaptive}[i]) }

func (w Waits) plus(o Waits) Waits {
	return Waits{w.Blocked + o.Blocked, w.Parks + o.Parks, w.SpinsPaid + o.SpinsPaid, w.SpinsVain + o.SpinsVain, w.Wakes + o.Wakes, 0}
}

// What a process that is killed has told stays.
func TestCountsOfTheDeadStay(t *testing.T) {
	ch := openTest[message](t, WithCapacity(4))
	for i := range uint64(3) {
		c := start(t, "holder", ch.Sender.h.opts.dir, "parked")
		require.Equal(t, "in", c.line())
		until(t, "it is parked", func() bool { return outside(t, ch.Sender.h).Recv.Parks > i })
		until(t, "its time is told", func() bool { return outside(t, ch.Sender.h).Recv.Blocked > 0 })
		before := outside(t, ch.Sender.h).Recv
		c.kill()
		again(t, ch) // Who joins clears it away.
		after := outside(t, ch.Sender.h)
		require.Equal(t, i+1, after.Recovered)
		require.GreaterOrEqual(t, after.Recv.Blocked, before.Blocked)
		require.Equal(t, i+1, after.Recv.Parks)
	}
}

// Spins that paid are told 64 at a time, and the rest by Detach and by Stats.
func TestSpinsAreTold(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(64), WithSingleSender(), WithSingleReceiver())
	h := ch.Sender.h
	seen := func() uint64 { return outside(t, h).Recv.SpinsPaid }
	for range tellAfter - 1 {
		h.recv.spun(0, true)
	}
	require.Zero(t, seen())
	h.recv.spun(0, true)
	require.Equal(t, uint64(tellAfter), seen())
	h.recv.spun(0, true)
	require.Equal(t, uint64(tellAfter), seen())
	require.Equal(t, uint64(tellAfter+1), ch.Stats().OwnRecv.SpinsPaid)
	require.Equal(t, uint64(tellAfter+1), seen())
	h.recv.spun(0, true)
	other := openOutside(t, h)
	require.NoError(t, ch.Detach())
	require.Equal(t, uint64(tellAfter+2), other().Recv.SpinsPaid)
}

// openOutside is outside for a channel whose handle will be gone.
func openOutside(t *testing.T, h *handle) func() Stats {
	dir := h.opts.dir
	return func() Stats {
		info, err := Inspect("test", WithDir(dir))
		require.NoError(t, err)
		return info.Stats
	}
}

// Spinning that pays, and that does not, in both ways to wait that spin.
func TestSpinsAreCounted(t *testing.T) {
	if !canSpin() {
		t.Skip("on one CPU nobody spins")
	}
	for _, w := range []Wait{Adaptive, Spin} {
		ch := openTest[int64](t, WithCapacity(1), WithWait(w))
		s := &ch.Sender.h.recv
		looks := 0
		if w == Adaptive {
			require.True(t, s.spinUntil(func() bool { looks++; return looks > 10 }))
			own := ch.Stats().OwnRecv
			require.Equal(t, Waits{Blocked: own.Blocked, SpinsPaid: 1}, own)
			require.Positive(t, own.Blocked)
			require.False(t, s.spinUntil(func() bool { return false }))
			require.Equal(t, uint64(1), ch.Stats().OwnRecv.SpinsVain)
			require.Greater(t, ch.Stats().OwnRecv.Blocked, own.Blocked)
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- second(ch.RecvContext(ctx)) }()
		until(t, "it has spun", func() bool { return ch.Stats().OwnRecv.Blocked > 0 })
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		own := ch.Stats().OwnRecv
		require.Equal(t, Waits{Blocked: own.Blocked}, own, "it never parks, and gives no spin up")
		require.Positive(t, own.Blocked)
		require.Equal(t, own.Blocked, outside(t, ch.Sender.h).Recv.Blocked)
	}
}

// A call whose rounds take much longer than spinning should, as where thousands spin at once, parks, and the time that
// spinning has paid lately stays what it was.
func TestSpinsInACrowd(t *testing.T) {
	if !canSpin() {
		t.Skip("on one CPU nobody spins")
	}
	ch := openTest[int64](t, WithCapacity(1))
	s := &ch.Sender.h.recv
	s.spins.Store(1000)
	looks := 0
	require.False(t, s.spinUntil(func() bool {
		for began := time.Now(); time.Since(began) <= crowdTime/64; {
		}
		looks++
		return false
	}))
	require.Equal(t, 128, looks)
	require.Equal(t, int32(1000), s.spins.Load())
	require.Equal(t, uint64(1), ch.Stats().OwnRecv.SpinsVain)
}

func TestSelectsAreCounted(t *testing.T) {
	a := openTest[int64](t, WithWait(Park))
	b := openNamed[int64](t, memDir(t), "other", WithWait(Park))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var x, y int64
	go func() { _, err := Select(ctx, RecvCase(a.Receiver, &x), RecvCase(b.Receiver, &y)); done <- err }()
	until(t, "parked", func() bool { return a.Stats().OwnRecv.Parks == 1 && b.Stats().OwnRecv.Parks == 1 })
	until(t, "the time counts", func() bool { return a.Stats().OwnRecv.Blocked > 0 && b.Stats().OwnRecv.Blocked > 0 })
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	was := a.Stats().OwnRecv
	require.Equal(t, was, a.Stats().OwnRecv, "nobody is parked any more")
}

func TestHighWater(t *testing.T) {
	high := func(ch *Chan[int64]) int { return outside(t, ch.Sender.h).HighWater }
	fill := func(ch *Chan[int64], n int) {
		for range n {
			require.NoError(t, ch.Send(1))
		}
	}
	empty := func(ch *Chan[int64]) {
		for ch.Sender.h.length() > 0 {
			_, err := ch.Recv()
			require.NoError(t, err)
		}
	}
	t.Run("looked at", func(t *testing.T) {
		ch := openTest[int64](t, WithCapacity(100))
		fill(ch, 3)
		require.Equal(t, 3, high(ch), "what is there when it is looked at")
		_, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, 2, high(ch), "one who only looks leaves nothing behind")
		fill(ch, 5)
		require.Equal(t, 7, ch.Len())
		empty(ch)
		require.Equal(t, 7, high(ch))
		fill(ch, 20)
		require.Equal(t, 20, ch.Stats().HighWater)
		empty(ch)
		require.Equal(t, 20, ch.Stats().HighWater)
	})
	t.Run("full", func(t *testing.T) {
		for name, f := range map[string]func(ch *Chan[int64]) error{
			"Send": func(ch *Chan[int64]) error {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				parking(t, ch.Sender.h, func() { done <- ch.SendContext(ctx, 1) })
				cancel()
				return <-done
			},
			"TrySend": func(ch *Chan[int64]) error { return ch.TrySend(1) },
		} {
			ch := openTest[int64](t, WithCapacity(100))
			fill(ch, 100)
			require.Error(t, f(ch), name)
			for range 100 {
				_, err := ch.Recv()
				require.NoError(t, err)
			}
			require.Equal(t, 100, high(ch), name)
		}
	})
	t.Run("a burst to who was parked", func(t *testing.T) {
		for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
			for _, n := range []int{1, 5, 63, 1000} {
				ch := openTest[int64](t, append(opts, WithCapacity(1024), WithWait(Park))...)
				h := ch.Sender.h
				fill(ch, n)
				h.noteBurst()
				at := high(ch)
				require.Equal(t, n, at, "Inspect sees it itself")
				was := int(h.ctl.high.Load())
				require.LessOrEqual(t, was, n)
				require.GreaterOrEqual(t, was, min(n, n-depthSteps+1), "hints lag by so much")
			}
		}
	})
	t.Run("without a buffer", func(t *testing.T) {
		ch := openTest[int64](t, WithCapacity(0))
		require.ErrorIs(t, ch.TrySend(1), ErrFull)
		require.Zero(t, high(ch))
	})
}

// A counter that goes back, if only for a moment, reads as one that began anew.
func TestCountsNeverGoBack(t *testing.T) {
	for name, opts := range map[string][]Option{"one slot": {WithCapacity(1)}, "holes": {WithCapacity(3)}, "rendezvous": {WithCapacity(0)}} {
		t.Run(name, func(t *testing.T) {
			ch := openTest[int64](t, append(opts, WithWait(Park))...)
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			defer all.Wait()
			defer cancel()
			no := errors.New("no")
			const givingUp = 2 // senders
			for range givingUp {
				all.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						_ = ch.SendFunc(ctx, func(*int64) error { return no })
						limit := 50 * time.Microsecond
						if i%8 == 0 { // This one is sent, however slow the machine is.
							limit = time.Hour
						}
						short, stop := context.WithTimeout(ctx, limit)
						_ = ch.SendContext(short, 1)
						stop()
					}
				})
			}
			all.Go(func() {
				for ctx.Err() == nil {
					_, _ = ch.RecvContext(ctx)
				}
			})
			var last Stats
			for began := time.Now(); time.Since(began) < 500*time.Millisecond || last.Sent == 0; {
				st := ch.Stats()
				require.GreaterOrEqual(t, st.Sent+givingUp, last.Sent)
				require.GreaterOrEqual(t, st.Received+givingUp, last.Received)
				require.GreaterOrEqual(t, st.Abandoned, last.Abandoned)
				require.GreaterOrEqual(t, st.Recv.Blocked, last.Recv.Blocked)
				last = st
			}
		})
	}
}

// Positions come round after 2^40 values; counts do not.
func TestCountsBeyondPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ctl control
		r := ring{ctl: &ctl}
		start := rapid.Uint64Range(0, posMask).Draw(t, "start")
		at := start
		ctl.base.Store(at)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			at += rapid.Uint64Range(0, 1<<39-1<<33).Draw(t, "sent")
			ctl.tail.Store(at & posMask)
			require.Equal(t, at-start, r.since(start, at&posMask))
			r.noteBase()
			require.Equal(t, at-start, r.since(start, at&posMask))
		}
	})
}

func TestSentBeyondPositions(t *testing.T) {
	ch := openTest[int64](t, withStart(posMask-1), WithCapacity(2))
	for i := range uint64(10) {
		require.Equal(t, i, ch.Stats().Sent)
		require.NoError(t, ch.Send(1))
		_, err := ch.Recv()
		require.NoError(t, err)
	}
	require.Equal(t, uint64(10), ch.Stats().Received)
}

// Whoever looks from outside sees at once that a call is parked, that it goes on, for how long it was, and who woke it, though the handle is not
// asked, nor anybody comes by regularly.
func TestWaitsAreToldAtOnce(t *testing.T) {
	noBackstop(t)
	recv := openTest[int64](t, WithWait(Park), WithCapacity(4))
	send := again(t, recv, WithWait(Park))
	h := recv.Receiver.h
	done := make(chan error, 1)
	began := time.Now()
	go func() { _, err := recv.Recv(); done <- err }()
	until(t, "it is parked", func() bool { return outside(t, h).Recv.Parks == 1 })
	parked := time.Now()
	for time.Since(parked) < 5*time.Millisecond {
	}
	least := time.Since(parked)
	require.NoError(t, send.Send(1))
	require.NoError(t, <-done)
	o := outside(t, h)
	require.GreaterOrEqual(t, o.Recv.Blocked, least)
	require.LessOrEqual(t, o.Recv.Blocked, time.Since(began))
	require.Equal(t, uint64(1), o.Recv.Wakes)

	// What each side has not told yet, Stats tells.
	h.send.spun(0, true)
	recv.Stats()
	require.Equal(t, uint64(1), outside(t, h).Send.SpinsPaid)
}

// Of two calls that are parked at the same time each counts its time, once.
func TestBlockedTimeIsTheSumOverCalls(t *testing.T) {
	noBackstop(t)
	recv := openTest[int64](t, WithWait(Park), WithCapacity(4))
	send := again(t, recv, WithWait(Park))
	own := func() time.Duration { return recv.Stats().OwnRecv.Blocked }
	for range 3 {
		before, began := own(), time.Now()
		done := make(chan error, 2)
		var both time.Time
		for i := range 2 {
			parking(t, recv.Receiver.h, func() { _, err := recv.Recv(); done <- err })
			if both = time.Now(); i == 0 {
				for time.Since(both) < 3*time.Millisecond {
				}
			}
		}
		for time.Since(both) < 3*time.Millisecond {
		}
		least := 2*time.Since(both) + 3*time.Millisecond
		for range 2 {
			require.NoError(t, send.Send(1))
			require.NoError(t, <-done)
		}
		require.GreaterOrEqual(t, own()-before, least)
		require.LessOrEqual(t, own()-before, 2*time.Since(began))
		was := own()
		require.Equal(t, was, own(), "nobody is parked")
	}
}

// The time of spins is reckoned from their rounds: as many as there are at most take spinTime.
func TestSpinTimeIsReckoned(t *testing.T) {
	ch := openTest[int64](t)
	s := &ch.Sender.h.recv
	most := uint64(maxSpins())
	s.tally.rounds.Store(7*most + most/4)
	got := time.Duration(s.count(countBlocked))
	require.Equal(t, 7*spinTime+spinTime*time.Duration(most/4)/time.Duration(most), got) // most/4 need not be a quarter of few.
}

// A receiver that goes on after it was parked notes what has come meanwhile: also what others have in hand, and wherever the head was last seen.
func TestBurstsAreNoted(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(100))
	h := ch.Sender.h
	start := h.headHint()
	for range 10 {
		require.NoError(t, ch.Send(1))
	}
	for range 4 {
		_, err := ch.Recv()
		require.NoError(t, err)
	}
	require.NoError(t, ch.RecvFunc(context.Background(), func(*int64) error {
		h.ctl.high.Store(0)
		h.ctl.head.Store(start) // A hint may be that old.
		h.noteBurst()
		require.Equal(t, uint64(6), h.ctl.high.Load())
		return nil
	}))
	require.Equal(t, 6, outside(t, h).HighWater)
}
