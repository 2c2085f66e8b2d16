package shmchan

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func hold1(t require.TestingT, r *Receiver[uint64]) *Held {
	v := &Held{}
	require.NoError(t, r.Hold(context.Background(), v))
	return v
}

func number(v *Held) uint64 { return binary.NativeEndian.Uint64(v.Bytes()) }

func TestHoldKeepsSeveralUntilTheyAreDone(t *testing.T) {
	for _, opts := range [][]Option{{}, {WithSingleReceiver(), WithSingleSender()}, {WithChecksum()}, {WithFaultGuard()}} {
		ch, err := Open[uint64]("held", append(opts, WithDir(t.TempDir()), WithCapacity(4), WithHold())...)
		require.NoError(t, err)
		for i := range uint64(4) {
			require.NoError(t, ch.Send(i))
		}
		var hs []*Held
		for i := range uint64(4) {
			v := hold1(t, ch.Receiver)
			require.Equal(t, i, number(v))
			hs = append(hs, v)
		}
		_, err = ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty)
		require.ErrorIs(t, ch.TrySend(9), ErrFull, "what is held is still in the channel")
		require.Equal(t, 4, ch.Len())

		require.NoError(t, hs[1].Done())
		require.ErrorIs(t, ch.TrySend(9), ErrFull, "the position that is due is still held")
		require.NoError(t, hs[0].Done())
		require.NoError(t, ch.TrySend(4))

		id := hs[3].ID()
		require.NoError(t, hs[3].Return())
		require.NoError(t, hs[2].Return())
		for _, want := range []uint64{2, 3, 4} {
			v := hold1(t, ch.Receiver)
			require.Equal(t, want, number(v))
			if want == 3 {
				require.Equal(t, id, v.ID(), "a value keeps its name")
			}
			require.NoError(t, v.Done())
		}
		require.ErrorIs(t, hs[0].Done(), fs.ErrInvalid)
		require.ErrorIs(t, (&Held{}).Return(), fs.ErrInvalid)
		require.NoError(t, ch.Detach())
	}
}

func TestHoldSaysWhatIsWrong(t *testing.T) {
	ch, err := Open[uint64]("single", WithDir(t.TempDir()), WithCapacity(4), WithSingleReceiver())
	require.NoError(t, err)
	require.NoError(t, ch.Send(1))
	err = ch.Hold(context.Background(), &Held{})
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "WithHold")
	require.NoError(t, ch.Detach())
	require.ErrorIs(t, ch.Hold(context.Background(), &Held{}), ErrDetached)

	ch, err = Open[uint64]("held", WithDir(t.TempDir()), WithCapacity(4), WithHold())
	require.NoError(t, err)
	require.NoError(t, ch.Send(1))
	v := hold1(t, ch.Receiver)
	require.ErrorIs(t, ch.Hold(context.Background(), v), ErrBusy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, ch.Hold(ctx, &Held{}), context.Canceled)
	require.NoError(t, ch.Close())
	require.NoError(t, v.Done())
	require.ErrorIs(t, ch.Hold(context.Background(), &Held{}), ErrClosed)
	require.NoError(t, ch.Detach())
}

func TestHeldStaysValidAfterDetach(t *testing.T) {
	dir := WithDir(t.TempDir())
	ch, err := Open[uint64]("held", dir, WithCapacity(4), WithHold())
	require.NoError(t, err)
	other, err := Open[uint64]("held", dir)
	require.NoError(t, err)
	require.NoError(t, ch.Send(7))
	require.NoError(t, ch.Send(8))
	a, b := hold1(t, ch.Receiver), hold1(t, ch.Receiver)
	require.NoError(t, ch.Detach())
	require.EqualValues(t, 7, number(a))
	require.NoError(t, a.Done())
	require.NoError(t, b.Return())
	got, err := other.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 8, got)
	require.NoError(t, other.Detach())
}

// A Hold that waits ends with ErrClosed only when all that others hold is done, for it may come back.
func TestHoldOfAClosedChannelWaitsForWhatIsHeld(t *testing.T) {
	for _, single := range []bool{false, true} {
		opts := []Option{WithDir(t.TempDir()), WithCapacity(8), WithHold()}
		if single {
			opts = append(opts, WithSingleReceiver())
		}
		ch, err := Open[uint64]("held", opts...)
		require.NoError(t, err)
		require.NoError(t, ch.Send(1))
		v := hold1(t, ch.Receiver)
		require.NoError(t, ch.Close())
		ended := make(chan error)
		go func() { ended <- ch.Hold(context.Background(), &Held{}) }()
		select {
		case err := <-ended:
			require.Fail(t, "it did not wait", "%v", err)
		case <-time.After(10 * time.Millisecond):
		}
		require.NoError(t, v.Done())
		require.ErrorIs(t, <-ended, ErrClosed)
		require.NoError(t, ch.Detach())
	}
}

func TestHoldMessagesOfBytes(t *testing.T) {
	for _, opts := range [][]Option{{}, {WithChecksum()}, {WithFaultGuard()}} {
		ch, err := OpenBytes("held", append(opts, WithDir(t.TempDir()), WithCapacity(4), WithMaxMessage(1<<16), WithArena(300<<10), WithHold())...)
		require.NoError(t, err)
		long := make([]byte, 1<<16)
		for i := range long {
			long[i] = byte(i * 7)
		}
		for round := range 20 { // The arena has room for few: Done gives it back.
			require.NoError(t, ch.Send(long[:1<<16-round]))
			require.NoError(t, ch.Send([]byte("short")))
			require.NoError(t, ch.Send(nil))
			var a, b, c Held
			require.NoError(t, ch.Hold(context.Background(), &a))
			require.NoError(t, ch.Hold(context.Background(), &b))
			require.NoError(t, ch.Hold(context.Background(), &c))
			require.Equal(t, long[:1<<16-round], a.Bytes())
			require.Equal(t, "short", string(b.Bytes()))
			require.Empty(t, c.Bytes())
			require.NoError(t, c.Done())
			require.NoError(t, a.Done())
			require.NoError(t, b.Done())
		}
		require.NoError(t, ch.Detach())
	}
}

// Done frees the room of a message in the arena, and wakes who waits for it.
func TestHoldWakesWhoWaitsForRoom(t *testing.T) {
	noBackstop(t)
	const most = 8 << 10
	b := must[*Bytes](t)(OpenBytes("held", WithDir(memDir(t)), WithMaxMessage(most), WithArena(2*most+2048), WithCapacity(8)))
	other := must[*Bytes](t)(OpenBytes("held", WithDir(b.BytesSender.h.opts.dir), WithMaxMessage(most)))
	require.NoError(t, b.Send(make([]byte, most)))
	require.NoError(t, b.Send(make([]byte, most)))
	var v Held
	require.NoError(t, b.Hold(forever, &v))
	sent := make(chan error, 1)
	parking(t, other.BytesSender.h, func() { sent <- other.Send(make([]byte, most)) })
	require.NoError(t, v.Done())
	require.NoError(t, <-sent)
	require.NoError(t, b.Close())
	require.NoError(t, errors.Join(b.Detach(), other.Detach()))
}

// What another handle holds is not stepped past: when it is given back it comes before what is behind it.
func TestHoldStepsPastNobody(t *testing.T) {
	ch := must[*Chan[uint64]](t)(Open[uint64]("held", WithDir(memDir(t)), WithCapacity(8)))
	other := must[*Chan[uint64]](t)(Open[uint64]("held", WithDir(ch.Sender.h.opts.dir)))
	for i := range uint64(6) {
		require.NoError(t, ch.Send(i))
	}
	mine := hold1(t, ch.Receiver)
	theirs := hold1(t, other.Receiver)
	require.EqualValues(t, 0, number(mine))
	require.EqualValues(t, 1, number(theirs))
	third := hold1(t, ch.Receiver)
	require.EqualValues(t, 2, number(third))
	require.NoError(t, theirs.Return())
	require.NoError(t, mine.Done())
	back := hold1(t, ch.Receiver)
	require.EqualValues(t, 1, number(back), "it was given back")
	for _, v := range []*Held{third, back} {
		require.NoError(t, v.Done())
	}
	require.NoError(t, ch.Close())
	require.NoError(t, errors.Join(ch.Detach(), other.Detach()))
}

func TestHoldOfARendezvous(t *testing.T) {
	ch, err := Open[uint64]("held", WithDir(t.TempDir()), WithCapacity(0), WithHold())
	require.NoError(t, err)
	sent := make(chan error)
	go func() { sent <- ch.Send(5) }()
	v := hold1(t, ch.Receiver)
	select {
	case err := <-sent:
		require.Fail(t, "a rendezvous ends when the value was taken", "%v", err)
	case <-time.After(10 * time.Millisecond):
	}
	require.NoError(t, v.Done())
	require.NoError(t, <-sent)
	require.NoError(t, ch.Detach())
}

func TestHoldDropsABadBool(t *testing.T) {
	ch, err := Open[struct{ A, B bool }]("held", WithDir(t.TempDir()), WithCapacity(4), WithHold())
	require.NoError(t, err)
	require.NoError(t, ch.Send(struct{ A, B bool }{true, false}))
	require.NoError(t, ch.Send(struct{ A, B bool }{true, true}))
	*(*byte)(ch.Receiver.h.value(ch.Receiver.h.headHint())) = 9
	var v Held
	require.ErrorIs(t, ch.Hold(context.Background(), &v), ErrCorrupt)
	require.False(t, v.Holds())
	require.NoError(t, ch.Hold(context.Background(), &v))
	require.Equal(t, []byte{1, 1}, v.Bytes())
	require.NoError(t, v.Done())
	require.NoError(t, ch.Detach())
}

// What one handle holds, takes and gives back, beside another that receives, against a model: nothing is lost or doubled, and who
// never gives back has each value once and in order.
func TestHoldModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		capacity := rapid.IntRange(1, 9).Draw(t, "capacity")
		ch, err := Open[uint64]("model"+string(rune('a'+n%26)), WithDir(dir), WithCapacity(capacity), WithHold())
		require.NoError(t, err)
		var inHand []*Held
		defer func() {
			for _, v := range inHand {
				require.NoError(t, v.Done())
			}
			require.NoError(t, Remove(ch.Name(), WithDir(dir)))
			require.NoError(t, ch.Detach())
		}()
		free := map[uint64]bool{} // sent, in nobody's hands
		next := uint64(0)
		lowest := func() (low uint64) {
			low = next
			for v := range free {
				low = min(low, v)
			}
			return low
		}
		gaveBack := false
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if err := ch.TrySend(next); err == nil {
					free[next] = true
					next++
				} else {
					require.ErrorIs(t, err, ErrFull)
				}
			},
			"hold": func(t *rapid.T) {
				if len(free) == 0 {
					t.Skip()
				}
				v := hold1(t, ch.Receiver)
				require.True(t, free[number(v)])
				if !gaveBack {
					require.Equal(t, lowest(), number(v))
				}
				delete(free, number(v))
				inHand = append(inHand, v)
			},
			"receive": func(t *rapid.T) {
				v, err := ch.TryRecv()
				if len(free) == 0 {
					require.ErrorIs(t, err, ErrEmpty)
					return
				}
				require.NoError(t, err)
				require.True(t, free[v])
				delete(free, v)
			},
			"done": func(t *rapid.T) {
				if len(inHand) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(inHand)-1).Draw(t, "which")
				require.NoError(t, inHand[i].Done())
				inHand = append(inHand[:i], inHand[i+1:]...)
			},
			"return": func(t *rapid.T) {
				if len(inHand) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(inHand)-1).Draw(t, "which")
				v := number(inHand[i])
				require.NoError(t, inHand[i].Return())
				free[v], gaveBack = true, true
				inHand = append(inHand[:i], inHand[i+1:]...)
				next := hold1(t, ch.Receiver)
				require.Equal(t, lowest(), number(next), "the look after a Return begins at the head")
				delete(free, number(next))
				inHand = append(inHand, next)
			},
			"": func(t *rapid.T) { require.Equal(t, len(free)+len(inHand), ch.Len()) },
		})
	})
}

// Two senders, one holder whose values are done by another goroutine, at random: each sender's are held in their order.
func TestHoldKeepsEachSendersOrder(t *testing.T) {
	const each = 20_000
	for _, single := range []bool{false, true} {
		opts := []Option{WithDir(t.TempDir()), WithCapacity(64), WithHold()}
		if single {
			opts = append(opts, WithSingleReceiver())
		}
		ch, err := Open[uint64]("order", opts...)
		require.NoError(t, err)
		var senders sync.WaitGroup
		for s := range uint64(2) {
			senders.Go(func() {
				for i := range uint64(each) {
					if err := ch.Send(s<<32 | i); err != nil {
						panic(err)
					}
				}
			})
		}
		go func() { senders.Wait(); _ = ch.Close() }()
		done, ended := make(chan *Held, 48), make(chan error)
		go func() {
			for v := range done {
				if err := v.Done(); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		var next [2]uint64
		for {
			v := &Held{}
			if err := ch.Hold(context.Background(), v); errors.Is(err, ErrClosed) {
				break
			} else {
				require.NoError(t, err)
			}
			n := number(v)
			require.Equal(t, next[n>>32], n&(1<<32-1))
			next[n>>32]++
			done <- v
		}
		close(done)
		require.NoError(t, <-ended)
		require.Equal(t, [2]uint64{each, each}, next)
		require.NoError(t, ch.Detach())
	}
}
