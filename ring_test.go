package shmchan

// The ring, step by step: looks in the middle of what another does, counts of holes, wakes that one
// who was woken owes the next. Each of these tests is here because a mutant passed all the others.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Full is true: a look that was blocked is repeated if the position below has become a hole since, or
// the one that it waits for was freed.
func TestStillFull(t *testing.T) {
	for _, capacity := range []int{2, 3} {
		ch := openTest[int64](t, WithCapacity(capacity), withStart(1<<posBits-1))
		h := ch.Sender.h
		for range capacity - 1 {
			require.NoError(t, ch.Send(1))
		}
		last, v := h.claimSend()
		require.Equal(t, claimed, v)
		p := h.tailHint()
		_, v = h.look(&p)
		require.Equal(t, blocked, v)
		require.True(t, h.stillFull(p))
		h.giveUp(last)
		require.False(t, h.stillFull(p), "the last position is to be had again")
		require.NoError(t, ch.Send(2))
		require.True(t, h.stillFull(p))
		_, err := ch.Recv()
		require.NoError(t, err)
		require.False(t, h.stillFull(p), "the first one is free")
	}
}

// Holes are counted while they are there, and what they wasted is not counted as sent.
func TestHolesAreCounted(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2))
	ctl := ch.Sender.h.ctl
	err := ch.SendFunc(forever, func(*int64) error { return errNo })
	require.Equal(t, errNo, err)
	assert.Equal(t, uint64(1), ctl.holes.Load())
	require.NoError(t, ch.Send(1)) // in its place
	assert.Zero(t, ctl.holes.Load())
	_, err = ch.Recv()
	require.NoError(t, err)
	err = ch.SendFunc(forever, func(*int64) error {
		require.NoError(t, ch.Send(2)) // behind it
		return errNo
	})
	require.Equal(t, errNo, err)
	assert.Equal(t, uint64(1), ctl.holes.Load())
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(2), v)
	assert.Zero(t, ctl.holes.Load(), "the receiver has passed it")
	st := ch.Stats()
	assert.Equal(t, []uint64{2, 2, 2}, []uint64{st.Sent, st.Received, st.Abandoned})
	assert.Equal(t, uint64(1), ctl.wasted.Load())
}

// Two values, or two spaces, and one wake: who was woken wakes the next.
func TestWokenWakesTheNext(t *testing.T) {
	noBackstop(t)
	for _, d := range []direction{sending, receiving} {
		ch := openTest[int64](t, WithCapacity(2))
		h := ch.Sender.h
		if d == sending {
			require.NoError(t, ch.Send(1))
			require.NoError(t, ch.Send(2))
		}
		first, second := again(t, ch, WithWait(Park)), again(t, ch, WithWait(Park))
		done := make(chan error)
		for _, c := range []*Chan[int64]{first, second} {
			parking(t, c.Sender.h, func() {
				if d == sending {
					done <- c.Send(3)
				} else {
					_, err := c.Recv()
					done <- err
				}
			})
		}
		for range 2 {
			relieve(t, h, d)
		}
		require.True(t, h.wakePeer(first.Sender.h.idx, d))
		require.NoError(t, <-done)
		require.NoError(t, <-done)
	}
}

// A FULL word carries the length of its value.
func TestLengthTag(t *testing.T) {
	assert.Equal(t, uint64(8), openTest[int64](t).Sender.h.full)
	assert.Equal(t, uint64(5), lengthTag(5+1<<tagBits))
}

// Once a handle is released, the listener, the backstop and the watches of deaths leave it alone.
func TestReleasedHandleIsLeftAlone(t *testing.T) {
	ch := openTest[int64](t)
	h := ch.Sender.h
	ran := 0
	h.whileHere(func() { ran++ })
	require.NoError(t, ch.Detach())
	h.whileHere(func() { ran++ })
	assert.Equal(t, 1, ran)
}

// An Open that is refused leaves no descriptor of the channel's file. (Others come and go in this process.)
func TestRefusedOpenClosesItsFile(t *testing.T) {
	ch := openTest[int64](t)
	open := func() (n int) {
		fds, _ := os.ReadDir("/proc/self/fd")
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == ch.Sender.h.path {
				n++
			}
		}
		return n
	}
	again(t, ch) // Its file has the channel's name; that of the maker had another.
	before := open()
	if before == 0 {
		t.Skip("the system does not tell which files are open")
	}
	for range 10 {
		_, err := Open[int32]("test", WithDir(ch.Sender.h.opts.dir))
		require.ErrorIs(t, err, ErrMismatch)
	}
	require.Equal(t, before, open())
}

// What was stepped past is not left behind: a hole behind a slot in hand, and, for the single receiver,
// a value that comes at last behind others that it has taken.
func TestSteppedPast(t *testing.T) {
	for name, opts := range map[string][]Option{"many": nil, "single receiver": {WithSingleReceiver()}} {
		ch := openTest[int64](t, append([]Option{WithCapacity(8), withStart(1<<posBits - 2)}, opts...)...)
		recv := func(want int64) {
			t.Helper()
			v, err := ch.TryRecv()
			require.NoError(t, err, name)
			require.Equal(t, want, v, name)
		}
		require.NoError(t, ch.SendFunc(forever, func(v *int64) error {
			*v = 1
			err := ch.SendFunc(forever, func(*int64) error {
				require.NoError(t, ch.Send(3))
				require.NoError(t, ch.Send(4))
				return errNo
			})
			require.Equal(t, errNo, err)
			recv(3) // past one that is written and a hole
			return nil
		}))
		recv(1)
		recv(4)
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, ErrEmpty)
		st := ch.Stats()
		assert.Equal(t, []uint64{3, 3, 1}, []uint64{st.Sent, st.Received, st.Abandoned}, name)
		for i := range int64(20) { // More than twice around.
			require.NoError(t, ch.TrySend(i))
			recv(i)
		}
	}
}

// A damaged value at the last position before wraparound is told by that position, by every way to receive.
func TestDamagedJustBeforeWraparound(t *testing.T) {
	type flag struct{ Is bool }
	const last uint64 = 1<<posBits - 1
	for kind, opts := range kinds {
		for how := range waysToReceive(&Chan[flag]{&Sender[flag]{}, &Receiver[flag]{}}) {
			ch := openTest[flag](t, append(opts, WithCapacity(4), withStart(last-2))...)
			for range 2 { // The second call of a goroutine goes straight to its slot.
				require.NoError(t, ch.Send(flag{true}))
				require.NoError(t, second(ch.Recv()))
			}
			require.NoError(t, ch.Send(flag{true}))
			require.NoError(t, ch.Send(flag{true}))
			*(*byte)(ch.Sender.h.value(last)) = 2
			got, err := waysToReceive(ch)[how]()
			require.ErrorIs(t, err, ErrCorrupt, "%s %s", kind, how)
			require.ErrorContains(t, err, fmt.Sprintf("the value at position %d has a bool", last), "%s %s", kind, how)
			require.Zero(t, got, "%s %s", kind, how)
			require.Equal(t, flag{true}, must[flag](t)(ch.Recv()), "%s %s", kind, how)
		}
	}
}

// With one slot what is given up is the next position at once; positions never go back.
func TestGivenUpInOneSlot(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1), withStart(1<<posBits-1))
	h := ch.Sender.h
	for i := range uint64(3) {
		require.Equal(t, word((i-1)&posMask, 0, stFree), h.slot(0).Load())
		require.Equal(t, errNo, ch.SendFunc(forever, func(*int64) error { return errNo }))
	}
	st := ch.Stats()
	assert.Equal(t, []uint64{0, 0, 3}, []uint64{st.Sent, st.Received, st.Abandoned})
	assert.Zero(t, h.ctl.holes.Load())
	require.NoError(t, ch.Send(1))
	assert.Equal(t, []uint64{1, 0}, []uint64{ch.Stats().Sent, ch.Stats().Received})
}

// Empty is true: with several values in hands there is nothing to take, but as soon as one is given
// back there is.
func TestNothingToTake(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(8))
	h := ch.Sender.h
	var inHand []uint64
	for i := range int64(3) {
		require.NoError(t, ch.Send(i))
		pos, err := h.recvBegin(forever)
		require.NoError(t, err)
		inHand = append(inHand, pos)
		require.True(t, h.nothingToTake())
	}
	h.recvAbort(inHand[1])
	require.False(t, h.nothingToTake())
	assert.Equal(t, uint64(1), ch.Stats().Redelivered)
	v, err := ch.TryRecv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
	require.NoError(t, h.recvEnd(inHand[0]))
	require.NoError(t, h.recvEnd(inHand[2]))
}

// Empty is true: while a look is past the first slot in somebody's hands, that value is given
// back, and then the one behind it is received. At every moment there was one.
func TestOneInHandIsNotEmpty(t *testing.T) {
	for _, capacity := range []int{2, 3, 8} {
		ch := openTest[int64](t, WithCapacity(capacity), withStart(1<<posBits-1))
		h := ch.Sender.h
		require.NoError(t, ch.Send(0))
		require.NoError(t, ch.Send(1))
		first, err := h.recvBegin(forever)
		require.NoError(t, err)
		second := (first + 1) & posMask
		h.onPass = func() {
			h.onPass = nil
			h.recvAbort(first)
			// A claim that had looked at the first before that.
			require.True(t, h.slot(second).CompareAndSwap(word(second, h.full, stFull), word(second, h.me, stReading)))
			require.NoError(t, h.recvEnd(second))
		}
		require.False(t, h.nothingToTake())
		require.Nil(t, h.onPass)
		v, err := ch.TryRecv()
		require.NoError(t, err)
		require.Zero(t, v)
	}
}

// How often nothingToTake looks: once where the one in hand is the last, twice where several are, and again
// if a word has changed in between, or was given back and taken again.
func TestNothingToTakeLooksAgain(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(8))
	h := ch.Sender.h
	var inHand []uint64
	take := func() {
		require.NoError(t, ch.Send(1))
		pos, err := h.recvBegin(forever)
		require.NoError(t, err)
		inHand = append(inHand, pos)
	}
	passed := func(on func(n int)) (n int) {
		h.onPass = func() { n++; on(n) }
		defer func() { h.onPass = nil }()
		require.True(t, h.nothingToTake())
		return n
	}
	nothing := func(int) {}
	require.Zero(t, passed(nothing))
	take()
	require.Equal(t, 1, passed(nothing))
	take()
	require.Equal(t, 4, passed(nothing))
	require.Equal(t, 2+3+3, passed(func(n int) {
		if n == 3 { // The second look finds another one in hand.
			pos, v := h.claimSend()
			require.Equal(t, claimed, v)
			inHand = append(inHand, pos)
		}
	}))
	again := inHand[0]
	require.Equal(t, 4*3, passed(func(n int) {
		if n == 4 { // The second look has seen the first word, which comes back as it was.
			h.recvAbort(again)
			require.True(t, h.slot(again).CompareAndSwap(word(again, h.full, stFull), word(again, h.me, stReading)))
		}
	}))
	h.giveUp(inHand[2])
	require.NoError(t, h.recvEnd(inHand[0]))
	require.NoError(t, h.recvEnd(inHand[1]))
}

// The first flag from the start on is taken, and after the last the first.
func TestTakeWaiter(t *testing.T) {
	h := openTest[int64](t).Sender.h
	flags := []int{3, 64, 70, 130, 255}
	up := func() {
		for _, i := range flags {
			h.setWaiting(receiving, i)
		}
	}
	for start, want := range map[int]int{0: 3, 3: 3, 4: 64, 65: 70, 70: 70, 71: 130, 131: 255, 255: 255, 128: 130} {
		up()
		i, ok := h.takeWaiter(receiving, start)
		require.True(t, ok)
		require.Equal(t, want, i, "from %d", start)
	}
	up()
	for _, want := range []int{70, 130, 255, 3, 64} {
		i, ok := h.takeWaiter(receiving, 66)
		require.True(t, ok)
		require.Equal(t, want, i)
	}
	_, ok := h.takeWaiter(receiving, 66)
	require.False(t, ok)
}

// While the single sender has something in hand nobody seals the channel: it may still store a value in the slot.
func TestWindowHoldsTheSealUp(t *testing.T) {
	noBackstop(t) // It would wake who waits for the window before us.
	open := func() (*Chan[int64], *handle) {
		ch := openTest[int64](t, WithCapacity(4), WithSingleSender(), WithSingleReceiver(), withStart(1<<posBits-1))
		return ch, ch.Sender.h
	}
	// Who seals looks after he has made the fence: what was on its way is there then.
	defer func() { fenceOthers = fenceProcesses }()
	ch, h := open()
	require.NoError(t, ch.Close())
	h.fences = true
	fenceOthers = func() { h.ctl.window.Store(h.tx.word + h.tx.claim) }
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
	fenceOthers = fenceProcesses

	ch, h = open()
	slot := h.txSlot()
	require.True(t, h.txTake(h.txSlot()))
	require.NoError(t, ch.Close())
	_, err = ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty, "it may still come")
	*(*int64)(unsafe.Add(slot, valueOffset)) = 7
	h.sent(slot)
	require.False(t, h.txDone(), "nobody waits")
	v, err := ch.TryRecv()
	require.NoError(t, err)
	require.Equal(t, int64(7), v)
	_, err = ch.TryRecv()
	require.ErrorIs(t, err, ErrClosed)
	require.False(t, h.txTake(h.txSlot()), "closed")
	require.False(t, h.txDone())
	require.ErrorIs(t, ch.Send(1), ErrClosed)

	// Its owner is dead, and nothing came: then it is recovered and the channel has ended.
	ch, h = open()
	h.ctl.window.Store(word(1<<posBits-1, h.me+1<<idxBits, stWriting))
	require.NoError(t, ch.Close())
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, h.ctl.window.Load())

	// A receiver that waits for the window is woken when it is shut.
	ch, h = open()
	require.True(t, h.txTake(h.txSlot()))
	require.NoError(t, ch.Close())
	got := make(chan error)
	parking(t, h, func() { _, err := ch.Recv(); got <- err })
	require.True(t, h.txDone())
	h.wakeOne(receiving)
	require.ErrorIs(t, <-got, ErrClosed)

	ch, h = open()
	h.ctl.window.Store(word(3, 8, stFull))
	require.NoError(t, ch.Close())
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrCorrupt, "nobody writes that there")
}

// Calls in the lane go straight to their slots, position by position, whatever the slots' size and number.
func TestGoStraight(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector there is no lane")
	}
	for _, capacity := range []int{1, 4, 64, 1024} {
		for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
			goStraight[int64](t, capacity, opts...)
			goStraight[[8]uint64](t, capacity, opts...)
			goStraight[[128]uint64](t, capacity, opts...)
		}
	}
}

func goStraight[T any](t *testing.T, capacity int, opts ...Option) {
	ch := openTest[T](t, append(opts, WithCapacity(capacity), withStart(1<<posBits-100))...)
	h := ch.Sender.h
	var v T
	h.send.moveLane()
	h.recv.moveLane()
	straight := func(s *side, slot unsafe.Pointer, pos uint64) {
		l := s.enterLane()
		require.NotNil(t, l)
		require.True(t, s.isIn(l))
		require.Equal(t, unsafe.Pointer(h.slot(pos)), slot)
		s.leaveLane(l)
	}
	for range 3 {
		for range capacity {
			straight(&h.send, h.txSlot(), h.tx.pos())
			require.NoError(t, ch.Send(v))
		}
		require.Nil(t, h.txSlot(), "full")
		for range capacity {
			straight(&h.recv, h.rxSlot(), h.rx.pos())
			_, err := ch.Recv()
			require.NoError(t, err)
		}
		require.Nil(t, h.rxSlot(), "empty")
	}
}

// The capacity of a single sender is exact also where there are more slots.
func TestSingleSenderCapacity(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 5, 100} {
		ch := openTest[int64](t, WithCapacity(capacity), WithSingleSender(), WithSingleReceiver())
		for range 2 {
			for i := range capacity {
				require.NoError(t, ch.Send(int64(i)))
			}
			require.ErrorIs(t, ch.TrySend(0), ErrFull)
			sent := make(chan error)
			parking(t, ch.Sender.h, func() { sent <- ch.Send(int64(capacity)) })
			for i := range capacity + 1 {
				v, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, int64(i), v)
				if i == 0 {
					require.NoError(t, <-sent)
				}
			}
		}
	}
}

// What lies there when the channel is closed is received, and nothing comes behind it.
func TestSingleSenderAfterClose(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(4), WithSingleSender(), WithSingleReceiver())
	require.NoError(t, ch.Send(1))
	require.NoError(t, ch.Close())
	require.ErrorIs(t, ch.Send(2), ErrClosed)
	n, err := ch.SendBatch(t.Context(), []int64{2, 3})
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, n)
	_, err = ch.Recv()
	require.NoError(t, err)
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
}

// Single roles bring the shared hints up every 64 positions, on every way.
func TestSingleRolesHints(t *testing.T) {
	const start = 1<<posBits - 64
	ways := map[string]func(*Chan[int64]) error{
		"Send and Recv": func(ch *Chan[int64]) error { _, err := ch.Recv(); return errors.Join(ch.Send(1), err) },
		"Try":           func(ch *Chan[int64]) error { _, err := ch.TryRecv(); return errors.Join(ch.TrySend(1), err) },
	}
	for name, once := range ways {
		ch := openTest[int64](t, WithCapacity(128), WithSingleSender(), WithSingleReceiver(), withStart(start))
		ctl := ch.Sender.h.ctl
		require.NoError(t, ch.Send(0)) // So that a receive comes before the send of its round.
		for i := range 62 {
			require.NoError(t, once(ch))
			require.Equal(t, uint64(start), ctl.tail.Load(), "%s, round %d", name, i)
		}
		require.NoError(t, once(ch))
		require.Zero(t, ctl.tail.Load(), name)
		require.Equal(t, uint64(start), ctl.head.Load(), name)
		require.NoError(t, once(ch))
		require.Zero(t, ctl.head.Load(), name)
	}
}

// A word that somebody overwrites while its slot is in hand is found out, and said to be corrupt.
func TestOverwrittenInHand(t *testing.T) {
	for name, opts := range kinds {
		for _, capacity := range []int{0, 1, 4} {
			ch := openTest[int64](t, append([]Option{WithCapacity(capacity)}, opts...)...)
			h := ch.Sender.h
			scribble := func(*int64) error {
				for i := range h.n {
					h.slot(i).Store(word(7, 0, stFull))
				}
				return nil
			}
			require.ErrorIs(t, ch.SendFunc(forever, scribble), ErrCorrupt, "%s %d", name, capacity)
			if capacity == 0 {
				continue
			}
			ch = openTest[int64](t, append([]Option{WithCapacity(capacity)}, opts...)...)
			h = ch.Sender.h
			require.NoError(t, ch.Send(1))
			require.ErrorIs(t, ch.RecvFunc(forever, scribble), ErrCorrupt, "%s %d", name, capacity)
		}
	}
}

// The lane of a side: one goroutine at a time, and it moves to who calls often, but not under a call.
func TestLane(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector there is no lane")
	}
	ch := openTest[int64](t, WithCapacity(1024))
	s := &ch.Sender.h.send
	me := s.lane.Load()
	require.Equal(t, noLane, me)
	require.NoError(t, ch.Send(1))
	me = s.lane.Load()
	require.Equal(t, goroutine(), me.goroutine, "the first who calls")
	l := s.enterLane()
	require.Equal(t, me, l)

	elsewhere := func(f func()) {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		<-done
	}
	sends := func(n int) {
		for range n {
			require.NoError(t, ch.Send(1))
		}
	}
	elsewhere(func() {
		require.Nil(t, s.enterLane(), "another's")
		sends(200)
		require.Equal(t, me, s.lane.Load(), "there is a call in it")
		s.leaveLane(l)
		sends(128)
		require.Equal(t, goroutine(), s.lane.Load().goroutine, "it calls more often")
		require.NotNil(t, s.enterLane())
		s.leaveLane(s.lane.Load())
	})
	require.False(t, s.isIn(l))
	require.Nil(t, s.enterLane())
	sends(200)
	require.Equal(t, goroutine(), s.lane.Load().goroutine, "back")
	require.Equal(t, 1+200+128+200, ch.Len())

	// Whoever comes late for a lane that is another's by now, or a detached one's, is not in it.
	late := s.lane.Load()
	elsewhere(func() {
		sends(300)
		require.True(t, s.knock(late))
		require.False(t, s.isIn(late))
		s.leaveLane(late)
		require.NotNil(t, s.enterLane(), "and does not disturb who is")
		s.leaveLane(s.lane.Load())

		// Nor does the lane move once the side is detached.
		l := s.enterLane()
		elsewhere(func() {
			// A call that had begun when the fence was made counts.
			s.leaveLane(l)
			defer func(old func()) { fence = old }(fence)
			fence = func() { l.busy.Store(1) }
			s.missed.Store(0)
			s.moves.Store(0)
			s.moveLane()
			require.Equal(t, l, s.lane.Load())
		})
		elsewhere(func() {
			s.onMove = func() { s.onMove = nil; require.NoError(t, ch.Sender.Detach()) }
			s.missed.Store(0)
			s.moves.Store(0)
			s.moveLane()
		})
		require.Equal(t, l, s.lane.Load())
		require.False(t, s.finished.Load(), "there is a call in it")
		s.leaveLane(l)
		require.True(t, s.finished.Load())
	})
}

// A batch keeps its place, also for who comes after it.
func TestBatchKeepsItsPlace(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector there is no lane")
	}
	for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
		ch := openTest[int64](t, opts...)
		h := ch.Sender.h
		vs := make([]int64, 40)
		h.send.moveLane()
		h.recv.moveLane()
		for range 5 {
			n, err := ch.SendBatch(t.Context(), vs)
			require.NoError(t, err)
			require.Equal(t, len(vs), n)
			require.NotNil(t, h.txSlot())
			n, err = ch.RecvBatch(t.Context(), vs[:39])
			require.NoError(t, err)
			require.Equal(t, 39, n)
			require.NotNil(t, h.rxSlot())
		}
	}
}

// A call that the context of another one makes is none in the lane.
type nosy struct {
	context.Context
	asked func()
}

func (c nosy) Err() error { c.asked(); return nil }

func TestNestedInTheLane(t *testing.T) {
	for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
		ch := openTest[int64](t, opts...)
		require.NoError(t, ch.Send(1))
		require.NoError(t, ch.SendContext(nosy{t.Context(), func() { require.NoError(t, ch.Send(2)) }}, 3))
		for range 3 {
			_, err := ch.Recv()
			require.NoError(t, err)
		}
		require.Zero(t, ch.Sender.h.send.lane.Load().busy.Load())
		require.NoError(t, ch.Detach())
		require.True(t, ch.Sender.h.released)
	}
}

// Whoever is in the lane goes on from value to value, but does not go on past what is in somebody's hands: that
// may be given back, or published before what the same sender sends next.
func TestLaneLooksBack(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(256))
	other := again(t, ch)
	next := int64(0)
	send := func(n int) {
		for range n {
			require.NoError(t, ch.Send(next))
			next++
		}
	}
	recv := func(want int64) {
		v, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	send(200)
	for i := range int64(10) {
		recv(i)
	}
	require.ErrorIs(t, other.RecvFunc(t.Context(), func(v *int64) error {
		require.Equal(t, int64(10), *v)
		for i := range int64(5) {
			recv(11 + i)
		}
		return errFails
	}), errFails)
	recv(10)
	recv(16)

	ch = openTest[int64](t, WithCapacity(256))
	other = again(t, ch)
	require.NoError(t, other.SendFunc(t.Context(), func(v *int64) error {
		require.NoError(t, ch.Send(100))
		recv(100)
		*v = 1
		return nil
	}))
	require.NoError(t, other.Send(2))
	recv(1)
	recv(2)
}
