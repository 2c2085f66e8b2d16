package shmchan

// Waiting for what comes at regular intervals. A call that has parked is woken by the system, which takes tens of
// microseconds; one that spins is there at once, at the price of a CPU. A call whose side is in a rhythm has both: it
// parks, a timer wakes it shortly before the next is due, and it spins for that.
//
// Invariants:
//   - A timer wakes a call as the end of its context would: the call takes itself out of the queue and looks anew. No value
//     and no wake depends on a timer.
//   - A timer is set only where one more interval is due that is like those before, and only after an arrival. So who waits for what
//     does not come any more is woken once, and who has no rhythm hardly ever.
//   - At most mostRhythms sides of a process use timers, so that what all of them spin is bounded.

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	mostRhythms = 4
	minInterval = 2 * spinTime           // below it spinning does
	maxInterval = 100 * time.Millisecond // of something that comes seldom nobody minds some microseconds
	enough      = 2                      // points at which a timer is set; an interval like those before is a point
	mostPoints  = 16
	forOdd      = 4                      // points off for another interval, or for a timer that was set in vain
	firstLead   = 200 * time.Microsecond // a timer before what is due
	minLead     = 30 * time.Microsecond
	maxLead     = 300 * time.Microsecond
	wakeTime    = 150 * time.Microsecond // after which who was woken may see what came
	overtime    = 100 * time.Microsecond // how long after it was due something is waited for
	slack       = 60 * time.Microsecond  // that the spin is meant to take
	tolerance   = 60 * time.Microsecond  // intervals that differ by no more are alike, or by a sixteenth
)

// rhythm is what a side knows of the times at which its long waits ended.
type rhythm struct {
	mu     sync.Mutex
	used   bool          // a call has the timer
	last   time.Duration // when the last long wait ended, since processStart
	exact  bool          // it was seen to end, by who spun; else he was woken some time after
	every  time.Duration // the interval
	points int
	lead   time.Duration
	vain   bool          // a timer has ended a wait, and what was waited for has not come since
	timer  alarm         // nil until the first time
	rings  chan struct{} // of the timer
	ended  bool          // the side has been let go
}

// alarm is what the platform gives to be woken once, to some microseconds.
type alarm interface {
	set(in time.Duration) // in place of what was set before; 0: nothing
	stop()
}

// rhythms counts the sides that have a timer.
var rhythms atomic.Int32

// makeAlarm is replaced by tests.
var makeAlarm = newAlarm

func sinceStart() time.Duration { return time.Since(processStart) }

// begin is called by who parks now. It sets the timer if it is known when what he waits for is due; rings is nil if not.
func (r *rhythm) begin(now time.Duration) (rings <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used || r.ended || r.points < enough || r.every < minInterval || r.every > maxInterval {
		return nil
	}
	if r.lead == 0 {
		r.lead = firstLead
	}
	r.lead = min(max(r.lead, minLead), maxLead, r.every/2)
	in := r.last + r.every - r.lead - now
	if in <= 0 {
		return nil
	}
	if r.timer == nil {
		if rhythms.Add(1) > mostRhythms {
			rhythms.Add(-1)
			return nil
		}
		rings := make(chan struct{}, 1)
		r.rings = rings
		r.timer = makeAlarm(func() {
			select {
			case rings <- struct{}{}:
			default:
			}
		})
	}
	select {
	case <-r.rings: // Of a wait that ended otherwise.
	default:
	}
	r.used = true
	r.timer.set(in)
	return r.rings
}

// nap is how a wait ended that had parked.
type nap struct {
	began, ended time.Duration // since processStart
	timed        bool          // begin had set the timer for it
	rang         bool          // and that ended it,
	spun         time.Duration // after which it spun for so long
	came         bool          // what was waited for did come
}

func (r *rhythm) end(o nap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.timed {
		r.used = false
		if !o.rang && !r.ended {
			r.timer.set(0)
		}
	}
	if !o.came {
		if o.rang {
			r.points, r.vain = max(0, r.points-forOdd), true
		}
		return
	}
	if o.ended-o.began < minInterval/2 && !r.vain { // What follows closely belongs to the one before.
		return
	}
	r.vain = false
	exact := o.rang && o.spun >= slack/4
	off, limit := o.ended-r.last-r.every, max(r.every/16, tolerance)
	if exact != r.exact {
		limit += wakeTime
	}
	if off.Abs() > limit {
		if r.points = max(0, r.points-forOdd); r.points == 0 {
			r.every += off
		}
		r.last, r.exact = o.ended, exact
		return
	}
	r.points = min(mostPoints, r.points+1)
	if exact == r.exact {
		r.every += off / 4
	}
	if exact || !r.exact {
		r.last, r.exact = o.ended, exact
	} else {
		r.last += r.every // It came earlier than we were woken.
	}
	switch {
	case o.timed && !exact: // Too late.
		r.lead += r.lead / 4
	case exact && o.spun > slack:
		r.lead -= r.lead / 16
	}
}

// spin is for when what is waited for is due, and for how long to spin for it, after the timer has rung.
func (r *rhythm) spin(rang time.Duration) (due, most time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last + r.every - rang, r.lead + overtime
}

// stop ends the timer.
func (r *rhythm) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.timer != nil {
		r.timer.stop()
		rhythms.Add(-1)
		r.timer = nil
	}
}

// goAlarm is an alarm from Go's timers.
type goAlarm struct{ *time.Timer }

func newGoAlarm(ring func()) alarm {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return goAlarm{t}
}

func (a goAlarm) set(in time.Duration) {
	if in == 0 {
		a.Stop()
		return
	}
	a.Reset(in)
}

func (a goAlarm) stop() { a.Stop() }
