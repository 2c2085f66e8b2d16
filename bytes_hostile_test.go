package shmchan

// Hostile bytes in a channel of bytes: lengths and places that lie, between pages that nobody may touch; random
// bytes anywhere behind the header; and a file that is cut short under a handle with the guard.
//
// What it shows: a message is whole, or ErrCorrupt, or of another length that its place has room for (with checksums that too
// is ErrCorrupt); nothing beyond the slot, or the extent, is touched; and the next message goes on.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Such channels end with the last slot, or block, at the end of their mapping.
const (
	edgeInline = 176
	edgeArena  = 6 << 10 // of two messages
)

// Every bit of what a slot says of its message, and of the first word of its extent.
func TestBytesThatLie(t *testing.T) {
	guardPages(t)
	for kind, roles := range kinds {
		for where, opts := range map[string][]Option{
			"slot":  {WithMaxMessage(edgeInline)},
			"arena": {WithMaxMessage(edgeArena), WithArena(2 * edgeArena)},
		} {
			for _, checked := range []bool{false, true} {
				opts := slices.Concat(opts, roles, []Option{WithCapacity(2)})
				if checked {
					opts = append(opts, WithChecksum())
				}
				t.Run(fmt.Sprintf("%s %s checked=%v", kind, where, checked), func(t *testing.T) { bytesThatLie(t, opts, checked) })
			}
		}
	}
}

func bytesThatLie(t *testing.T, opts []Option, checked bool) {
	b := openBytes(t, opts...)
	h := b.BytesSender.h
	end := uintptr(unsafe.Pointer(&h.mem[0])) + uintptr(len(h.mem))
	n := b.MaxMessage()
	for word := range 3 {
		if h.arena == nil && word > 0 {
			break
		}
		for bit := range 64 {
			for name, recv := range bytesRecvs(b) {
				if name == "TryRecv" && bit%8 != 0 {
					continue
				}
				// The one whose last byte is the mapping's last.
				var m content
				for {
					require.NoError(t, b.Send(some(n, 1)))
					pos := h.headHint()
					h.look(&pos)
					m = must[content](t)(h.messageAt((pos - 1) & posMask))
					if checked && h.arena == nil || uintptr(unsafe.Pointer(&m.data[0]))+uintptr(n) == end {
						break
					}
					require.NoError(t, second(b.Recv(nil)))
				}
				pos := h.headHint()
				h.look(&pos)
				pos = (pos - 1) & posMask
				v := h.value(pos)
				w := []*atomic.Uint64{(*atomic.Uint64)(v), (*atomic.Uint64)(unsafe.Add(v, metaSize)), nil}[word]
				if word == 2 {
					w = h.arena.word((*atomic.Uint64)(unsafe.Add(v, metaSize)).Load())
				}
				was := w.Load()
				w.Store(was ^ 1<<bit)
				require.NoError(t, b.Send(some(n/3, 2)), "the next one")
				got, err := recv()
				w.CompareAndSwap(was^1<<bit, was) // For the arena's own sake: whoever comes to it next is right to call it corrupt.
				switch {
				case err != nil:
					require.ErrorIs(t, err, ErrCorrupt, "%s, word %d, bit %d", name, word, bit)
					require.ErrorContains(t, err, `channel "test"`)
					if strings.Contains(err.Error(), "says that its length is") {
						require.ErrorContains(t, err, fmt.Sprintf("the message at position %d, in slot %d of 2, says", pos, pos%2))
					}
				case checked && word == 0:
					t.Fatalf("%s, bit %d: it has its checksum all the same", name, bit)
				case word == 0: // Another length that fits.
					require.NotEqual(t, n, len(got))
					require.LessOrEqual(t, len(got), n)
					require.Equal(t, some(n, 1)[:len(got)], got)
				default: // The number of blocks may be larger, and the block another of the same place.
					require.Equal(t, some(n, 1), got, "word %d, bit %d", word, bit)
				}
				require.Equal(t, some(n/3, 2), must[[]byte](t)(b.Recv(nil)), "%s, word %d, bit %d: the next one", name, word, bit)
			}
		}
	}
}

// FuzzBytes writes hostile bytes anywhere behind the header while two handles live on the channel.
func FuzzBytes(f *testing.F) {
	guardPages(f)
	word := func(off uint16, w uint64) []byte {
		return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint16(nil, off), w)
	}
	f.Add(uint8(4), uint8(0), word(0, 0))
	f.Add(uint8(3), uint8(7), word(128, ^uint64(0)))
	f.Add(uint8(2), uint8(4), append(word(2400, metaArena|6000), word(2401, 1<<63)...))
	f.Add(uint8(2), uint8(4), append(word(2500, 1<<48|3<<32), word(2516, 1<<40)...))
	f.Fuzz(func(t *testing.T, capacity, form uint8, writes []byte) {
		opts := []Option{WithCapacity(int(capacity % 5))}
		for bit, o := range [][]Option{{WithSingleSender()}, {WithSingleReceiver()}, {WithMaxMessage(edgeArena), WithArena(2 * edgeArena)}, {WithChecksum()}} {
			if form>>bit&1 != 0 {
				opts = append(opts, o...)
			}
		}
		b := openBytes(t, opts...)
		_ = b.TrySend(some(b.MaxMessage(), 1))
		h := b.BytesSender.h
		from := h.info.ctl
		for round := 0; len(writes) >= 10 && round < 8; round++ {
			off := from + uint64(binary.NativeEndian.Uint16(writes))*8%(h.info.length-from-8)
			if own := uint64(uintptr(unsafe.Pointer(h.entry(h.idx))) - uintptr(unsafe.Pointer(&h.mem[0]))); off >= own && off < own+64 {
				off = h.info.slotsAt // Leave our own entry: it is what says who we are.
			}
			*(*uint64)(unsafe.Pointer(&h.mem[off&^7])) = binary.NativeEndian.Uint64(writes[2:])
			writes = writes[10:]
			exerciseBytes(t, b)
		}
	})
}

// exerciseBytes makes every call once, none of which may take long.
func exerciseBytes(t testing.TB, b *Bytes) {
	began := cpuTime()
	var r report
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	short := func(p []byte, err error) {
		r.of(err)
		if len(p) > b.MaxMessage() {
			r.err(fmt.Errorf("a message of %d bytes", len(p)))
		}
	}
	p := some(b.MaxMessage(), 3)
	r.of(b.TrySend(p))
	short(b.TryRecv(nil))
	r.of(b.TrySend(p[:10]))
	short(b.TryRecv(nil))
	r.of(b.SendContext(ctx, p))
	r.of(b.SendFunc(ctx, len(p), func([]byte) (int, error) { return 0, errNo }))
	r.of(b.SendFunc(ctx, len(p), func(buf []byte) (int, error) { clear(buf); return len(buf) / 2, nil }))
	r.of(b.RecvFunc(ctx, func(msg []byte) error { short(msg, nil); return errNo }))
	short(b.RecvContext(ctx, nil))
	_, _ = b.Len(), b.Stats()
	_, err := Inspect("test", WithDir(b.BytesSender.h.opts.dir))
	r.of(err)
	require.NoError(t, r.wrong)
	if d := cpuTime() - began; d > 10*time.Second {
		t.Fatalf("took %v of a CPU", d)
	}
}

// bytesGuardCalls are all calls on a channel of bytes.
var bytesGuardCalls = map[string]func(ctx context.Context, b *Bytes) error{
	"Send":        func(_ context.Context, b *Bytes) error { return b.Send(make([]byte, b.MaxMessage())) },
	"SendContext": func(ctx context.Context, b *Bytes) error { return b.SendContext(ctx, make([]byte, b.MaxMessage())) },
	"TrySend":     func(_ context.Context, b *Bytes) error { return b.TrySend(make([]byte, b.MaxMessage())) },
	"SendFunc": func(ctx context.Context, b *Bytes) error {
		return b.SendFunc(ctx, b.MaxMessage(), func(buf []byte) (int, error) { clear(buf); return len(buf), nil })
	},
	"Recv":        func(_ context.Context, b *Bytes) error { return second(b.Recv(nil)) },
	"RecvContext": func(ctx context.Context, b *Bytes) error { return second(b.RecvContext(ctx, nil)) },
	"TryRecv":     func(_ context.Context, b *Bytes) error { return second(b.TryRecv(nil)) },
	"RecvFunc": func(ctx context.Context, b *Bytes) error {
		return b.RecvFunc(ctx, func(msg []byte) error { _ = slices.Clone(msg); return nil })
	},
	"Hold": func(ctx context.Context, b *Bytes) error {
		return holdAndDone(func(v *Held) error { return b.Hold(ctx, v) }, func() error { return second(b.RecvContext(ctx, nil)) })
	},
	"SendFD": func(_ context.Context, b *Bytes) error { return second(b.SendFD()) },
	"RecvFD": func(_ context.Context, b *Bytes) error { return second(b.RecvFD()) },
	"Close":  func(_ context.Context, b *Bytes) error { return b.Close() },
	"Len":    func(_ context.Context, b *Bytes) error { b.Len(); return nil },
	"Stats":  func(_ context.Context, b *Bytes) error { b.Stats(); return nil },
}

func TestBytesFaultGuardCoversEveryMethod(t *testing.T) {
	free := []string{"Cap", "Name", "MaxMessage", "Detach", "Raw"}
	for _, typ := range []reflect.Type{reflect.TypeFor[*BytesSender](), reflect.TypeFor[*BytesReceiver]()} {
		for m := range typ.Methods() {
			_, called := bytesGuardCalls[m.Name]
			require.True(t, called || slices.Contains(free, m.Name), "%v.%s is not in bytesGuardCalls", typ, m.Name)
		}
	}
}

// A file that is cut short, anywhere, while calls wait, for room too, and before every call.
func TestBytesFaultGuard(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for _, sent := range []int{0, 2} {
		for i := 0; ; i++ {
			b := openBytes(t, WithMaxMessage(bulkLarge), WithArena(2*bulkLarge), WithCapacity(8), WithFaultGuard(), WithWait(Park))
			h := b.BytesSender.h
			all := lengths(h)
			if i >= len(all) {
				break
			}
			if *hostile == 0 && i%7 != 0 { // Each waits for the backstop.
				require.NoError(t, b.Detach())
				continue
			}
			waits := []string{"Recv", "RecvContext", "RecvFunc"}
			for range sent {
				require.NoError(t, b.TrySend(some(bulkLarge, 1)))
				waits = []string{"Send", "SendContext", "SendFunc"}
			}
			errs := make(chan error)
			for _, name := range waits {
				go func() { errs <- bytesGuardCalls[name](t.Context(), b) }()
			}
			until(t, "parked", func() bool { return b.Stats().Parked >= uint64(len(waits)) })
			require.NoError(t, os.Truncate(h.path, all[i]))
			for range waits {
				require.ErrorIs(t, <-errs, ErrCorrupt, all[i])
			}
			for name, call := range bytesGuardCalls {
				if err := call(forever, b); name != "Len" && name != "Stats" {
					require.ErrorIs(t, err, ErrCorrupt, name)
				}
			}
			require.NoError(t, b.Detach())
		}
	}
}

// Unnamed: what the kernel seals is all of the memory, the arena too.
func TestBytesAreSealed(t *testing.T) {
	if portableUnnamed {
		t.Skip("this system does not seal")
	}
	b := must[*Bytes](t)(NewBytes(WithMaxMessage(1<<20), WithCapacity(2)))
	defer func() { require.NoError(t, b.Detach()) }()
	files := must[[]*os.File](t)(b.Files())
	st := must[os.FileInfo](t)(files[0].Stat())
	require.Greater(t, st.Size(), int64(2<<20))
	for _, size := range []int64{0, st.Size() - 1, st.Size() - 1<<20, st.Size() + 1} {
		require.ErrorIs(t, files[0].Truncate(size), os.ErrPermission)
	}
	_, err := FromFiles[int64](files)
	require.ErrorIs(t, err, ErrMismatch)
	_, err = BytesFromFiles(files, WithMaxMessage(100))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "the longest message is 100 bytes here, 1048576 bytes in the channel")
	other := must[*Bytes](t)(BytesFromFiles(files, WithMaxMessage(1<<20)))
	require.NoError(t, b.Send(some(20000, 1)))
	require.Equal(t, some(20000, 1), must[[]byte](t)(other.Recv(nil)))
	files = must[[]*os.File](t)(other.Files())
	r := must[*BytesReceiver](t)(BytesReceiverFromFiles(files))
	require.NoError(t, b.Send(some(20000, 2)))
	require.Equal(t, some(20000, 2), must[[]byte](t)(r.Recv(nil)))
	files = must[[]*os.File](t)(b.Files())
	_, err = BytesSenderFromFiles(files, WithArena(1<<22))
	require.ErrorIs(t, err, ErrMismatch)
	s := must[*BytesSender](t)(BytesSenderFromFiles(files))
	require.NoError(t, s.Send(nil))
	require.Empty(t, must[[]byte](t)(r.Recv(nil)))
	require.NoError(t, errors.Join(s.Detach(), r.Detach(), other.Detach()))
}
