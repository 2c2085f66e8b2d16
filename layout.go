package shmchan

// What lies where in a channel's file, and which types may lie there.
//
//	0        header: never changes once the file has its name (headerSize, then text)
//	ctlOff   control block: closed flag, waiters, hints, counts
//	         rendezvous flags, 4 bytes a participant
//	peersOff participants, 64 bytes each
//	countsOff what waiting has cost, see waits.go
//	slotsOff slots, stride bytes each:
//
//	         0              8                       8+size       stride
//	         +--------------+-----------------------+------------+
//	         | word         | value                 | unused     |
//	         +--------------+-----------------------+------------+
//	         63           24 23               3 2     0
//	         +--------------+------------------+-------+
//	         | position: 40 | tag: 21          | state |
//	         +--------------+------------------+-------+
//	          With checksums a CRC-32C follows the value, at a multiple of four.
//	          tag: owner (generation 13, index 8) while WRITING or READING,
//	               the low bits of the value's length while FULL, else 0
//	wordsOff of a channel of bytes with an arena: its hints and a word for each block, see arena.go
//	arenaOff the arena's blocks
//
//	A value of a channel of bytes is eight bytes, of which the low half are the message's length, and the message; or, with
//	the top bit set, the number of the block in the arena where it begins.
//
// Invariant: every offset below is fixed by layoutVersion. A change of any of
// them, or of what a word means, is a new version.

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"
)

// LayoutVersion is the version of the layout of a channel's file. Programs share a
// channel only if theirs is the same.
const LayoutVersion = 5

const (
	layoutMagic   = "shmchan\x00"
	layoutVersion = LayoutVersion
	layoutOrder   = 0x0102_0304 // written in the machine's own order

	headerSize  = 256
	headerPage  = 4096
	maxText     = 1 << 20 // bytes of canonical layout and type name
	valueOffset = 8       // of the value in its slot
	valueAlign  = 8
	maxCapacity = 1 << 30
)

// Offsets in the header, in bytes.
const (
	offMagic       = 0   // [8]byte
	offOrder       = 8   // uint32
	offVersion     = 12  // uint32
	offFlags       = 16  // uint64, flag*
	offCapacity    = 24  // uint64, 0 is a rendezvous
	offSlots       = 32  // uint64, a power of two
	offSize        = 40  // uint64, bytes of a value
	offStride      = 48  // uint64, bytes of a slot
	offCtl         = 56  // uint64
	offPeers       = 64  // uint64
	offSlotsAt     = 72  // uint64
	offTotal       = 80  // uint64, bytes of the file
	offStart       = 88  // uint64, the first position
	offID          = 96  // [16]byte, random
	offPid         = 112 // uint64, of the creator, for people
	offCreated     = 120 // uint64, Unix nanoseconds
	offTextLen     = 128 // uint64, bytes of canonical layout, which starts at headerSize
	offNameLen     = 136 // uint64, bytes of the type's name, which follows the layout
	offFingerprint = 144 // [32]byte, SHA-256 of the canonical layout
	offCRC         = 176 // uint32, CRC-32C of all of the header but itself
	offMaxMessage  = 192 // uint64, bytes of a message at most, of a channel of bytes
	offArena       = 200 // uint64, bytes of the arena that its maker asked for, 0 for none
)

const (
	flagSingleSender uint64 = 1 << iota
	flagSingleReceiver
	flagFences    // who goes to sleep, or seals, fences for all who share the channel
	flagChecksum  // a sum behind each value, see checksum.go
	flagBytes     // messages of bytes, see bytes.go
	flagPair      // half of a pair: each role is held by one handle at a time, see duplex.go
	flagHugePages // the file is a multiple of hugeUnit, see hugepages.go
	flagsKnown    = flagSingleSender | flagSingleReceiver | flagFences | flagChecksum | flagBytes | flagPair | flagHugePages
)

// control is the block at ctlOff. What one side writes often has a pair of cache
// lines of its own (two, for the prefetcher takes lines in pairs).
type control struct {
	closed    atomic.Uint64    // 1 once Close was called
	receivers [4]atomic.Uint64 // a bit for each participant that waits to receive
	holes     atomic.Uint64    // positions given up that may be used again, at least
	_         [128 - 48]byte
	senders   [4]atomic.Uint64 // a bit for each participant that waits to send
	poster    atomic.Uint64    // rendezvous: index of the participant whose offer stands
	_         [128 - 40]byte
	tail      atomic.Uint64
	_         [128 - 8]byte
	head      atomic.Uint64
	_         [128 - 8]byte
	givenUp   atomic.Uint64    // sends given up
	wasted    atomic.Uint64    // positions that carried no value
	givenBack atomic.Uint64    // values given back, or taken over from a dead receiver
	recovered atomic.Uint64    // dead participants cleared away
	joins     atomic.Uint64    // participants that have joined
	came      [2]atomic.Uint32 // participants that have joined for sending, and for receiving
	high      atomic.Uint64    // the most values that were seen in the channel
	base      atomic.Uint64    // a position of not long ago, not modulo 2^40, see since
	window    atomic.Uint64    // what the single sender has in hand, see straight.go; written all the time, by it alone
	_         [64 - 8]byte
}

func (c *control) waiting(d direction) *[4]atomic.Uint64 {
	if d == sending {
		return &c.senders
	}
	return &c.receivers
}

// peer is a participant's entry. Whoever holds the entry's lock may write it.
type peer struct {
	state    atomic.Uint64 // generation<<8 | peerUsed, peerSends, peerReceives, peerDead, peerSeat
	pid      atomic.Uint64 // for people; proves nothing
	attached atomic.Uint64 // Unix nanoseconds
	space    atomic.Uint64 // the pid's namespace, 0 if not known
	polls    atomic.Uint64 // directions in which only a descriptor waits, see pollfd.go
	_        [24]byte
}

const (
	peerUsed uint64 = 1 << iota
	peerSends
	peerReceives
	peerDead     // somebody holds the lock and clears the entry
	peerSeat     // of an unnamed channel: a set of files holds the lock, and was not used yet
	peerGenShift = 8
)

const (
	ctlSize    = uint64(unsafe.Sizeof(control{})) + 4*maxPeers
	peersSize  = uint64(unsafe.Sizeof(peer{})) * maxPeers
	countsSize = uint64(unsafe.Sizeof(counts{})) * stripes
)

// The sizes are part of the format: these fail to compile when they drift.
var (
	_ [640]byte = [unsafe.Sizeof(control{})]byte{}
	_ [128]byte = [unsafe.Offsetof(control{}.senders)]byte{}
	_ [256]byte = [unsafe.Offsetof(control{}.tail)]byte{}
	_ [384]byte = [unsafe.Offsetof(control{}.head)]byte{}
	_ [512]byte = [unsafe.Offsetof(control{}.givenUp)]byte{}
	_ [576]byte = [unsafe.Offsetof(control{}.window)]byte{}
	_ [64]byte  = [unsafe.Sizeof(peer{})]byte{}
	_ [128]byte = [unsafe.Sizeof(counts{})]byte{}
	_ [64]byte  = [posShift + posBits]byte{}
)

// header is the private copy of a file's header.
type header struct {
	flags       uint64
	capacity    uint64
	size        uint64
	maxMessage  uint64
	arena       uint64
	start       uint64
	id          [16]byte
	pid         uint64
	created     uint64
	text        string // canonical layout
	typeName    string
	fingerprint [32]byte

	// Computed from the above.
	slots, stride               uint64
	ctl, peers, slotsAt, length uint64
	counts                      uint64
	block, blocks               uint64 // of the arena: bytes of one, and how many
	wordsAt, arenaAt            uint64
}

// geometry computes where everything lies. False: more than a file can have.
func (h *header) geometry() bool {
	if h.capacity > maxCapacity || h.size > math.MaxInt64/4 || h.maxMessage > maxMessage || h.arena > maxArena || !h.bytesAgree() {
		return false
	}
	h.slots = 1
	if h.capacity > 1 {
		h.slots = 1 << bits.Len64(h.capacity-1)
	}
	if h.stride = strideOf(h.size); h.flags&flagChecksum != 0 {
		h.stride = strideOf(sumOffset(h.size) + sumSize - valueOffset)
	}
	h.ctl = roundUp(headerSize+uint64(len(h.text))+uint64(len(h.typeName)), headerPage)
	h.peers = roundUp(h.ctl+ctlSize, 64)
	h.counts = roundUp(h.peers+peersSize, 128)
	h.slotsAt = roundUp(h.counts+countsSize, 128)
	hi, lo := bits.Mul64(h.slots, h.stride)
	if hi != 0 || lo > math.MaxInt64/2 {
		return false
	}
	h.length = roundUp(h.slotsAt+lo, headerPage)
	if h.arena > 0 {
		h.block, h.blocks = arenaShape(h.arena)
		h.wordsAt = roundUp(h.slotsAt+lo, 128)
		h.arenaAt = roundUp(h.wordsAt+arenaHints+8*h.blocks, headerPage)
		h.length = roundUp(h.arenaAt+h.block*h.blocks, headerPage)
	}
	if h.flags&flagHugePages != 0 {
		h.length = roundUp(h.length, hugeUnit)
	}
	return h.length <= uint64(math.MaxInt)
}

// strideOf packs small values several to a cache line without straddling one,
// and gives larger ones whole lines.
func strideOf(size uint64) uint64 {
	need := size + valueOffset
	if need <= 64 {
		return max(16, uint64(1)<<bits.Len64(need-1))
	}
	return roundUp(need, 64)
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode is the header as it stands in the file.
func (h *header) encode() []byte {
	b := make([]byte, headerSize, headerSize+len(h.text)+len(h.typeName))
	e := binary.NativeEndian
	copy(b[offMagic:], layoutMagic)
	e.PutUint32(b[offOrder:], layoutOrder)
	e.PutUint32(b[offVersion:], layoutVersion)
	for off, v := range map[int]uint64{
		offFlags: h.flags, offCapacity: h.capacity, offSlots: h.slots, offSize: h.size, offStride: h.stride,
		offCtl: h.ctl, offPeers: h.peers, offSlotsAt: h.slotsAt, offTotal: h.length, offStart: h.start,
		offMaxMessage: h.maxMessage, offArena: h.arena,
		offPid: h.pid, offCreated: h.created, offTextLen: uint64(len(h.text)), offNameLen: uint64(len(h.typeName)),
	} {
		e.PutUint64(b[off:], v)
	}
	copy(b[offID:], h.id[:])
	copy(b[offFingerprint:], h.fingerprint[:])
	b = append(append(b, h.text...), h.typeName...)
	e.PutUint32(b[offCRC:], headerCRC(b))
	return b
}

func headerCRC(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:offCRC])
	return crc32.Update(sum, castagnoli, b[offCRC+4:])
}

// decodeHeader reads and checks a header. The bytes come from the file by read,
// once, and are private. The errors are *MismatchError for another version or
// byte order, and plain text for everything that no shmchan writes.
func decodeHeader(b []byte, fileSize int64) (*header, error) {
	if len(b) < headerSize || string(b[offMagic:offMagic+8]) != layoutMagic {
		return nil, fmt.Errorf("it does not begin like a channel (%d bytes)", fileSize)
	}
	e := binary.NativeEndian
	switch o := e.Uint32(b[offOrder:]); o {
	case layoutOrder:
	case bits.ReverseBytes32(layoutOrder):
		here, there := "little-endian", "big-endian"
		if nativeIsBig() {
			here, there = there, here
		}
		return nil, &MismatchError{What: "byte order", Here: here, There: there}
	default:
		return nil, fmt.Errorf("its byte-order mark is %#x", o)
	}
	if v := e.Uint32(b[offVersion:]); v != layoutVersion {
		return nil, &MismatchError{What: "layout version", Here: fmt.Sprint(layoutVersion), There: fmt.Sprint(v)}
	}
	u := func(off int) uint64 { return e.Uint64(b[off:]) }
	textLen, nameLen := u(offTextLen), u(offNameLen)
	if textLen > maxText || nameLen > maxText || headerSize+textLen+nameLen > uint64(len(b)) {
		return nil, fmt.Errorf("its type description is %d and %d bytes long", textLen, nameLen)
	}
	b = b[:headerSize+textLen+nameLen]
	if got, want := e.Uint32(b[offCRC:]), headerCRC(b); got != want {
		return nil, fmt.Errorf("its header has checksum %#x, not %#x", want, got)
	}
	h := &header{
		flags: u(offFlags), capacity: u(offCapacity), size: u(offSize), start: u(offStart),
		maxMessage: u(offMaxMessage), arena: u(offArena),
		pid: u(offPid), created: u(offCreated),
		text: string(b[headerSize : headerSize+textLen]), typeName: string(b[headerSize+textLen:]),
	}
	copy(h.id[:], b[offID:])
	copy(h.fingerprint[:], b[offFingerprint:])
	if more := h.flags &^ flagsKnown; more != 0 {
		return nil, &MismatchError{What: "the set of options", Here: "without those of newer versions", There: fmt.Sprintf("with the unknown flags %#x", more), PID: int(h.pid)}
	}
	if !h.geometry() || h.slots != u(offSlots) || h.stride != u(offStride) || h.ctl != u(offCtl) ||
		h.peers != u(offPeers) || h.slotsAt != u(offSlotsAt) || h.length != u(offTotal) ||
		h.start > posMask || fingerprintOf(h.text) != h.fingerprint {
		return nil, fmt.Errorf("its header contradicts itself")
	}
	if uint64(fileSize) != h.length {
		return nil, fmt.Errorf("its header says %d bytes and the file has %d", h.length, fileSize)
	}
	return h, nil
}

func nativeIsBig() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }

// layout is the canonical description of a fixed-size plain type.
type layout struct {
	size        uintptr
	text        string // a line for each field: path kind offset size alignment
	typeName    string
	bools       []uintptr // offsets of every bool
	bytes       bool      // messages of bytes: the size is the channel's
	fingerprint [32]byte  // SHA-256 of text
}

// layoutOf describes t, or says which field may not cross.
//
// The text holds what must agree for two programs to agree about the bytes: the
// path of each field, its kind, offset, size and alignment, in order. The names
// and packages of the types do not count. An array is one line and, for structs,
// the lines of its first element.
func layoutOf(t reflect.Type) (*layout, error) {
	if t == nil {
		return nil, &TypeError{Type: "any", Path: "the value", Kind: "an interface", Hint: hintFor(reflect.Interface, nil)}
	}
	l := &layout{size: t.Size(), typeName: t.String()}
	name := t.Name()
	if name == "" {
		name = "value"
	}
	var err error
	if l.text, err = l.describe(t, name, "", 0); err != nil {
		return nil, err
	}
	if len(l.text) > maxText || len(l.typeName) > maxText {
		return nil, fmt.Errorf("%w: the description of %.40s is %d bytes long, at most %d fit; use arrays for repeated fields",
			ErrTooLarge, l.typeName, len(l.text), maxText)
	}
	l.fingerprint = fingerprintOf(l.text)
	return l, nil
}

func fingerprintOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// describe returns the lines of t, which lies at off, and notes its bools.
func (l *layout) describe(t reflect.Type, root, path string, off uintptr) (string, error) {
	line := func(kind string) string {
		p := path
		if p == "" {
			p = "."
		}
		return fmt.Sprintf("%s %s %d %d %d\n", p, kind, off, t.Size(), canonicalAlign(t))
	}
	switch k := t.Kind(); k {
	case reflect.Bool:
		l.bools = append(l.bools, off)
		return line(k.String()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return line(k.String()), nil
	case reflect.Array:
		elem := t.Elem()
		if t.Len() == 0 {
			return line("[0]"), nil // Holds nothing, whatever its elements would be.
		}
		first := len(l.bools)
		inner, err := l.describe(elem, root, path+"[]", off)
		if err != nil {
			return "", err
		}
		perElem := l.bools[first:]
		for i := 1; i < t.Len() && len(perElem) > 0; i++ {
			for _, o := range perElem {
				l.bools = append(l.bools, o+uintptr(i)*elem.Size())
			}
		}
		if elem.Kind() == reflect.Struct || elem.Kind() == reflect.Array {
			return line(fmt.Sprintf("[%d]", t.Len())) + inner, nil
		}
		return line(fmt.Sprintf("[%d]%s", t.Len(), elem.Kind())), nil
	case reflect.Struct:
		var b strings.Builder
		b.WriteString(line("struct"))
		for i := range t.NumField() {
			f := t.Field(i)
			p := f.Name
			if path != "" {
				p = path + "." + f.Name
			}
			lines, err := l.describe(f.Type, root, p, off+f.Offset)
			if err != nil {
				return "", err
			}
			b.WriteString(lines)
		}
		return b.String(), nil
	default:
		where := root
		if path != "" {
			where += "." + path
			where = strings.Replace(where, ".[", "[", 1)
		}
		return "", &TypeError{Type: l.typeName, Path: where, Kind: kindWords(k, t), Hint: hintFor(k, t)}
	}
}

// canonicalAlign is the alignment that t has on a 64-bit machine. On a 32-bit one words of
// eight bytes are aligned to four: where that moves a field, offset or size tell, and
// where it does not, the bytes are the same.
func canonicalAlign(t reflect.Type) int {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8, reflect.Int16, reflect.Uint16,
		reflect.Int32, reflect.Uint32, reflect.Float32, reflect.Complex64:
		return t.Align()
	case reflect.Array:
		return canonicalAlign(t.Elem())
	case reflect.Struct:
		align := 1
		for i := range t.NumField() {
			align = max(align, canonicalAlign(t.Field(i).Type))
		}
		return align
	}
	return 8
}

func kindWords(k reflect.Kind, t reflect.Type) string {
	switch k {
	case reflect.Interface:
		return "an interface"
	case reflect.UnsafePointer:
		return "an unsafe.Pointer"
	case reflect.Pointer:
		return "a pointer (" + t.String() + ")"
	case reflect.Uintptr:
		return "a uintptr"
	}
	return "a " + map[reflect.Kind]string{
		reflect.String: "string", reflect.Slice: "slice", reflect.Map: "map", reflect.Chan: "channel", reflect.Func: "function",
	}[k]
}

func hintFor(k reflect.Kind, t reflect.Type) string {
	if t != nil && t.String() == "*time.Location" {
		return "a time.Time points to its location: store t.UnixNano() in an int64"
	}
	switch k {
	case reflect.String:
		return "use a fixed-size array such as [32]byte and a length"
	case reflect.Slice:
		return "use a fixed-size array and a count"
	case reflect.Map:
		return "use an array of key and value structs"
	case reflect.Uintptr, reflect.UnsafePointer, reflect.Pointer:
		return "addresses mean nothing in another process: store the value itself, or an index"
	case reflect.Interface:
		return "use one concrete type, with a kind field if there are several"
	}
	return "it cannot leave the process: send data about it instead"
}

// firstDifference names the first line in which two canonical layouts differ: the
// field, and not the structs around it that are larger for it.
func firstDifference(here, there string) (what, h, t string) {
	a, b := strings.Split(here, "\n"), strings.Split(there, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x == y {
			continue
		}
		fx, fy := strings.Fields(x), strings.Fields(y)
		if len(fx) != 5 || len(fy) != 5 {
			switch {
			case len(fx) == 5:
				return fx[0], describeField(fx, nil), "missing"
			case len(fy) == 5:
				return fy[0], "missing", describeField(fy, nil)
			}
			return "the type's description", fmt.Sprintf("%q", x), fmt.Sprintf("%q", y)
		}
		if fx[0] == fy[0] {
			what = fx[0]
			if what == "." {
				what = "the value"
			}
			h, t = describeField(fx, fy), describeField(fy, fx)
			if fx[1] == fy[1] && fx[2] == fy[2] && !slices.Equal(a[i+1:], b[i+1:]) {
				continue // A field in it says more.
			}
			return what, h, t
		}
		return "a field", fx[0] + " (" + describeField(fx, nil) + ")", fy[0] + " (" + describeField(fy, nil) + ")"
	}
	return "", "", ""
}

// describeField says "float64 at 16", and size and alignment where only they differ.
func describeField(f, other []string) string {
	s := f[1] + " at " + f[2]
	if other != nil && f[1] == other[1] && f[2] == other[2] {
		s += fmt.Sprintf(" of %s bytes aligned to %s", f[3], f[4])
	}
	return s
}
