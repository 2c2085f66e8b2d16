package shmchan

// WithDisconnect is exact: no alarm while a live one holds a handle, stopped or not, and one within 100 ms of the last
// one's death, for whoever waits however.

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	// One that holds a handle of one role until it is told to end, and says so.
	roles["attached"] = func(args []string) error {
		var err error
		if args[1] == "send" {
			_, err = OpenSender[int64]("test", WithDir(args[0]), WithAttach())
		} else {
			_, err = OpenReceiver[int64]("test", WithDir(args[0]), WithAttach())
		}
		if err != nil {
			return err
		}
		fmt.Println("in")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
	// One whose handles come and go, so that at every moment it holds one at least.
	roles["storm"] = func(args []string) error {
		open := func() (*Sender[int64], error) {
			return OpenSender[int64]("test", WithDir(args[0]), WithAttach())
		}
		n, _ := strconv.Atoi(args[1])
		s, err := open()
		fmt.Println("in")
		for i := 0; err == nil && i < n; i++ {
			var next *Sender[int64]
			if next, err = open(); err == nil {
				err = s.Detach()
				s = next
			}
		}
		fmt.Println("through")
		_, _ = fmt.Scanln(new(string))
		return err
	}
}

// waitWays are how a call of one role waits for the other.
var waitWays = []struct {
	name string
	wait Wait
	try  bool
}{{"parked", Park, false}, {"spinning", Spin, false}, {"adaptive", Adaptive, false}, {"polling", Park, true}}

func TestDisconnectExactly(t *testing.T) {
	startClock(t)
	for _, way := range waitWays {
		for _, form := range []struct {
			capacity int
			opts     []Option
		}{{0, nil}, {3, nil}, {4, []Option{WithSingleSender(), WithSingleReceiver()}}} {
			for _, theirs := range []string{"send", "recv"} {
				t.Run(fmt.Sprintf("%s/%d-%d/%s", way.name, form.capacity, len(form.opts), theirs), func(t *testing.T) {
					dir := memDir(t)
					opts := append([]Option{WithDir(dir), WithCapacity(form.capacity), WithDisconnect(), WithWait(way.wait)}, form.opts...)
					var call func() error
					var detach func() error
					var parked func() uint64
					if theirs == "send" {
						r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", opts...))
						detach, parked = r.Detach, func() uint64 { return r.Stats().Parked }
						call = func() error { _, err := r.Recv(); return err }
						if way.try {
							call = func() error { _, err := r.TryRecv(); return err }
						}
					} else {
						s := must[*Sender[int64]](t)(OpenSender[int64]("test", opts...))
						detach, parked = s.Detach, func() uint64 { return s.Stats().Parked }
						for range form.capacity {
							require.NoError(t, s.TrySend(1))
						}
						call = func() error { return s.Send(2) }
						if way.try {
							call = func() error { return s.TrySend(2) }
						}
					}
					a := start(t, "attached", dir, theirs)
					require.Equal(t, "in", a.line())
					if len(form.opts) == 0 {
						b := start(t, "attached", dir, theirs)
						require.Equal(t, "in", b.line())
						defer b.kill()
						a, b = b, a
						b.kill()
					}
					result := make(chan error, 1)
					began := time.Now()
					go func() {
						for {
							err := call()
							if way.try && (errors.Is(err, ErrEmpty) || errors.Is(err, ErrFull)) {
								runtime.Gosched()
								continue
							}
							result <- err
							return
						}
					}()
					if way.wait != Spin && !way.try {
						until(t, "parked", func() bool { return parked() > 0 })
					}
					a.stop()
					for time.Since(began) < 30*time.Millisecond {
						require.Empty(t, result, "one is alive, if stopped")
					}
					a.kill()
					died := startWatch()
					require.ErrorIs(t, <-result, ErrDisconnected)
					took := died.took()
					t.Log(took)
					assert.Less(t, took, int64(100), "ms")
					require.NoError(t, detach())
				})
			}
		}
	}
}

// Handles come and go, over three processes and in this one, so that always one is there: nobody is told that none is.
func TestNoFalseAlarm(t *testing.T) {
	const rounds = 300
	for _, try := range []bool{false, true} {
		dir := memDir(t)
		r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", WithDir(dir), WithDisconnect(), WithWait(Park)))
		var storms []*child
		for range 2 {
			storms = append(storms, start(t, "storm", dir, rounds))
		}
		for _, c := range storms {
			require.Equal(t, "in", c.line())
		}
		victim := start(t, "attached", dir, "send")
		require.Equal(t, "in", victim.line())
		result := make(chan error, 1)
		go func() {
			for {
				var err error
				if try {
					_, err = r.TryRecv()
				} else {
					_, err = r.Recv()
				}
				if !errors.Is(err, ErrEmpty) {
					result <- err
					return
				}
			}
		}()
		victim.kill()
		for _, c := range storms {
			require.Equal(t, "through", c.line())
		}
		require.Empty(t, result, "a false alarm")
		for _, c := range storms {
			c.kill()
		}
		require.ErrorIs(t, <-result, ErrDisconnected)
		require.NoError(t, r.Detach())
	}
}

// The look at all entries is made again if somebody joined meanwhile: he may stand in an entry that was looked at before,
// and another, who was there until then, have left one that was looked at after.
func TestJoinDuringTheLook(t *testing.T) {
	dir := WithDir(memDir(t))
	r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", dir, WithDisconnect()))
	first := must[*Sender[int64]](t)(OpenSender[int64]("test", dir))
	last := must[*Sender[int64]](t)(OpenSender[int64]("test", dir))
	require.NoError(t, first.Detach())    // Its entry is used again.
	r.h.partners[0].Store(int32(r.h.idx)) // Nobody is remembered, so all are looked at.
	var next *Sender[int64]
	r.h.locks = &meddler{locker: r.h.locks, f: func() {
		next = must[*Sender[int64]](t)(OpenSender[int64]("test", dir))
		require.Less(t, next.h.idx, last.h.idx)
		require.NoError(t, last.Detach())
	}}
	require.True(t, r.h.anyLive(peerSends))
	require.NotNil(t, next)
	require.NoError(t, next.Detach())
	require.False(t, r.h.anyLive(peerSends))
	require.NoError(t, r.Detach())
}

// meddler has something happen when a lock is asked for, once.
type meddler struct {
	locker
	f func()
}

func (m *meddler) held(i int) (bool, error) {
	if f := m.f; f != nil {
		m.f = nil
		f()
	}
	return m.locker.held(i)
}

// A TryRecv with WithDisconnect on an empty channel costs little more than one without, also beside many others.
func BenchmarkTryRecvEmpty(b *testing.B) {
	for _, disconnect := range []bool{false, true} {
		b.Run(fmt.Sprintf("disconnect=%v", disconnect), func(b *testing.B) {
			dir := WithDir(memDir(b))
			var opts []Option
			if disconnect {
				opts = append(opts, WithDisconnect())
			}
			r := must[*Receiver[int64]](b)(OpenReceiver[int64]("test", append(opts, dir)...))
			defer func() { _ = r.Detach() }()
			for range 20 {
				s := must[*Sender[int64]](b)(OpenSender[int64]("test", dir))
				defer func() { _ = s.Detach() }()
			}
			for b.Loop() {
				if _, err := r.TryRecv(); !errors.Is(err, ErrEmpty) {
					b.Fatal(err)
				}
			}
		})
	}
}

// Who clears the last one of a role away tells all who wait for it, not just one: those who cannot watch for that death
// themselves, as from another pid namespace, have only him and the backstop, which is off here.
func TestClearingTellsAll(t *testing.T) {
	noBackstop(t)
	for _, theirs := range []string{"send", "recv"} {
		for _, capacity := range []int{0, 1} {
			dir := WithDir(memDir(t))
			third := openTestIn[int64](t, dir, theirs, capacity)
			c := start(t, "attached", third.opts.dir, theirs)
			require.Equal(t, "in", c.line())
			idx := -1
			for i := range maxPeers {
				if e := third.entry(i); isUsed(e.state.Load()) && int(e.pid.Load()) == c.cmd.Process.Pid {
					idx = i
				}
			}
			require.NotEqual(t, -1, idx)
			const n = 3
			results := make(chan error, n)
			var hs [n]*handle
			var calls [n]func() error
			for i := range n { // All, before the first one parks: else it is told that others join, and watches.
				opts := []Option{dir, WithDisconnect(), WithWait(Park), WithAttach()}
				var detach func() error
				if theirs == "send" {
					r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", opts...))
					hs[i], calls[i], detach = r.h, func() error { return second(r.Recv()) }, r.Detach
				} else {
					s := must[*Sender[int64]](t)(OpenSender[int64]("test", opts...))
					if s.Len() < capacity {
						require.NoError(t, s.Send(1))
					}
					hs[i], calls[i], detach = s.h, func() error { return s.Send(2) }, s.Detach
				}
				defer func() { _ = detach() }()
			}
			for i, h := range hs {
				h.joinsSeen.Store(h.ctl.joins.Load() + 1) // It watches nobody.
				parking(t, h, func() { results <- calls[i]() })
			}
			c.kill()
			third.live(idx)
			for range n {
				require.ErrorIs(t, <-results, ErrDisconnected)
			}
		}
	}
}

// openTestIn is a handle of the role that is not theirs, with nobody watched.
func openTestIn[T any](t *testing.T, dir Option, theirs string, capacity int) *handle {
	t.Helper()
	if theirs == "send" {
		r := must[*Receiver[T]](t)(OpenReceiver[T]("test", dir, WithCapacity(capacity)))
		t.Cleanup(func() { _ = r.Detach() })
		return r.h
	}
	s := must[*Sender[T]](t)(OpenSender[T]("test", dir, WithCapacity(capacity)))
	t.Cleanup(func() { _ = s.Detach() })
	return s.h
}
