package shmchan

// Select and TrySelect with WithDisconnect: as exact as the calls themselves, and told by whoever finds out: the death itself, who clears it
// away, and the backstop if none of these rings.

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Beside a case that is never ready, one whose peer is alive, stopped, and then killed: no alarm before its death, one within 100 ms after it.
func TestSelectDisconnectExactly(t *testing.T) {
	startClock(t)
	for _, way := range waitWays {
		for _, capacity := range []int{0, 2} {
			for _, theirs := range []string{"send", "recv"} {
				t.Run(fmt.Sprintf("%s/%d/%s", way.name, capacity, theirs), func(t *testing.T) {
					dir := memDir(t)
					idle := openTest[int64](t, WithCapacity(0), WithWait(way.wait))
					opts := []Option{WithDir(dir), WithCapacity(capacity), WithDisconnect(), WithWait(way.wait)}
					var v int64
					cases := []Case{RecvCase(idle.Receiver, &v), {}}
					var h *handle
					var detach func() error
					if theirs == "send" {
						r := must[*Receiver[int64]](t)(OpenReceiver[int64]("test", opts...))
						h, detach, cases[1] = r.h, r.Detach, RecvCase(r, &v)
					} else {
						s := must[*Sender[int64]](t)(OpenSender[int64]("test", opts...))
						for range capacity {
							require.NoError(t, s.TrySend(1))
						}
						h, detach, cases[1] = s.h, s.Detach, SendCase(s, 2)
					}
					c := start(t, "attached", dir, theirs)
					require.Equal(t, "in", c.line())
					result := make(chan error, 1)
					call := func() {
						for {
							var i int
							var err error
							if way.try {
								i, err = TrySelect(cases...)
							} else {
								i, err = Select(t.Context(), cases...)
							}
							if errors.Is(err, ErrWouldBlock) {
								runtime.Gosched()
								continue
							}
							assert.Equal(t, 1, i)
							result <- err
							return
						}
					}
					began := time.Now()
					if way.try || way.wait == Spin {
						go call()
					} else {
						parking(t, h, call)
					}
					c.stop()
					for time.Since(began) < 30*time.Millisecond {
						require.Empty(t, result, "one is alive, if stopped")
					}
					c.kill()
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

// parkedOn has a Select park in each of its ways on a channel whose last peer is then gone. gone takes that one's role away.
func parkedOn(t *testing.T, gone func(theirs *handle, role uint64)) {
	t.Helper()
	for _, way := range []struct {
		name     string
		capacity int
		sends    bool
		crowd    bool // several sends, so that it goes by the flags of those who receive, with one offer that stands
		offered  bool // it is the one that stands that is deserted
	}{
		{"receive", 1, false, false, false}, {"receive without a buffer", 0, false, false, false}, {"send", 1, true, false, false},
		{"offer", 0, true, false, true}, {"offer of several", 0, true, true, true}, {"no offer of several", 0, true, true, false},
	} {
		t.Run(way.name, func(t *testing.T) {
			dir := memDir(t)
			opts := []Option{WithDir(dir), WithWait(Park), WithCapacity(way.capacity)}
			var mine, theirs [2]*handle
			var cases []Case
			var v int64
			name := func(i int) string { return fmt.Sprint("c", i) }
			idle := openTest[int64](t, WithCapacity(0))
			for i := range mine {
				if way.sends {
					s := must[*Sender[int64]](t)(OpenSender[int64](name(i), append(opts, WithDisconnect())...))
					r := must[*Chan[int64]](t)(Open[int64](name(i), opts...))
					defer func() { _, _ = s.Detach(), r.Detach() }()
					for range way.capacity {
						require.NoError(t, s.Send(1))
					}
					mine[i], theirs[i], cases = s.h, r.Sender.h, append(cases, SendCase(s, 2))
				} else {
					r := must[*Receiver[int64]](t)(OpenReceiver[int64](name(i), append(opts, WithDisconnect())...))
					s := must[*Chan[int64]](t)(Open[int64](name(i), opts...))
					defer func() { _, _ = s.Detach(), r.Detach() }()
					mine[i], theirs[i], cases = r.h, s.Sender.h, append(cases, RecvCase(r, &v))
				}
			}
			if way.sends && way.capacity == 0 && !way.crowd {
				cases[1] = RecvCase(idle.Receiver, &v)
			}
			type result struct {
				i   int
				err error
			}
			results := make(chan result, 1)
			parking(t, mine[0], func() {
				i, err := Select(t.Context(), cases...)
				results <- result{i, err}
			})
			which := 0
			if stands := wordState(mine[0].slot(0).Load()) == stFull; way.crowd && stands != way.offered {
				which = 1
			}
			role := peerReceives
			if !way.sends {
				role = peerSends
			}
			gone(theirs[which], role)
			ends(t, func() {
				got := <-results
				assert.Equal(t, which, got.i)
				assert.ErrorIs(t, got.err, ErrDisconnected)
			}, func() string { return "the Select" })
		})
	}
}

// The backstop finds that the last one has gone who was stopped, or died, before he rang anybody.
func TestBackstopTellsSelects(t *testing.T) {
	parkedOn(t, func(theirs *handle, role uint64) {
		theirs.entry(theirs.idx).state.And(^role) // As finish, and stopped there.
	})
}

// Who lets go of a role tells the Selects of other handles, without the backstop, also if he keeps the other role.
func TestLastOneTellsSelects(t *testing.T) {
	noBackstop(t)
	parkedOn(t, func(theirs *handle, role uint64) {
		side := &theirs.recv
		if role == peerSends {
			side = &theirs.send
		}
		require.NoError(t, side.detach())
	})
}

// A case that nobody is at the other end of is as likely as one that has a value.
func TestSelectDesertedIsReady(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(1))
	alone := must[*Receiver[int64]](t)(OpenReceiver[int64]("alone", WithDir(ch.Sender.h.opts.dir), WithDisconnect()))
	var v int64
	for name, sel := range map[string]func(...Case) (int, error){
		"Select": func(cases ...Case) (int, error) { return Select(t.Context(), cases...) }, "TrySelect": TrySelect,
	} {
		var count [2]int
		for range 200 {
			_ = ch.TrySend(1)
			i, err := sel(RecvCase(ch.Receiver, &v), RecvCase(alone, &v))
			count[i]++
			if i == 1 {
				require.ErrorIs(t, err, ErrDisconnected)
			} else {
				require.NoError(t, err)
			}
		}
		t.Log(name, count)
		assert.Greater(t, min(count[0], count[1]), 40, "%s: one in a million million is that far off", name)
	}
	require.NoError(t, alone.Detach())
}
