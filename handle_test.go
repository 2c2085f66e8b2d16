package shmchan

// Handles: whom a call wakes that ends otherwise than by its value, what a side and a handle leave
// behind, what is cleared away after a death by those who only pass by. Most of it with the backstop off.
//
// Each of these tests is here because a mutant of the code passed all the others.

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parking has a goroutine of its own make a call, and waits until it has parked on that handle.
func parking(t testing.TB, h *handle, call func()) {
	t.Helper()
	parks := func() uint64 { return h.send.count(countParks) + h.recv.count(countParks) }
	before := parks()
	go call()
	until(t, "parked", func() bool { return parks() > before })
}

// relieve makes what one who is blocked in direction d waits for, and wakes nobody.
func relieve(t testing.TB, h *handle, d direction) {
	t.Helper()
	if d == sending {
		pos, err := h.recvBegin(forever)
		require.NoError(t, err)
		require.NoError(t, h.recvQuietly(pos))
		return
	}
	pos, err := h.sendBegin(forever)
	require.NoError(t, err)
	require.NoError(t, h.sendQuietly(pos))
}

// A SendFunc that fails leaves space, and wakes a sender for it; a RecvFunc that fails leaves a value,
// and wakes a receiver.
func TestGivingUpWakes(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{1, 2} {
		ch := openTest[int64](t, WithCapacity(capacity), WithWait(Park))
		other := again(t, ch, WithWait(Park))
		for range capacity - 1 {
			require.NoError(t, ch.Send(1))
		}
		done := make(chan error)
		err := ch.SendFunc(forever, func(*int64) error {
			parking(t, other.Sender.h, func() { done <- other.Send(2) })
			return errNo
		})
		require.Equal(t, errNo, err)
		require.NoError(t, <-done)
		for range capacity - 1 {
			_, err := ch.Recv()
			require.NoError(t, err)
		}
		err = ch.RecvFunc(forever, func(*int64) error {
			parking(t, other.Sender.h, func() { _, err := other.Recv(); done <- err })
			return errNo
		})
		require.Equal(t, errNo, err)
		require.NoError(t, <-done)
	}
}

// Who is cancelled while somebody is about to ring for it passes the wake on.
func TestCancelledPassesOn(t *testing.T) {
	noBackstop(t)
	for _, d := range []direction{sending, receiving} {
		ch := openTest[int64](t, WithCapacity(1))
		first, second := again(t, ch, WithWait(Park)), again(t, ch, WithWait(Park))
		if d == sending {
			require.NoError(t, ch.Send(1))
		}
		call := func(c *Chan[int64], ctx context.Context) error {
			if d == sending {
				return c.SendContext(ctx, 2)
			}
			_, err := c.RecvContext(ctx)
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, done := make(chan error), make(chan error)
		parking(t, first.Sender.h, func() { cancelled <- call(first, ctx) })
		parking(t, second.Sender.h, func() { done <- call(second, t.Context()) })
		// Make what they wait for, take the first one's flag down, and go no further.
		h := ch.Sender.h
		relieve(t, h, d)
		require.True(t, h.clearWaiting(d, first.Sender.h.idx))
		cancel()
		require.ErrorIs(t, <-cancelled, context.Canceled)
		require.NoError(t, <-done)
	}
}

// Who waits for a role only is woken when a handle lets go of it.
func TestDetachedSideDisconnects(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(1))
	dir := WithDir(ch.Sender.h.opts.dir)
	r, err := OpenReceiver[int64]("test", dir, WithDisconnect(), WithWait(Park))
	require.NoError(t, err)
	done := make(chan error)
	parking(t, r.h, func() { _, err := r.Recv(); done <- err })
	require.Equal(t, 1, r.Stats().Senders)
	require.NoError(t, ch.Sender.Detach())
	require.ErrorIs(t, <-done, ErrDisconnected)
	assert.Zero(t, r.Stats().Senders)
	assert.Equal(t, 2, r.Stats().Receivers)
	require.NoError(t, r.Detach())
}

// Without WithDisconnect a call waits though nobody is there.
func TestWaitsForSomebodyToCome(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1))
	dir := WithDir(ch.Sender.h.opts.dir)
	require.NoError(t, ch.Receiver.Detach())
	require.NoError(t, ch.Send(1))
	done := make(chan error)
	parking(t, ch.Sender.h, func() { done <- ch.Send(2) })
	r, err := OpenReceiver[int64]("test", dir)
	require.NoError(t, err)
	for want := range int64(2) {
		v, err := r.Recv()
		require.NoError(t, err)
		require.Equal(t, 1+want, v)
	}
	require.NoError(t, <-done)
	require.NoError(t, ch.Sender.Detach())
	parking(t, r.h, func() { _, err := r.Recv(); done <- err })
	s, err := OpenSender[int64]("test", dir)
	require.NoError(t, err)
	require.NoError(t, s.Send(3))
	require.NoError(t, <-done)
	require.NoError(t, s.Detach())
	require.NoError(t, r.Detach())
}

// A call that spins is cancelled and detached like any other.
func TestSpinEnds(t *testing.T) {
	for _, capacity := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(capacity), WithWait(Spin))
		for _, call := range []func(ctx context.Context) error{
			func(ctx context.Context) error { _, err := ch.RecvContext(ctx); return err },
			func(ctx context.Context) error {
				for {
					if err := ch.SendContext(ctx, 1); err != nil {
						return err
					}
				}
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- call(ctx) }()
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		}
		if capacity > 0 && ch.Len() == 0 {
			require.NoError(t, ch.Send(1))
		}
		done := make(chan error)
		go func() { done <- ch.Send(2) }()
		require.NoError(t, ch.Sender.Detach())
		require.ErrorIs(t, <-done, ErrDetached)
	}
}

// A handle for one role: the other side is not there, also after Detach.
func TestHandleOfOneRole(t *testing.T) {
	dir := WithDir(memDir(t))
	s, err := OpenSender[int64]("test", dir, WithCapacity(3))
	require.NoError(t, err)
	r, err := OpenReceiver[int64]("test", dir)
	require.NoError(t, err)
	require.NoError(t, s.Send(1))
	assert.Equal(t, []any{"test", 3, 1}, []any{s.Name(), s.Cap(), s.Len()})
	assert.Equal(t, []any{"test", 3, 1}, []any{r.Name(), r.Cap(), r.Len()})
	require.ErrorIs(t, s.h.closeChannel(&s.h.recv), ErrDetached)
	require.ErrorIs(t, r.h.closeChannel(&r.h.send), ErrDetached)
	require.NoError(t, s.Detach())
	assert.Equal(t, Stats{Name: "test", Cap: 3}, s.Stats())
	assert.Zero(t, s.Len())
	require.NoError(t, r.Close())
	require.NoError(t, r.Detach())
	assert.Equal(t, Stats{Name: "test", Cap: 3}, r.Stats())
	require.ErrorIs(t, r.Close(), ErrDetached)
}

// A rendezvous with single roles claims like any other: an offer may be taken back.
func TestSingleRendezvousClaims(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(0), WithSingleSender(), WithSingleReceiver())
	assert.False(t, ch.Sender.h.oneSender)
	assert.False(t, ch.Sender.h.oneRecver)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	parking(t, ch.Sender.h, func() { done <- ch.SendContext(ctx, 1) })
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	go func() { done <- ch.Send(2) }()
	v, err := ch.Recv()
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, int64(2), v)
}

// ErrBusy names who holds the role, not who is attached besides.
func TestBusyNamesTheHolder(t *testing.T) {
	dir := memDir(t)
	r, err := OpenReceiver[message]("test", WithDir(dir), WithSingleSender())
	require.NoError(t, err)
	c := start(t, "holder", dir, "idle")
	require.Equal(t, "in", c.line())
	_, err = OpenSender[message]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", c.cmd.Process.Pid))
	c.kill()
	s, err := OpenSender[message]("test", WithDir(dir))
	require.NoError(t, err)
	_, err = OpenSender[message]("test", WithDir(dir))
	require.ErrorContains(t, err, "another handle of this process")
	require.NoError(t, s.Detach())
	require.NoError(t, r.Detach())
}

// A participant that detaches leaves its entry as it was, but for the generation: nobody recovers
// anything, and whoever comes next has another tag.
func TestEntryAfterDetach(t *testing.T) {
	ch := openTest[int64](t)
	seen := map[uint64]bool{ch.Sender.h.me: true}
	for range 5 {
		other := again(t, ch)
		require.False(t, seen[other.Sender.h.me])
		seen[other.Sender.h.me] = true
		require.NoError(t, other.Detach())
		assert.Equal(t, 1, ch.Stats().Senders)
	}
	assert.Zero(t, ch.Stats().Recovered)
}

// The last to leave a closed channel removes the doorbells of the dead, too.
func TestLastToLeaveRemovesDoorbells(t *testing.T) {
	dir := memDir(t)
	ch, err := Open[message]("test", WithDir(dir))
	require.NoError(t, err)
	c := start(t, "holder", dir, "idle")
	require.Equal(t, "in", c.line())
	c.kill()
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

// Who attaches to a closed channel that is held lets go of the name's lock.
func TestClosedChannelsNameIsFree(t *testing.T) {
	ch := openTest[int64](t)
	require.NoError(t, ch.Send(1))
	require.NoError(t, ch.Close())
	other := again(t, ch)
	f, err := os.OpenFile(ch.Sender.h.path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	ok, err := flockFile(f)
	require.NoError(t, err)
	require.True(t, ok)
	unlockName(f)
	v, err := other.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
}

// The first attach to a directory clears away what the dead left in it.
func TestAttachSweeps(t *testing.T) {
	dir := memDir(t)
	ch, err := Open[int64]("test", WithDir(dir))
	require.NoError(t, err)
	c := start(t, "creator", dir)
	require.Equal(t, "made", c.line())
	c.kill()
	c = start(t, "attacher", dir)
	require.Equal(t, "attached", c.line())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "the channel and two doorbells")
	c.kill()
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

func init() {
	roles["attacher"] = func(args []string) error {
		ch, err := Open[int64]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		fmt.Println("attached")
		_, _ = fmt.Scanln(new(string))
		return ch.Detach()
	}
}

// A dead sender's slot that receivers step past is cleared away by them, though nobody waits for it.
func TestPassersByRecover(t *testing.T) {
	for _, recv := range []func(ch *Chan[message]) (message, error){
		func(ch *Chan[message]) (message, error) { return ch.Recv() },
		func(ch *Chan[message]) (message, error) { return ch.TryRecv() },
	} {
		ch := openTest[message](t, WithCapacity(1<<16)) // It does not come round, so no sender looks.
		c := start(t, "holder", ch.Sender.h.opts.dir, "send")
		require.Equal(t, "in", c.line())
		c.kill()
		seq := uint64(0)
		until(t, "the dead one is cleared away", func() bool {
			require.NoError(t, ch.TrySend(newMessage(2, seq)))
			m, err := recv(ch)
			require.NoError(t, err)
			require.Equal(t, newMessage(2, seq), m)
			seq++
			return ch.Stats().Recovered == 1
		})
		assert.Equal(t, uint64(1), ch.Stats().Abandoned)
	}
}

// Who is parked is told of participants that join later, and so of their death.
func TestLateJoinersDeathIsTold(t *testing.T) {
	noBackstop(t)
	ch := openTest[message](t, WithWait(Park))
	done := make(chan error)
	parking(t, ch.Sender.h, func() { _, err := ch.Recv(); done <- err })
	c := start(t, "holder", ch.Sender.h.opts.dir, "idle")
	require.Equal(t, "in", c.line())
	c.kill()
	until(t, "it is cleared away", func() bool { return ch.Stats().Recovered == 1 })
	require.NoError(t, ch.Send(newMessage(1, 1)))
	require.NoError(t, <-done)
}

// Two handles of this process and one of another, whose death is told once, to both.
func TestOneDeathManyHandles(t *testing.T) {
	noBackstop(t)
	dir := memDir(t)
	done := make(chan error)
	var all []*Receiver[message]
	ch, err := Open[message]("test", WithDir(dir))
	require.NoError(t, err)
	c := start(t, "holder", dir, "idle")
	require.Equal(t, "in", c.line())
	require.NoError(t, ch.Detach())
	for range 2 {
		r, err := OpenReceiver[message]("test", WithDir(dir), WithDisconnect(), WithWait(Park))
		require.NoError(t, err)
		all = append(all, r)
		parking(t, r.h, func() { _, err := r.Recv(); done <- err })
	}
	c.kill()
	for range all {
		require.ErrorIs(t, <-done, ErrDisconnected)
	}
	for _, r := range all {
		require.NoError(t, r.Detach())
	}
	until(t, "no death is watched any more", func() bool {
		deaths.Lock()
		defer deaths.Unlock()
		return len(deaths.watches) == 0
	})
}
