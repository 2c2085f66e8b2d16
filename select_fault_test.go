package shmchan

// A fault that comes upon a Select in the middle of its waiting, at a known step: the memory of one channel goes when the waiters of
// others are in their queues. What was done there is undone, and what was meant for them is passed on.
//
// The moment is made by onPark, which is called before a case's waiter is queued; nobody looks at the file's size, so that the touch itself faults.

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// queuedOn is how many goroutines wait on a side.
func queuedOn(s *side) (n int) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, l := range []*waitList{&s.queue, &s.posters, &s.watchers} {
		for w := l.first; w != nil; w = w.next {
			n++
		}
	}
	return n
}

// cutInTheMiddle has the file of g cut short when somebody is about to park on h.
func cutInTheMiddle(t *testing.T, g, h *handle, before func()) {
	t.Helper()
	g.faults.looked.Store(1 << 62) // Nobody looks at the file's size.
	done := false
	h.onPark = func() {
		if !done {
			done = true
			before()
			assert.NoError(t, os.Truncate(g.path, 0))
		}
	}
}

// The waiters on other channels are taken out again: each is of memory that another Select uses next.
func TestFaultWhileQueued(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	noBackstop(t)
	for _, capacity := range []int{0, 1} {
		for _, first := range []bool{true, false} { // The fault is in the look, or when it is queued.
			for _, sends := range []bool{false, true} {
				what := fmt.Sprint(capacity, " ", first, " ", sends)
				g := openTest[int64](t, WithCapacity(capacity), WithFaultGuard(), WithWait(Park))
				other := openTest[int64](t, WithCapacity(capacity), WithWait(Park))
				third := openTest[int64](t, WithCapacity(capacity), WithWait(Park))
				var v int64
				cases := []Case{RecvCase(other.Receiver, &v), RecvCase(third.Receiver, &v)}
				if sends {
					for range capacity {
						require.NoError(t, other.Send(1))
						require.NoError(t, third.Send(1))
					}
					cases = []Case{SendCase(other.Sender, 2), SendCase(third.Sender, 3)}
				}
				last, guarded := g.Sender.h, len(cases)
				if first {
					last, guarded = third.Sender.h, 0
					cases = append([]Case{RecvCase(g.Receiver, &v)}, cases...)
				} else {
					cases = append(cases, RecvCase(g.Receiver, &v))
				}
				cutInTheMiddle(t, g.Sender.h, last, func() {
					side := &other.Sender.h.recv
					if sends {
						side = &other.Sender.h.send
					}
					assert.Equal(t, 1, queuedOn(side), "this is to be undone: %s", what)
				})
				i, err := Select(t.Context(), cases...)
				require.Equal(t, guarded, i, what)
				require.ErrorIs(t, err, ErrCorrupt, what)
				for _, ch := range []*Chan[int64]{other, third} {
					require.Zero(t, queuedOn(&ch.Sender.h.send)+queuedOn(&ch.Sender.h.recv), what)
					require.Zero(t, ch.Stats().Waiting, what)
					require.Zero(t, ch.Sender.h.rvCount, what)
				}
			}
		}
	}
}

// A wake that the Select had got on another channel is passed on to who waits behind it.
func TestFaultWhileWoken(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	noBackstop(t)
	for _, capacity := range []int{0, 1} {
		g := openTest[int64](t, WithCapacity(capacity), WithFaultGuard(), WithWait(Park))
		a := openTest[int64](t, WithCapacity(capacity), WithWait(Park))
		mine := again(t, a, WithWait(Park))
		h := a.Sender.h
		behind, sent := make(chan int64, 1), make(chan error, 1)
		cutInTheMiddle(t, g.Sender.h, g.Sender.h, func() {
			parking(t, h, func() { v, _ := a.Recv(); behind <- v })
			go func() { sent <- mine.Send(7) }()
			until(t, "the Select is woken, and not who waits behind it", func() bool { return queuedOn(&h.recv) == 1 })
		})
		var v int64
		ends(t, func() {
			i, err := Select(t.Context(), RecvCase(a.Receiver, &v), RecvCase(g.Receiver, &v))
			assert.Equal(t, 1, i)
			assert.ErrorIs(t, err, ErrCorrupt)
			assert.EqualValues(t, 7, <-behind)
			assert.NoError(t, <-sent)
		}, func() string { return fmt.Sprintf("%+v", a.Stats()) })
	}
}
