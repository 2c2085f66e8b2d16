package shmchan

// RecvChan and SendChan: in an ordinary select, and what becomes of the value in the pump's hands.

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// chanForms are the channels that all of this is tried on.
var chanForms = map[string][]Option{
	"rendezvous": {WithCapacity(0)},
	"one":        {WithCapacity(1)},
	"seven":      {WithCapacity(7)},
	"single":     {WithCapacity(8), WithSingleSender(), WithSingleReceiver()},
}

func TestOrdinaryChannels(t *testing.T) {
	for name, opts := range chanForms {
		t.Run(name, func(t *testing.T) {
			ch := openTest[message](t, opts...)
			in, out := ch.SendChan(t.Context()), ch.RecvChan(t.Context())
			const n = 2000
			sent, got, timer := uint64(0), uint64(0), time.NewTimer(time.Hour)
			for got < n {
				next := in
				if sent == n {
					next = nil
				}
				select {
				case next <- newMessage(0, sent):
					sent++
				case m, ok := <-out:
					require.True(t, ok)
					require.Equal(t, newMessage(0, got), m, "in order, each once")
					got++
				case <-timer.C:
					t.Fatal("an hour has gone by")
				}
			}
			require.NoError(t, ch.Close())
			_, ok := <-out
			require.False(t, ok, "closed and drained")
			require.NoError(t, ch.Err())
			<-ch.Done()
			require.NoError(t, ch.SendErr())
		})
	}
}

// held waits until the pump has the value in its hands.
func held(t *testing.T, ch *Chan[int64]) {
	until(t, "the pump has it", func() bool {
		w := ch.Receiver.h.slot(ch.Receiver.h.info.start).Load()
		return wordState(w) == stReading
	})
}

// What the pump has in its hands when ctx ends, or the handle is detached, goes to another.
func TestRecvChanGivesBack(t *testing.T) {
	for _, how := range []string{"cancelled", "detached"} {
		for _, capacity := range []int{0, 1, 3} {
			ch := openTest[int64](t, WithCapacity(capacity))
			other := again(t, ch)
			ctx, cancel := context.WithCancel(t.Context())
			out := other.RecvChan(ctx)
			done := make(chan error, 1)
			go func() { done <- ch.Send(7) }()
			held(t, ch)
			if how == "cancelled" {
				cancel()
			} else {
				require.NoError(t, other.Detach())
			}
			// Nobody may have been at the Go channel.
			v, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, int64(7), v)
			require.NoError(t, <-done)
			_, ok := <-out
			require.False(t, ok)
			if how == "cancelled" {
				require.ErrorIs(t, other.Err(), context.Canceled)
			} else {
				require.ErrorIs(t, other.Err(), ErrDetached)
			}
			cancel()
		}
	}
}

func init() {
	// One with a value in the hands of its pump.
	roles["pump"] = func(args []string) error {
		r, err := OpenReceiver[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		_ = r.RecvChan(context.Background())
		for wordState(r.h.slot(r.h.info.start).Load()) != stReading {
			runtime.Gosched()
		}
		fmt.Println("in")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
}

// The same if the process dies.
func TestRecvChanOfTheDead(t *testing.T) {
	ch := openTest[message](t, WithCapacity(2))
	require.NoError(t, ch.Send(newMessage(0, 7)))
	c := start(t, "pump", ch.Sender.h.opts.dir)
	require.Equal(t, "in", c.line())
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
	result := make(chan message, 1)
	go func() { m, _ := ch.Recv(); result <- m }()
	c.kill()
	require.Equal(t, newMessage(0, 7), <-result)
}

// Err says why the channel was closed, if not by Close.
func TestRecvChanEnds(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2))
	r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", WithDir(ch.Sender.h.opts.dir), WithDisconnect()))
	out := r.RecvChan(forever)
	require.NoError(t, ch.Send(1))
	require.NoError(t, ch.Detach())
	require.Equal(t, int64(1), <-out)
	_, ok := <-out
	require.False(t, ok)
	require.ErrorIs(t, r.Err(), ErrDisconnected)
	require.NoError(t, r.Detach())
	_, ok = <-r.RecvChan(t.Context())
	require.False(t, ok)
	require.ErrorIs(t, r.Err(), ErrDetached)
}

// A value that the Go channel took is sent though ctx has ended, once there is space; no other is taken any more.
func TestSendChanAfterItsContext(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1))
	other := again(t, ch)
	require.NoError(t, ch.Send(0))
	ctx, cancel := context.WithCancel(t.Context())
	in := other.SendChan(ctx)
	in <- 1 // There is no space for it yet.
	cancel()
	for i := range int64(2) {
		v, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v)
	}
	select {
	case in <- 2:
		t.Fatal("taken after ctx has ended")
	case <-time.After(10 * time.Millisecond): // Longer would show no more.
	}
	require.NoError(t, other.SendErr())
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
}

// A value that was taken and that nobody can have any more is lost, and SendErr says so; Done is closed.
func TestSendChanLoses(t *testing.T) {
	for _, how := range []string{"closed", "detached", "deserted"} {
		for _, capacity := range []int{0, 1} {
			ch := openTest[int64](t, WithCapacity(capacity))
			s := must[*Sender[int64]](t)(OpenSender[int64]("test", WithDir(ch.Sender.h.opts.dir), WithDisconnect(), WithWait(Park)))
			for range capacity {
				require.NoError(t, ch.Send(0))
			}
			in := s.SendChan(t.Context())
			in <- 1
			until(t, "parked", func() bool { return s.Stats().Parked > 0 })
			var want error
			switch how {
			case "closed":
				want = ErrClosed
				require.NoError(t, ch.Close())
			case "detached":
				want = ErrDetached
				require.NoError(t, s.Detach())
				<-s.Done()
			default:
				want = ErrDisconnected
				require.NoError(t, ch.Detach())
			}
			<-s.Done()
			until(t, "told", func() bool { return s.SendErr() != nil })
			require.ErrorIs(t, s.SendErr(), want, how)
			select {
			case in <- 2:
				t.Fatal("taken though nothing can be sent")
			default:
			}
			_ = s.Detach()
		}
	}
}

// An idle pump holds no slot, and Done tells of a Close by another handle that nobody waits for.
func TestSendChanIdle(t *testing.T) {
	for _, capacity := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(capacity))
		other := again(t, ch)
		in := other.SendChan(t.Context())
		go func() { _ = ch.Send(1) }()
		v, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, int64(1), v)
		require.NoError(t, ch.Close())
		select {
		case in <- 2:
			// It was taken before the pump was told: then it is lost, and that is said.
			until(t, "told", func() bool { return other.SendErr() != nil })
		case <-other.Done():
		}
		<-other.Done()
	}
}

func init() {
	// One whose SendChan is given values until it takes no more, the last of them in the hands of its pump.
	roles["send-pump"] = func(args []string) error {
		s, err := OpenSender[message]("test", WithDir(args[0]), WithAttach(), WithWait(Park))
		if err != nil {
			return err
		}
		in := s.SendChan(context.Background())
		for seq := range uint64(s.Cap()) + 1 {
			in <- newMessage(0, seq)
		}
		for s.Stats().Parked == 0 { // It waits for space, or for one who takes its offer.
			runtime.Gosched()
		}
		fmt.Println("in")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
}

// When the process dies what its SendChan had taken is in the channel, in order, but for the one value at most that had no space there. The
// offer of a rendezvous is in the channel.
func TestSendChanOfTheDead(t *testing.T) {
	for _, capacity := range []int{0, 1, 3} {
		ch := openTest[message](t, WithCapacity(capacity))
		c := start(t, "send-pump", ch.Sender.h.opts.dir)
		require.Equal(t, "in", c.line())
		c.kill()
		for seq := range uint64(max(1, capacity)) {
			m, err := ch.TryRecv()
			require.NoError(t, err, capacity)
			require.Equal(t, newMessage(0, seq), m, "in order")
		}
		require.ErrorIs(t, second(ch.TryRecv()), ErrEmpty)
		if capacity > 0 { // Nothing is left in its hands that keeps others away.
			for range capacity {
				require.NoError(t, ch.TrySend(message{}))
			}
		}
	}
}
