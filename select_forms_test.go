package shmchan

// Select beside what else a channel can have: the fault guard, descriptors, checksums, no name, single roles, WithDisconnect.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file that is cut short under a handle with the guard is that case's error, whether Select is parked, spins, makes an
// offer or only tries. Nothing of it is left on the other channel, whose handle has no guard.
func TestFaultGuardSelect(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for _, capacity := range []int{0, 1} {
		for _, wait := range []Wait{Park, Adaptive, Spin} {
			t.Run(fmt.Sprint(capacity, "/", wait), func(t *testing.T) {
				before := runtime.NumGoroutine()
				for what := range 5 {
					probe := openTest[fuzzed](t, WithCapacity(capacity))
					all := lengths(probe.Sender.h)
					require.NoError(t, probe.Detach())
					for k, n := range all {
						if *hostile == 0 && k%3 != what%3 { // Each waits for the backstop.
							continue
						}
						dir := memDir(t)
						g := openNamed[fuzzed](t, dir, "test", WithCapacity(capacity), WithFaultGuard(), WithWait(wait))
						other := openNamed[int64](t, dir, "other", WithCapacity(capacity), WithWait(wait))
						third := openNamed[int64](t, dir, "third", WithCapacity(capacity), WithWait(wait))
						var v int64
						into := fuzzed{A: 9}
						var cases []Case
						switch what {
						case 0:
							cases = []Case{RecvCase(other.Receiver, &v), RecvCase(g.Receiver, &into)}
						case 1: // An offer, or space that there is not, on the other.
							cases = []Case{SendCase(other.Sender, 1), RecvCase(g.Receiver, &into)}
						case 2: // The same on the guarded one.
							cases = []Case{RecvCase(other.Receiver, &v), SendCase(g.Sender, fuzzed{})}
						case 3: // Several sends, so that the Select goes by the flags.
							cases = []Case{SendCase(other.Sender, 1), SendCase(g.Sender, fuzzed{}), SendCase(third.Sender, 2)}
						case 4:
							cases = []Case{SendCase(g.Sender, fuzzed{}), SendCase(other.Sender, 1), SendCase(third.Sender, 2), RecvCase(other.Receiver, &v)}
							if capacity == 1 {
								cases = cases[:3]
							}
						}
						guarded := map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 0}[what]
						if capacity == 1 {
							if what == 1 || what >= 3 {
								require.NoError(t, other.Send(7))
								require.NoError(t, third.Send(7))
							}
							if what >= 2 {
								require.NoError(t, g.Send(fuzzed{}))
							}
						}
						type result struct {
							i   int
							err error
						}
						results := make(chan result, 1)
						call := func() {
							i, err := Select(t.Context(), cases...)
							results <- result{i, err}
						}
						if wait == Spin {
							go call()
							runtime.Gosched()
						} else {
							parking(t, g.Sender.h, call)
						}
						require.NoError(t, os.Truncate(g.Sender.h.path, n))
						got := <-results
						require.Equal(t, guarded, got.i, "%d %d", what, n)
						require.ErrorIs(t, got.err, ErrCorrupt)
						require.ErrorContains(t, got.err, `channel "test"`)
						require.Equal(t, fuzzed{A: 9}, into)
						i, err := TrySelect(cases...)
						require.Equal(t, guarded, i)
						require.ErrorIs(t, err, ErrCorrupt)

						for _, ch := range []*Chan[int64]{other, third} {
							h := ch.Sender.h
							require.Zero(t, h.rvCount)
							require.Zero(t, ch.Stats().Waiting)
							require.True(t, h.send.noneQueued() && h.recv.noneQueued() && h.send.watchers.first == nil)
							if capacity == 0 {
								_, err := ch.TryRecv()
								require.ErrorIs(t, err, ErrEmpty, "an offer is left")
							}
							require.NoError(t, ch.Detach())
							require.True(t, h.released, "a side was not left")
						}
						requireBroken(t, g)
						require.True(t, g.Sender.h.released)
					}
				}
				until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
			})
		}
	}
}

// An offer that somebody has in hand when the other case's file is cut short is waited for: what becomes of it decides.
func TestFaultGuardSelectOffered(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for _, taken := range []bool{false, true} {
		dir := memDir(t)
		g := openNamed[int64](t, dir, "test", WithCapacity(0), WithFaultGuard(), WithWait(Park))
		a := openNamed[int64](t, dir, "a", WithCapacity(0), WithWait(Park))
		other := again(t, a)
		var v int64
		type result struct {
			i   int
			err error
		}
		results := make(chan result, 1)
		parking(t, a.Sender.h, func() {
			i, err := Select(t.Context(), RecvCase(g.Receiver, &v), SendCase(a.Sender, 1))
			results <- result{i, err}
		})
		err := other.RecvFunc(t.Context(), func(v *int64) error {
			require.EqualValues(t, 1, *v)
			require.NoError(t, os.Truncate(g.Sender.h.path, 0))
			until(t, "broken", func() bool { return g.Sender.h.faults.broken.Load() })
			if taken {
				return nil
			}
			return errNo
		})
		got := <-results
		if taken {
			require.NoError(t, err)
			require.Equal(t, result{1, nil}, got)
		} else {
			require.ErrorIs(t, err, errNo)
			require.Zero(t, got.i)
			require.ErrorIs(t, got.err, ErrCorrupt)
		}
		require.ErrorIs(t, second(a.TryRecv()), ErrEmpty)
		require.Zero(t, a.Sender.h.rvCount)
	}
}

// Selects at work, crossing and trying, while files are cut short at random moments.
func TestFaultGuardSelectUnderWork(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	rnd := testRand(t)
	patient(t) // A TrySelect that gave up on a Select with its value in hand would have sent it, whatever becomes of it.
	before := runtime.NumGoroutine()
	for range 60 + 1000**hostile {
		capacities := []int{0, 0, 1, 2}
		dir := memDir(t)
		g := openNamed[int64](t, dir, "test", WithCapacity(capacities[rnd.IntN(4)]), WithFaultGuard())
		a := openNamed[int64](t, dir, "a", WithCapacity(capacities[rnd.IntN(4)]))
		g2, a2 := again(t, g, WithFaultGuard()), again(t, a)
		all := lengths(g.Sender.h)
		done := make(chan error)
		var calls atomic.Int64
		last, now := rnd.Int64N(500)+1, make(chan struct{})
		work := func(g, a *Chan[int64], turn int) {
			var err error
			for i := 0; err == nil; i++ {
				if calls.Add(1) == last {
					close(now)
				}
				var v, w int64
				cases := [2]Case{RecvCase(g.Receiver, &v), SendCase(a.Sender, 1)}
				if (i+turn)%2 == 0 {
					cases = [2]Case{RecvCase(a.Receiver, &w), SendCase(g.Sender, 2)}
				}
				var k int
				if i%3 == 0 {
					k, err = TrySelect(cases[:]...)
				} else {
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					k, err = Select(ctx, cases[:]...)
					cancel()
				}
				if errors.Is(err, ErrWouldBlock) || errors.Is(err, context.DeadlineExceeded) {
					err = nil
				}
				if err == nil && k >= 0 && (v != 0 && v != 2 || w != 0 && w != 1) {
					err = fmt.Errorf("received %d, %d", v, w)
				}
			}
			done <- err
		}
		for turn := range 2 {
			go work(g, a, turn)
			go work(g2, a2, turn)
		}
		<-now
		require.NoError(t, os.Truncate(g.Sender.h.path, all[rnd.IntN(len(all))]))
		for range 4 {
			require.ErrorIs(t, <-done, ErrCorrupt)
		}
		for _, ch := range []*Chan[int64]{a, a2} {
			require.Zero(t, ch.Sender.h.rvCount)
			require.Zero(t, ch.Stats().Waiting)
		}
		if a.Cap() == 0 {
			require.ErrorIs(t, second(a.TryRecv()), ErrEmpty, "an offer is left")
		}
		for _, ch := range []*Chan[int64]{a, a2, g, g2} {
			require.NoError(t, ch.Detach())
			require.True(t, ch.Sender.h.released)
		}
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// A TrySelect that finds nothing arms the descriptors of its cases, as their own Try calls do; one that finds something leaves them as they are.
func TestTrySelectArmsDescriptors(t *testing.T) {
	noBackstop(t)
	for _, opts := range [][]Option{nil, {WithFaultGuard()}} {
		a := openTest[int64](t, append(opts, WithCapacity(1))...)
		full := openTest[int64](t, append(opts, WithCapacity(1))...)
		mine, yours := again(t, a), again(t, full)
		in, out := must[int](t)(a.RecvFD()), must[int](t)(full.SendFD())
		for k := range int64(20) {
			require.NoError(t, mine.Send(k))
			var v int64
			require.True(t, readable(t, in, -1))
			if k == 0 {
				require.True(t, readable(t, out, 0))
				require.NoError(t, yours.Send(1))
			}
			i, err := TrySelect(SendCase(full.Sender, 2), RecvCase(a.Receiver, &v))
			require.NoError(t, err)
			require.Equal(t, 1, i)
			require.Equal(t, k, v)
			require.True(t, readable(t, in, 0), "nobody was told that it is empty")
			require.True(t, readable(t, out, 0), "nobody was told that it is full")
			i, err = TrySelect(SendCase(full.Sender, 2), RecvCase(a.Receiver, &v))
			require.Equal(t, -1, i)
			require.ErrorIs(t, err, ErrWouldBlock)
			require.False(t, readable(t, in, 0))
			require.False(t, readable(t, out, 0))
			require.NoError(t, second(yours.Recv()))
			require.True(t, readable(t, out, -1))
			require.NoError(t, yours.Send(1))
		}
	}
}

// A TryRecv through the guard arms the descriptor too, and says who has gone.
func TestFaultGuardRefuses(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(1), WithFaultGuard())
	fd := must[int](t)(ch.RecvFD())
	require.NoError(t, ch.Send(1))
	require.True(t, readable(t, fd, 0))
	require.NoError(t, second(ch.TryRecv()))
	require.ErrorIs(t, second(ch.TryRecv()), ErrEmpty)
	require.False(t, readable(t, fd, 0))
	alone := must[*Receiver[int64]](t)(OpenReceiver[int64]("alone", WithDir(ch.Sender.h.opts.dir), WithFaultGuard(), WithDisconnect()))
	require.ErrorIs(t, second(alone.TryRecv()), ErrDisconnected)
	require.NoError(t, alone.Detach())
}

// A SendFD of a rendezvous is told of a Select that comes to receive.
func TestDescriptorIsToldOfASelect(t *testing.T) {
	noBackstop(t)
	patient(t)
	for _, same := range []bool{true, false} {
		a, idle := openTest[int64](t, WithCapacity(0), WithWait(Park)), openTest[int64](t, WithCapacity(0), WithWait(Park))
		b := a
		if !same {
			b = again(t, a, WithWait(Park))
		}
		fd := must[int](t)(a.SendFD())
		require.ErrorIs(t, a.TrySend(1), ErrFull)
		require.False(t, readable(t, fd, 0))
		var v, w int64
		done := make(chan int)
		parking(t, b.Sender.h, func() {
			i, err := Select(t.Context(), RecvCase(idle.Receiver, &w), RecvCase(b.Receiver, &v))
			assert.NoError(t, err)
			done <- i
		})
		require.True(t, readable(t, fd, -1))
		require.NoError(t, a.TrySend(5))
		require.Equal(t, 1, <-done)
		require.EqualValues(t, 5, v)
	}
}

// A Select with several sends is told that the last receiver of any of them was killed, also of one where it has no offer.
func TestSelectIsToldOfDeaths(t *testing.T) {
	noBackstop(t)
	for _, which := range []int{0, 1} {
		dirs := [2]string{memDir(t), memDir(t)}
		var outs [2]*Sender[int64]
		var ends [2]*child
		for i, dir := range dirs {
			outs[i] = must[*Sender[int64]](t)(OpenSender[int64]("test", WithDir(dir), WithCapacity(0), WithWait(Park), WithDisconnect()))
			defer func() { _ = outs[i].Detach() }()
			ends[i] = start(t, "attached", dir, "recv")
			require.Equal(t, "in", ends[i].line())
		}
		done := make(chan int)
		parking(t, outs[0].h, func() {
			i, err := Select(t.Context(), SendCase(outs[0], 1), SendCase(outs[1], 2))
			assert.ErrorIs(t, err, ErrDisconnected)
			done <- i
		})
		ends[which].kill()
		require.Equal(t, which, <-done)
		ends[1-which].kill()
	}
}

// The backstop looks after Selects that wait for receivers: one may have come, or the channel been closed, by somebody who then rang nobody.
func TestBackstopCoversWatchers(t *testing.T) {
	for _, closes := range []bool{false, true} {
		dir := memDir(t)
		var chs [2]*Chan[int64]
		for i := range chs {
			chs[i] = openNamed[int64](t, dir, fmt.Sprint("c", i), WithCapacity(0), WithWait(Park))
		}
		done := make(chan error)
		parking(t, chs[0].Sender.h, func() {
			_, err := Select(t.Context(), SendCase(chs[0].Sender, 1), SendCase(chs[1].Sender, 2))
			done <- err
		})
		other := chs[0]
		if wordState(other.Sender.h.slot(0).Load()) == stFull { // The offer is there.
			other = chs[1]
		}
		mine := again(t, other, WithWait(Spin))
		if closes {
			mine.Sender.h.ctl.closed.Store(1)
			require.ErrorIs(t, <-done, ErrClosed)
			continue
		}
		mine.Sender.h.rvCountBy(rvRecv, 1) // As rvEnter, and stopped there.
		for {
			v, err := mine.TryRecv()
			if err == nil {
				require.NotZero(t, v)
				break
			}
			runtime.Gosched()
		}
		mine.Sender.h.rvLeave()
		require.NoError(t, <-done)
	}
}

// A TrySend that waits for the answer of a Select that is stopped ends at once when the handle is broken, and else before long.
func TestFaultGuardTrySendToASelect(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for _, breaks := range []bool{false, true} {
		ch := openTest[int64](t, WithCapacity(0), WithFaultGuard(), WithWait(Park))
		h := ch.Sender.h
		other := again(t, ch)
		other.Sender.h.rvCountBy(rvSelect, 1)
		result := make(chan error, 1)
		go func() { result <- ch.TrySend(1) }()
		until(t, "its offer stands", func() bool { return wordState(h.slot(0).Load()) == stFull || len(result) > 0 })
		if breaks && len(result) == 0 {
			h.breakUp()
			if err := <-result; !errors.Is(err, ErrFull) { // It was as quick.
				require.ErrorIs(t, err, ErrCorrupt)
			}
		} else {
			require.ErrorIs(t, <-result, ErrFull)
		}
		other.Sender.h.rvCountBy(rvSelect, -1)
	}
}

// Select over channels without a name, with checksums and with single roles, whether it parks or not. It allocates nothing.
func TestSelectOverAllForms(t *testing.T) {
	for name, opts := range map[string][]Option{
		"checksum": {WithChecksum()}, "rendezvous, checksum": {WithChecksum(), WithCapacity(0)}, "single": {WithSingleSender(), WithSingleReceiver()},
		"guard": {WithFaultGuard()}, "unnamed": nil, "unnamed, rendezvous": {WithCapacity(0)},
	} {
		t.Run(name, func(t *testing.T) {
			there, back := openForm(t, name, opts), openForm(t, name, opts)
			idle := openTest[int64](t, WithCapacity(0), WithWait(Park))
			ended := make(chan error, 1)
			go func() { // What comes goes back.
				for {
					v, err := there[1].Recv()
					if err == nil {
						err = back[1].Send(v)
					}
					if err != nil {
						ended <- err
						return
					}
				}
			}()
			var v, none int64
			next := int64(0)
			ctx := t.Context()
			round := func() {
				next++
				i, err := Select(ctx, RecvCase(idle.Receiver, &none), SendCase(there[0].Sender, next), RecvCase(back[0].Receiver, &v))
				if i != 1 || err != nil {
					t.Fatal(i, err)
				}
				i, err = Select(ctx, RecvCase(idle.Receiver, &none), RecvCase(back[0].Receiver, &v))
				if i != 1 || err != nil || v != next {
					t.Fatal(i, err, v, next)
				}
			}
			for range 50 {
				round()
			}
			if !raceEnabled && name != "guard" {
				assert.Zero(t, testing.AllocsPerRun(200, round))
			}
			i, err := TrySelect(RecvCase(back[0].Receiver, &v))
			require.Equal(t, -1, i)
			require.ErrorIs(t, err, ErrWouldBlock)
			require.NoError(t, there[0].Close())
			require.ErrorIs(t, <-ended, ErrClosed)
		})
	}
}

// openForm opens a channel twice: a sender's and a receiver's handle for each end.
func openForm(t *testing.T, name string, opts []Option) (chs [2]*Chan[int64]) {
	t.Helper()
	opts = append([]Option{WithCapacity(1), WithWait(Park)}, opts...)
	if len(name) >= 7 && name[:7] == "unnamed" {
		ch, err := New[int64](opts...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ch.Detach() })
		return [2]*Chan[int64]{ch, ch}
	}
	ch := openTest[int64](t, opts...)
	if name == "single" {
		return [2]*Chan[int64]{ch, ch}
	}
	return [2]*Chan[int64]{ch, again(t, ch, opts...)}
}
