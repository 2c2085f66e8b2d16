package shmchan

// Select and TrySelect: what Go's select promises, over channels of several handles and processes.
//
// The handles of one process ring each other as those of several do, so most of this is in one. The
// backstop is off, so that it cannot hide a wake that was lost. Every value is accounted for.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// openNamed makes a channel in the directory of another.
func openNamed[T any](t testing.TB, dir, name string, opts ...Option) *Chan[T] {
	t.Helper()
	ch, err := Open[T](name, append([]Option{WithDir(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	return ch
}

// ends fails the test if f does not end in nine tenths of the time that the tests still have, and shows why.
func ends(t testing.TB, f func(), more func() string) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	var late <-chan time.Time
	if t, ok := t.(*testing.T); ok {
		if end, ok := t.Deadline(); ok {
			late = time.After(time.Until(end) / 10 * 9)
		}
	}
	select {
	case <-done:
	case <-late:
		buf := make([]byte, 1<<20)
		t.Fatalf("somebody sleeps on: %s\n%s", more(), buf[:runtime.Stack(buf, true)])
	}
}

// patient has nobody in this process give up on one who is slow, as he may be stopped: here he is not, however slow the machine is.
// A TrySend waits for the answer of its Select, and who needs the lock of a name waits for it.
func patient(t testing.TB) {
	match, tries := matchPatience.Swap(int64(time.Hour)), nameTries.Swap(math.MaxInt64)
	t.Cleanup(func() { matchPatience.Store(match); nameTries.Store(tries) })
}

func TestSelectErrors(t *testing.T) {
	for _, capacity := range []int{0, 2} {
		ch := openTest[int64](t, WithCapacity(capacity))
		idle := openTest[message](t, WithCapacity(0))
		v, m := int64(7), message{}
		never := RecvCase(idle.Receiver, &m)
		ctx, cancel := context.WithCancel(t.Context())

		i, err := TrySelect()
		assert.Equal(t, -1, i)
		assert.ErrorIs(t, err, ErrWouldBlock)
		i, err = TrySelect(Case{}, RecvCase[int64](nil, nil), SendCase[int64](nil, 1), never, RecvCase(ch.Receiver, &v))
		assert.Equal(t, -1, i)
		assert.ErrorIs(t, err, ErrWouldBlock)
		assert.EqualValues(t, 7, v, "written although it did not run")

		for _, cases := range [][]Case{{}, {never}, {RecvCase(ch.Receiver, nil), never}, {SendCase(idle.Sender, m)}} {
			ended, end := context.WithTimeout(ctx, 5*time.Millisecond)
			i, err = Select(ended, cases...)
			end()
			assert.Equal(t, -1, i)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}

		require.NoError(t, ch.Close())
		for range 20 { // Whatever the order.
			i, err = Select(ctx, never, RecvCase(ch.Receiver, &v))
			assert.Equal(t, 1, i)
			assert.ErrorIs(t, err, ErrClosed)
			i, err = TrySelect(never, Case{}, SendCase(ch.Sender, 1))
			assert.Equal(t, 2, i)
			assert.ErrorIs(t, err, ErrClosed)
		}
		require.NoError(t, ch.Receiver.Detach())
		i, err = Select(ctx, never, RecvCase(ch.Receiver, &v))
		assert.Equal(t, 1, i)
		assert.ErrorIs(t, err, ErrDetached)
		cancel()
		i, err = Select(ctx, SendCase(ch.Sender, 1))
		assert.Equal(t, -1, i)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, idle.Stats().Waiting)
		assert.Zero(t, idle.Sender.h.rv[idle.Sender.h.idx].Load())
	}
}

// What happens to a Select that is parked: a value, space, close, detach, the end of its context, whichever case it is for.
func TestSelectIsWoken(t *testing.T) {
	noBackstop(t)
	type result struct {
		i   int
		err error
	}
	for _, capacity := range []int{0, 1} {
		for _, wait := range []Wait{Adaptive, Spin, Park} {
			for what := range 8 {
				a := openTest[int64](t, WithCapacity(capacity), WithWait(wait))
				b := openTest[message](t, WithCapacity(capacity), WithWait(wait))
				mine, yours := again(t, a, WithWait(wait)), again(t, b, WithWait(wait))
				if capacity == 1 {
					require.NoError(t, b.TrySend(newMessage(1, 1)))
				}
				var v int64
				ctx, cancel := context.WithCancel(t.Context())
				results := make(chan result)
				call := func() {
					i, err := Select(ctx, RecvCase(mine.Receiver, &v), SendCase(yours.Sender, newMessage(2, 2)))
					results <- result{i, err}
				}
				if wait == Spin {
					go call()
				} else {
					parking(t, mine.Sender.h, call)
				}
				want := result{i: what % 2}
				switch what {
				case 0:
					require.NoError(t, a.Send(5))
				case 1:
					m, err := b.Recv()
					require.NoError(t, err)
					require.Equal(t, newMessage(2-uint64(capacity), 2-uint64(capacity)), m)
				case 2:
					require.NoError(t, a.Close())
					want.err = ErrClosed
				case 3:
					require.NoError(t, b.Close())
					want.err = ErrClosed
				case 4:
					require.NoError(t, mine.Receiver.Detach())
					want.err = ErrDetached
				case 5:
					require.NoError(t, yours.Sender.Detach())
					want.err = ErrDetached
				case 6:
					cancel()
					want = result{-1, context.Canceled}
				case 7:
					want.i = 0
					for err := ErrFull; err != nil; err = a.TrySend(6) { // Found by its flag.
						runtime.Gosched()
					}
				}
				got := <-results
				assert.Equal(t, want.i, got.i, "%d %v %d", capacity, wait, what)
				assert.ErrorIs(t, got.err, want.err)
				cancel()
				if capacity == 0 {
					assert.Zero(t, a.Stats().Waiting+b.Stats().Waiting)
					_, err := b.TryRecv()
					assert.Error(t, err, "an offer is left")
				}
			}
		}
	}
}

// A Select that waits meets the Try calls.
func TestSelectMeetsTry(t *testing.T) {
	noBackstop(t)
	patient(t)
	ch := openTest[int64](t, WithCapacity(0))
	other := again(t, ch, WithWait(Park))
	idle := openTest[int64](t, WithCapacity(0), WithWait(Park))
	for k := range int64(50) {
		var v, w int64
		done := make(chan int)
		call := func(c Case) func() {
			return func() {
				i, err := Select(t.Context(), RecvCase(idle.Receiver, &w), c)
				assert.NoError(t, err)
				done <- i
			}
		}
		parking(t, other.Sender.h, call(RecvCase(other.Receiver, &v)))
		require.NoError(t, ch.TrySend(k))
		require.Equal(t, 1, <-done)
		require.Equal(t, k, v)

		parking(t, other.Sender.h, call(SendCase(other.Sender, k)))
		v, err := ch.TryRecv()
		require.NoError(t, err)
		require.Equal(t, 1, <-done)
		require.Equal(t, k, v)

		parking(t, other.Sender.h, call(RecvCase(other.Receiver, &v)))
		i, err := TrySelect(RecvCase(idle.Receiver, &w), SendCase(ch.Sender, k+1))
		require.NoError(t, err)
		require.Equal(t, 1, i)
		require.Equal(t, 1, <-done)
		require.Equal(t, k+1, v)
	}
}

// A TrySend that has counted on a Select which then takes another case has not sent: of each
// pair of values one arrives, and nothing is left that somebody says he has sent.
func TestTrySendToASelectThatGoesOn(t *testing.T) {
	noBackstop(t)
	a, b := openTest[int64](t, WithCapacity(0)), openTest[int64](t, WithCapacity(0))
	a2, b2 := again(t, a), again(t, b)
	var sent [2]atomic.Int64
	var got [2]int64
	var wg sync.WaitGroup
	var done atomic.Bool
	for k, ch := range []*Chan[int64]{a2, b2} {
		wg.Go(func() {
			for !done.Load() {
				if err := ch.TrySend(1); err == nil {
					sent[k].Add(1)
				} else {
					assert.ErrorIs(t, err, ErrFull)
				}
				runtime.Gosched()
			}
		})
	}
	ends(t, func() {
		for range 2000 {
			var v int64
			i, err := Select(t.Context(), RecvCase(a.Receiver, &v), RecvCase(b.Receiver, &v))
			if !assert.NoError(t, err) {
				break
			}
			got[i]++
		}
		done.Store(true)
		wg.Wait()
	}, func() string { return "TrySend" })
	assert.Equal(t, []int64{sent[0].Load(), sent[1].Load()}, got[:])
}

// TrySelect against Go's select with a default, on channels with a buffer and without.
func TestTrySelectAgainstGo(t *testing.T) {
	dir := memDir(t)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "channels")
		var ours []*Chan[int64]
		var theirs []chan int64
		var closed []bool
		for i := range n {
			capacity := rapid.IntRange(0, 3).Draw(t, "capacity")
			ch, err := Open[int64](fmt.Sprint("c", i), WithDir(dir), WithCapacity(capacity))
			require.NoError(t, err)
			defer func() { _, _ = ch.Close(), ch.Detach() }()
			ours, theirs, closed = append(ours, ch), append(theirs, make(chan int64, capacity)), append(closed, false)
		}
		next := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 15).Draw(t, "close?") == 0 {
				k := rapid.IntRange(0, n-1).Draw(t, "which")
				if !closed[k] {
					closed[k] = true
					close(theirs[k])
					require.NoError(t, ours[k].Close())
				}
			}
			var cases []Case
			var model []reflect.SelectCase
			var which []int
			into := make([]int64, 10)
			for i := range rapid.IntRange(0, 10).Draw(t, "cases") {
				k := rapid.IntRange(0, n-1).Draw(t, "channel")
				which = append(which, k)
				switch dir := rapid.IntRange(0, 4).Draw(t, "send?"); {
				case dir == 0:
					cases = append(cases, Case{})
					model = append(model, reflect.SelectCase{Dir: reflect.SelectRecv})
				case dir < 3:
					next++
					cases = append(cases, SendCase(ours[k].Sender, next))
					model = append(model, reflect.SelectCase{Dir: reflect.SelectSend, Chan: reflect.ValueOf(theirs[k]), Send: reflect.ValueOf(next)})
				default:
					cases = append(cases, RecvCase(ours[k].Receiver, &into[i]))
					model = append(model, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(theirs[k])})
				}
			}
			i, err := TrySelect(cases...)
			if i < 0 {
				require.ErrorIs(t, err, ErrWouldBlock)
				j, _, _ := reflect.Select(append(model, reflect.SelectCase{Dir: reflect.SelectDefault}))
				require.Equal(t, len(model), j, "Go has a case that is ready")
				continue
			}
			if model[i].Dir == reflect.SelectSend && closed[which[i]] { // Where Go panics.
				require.ErrorIs(t, err, ErrClosed)
				continue
			}
			j, v, ok := reflect.Select([]reflect.SelectCase{model[i], {Dir: reflect.SelectDefault}})
			require.Zero(t, j, "not ready in Go")
			if model[i].Dir == reflect.SelectRecv && ok {
				require.NoError(t, err)
				require.Equal(t, v.Int(), into[i])
			} else if model[i].Dir == reflect.SelectRecv {
				require.ErrorIs(t, err, ErrClosed)
			} else {
				require.NoError(t, err)
			}
		}
	})
}

// Of several that are ready each is as likely: four standard deviations, as Go's own test allows.
func TestSelectIsFair(t *testing.T) {
	const n, rounds = 5, 10000
	chs := make([]*Chan[int64], n)
	for i := range chs {
		chs[i] = openTest[int64](t, WithCapacity(rounds))
	}
	for range rounds {
		for _, ch := range chs[:3] {
			require.NoError(t, ch.TrySend(1))
		}
	}
	for name, sel := range map[string]func(cases ...Case) (int, error){
		"Select": func(cases ...Case) (int, error) { return Select(t.Context(), cases...) }, "TrySelect": TrySelect,
	} {
		var count [n + 3]float64
		var v int64
		for range rounds / 3 {
			i, err := sel(Case{}, RecvCase(chs[0].Receiver, &v), RecvCase(chs[1].Receiver, &v), Case{}, RecvCase(chs[2].Receiver, &v),
				SendCase(chs[3].Sender, 1), SendCase(chs[4].Sender, 1), Case{})
			require.NoError(t, err)
			count[i]++
		}
		expected, chi := float64(rounds/3)/n, 0.0
		for _, i := range []int{1, 2, 4, 5, 6} {
			chi += (count[i] - expected) * (count[i] - expected) / expected
		}
		t.Log(name, count, chi)
		assert.Less(t, chi, 33.0, "%s: with four degrees of freedom one in a million", name)
	}
}

// Up to eight cases cost no allocation, of whatever kind, whether it parks or not.
func TestSelectAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has sync.Pool drop what it gets")
	}
	a, b := openTest[int64](t, WithCapacity(1)), openTest[message](t, WithCapacity(1), WithWait(Park))
	c, d := openTest[int64](t, WithCapacity(0), WithWait(Park)), openTest[int64](t, WithCapacity(0))
	var v, w int64
	var m message
	ctx := t.Context()
	echo := again(t, b)
	go func() {
		for {
			m, err := echo.Recv()
			if err != nil || d.Send(int64(m.From)) != nil {
				return
			}
		}
	}()
	d2 := again(t, d, WithWait(Park))
	var failed error
	note := func(i int, err error) {
		if err != nil && !errors.Is(err, ErrWouldBlock) || i > 7 {
			failed = err
		}
	}
	for name, f := range map[string]func(){
		"ready": func() {
			note(Select(ctx, RecvCase(a.Receiver, &v), SendCase(a.Sender, 1), RecvCase(c.Receiver, &v), SendCase(c.Sender, 1)))
		},
		"none is ready": func() {
			note(TrySelect(RecvCase(c.Receiver, &v), RecvCase(c.Receiver, &v), RecvCase(c.Receiver, &v), RecvCase(c.Receiver, &v),
				SendCase(c.Sender, 1), SendCase(c.Sender, 1), SendCase(c.Sender, 1), SendCase(c.Sender, 1)))
		},
		"parks": func() {
			for i := 0; i != 1; { // The send, then the receive of what comes back.
				var err error
				if i, err = Select(ctx, RecvCase(c.Receiver, &v), SendCase(b.Sender, m)); err != nil {
					failed = err
					return
				}
			}
			note(Select(ctx, RecvCase(c.Receiver, &v), RecvCase(d2.Receiver, &w), SendCase(c.Sender, 1), RecvCase(c.Receiver, &v),
				RecvCase(c.Receiver, &v), RecvCase(c.Receiver, &v), SendCase(c.Sender, 1), RecvCase(c.Receiver, &v)))
		},
	} {
		for range 20 {
			f()
		}
		assert.Zero(t, testing.AllocsPerRun(200, f), name)
		assert.NoError(t, failed)
	}
	_, _ = b.Close(), d.Close()
}

// Two Selects that face each other, each with a send that the other would receive: each of one's Selects
// meets one of the other's, so both do the same number of them, and what one sent the other got.
func TestSelectsThatCross(t *testing.T) {
	noBackstop(t)
	for _, wait := range []Wait{Adaptive, Park} {
		dir := memDir(t)
		x, y := openNamed[int64](t, dir, "x", WithCapacity(0), WithWait(wait)), openNamed[int64](t, dir, "y", WithCapacity(0), WithWait(wait))
		x2, y2 := again(t, x, WithWait(wait)), again(t, y, WithWait(wait))
		n := int64(5000)
		if testing.Short() || wait == Park {
			n = 1500
		}
		var sent, got [2]int64
		side := func(me int, out *Sender[int64], in *Receiver[int64]) {
			var v int64
			for k := range n {
				i, err := Select(t.Context(), SendCase(out, k), RecvCase(in, &v))
				if !assert.NoError(t, err) {
					return
				}
				if i == 0 {
					sent[me]++
				} else {
					got[me]++
				}
			}
		}
		ends(t, func() {
			var wg sync.WaitGroup
			wg.Go(func() { side(0, x.Sender, y.Receiver) })
			wg.Go(func() { side(1, y2.Sender, x2.Receiver) })
			wg.Wait()
		}, func() string { return fmt.Sprint(sent, got, x.Stats(), y.Stats()) })
		t.Log(sent, got)
		assert.Equal(t, sent[0], got[1])
		assert.Equal(t, sent[1], got[0])
	}
}

// Three that are after each other in a circle, and each way round: exactly one pair at a time.
func TestSelectsInACircle(t *testing.T) {
	noBackstop(t)
	dir := memDir(t)
	var chs [3][2]*Chan[int64]
	for i := range chs {
		chs[i][0] = openNamed[int64](t, dir, fmt.Sprint("c", i), WithCapacity(0))
		chs[i][1] = again(t, chs[i][0])
	}
	var sent, got [3]atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ends(t, func() {
		var wg sync.WaitGroup
		for me := range 3 {
			wg.Go(func() {
				var v int64
				for {
					i, err := Select(ctx, SendCase(chs[me][0].Sender, 1), RecvCase(chs[(me+1)%3][1].Receiver, &v))
					if err != nil {
						assert.ErrorIs(t, err, context.Canceled)
						return
					}
					if i == 0 {
						sent[me].Add(1)
					} else if got[(me+1)%3].Add(1) == 1500 {
						cancel()
					}
				}
			})
		}
		wg.Wait()
	}, func() string { return fmt.Sprint(chs[0][0].Stats(), chs[1][0].Stats(), chs[2][0].Stats()) })
	for i := range 3 {
		assert.Equal(t, sent[i].Load(), got[i].Load())
	}
	cancel()
}

// Ten Selects on the same channels, which each would send to and receive from, on their own handles and on shared ones.
func TestTenSelects(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{0, 1, 2, 64} {
		dir := memDir(t)
		a := openNamed[int64](t, dir, "a", WithCapacity(capacity))
		b := openNamed[int64](t, dir, "b", WithCapacity(0))
		handles := [][2]*Chan[int64]{{a, b}}
		for range 3 {
			handles = append(handles, [2]*Chan[int64]{again(t, a, WithWait(Park)), again(t, b)})
		}
		var sent, got, count atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		ends(t, func() {
			var wg sync.WaitGroup
			for g := range 10 {
				wg.Go(func() {
					h := handles[g%4]
					var v int64
					for k := int64(0); ; k++ {
						value := int64(g)<<32 + k
						cases := [4]Case{SendCase(h[0].Sender, value), RecvCase(h[0].Receiver, &v), SendCase(h[1].Sender, value), RecvCase(h[1].Receiver, &v)}
						i, err := Select(ctx, cases[:]...)
						switch {
						case err != nil:
							assert.ErrorIs(t, err, context.Canceled)
							return
						case i%2 == 0:
							sent.Add(value)
						default:
							got.Add(v)
							assert.NotEqual(t, value, v, "it has met itself")
						}
						if count.Add(1) == 5000 {
							cancel()
						}
					}
				})
			}
			wg.Wait()
		}, func() string { return fmt.Sprintf("%d: %+v %+v", capacity, a.Stats(), b.Stats()) })
		for v, err := a.TryRecv(); err == nil; v, err = a.TryRecv() {
			got.Add(v)
		}
		_, err := b.TryRecv()
		assert.ErrorIs(t, err, ErrEmpty)
		assert.Equal(t, sent.Load(), got.Load(), capacity)
		assert.Zero(t, a.Stats().Waiting+b.Stats().Waiting)
		cancel()
	}
}

// A send and a receive of one unbuffered channel in one Select do not meet, also not over two handles, and
// are in nobody's way: a plain Send and a plain Recv meet it.
func TestSelectDoesNotMeetItself(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(0), WithWait(Park))
	second, other := again(t, ch), again(t, ch)
	for k := range int64(30) {
		for _, in := range []*Chan[int64]{ch, second} {
			var v int64
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
			i, err := Select(ctx, SendCase(ch.Sender, 1), RecvCase(in.Receiver, &v))
			cancel()
			require.Equal(t, -1, i)
			require.ErrorIs(t, err, context.DeadlineExceeded)

			done := make(chan int)
			call := func() {
				i, err := Select(t.Context(), SendCase(ch.Sender, k), RecvCase(in.Receiver, &v))
				assert.NoError(t, err)
				done <- i
			}
			parking(t, ch.Sender.h, call)
			require.NoError(t, other.Send(-k))
			require.Equal(t, 1, <-done)
			require.Equal(t, -k, v)
			parking(t, ch.Sender.h, call)
			v, err = other.Recv()
			require.NoError(t, err)
			require.Equal(t, k, v)
			require.Equal(t, 0, <-done)
		}
	}
}

// A Select with several sends that wait for receivers goes to the one that comes, wherever.
func TestSelectSendsToWhoeverComes(t *testing.T) {
	noBackstop(t)
	dir := memDir(t)
	var chs, others [3]*Chan[int64]
	for i := range chs {
		chs[i] = openNamed[int64](t, dir, fmt.Sprint("c", i), WithCapacity(0), WithWait(Park))
		others[i] = again(t, chs[i])
	}
	for k := range int64(300) {
		done := make(chan int)
		parking(t, chs[0].Sender.h, func() {
			i, err := Select(t.Context(), SendCase(chs[0].Sender, k), SendCase(chs[1].Sender, k+1), SendCase(chs[2].Sender, k+2))
			assert.NoError(t, err)
			done <- i
		})
		to := int(k % 3)
		var v int64
		var err error
		if k%2 == 0 {
			v, err = others[to].Recv()
		} else {
			_, err = Select(t.Context(), RecvCase(others[to].Receiver, &v))
		}
		require.NoError(t, err)
		require.Equal(t, k+int64(to), v)
		require.Equal(t, to, <-done)
	}
}

// Senders and receivers of all kinds, some by Select over two channels, with cancels; all is received once.
func TestSelectStorm(t *testing.T) {
	noBackstop(t)
	rnd := testRand(t)
	rounds := 0
	for began := time.Now(); rounds == 0 || time.Since(began) < 3*time.Second; rounds++ {
		capacities := [2]int{[]int{0, 1, 2, 64}[rnd.IntN(4)], []int{0, 0, 1, 3}[rnd.IntN(4)]}
		dir := memDir(t)
		var chs [2][3]*Chan[int64]
		for i := range chs {
			chs[i][0] = openNamed[int64](t, dir, fmt.Sprint("c", i), WithCapacity(capacities[i]))
			chs[i][1], chs[i][2] = again(t, chs[i][0], WithWait(Park)), again(t, chs[i][0])
		}
		const each = 60
		senders, receivers := 1+rnd.IntN(3), 1+rnd.IntN(3)
		counts := make([]atomic.Int32, each*senders)
		var ws, wr sync.WaitGroup
		for g := range senders {
			h, kind, seed := rnd.IntN(3), rnd.IntN(4), rnd.Uint64()
			ws.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 2))
				for k := 0; k < each; {
					v := int64(g*each + k)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(8))*20*time.Microsecond)
					var err error
					switch kind {
					case 0:
						_, err = Select(ctx, SendCase(chs[0][h].Sender, v), SendCase(chs[1][h].Sender, v))
					case 1:
						_, err = TrySelect(SendCase(chs[0][h].Sender, v), SendCase(chs[1][h].Sender, v))
						runtime.Gosched()
					case 2:
						err = chs[rnd.IntN(2)][h].SendContext(ctx, v)
					default:
						_, err = Select(t.Context(), SendCase(chs[1][h].Sender, v), SendCase(chs[0][h].Sender, v), Case{})
					}
					cancel()
					if err == nil {
						k++
					}
				}
			})
		}
		// One to whom all can send, whoever else is there: a TrySelect needs somebody who waits.
		for g := range receivers + 1 {
			h, kind, seed := rnd.IntN(3), rnd.IntN(4), rnd.Uint64()
			if g == receivers {
				kind = 3
			}
			wr.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 3))
				for open := [2]bool{true, true}; open[0] || open[1]; {
					var v int64
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(8))*20*time.Microsecond)
					cases := [2]Case{RecvCase(chs[0][h].Receiver, &v), RecvCase(chs[1][h].Receiver, &v)}
					for i := range cases {
						if !open[i] {
							cases[i] = Case{}
						}
					}
					var i int
					var err error
					switch kind {
					case 0:
						i, err = Select(ctx, cases[:]...)
					case 1:
						i, err = TrySelect(cases[:]...)
						runtime.Gosched()
					case 2:
						i = rnd.IntN(2)
						v, err = chs[i][h].RecvContext(ctx)
					default:
						i, err = Select(t.Context(), cases[:]...)
					}
					cancel()
					switch {
					case err == nil:
						counts[v].Add(1)
					case errors.Is(err, ErrClosed):
						open[i] = false
					}
				}
			})
		}
		ends(t, func() {
			ws.Wait()
			assert.NoError(t, chs[0][0].Close())
			assert.NoError(t, chs[1][0].Close())
			wr.Wait()
		}, func() string {
			return fmt.Sprintf("round %d, capacities %v, %d senders, %d receivers, %+v %+v", rounds, capacities, senders, receivers, chs[0][0].Stats(), chs[1][0].Stats())
		})
		for v := range counts {
			require.EqualValues(t, 1, counts[v].Load(), "value %d", v)
		}
		for i := range chs {
			assert.Zero(t, chs[i][0].Stats().Waiting)
			for _, h := range chs[i] {
				require.NoError(t, h.Detach())
			}
		}
	}
	t.Log(rounds, "rounds")
}

// Detach of a handle in the middle of Selects: they end, and the memory goes with the last.
func TestSelectAgainstDetach(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{0, 1} {
		for range 100 {
			a := openTest[int64](t, WithCapacity(capacity))
			b := openTest[int64](t, WithCapacity(capacity))
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					var v int64
					for {
						if _, err := Select(t.Context(), RecvCase(a.Receiver, &v), SendCase(b.Sender, 1), RecvCase(b.Receiver, &v), SendCase(a.Sender, 1)); err != nil {
							assert.ErrorIs(t, err, ErrDetached)
							return
						}
					}
				})
			}
			runtime.Gosched()
			require.NoError(t, a.Detach())
			ends(t, wg.Wait, func() string { return "detached" })
			assert.True(t, a.Sender.h.released)
		}
	}
}

func TestSelectDisconnected(t *testing.T) {
	for _, capacity := range []int{0, 1} {
		ch := openTest[int64](t, WithCapacity(capacity))
		idle := openTest[int64](t, WithCapacity(0))
		var v int64
		in, err := OpenReceiver[int64]("test", WithDir(ch.Sender.h.opts.dir), WithDisconnect())
		require.NoError(t, err)
		require.NoError(t, ch.Detach())
		i, err := Select(t.Context(), RecvCase(idle.Receiver, &v), RecvCase(in, &v))
		assert.Equal(t, 1, i)
		assert.ErrorIs(t, err, ErrDisconnected)
		i, err = TrySelect(RecvCase(idle.Receiver, &v), RecvCase(in, &v))
		assert.Equal(t, 1, i)
		assert.ErrorIs(t, err, ErrDisconnected)
		out, err := OpenSender[int64]("test", WithDir(ch.Sender.h.opts.dir), WithDisconnect())
		require.NoError(t, err)
		for range capacity {
			require.NoError(t, out.TrySend(1))
		}
		done := make(chan error)
		parking(t, out.h, func() {
			i, err := Select(t.Context(), SendCase(out, 2), RecvCase(idle.Receiver, &v))
			assert.Zero(t, i)
			done <- err
		})
		require.NoError(t, in.Detach())
		assert.ErrorIs(t, <-done, ErrDisconnected)
		require.NoError(t, out.Detach())
	}
}

// A value of any size, and more cases than have their place.
func TestSelectSizes(t *testing.T) {
	type large [100]int64
	l := openTest[large](t, WithCapacity(1))
	e := openTest[struct{}](t, WithCapacity(1))
	var got large
	send := SendCase(l.Sender, large{99: 7})
	for range 3 { // A case may be used again.
		i, err := Select(t.Context(), append(make([]Case, 20), send)...)
		require.NoError(t, err)
		require.Equal(t, 20, i)
		i, err = Select(t.Context(), append(make([]Case, 20), RecvCase(l.Receiver, &got))...)
		require.NoError(t, err)
		require.Equal(t, 20, i)
		require.Equal(t, large{99: 7}, got)
		i, err = TrySelect(SendCase(e.Sender, struct{}{}))
		require.NoError(t, err)
		require.Zero(t, i)
		i, err = TrySelect(RecvCase(e.Receiver, nil))
		require.NoError(t, err)
		require.Zero(t, i)
	}
}

// selectAudit is what the processes of TestSelectKills share: a count for each value, and who has done what.
type selectAudit struct{ mem []byte }

const selectValues = 1 << 18

func (a selectAudit) word(i int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&a.mem[4*i])) }

func init() {
	// Selects on three channels, "c0" to "c2": sends what it is told, and receives.
	roles["selecter"] = func(args []string) error {
		dir := args[0]
		mem, err := sharedMemory(nil, args[1], 4*(selectValues+16))
		if err != nil {
			return err
		}
		a := selectAudit{mem}
		base, _ := strconv.Atoi(args[2])
		many, _ := strconv.Atoi(args[3])
		var chs [3]*Chan[int64]
		for i := range chs {
			if chs[i], err = Open[int64](fmt.Sprint("c", i), WithDir(dir), WithAttach()); err != nil {
				return err
			}
		}
		fmt.Println("open")
		var v int64
		for k := 0; ; {
			var cases [6]Case
			for i, ch := range chs {
				if k < many {
					cases[i] = SendCase(ch.Sender, int64(base+k))
				}
				cases[3+i] = RecvCase(ch.Receiver, &v)
			}
			switch i, err := Select(forever, cases[:]...); {
			case errors.Is(err, ErrClosed):
				_, _ = os.Stdout.WriteString("closed\n")
				for _, ch := range chs {
					_ = ch.Detach()
				}
				return nil
			case err != nil:
				return err
			case i < 3:
				a.word(base + k).Or(1 << 16) // Sent.
				k++
				a.word(selectValues).Add(1)
			default:
				a.word(int(v)).Add(1)
			}
		}
	}
}

// Processes that do nothing but select, over channels with and without a buffer, killed at any moment. What a
// Select says it has sent arrives once, or was in the hands of one who was killed; nothing arrives twice.
func TestSelectKills(t *testing.T) {
	for _, capacities := range [][3]int{{0, 0, 0}, {0, 1, 2}, {0, 64, 1}} {
		dir := memDir(t)
		path := filepath.Join(t.TempDir(), "audit")
		mem, err := sharedMemory(t, path, 4*(selectValues+16))
		require.NoError(t, err)
		a := selectAudit{mem}
		var chs [3]*Chan[int64]
		for i, c := range capacities {
			chs[i] = openNamed[int64](t, dir, fmt.Sprint("c", i), WithCapacity(c))
		}
		rnd := testRand(t)
		const each = 1000
		begun := 0
		spawn := func() *child {
			c := start(t, "selecter", dir, path, begun*each, each)
			begun++
			require.Equal(t, "open", c.line())
			return c
		}
		cs := []*child{spawn(), spawn(), spawn(), spawn()}
		killed := 0
		state := func() string {
			return fmt.Sprintf("%v, after %d kills: %+v %+v %+v", capacities, killed, chs[0].Stats(), chs[1].Stats(), chs[2].Stats())
		}
		for range 12 {
			done := min(a.word(selectValues).Load()+uint32(rnd.IntN(300)), uint32((begun-killed)*each/2))
			ends(t, func() { until(t, "they go on", func() bool { return a.word(selectValues).Load() >= done }) }, state)
			i := rnd.IntN(len(cs))
			cs[i].kill()
			killed++
			cs[i] = spawn()
		}
		// Those who are alive end their sends: to one another, and to us.
		through := func() bool {
			for _, c := range cs {
				base, _ := strconv.Atoi(c.args[2])
				if a.word(base+each-1).Load()&(1<<16) == 0 {
					return false
				}
			}
			for _, ch := range chs { // What the dead left is received too, once it is known that they are dead.
				if ch.Len() > 0 || ch.Cap() == 0 && wordState(ch.Sender.h.slot(0).Load()) != stFree {
					return false
				}
			}
			return true
		}
		ends(t, func() {
			var v int64
			for !through() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // To look whether they are.
				_, err := Select(ctx, RecvCase(chs[0].Receiver, &v), RecvCase(chs[1].Receiver, &v), RecvCase(chs[2].Receiver, &v))
				cancel()
				if err == nil {
					a.word(int(v)).Add(1)
				}
			}
		}, state)
		total := a.word(selectValues).Load()
		require.NoError(t, chs[0].Close())
		for _, c := range cs {
			require.Equal(t, "closed", c.line())
			c.wait()
		}
		lost, doubled, unsaid := 0, 0, 0
		for i := range begun * each {
			switch w := a.word(i).Load(); {
			case w == 1<<16:
				lost++
			case w&0xffff > 1:
				doubled++
			case w == 1:
				unsaid++ // Its sender was killed before it could say so.
			}
		}
		t.Logf("%v: %d kills, %d sent, %d lost in the hands of the killed, %d from killed senders who had not said so", capacities, killed, total, lost, unsaid)
		assert.Zero(t, doubled)
		assert.LessOrEqual(t, lost, killed)
		assert.LessOrEqual(t, unsaid, killed)
	}
}

// Two TrySends to one Select at the same time: one of them has sent.
func TestTwoTrySendsToOneSelect(t *testing.T) {
	noBackstop(t)
	var chs, others [2]*Chan[int64]
	for i := range chs {
		chs[i] = openTest[int64](t, WithCapacity(0), WithWait(Park))
		others[i] = again(t, chs[i])
	}
	for range 300 {
		var v int64
		done := make(chan int)
		parking(t, chs[0].Sender.h, func() {
			i, err := Select(t.Context(), RecvCase(chs[0].Receiver, &v), RecvCase(chs[1].Receiver, &v))
			assert.NoError(t, err)
			done <- i
		})
		var sent [2]bool
		var wg sync.WaitGroup
		for i, ch := range others {
			wg.Go(func() { sent[i] = ch.TrySend(1) == nil })
		}
		wg.Wait()
		for !sent[0] && !sent[1] {
			sent[0] = others[0].TrySend(1) == nil
		}
		i := <-done
		require.True(t, sent[i])
		require.False(t, sent[1-i], "sent, and nobody has received it")
	}
}

// A Select whose value is in the hands of another Select, which is stopped there for longer than anybody's patience, has not sent: it waits
// for the outcome. A TrySend does not wait that long.
func TestSelectWaitsForWhatIsInHand(t *testing.T) {
	noBackstop(t)
	patient(t)
	matchPatience.Store(1)
	ch := openTest[int64](t, WithCapacity(0), WithWait(Park))
	other := again(t, ch, WithWait(Park))
	h := ch.Sender.h
	other.Sender.h.rvCountBy(rvSelect, 1)
	offer := func() (pos uint64, receiver int) {
		pos, receiver, err := h.matchBegin()
		require.NoError(t, err)
		h.ctl.poster.Store(uint64(h.idx))
		require.NoError(t, h.sendQuietly(pos))
		taken, err := other.Sender.h.tryRecvBegin()
		require.NoError(t, err)
		require.Equal(t, pos, taken)
		return pos, receiver
	}
	for _, givesBack := range []bool{false, true} {
		pos, receiver := offer()
		before, result := h.send.count(countParks), make(chan error, 1)
		go func() { result <- h.matchAwait(pos, receiver, true) }()
		until(t, "it waits on, though it is late", func() bool { return h.send.count(countParks) > before+1 })
		require.Empty(t, result)
		if givesBack {
			other.Sender.h.recvAbort(pos)
			require.ErrorIs(t, <-result, ErrFull)
			require.ErrorIs(t, second(other.TryRecv()), ErrEmpty, "it was taken back")
		} else {
			require.NoError(t, other.Sender.h.recvEnd(pos))
			require.NoError(t, <-result)
		}
	}
	pos, receiver := offer()
	require.NoError(t, h.matchAwait(pos, receiver, false))
	require.NoError(t, other.Sender.h.recvEnd(pos))
	other.Sender.h.rvCountBy(rvSelect, -1)
}
