package shmchan

// The ring, step by step: looks in the middle of what another does, counts of holes, wakes that one
// who was woken owes the next. Each of these tests is here because a mutant passed all the others.

import (
	"testing"

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
			go func() {
				if d == sending {
					done <- c.Send(3)
				} else {
					_, err := c.Recv()
					done <- err
				}
			}()
			parked(t, c.Sender.h, 1)
		}
		for range 2 {
			if d == sending {
				pos, err := h.recvBegin(forever)
				require.NoError(t, err)
				require.NoError(t, h.recvQuietly(pos))
			} else {
				pos, err := h.sendBegin(forever)
				require.NoError(t, err)
				require.NoError(t, h.sendQuietly(pos))
			}
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

// An Open that is refused leaves no descriptor.
func TestRefusedOpenClosesItsFile(t *testing.T) {
	ch := openTest[int64](t)
	before := openDescriptors()
	for range 10 {
		_, err := Open[int32]("test", WithDir(ch.Sender.h.opts.dir))
		require.ErrorIs(t, err, ErrMismatch)
	}
	assert.LessOrEqual(t, openDescriptors(), before)
}
