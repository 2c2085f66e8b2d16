package shmchan

// Watching values as they pass, without taking them.
//
// Invariants:
//   - The mapping is for reading only, and no lock is taken: nobody in the channel can notice a watcher, but that the lines which it reads move to its CPU.
//   - A value is shown only if it was whole: its slot's word was looked at before the copy and after, and said both times that the value
//     was there, or had been there last and nobody had begun to write over it. The copy is made of atomic loads, so that the second look comes after it.
//   - A position is looked at until its value was shown, or its slot has gone on, and counted then as missed.
//
// A value is in its slot as long as the word says FULL or READING, and, since receivers only read, beyond that, under FREE(p+n), until the slot is
// used again. That makes it possible to see what a quick receiver took at once; but FREE(p+n) alone says neither that there was a value at p
// nor that nobody writes. So:
//   - A sender that claims says WRITING first. A single sender does not, but writes at one position only: while the slot before it is
//     FREE in the same lap, this one is not written. (Of one slot there is none before it: there FREE proves nothing.)
//   - Holes are counted before they are there, and until their end is counted as wasted. If there is none, and as many are wasted as before the
//     position was last seen not to be free, it was none. With one slot what is given up is counted a moment later: a watcher
//     that looks in just this moment may show what a send that was given up had left.
//   - What lies in the arena is whole if, after the copy, nothing a whole arena further was claimed.
//
// The claim of an arm64 processor without LSE atomics (before ARMv8.1) does not keep the stores behind it from being seen first. There a value that had already been received
// could be shown torn; one with a checksum could not.

import (
	"context"
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

// Watcher shows the values of a channel as they pass; see Watch. It is for one goroutine at a time.
type Watcher struct {
	h      *handle
	layout *Layout

	next    uint64   // from here on nothing was looked at
	pending []uint64 // below next, in order: in somebody's hands when they were looked at
	wasted  uint64   // ctl.wasted, from before the positions from next on, and those pending, were seen not to be free
	sure    bool     // wasted is so; not before the first look is through

	buf    []byte // values found, one after the other
	found  []seen
	shown  int    // of found
	lost   uint64 // missed since the last value found
	told   uint64 // missed, and told
	nap    time.Duration
	closed bool // all was seen, nothing will come
	ended  bool // Close was called
}

// seen is a value in buf, and how many were missed before it.
type seen struct {
	from, to int
	missed   uint64
}

const (
	watchBatch = 256     // values found at once, at most
	watchBytes = 1 << 18 // bytes, at most, or one value
	minNap     = time.Microsecond * 50
	maxNap     = time.Millisecond * 2
)

// Watch looks at the channel of that name, of whatever type, from outside: it needs the right to read the file only, has no role, takes nothing, writes nothing and
// wakes nobody. It begins with the oldest value that is in the channel. Only WithDir counts among the options. It fails as Inspect does.
//
// Nobody waits for a watcher: what has been written over before it came is missed, and counted. It sees what passed since its last look as long as that is no more than the channel's capacity; with capacity 0 and 1 this is the last value.
// It looks as often as it is called while there is something, and after 50 µs, then each time twice as long, at most 2 ms, while there is not.
func Watch(name string, opts ...Option) (*Watcher, error) {
	o := newOptions(opts)
	path, err := pathOf(name, &o)
	if err != nil {
		return nil, err
	}
	f, hd, err := openExisting(name, path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	mem, err := mapToRead(f, hd.length)
	if err != nil {
		_ = f.Close()
		return nil, advise(name, "map it", err)
	}
	o.faultGuard = true
	h := &handle{name: name, path: path, opts: o, info: hd, file: f, mem: mem, errs: newHandleErrors(name)}
	h.adopt()
	w := &Watcher{h: h, nap: minNap}
	l, err := h.layoutFor(nil)
	if err == nil {
		w.layout, err = ParseLayout(l.text)
	}
	if err == nil && h.caught(w.begin) {
		err = h.errs.broken
	}
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	return w, nil
}

// begin finds the oldest value, or where the next one will be.
func (w *Watcher) begin() {
	w.wasted = w.h.ctl.wasted.Load()
	w.sure = true // If all is free up to where the next one will be.
	w.next, _ = w.h.walk(w.h.headHint(), func(_, _ uint64) bool { w.sure = false; return false })
}

// Close lets go of the memory. The channel does not notice.
func (w *Watcher) Close() error {
	if w.ended {
		return w.h.errs.detached
	}
	w.ended = true
	_ = w.h.locks.close()
	_ = unmap(w.h.mem)
	return w.h.file.Close()
}

// Name is the channel's name.
func (w *Watcher) Name() string { return w.h.name }

// Type is the element type, as the channel's maker named it.
func (w *Watcher) Type() string { return w.h.info.typeName }

// Layout is that of the channel's values.
func (w *Watcher) Layout() *Layout { return w.layout }

// Missed is how many values Next has said to be missed, in all.
func (w *Watcher) Missed() uint64 { return w.told }

// Next waits for the next value, appends a copy of it to dst, which may be nil, and returns that, and how many were missed since the one before. A value of
// a channel of bytes is a message. Values come in the order of their positions, but that one which stays in its sender's hands for long comes when it is there. Where sends are given
// up, more may be said to be missed than were, by as many at most.
//
// It fails with ErrClosed once the channel is closed and everything has passed, with ctx.Err() when ctx ends, with ErrCorrupt, and after Close with ErrDetached. Those that
// were missed at the end come with the error.
func (w *Watcher) Next(ctx context.Context, dst []byte) (value []byte, missed uint64, err error) {
	if w.ended {
		return dst, 0, w.h.errs.detached
	}
	for {
		if w.shown < len(w.found) {
			s := w.found[w.shown]
			w.shown++
			w.told += s.missed
			return append(dst, w.buf[s.from:s.to]...), s.missed, nil
		}
		w.buf, w.found, w.shown = w.buf[:0], w.found[:0], 0
		if err = ctx.Err(); err == nil && w.closed {
			err = w.h.errs.recvClosed
		}
		var passed uint64
		if err == nil {
			passed, err = w.lookGuarded()
		}
		if err == nil && len(w.found) == 0 && !w.closed {
			err = rest(ctx, w.nap)
		}
		if w.nap = min(2*w.nap, maxNap); passed > w.h.n/8 {
			w.nap = minNap
		}
		if err != nil {
			missed, w.lost = w.lost, 0
			w.told += missed
			return dst, missed, err
		}
	}
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Watcher) lookGuarded() (passed uint64, err error) {
	h := w.h
	h.checkSize(checkEvery)
	if !h.faults.broken.Load() {
		h.caught(func() { passed, err = w.look() })
	}
	if h.faults.broken.Load() {
		return 0, h.errs.broken
	}
	return passed, err
}

// look finds what has passed, and says how many positions that were.
func (w *Watcher) look() (passed uint64, err error) {
	h := w.h
	gone := h.ctl.closed.Load() != 0 && !sameFile(h.file, h.path) // Before we look: then nothing comes that we do not find.
	wasted := h.ctl.wasted.Load()
	if err := w.lookBack(); err != nil {
		return 0, err
	}
	for len(w.found) < watchBatch && len(w.buf) <= watchBytes {
		seen, err := w.lookAt(w.next)
		if err != nil {
			return 0, err
		}
		if seen == notYet || seen == theEnd {
			w.credit(wasted - w.wasted)
			w.wasted, w.sure = wasted, true
			w.closed = len(w.pending) == 0 && seen == theEnd || gone
			break
		}
		switch {
		case seen == inHand:
			w.pending = append(w.pending, w.next)
		case seen == shown && len(w.pending) > 0: // Its sender may have sent there before, and be done with it by now.
			i := len(w.found) - 1
			if err := w.lookBack(); err != nil {
				return 0, err
			}
			this := w.found[i]
			copy(w.found[i:], w.found[i+1:])
			w.found[len(w.found)-1] = this
		}
		to := (w.next + 1) & posMask
		if seen == overwritten {
			to = w.oldest(w.next)
			w.lost += uint64(dist(to, w.next)) - 1
		}
		passed += uint64(dist(to, w.next))
		w.next = to
	}
	return passed, nil
}

// lookBack looks once more at what was in somebody's hands.
func (w *Watcher) lookBack() error {
	still := w.pending[:0]
	for i, p := range w.pending {
		if len(w.found) > watchBatch || len(w.buf) > watchBytes { // More than that is too much to copy at once.
			still = append(still, w.pending[i:]...)
			break
		}
		seen, err := w.lookAt(p)
		if err != nil {
			return err
		}
		if seen == inHand {
			still = append(still, p)
		}
	}
	w.pending = still
	return nil
}

// credit takes positions that never had a value from what was missed.
func (w *Watcher) credit(n uint64) {
	for i := range w.found {
		c := min(n, w.found[i].missed)
		w.found[i].missed, n = w.found[i].missed-c, n-c
	}
	w.lost -= min(n, w.lost)
}

// sight is what a position was found to be.
type sight int

const (
	shown       sight = iota // its value was copied
	missing                  // its value is gone, or cannot be told from none
	overwritten              // the same, by a value of a later lap
	inHand                   // being sent, or given up and perhaps used again
	notYet                   // nobody has claimed it
	theEnd                   // nobody ever will
)

// lookAt copies the value at p, or counts it as missed, or says why neither.
func (w *Watcher) lookAt(p uint64) (sight, error) {
	h := w.h
	for range 1 << 10 { // Each round the slot has gone on.
		before := h.slot(p).Load()
		if !h.wellFormed(before, p) {
			return missing, h.corruptAt(p)
		}
		d, state := dist(wordPos(before), p), wordState(before)
		isFree := state == stFree || state == stSealed
		switch {
		case d < 0, d == 0 && state == stFree:
			return notYet, nil
		case d == 0 && state == stSealed:
			return theEnd, nil
		case d == 0 && (state == stWriting || state == stHole):
			return inHand, nil
		case d > 0 && (uint64(d) != h.n || !isFree):
			w.lost++
			return overwritten, nil
		}
		from := len(w.buf)
		block, ok := w.copyAt(p)
		after := h.slot(p).Load()
		if d == 0 {
			if s := wordState(after); wordPos(after) != p || s != stFull && s != stReading {
				w.buf = w.buf[:from]
				continue // It went on: perhaps no further than to FREE.
			}
		} else if after != before && after != word(wordPos(before), 0, stSealed) || !w.untouched(p, block) {
			ok = false
		}
		if !ok {
			w.buf = w.buf[:from]
			w.lost++
			return missing, nil
		}
		w.found = append(w.found, seen{from, len(w.buf), w.lost})
		w.lost = 0
		return shown, nil
	}
	w.lost++
	return missing, nil
}

// oldest is the first position after p, whose slot has gone on, that may not be written over.
func (w *Watcher) oldest(p uint64) uint64 {
	q := w.h.slot(p).Load()
	to := (wordPos(q) - w.h.n) & posMask
	if s := wordState(q); s != stFree && s != stSealed {
		to = (to + 1) & posMask
	}
	if dist(to, p) <= 0 {
		return (p + 1) & posMask
	}
	return to
}

// untouched says of a position that is free whether it had a value, and that nobody had begun to write over it when it had been copied.
func (w *Watcher) untouched(p uint64, block int64) bool {
	h := w.h
	if block >= 0 && !w.arenaUntouched(uint64(block)) {
		return false
	}
	if h.oneSender {
		if h.checked {
			return true // The sum says so.
		}
		q := (p - 1 + h.n) & posMask
		b := h.slot(q).Load()
		d := dist(wordPos(b), q)
		return h.n > 1 && (d < 0 || d == 0 && (wordState(b) == stFree || wordState(b) == stSealed))
	}
	return w.sure && h.ctl.holes.Load() == 0 && h.ctl.wasted.Load() == w.wasted
}

// arenaUntouched says that nothing was claimed a whole arena above a block.
func (w *Watcher) arenaUntouched(b uint64) bool {
	a := w.h.arena
	front := a.from()
	for range arenaSteps {
		k, ok := a.claimed(a.word(front).Load(), front)
		switch {
		case !ok || int64(front-b) > int64(a.blocks):
			return false
		case k == 0:
			return true
		}
		front += k
	}
	return false
}

// copyAt appends a copy of the value at p to buf, and says whether that is a value, and the block of the arena in which it begins, or -1.
func (w *Watcher) copyAt(p uint64) (block int64, ok bool) {
	h, v := w.h, w.h.value(p)
	from := len(w.buf)
	if !w.layout.bytes {
		w.buf = appendShared(w.buf, v, int(h.info.size))
		value := w.buf[from:]
		if h.checked && (*atomic.Uint32)(unsafe.Pointer(h.sum(p))).Load() != sumOf(p, value) {
			return -1, false
		}
		return -1, w.layout.Root.badBool(value) == ""
	}
	m, err := h.messageAt(p)
	if err != nil {
		return -1, false
	}
	block = -1
	if m.inArena() {
		block = int64((*atomic.Uint64)(unsafe.Add(v, metaSize)).Load())
		if data := h.arena.at(uint64(block), uint64(len(m.data)), p); block < 0 || data == nil || unsafe.SliceData(data) != unsafe.SliceData(m.data) {
			return block, false // It has changed between the two looks.
		}
	}
	w.buf = appendShared(w.buf, unsafe.Pointer(unsafe.SliceData(m.data)), len(m.data))
	return block, !h.checked || (*atomic.Uint32)(unsafe.Pointer(h.sum(p))).Load() == m.sum(p, w.buf[from:])
}

// appendShared appends n bytes that others may be writing, which begin at a multiple of eight in memory that goes on to one.
func appendShared(to []byte, at unsafe.Pointer, n int) []byte {
	for ; n >= 8; n -= 8 {
		to = binary.NativeEndian.AppendUint64(to, (*atomic.Uint64)(at).Load())
		at = unsafe.Add(at, 8)
	}
	if n > 0 {
		var last [8]byte
		binary.NativeEndian.PutUint64(last[:], (*atomic.Uint64)(at).Load())
		to = append(to, last[:n]...)
	}
	return to
}
