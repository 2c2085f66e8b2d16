package shmchan

// Watching: what is shown is what was sent, whole and in order, and shown and missed together are all.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func watch(t testing.TB, dir string) *Watcher {
	t.Helper()
	w, err := Watch("test", WithDir(dir))
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// next is the next value, which must be there.
func next(t testing.TB, w *Watcher) ([]byte, uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v, missed, err := w.Next(ctx, nil)
	require.NoError(t, err)
	return v, missed
}

// nothing says that there is no next value now, and how many were missed.
func nothing(t testing.TB, w *Watcher) uint64 {
	t.Helper()
	v, missed, err := w.Next(&oneLook{Context: context.Background()}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded, "%v", v)
	return missed
}

// A watcher sees what is in the channel, and what was taken before it came, as long as nothing is written over it.
func TestWatchSeesWhatPassed(t *testing.T) {
	rawForms(t, func(t *testing.T, capacity int, channel, _ []Option) {
		if capacity == 0 {
			t.Skip("a sender that waits is TestWatchRendezvous's")
		}
		dir := memDir(t)
		ch, err := Open[rawValue]("test", append(channel, WithDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ch.Detach() })
		require.NoError(t, ch.Send(rawOf(0)))
		w := watch(t, dir)
		before := ch.Stats()
		v, missed := next(t, w)
		require.Equal(t, rawOf(0), *(*rawValue)(unsafe.Pointer(&v[0])), "what was there before")
		require.Zero(t, missed)
		require.Equal(t, before, ch.Stats(), "nobody noticed")
		_, err = ch.Recv()
		require.NoError(t, err)
		nothing(t, w)
		blind := ch.Sender.h.n == 1 && ch.Sender.h.oneSender && !ch.Sender.h.checked
		for i := 1; i < 100; i++ {
			require.NoError(t, ch.Send(rawOf(i)))
			_, err := ch.Recv()
			require.NoError(t, err)
			if blind {
				require.Equal(t, uint64(1), nothing(t, w))
				continue
			}
			v, missed := next(t, w)
			require.Equal(t, rawOf(i), *(*rawValue)(unsafe.Pointer(&v[0])))
			require.Zero(t, missed)
		}
		require.NoError(t, ch.Close())
		_, err = ch.Recv()
		require.ErrorIs(t, err, ErrClosed)
		_, _, err = w.Next(context.Background(), nil)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// What is being written over, by a sender that is stopped in the middle, is not shown.
func TestWatchDoesNotShowWhatIsBeingWritten(t *testing.T) {
	rawForms(t, func(t *testing.T, capacity int, channel, _ []Option) {
		if capacity < 3 {
			t.Skip("one slot shows one value only")
		}
		dir := memDir(t)
		ch, err := Open[rawValue]("test", append(channel, WithDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ch.Detach() })
		w := watch(t, dir)
		n := int(ch.Sender.h.n)
		for i := range n {
			require.NoError(t, ch.Send(rawOf(i)))
			_, err := ch.Recv()
			require.NoError(t, err)
		}
		no := errors.New("no")
		require.ErrorIs(t, ch.SendFunc(context.Background(), func(v *rawValue) error {
			v.Seq = 1 << 40 // The rest is that of the first value.
			for i := 1; i < n; i++ {
				got, missed := next(t, w)
				require.Equal(t, rawOf(i), *(*rawValue)(unsafe.Pointer(&got[0])))
				require.Equal(t, uint64(1)*uint64(max(0, 2-i)), missed)
			}
			require.Zero(t, nothing(t, w))
			return no
		}), no)
		// What was given up is not shown either, and does not count as missed.
		require.NoError(t, ch.Send(rawOf(1000)))
		_, err = ch.Recv()
		require.NoError(t, err)
		missed := uint64(0)
		require.NoError(t, ch.Send(rawOf(1001)))
		got, more := next(t, w)
		for (*rawValue)(unsafe.Pointer(&got[0])).Seq == 1000 {
			got, more = next(t, w)
		}
		require.Equal(t, rawOf(1001), *(*rawValue)(unsafe.Pointer(&got[0])))
		require.LessOrEqual(t, missed+more, uint64(1))
	})
}

// All at once: what is shown is whole, each sender's in its order, and with what is missed it is all that was sent.
func TestWatchUnderLoad(t *testing.T) {
	for kind, opts := range kinds {
		for how, more := range map[string][]Option{"": nil, ", checked": {WithChecksum()}} {
			for _, capacity := range []int{0, 1, 2, 5, 64, 4096} {
				t.Run(fmt.Sprintf("%s%s, capacity %d", kind, how, capacity), func(t *testing.T) {
					senders := 3
					if len(opts) > 0 && kind != "single receiver" {
						senders = 1
					}
					n := uint64(6000)
					dir := memDir(t)
					all := slices.Concat(opts, more, []Option{WithDir(dir), WithCapacity(capacity)})
					s := must[*Sender[message]](t)(OpenSender[message]("test", all...))
					r := must[*Receiver[message]](t)(OpenReceiver[message]("test", all...))
					w := watch(t, dir)
					var sending, receiving sync.WaitGroup
					for from := range senders {
						sending.Go(func() {
							for i := range n {
								assert.NoError(t, s.Send(newMessage(uint64(from), i)))
								if i%100 == 0 {
									runtime.Gosched()
								}
							}
						})
					}
					receiving.Go(func() {
						for range r.All() {
						}
						assert.NoError(t, r.Err())
					})
					go func() {
						sending.Wait()
						assert.NoError(t, s.Close())
					}()
					last := map[uint64]uint64{}
					shown, missed := uint64(0), uint64(0)
					for {
						v, m, err := w.Next(context.Background(), nil)
						missed += m
						if err != nil {
							require.ErrorIs(t, err, ErrClosed)
							break
						}
						shown++
						msg := *(*message)(unsafe.Pointer(&v[0]))
						require.True(t, msg.whole(), "%v", msg)
						if seq, ok := last[msg.From]; ok {
							require.Greater(t, msg.Seq, seq)
						}
						last[msg.From] = msg.Seq
					}
					receiving.Wait()
					require.Equal(t, n*uint64(senders), shown+missed)
					require.Equal(t, missed, w.Missed())
					t.Logf("%d of %d shown", shown, shown+missed)
					require.NoError(t, errors.Join(s.Detach(), r.Detach()))
				})
			}
		}
	}
}

func TestWatchBytesUnderLoad(t *testing.T) {
	for kind, opts := range kinds {
		for _, most := range []int{300, testMost} {
			for how, more := range map[string][]Option{"": nil, ", checked": {WithChecksum()}} {
				t.Run(fmt.Sprintf("%s, %d bytes%s", kind, most, how), func(t *testing.T) {
					dir := memDir(t)
					all := slices.Concat(opts, more, []Option{WithDir(dir), WithCapacity(32), WithMaxMessage(most)})
					s := must[*BytesSender](t)(OpenBytesSender("test", all...))
					r := must[*BytesReceiver](t)(OpenBytesReceiver("test", all...))
					w := watch(t, dir)
					const n = 4000
					length := func(i int) int { return i * 7919 % (most + 1) }
					var wg sync.WaitGroup
					wg.Go(func() {
						for i := range n {
							assert.NoError(t, s.Send(some(length(i), i)))
						}
						assert.NoError(t, s.Close())
					})
					wg.Go(func() {
						var buf []byte
						for err := error(nil); err == nil; {
							buf, err = r.Recv(buf[:0])
						}
					})
					at, shown := 0, 0
					for {
						v, missed, err := w.Next(context.Background(), nil)
						at += int(missed)
						if err != nil {
							require.ErrorIs(t, err, ErrClosed)
							break
						}
						require.True(t, slices.Equal(some(length(at), at), v), "message %d, %d bytes", at, len(v))
						at++
						shown++
					}
					wg.Wait()
					require.Equal(t, n, at)
					t.Logf("%d of %d shown", shown, n)
					require.NoError(t, errors.Join(s.Detach(), r.Detach()))
				})
			}
		}
	}
}

func TestWatchRendezvous(t *testing.T) {
	ch := openTest[rawValue](t, WithCapacity(0))
	w := watch(t, ch.Sender.h.opts.dir)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { assert.NoError(t, ch.Send(rawOf(i))) })
		v, missed := next(t, w)
		require.Equal(t, rawOf(i), *(*rawValue)(unsafe.Pointer(&v[0])), "it waits")
		require.Zero(t, missed)
		_, err := ch.Recv()
		require.NoError(t, err)
		wg.Wait()
	}
}

func TestWatchEnds(t *testing.T) {
	_, err := Watch("test", WithDir(memDir(t)))
	require.ErrorIs(t, err, fs.ErrNotExist)

	ch := openTest[rawValue](t, WithCapacity(4))
	dir := ch.Sender.h.opts.dir
	w := watch(t, dir)
	require.Equal(t, "shmchan.rawValue", w.Type())
	require.Equal(t, "test", w.Name())
	require.Equal(t, len(rawBytes(new(rawValue))), w.Layout().Size())
	info, err := Inspect("test", WithDir(dir))
	require.NoError(t, err)
	require.Len(t, info.Peers, 1, "it is no member")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = w.Next(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)

	// Closed, and removed by the last to leave, with a value in it.
	require.NoError(t, ch.Send(rawOf(1)))
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	v, _ := next(t, w)
	require.Equal(t, rawOf(1), *(*rawValue)(unsafe.Pointer(&v[0])))
	_, _, err = w.Next(context.Background(), nil)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.Close(), ErrDetached)
	_, _, err = w.Next(context.Background(), nil)
	require.ErrorIs(t, err, ErrDetached)

	ch = openTest[rawValue](t, WithCapacity(4))
	w = watch(t, ch.Sender.h.opts.dir)
	require.NoError(t, ch.Detach())
	require.NoError(t, os.Truncate(ch.Sender.h.path, 0))
	_, _, err = w.Next(context.Background(), nil)
	require.ErrorIs(t, err, ErrCorrupt)
}

// Whatever stands in the memory, a watcher ends with an error, or shows what can be a value.
func FuzzWatch(f *testing.F) {
	f.Add(uint32(0), []byte{1}, false)
	f.Add(uint32(4096), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true)
	f.Fuzz(func(t *testing.T, at uint32, what []byte, many bool) {
		for _, most := range []int{0, testMost} {
			dir := memDir(t)
			var h *handle
			if most == 0 {
				ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", WithDir(dir), WithCapacity(2)))
				require.NoError(t, ch.Send(fuzzed{A: 1}))
				h = ch.Sender.h
			} else {
				ch := must[*Bytes](t)(OpenBytes("test", WithDir(dir), WithCapacity(2), WithMaxMessage(most)))
				require.NoError(t, ch.Send(some(5000, 1)))
				h = ch.BytesSender.h
			}
			w := watch(t, dir)
			for i, b := range what {
				if o := h.info.ctl + (uint64(at)+uint64(i))%(h.info.length-h.info.ctl); many || i < 8 {
					h.mem[o] = b
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
			for range 20 {
				v, _, err := w.Next(ctx, nil)
				if err != nil {
					break
				}
				if most == 0 {
					require.NoError(t, (*fuzzed)(unsafe.Pointer(&v[0])).honest())
				}
			}
			cancel()
			require.NoError(t, w.Close())
			_ = h.send.detach()
			_ = h.recv.detach()
		}
	})
}
