package shmchan

// Checksums: every bit of a slot flipped, one at a time, by every way to receive; values that lie where they were not sent to;
// values that come back. What it does not show: damage that somebody means, who can write a fitting sum.

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// padded has padding, which Go's assignment need not copy.
type padded struct {
	A uint8
	B uint64
	C uint16
	D bool
}

func waysToReceive[T any](ch *Chan[T]) map[string]func() (T, error) {
	return map[string]func() (T, error){
		"Recv": ch.Recv, "TryRecv": ch.TryRecv,
		"RecvContext": func() (T, error) { return ch.RecvContext(forever) },
		"RecvBatch": func() (T, error) {
			buf := make([]T, 1)
			_, err := ch.RecvBatch(forever, buf)
			return buf[0], err
		},
		"RecvFunc": func() (v T, err error) {
			err = ch.RecvFunc(forever, func(p *T) error { v = *p; return nil })
			return v, err
		},
	}
}

func waysToSend[T any](ch *Chan[T]) map[string]func(v T) error {
	return map[string]func(v T) error{
		"Send": ch.Send, "TrySend": ch.TrySend,
		"SendContext": func(v T) error { return ch.SendContext(forever, v) },
		"SendBatch":   func(v T) error { return second(ch.SendBatch(forever, []T{v})) },
		"SendFunc":    func(v T) error { return ch.SendFunc(forever, func(p *T) error { *p = v; return nil }) },
	}
}

// Every way to send fits every way to receive, with padding in the slot that others have left there.
func TestChecksum(t *testing.T) {
	for kind, opts := range kinds {
		ch := openTest[padded](t, append(opts, WithCapacity(3), WithChecksum(), withStart(1<<posBits-5))...)
		h := ch.Sender.h
		for i := range 3 * h.stride {
			*(*byte)(unsafe.Add(h.slots, i)) |= 0xa0 &^ byte(0xff*b2i(i%h.stride < valueOffset))
		}
		n := uint64(0)
		for how, send := range waysToSend(ch) {
			for from, recv := range waysToReceive(ch) {
				n++
				want := padded{uint8(n), n * n, uint16(n), n%2 == 0}
				require.NoError(t, send(want), "%s %s", kind, how)
				got, err := recv()
				require.NoError(t, err, "%s %s %s", kind, how, from)
				require.Equal(t, want, got)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A flipped bit of the value, its padding or its sum is ErrCorrupt, which names position and slot; the value is dropped and
// the next one comes.
func TestEveryBitOfASlot(t *testing.T) {
	for kind, opts := range kinds {
		for how := range waysToReceive(&Chan[padded]{&Sender[padded]{}, &Receiver[padded]{}}) {
			ch := openTest[padded](t, append(opts, WithCapacity(4), WithChecksum())...)
			h := ch.Sender.h
			end := sumOffset(h.info.size) + sumSize
			want := padded{1, 2, 3, true}
			for bit := uint64(8 * valueOffset); bit < 8*end; bit++ {
				require.NoError(t, ch.Send(want))
				require.NoError(t, ch.Send(padded{B: 7}))
				pos := h.recvFrom()
				*(*byte)(unsafe.Add(h.slots, uintptr(pos&h.mask)*h.stride+uintptr(bit/8))) ^= 1 << (bit % 8)
				got, err := waysToReceive(ch)[how]()
				require.ErrorIs(t, err, ErrCorrupt, "%s %s bit %d", kind, how, bit)
				require.ErrorContains(t, err, fmt.Sprintf(`channel "test": shared memory is corrupt: the value at position %d, in slot %d of 4, does not match its checksum`, pos, pos&h.mask))
				require.Zero(t, got)
				got, err = ch.Recv()
				require.NoError(t, err, "%s %s bit %d: the next one is not affected", kind, how, bit)
				require.Equal(t, padded{B: 7}, got)
			}
		}
	}
}

// A flipped bit of the word is an error, or has the value passed by, as if it were in somebody's hands; it never changes a value.
func TestEveryBitOfAWord(t *testing.T) {
	for kind, opts := range kinds {
		for bit := range 8 * valueOffset {
			ch := openTest[padded](t, append(opts, WithCapacity(4), WithChecksum())...)
			require.NoError(t, ch.Send(padded{1, 2, 3, true}))
			require.NoError(t, ch.Send(padded{B: 7}))
			*(*byte)(unsafe.Add(ch.Sender.h.slots, bit/8)) ^= 1 << (bit % 8)
			if got, err := ch.TryRecv(); err == nil {
				require.Equal(t, padded{B: 7}, got, "%s bit %d", kind, bit)
			} else {
				require.Zero(t, got)
			}
		}
	}
}

// A value with its sum that lies in another slot, or is of an earlier lap, is none.
func TestChecksumOfAnotherPlace(t *testing.T) {
	ch := openTest[uint64](t, WithCapacity(4), WithChecksum())
	h := ch.Sender.h
	bytesAt := func(pos uint64) []byte { return unsafe.Slice((*byte)(h.value(pos)), h.stride-valueOffset) }
	for i := range uint64(4) {
		require.NoError(t, ch.Send(i))
	}
	old := append([]byte(nil), bytesAt(0)...)
	copy(bytesAt(1), bytesAt(2))
	require.Equal(t, uint64(0), must[uint64](t)(ch.Recv()))
	require.ErrorIs(t, second(ch.Recv()), ErrCorrupt)
	require.Equal(t, uint64(2), must[uint64](t)(ch.Recv()))
	require.NoError(t, ch.Send(0)) // position 4, in the slot of position 0
	copy(bytesAt(4), old)
	require.Equal(t, uint64(3), must[uint64](t)(ch.Recv()))
	require.ErrorContains(t, second(ch.Recv()), "position 4, in slot 0")
}

// A bool that is none, with a sum that fits, is said to be that, by every way to receive.
func TestChecksumOfABool(t *testing.T) {
	for how := range waysToReceive(&Chan[padded]{&Sender[padded]{}, &Receiver[padded]{}}) {
		ch := openTest[padded](t, WithCapacity(2), WithChecksum())
		require.NoError(t, ch.Send(padded{A: 1}))
		require.NoError(t, ch.Send(padded{A: 2}))
		*(*byte)(unsafe.Add(ch.Sender.h.value(0), unsafe.Offsetof(padded{}.D))) = 2
		ch.Sender.h.putSum(0)
		got, err := waysToReceive(ch)[how]()
		require.ErrorIs(t, err, ErrCorrupt, how)
		require.ErrorContains(t, err, "position 0 has a bool that is neither 0 nor 1", how)
		require.Zero(t, got)
		require.Equal(t, padded{A: 2}, must[padded](t)(ch.Recv()))
	}
}

// RecvBatch stops at the damaged value: those before it have come, those behind it come next.
func TestChecksumInABatch(t *testing.T) {
	for _, bad := range []uint64{0, 1, 2} {
		ch := openTest[uint64](t, WithCapacity(4), WithChecksum())
		require.Equal(t, 4, must[int](t)(ch.SendBatch(forever, []uint64{10, 11, 12, 13})))
		*(*uint64)(ch.Sender.h.value(bad)) ^= 1 << 40
		buf := make([]uint64, 4)
		n, err := ch.RecvBatch(forever, buf)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf("position %d, in slot %d of 4, does not match its checksum", bad, bad))
		require.Equal(t, []uint64{10, 11, 12}[:bad], buf[:n:n])
		n, err = ch.RecvBatch(forever, buf)
		require.NoError(t, err)
		require.Equal(t, []uint64{11, 12, 13}[bad:], buf[:n])
	}
}

// RecvFunc checks a value without bools too.
func TestChecksumInPlace(t *testing.T) {
	ch := openTest[uint64](t, WithChecksum())
	require.NoError(t, ch.Send(5))
	*(*uint64)(ch.Sender.h.value(0)) ^= 1
	require.ErrorIs(t, ch.RecvFunc(forever, func(*uint64) error { t.Error("it is none"); return nil }), ErrCorrupt)
	require.Zero(t, ch.Len())
}

// The same of a rendezvous, whose sender has done its part.
func TestChecksumOfARendezvous(t *testing.T) {
	ch := openTest[uint64](t, WithCapacity(0), WithChecksum())
	for bit := range 64 {
		sent := make(chan error)
		go func() { sent <- ch.Send(5) }()
		require.Equal(t, uint64(5), must[uint64](t)(ch.Recv()))
		require.NoError(t, <-sent)
		go func() { sent <- ch.Send(6) }()
		h := ch.Sender.h
		until(t, "it is offered", func() bool { return h.canRecv(h.recvFrom()) })
		*(*uint64)(h.value(h.recvFrom())) ^= 1 << bit
		require.ErrorIs(t, second(ch.Recv()), ErrCorrupt)
		require.NoError(t, <-sent)
	}
}

// A value that was given back, or left by one who died, still has its sum; and what use does to its copy does not matter.
func TestChecksumOfWhatComesBack(t *testing.T) {
	for kind, opts := range kinds {
		ch := openTest[padded](t, append(opts, WithCapacity(4), WithChecksum())...)
		require.NoError(t, ch.Send(padded{A: 9}))
		require.ErrorIs(t, ch.RecvFunc(forever, func(v *padded) error { v.A = 1; return errNo }), errNo)
		require.ErrorIs(t, ch.RecvFunc(forever, func(v *padded) error { // after the check
			*(*byte)(ch.Sender.h.value(0)) ^= 4
			require.Equal(t, uint8(9), v.A)
			*(*byte)(ch.Sender.h.value(0)) ^= 4
			return errNo
		}), errNo)
		require.Equal(t, padded{A: 9}, must[padded](t)(ch.Recv()), kind)
	}
	ch := openTest[tick](t, WithCapacity(4), WithChecksum())
	require.NoError(t, ch.Send(tick{Seq: 5}))
	c := start(t, "checksum-reader", ch.Sender.h.opts.dir)
	require.Equal(t, "in", c.line())
	c.kill()
	require.Equal(t, tick{Seq: 5}, must[tick](t)(ch.Recv()))
	require.EqualValues(t, 1, ch.Stats().Recovered)
}

func init() {
	roles["checksum-reader"] = func(args []string) error {
		ch, err := Open[tick]("test", WithDir(args[0]), WithAttach(), WithChecksum())
		if err != nil {
			return err
		}
		return ch.RecvFunc(forever, func(*tick) error {
			fmt.Println("in")
			_, _ = fmt.Scanln(new(string))
			return errNo
		})
	}
}

// It belongs to the channel: who attaches need not say so, but what it says must match.
func TestChecksumBelongsToTheChannel(t *testing.T) {
	ch := openTest[int64](t, WithChecksum())
	again(t, ch)
	again(t, ch, WithChecksum())
	info, err := Inspect("test", WithDir(ch.Sender.h.opts.dir))
	require.NoError(t, err)
	require.True(t, info.Checksum)
	plain := openTest[int64](t)
	_, err = Open[int64]("test", WithDir(plain.Sender.h.opts.dir), WithChecksum())
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "the checksum is CRC-32C here, none in the channel")
	info, err = Inspect("test", WithDir(plain.Sender.h.opts.dir))
	require.NoError(t, err)
	require.False(t, info.Checksum)
	require.EqualValues(t, 16, plain.Sender.h.stride, "it costs no other channel anything")
	require.EqualValues(t, 32, ch.Sender.h.stride)
}

// A flag that this version does not know is said to be one.
func TestUnknownFlag(t *testing.T) {
	h := &header{capacity: 3, size: 8, text: ". int64 0 8 8\n", typeName: "int64", flags: 1 << 40}
	require.True(t, h.geometry())
	_, err := decodeHeader(h.encode(), int64(h.length))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "unknown flags 0x10000000000")
}

func TestChecksumAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ch := openTest[padded](t, WithChecksum())
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = ch.SendFunc(forever, func(v *padded) error { v.A = 1; return nil }), ch.Send(padded{})
		_, _ = ch.TryRecv()
		_, _ = ch.Recv()
	}))
}

func benchOptions[T any](b *testing.B) {
	for _, c := range []struct {
		name string
		opts []Option
		long bool
	}{
		{"lane", nil, false}, {"long way", nil, true}, {"checksum", []Option{WithChecksum()}, false}, {"guard", []Option{WithFaultGuard()}, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			ch := openTest[T](b, c.opts...)
			if c.long {
				ch.Sender.h.send.bar.Or(barShared)
				ch.Sender.h.recv.bar.Or(barShared)
			}
			var v T
			for b.Loop() {
				if ch.Send(v) != nil || second(ch.Recv()) != nil {
					b.Fatal("it does not work")
				}
			}
		})
	}
}

// A Send and a Recv, on one goroutine: what the options cost.
func BenchmarkUntrusted(b *testing.B) {
	b.Run("8 bytes", benchOptions[uint64])
	b.Run("64 bytes", benchOptions[[8]uint64])
	b.Run("1024 bytes", benchOptions[[128]uint64])
}
