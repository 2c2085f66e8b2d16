package shmchan

// Hostile bytes: whatever stands in the shared memory, no call crashes, reads out of
// bounds, loops for ever or returns a value that is none. What comes out is a value, an
// error, or (for calls that wait) a wait that a context ends.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fuzzed is as long as it is so that with two slots the last value ends with the last
// page of the file: whoever reads or writes beyond it hits a guard page.
type fuzzed struct {
	A    uint64
	Ok   [3]bool
	B    uint32
	Fill [168]byte
}

// honest says whether v is a value at all.
func (v *fuzzed) honest() error {
	for _, b := range (*[3]uint8)(unsafe.Pointer(&v.Ok)) {
		if b > 1 {
			return fmt.Errorf("a bool is %d", b)
		}
	}
	return nil
}

// wordOf is the word for what a call returned; an error that no call may return is an error.
func wordOf(err error) (string, error) {
	if err == nil {
		return "ok", nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNo) {
		return "no", nil
	}
	for word, known := range map[string]error{
		"full": ErrFull, "empty": ErrEmpty, "closed": ErrClosed, "corrupt": ErrCorrupt, "mismatch": ErrMismatch, "detached": ErrDetached, "gone": fs.ErrNotExist,
	} {
		if errors.Is(err, known) {
			if !strings.Contains(err.Error(), `channel "test"`) {
				return word, fmt.Errorf("it does not name its channel: %w", err)
			}
			return word, nil
		}
	}
	return "", err
}

var errNo = errors.New("no")

// report collects what calls return, and the first thing that must not be.
type report struct {
	words []string
	wrong error
}

func (r *report) of(err error) {
	word, wrong := wordOf(err)
	r.words = append(r.words, word)
	r.err(wrong)
}

func (r *report) err(wrong error) {
	if r.wrong == nil {
		r.wrong = wrong
	}
}

func (r *report) value(v fuzzed, err error) {
	r.of(err)
	r.words = append(r.words, fmt.Sprint(v.A, v.Ok, v.B, crc32.ChecksumIEEE(v.Fill[:])))
	r.err(v.honest())
}

// tryAll makes every call that does not wait.
func (r *report) tryAll(ch *Chan[fuzzed]) {
	r.of(ch.TrySend(fuzzed{A: 1, Ok: [3]bool{true}}))
	r.value(ch.TryRecv())
	r.words = append(r.words, fmt.Sprint(ch.Len()))
	r.of(ch.TrySend(fuzzed{A: 2}))
	r.of(ch.TrySend(fuzzed{A: 3}))
	for range 3 {
		r.value(ch.TryRecv())
	}
}

// waitAll makes every call that may wait, for a millisecond in all.
func (r *report) waitAll(ch *Chan[fuzzed]) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := ch.SendBatch(ctx, make([]fuzzed, 3))
	r.of(err)
	buf := make([]fuzzed, 3)
	n, err := ch.RecvBatch(ctx, buf)
	r.of(err)
	for _, v := range buf[:n] {
		r.err(v.honest())
	}
	r.of(ch.SendFunc(ctx, func(v *fuzzed) error { v.A = 2; return errNo }))
	r.of(ch.RecvFunc(ctx, func(v *fuzzed) error { r.err(v.honest()); return errNo }))
	r.of(ch.SendContext(ctx, fuzzed{}))
	r.value(ch.RecvContext(ctx))
}

// exercise makes every call once, none of which may take long.
func exercise(t testing.TB, ch *Chan[fuzzed]) {
	t.Helper()
	began := cpuTime() // A look at nonsense takes its limit of steps, some 100 ms; the clock would tell how busy the machine is.
	var r report
	r.tryAll(ch)
	r.waitAll(ch)
	_ = ch.Stats()
	_, err := Inspect("test", WithDir(ch.Sender.h.opts.dir))
	r.of(err)
	require.NoError(t, r.wrong)
	if d := cpuTime() - began; d > 10*time.Second {
		t.Fatalf("took %v of a CPU", d)
	}
}

// FuzzLive writes hostile bytes anywhere behind the header while two handles live on the channel.
func FuzzLive(f *testing.F) {
	word := func(off uint16, w uint64) []byte {
		return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint16(nil, off), w)
	}
	guardPages(f)
	f.Add(uint8(4), uint8(0), word(0, 0))
	f.Add(uint8(3), uint8(1), word(128, ^uint64(0)))                         // senders' flags
	f.Add(uint8(0), uint8(0), append(word(8, ^uint64(0)), word(160, 99)...)) // receivers' flags, poster
	f.Add(uint8(5), uint8(2), append(word(256, 1<<39), word(384, 1<<40-1)...))
	f.Fuzz(func(t *testing.T, capacity, roles uint8, writes []byte) {
		opts := []Option{WithCapacity(int(capacity % 9))}
		if roles&1 != 0 {
			opts = append(opts, WithSingleSender())
		}
		if roles&2 != 0 {
			opts = append(opts, WithSingleReceiver())
		}
		ch := openTest[fuzzed](t, opts...)
		for range 2 {
			_ = ch.TrySend(fuzzed{A: 5})
		}
		h := ch.Sender.h
		from := h.info.ctl
		for round := 0; len(writes) >= 10 && round < 8; round++ {
			off := from + uint64(binary.NativeEndian.Uint16(writes))*8%(h.info.length-from-8)
			if own := uint64(uintptr(unsafe.Pointer(h.entry(h.idx))) - uintptr(unsafe.Pointer(&h.mem[0]))); off >= own && off < own+64 {
				off = h.info.slotsAt // Leave our own entry: it is what says who we are.
			}
			*(*uint64)(unsafe.Pointer(&h.mem[off&^7])) = binary.NativeEndian.Uint64(writes[2:])
			writes = writes[10:]
			exercise(t, ch)
		}
	})
}

// FuzzSlot sets slot words as a hostile peer that knows the format would: close to what is allowed.
func FuzzSlot(f *testing.F) {
	guardPages(f)
	f.Add(uint8(4), []byte{0, 1, 0, 0, 1, 0, 1, 0, 2, 2, 250, 0})
	f.Add(uint8(3), []byte{1, 5, 1, 0, 2, 5, 2, 0, 0, 4, 0, 0})
	f.Fuzz(func(t *testing.T, capacity uint8, ops []byte) {
		ch := openTest[fuzzed](t, WithCapacity(int(capacity%9)), withStart(1<<posBits-4))
		r := &ch.Sender.h.ring
		for round := 0; len(ops) >= 4 && round < 16; round++ {
			slot, state, lap, tag := uint64(ops[0])%r.n, uint64(ops[1])%8, uint64(int64(int8(ops[2]))), uint64(ops[3])
			pos := (r.headHint()&^r.mask + slot + lap*r.n) & posMask
			switch {
			case state == stFull && tag%2 == 0:
				tag = r.full
			case tag%3 == 0:
				tag = 0
			case tag%3 == 1:
				tag = r.me
			}
			r.slot(slot).Store(word(pos, tag&tagMask, state))
			if ops[1]&0x80 != 0 {
				r.ctl.head.Store(pos)
			}
			if ops[1]&0x40 != 0 {
				r.ctl.tail.Store(pos)
			}
			ops = ops[4:]
			exercise(t, ch)
		}
	})
}

// FuzzFile changes a file whose participants have all died, in one of several states,
// and then opens it. A change is three bytes of offset and the new byte.
func FuzzFile(f *testing.F) {
	guardPages(f)
	states := snapshots(f)
	names := slices.Sorted(maps.Keys(states))
	f.Fuzz(func(t *testing.T, state uint8, changes []byte) {
		clean := states[names[int(state)%len(names)]]
		dirty := slices.Clone(clean)
		for ; len(changes) >= 4; changes = changes[4:] {
			off := (int(changes[0])<<16 | int(changes[1])<<8 | int(changes[2])) % len(dirty)
			dirty[off] = changes[3]
		}
		v := newTarget(t, clean)
		v.write(t, dirty)
		require.NoError(t, v.use(true).wrong)
	})
}

// FuzzValue puts any bytes where a value lies: it comes out bit for bit, or its bools are corrupt.
func FuzzValue(f *testing.F) {
	guardPages(f)
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 1, 0, 9, 9, 9, 9})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 1, 0, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzzValue(t, raw, false)
		fuzzValue(t, raw, true)
	})
}

func fuzzValue(t *testing.T, raw []byte, checksum bool) {
	opts := []Option{WithCapacity(2)}
	if checksum {
		opts = append(opts, WithChecksum())
	}
	ch := openTest[fuzzed](t, opts...)
	require.NoError(t, ch.Send(fuzzed{}))
	require.NoError(t, ch.Send(fuzzed{A: 77}))
	bytes := unsafe.Slice((*byte)(ch.Sender.h.value(0)), unsafe.Sizeof(fuzzed{}))
	was := slices.Clone(bytes)
	copy(bytes, raw)
	damaged := checksum && !slices.Equal(was, bytes)
	bad := damaged || bytes[8] > 1 || bytes[9] > 1 || bytes[10] > 1
	v, err := ch.Recv()
	if bad {
		require.ErrorIs(t, err, ErrCorrupt)
		require.Equal(t, fuzzed{}, v)
	} else {
		require.NoError(t, err)
		require.Equal(t, binary.NativeEndian.Uint64(bytes), v.A)
		require.Equal(t, bytes[9] == 1, v.Ok[1])
	}
	v, err = ch.Recv()
	require.NoError(t, err, "the next one is not affected")
	require.Equal(t, uint64(77), v.A)
}

// FuzzHeader opens a file with any header and a fitting checksum, which no accident
// but a hostile process can make.
func FuzzHeader(f *testing.F) {
	l := &header{capacity: 3, size: 8, text: ". int64 0 8 8\n", typeName: "int64"}
	l.geometry()
	f.Add(l.encode(), int64(l.length), true)
	f.Add([]byte("shmchan"), int64(4096), false)
	f.Fuzz(func(t *testing.T, raw []byte, size int64, sum bool) {
		if size < 0 || size > 1<<20 {
			return
		}
		if sum && len(raw) >= headerSize {
			binary.NativeEndian.PutUint32(raw[offCRC:], headerCRC(raw))
		}
		dir := t.TempDir()
		path := filepath.Join(dir, filePrefix+"test")
		file, err := os.Create(path)
		require.NoError(t, err)
		_, err = file.Write(raw)
		require.NoError(t, err)
		require.NoError(t, file.Truncate(max(size, int64(len(raw)))))
		require.NoError(t, file.Close())
		if ch, err := Open[int64]("test", WithDir(dir)); err == nil {
			_ = ch.TrySend(1)
			_, _ = ch.TryRecv()
			require.NoError(t, ch.Detach())
		} else {
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrMismatch), err)
		}
		_, _ = Inspect("test", WithDir(dir))
	})
}

// A claim that is sent to and fro ends: its slot still holds the lap before, and the
// position that would have to be free is. It takes all steps that a look may take, which is too
// slow to be in the corpus: the fuzzer gives an input ten seconds, also on a busy machine.
func TestClaimEnds(t *testing.T) {
	ch := openTest[fuzzed](t, WithCapacity(5), withStart(1<<posBits-4))
	r := &ch.Sender.h.ring
	require.Equal(t, uint64(8), r.n)
	p := r.tailHint()
	r.slot(p).Store(word((p-r.n)&posMask, 0, stWriting))
	require.ErrorIs(t, ch.TrySend(fuzzed{}), ErrCorrupt)
	require.ErrorIs(t, ch.Send(fuzzed{}), ErrCorrupt)
}

// What RecvFunc hands out stays a value, also if somebody writes to the slot meanwhile.
func TestRecvFuncWhileSomebodyWrites(t *testing.T) {
	ch := openTest[fuzzed](t, WithCapacity(2))
	require.NoError(t, ch.Send(fuzzed{A: 7}))
	require.NoError(t, ch.RecvFunc(forever, func(v *fuzzed) error {
		*(*byte)(unsafe.Add(ch.Sender.h.value(0), unsafe.Offsetof(v.Ok))) = 2
		return v.honest()
	}))
}

// A length that lies is corrupt, and nothing is read.
func TestLengthThatLies(t *testing.T) {
	for kind, opts := range kinds {
		ch := openTest[fuzzed](t, append(opts, WithCapacity(2))...)
		r := &ch.Sender.h.ring
		require.NoError(t, ch.Send(fuzzed{}))
		r.slot(0).Store(word(0, r.full+8, stFull))
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrCorrupt, kind)
		_, err = ch.Recv()
		require.ErrorIs(t, err, ErrCorrupt, kind)
		require.ErrorContains(t, err, `channel "test"`)
		r.slot(0).Store(word(0, r.full, stFull))
		_, err = ch.Recv()
		require.NoError(t, err)
	}
}

// A header that gives another size than its type is refused: its slots would be too small.
func TestHeaderSizeThatLies(t *testing.T) {
	dir := memDir(t)
	o := newOptions([]Option{WithDir(dir), WithCapacity(2)})
	path, err := pathOf("test", &o)
	require.NoError(t, err)
	l := must[*layout](t)(layoutOfT[[1 << 12]uint64]())
	h := must[*header](t)(newHeader("test", &o, l))
	h.size = 8
	require.True(t, h.geometry())
	f, mem, err := create("test", path, &o, h)
	require.NoError(t, err)
	require.NoError(t, unmap(mem))
	require.NoError(t, f.Close())
	_, err = Open[[1 << 12]uint64]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrCorrupt)
}

// A look is bounded also where the words send it far ahead.
func TestFarWords(t *testing.T) {
	ch := openTest[fuzzed](t, WithCapacity(4))
	other := again(t, ch)
	r := &ch.Sender.h.ring
	const k = uint64(1) << 36
	r.slot(0).Store(word(0, other.Sender.h.me, stWriting))
	r.slot(1).Store(word(1+4*k, 0, stFree))
	r.slot(2).Store(word(4*k-6, r.full, stFull))
	exercise(t, ch)
}

// Nor does the second look go on for ever where they send it once around all positions.
func TestOnceAroundAllPositions(t *testing.T) {
	ch := openTest[fuzzed](t, WithCapacity(4))
	other := again(t, ch)
	r := &ch.Sender.h.ring
	const k = uint64(1)<<39 - 4 // as far as one word can send a look
	r.slot(0).Store(word(0, other.Sender.h.me, stWriting))
	r.slot(1).Store(word(1+k, 0, stFree))
	r.slot(2).Store(word(k-6+k, 0, stFree))
	p := (k - 6 + k - 7) & posMask
	require.Equal(t, uint64(3), p&r.mask)
	require.Negative(t, dist(p, 0))
	r.slot(3).Store(word(p, r.full, stFull))
	exercise(t, ch)
}
