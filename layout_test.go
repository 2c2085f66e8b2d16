package shmchan

// The layout of the file and of types, held to what is written down.

import (
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type inner struct {
	A uint16
	B [2]bool
}

type outer struct {
	ID   int64
	In   [3]inner
	Grid [2][3]float32
	_    [0]func()
	C    complex64
}

func TestCanonicalLayout(t *testing.T) {
	l, err := layoutOf(reflect.TypeFor[outer]())
	require.NoError(t, err)
	const align = 8 // also on 386, where Go aligns to 4
	assert.Equal(t, fmt.Sprintf(`. struct 0 %[2]d %[1]d
ID int64 0 8 %[1]d
In [3] 8 12 2
In[] struct 8 4 2
In[].A uint16 8 2 2
In[].B [2]bool 10 2 1
Grid [2] 20 24 4
Grid[] [3]float32 20 12 4
_ [0] %[4]d 0 %[3]d
C complex64 %[5]d 8 4
`, align, unsafe.Sizeof(outer{}), align, reflect.TypeFor[outer]().Field(3).Offset, unsafe.Offsetof(outer{}.C)), l.text)
	assert.Equal(t, []uintptr{10, 11, 14, 15, 18, 19}, l.bools)
	assert.Equal(t, unsafe.Sizeof(outer{}), l.size)
}

// Two programs may each declare the type: its name and package do not count.
func TestSameLayoutOtherName(t *testing.T) {
	type tick struct{ A, B int64 }
	type other struct{ A, B int64 }
	a, err := layoutOf(reflect.TypeFor[tick]())
	require.NoError(t, err)
	b, err := layoutOf(reflect.TypeFor[other]())
	require.NoError(t, err)
	assert.Equal(t, a.fingerprint, b.fingerprint)
	assert.NotEqual(t, a.typeName, b.typeName)
}

func TestFirstDifference(t *testing.T) {
	type base struct {
		A  int64
		B  int64
		Px float64
	}
	ch := openTest[base](t)
	dir := WithDir(ch.Sender.h.opts.dir)
	expect := func(err error, what, here, there string) {
		t.Helper()
		var m *MismatchError
		require.ErrorAs(t, err, &m)
		require.ErrorIs(t, err, ErrMismatch)
		assert.Equal(t, []string{what, here, there}, []string{m.What, m.Here, m.There})
		assert.Contains(t, err.Error(), fmt.Sprintf("%s is %s here, %s in the channel that pid %d made", what, here, there, os.Getpid()))
	}
	_, err := Open[struct {
		A, B int64
		Px   float32
		_    float32
	}]("test", dir)
	expect(err, "Px", "float32 at 16", "float64 at 16")
	_, err = Open[struct {
		A, C int64
		Px   float64
	}]("test", dir)
	expect(err, "a field", "C (int64 at 8)", "B (int64 at 8)")
	_, err = Open[struct {
		A, B int64
		Px   float64
		New  int64
	}]("test", dir)
	expect(err, "New", "int64 at 24", "missing")
	_, err = Open[struct {
		A, B int64
		Px   float64
		_    [0]int64
	}]("test", dir)
	expect(err, "_", "[0] at 24", "missing")
	_, err = Open[int64]("test", dir)
	expect(err, "the value", "int64 at 0", "struct at 0")
}

func TestRefusedTypes(t *testing.T) {
	type meta struct{ Name string }
	type Tick struct {
		A    int64
		Meta [2]meta
	}
	for _, c := range []struct {
		open func() error
		path string
		kind string
	}{
		{func() error { _, err := Open[Tick]("x"); return err }, "Tick.Meta[].Name", "a string"},
		{func() error { _, err := Open[string]("x"); return err }, "string", "a string"},
		{func() error { _, err := Open[struct{ P []byte }]("x"); return err }, "value.P", "a slice"},
		{func() error { _, err := Open[struct{ P *int }]("x"); return err }, "value.P", "a pointer (*int)"},
		{func() error { _, err := Open[struct{ P map[int]int }]("x"); return err }, "value.P", "a map"},
		{func() error { _, err := Open[struct{ P any }]("x"); return err }, "value.P", "an interface"},
		{func() error { _, err := Open[struct{ P chan int }]("x"); return err }, "value.P", "a channel"},
		{func() error { _, err := Open[struct{ P func() }]("x"); return err }, "value.P", "a function"},
		{func() error { _, err := Open[uintptr]("x"); return err }, "uintptr", "a uintptr"},
		{func() error { _, err := Open[unsafe.Pointer]("x"); return err }, "Pointer", "an unsafe.Pointer"},
		{func() error { _, err := Open[[4]error]("x"); return err }, "value[]", "an interface"},
		{func() error { _, err := Open[time.Time]("x"); return err }, "Time.loc", "a pointer (*time.Location)"},
	} {
		err := c.open()
		require.ErrorIs(t, err, ErrNotPOD)
		var te *TypeError
		require.ErrorAs(t, err, &te)
		assert.Equal(t, c.path, te.Path)
		assert.Equal(t, c.kind, te.Kind)
		assert.NotEmpty(t, te.Hint)
		assert.Equal(t, "x", te.Channel)
		t.Log(err)
	}
}

func TestStrides(t *testing.T) {
	for size, want := range map[uint64]uint64{0: 16, 1: 16, 8: 16, 9: 32, 24: 32, 25: 64, 56: 64, 57: 128, 64: 128, 120: 128, 121: 192, 1024: 1088} {
		assert.Equal(t, want, strideOf(size), "%d", size)
	}
}

// The header's bytes are the format: a change here is a new version.
func TestGoldenHeader(t *testing.T) {
	h := &header{
		flags: flagSingleSender, capacity: 3, size: 8, start: 5, pid: 77, created: 99,
		text: ". int64 0 8 8\n", typeName: "int64",
	}
	for i := range h.id {
		h.id[i] = byte(i)
	}
	require.True(t, h.geometry())
	b := h.encode()
	require.Len(t, b, headerSize+len(h.text)+len(h.typeName))
	if nativeIsBig() {
		t.Skip("the golden bytes are those of a little-endian machine")
	}
	for off, want := range map[int]string{
		offMagic: "73686d6368616e00", offOrder: "04030201", offVersion: "05000000", offFlags: "0100000000000000",
		offCapacity: "0300000000000000", offSlots: "0400000000000000", offSize: "0800000000000000", offStride: "1000000000000000",
		offCtl: "0010000000000000", offPeers: "8016000000000000", offSlotsAt: "805e000000000000", offTotal: "0060000000000000",
		offStart: "0500000000000000", offID: "000102030405060708090a0b0c0d0e0f", offPid: "4d00000000000000",
		offCreated: "6300000000000000", offTextLen: "0e00000000000000", offNameLen: "0500000000000000",
		offMaxMessage: "0000000000000000", offArena: "0000000000000000",
	} {
		assert.Equal(t, want, fmt.Sprintf("%x", b[off:off+len(want)/2]), "at %d", off)
	}
	h.fingerprint = [32]byte{}
	_, err := decodeHeader(b, int64(h.length))
	require.ErrorContains(t, err, "contradicts itself", "no fingerprint")
}

// Whatever byte of a header is changed, Open says so, and never takes the channel for another.
func TestEveryHeaderByte(t *testing.T) {
	ch := openTest[outer](t, WithCapacity(3))
	path := ch.Sender.h.path
	length := headerSize + len(ch.Sender.h.info.text) + len(ch.Sender.h.info.typeName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for off := range length {
		if off >= offCRC+4 && off < offMaxMessage || off >= offArena+8 && off < headerSize {
			continue // not used yet; covered by the checksum all the same
		}
		var b [1]byte
		_, err := f.ReadAt(b[:], int64(off))
		require.NoError(t, err)
		for _, flip := range []byte{1, 0x80, 0xff} {
			_, err = f.WriteAt([]byte{b[0] ^ flip}, int64(off))
			require.NoError(t, err)
			_, err = Open[outer]("test", WithDir(ch.Sender.h.opts.dir))
			require.Error(t, err, "byte %d", off)
			if off >= offOrder && off < offFlags {
				continue // byte order, version: a mismatch or corrupt
			}
			require.ErrorIs(t, err, ErrCorrupt, "byte %d", off)
			_, err = Inspect("test", WithDir(ch.Sender.h.opts.dir))
			require.Error(t, err)
		}
		_, err = f.WriteAt(b[:], int64(off))
		require.NoError(t, err)
	}
	again(t, ch)
}

func TestOtherByteOrderAndVersion(t *testing.T) {
	h := &header{capacity: 1, size: 8, text: ". int64 0 8 8\n"}
	require.True(t, h.geometry())
	b := h.encode()
	b[offOrder], b[offOrder+1], b[offOrder+2], b[offOrder+3] = b[offOrder+3], b[offOrder+2], b[offOrder+1], b[offOrder]
	_, err := decodeHeader(b, int64(h.length))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "byte order is little-endian here, big-endian")
	b = h.encode()
	b[offVersion] = 9
	_, err = decodeHeader(b, int64(h.length))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "layout version is 5 here, 9")
}

// A header whose checksum fits but whose fields contradict each other is corrupt.
func TestHeaderThatContradictsItself(t *testing.T) {
	l := must[*layout](t)(layoutOfT[int64]())
	h := &header{capacity: 3, size: 8, text: l.text, typeName: "int64", fingerprint: l.fingerprint}
	require.True(t, h.geometry())
	_, err := decodeHeader(h.encode(), int64(h.length))
	require.NoError(t, err)
	for what, off := range map[string]int{
		"flags": offFlags, "slots": offSlots, "size": offSize, "stride": offStride, "control block": offCtl, "participants": offPeers,
		"first slot": offSlotsAt, "total": offTotal, "start": offStart, "length of the layout": offTextLen, "fingerprint": offFingerprint,
	} {
		b := h.encode()
		old := binary.NativeEndian.Uint64(b[off:])
		for _, to := range []uint64{old + 1<<42, ^old} {
			binary.NativeEndian.PutUint64(b[off:], to)
			binary.NativeEndian.PutUint32(b[offCRC:], headerCRC(b))
			_, err := decodeHeader(b, int64(h.length))
			require.Error(t, err, "%s: %d instead of %d", what, to, old)
		}
	}
}
