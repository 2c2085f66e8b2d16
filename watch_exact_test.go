package shmchan

// What a watcher shows and counts when nobody is at work while it looks: then it is exact. Sends given up by one of many senders, laps between
// two looks, and messages whose place in the arena is used again.

import (
	"context"
	"errors"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// all is what there is to see now, and how many were missed before each and at the end.
func all(t require.TestingT, w *Watcher) (values [][]byte, missed []uint64, atEnd uint64) {
	for {
		v, m, err := w.Next(&oneLook{Context: context.Background()}, nil)
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return values, missed, m
		}
		values, missed = append(values, v), append(missed, m)
	}
}

// oneLook is a context that ends when Next has looked once, however long that takes.
type oneLook struct {
	context.Context
	asked bool
}

func (c *oneLook) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (c *oneLook) Err() error {
	if !c.asked {
		c.asked = true
		return nil
	}
	return context.DeadlineExceeded
}

// neverWaits is a context that ends when a call is about to wait, and not before.
type neverWaits struct {
	context.Context
	ended bool
}

func (c *neverWaits) Done() <-chan struct{} {
	c.ended = true
	done := make(chan struct{})
	close(done)
	return done
}

func (c *neverWaits) Err() error {
	if c.ended {
		return context.DeadlineExceeded
	}
	return nil
}

// What is given up is no value: it is not shown, and once it has been told from one, not missed. So values shown and missed are those that were sent.
func TestWatchCountsNoSendThatWasGivenUp(t *testing.T) {
	no := errors.New("no")
	rapid.Check(t, func(rt *rapid.T) {
		dir := memDir(t)
		capacity := rapid.SampledFrom([]int{2, 4, 8}).Draw(rt, "capacity")
		ch, err := Open[rawValue]("test", WithDir(dir), WithCapacity(capacity))
		require.NoError(rt, err)
		other, err := OpenSender[rawValue]("test", WithDir(dir))
		require.NoError(rt, err)
		w, err := Watch("test", WithDir(dir))
		require.NoError(rt, err)
		defer func() {
			require.NoError(rt, errors.Join(w.Close(), ch.Detach(), other.Detach(), Remove("test", WithDir(dir))))
		}()
		sent, shown, missed := 0, uint64(0), uint64(0)
		for range rapid.IntRange(1, 12).Draw(rt, "looks") {
			for range rapid.IntRange(0, capacity).Draw(rt, "sends") {
				switch rapid.IntRange(0, 3).Draw(rt, "what") {
				case 0:
					err := ch.SendFunc(canceled(), func(v *rawValue) error { v.Seq = 1 << 40; return no })
					require.Error(rt, err)
				case 1: // Others send behind it meanwhile, so that its place is not the next one's.
					_ = ch.SendFunc(&neverWaits{Context: context.Background()}, func(v *rawValue) error {
						v.Seq = 1 << 40
						for range rapid.IntRange(0, 2).Draw(rt, "behind") {
							if other.TrySend(rawOf(sent)) == nil {
								sent++
							}
						}
						return no
					})
				default:
					if ch.TrySend(rawOf(sent)) == nil {
						sent++
					}
				}
			}
			for range rapid.IntRange(0, ch.Len()).Draw(rt, "received") {
				_, err := ch.Recv()
				require.NoError(rt, err)
			}
			values, before, atEnd := all(rt, w)
			for i, v := range values {
				missed += before[i]
				require.Equal(rt, rawOf(int(shown+missed)), *(*rawValue)(unsafe.Pointer(&v[0])), "its number is how many were shown and missed before it")
				shown++
			}
			missed += atEnd
			require.Equal(rt, uint64(sent), shown+missed)
		}
		// It has not lost its way: what passes while nothing is given up is seen.
		require.NoError(rt, drain(ch))
		all(rt, w)
		require.NoError(rt, ch.Send(rawOf(7)))
		_, err = ch.Recv()
		require.NoError(rt, err)
		values, _, _ := all(rt, w)
		require.Len(rt, values, 1)
	})
}

// canceled is a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func drain(ch *Chan[rawValue]) error {
	for {
		if _, err := ch.TryRecv(); errors.Is(err, ErrEmpty) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Of laps that passed between two looks the last is seen, all of it that was sent where the watcher was or behind it, and what came before is missed.
func TestWatchSeesTheLastLap(t *testing.T) {
	for name, opts := range map[string][]Option{"many": nil, "checked": {WithChecksum()}} {
		for _, left := range []int{0, 3} { // in the channel
			ch := openTest[rawValue](t, append(opts, WithCapacity(8))...)
			w := watch(t, ch.Sender.h.opts.dir)
			const sent = 8*2 + 5
			for i := range sent {
				require.NoError(t, ch.Send(rawOf(i)))
				if i < sent-left {
					_, err := ch.Recv()
					require.NoError(t, err)
				}
			}
			values, missed, atEnd := all(t, w)
			require.Len(t, values, sent%8, name)
			require.Equal(t, uint64(sent-sent%8), missed[0], name)
			require.Zero(t, slices.Max(missed[1:])+atEnd, name)
			for i, v := range values {
				require.Equal(t, rawOf(sent-sent%8+i), *(*rawValue)(unsafe.Pointer(&v[0])))
			}
		}
	}
}

// A message in the arena that was received is seen until its place there is used again, and then missed, never shown as what stands there now.
func TestWatchSeesWhatIsStillInTheArena(t *testing.T) {
	const most = 5000
	for name, opts := range map[string][]Option{"plain": nil, "checked": {WithChecksum()}} {
		b, err := OpenBytes("test", append(opts, WithDir(memDir(t)), WithCapacity(64), WithMaxMessage(most), WithArena(4*most))...)
		require.NoError(t, err)
		w := watch(t, b.BytesSender.h.opts.dir)
		n := 0
		pass := func(messages int) {
			for range messages {
				require.NoError(t, b.Send(some(most, n)))
				_, err := b.Recv(nil)
				require.NoError(t, err)
				n++
			}
		}
		pass(1)
		values, missed, _ := all(t, w)
		require.Len(t, values, 1, name)
		require.Zero(t, missed[0])
		require.True(t, slices.Equal(some(most, 0), values[0]))
		pass(9) // Twice round the arena.
		at := 1
		values, missed, atEnd := all(t, w)
		require.NotEmpty(t, values, name)
		require.Less(t, len(values), 5, "there is room for four")
		for i, v := range values {
			at += int(missed[i])
			require.True(t, slices.Equal(some(most, at), v), "%s: message %d", name, at)
			at++
		}
		require.Equal(t, n, at+int(atEnd))
		require.NoError(t, b.Detach())
	}
}
