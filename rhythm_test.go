package shmchan

// Waking up in time: when a timer is set and when not, with times that are made up; and that no value, no wake and nobody who waits depends on
// one, with timers that ring at any moment.
//
// What it does not show: that it pays, which the bench does (bursts).

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fakeAlarm notes for when it was set.
type fakeAlarm struct {
	mu      sync.Mutex
	in      time.Duration
	stopped bool
	ring    func()
}

func (a *fakeAlarm) set(in time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.in = in
}

func (a *fakeAlarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
}

func (a *fakeAlarm) setFor() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.in
}

// fakeAlarms has rhythms get fakes, each of which is given to made.
func fakeAlarms(t testing.TB, made func(*fakeAlarm)) {
	until(t, "no earlier test has a timer", func() bool { return rhythms.Load() == 0 })
	usual := makeAlarm
	t.Cleanup(func() { makeAlarm = usual })
	makeAlarm = func(ring func()) alarm {
		a := &fakeAlarm{ring: ring}
		made(a)
		return a
	}
}

// oneAlarm is where the fake of the one rhythm of a test arrives.
func oneAlarm(t testing.TB) <-chan *fakeAlarm {
	alarms := make(chan *fakeAlarm, 1)
	fakeAlarms(t, func(a *fakeAlarm) { alarms <- a })
	return alarms
}

// beat is a wait that begins shortly after the last one ended and ends at that time. It says for when the timer was set, -1 if it was not.
func beat(r *rhythm, a **fakeAlarm, at time.Duration) time.Duration { return lateBeat(r, a, at, 0) }

// lateBeat is beat, where who is woken by what comes sees it so much later.
func lateBeat(r *rhythm, a **fakeAlarm, at, late time.Duration) time.Duration {
	began := r.last + 10*time.Microsecond
	rings := r.begin(began)
	o := nap{began: began, ended: at, timed: rings != nil, came: true}
	defer func() {
		if !o.rang {
			o.ended += late
		}
		r.end(o)
	}()
	in := time.Duration(-1)
	if rings != nil {
		in = began + (*a).setFor()
		if o.rang = in <= at; o.rang {
			o.spun = at - in
		}
	}
	return in
}

func TestRhythm(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	for _, every := range []time.Duration{minInterval + time.Microsecond, time.Millisecond, 10 * time.Millisecond, maxInterval} {
		var r rhythm
		set := 0
		for i := range 50 {
			at := time.Second + time.Duration(i)*every
			in := beat(&r, &a, at)
			if in >= 0 {
				set++
				require.Less(t, in, at, "before it is due")
				require.LessOrEqual(t, at-in, 310*time.Microsecond, "not long before")
			} else {
				require.LessOrEqual(t, i, 4, "%v: a timer once there is a rhythm", every)
			}
		}
		require.GreaterOrEqual(t, set, 45, every)
		require.LessOrEqual(t, r.lead, 2*slack, "no more than is needed")
		due, most := r.spin(r.last + every - slack)
		require.InDelta(t, slack, due, float64(time.Microsecond), "after the timer has rung")
		require.Equal(t, r.lead+overtime, most)

		// It does not come any more: one timer in vain, and no other.
		began := r.last + 10*time.Microsecond
		require.NotNil(t, r.begin(began))
		r.end(nap{began: began, ended: r.last + every + time.Millisecond, timed: true, rang: true, spun: time.Millisecond})
		require.Nil(t, r.begin(r.last+every+time.Millisecond))

		// Later it goes on as before.
		beat(&r, &a, r.last+20*every)
		require.GreaterOrEqual(t, beat(&r, &a, r.last+every), time.Duration(0))
		r.stop()
		require.True(t, a.stopped)
		require.Nil(t, r.begin(r.last+10))
	}
	require.Zero(t, rhythms.Load())
}

// What comes too often, too seldom, or at any time has no rhythm.
func TestNoRhythm(t *testing.T) {
	fakeAlarms(t, func(*fakeAlarm) { t.Error("there is nothing to set a timer for") })
	for _, every := range []time.Duration{minInterval / 4, minInterval - tolerance, maxInterval + maxInterval/8} {
		var r rhythm
		for i := range 100 {
			require.Negative(t, beat(&r, nil, time.Second+time.Duration(i)*every), every)
		}
	}
	var r rhythm
	at := time.Second
	for i := range 1000 { // Each interval is half as long again as the one before, or back at the first.
		at += time.Millisecond << (i % 6)
		require.Negative(t, beat(&r, nil, at))
	}
}

// A rhythm that gets slower, or faster, little by little stays one.
func TestRhythmDrifts(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	for _, by := range []float64{0.998, 1.002} {
		var r rhythm
		at, every := time.Second, 10*time.Millisecond
		for i := range 80 {
			require.Equal(t, i > 3, beat(&r, &a, at) >= 0, "%v, %d", by, i)
			every = time.Duration(float64(every) * by)
			at += every
		}
		r.stop()
	}
}

// One that comes late, or is seen late, does not end a rhythm; many do.
func TestRhythmBears(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	var r rhythm
	defer r.stop()
	const every = 2 * time.Millisecond
	n := 0
	at := func(late time.Duration) time.Duration { n++; return time.Second + time.Duration(n)*every + late }
	for range 30 {
		beat(&r, &a, at(0))
	}
	require.GreaterOrEqual(t, beat(&r, &a, at(700*time.Microsecond)), time.Duration(0))
	beat(&r, &a, at(0))
	require.GreaterOrEqual(t, beat(&r, &a, at(0)), time.Duration(0), "after one that was late")
	require.InDelta(t, every, r.every, float64(every/50))
	began := r.last + 10*time.Microsecond // Somebody was woken before the timer rang, and late.
	require.NotNil(t, r.begin(began))
	lead := r.lead
	r.end(nap{began: began, ended: at(100 * time.Microsecond), timed: true, came: true})
	require.Greater(t, r.lead, lead)
	require.GreaterOrEqual(t, beat(&r, &a, at(0)), time.Duration(0))
	for i := range 6 {
		beat(&r, &a, r.last+every*time.Duration(3+i%2*4))
	}
	require.Negative(t, beat(&r, &a, r.last+every*5))
}

// What comes soon after a timer was in vain was late, and is not taken for something that follows on another.
func TestRhythmAfterNothing(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	var r rhythm
	defer r.stop()
	const every = 2 * time.Millisecond
	for i := range 30 {
		beat(&r, &a, time.Second+time.Duration(i)*every)
	}
	began := r.last + 10*time.Microsecond
	require.NotNil(t, r.begin(began))
	due := r.last + every
	r.end(nap{began: began, ended: due + overtime, timed: true, rang: true, spun: r.lead + overtime})
	began = due + overtime + 10*time.Microsecond
	require.Nil(t, r.begin(began))
	r.end(nap{began: began, ended: began + 15*time.Microsecond, came: true})
	require.Equal(t, due, r.last)
	require.GreaterOrEqual(t, beat(&r, &a, r.last+every), time.Duration(0), "it is known when the next is due")
}

// Who was woken by what came saw it late, who spun did not: they agree all the same.
func TestRhythmOfTheWoken(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	const every, late = time.Millisecond, 130 * time.Microsecond
	var r rhythm
	defer r.stop()
	for i := range 30 {
		at := time.Second + time.Duration(i)*every
		in := lateBeat(&r, &a, at, late)
		require.Equal(t, i > 3, in >= 0 && in < at, i)
		require.Equal(t, i > 3, r.exact, i)
	}
	at := r.last + every
	began := r.last + 10*time.Microsecond
	require.NotNil(t, r.begin(began))
	r.end(nap{began: began, ended: at + late, timed: true, came: true}) // The timer was not quick enough, once.
	at += every
	require.InDelta(t, at-min(r.lead, maxLead), beat(&r, &a, at), float64(5*time.Microsecond))
}

// A wait that ends soon belongs to the one before: a burst is one event.
func TestRhythmOfBursts(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	var r rhythm
	defer r.stop()
	for i := range 20 {
		in := beat(&r, &a, time.Second+time.Duration(i)*time.Millisecond)
		require.Equal(t, i > 3, in >= 0, i)
		for k := range 3 {
			began := r.last + time.Duration(20*k)*time.Microsecond
			o := nap{began: began, ended: began + 15*time.Microsecond, came: true}
			o.timed = r.begin(began) != nil
			r.end(o)
		}
	}
}

// No more sides than a few use timers, and each one that ends makes room for another.
func TestMostRhythms(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	all := make([]rhythm, mostRhythms+1)
	last := &all[mostRhythms]
	for i := range all {
		for k := range 10 {
			in := beat(&all[i], &a, time.Second+time.Duration(k)*time.Millisecond)
			require.Equal(t, &all[i] != last && k > 3, in >= 0)
		}
	}
	all[0].stop()
	require.GreaterOrEqual(t, beat(last, &a, last.last+time.Millisecond), time.Duration(0))
	for i := range all {
		all[i].stop()
		all[i].stop()
	}
	require.Zero(t, rhythms.Load())
}

// A second call that waits on the side has no timer, and the first keeps its own.
func TestRhythmIsOnes(t *testing.T) {
	var a *fakeAlarm
	fakeAlarms(t, func(made *fakeAlarm) { a = made })
	var r rhythm
	defer r.stop()
	for k := range 10 {
		beat(&r, &a, time.Second+time.Duration(k)*time.Millisecond)
	}
	began := r.last + 10
	require.NotNil(t, r.begin(began))
	in := a.setFor()
	require.Nil(t, r.begin(began))
	r.end(nap{began: began, ended: began + 1})
	require.Equal(t, in, a.setFor())
	require.Nil(t, r.begin(began))
	r.end(nap{began: began, ended: began + 1, timed: true})
	require.Zero(t, a.setFor(), "it ended otherwise")
	require.NotNil(t, r.begin(began))
	r.end(nap{began: began, ended: began + 1, timed: true})
}

// inRhythm has the side set a timer whenever somebody parks, however late that is, until it is told of an arrival.
func inRhythm(s *side) {
	s.rhythm.mu.Lock()
	defer s.rhythm.mu.Unlock()
	s.rhythm.points, s.rhythm.every, s.rhythm.last = mostPoints, maxInterval, sinceStart()+time.Hour
}

// goesOff rings the alarm once somebody has set it, who then depends on it: of one that rings before, he knows nothing.
func (a *fakeAlarm) goesOff(t testing.TB) {
	t.Helper()
	until(t, "the alarm is set", func() bool { return a.setFor() > 0 })
	a.ring()
}

func pointsOf(s *side) int {
	s.rhythm.mu.Lock()
	defer s.rhythm.mu.Unlock()
	return s.rhythm.points
}

// Who is woken by a timer and finds nothing waits on, without one; who finds something has it.
func TestRhythmWakes(t *testing.T) {
	if !canSpin() {
		t.Skip("with one CPU nobody spins, and nothing is to be in time for")
	}
	for name, opts := range map[string][]Option{"many": nil, "single": {WithSingleSender(), WithSingleReceiver()}, "rendezvous": {WithCapacity(0)}} {
		t.Run(name, func(t *testing.T) {
			alarms := oneAlarm(t)
			ch := openTest[int64](t, append([]Option{WithCapacity(1)}, opts...)...)
			other := ch
			if name != "single" {
				other = again(t, ch)
			}
			s := &ch.Receiver.h.recv
			inRhythm(s)
			got := make(chan int64, 1)
			parking(t, s.h, func() { got <- must[int64](t)(ch.Recv()) })
			a := <-alarms
			parks := s.count(countParks)
			a.goesOff(t)
			until(t, "parked again", func() bool { return s.count(countParks) > parks })
			require.Equal(t, mostPoints-forOdd, pointsOf(s), "it was set in vain")
			require.NoError(t, other.Send(7))
			require.EqualValues(t, 7, <-got)
			require.NoError(t, ch.Detach())
			require.True(t, a.stopped)
		})
	}
}

// Who is woken by a timer and finds what he waits for takes it: the timer was not set in vain, the spin has paid, and he does not park again.
func TestRhythmFinds(t *testing.T) {
	if !canSpin() {
		t.Skip("with one CPU nobody spins, and nothing is to be in time for")
	}
	noBackstop(t)
	alarms := oneAlarm(t)
	ch := openTest[int64](t, WithCapacity(2))
	s := &ch.Receiver.h.recv
	inRhythm(s)
	got := make(chan error, 1)
	parking(t, s.h, func() { got <- second(ch.Recv()) })
	a := <-alarms
	parks, paid := s.count(countParks), s.count(countPaid)
	relieve(t, ch.Sender.h, receiving)
	a.goesOff(t)
	require.NoError(t, <-got)
	require.Equal(t, parks, s.count(countParks))
	require.Equal(t, paid+1, s.count(countPaid))
	s.rhythm.mu.Lock()
	defer s.rhythm.mu.Unlock()
	require.False(t, s.rhythm.vain)
}

// Who is woken by a timer when somebody had spent a wake on him passes that on.
func TestRhythmPassesOn(t *testing.T) {
	if !canSpin() {
		t.Skip("with one CPU nobody spins, and nothing is to be in time for")
	}
	noBackstop(t)
	alarms := oneAlarm(t)
	ch := openTest[int64](t, WithCapacity(2))
	other := again(t, ch)
	got := make(chan error, 2)
	inRhythm(&ch.Receiver.h.recv)
	parking(t, ch.Receiver.h, func() { got <- second(ch.Recv()) })
	a := <-alarms
	i, ok := other.Sender.h.takeWaiter(receiving, ch.Receiver.h.idx) // Who is about to ring.
	require.True(t, ok)
	require.Equal(t, ch.Receiver.h.idx, i)
	parking(t, other.Receiver.h, func() { got <- second(other.Recv()) })
	relieve(t, ch.Sender.h, receiving)
	relieve(t, ch.Sender.h, receiving)
	a.goesOff(t)
	require.NoError(t, <-got)
	require.NoError(t, <-got)
}

// Timers ring at any moment, while values go through a channel on which everybody has to wait, several on each side.
func TestRhythmLosesNothing(t *testing.T) {
	if !canSpin() {
		t.Skip("with one CPU nobody spins, and nothing is to be in time for")
	}
	noBackstop(t)
	rapid.Check(t, func(rt *rapid.T) {
		var mu sync.Mutex
		var all []*fakeAlarm
		fakeAlarms(t, func(a *fakeAlarm) { mu.Lock(); defer mu.Unlock(); all = append(all, a) })
		capacity, n := rapid.IntRange(0, 3).Draw(rt, "capacity"), rapid.IntRange(1, 200).Draw(rt, "values")
		sides := rapid.IntRange(1, 3).Draw(rt, "of each")
		ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(memDir(t)), WithCapacity(capacity)))
		h := ch.Sender.h
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				inRhythm(&h.send)
				inRhythm(&h.recv)
				mu.Lock()
				for _, a := range all {
					a.ring()
				}
				mu.Unlock()
				runtime.Gosched()
			}
		}()
		var wg sync.WaitGroup
		var sum atomic.Int64
		for range sides {
			wg.Go(func() {
				for i := range n {
					assert.NoError(t, ch.Send(int64(i)))
					if i%7 == 0 {
						runtime.Gosched()
					}
				}
			})
			wg.Go(func() {
				for i := range n {
					v, err := ch.Recv()
					assert.NoError(t, err)
					sum.Add(v)
					if i%5 == 0 {
						for range 300 {
							pause()
						}
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		<-stopped
		require.EqualValues(t, sides*n*(n-1)/2, sum.Load())
		require.NoError(t, ch.Detach())
	})
}

// The timers of the platform, and those of Go that stand in for them.
func TestAlarms(t *testing.T) {
	for _, made := range []func(func()) alarm{newAlarm, newGoAlarm} {
		before := runtime.NumGoroutine()
		rung := make(chan time.Time, 1)
		a := made(func() { rung <- time.Now() })
		for _, in := range []time.Duration{time.Millisecond, 50 * time.Microsecond} {
			a.set(time.Hour)
			began := time.Now()
			a.set(in)
			require.GreaterOrEqual(t, (<-rung).Sub(began), in)
		}
		soon := 50 * time.Millisecond
		began := time.Now()
		a.set(soon)
		a.set(0)
		inTime := time.Since(began) < soon // Else it may have rung, and rightly so.
		after := time.NewTimer(soon + soon/10)
		<-after.C
		if inTime {
			require.Empty(t, rung, "it was taken back")
		}
		a.stop()
		until(t, "its goroutine has ended", func() bool { return runtime.NumGoroutine() <= before })
	}
}
