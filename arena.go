package shmchan

// The arena of a channel of bytes: memory for messages that are too large for a slot, each in one piece.
//
// It is a ring of blocks, numbered without end: block b lies at b modulo their number. A message has an extent, so many blocks in a
// row. Extents are handed out in order at the frontier, and come free in order at the head, as soon as the messages have left their slots.
//
// Invariants:
//   - Each block has a word. That of an extent's first block says the lap, how many blocks, and for which position:
//     it is the claim, made by CAS on what stood there in laps before, by a sender who has that position in hand. So a claim always
//     names its owner, and who dies after it has taken nothing that the others do not see.
//   - There is no release. An extent is in use exactly as long as the slot of its position says that somebody has that position in
//     hand, or that its value is there: so what frees the slot frees the extent at the same moment, and what gives a value back keeps it.
//   - A position that was given up is used again. So whoever gives one up, or recovers it from a dead sender, or takes the single
//     sender's role, first makes its extent nobody's: the next message there has nothing to do with it, and its end, which may tell
//     nobody of room, frees nothing but its own. So does a sender whose message goes into its slot after all.
//   - tail is a hint: every extent below it was claimed. head is a hint: no extent below it is in use. Both are ends of
//     extents, may lag, and only go up. An extent is claimed only if it ends at most a whole arena above head.
//   - A sender waits for room with its position in hand, so that messages stay in order, and with no extent: nobody holds
//     room while he waits for some.
//   - The words of blocks within an extent mean nothing. Of a position the words hold 32 bits: what a later position
//     of the same low bits keeps in use longer than need be comes free with that.
//
// A message that does not fit before the arena's end begins anew at its start; what is left over is an extent of nobody's.
//
// Model: model/arena.pml.

import (
	"context"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

const (
	maxArena    = 1 << 34 // bytes
	maxBlocks   = 1 << 15
	minBlock    = 1 << 10 // bytes
	arenaHints  = 256     // bytes before the words: tail, and in a pair of lines of its own head
	extBlocks   = 1<<15 - 1
	extNobody   = 1 << 47 // the extent is nobody's, and not in use
	extPosMask  = 1<<32 - 1
	extShift    = 32
	extLapShift = 48

	noPos      = 1 << 63 // no position: more than the words hold of one
	arenaSteps = 1 << 22 // of one call at most. Who is outrun makes one for each extent that the others claim; only nonsense needs so many.
)

// arenaShape says how many blocks of what size an arena of that many bytes has.
func arenaShape(size uint64) (block, blocks uint64) {
	block = minBlock
	for size > block*(maxBlocks-1) {
		block *= 2
	}
	return block, (size + block - 1) / block
}

// arena is one handle's view of it.
type arena struct {
	r          *ring
	tail, head *atomic.Uint64 // numbers of blocks
	words      unsafe.Pointer
	mem        unsafe.Pointer
	block      uint64 // bytes
	blocks     uint64
}

func newArena(r *ring, i *header, at func(uint64) unsafe.Pointer) *arena {
	if i.arena == 0 {
		return nil
	}
	return &arena{
		r: r, tail: (*atomic.Uint64)(at(i.wordsAt)), head: (*atomic.Uint64)(at(i.wordsAt + 128)),
		words: at(i.wordsAt + arenaHints), mem: at(i.arenaAt), block: i.block, blocks: i.blocks,
	}
}

// need is how many blocks a message of n bytes takes.
func (a *arena) need(n int) uint64 { return max(1, (uint64(n)+a.block-1)/a.block) }

func (a *arena) word(b uint64) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(a.words, 8*(b%a.blocks)))
}

// lap is what the word of an extent that begins at b says of its lap, and extent such a word.
func (a *arena) lap(b uint64) uint64 { return (b/a.blocks + 1) << extLapShift }

func (a *arena) extent(b, k, pos uint64) uint64 { return a.lap(b) | k<<extShift | pos&extPosMask }

// claimed says how many blocks the extent has that begins at b, by its word: 0 if there is none yet. False: no such
// extent can be.
func (a *arena) claimed(w, b uint64) (k uint64, ok bool) {
	if w&^(1<<extLapShift-1) != a.lap(b) {
		return 0, true
	}
	k = w >> extShift & extBlocks
	return k, b%a.blocks+k <= a.blocks
}

// inUse says whether the message for which w was claimed has not left its slot. Mine is a position, of which the words hold
// as much, that the caller has in hand and has claimed nothing for yet: what was claimed for one with the same low bits is of another time.
func (a *arena) inUse(w, mine uint64) bool {
	pos := w & extPosMask
	if w&extNobody != 0 || pos == mine {
		return false
	}
	s := a.r.slot(pos).Load()
	if wordPos(s)&extPosMask != pos {
		return false
	}
	switch wordState(s) {
	case stWriting, stFull, stReading:
		return true
	case stFree: // A single sender does not say so while it has a position in hand.
		return a.r.oneSender
	}
	return false
}

// look finds the frontier, with its word, and brings head up as far as is needed. Claimed: k blocks could be claimed
// there, after so many that are left over at the arena's end. Left are the steps that the caller may still make.
//
// The word is loaded before head. Head not above the frontier therefore says that when the word was loaded nobody had
// claimed that block in a later lap: a CAS from the word claims it in this one, or fails.
func (a *arena) look(k, mine uint64, left *int) (front, over, old uint64, v verdict) {
	for front = a.from(); *left > 0; *left-- {
		old = a.word(front).Load()
		n, ok := a.claimed(old, front)
		if !ok {
			break
		}
		if n > 0 {
			front += n
			continue
		}
		over = 0
		if i := front % a.blocks; i+k > a.blocks {
			over = a.blocks - i
		}
		if v = a.makeWay(front, over+k, mine, left); v != sealed {
			raise(a.tail, front)
			return front, over, old, v
		}
		front = a.from()
	}
	return 0, 0, 0, corrupt
}

// from is where to look for the frontier.
func (a *arena) from() uint64 {
	tail := a.tail.Load()
	if head := a.head.Load(); int64(head-tail) > 0 {
		return head
	}
	return tail
}

// makeWay brings head up until n blocks from the frontier on are free, if that may be. Sealed: the frontier is elsewhere by now.
func (a *arena) makeWay(front, n, mine uint64, left *int) verdict {
	for ; *left > 0; *left-- {
		head := a.head.Load()
		switch behind := front - head; {
		case int64(behind) < 0:
			return sealed
		case behind > a.blocks:
			return corrupt
		case behind+n <= a.blocks:
			return claimed
		}
		w := a.word(head).Load()
		k, ok := a.claimed(w, head)
		if a.head.Load() != head {
			continue
		}
		switch {
		case head == front: // More than there is.
			return blocked
		case !ok || k == 0:
			return corrupt
		case a.inUse(w, mine):
			if a.head.Load() == head {
				return blocked
			}
		default:
			a.head.CompareAndSwap(head, head+k)
		}
	}
	return corrupt
}

// raise brings a hint up to b.
func raise(hint *atomic.Uint64, b uint64) {
	for {
		now := hint.Load()
		if int64(b-now) <= 0 || hint.CompareAndSwap(now, b) {
			return
		}
	}
}

// take claims k blocks for the message at pos, which the caller has in hand.
func (a *arena) take(k, pos uint64) (b uint64, v verdict) {
	for left := arenaSteps; left > 0; left-- {
		front, over, old, v := a.look(k, pos&extPosMask, &left)
		switch {
		case v != claimed:
			return 0, v
		case over > 0:
			a.word(front).CompareAndSwap(old, a.extent(front, over, 0)|extNobody)
		case a.word(front).CompareAndSwap(old, a.extent(front, k, pos)):
			raise(a.tail, front+k)
			return front, claimed
		}
	}
	return 0, corrupt
}

// drop makes the extent at b, claimed for pos, which the caller has in hand and needs no room for any more, nobody's.
func (a *arena) drop(b, pos uint64) {
	w := a.word(b).Load()
	if k, ok := a.claimed(w, b); ok && k > 0 && w&extPosMask == pos&extPosMask {
		a.word(b).CompareAndSwap(w, w|extNobody)
	}
}

// dropAll does the same with the extents of all positions that nobody has in hand any more by the words of their slots, before these change.
// Such a word is that of a dead sender: while it stands no other has claimed an extent for that position.
func (a *arena) dropAll(gone func(w uint64) bool) {
	b := a.head.Load()
	for range arenaSteps {
		w := a.word(b).Load()
		k, ok := a.claimed(w, b)
		switch head := a.head.Load(); {
		case !ok:
			return
		case k > 0:
			pos := w & extPosMask
			if s := a.r.slot(pos).Load(); w&extNobody == 0 && wordPos(s)&extPosMask == pos && gone(s) {
				a.word(b).CompareAndSwap(w, w|extNobody)
			}
			b += k
		case int64(head-b) > 0: // The arena has come round meanwhile.
			b = head
		default: // The frontier.
			return
		}
	}
}

// at is the n bytes of the message at pos that begin at block b, nil if no such message can be.
func (a *arena) at(b, n, pos uint64) []byte {
	k := a.need(int(n))
	w := a.word(b).Load()
	have, ok := a.claimed(w, b)
	if !ok || have < k || w&extNobody != 0 || w&extPosMask != pos&extPosMask {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(a.mem, a.block*(b%a.blocks))), n)
}

// What a waiter for room has in the place of a position: its position, and how many blocks it needs.
func roomFor(k, pos uint64) uint64 { return k<<posBits | pos }

// ready says whether such a waiter has something to do.
func (a *arena) ready(want uint64) bool {
	return a.has(want>>posBits, want&extPosMask)
}

// has says whether there is room for k blocks now, or something to report.
func (a *arena) has(k, mine uint64) bool {
	left := arenaSteps
	_, _, _, v := a.look(k, mine, &left)
	return v != blocked
}

// makeRoom takes k blocks for the message at pos, which the call has in hand, and waits for them.
func (h *handle) makeRoom(ctx context.Context, k, pos uint64) (b uint64, err error) {
	if b, v := h.arena.take(k, pos); v == claimed {
		return b, nil
	}
	h.rvCountBy(rvRoom, 1)
	defer h.rvCountBy(rvRoom, -1)
	s := &h.send
	for {
		b, v := h.arena.take(k, pos)
		switch {
		case v == claimed:
			return b, nil
		case v == corrupt:
			return 0, h.corruptArena()
		case err != nil:
			return 0, err
		}
		if err = s.mayWait(ctx, h.errs.sendClosed); err != nil {
			return 0, err
		}
		if h.opts.disconnect && !h.anyLive(peerReceives) {
			err = h.errs.sendDisconnected
			continue
		}
		_, err = s.await(ctx, waitRoom, roomFor(k, pos))
	}
}

// wakeRoom wakes all who wait for room, if a message has left the arena. Some may need less than there is now, and
// for those who need more there may be enough the next time.
func (h *handle) wakeRoom(left bool) {
	if left {
		h.rvCall(rvRoom)
	}
}

// hasRoom says whether there is room for so many blocks now. For anybody.
func (h *handle) hasRoom(blocks uint64) bool { return h.arena.has(blocks, noPos) }

// tryRoom is hasRoom for a TrySend, which asks now and then whether whoever is in its way is alive.
func (h *handle) tryRoom(blocks uint64) bool {
	if h.hasRoom(blocks) {
		return true
	}
	if !h.checkDue() {
		return false
	}
	h.checkRoom()
	return h.hasRoom(blocks)
}

// roomForSome says whether some call of this handle that waits for room would find some.
func (h *handle) roomForSome() bool {
	if h.arena == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := h.send.watchers.first; w != nil; w = w.next {
		if w.kind == waitRoom && h.arena.ready(w.pos) {
			return true
		}
	}
	return false
}

// wantRoom notes for how many blocks a TrySend found no room, so that the descriptor is readable once there is; 0 if it found some.
func (h *handle) wantRoom(blocks uint64) {
	s := &h.send
	switch {
	case blocks == 0 && s.want.Load() == 0, blocks > 0 && s.poll.Load() == nil:
	case blocks == 0:
		if s.want.Swap(0) != 0 {
			h.rvCountBy(rvRoom, -1)
			h.raisePoll(s)
		}
	case s.want.Swap(blocks) == 0:
		h.rvCountBy(rvRoom, 1)
	}
}

// checkRoom checks who holds the message that nobody gets past, should he be dead.
func (h *handle) checkRoom() {
	a := h.arena
	if a == nil {
		return
	}
	w := a.word(a.head.Load()).Load()
	if !a.inUse(w, noPos) {
		return
	}
	if s := h.slot(w & extPosMask).Load(); wordState(s) == stWriting || wordState(s) == stReading {
		h.checkOwner(wordTag(s))
	}
}

func (h *handle) corruptArena() error {
	a := h.arena
	return corruptError(h.name, "the arena of %d blocks has its head at block %d and its tail at %d, with the words %#x and %#x",
		a.blocks, a.head.Load(), a.tail.Load(), a.word(a.head.Load()).Load(), a.word(a.tail.Load()).Load())
}

// arenaFor is how large an arena is made for a channel of that many messages of at most most bytes: room for all of them,
// or for enough to keep a receiver busy.
func arenaFor(capacity, most uint64) uint64 {
	const enough = 16 << 20
	hi, all := bits.Mul64(max(1, capacity), roundUp(most, minBlock))
	if hi != 0 {
		all = maxArena
	}
	return max(leastArena(most), min(all, max(4*most, enough)))
}

// leastArena is the least that a message of most bytes always gets through, wherever the arena's end lies.
func leastArena(most uint64) uint64 {
	size := 2 * most
	block, blocks := arenaShape(size)
	for blocks*block < 2*roundUp(most, block) {
		size += block
		block, blocks = arenaShape(size)
	}
	return size
}
