package shmchan

// Channels of bytes, call by call.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openBytes(t testing.TB, opts ...Option) *Bytes {
	t.Helper()
	b, err := OpenBytes("test", append([]Option{WithDir(memDir(t))}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Detach() })
	return b
}

// againBytes opens the channel once more, on a handle of its own.
func againBytes(t testing.TB, b *Bytes, opts ...Option) *Bytes {
	t.Helper()
	other, err := OpenBytes(b.Name(), append([]Option{WithDir(b.BytesSender.h.opts.dir), WithAttach()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Detach() })
	return other
}

// some are n bytes that tell which message they are.
func some(n, seed int) []byte { return slices.Clone(pattern()[seed%1000:][:n]) }

const testMost = 20000 // bytes of the longest message where there is an arena

// eachBytes runs f over all forms of a channel of bytes: roles, with an arena or without, guarded, checked, unnamed.
func eachBytes(t *testing.T, caps []int, f func(t *testing.T, b *Bytes)) {
	for kind, roles := range kinds {
		for where, most := range map[string]int{"in slots": 300, "in the arena": testMost} {
			for how, more := range map[string][]Option{"": nil, ", guarded": {WithFaultGuard()}, ", checked": {WithChecksum()}} {
				for _, c := range caps {
					opts := slices.Concat(roles, more, []Option{WithMaxMessage(most), WithCapacity(c)})
					name := fmt.Sprintf("%s, %s%s, capacity %d", kind, where, how, c)
					t.Run(name, func(t *testing.T) { f(t, openBytes(t, opts...)) })
					t.Run(name+", unnamed", func(t *testing.T) {
						b := must[*Bytes](t)(NewBytes(opts...))
						defer func() { _ = b.Detach() }()
						f(t, b)
					})
				}
			}
		}
	}
}

// bytesSends are the ways to send p, each of which ends once it was sent.
func bytesSends(b *Bytes) map[string]func(p []byte) error {
	ctx := context.Background()
	fill := func(n int, p []byte) error {
		return b.SendFunc(ctx, n, func(buf []byte) (int, error) {
			if len(buf) != n || cap(buf) != n {
				return 0, fmt.Errorf("%d bytes, of %d, where %d were asked for", len(buf), cap(buf), n)
			}
			return copy(buf, p), nil
		})
	}
	return map[string]func(p []byte) error{
		"Send":        b.Send,
		"SendContext": func(p []byte) error { return b.SendContext(ctx, p) },
		"TrySend": func(p []byte) (err error) {
			for err = ErrFull; errors.Is(err, ErrFull); err = b.TrySend(p) {
				runtime.Gosched()
			}
			return err
		},
		"SendFunc":          func(p []byte) error { return fill(len(p), p) },
		"SendFunc of fewer": func(p []byte) error { return fill(b.MaxMessage(), p) },
	}
}

// bytesRecvs are the ways to receive, each with a copy of what there was.
func bytesRecvs(b *Bytes) map[string]func() ([]byte, error) {
	ctx := context.Background()
	buf := make([]byte, 0, testMost+3)
	behind := func(p []byte, err error) ([]byte, error) { // what was appended to "abc"
		if err == nil && (len(p) < 3 || string(p[:3]) != "abc") {
			err = errors.New("what was in dst is no more")
		}
		if err != nil {
			return nil, err
		}
		return slices.Clone(p[3:]), nil
	}
	return map[string]func() ([]byte, error){
		"Recv": func() ([]byte, error) { return b.Recv(nil) },
		"Recv into a buffer with room": func() ([]byte, error) {
			p, err := b.Recv(append(buf[:0], "abc"...))
			if err == nil && &p[0] != &buf[:1][0] {
				return nil, errors.New("it was put elsewhere")
			}
			return behind(p, err)
		},
		"Recv into a buffer without": func() ([]byte, error) { return behind(b.Recv([]byte("abc"))) },
		"RecvContext":                func() ([]byte, error) { return behind(b.RecvContext(ctx, []byte("abc"))) },
		"TryRecv": func() (p []byte, err error) {
			for err = ErrEmpty; errors.Is(err, ErrEmpty); p, err = b.TryRecv(append(buf[:0], "abc"...)) {
				runtime.Gosched()
			}
			return behind(p, err)
		},
		"RecvFunc": func() (p []byte, err error) {
			err = b.RecvFunc(ctx, func(msg []byte) error {
				if cap(msg) != len(msg) {
					return fmt.Errorf("%d bytes, of %d", len(msg), cap(msg))
				}
				p = slices.Clone(msg)
				return nil
			})
			return p, err
		},
	}
}

// lengthsOf are lengths of messages about which something changes.
func lengthsOf(b *Bytes) []int {
	all := []int{0, 1, 47, 48, 49, 255, inlineSmall - 1, inlineSmall, inlineSmall + 1, 1024, 1025, 4096, testMost / 2, b.MaxMessage() - 1, b.MaxMessage()}
	return slices.DeleteFunc(all, func(n int) bool { return n > b.MaxMessage() })
}

// Every way to send, every way to receive, every length.
func TestBytes(t *testing.T) {
	eachBytes(t, []int{0, 1, 3, 4}, func(t *testing.T, b *Bytes) {
		i := 0
		for sending, send := range bytesSends(b) {
			for receiving, recv := range bytesRecvs(b) {
				if b.Cap() == 0 && sending == "TrySend" && receiving == "TryRecv" {
					continue // Neither waits for the other.
				}
				var done chan error
				for _, n := range lengthsOf(b) {
					p := some(n, i)
					i++
					if b.Cap() == 0 {
						done = make(chan error, 1)
						go func() { done <- send(p) }()
					} else {
						require.NoError(t, send(p), sending)
					}
					got, err := recv()
					require.NoError(t, err, receiving)
					require.Len(t, got, n, "%s, %s", sending, receiving)
					require.True(t, slices.Equal(p, got), "%s, %s, %d bytes", sending, receiving, n)
					if done != nil {
						require.NoError(t, <-done)
					}
				}
			}
		}
		st := b.Stats()
		require.Equal(t, uint64(i), st.Sent)
		require.Equal(t, uint64(i), st.Received)
		require.Zero(t, st.Redelivered)
		require.Zero(t, st.Abandoned)
		require.Zero(t, b.Len())
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Send(nil), ErrClosed)
		require.ErrorIs(t, second(b.Recv(nil)), ErrClosed)
	})
}

// A message is the sender's copy, and the receiver's: neither sees what becomes of the other's.
func TestBytesAreCopied(t *testing.T) {
	for _, n := range []int{10, 5000} {
		b := openBytes(t, WithMaxMessage(10000), WithCapacity(4))
		p := some(n, 1)
		require.NoError(t, b.Send(p))
		clear(p)
		got := must[[]byte](t)(b.Recv(nil))
		require.Equal(t, some(n, 1), got)
		for i := range 8 {
			require.NoError(t, b.Send(some(n, 2)), i)
			_ = must[[]byte](t)(b.Recv(nil))
		}
		require.Equal(t, some(n, 1), got)
	}
}

// A message that is too long is refused before anything is claimed.
func TestBytesTooLarge(t *testing.T) {
	eachBytes(t, []int{0, 1, 4}, func(t *testing.T, b *Bytes) {
		before := b.Stats()
		tail := b.BytesSender.h.ctl.tail.Load()
		check := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, ErrTooLarge)
			require.ErrorContains(t, err, fmt.Sprintf("channel %q: too large: a message of %d bytes, and it takes at most %d; send it in parts, or make the channel with a larger WithMaxMessage", b.Name(), b.MaxMessage()+1, b.MaxMessage()))
		}
		long := make([]byte, b.MaxMessage()+1)
		check(b.Send(long))
		check(b.SendContext(t.Context(), long))
		check(b.TrySend(long))
		never := func([]byte) (int, error) { t.Error("called"); return 0, nil }
		check(b.SendFunc(t.Context(), len(long), never))
		err := b.SendFunc(t.Context(), -1, never)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "a message of -1 bytes")
		require.Equal(t, before, b.Stats())
		require.Equal(t, tail, b.BytesSender.h.ctl.tail.Load())
		require.NoError(t, b.Close())
		check(b.Send(long))
	})
}

// SendFunc that fails, panics or says nonsense sends nothing; the next one goes on.
func TestBytesSendFuncInVain(t *testing.T) {
	eachBytes(t, []int{0, 1, 4}, func(t *testing.T, b *Bytes) {
		bad := errors.New("bad")
		ctx := t.Context()
		most := b.MaxMessage()
		for _, n := range []int{0, 10, most} {
			for range 5 { // More than there is room for, were it not given back.
				require.ErrorIs(t, b.SendFunc(ctx, n, func([]byte) (int, error) { return 0, bad }), bad)
				require.PanicsWithValue(t, "no", func() { _ = b.SendFunc(ctx, n, func([]byte) (int, error) { panic("no") }) })
				err := b.SendFunc(ctx, n, func([]byte) (int, error) { return n + 1, nil })
				require.ErrorIs(t, err, fs.ErrInvalid)
				require.ErrorContains(t, err, fmt.Sprintf("channel %q: invalid argument: the function given to SendFunc says that its message has %d bytes, of a buffer of %d; return how many", b.Name(), n+1, n))
				require.ErrorIs(t, b.SendFunc(ctx, n, func([]byte) (int, error) { return -1, nil }), fs.ErrInvalid)
			}
		}
		require.Zero(t, b.Stats().Sent)
		require.ErrorIs(t, second(b.TryRecv(nil)), ErrEmpty)
		if b.Cap() == 0 {
			return
		}
		require.NoError(t, b.Send(nil)) // With it goes the room of those that had its position.
		require.Empty(t, must[[]byte](t)(b.Recv(nil)))
		for range b.Cap() { // All of it is to be had.
			require.NoError(t, b.TrySend(some(most, 3)))
		}
		for range b.Cap() {
			require.Equal(t, some(most, 3), must[[]byte](t)(b.Recv(nil)))
		}
	})
}

// A context that has ended ends a call at once, also where there is nothing to wait for.
func TestBytesContextEnded(t *testing.T) {
	eachBytes(t, []int{0, 1, 4}, func(t *testing.T, b *Bytes) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		never := func([]byte) (int, error) { t.Error("called"); return 0, nil } //nolint:unparam // As SendFunc wants it.
		for _, n := range []int{10, b.MaxMessage()} {
			require.ErrorIs(t, b.SendContext(ctx, some(n, 1)), context.Canceled)
			require.ErrorIs(t, b.SendFunc(ctx, n, never), context.Canceled)
			require.Zero(t, b.Len())
			if b.Cap() > 0 {
				require.NoError(t, b.Send(some(n, 2)))
			}
			p, err := b.RecvContext(ctx, []byte("abc"))
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, "abc", string(p))
			require.ErrorIs(t, b.RecvFunc(ctx, func(msg []byte) error { return second(never(msg)) }), context.Canceled)
			if b.Cap() > 0 {
				require.Equal(t, some(n, 2), must[[]byte](t)(b.Recv(nil)))
			}
		}
	})
}

// A message that RecvFunc does not use goes to another receive.
func TestBytesRecvFuncInVain(t *testing.T) {
	eachBytes(t, []int{1, 4}, func(t *testing.T, b *Bytes) {
		bad := errors.New("bad")
		for _, n := range lengthsOf(b) {
			require.NoError(t, b.Send(some(n, n)))
			require.ErrorIs(t, b.RecvFunc(t.Context(), func([]byte) error { return bad }), bad)
			require.PanicsWithValue(t, "no", func() { _ = b.RecvFunc(t.Context(), func([]byte) error { panic("no") }) })
			require.Equal(t, 1, b.Len())
			require.Equal(t, some(n, n), must[[]byte](t)(b.TryRecv([]byte{})))
		}
		if !b.BytesReceiver.h.oneRecver { // Which never takes it out.
			require.Equal(t, uint64(2*len(lengthsOf(b))), b.Stats().Redelivered)
		}
	})
}

// A single role is not to be used within its own function.
func TestBytesNested(t *testing.T) {
	b := openBytes(t, WithSingleSender(), WithSingleReceiver(), WithMaxMessage(testMost), WithCapacity(4))
	for _, n := range []int{10, testMost} {
		require.NoError(t, b.SendFunc(t.Context(), n, func([]byte) (int, error) {
			require.ErrorIs(t, b.Send(nil), ErrBusy)
			require.ErrorIs(t, b.TrySend(make([]byte, testMost)), ErrBusy)
			require.ErrorIs(t, b.SendFunc(t.Context(), n, nil), ErrBusy)
			return n, nil
		}))
		require.NoError(t, b.RecvFunc(t.Context(), func(msg []byte) error {
			require.Len(t, msg, n)
			require.ErrorIs(t, second(b.Recv(nil)), ErrBusy)
			require.ErrorIs(t, second(b.TryRecv(nil)), ErrBusy)
			require.ErrorIs(t, b.RecvFunc(t.Context(), nil), ErrBusy)
			return nil
		}))
	}
}

// Capacity is exact, by the slots and, with the usual arena, by its room.
func TestBytesCapacityIsExact(t *testing.T) {
	eachBytes(t, []int{1, 3, 4, 7}, func(t *testing.T, b *Bytes) {
		for shift := range 5 { // Also when full begins elsewhere.
			for i := range b.Cap() {
				require.NoError(t, b.TrySend(some(b.MaxMessage(), i)))
			}
			require.ErrorIs(t, b.TrySend(nil), ErrFull)
			require.ErrorIs(t, b.TrySend(some(b.MaxMessage(), 0)), ErrFull)
			require.Equal(t, b.Cap(), b.Len())
			for i := range b.Cap() {
				require.Equal(t, some(b.MaxMessage(), i), must[[]byte](t)(b.TryRecv(nil)))
			}
			for range shift {
				require.NoError(t, b.Send(nil))
				require.Empty(t, must[[]byte](t)(b.Recv(nil)))
			}
		}
	})
}

// small is a channel whose arena has room for two of the longest messages, and both are there.
func withoutRoom(t *testing.T, opts ...Option) *Bytes {
	b := openBytes(t, append(opts, WithMaxMessage(bulkLarge), WithArena(2*bulkLarge), WithCapacity(8))...)
	for i := range 2 {
		require.NoError(t, b.TrySend(some(bulkLarge, i)))
	}
	return b
}

// parkedForRoom sends another one, which waits for room.
func parkedForRoom(t *testing.T, b *Bytes, send func() error) chan error {
	done := make(chan error, 1)
	before := b.Stats().Parked
	go func() { done <- send() }()
	until(t, "parked", func() bool { return b.Stats().Parked > before })
	require.Equal(t, 2, b.Len(), "it is not there yet")
	return done
}

// A Send waits for room and gets it, with its place in the order.
func TestBytesWaitForRoom(t *testing.T) {
	noBackstop(t)
	for kind, opts := range kinds {
		for name, send := range map[string]func(b *Bytes) error{
			"Send": func(b *Bytes) error { return b.Send(some(bulkLarge, 2)) },
			"SendFunc": func(b *Bytes) error {
				return b.SendFunc(t.Context(), bulkLarge, func(buf []byte) (int, error) { return copy(buf, some(bulkLarge, 2)), nil })
			},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				b := withoutRoom(t, append(opts, WithWait(Park))...)
				require.ErrorIs(t, b.TrySend(some(bulkLarge, 9)), ErrFull)
				require.ErrorContains(t, b.TrySend(some(bulkLarge, 9)), "no room")
				done := parkedForRoom(t, b, func() error { return send(b) })
				if kind != "single sender" && kind != "single" {
					require.NoError(t, b.TrySend([]byte("small")), "others go on")
					require.ErrorIs(t, b.TrySend(some(bulkLarge, 9)), ErrFull)
				}
				for i := range 2 {
					require.Equal(t, some(bulkLarge, i), must[[]byte](t)(b.Recv(nil)))
				}
				require.NoError(t, <-done)
				require.Equal(t, some(bulkLarge, 2), must[[]byte](t)(b.Recv(nil)), "before what was sent later")
			})
		}
	}
}

// What ends a wait for room: a context, Close, Detach, nobody who receives, a death; and nothing was sent.
func TestBytesWaitForRoomEnds(t *testing.T) {
	noBackstop(t)
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			b := withoutRoom(t, append(opts, WithWait(Park))...)
			ctx, cancel := context.WithCancelCause(t.Context())
			done := parkedForRoom(t, b, func() error { return b.SendContext(ctx, some(bulkLarge, 2)) })
			cancel(nil)
			require.ErrorIs(t, <-done, context.Canceled)
			done = parkedForRoom(t, b, func() error { return b.Send(some(bulkLarge, 2)) })
			require.NoError(t, b.BytesReceiver.Close())
			require.ErrorIs(t, <-done, ErrClosed)
			for i := range 2 {
				require.Equal(t, some(bulkLarge, i), must[[]byte](t)(b.Recv(nil)))
			}
			require.ErrorIs(t, second(b.Recv(nil)), ErrClosed)

			b = withoutRoom(t, append(opts, WithWait(Park))...)
			done = parkedForRoom(t, b, func() error { return b.Send(some(bulkLarge, 2)) })
			require.NoError(t, b.BytesSender.Detach())
			require.ErrorIs(t, <-done, ErrDetached)
			require.Equal(t, 2, b.Len())

			b = withoutRoom(t, append(opts, WithWait(Park), WithDisconnect())...)
			done = parkedForRoom(t, b, func() error { return b.Send(some(bulkLarge, 2)) })
			require.NoError(t, b.BytesReceiver.Detach())
			require.ErrorIs(t, <-done, ErrDisconnected)
		})
	}
}

// Room that another process had in hand is to be had when it dies.
func TestBytesRoomOfTheDead(t *testing.T) {
	for _, what := range []string{"send", "recv"} {
		for kind, opts := range kinds {
			t.Run(what+" "+kind, func(t *testing.T) {
				b := openBytes(t, append(opts, WithWait(Park), WithMaxMessage(bulkLarge), WithArena(2*bulkLarge), WithCapacity(8))...)
				if what == "send" {
					if b.BytesSender.h.oneSender {
						t.Skip("the single role is the child's")
					}
					c := start(t, "bytes holder", b.BytesSender.h.opts.dir, what)
					require.Equal(t, "in", c.line())
					require.NoError(t, b.TrySend(some(bulkLarge, 0)))
					require.ErrorIs(t, b.TrySend(some(bulkLarge, 1)), ErrFull)
					done := make(chan error, 1)
					go func() { done <- b.Send(some(bulkLarge, 1)) }()
					until(t, "parked", func() bool { return b.Stats().Parked > 0 })
					c.kill()
					require.NoError(t, <-done)
					for i := range 2 {
						require.Equal(t, some(bulkLarge, i), must[[]byte](t)(b.Recv(nil)))
					}
					return
				}
				for i := range 2 {
					require.NoError(t, b.TrySend(some(bulkLarge, i)))
				}
				if b.BytesReceiver.h.oneRecver {
					require.NoError(t, b.BytesReceiver.Detach())
				}
				c := start(t, "bytes holder", b.BytesSender.h.opts.dir, what)
				require.Equal(t, "in", c.line())
				require.ErrorIs(t, b.TrySend(some(bulkLarge, 2)), ErrFull)
				c.kill()
				r := b.BytesReceiver
				if r.h.recv.detached.Load() {
					r = must[*BytesReceiver](t)(OpenBytesReceiver("test", WithDir(b.BytesSender.h.opts.dir)))
					defer func() { require.NoError(t, r.Detach()) }()
				}
				first, second := must[[]byte](t)(r.Recv(nil)), must[[]byte](t)(r.Recv(nil))
				if slices.Equal(first, some(bulkLarge, 1)) { // It was not known to be dead yet.
					first, second = second, first
				}
				require.Equal(t, some(bulkLarge, 0), first, "it is delivered again, as it was")
				require.Equal(t, some(bulkLarge, 1), second)
				require.NoError(t, b.Send(some(bulkLarge, 2)))
				require.Equal(t, some(bulkLarge, 2), must[[]byte](t)(r.Recv(nil)))
			})
		}
	}
}

func init() {
	// A process that stays in the middle of a call with a message in the arena.
	roles["bytes holder"] = func(args []string) error {
		hold := func([]byte) (int, error) {
			fmt.Println("in")
			_, err := fmt.Scanln(new(string))
			return 0, err
		}
		if args[1] == "send" {
			s, err := OpenBytesSender("test", WithDir(args[0]), WithAttach())
			if err != nil {
				return err
			}
			return s.SendFunc(forever, s.MaxMessage(), hold)
		}
		r, err := OpenBytesReceiver("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		return r.RecvFunc(forever, func(msg []byte) error { return second(hold(msg)) })
	}
}

// Positions of which the words of the arena hold all bits set are positions like others.
func TestBytesPositionOfAllBits(t *testing.T) {
	b := openBytes(t, WithMaxMessage(bulkLarge), WithArena(2*bulkLarge), WithCapacity(8), withStart(1<<32-1))
	for i := range 2 {
		require.NoError(t, b.TrySend(some(bulkLarge, i)))
	}
	require.ErrorIs(t, b.TrySend(some(bulkLarge, 2)), ErrFull)
	for i := range 2 {
		require.Equal(t, some(bulkLarge, i), must[[]byte](t)(b.Recv(nil)))
	}
}

// The descriptor is readable once there is room for what was refused.
func TestBytesDescriptors(t *testing.T) {
	noBackstop(t) // It would raise one that it has found ready before, however long before.
	bothEvents(t, func(t *testing.T) {
		for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
			b := withoutRoom(t, opts...)
			rfd, sfd := must[int](t)(b.RecvFD()), must[int](t)(b.SendFD())
			for range 3 {
				require.True(t, readable(t, rfd, -1))
				require.ErrorIs(t, b.TrySend(some(bulkLarge, 2)), ErrFull)
				require.False(t, readable(t, sfd, 0), "there are slots, and no room")
				require.ErrorIs(t, b.TrySend(some(2*1024, 2)), ErrFull)
				require.Equal(t, some(bulkLarge, 0), must[[]byte](t)(b.Recv(nil)))
				require.True(t, readable(t, sfd, -1))
				require.NoError(t, b.TrySend(some(bulkLarge, 2)))
				require.ErrorIs(t, b.TrySend(some(bulkLarge, 2)), ErrFull)
				require.False(t, readable(t, sfd, 0))
				require.Equal(t, some(bulkLarge, 1), must[[]byte](t)(b.Recv(nil)))
				require.Equal(t, some(bulkLarge, 2), must[[]byte](t)(b.Recv(nil)))
				require.ErrorIs(t, second(b.TryRecv(nil)), ErrEmpty)
				require.False(t, readable(t, rfd, 0))
				require.True(t, readable(t, sfd, -1))
				for i := range 2 {
					require.NoError(t, b.TrySend(some(bulkLarge, i)))
				}
			}
			require.NoError(t, b.Close())
			require.True(t, readable(t, sfd, -1))
			require.ErrorIs(t, b.TrySend(nil), ErrClosed)
		}
	})
}

// The descriptor of a process is readable when another one has received.
func TestBytesDescriptorAcrossHandles(t *testing.T) {
	noBackstop(t)
	b := withoutRoom(t)
	other := againBytes(t, b)
	fd := must[int](t)(b.SendFD())
	require.ErrorIs(t, b.TrySend(some(bulkLarge, 2)), ErrFull)
	require.False(t, readable(t, fd, 0))
	require.Equal(t, some(bulkLarge, 0), must[[]byte](t)(other.Recv(nil)))
	require.True(t, readable(t, fd, -1))
	require.NoError(t, b.TrySend(some(bulkLarge, 2)))
}

// What is said of messages when a channel is opened.
func TestBytesOptions(t *testing.T) {
	dir := WithDir(memDir(t))
	b := must[*Bytes](t)(OpenBytes("test", dir))
	require.Equal(t, DefaultMaxMessage, b.MaxMessage())
	require.Equal(t, DefaultCapacity, b.Cap())
	require.Equal(t, "test", b.Name())
	require.NoError(t, b.Send(make([]byte, DefaultMaxMessage)))
	_, err := Open[int64]("test", dir)
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "int64")
	require.ErrorContains(t, err, "bytes")
	_, err = OpenBytes("test", dir, WithMaxMessage(100))
	var m *MismatchError
	require.ErrorAs(t, err, &m)
	require.Equal(t, &MismatchError{"test", "the longest message", "100 bytes", "4096 bytes", m.PID}, m)
	_, err = OpenBytes("test", dir, WithMaxMessage(1<<20), WithArena(1<<22))
	require.ErrorIs(t, err, ErrMismatch)
	require.NoError(t, b.Detach())
	require.NoError(t, Remove("test", dir))

	b = must[*Bytes](t)(OpenBytes("test", dir, WithMaxMessage(5000), WithArena(50000), WithCapacity(3)))
	_, err = OpenBytes("test", dir, WithMaxMessage(5000), WithArena(60000))
	require.ErrorAs(t, err, &m)
	require.Equal(t, &MismatchError{"test", "the arena", "60000 bytes", "50000 bytes", m.PID}, m)
	for _, opts := range [][]Option{nil, {WithMaxMessage(5000)}, {WithArena(50000)}} {
		other := must[*Bytes](t)(OpenBytes("test", append(opts, dir)...))
		require.Equal(t, 5000, other.MaxMessage())
		require.NoError(t, other.Detach())
	}
	s := must[*BytesSender](t)(OpenBytesSender("test", dir))
	r := must[*BytesReceiver](t)(OpenBytesReceiver("test", dir))
	require.Equal(t, 5000, s.MaxMessage())
	require.Equal(t, 5000, r.MaxMessage())
	require.Equal(t, 3, s.Cap())
	require.Equal(t, 3, r.Cap())
	require.Equal(t, "test", s.Name())
	require.Equal(t, "test", r.Name())
	require.NoError(t, s.Send(make([]byte, 5000)))
	require.Equal(t, 1, r.Len())
	require.Equal(t, 1, s.Len())
	require.Equal(t, 2, s.Stats().Senders)
	require.Equal(t, 2, r.Stats().Receivers)
	require.Len(t, must[[]byte](t)(r.Recv(nil)), 5000)
	require.NoError(t, errors.Join(s.Detach(), r.Close(), r.Detach(), b.Detach()))
	require.ErrorIs(t, b.Send(nil), ErrDetached)
	require.ErrorIs(t, b.Detach(), ErrDetached)

	typed := must[*Chan[int64]](t)(Open[int64]("test", dir))
	_, err = OpenBytes("test", dir)
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "int64")
	require.NoError(t, errors.Join(typed.Close(), typed.Detach()))

	for _, n := range []int{1, maxMessage} {
		o := newOptions([]Option{WithMaxMessage(n)})
		require.Empty(t, o.invalid)
		require.EqualValues(t, n, o.maxMessage)
	}
	for _, n := range []uint64{1, min(maxArena, math.MaxInt)} {
		o := newOptions([]Option{WithArena(int(n))})
		require.Empty(t, o.invalid)
		require.Equal(t, n, o.arena)
	}
	for what, opts := range map[string][]Option{
		"WithMaxMessage(0)":           {WithMaxMessage(0)},
		"WithMaxMessage(-1)":          {WithMaxMessage(-1)},
		"WithMaxMessage(1073741825)":  {WithMaxMessage(1<<30 + 1)},
		"WithArena(0)":                {WithMaxMessage(5000), WithArena(0)},
		"no room for two messages":    {WithMaxMessage(5000), WithArena(9000)},
		"all of which fit in a slot":  {WithMaxMessage(4096), WithArena(1 << 20)},
		"all of which fit in a  slot": nil,
	} {
		if opts == nil {
			continue
		}
		_, err = OpenBytes("test", append(opts, dir)...)
		require.ErrorIs(t, err, fs.ErrInvalid, what)
		require.ErrorContains(t, err, what)
		require.ErrorContains(t, err, `channel "test"`)
		_, err = NewBytes(opts...)
		require.ErrorIs(t, err, fs.ErrInvalid, what)
		require.ErrorContains(t, err, what)
	}
	for _, o := range []Option{WithMaxMessage(100), WithArena(1 << 20)} {
		_, err = Open[int64]("test", dir, o)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "WithMaxMessage and WithArena are for channels of bytes")
		_, err = New[int64](o)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "WithMaxMessage and WithArena are for channels of bytes")
	}
	dirEmpty(t, b.BytesSender.h.opts.dir)
}

// A channel for messages of up to 16 MiB does not reserve that for each of its slots.
func TestBytesSize(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 4 {
		t.Skip("64 MiB are much of a 32-bit program's memory")
	}
	b := openBytes(t, WithMaxMessage(16<<20))
	i := must[Info](t)(Inspect("test", WithDir(b.BytesSender.h.opts.dir)))
	require.Less(t, i.Bytes, int64(66<<20))
	require.Equal(t, 16<<20, i.MaxMessage)
	require.Equal(t, int64(64<<20), i.Arena)
	require.NoError(t, b.Send(some(1000, 1)))
	require.Zero(t, must[Info](t)(Inspect("test", WithDir(b.BytesSender.h.opts.dir))).ArenaUsed)
	require.NoError(t, b.Send(make([]byte, 5<<20)))
	require.NoError(t, b.Send(make([]byte, 5000)))
	i = must[Info](t)(Inspect("test", WithDir(b.BytesSender.h.opts.dir)))
	require.Equal(t, int64(5<<20+8<<10), i.ArenaUsed, "blocks of 4 KiB")
	require.Equal(t, "[]byte", i.Type)
	for range 3 {
		require.NoError(t, second(b.Recv(nil)))
	}
	require.Zero(t, must[Info](t)(Inspect("test", WithDir(b.BytesSender.h.opts.dir))).ArenaUsed)
}

// No call allocates, but a Recv for its result.
func TestBytesNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for kind, opts := range kinds {
		for how, more := range map[string][]Option{"": nil, ", three": {WithCapacity(3)}, ", checked": {WithChecksum()}} {
			for _, n := range []int{10, inlineSmall, 5000} {
				b := openBytes(t, slices.Concat([]Option{WithCapacity(8), WithMaxMessage(10000)}, opts, more)...)
				ctx, p, dst := t.Context(), make([]byte, n), make([]byte, 0, n)
				fill, use := func([]byte) (int, error) { return n, nil }, //nolint:unparam // As SendFunc wants it.
					func([]byte) error { return nil }
				for what, call := range map[string]func(){
					"Send Recv":               func() { _ = b.Send(p); _, _ = b.Recv(dst) },
					"SendContext RecvContext": func() { _ = b.SendContext(ctx, p); _, _ = b.RecvContext(ctx, dst) },
					"TrySend TryRecv":         func() { _ = b.TrySend(p); _, _ = b.TryRecv(dst) },
					"TryRecv on empty":        func() { _, _ = b.TryRecv(dst) },
					"SendFunc RecvFunc":       func() { _ = b.SendFunc(ctx, n, fill); _ = b.RecvFunc(ctx, use) },
				} {
					assert.Zero(t, testing.AllocsPerRun(100, call), "%s%s: %s of %d", kind, how, what, n)
				}
				for b.TrySend(p) == nil {
				}
				assert.Zero(t, testing.AllocsPerRun(100, func() { _ = b.TrySend(p) }), "%s%s: TrySend on full", kind, how)
			}
		}
	}
	ping, pong := openBytes(t, WithCapacity(1), WithWait(Park), WithMaxMessage(5000)), openBytes(t, WithCapacity(1), WithWait(Park), WithMaxMessage(5000))
	go func() {
		buf, err := ping.Recv(make([]byte, 0, 5000))
		for ; err == nil; buf, err = ping.Recv(buf[:0]) {
			_ = pong.Send(buf)
		}
	}()
	buf, p := make([]byte, 0, 5000), make([]byte, 5000)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = ping.Send(p); _, _ = pong.Recv(buf) }), "parked, there and back")
	require.NoError(t, ping.Close())
}

// A message in hand holds up its own slot and its own room, and nothing else.
func TestBytesOthersPass(t *testing.T) {
	b := openBytes(t, WithMaxMessage(bulkLarge), WithCapacity(4))
	other := againBytes(t, b)
	require.NoError(t, b.SendFunc(t.Context(), bulkLarge, func(buf []byte) (int, error) {
		for i := range 3 {
			require.NoError(t, other.TrySend(some(bulkLarge, i)))
			require.Equal(t, some(bulkLarge, i), must[[]byte](t)(other.TryRecv(nil)))
		}
		require.ErrorIs(t, other.TrySend(some(bulkLarge, 3)), ErrFull, "once round")
		return copy(buf, some(bulkLarge, 9)), nil
	}))
	require.NoError(t, b.RecvFunc(t.Context(), func(msg []byte) error {
		require.Equal(t, some(bulkLarge, 9), msg)
		require.ErrorIs(t, other.TrySend(nil), ErrFull, "still")
		return nil
	}))
	require.NoError(t, b.Send(some(bulkLarge, 9)))
	require.NoError(t, b.RecvFunc(t.Context(), func(msg []byte) error {
		for i := range 3 {
			require.NoError(t, other.TrySend(some(bulkLarge, i)))
			require.Equal(t, some(bulkLarge, i), must[[]byte](t)(other.TryRecv(nil)))
		}
		require.ErrorIs(t, other.TrySend(some(bulkLarge, 3)), ErrFull, "once round")
		require.Equal(t, some(bulkLarge, 9), msg, "it stays as it is")
		return nil
	}))
}

// Spinning too.
func TestBytesWaits(t *testing.T) {
	for _, w := range []Wait{Adaptive, Spin, Park} {
		ping := openBytes(t, WithWait(w), WithCapacity(2), WithMaxMessage(testMost), WithArena(2*testMost+1024))
		pong := openBytes(t, WithWait(w), WithCapacity(2), WithMaxMessage(testMost), WithArena(2*testMost+1024))
		done := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = ping.RecvFunc(forever, func(msg []byte) error { return pong.Send(msg) })
			}
			done <- err
		}()
		began := time.Now()
		for i := range 300 {
			p := some(i*97%testMost, i)
			require.NoError(t, ping.Send(p))
			require.True(t, slices.Equal(p, must[[]byte](t)(pong.Recv(nil))))
		}
		t.Log(time.Since(began))
		require.NoError(t, ping.Close())
		require.ErrorIs(t, <-done, ErrClosed)
	}
}
