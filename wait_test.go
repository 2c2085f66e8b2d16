package shmchan

// Waiting: nothing burnt, no wake lost, cancels at once. Most of the tests of lost
// wakes turn the backstop off, so that it cannot hide one.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noBackstop lets the backstop sleep for the rest of the test.
func noBackstop(t testing.TB) {
	idle := func() bool {
		watched.Lock()
		defer watched.Unlock()
		return watched.tick == nil
	}
	until(t, "the backstop of earlier tests has ended", idle)
	backstopAfter(time.Hour, time.Hour)
	t.Cleanup(wakeBackstop)
}

// wakeBackstop has the backstop come as usual again, and soon.
func wakeBackstop() {
	backstopAfter(backstopEvery, backstopBlind)
	watched.Lock()
	defer watched.Unlock()
	if watched.tick != nil { // It sleeps for an hour.
		watched.period = backstopBlind
		watched.tick.reset(backstopBlind)
	}
}

// clock counts milliseconds in which the machine let this process run: the naps
// of a goroutine. On a machine that is busy with others the clock on the wall would count
// their time too; a wait that nobody ends costs as many naps as it has milliseconds.
var clock atomic.Int64

func startClock(t testing.TB) {
	tick := time.NewTicker(time.Millisecond)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-tick.C:
				clock.Add(1)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { tick.Stop(); close(stop); <-stopped })
}

// stopwatch measures by that clock, and leaves out for how long threads of this process were ready to run and had no CPU: while one of them waits
// for it, the clock may go on in another.
type stopwatch struct {
	naps   int64
	waited time.Duration
}

func startWatch() stopwatch { return stopwatch{clock.Load(), waitedForCPU()} }

// took is how many milliseconds it was.
func (w stopwatch) took() int64 {
	return clock.Load() - w.naps - (waitedForCPU() - w.waited).Milliseconds()
}

// waitedForCPU is for how long the threads of this process were ready to run and had no CPU. 0 if the system does not tell.
func waitedForCPU() (sum time.Duration) {
	tasks, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, task := range tasks {
		var ran, waited int64
		text, _ := os.ReadFile(task)
		if n, _ := fmt.Sscan(string(text), &ran, &waited); n == 2 {
			sum += time.Duration(waited)
		}
	}
	return sum
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func init() {
	// A process with many goroutines blocked on one handle; it tells what that costs.
	roles["idle"] = func(args []string) error {
		ch, err := Open[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(args[1])
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { _, _ = ch.Recv() })
		}
		for ch.Stats().Parked < uint64(n) {
			runtime.Gosched()
		}
		threads, _ := os.ReadDir("/proc/self/task")
		fmt.Println(len(threads))
		go sayShares(func() { _ = ch.Close() })
		wg.Wait()
		return ch.Detach()
	}
	// The yardstick: a process that only wakes up as often as a blocked one looks after its goroutines.
	roles["ticks"] = func([]string) error {
		tick := newTicker(backstopEvery)
		go func() {
			for {
				tick.wait()
			}
		}()
		sayShares(func() {})
		return nil
	}
}

// fewThreads is more than a process has that holds none for those who wait: the runtime has some for each CPU, and more where they are slow.
func fewThreads() int { return 20 + 4*runtime.NumCPU() }

// shareOf is the share of a CPU that this process uses in a span.
func shareOf(span time.Duration) float64 {
	before, began := cpuTime(), time.Now()
	time.Sleep(span)
	return float64(cpuTime()-before) / float64(time.Since(began))
}

// leastShare is the least of so many spans, as an interrupt that the kernel books to us is not our cost; and if that is not below the
// limit, of up to ten times as many: what the process itself costs it costs in each.
func leastShare(span time.Duration, spans int, limit float64) float64 {
	least := 1.0
	for i := 0; i < spans || i < 10*spans && least >= limit; i++ {
		least = min(least, shareOf(span))
	}
	return least
}

// sayShares has a child say the share of a CPU that it uses, the least of three spans, whenever it is asked, until its standard input ends.
func sayShares(ended func()) {
	for {
		if _, err := fmt.Scanln(new(string)); err != nil {
			ended()
			return
		}
		fmt.Println(leastShare(time.Second, 3, 1))
	}
}

// costsNothing requires of a child that says its share that this is next to nothing. What is more is looked at again, beside a process that
// only wakes up as often: where that costs as much, as under an emulator or on a busy machine, nothing is to be told, and the test skips.
func costsNothing(t *testing.T, c *child) (share float64) {
	t.Helper()
	limit := 0.001
	if raceEnabled {
		limit = 0.01
	}
	told := func(c *child) (share float64) {
		_, err := fmt.Sscan(c.line(), &share)
		require.NoError(t, err)
		return share
	}
	c.say("share")
	share = told(c)
	for try := 0; share >= limit; try++ {
		ticks := start(t, "ticks")
		c.say("share")
		ticks.say("share")
		share = told(c)
		bare := told(ticks)
		ticks.wait()
		if bare > limit/2 {
			t.Skipf("a process that does nothing but wake up as often uses %.4f %% of a CPU here", 100*bare)
		}
		require.Less(t, try, 5, "%.4f %% of a CPU, and %.4f %% for waking up as often", 100*share, 100*bare)
	}
	return share
}

// A blocked process costs next to nothing, however many of its goroutines wait, and they hold no threads.
func TestIdle(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts threads in /proc")
	}
	for _, n := range []int{1, 1000} {
		ch := openTest[message](t)
		c := start(t, "idle", ch.Sender.h.opts.dir, n)
		threads, err := strconv.Atoi(c.line())
		require.NoError(t, err)
		assert.Less(t, threads, fewThreads())
		t.Logf("%d goroutines blocked: %d threads, %.4f %% of a CPU", n, threads, 100*costsNothing(t, c))
		for range n {
			require.NoError(t, ch.Send(message{}))
		}
		c.wait()
	}
}

// A context cancels a parked call within a few milliseconds. The quickest counts, as the others may have waited for a CPU.
func TestCancelLatency(t *testing.T) {
	noBackstop(t)
	for _, c := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(c), WithWait(Park))
		if c == 1 {
			require.NoError(t, ch.Send(1))
		}
		best, worst := time.Hour, time.Duration(0)
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			before := ch.Stats().Parked
			done := make(chan error, 1)
			go func() { done <- ch.SendContext(ctx, 2) }()
			until(t, "parked", func() bool { return ch.Stats().Parked > before })
			began := time.Now()
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			took := time.Since(began)
			best, worst = min(best, took), max(worst, took)
		}
		t.Logf("capacity %d: %v at best, %v at worst", c, best, worst)
		assert.Less(t, best, 20*time.Millisecond)
	}
}

// Senders and receivers of several handles, cancels, batches and give-backs among
// them, all parking, and no backstop: every value arrives, nobody sleeps on.
func TestNoWakeIsLost(t *testing.T) {
	noBackstop(t)
	rnd := testRand(t)
	rounds := 0
	for began := time.Now(); time.Since(began) < 3*time.Second; rounds++ {
		capacity := []int{0, 1, 2, 3, 7}[rnd.IntN(5)]
		ch := openTest[int64](t, WithCapacity(capacity), WithWait([]Wait{Adaptive, Park}[rnd.IntN(2)]))
		handles := []*Chan[int64]{ch, again(t, ch, WithWait(Park)), again(t, ch)}
		const each = 100
		senders, receivers := 1+rnd.IntN(3), 1+rnd.IntN(3)
		var wg, wr sync.WaitGroup
		var sent, got atomic.Int64
		errBack := errors.New("back")
		for i := range senders {
			h, kind := handles[rnd.IntN(3)], rnd.IntN(4)
			wg.Go(func() {
				for k, try := int64(0), 0; k < each; try++ {
					v := int64(i)*each + k
					var err error
					switch kind {
					case 0:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(try%5)*10*time.Microsecond)
						err = h.SendContext(ctx, v)
						cancel()
					case 1:
						_, err = h.SendBatch(t.Context(), []int64{v})
					case 2:
						err = h.SendFunc(t.Context(), func(p *int64) error {
							*p = v
							if try%3 == 0 {
								return errBack
							}
							return nil
						})
					default:
						err = h.Send(v)
					}
					if err == nil {
						k++
						sent.Add(v)
					}
				}
			})
		}
		for range receivers {
			h, kind := handles[rnd.IntN(3)], rnd.IntN(4)
			wr.Go(func() {
				buf := make([]int64, 4)
				for i := 0; ; i++ {
					var err error
					var v int64
					switch kind {
					case 0:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*10*time.Microsecond)
						if v, err = h.RecvContext(ctx); err == nil {
							got.Add(v)
						}
						cancel()
					case 1:
						var n int
						n, err = h.RecvBatch(t.Context(), buf)
						for _, v := range buf[:n] {
							got.Add(v)
						}
					case 2:
						err = h.RecvFunc(t.Context(), func(v *int64) error {
							if i%4 == 0 {
								return errBack
							}
							got.Add(*v)
							return nil
						})
					default:
						if v, err = h.Recv(); err == nil {
							got.Add(v)
						}
					}
					if errors.Is(err, ErrClosed) {
						return
					}
				}
			})
		}
		done := make(chan bool)
		go func() {
			wg.Wait()
			assert.NoError(t, ch.Close())
			wr.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("somebody sleeps on: round %d, capacity %d, %d senders, %d receivers, %+v", rounds, capacity, senders, receivers, ch.Stats())
		}
		require.Equal(t, sent.Load(), got.Load())
		for _, h := range handles {
			require.NoError(t, h.Detach())
		}
	}
	t.Log(rounds, "rounds")
}

// A batch that must wait has woken receivers for what it has sent.
func TestBatchWakesBeforeItWaits(t *testing.T) {
	noBackstop(t)
	for range 50 {
		ch := openTest[int64](t, WithCapacity(2), WithWait(Park))
		other := again(t, ch, WithWait(Park))
		got := make(chan int64)
		go func() {
			for v := range other.All() {
				got <- v
			}
		}()
		until(t, "parked", func() bool { return other.Stats().Parked > 0 })
		go func() { _, _ = ch.SendBatch(t.Context(), []int64{0, 1, 2, 3, 4}) }()
		for i := range int64(5) {
			require.Equal(t, i, <-got)
		}
		require.NoError(t, ch.Close())
	}
}

// A cancelled rendezvous Send whose value is given back just then returns.
func TestCancelledOfferGivenBack(t *testing.T) {
	noBackstop(t)
	bad := errors.New("bad")
	for _, w := range []Wait{Adaptive, Park} {
		a := openTest[int64](t, WithCapacity(0), WithWait(w))
		b := again(t, a, WithWait(w))
		for i := range 3000 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.SendContext(ctx, int64(i)) }()
			require.Equal(t, bad, b.RecvFunc(t.Context(), func(*int64) error {
				cancel()
				for range i * 37 % 4000 {
					pause()
				}
				return bad
			}))
			select {
			case err := <-done:
				require.ErrorIs(t, err, context.Canceled)
			case <-time.After(patience):
				t.Fatalf("round %d: the cancelled Send sleeps on", i)
			}
		}
	}
}

// While its offer is read, a detached Send waits for the outcome without burning a CPU.
func TestDetachWhileRead(t *testing.T) {
	a := openTest[int64](t, WithCapacity(0))
	b := again(t, a)
	done := make(chan error, 1)
	go func() { done <- a.Send(1) }()
	require.NoError(t, b.RecvFunc(t.Context(), func(*int64) error {
		parked := a.Stats().Parked
		require.NoError(t, a.Sender.Detach())
		until(t, "it waits for the outcome", func() bool { return a.Receiver.Stats().Parked > parked })
		assert.Less(t, leastShare(200*time.Millisecond, 1, 0.25), 0.25)
		require.Empty(t, done)
		return nil
	}))
	require.NoError(t, <-done, "it was received")
}

// Close lets all parked senders go, also when their wake is on its way.
func TestSealPassesOn(t *testing.T) {
	noBackstop(t)
	a := openTest[int64](t, WithCapacity(1), WithWait(Park))
	b := again(t, a)
	require.NoError(t, a.Send(0))
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { assert.ErrorIs(t, a.Send(1), ErrClosed) })
	}
	until(t, "all are parked", func() bool { return a.Stats().Parked >= 40 })
	h := b.Sender.h // frees, clears the flag, and rings only after all else
	pos, err := h.recvBegin(forever)
	require.NoError(t, err)
	require.NoError(t, h.recvQuietly(pos))
	i, ok := h.takeWaiter(sending, 0)
	require.True(t, ok)
	require.NoError(t, b.Close())
	_, err = b.Recv()
	require.ErrorIs(t, err, ErrClosed)
	require.True(t, h.ringPeer(i, sending))
	wg.Wait()
}

// After Close, whoever waits for a slot in somebody's hands is woken when that is free,
// or given up: nothing will be sent any more that could wake it.
func TestFreeAfterCloseWakes(t *testing.T) {
	noBackstop(t)
	for _, held := range []string{"received", "given up"} {
		ch := openTest[int64](t, WithCapacity(2))
		other := again(t, ch, WithWait(Park))
		done := make(chan error, 1)
		hold := func(*int64) error {
			require.NoError(t, ch.Close())
			go func() { _, err := other.Recv(); done <- err }()
			until(t, "parked", func() bool { return other.Stats().Parked > 0 })
			require.Empty(t, done)
			if held == "given up" {
				return errors.New("nothing to send")
			}
			return nil
		}
		if held == "received" {
			require.NoError(t, ch.Send(1))
			require.NoError(t, ch.RecvFunc(t.Context(), hold))
		} else {
			require.Error(t, ch.SendFunc(t.Context(), hold))
		}
		require.ErrorIs(t, <-done, ErrClosed)
	}
}

// TrySend does not count on a receiver that has gone.
func TestTrySendMatchesOnlyWaiters(t *testing.T) {
	a := openTest[int64](t, WithCapacity(0))
	b := again(t, a)
	var sent, got, ended atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ended.Load() == 0 {
			if a.TrySend(1) == nil {
				sent.Add(1)
			}
			runtime.Gosched()
		}
	})
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%50)*time.Microsecond)
		if _, err := b.RecvContext(ctx); err == nil {
			got.Add(1)
		}
		cancel()
	}
	ended.Store(1)
	wg.Wait()
	require.Equal(t, got.Load(), sent.Load())
	t.Log(got.Load(), "matched")
}

// The receiver that a TrySend has found leaves before the value is there: it is taken back.
func TestTrySendTakesBack(t *testing.T) {
	a := openTest[int64](t, WithCapacity(0))
	b := again(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := b.RecvContext(ctx); done <- err }()
	until(t, "parked", func() bool { return b.Stats().Parked > 0 })
	h := a.Sender.h
	pos, receiver, err := h.matchBegin()
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled, "nothing is there yet")
	v := int64(1)
	a.Sender.put(h.value(pos), &v)
	require.ErrorIs(t, h.matchEnd(pos, receiver), ErrFull)
	_, err = b.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
}

// A single role does not use its channel inside its own function.
func TestSingleRoleNested(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(8), WithSingleSender(), WithSingleReceiver())
	require.NoError(t, ch.SendFunc(t.Context(), func(v *int64) error {
		require.ErrorIs(t, ch.Send(9), ErrBusy)
		require.ErrorIs(t, ch.TrySend(9), ErrBusy)
		n, err := ch.SendBatch(t.Context(), []int64{9, 9})
		require.ErrorIs(t, err, ErrBusy)
		require.Zero(t, n)
		*v = 1
		return nil
	}))
	require.NoError(t, ch.RecvFunc(t.Context(), func(v *int64) error {
		_, err := ch.Recv()
		require.ErrorIs(t, err, ErrBusy)
		_, err = ch.TryRecv()
		require.ErrorIs(t, err, ErrBusy)
		n, err := ch.RecvBatch(t.Context(), make([]int64, 2))
		require.ErrorIs(t, err, ErrBusy)
		require.Zero(t, n)
		require.Equal(t, int64(1), *v)
		return nil
	}))
	require.Zero(t, ch.Len())
}

// A polling receiver recovers a dead one also behind somebody alive.
func TestPollBehindALiveHolder(t *testing.T) {
	ch := openTest[message](t, WithCapacity(8))
	nothing := errors.New("nothing to send")
	require.Equal(t, nothing, ch.SendFunc(t.Context(), func(*message) error {
		require.NoError(t, ch.Send(newMessage(0, 7)))
		c := start(t, "holder", ch.Sender.h.opts.dir, "recv")
		require.Equal(t, "in", c.line())
		other := again(t, ch)
		c.kill()
		until(t, "the value comes", func() bool { m, err := other.TryRecv(); return err == nil && m == newMessage(0, 7) })
		return nothing
	}))
}

// One who is stopped while it recovers a dead one does not hold up the recovery.
func TestStoppedRecoverer(t *testing.T) {
	ch := openTest[message](t, WithCapacity(2))
	require.NoError(t, ch.Send(newMessage(0, 7)))
	c := start(t, "holder", ch.Sender.h.opts.dir, "recv")
	require.Equal(t, "in", c.line())
	c.kill()
	stuck := again(t, ch).Sender.h
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(0, 7), v)

	require.NoError(t, ch.Send(newMessage(0, 8)))
	c = start(t, "holder", ch.Sender.h.opts.dir, "recv")
	require.Equal(t, "in", c.line())
	dead := -1
	for k := range maxPeers {
		if s := ch.Sender.h.entry(k).state.Load(); isUsed(s) && k != ch.Sender.h.idx && k != stuck.idx {
			dead = k
		}
	}
	c.kill()
	ok, err := stuck.locks.tryLock(dead) // the first two steps of clearIfDead, and then no more
	require.NoError(t, err)
	require.True(t, ok)
	e := stuck.entry(dead)
	e.state.Store(e.state.Load() | peerDead)
	v, err = ch.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(0, 8), v)
	require.NoError(t, stuck.locks.unlock(dead))
}

// When Detach has returned and no call is under way, the role is free and the file of a closed channel gone.
func TestDetachIsDone(t *testing.T) {
	dir := memDir(t)
	for range 300 {
		ch, err := Open[int64]("test", WithDir(dir), WithSingleSender(), WithCapacity(1), WithWait(Park))
		require.NoError(t, err, "the role is free")
		other, err := OpenReceiver[int64]("test", WithDir(dir), WithWait(Park))
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { _, err := other.Recv(); done <- err }()
		until(t, "parked", func() bool { return other.Stats().Parked > 0 })
		require.NoError(t, ch.Send(1))
		require.NoError(t, <-done)
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
		require.NoError(t, other.Detach())
		dirEmpty(t, dir)
	}
}

// Detach against every call, many times: each call ends, with its result or ErrDetached.
func TestDetachAgainstEverything(t *testing.T) {
	rnd := testRand(t)
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		ch := openTest[int64](t, WithCapacity(rnd.IntN(3)), WithWait([]Wait{Adaptive, Park, Spin}[rnd.IntN(3)]))
		other := again(t, ch)
		var wg sync.WaitGroup
		allowed := func(err error) {
			if err != nil && !errors.Is(err, ErrDetached) && !errors.Is(err, ErrFull) && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		for _, call := range []func() error{
			func() error { return ch.Send(1) },
			func() error { return ch.TrySend(1) },
			func() error { _, err := ch.SendBatch(t.Context(), make([]int64, 5)); return err },
			func() error { return ch.SendFunc(t.Context(), func(*int64) error { return nil }) },
			func() error { _, err := ch.Recv(); return err },
			func() error { _, err := ch.TryRecv(); return err },
			func() error { _, err := ch.RecvBatch(t.Context(), make([]int64, 5)); return err },
			func() error { return ch.RecvFunc(t.Context(), func(*int64) error { return nil }) },
			func() error { ch.Len(); ch.Stats(); return nil },
			func() error { _, err := other.TryRecv(); return err },
			func() error { return other.TrySend(1) },
		} {
			wg.Go(func() {
				for i := 0; i < 50; i++ {
					err := call()
					allowed(err)
					if errors.Is(err, ErrDetached) {
						return
					}
				}
			})
		}
		for range rnd.IntN(2000) {
			pause()
		}
		if rnd.IntN(3) == 0 {
			allowed(ch.Close())
		}
		require.NoError(t, ch.Detach())
		allBack(t, &wg)
		require.NoError(t, other.Detach())
	}
}

// allBack waits for calls that end by themselves, and shows where those are that do not.
func allBack(t testing.TB, wg *sync.WaitGroup) {
	t.Helper()
	ended := make(chan bool)
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("a call did not end:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// TestLastOneGone has the last of the other side leave when a call has looked whether anybody is there, and is
// about to park: it is told, without the backstop.
func TestLastOneGone(t *testing.T) {
	noBackstop(t)
	told := func(h *handle, other func() error, call func() error) {
		h.onPark = func() {
			h.onPark = nil
			require.NoError(t, other())
		}
		result := make(chan error, 1)
		go func() { result <- call() }()
		select {
		case err := <-result:
			require.ErrorIs(t, err, ErrDisconnected)
		case <-time.After(patience):
			t.Fatal("nobody has told the last one that it is")
		}
	}
	for _, capacity := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(capacity))
		dir := WithDir(ch.Sender.h.opts.dir)
		r, err := OpenReceiver[int64]("test", dir, WithDisconnect())
		require.NoError(t, err)
		told(r.h, ch.Detach, func() error { _, err := r.Recv(); return err })
		s, err := OpenSender[int64]("test", dir, WithDisconnect())
		require.NoError(t, err)
		if capacity > 0 {
			require.NoError(t, s.Send(1)) // Full.
		}
		told(s.h, r.Detach, func() error { return s.Send(2) })
		require.NoError(t, s.Detach())
	}
}

// A value that is published, or a slot that is freed, without a fence may reach us after its sender, or receiver, has
// looked for sleepers: at the latest when we fence, so we look after that.
func TestSleepersFence(t *testing.T) {
	noBackstop(t) // It would fence, and wake, before us.
	defer func() { fenceOthers = fenceProcesses }()
	late := func(h *handle, d direction) {
		fenceOthers = func() {
			fenceOthers = func() {}
			relieve(t, h, d)
		}
	}
	done := make(chan error, 2)
	for _, d := range []direction{sending, receiving} {
		open := func() (*handle, func()) {
			ch := openTest[int64](t, WithCapacity(4), WithSingleSender(), WithSingleReceiver(), WithWait(Park))
			h := ch.Sender.h
			h.fences = true
			if d == receiving {
				return h, func() { _, err := ch.Recv(); done <- err }
			}
			for range 4 {
				require.NoError(t, ch.Send(1))
			}
			return h, func() { done <- ch.Send(1) }
		}
		h, call := open()
		late(h, d)
		go call()
		until(t, "back, as it looked after the fence", func() bool { return len(done) == 1 })
		require.NoError(t, <-done)

		fenceOthers = func() {}
		h, call = open()
		parking(t, h, call)
		h.clearWaiting(d, h.idx) // Somebody died with the wake in his hands.
		late(h, d)
		require.True(t, h.lookAfter())
		until(t, "woken, as the backstop looked after the fence", func() bool { return len(done) == 1 })
		require.NoError(t, <-done)
	}

	// Two wait, and one is woken: he sees what comes until the flag is up again, and passes on.
	ch := openTest[int64](t, WithCapacity(4), WithSingleSender(), WithWait(Park))
	h := ch.Sender.h
	h.fences = true
	fenceOthers = func() {}
	for range 2 {
		parking(t, h, func() { _, err := ch.Recv(); done <- err })
	}
	relieve(t, h, receiving)
	late(h, receiving)
	require.True(t, h.wakeLocal(&h.recv, false))
	until(t, "both woken", func() bool { return len(done) == 2 })
	require.NoError(t, <-done)
	require.NoError(t, <-done)
}

// A call in the lane keeps the memory, and lets go of it when it is the last.
func TestDetachUnderACallInTheLane(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector there is no lane")
	}
	for _, d := range []direction{sending, receiving} {
		for _, opts := range [][]Option{nil, {WithSingleSender(), WithSingleReceiver()}} {
			ch := openTest[int64](t, opts...)
			h := ch.Sender.h
			s := h.side(d)
			s.moveLane()
			l := s.enterLane()
			require.NotNil(t, l)
			require.NoError(t, ch.Detach())
			require.False(t, h.released, "a call is under way")
			require.False(t, s.isIn(l), "detached")
			require.Nil(t, s.enterLane(), "detached")
			s.leaveLane(l)
			require.True(t, h.released)

			// Its store to busy may be on its way until Detach has made the fence.
			ch = openTest[int64](t, opts...)
			h = ch.Sender.h
			s = h.side(d)
			s.moveLane()
			l = s.lane.Load()
			fence = func() { l.busy.Store(1) }
			require.NoError(t, s.detach())
			fence = fenceThreads
			require.False(t, s.finished.Load(), "a call is under way")
			s.leaveLane(l)
			require.True(t, s.finished.Load())
			_ = ch.Detach()
		}
	}
}

// TestDetachAgainstSingleRoles is the same for roles whose calls are counted without a fence: nobody is in the
// middle of one when the memory goes, also where it is nested or waits, and nobody is waited for who is not.
func TestDetachAgainstSingleRoles(t *testing.T) {
	for name, f := range map[string]func(){"membarrier": fenceThreads, "stop the world": stopTheWorld} {
		t.Run(name, func(t *testing.T) {
			defer func(old func()) { fence = old }(fence)
			fence = f
			detachAgainstSingleRoles(t)
		})
	}
}

func detachAgainstSingleRoles(t *testing.T) {
	rnd := testRand(t)
	for began := time.Now(); time.Since(began) < time.Second; {
		ch := openTest[int64](t, WithCapacity(1+rnd.IntN(3)), WithSingleSender(), WithSingleReceiver(),
			WithWait([]Wait{Adaptive, Park, Spin}[rnd.IntN(3)]))
		h, nothing := ch.Sender.h, make([]int64, 5)
		var wg sync.WaitGroup
		loop := func(calls ...func() error) {
			wg.Go(func() {
				for i := 0; ; i++ {
					err := calls[i%len(calls)]()
					if errors.Is(err, ErrDetached) {
						return
					}
					if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrBusy) {
						t.Error(err)
					}
				}
			})
		}
		loop(func() error { return ch.Send(1) }, func() error { return ch.TrySend(1) },
			func() error { return ch.SendFunc(t.Context(), func(*int64) error { return ch.Send(1) }) },
			func() error { _, err := ch.SendBatch(t.Context(), nothing); return err })
		loop(func() error { _, err := ch.Recv(); return err }, func() error { _, err := ch.TryRecv(); return err },
			func() error {
				return ch.RecvFunc(t.Context(), func(*int64) error { _, err := ch.TryRecv(); return err })
			},
			func() error { _, err := ch.RecvBatch(t.Context(), make([]int64, 5)); return err })
		for range rnd.IntN(2000) {
			pause()
			if rnd.IntN(100) == 0 {
				ch.Len()
			}
		}
		require.NoError(t, ch.Detach())
		allBack(t, &wg)
		require.True(t, h.released, "the last one out lets go")
	}
}

// A ticker that is set anew while somebody waits for it comes at the new time, and so on.
func TestTickerReset(t *testing.T) {
	for _, tick := range []ticker{newTicker(time.Hour), goTicker{time.NewTicker(time.Hour)}} {
		waiting, ticks := make(chan struct{}), make(chan struct{})
		go func() {
			close(waiting)
			for range 3 {
				tick.wait()
				ticks <- struct{}{}
			}
		}()
		<-waiting
		tick.reset(time.Millisecond)
		for range 3 {
			<-ticks
		}
		tick.stop()
	}
}
