package shmchan

// The soak: about a dozen processes send and receive over several forms of channel, for as long as
// one likes, while chance kills, stops and continues them, has them detach and attach again, and
// closes the channels, which are then made anew under their names.
//
//	go test -v -run '^TestSoak$' -timeout 0 -soak 10m .
//
// The parent audits all the while. Every value says who sent it, the how-manieth it is, and whether
// it is whole; every process writes down in memory that survives it what it has sent and received.
// The audit demands of each channel:
//
//   - lost: nothing; but a receiver killed between the moment that its Recv freed the slot and its note
//     has taken the value along: no more than the killed ones had in hand, and none with RecvFunc
//   - doubled: nothing, but for a RecvFunc killed between the note of its value and its end
//   - torn, invented: nothing
//   - late (an earlier value of a sender behind a later one, as one receiver sees it): no more than
//     values were given back or taken over from the dead
//   - it goes on: something is received again within wedgedAfter
//   - in the end nothing is left in the directory, and nothing open in those who have let go
//
// It does not show that every moment was hit, nor anything about a machine that fails.

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var soakFor = flag.Duration("soak", 0, "how long TestSoak runs, as 10m; 0: for some seconds")

const (
	soakShort   = 3 * time.Second
	wedgedAfter = 3 * time.Minute // far above the longest stop, and what a busy machine takes, so that only a wedge takes so long
	longestStop = 300 * time.Millisecond
)

// soakForm is a form of channel in the soak.
type soakForm struct {
	capacity               int
	oneSender, oneReceiver bool
	senders                int
	recv, recvFunc         int // receivers by Recv, by RecvFunc
}

var soakForms = []soakForm{
	{capacity: 0, senders: 2, recvFunc: 2},
	{capacity: 1, oneSender: true, oneReceiver: true, senders: 1, recv: 1},
	{capacity: 7, oneReceiver: true, senders: 2, recvFunc: 1},
	{capacity: 64, oneSender: true, senders: 1, recvFunc: 2},
	{capacity: 1024, senders: 2, recv: 1, recvFunc: 1},
}

// soakProc is a process of the soak, as the parent sees it.
type soakProc struct {
	*child
	task    soakTask
	rec     *soakRecord
	last    map[uint64]uint64 // of each sender, one more than the last value noted
	stopped time.Time         // until when; zero: it runs
	lasting bool              // is never killed
}

// soakSender is what was received of a sender's values.
type soakSender struct {
	proc *soakProc           // nil once it is gone
	ack  uint64              // values acknowledged, once it is gone
	try  uint64              // values whose send may have begun, once it is gone
	old  bool                // it was gone when the last generation was sealed
	top  uint64              // one more than the highest received
	gaps map[uint64]struct{} // those below that were not received (yet)
}

func (s *soakSender) acked() uint64 {
	if s.proc != nil {
		return s.proc.rec.acked().Load()
	}
	return s.ack
}

func (s *soakSender) trying() uint64 {
	if s.proc != nil {
		return s.proc.rec.trying().Load()
	}
	return s.try
}

// missing counts the values below bound that were not received.
func (s *soakSender) missing(bound uint64) (n uint64) {
	for g := range s.gaps {
		if g < bound {
			n++
		}
	}
	return n + bound - min(bound, s.top)
}

// soakChannel is a channel of the soak, in all its generations.
type soakChannel struct {
	soakForm
	name    string
	size    int
	procs   []*soakProc
	senders map[uint64]*soakSender

	layout   *layout
	nextTry  time.Time         // to attach the monitor
	monitor  *handle           // holds the generation without a role, so that values outlive all processes
	sealedAt map[uint64]uint64 // what each sender had acknowledged when the last generation was sealed
	sealedID uint64            // which that was; 0: audited
	lastID   uint64            // the last generation that was monitored
	back     uint64            // values given back or taken over, in generations that are gone

	received, doubled, torn, late, invented  uint64
	lost                                     uint64 // for certain, at the last audit; also what killed Recvs took along
	maySwallow, mayDouble                    uint64 // by kills
	progress                                 uint64 // what received was when it last grew
	moved                                    time.Time
	settledSent, settledOpens, settledCancel uint64 // of processes that are gone
}

// soak is the whole.
type soak struct {
	t        *testing.T
	rnd      *rand.Rand
	dir      string
	records  string
	channels []*soakChannel
	numbers  uint64
	began    time.Time
	tty      *os.File
	reported time.Time
	mostFDs  int
	busy     uint64

	kills, stops, detaches, closes, generations int
}

var soakTypes = map[int]reflect.Type{8: reflect.TypeFor[small](), 64: reflect.TypeFor[message](), 1024: reflect.TypeFor[large]()}

// TestSoak: see the top of the file.
func TestSoak(t *testing.T) {
	length := *soakFor
	if length == 0 {
		if testing.Short() {
			t.Skip("-short; the soak runs for as long as -soak says")
		}
		length = soakShort
	}
	s := &soak{t: t, rnd: testRand(t), dir: memDir(t), records: memDir(t), began: time.Now(), reported: time.Now()}
	if *soakFor != 0 {
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			s.tty = tty
			defer tty.Close()
		}
	}
	sizes := []int{8, 64, 1024, 8, 64}
	s.rnd.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	for i, f := range soakForms {
		c := &soakChannel{soakForm: f, name: fmt.Sprintf("soak-%d", i), size: sizes[i], senders: map[uint64]*soakSender{}, moved: time.Now()}
		var err error
		c.layout, err = layoutOf(soakTypes[c.size])
		require.NoError(t, err)
		s.channels = append(s.channels, c)
		for k := range f.senders {
			s.startProc(c, soakTask{Sends: true}, k == 0 && i%2 == 0)
		}
		for range f.recv {
			s.startProc(c, soakTask{}, false)
		}
		for k := range f.recvFunc {
			s.startProc(c, soakTask{Func: true}, k == 0 && i%2 == 0)
		}
	}
	for s.anyNew() { // Else a short soak may be over before it has begun.
		s.look()
		runtime.Gosched()
	}
	s.began = time.Now()
	for next := s.began; time.Since(s.began) < length; {
		idle := s.look()
		if now := time.Now(); now.After(next) {
			s.disturb()
			next = now.Add(time.Duration(s.rnd.Int64N(int64(60 * time.Millisecond))))
		}
		s.report(false)
		if idle {
			time.Sleep(200 * time.Microsecond) // The parent shall leave the CPU to the others.
		}
	}
	s.finish()
	s.report(true)
}

// anyNew says whether some process has not attached to anything yet.
func (s *soak) anyNew() bool {
	return slices.ContainsFunc(s.channels, func(c *soakChannel) bool {
		return slices.ContainsFunc(c.procs, func(p *soakProc) bool { return p.rec.opens().Load() == 0 })
	})
}

// startProc starts a process in the place of one that is gone, or as a new one.
func (s *soak) startProc(c *soakChannel, task soakTask, lasting bool) {
	number := s.numbers
	s.numbers++
	require.Less(s.t, number, uint64(soakSenders), "the senders' numbers are used up")
	task.Dir, task.Name, task.Capacity, task.Size = s.dir, c.name, c.capacity, c.size
	task.OneSender, task.OneReceiver = c.oneSender, c.oneReceiver
	task.Number, task.Seed, task.Record = number, s.rnd.Uint64(), filepath.Join(s.records, fmt.Sprint(number))
	rec, err := openSoakRecord(task.Record)
	require.NoError(s.t, err)
	arg, err := json.Marshal(task)
	require.NoError(s.t, err)
	p := &soakProc{child: start(s.t, "soaker", string(arg)), task: task, rec: rec, last: map[uint64]uint64{}, lasting: lasting}
	c.procs = append(c.procs, p)
	if task.Sends {
		c.senders[number] = &soakSender{proc: p, gaps: map[uint64]struct{}{}}
	}
}

// retire takes what a process that is gone has left.
func (s *soak) retire(c *soakChannel, p *soakProc) {
	c.drain(p)
	if p.task.Sends {
		from := c.senders[p.task.Number]
		from.proc, from.ack, from.try = nil, p.rec.acked().Load(), p.rec.trying().Load()
	}
	c.settledSent += p.rec.acked().Load()
	c.settledOpens += p.rec.opens().Load()
	c.settledCancel += p.rec.cancels().Load()
	c.torn += p.rec.torn().Load()
	s.busy += p.rec.busy().Load()
	c.procs = slices.DeleteFunc(c.procs, func(q *soakProc) bool { return p == q })
	assert.NoError(s.t, unix.Munmap(p.rec.mem))
	assert.NoError(s.t, os.Remove(p.task.Record))
}

// look audits what was received since, and moves the channels on. Idle: there was nothing.
func (s *soak) look() (idle bool) {
	idle = true
	now := time.Now()
	for _, c := range s.channels {
		for _, p := range slices.Clone(c.procs) {
			if c.drain(p) {
				idle = false
			}
			switch p.rec.state().Load() {
			case soakFailed:
				s.resume(p)
				p.line() // It has ended, and this says why.
			case soakEnded:
				p.wait()
				s.retire(c, p)
				continue
			}
			if !p.stopped.IsZero() && now.After(p.stopped) {
				s.resume(p)
			}
		}
		s.turn(c)
		s.watch(c, now)
	}
	return idle
}

func (s *soak) resume(p *soakProc) {
	p.stopped = time.Time{}
	p.signal(syscall.SIGCONT)
}

// drain audits the values that a process has noted.
func (c *soakChannel) drain(p *soakProc) (some bool) {
	for n, end := p.rec.audited().Load(), p.rec.noted().Load(); n < end; n++ {
		some = true
		e := p.rec.entry(n).Load()
		from, seq := e>>soakSeqBits, e&(1<<soakSeqBits-1)
		p.rec.audited().Store(n + 1)
		s := c.senders[from]
		if s == nil || seq >= s.trying() {
			c.invented++
			continue
		}
		c.received++
		if seq < p.last[from] {
			c.late++
		}
		p.last[from] = max(p.last[from], seq+1)
		switch _, gap := s.gaps[seq]; {
		case seq >= s.top:
			for ; s.top < seq; s.top++ {
				s.gaps[s.top] = struct{}{}
			}
			s.top++
		case gap:
			delete(s.gaps, seq)
		default:
			c.doubled++
		}
	}
	return some
}

// turn follows the channel from generation to generation. The parent holds each one without a role
// until it is sealed, for a closed channel that all have left goes with what is in it.
func (s *soak) turn(c *soakChannel) {
	if c.monitor == nil && time.Now().After(c.nextTry) {
		c.nextTry = time.Now().Add(5 * time.Millisecond)
		h, err := openHandle(c.name, c.layout, 0, []Option{WithDir(s.dir), WithAttach()})
		switch {
		case errors.Is(err, ErrBusy): // Somebody is stopped who has the lock of its name.
			s.busy++
		case err != nil:
			require.ErrorIs(s.t, err, os.ErrNotExist)
		case soakID(h) == c.lastID: // Not all have left the last one.
			h.release()
		default:
			c.monitor, c.lastID = h, soakID(h)
			s.generations++
		}
	}
	if h := c.monitor; h != nil && c.sealedID == 0 && h.ctl.closed.Load() != 0 && isSealed(h) {
		c.sealedID, c.sealedAt = soakID(h), map[uint64]uint64{}
		for n, from := range c.senders {
			c.sealedAt[n], from.old = from.acked(), from.proc == nil
		}
		c.back += h.ctl.givenBack.Load()
		h.release()
		c.monitor = nil
	}
	if c.sealedID != 0 && !slices.ContainsFunc(c.procs, func(p *soakProc) bool { return p.rec.at().Load() == c.sealedID }) {
		for _, p := range c.procs {
			c.drain(p)
		}
		s.settle(c)
	}
}

// isSealed says whether the channel is closed and drained for good.
func isSealed(h *handle) bool {
	end, _ := h.walk(h.headHint(), func(_, _ uint64) bool { return true })
	return h.slot(end).Load() == word(end, 0, stSealed)
}

// settle audits the generation that was sealed: all who had it have left it and their notes are
// read, so what was acknowledged before was received, or never will be.
func (s *soak) settle(c *soakChannel) {
	c.sealedID = 0
	lost := uint64(0)
	for n, from := range c.senders {
		lost += from.missing(c.sealedAt[n])
		if from.old && from.missing(from.ack) == 0 {
			delete(c.senders, n) // All of its values are accounted for.
			for _, p := range c.procs {
				delete(p.last, n)
			}
		}
	}
	c.lost = lost
	s.check(c)
}

// check demands what can be demanded at any time.
func (s *soak) check(c *soakChannel) {
	back := c.back
	if c.monitor != nil {
		back += c.monitor.ctl.givenBack.Load()
	}
	ok := assert.LessOrEqual(s.t, c.lost, c.maySwallow, "%s: lost", c.name)
	ok = assert.LessOrEqual(s.t, c.doubled, c.mayDouble, "%s: doubled", c.name) && ok
	ok = assert.Zero(s.t, c.torn, "%s: torn", c.name) && ok
	ok = assert.Zero(s.t, c.invented, "%s: invented", c.name) && ok
	if c.monitor != nil { // Else the next generation, which may have given some back, is not known yet.
		ok = assert.LessOrEqual(s.t, c.late, back, "%s: late", c.name) && ok
	}
	if !ok {
		s.dump(c)
		s.t.FailNow()
	}
}

// watch fails if the channel is wedged.
func (s *soak) watch(c *soakChannel, now time.Time) {
	if c.received != c.progress || len(c.procs) == 0 {
		c.progress, c.moved = c.received, now
	}
	if now.Sub(c.moved) > wedgedAfter {
		s.dump(c)
		s.t.Fatalf("%s: nothing has moved for %v", c.name, wedgedAfter)
	}
}

// disturb does something to somebody.
func (s *soak) disturb() {
	c := s.channels[s.rnd.IntN(len(s.channels))]
	p := c.procs[s.rnd.IntN(len(c.procs))]
	if n := descriptorsOf(p.cmd.Process.Pid); n > s.mostFDs {
		s.mostFDs = n
		assert.LessOrEqual(s.t, n, 64, "descriptors of a process that has one channel open")
	}
	switch s.rnd.IntN(10) {
	case 0, 1, 2:
		if !p.lasting {
			s.killProc(c, p)
		}
	case 3, 4, 5:
		if p.stopped.IsZero() {
			p.stop()
			p.stopped = time.Now().Add(time.Duration(s.rnd.Int64N(int64(longestStop))))
			s.stops++
		}
	case 6, 7:
		p.say("detach")
		s.detaches++
	default:
		if c.monitor != nil && c.monitor.ctl.closed.Load() == 0 && c.sealedID == 0 {
			p.say("close %d", soakID(c.monitor))
			s.closes++
		}
	}
}

func descriptorsOf(pid int) int {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // None where the system does not tell.
	return len(fds)
}

// killProc kills a process, and puts another in its place.
func (s *soak) killProc(c *soakChannel, p *soakProc) {
	p.kill()
	s.kills++
	c.maySwallow += p.rec.inHand().Load()
	c.mayDouble += p.rec.using().Load()
	task := p.task
	s.retire(c, p)
	s.startProc(c, task, false)
}

// finish lets everybody come to the end: the senders stop, then the receivers drain.
func (s *soak) finish() {
	for _, c := range s.channels {
		for _, p := range c.procs {
			if !p.stopped.IsZero() {
				s.resume(p)
			}
		}
	}
	s.tell(true)
	for s.left(true) > 0 {
		s.look()
	}
	s.tell(false)
	for s.left(false) > 0 {
		for _, c := range s.channels {
			if c.monitor != nil && c.monitor.ctl.closed.Load() == 0 {
				// A receiver may be late to do so that was told before: then it is closed, and we are busy with that.
				h, err := openHandle(c.name, c.layout, peerSends, []Option{WithDir(s.dir), WithAttach()})
				if errors.Is(err, ErrBusy) && strings.Contains(err.Error(), "about to join, leave or remove it") {
					s.busy++
					continue
				}
				require.NoError(s.t, err)
				if err := h.closeChannel(&h.send); !errors.Is(err, ErrClosed) {
					require.NoError(s.t, err)
				}
				require.NoError(s.t, h.send.detach())
			}
		}
		s.look()
	}
	for _, c := range s.channels {
		for c.sealedID != 0 || c.monitor != nil {
			s.turn(c)
		}
		c.sealedAt = map[uint64]uint64{}
		for n, from := range c.senders {
			c.sealedAt[n] = from.ack
		}
		s.settle(c)
		assert.LessOrEqual(s.t, c.late, c.back, "%s: late", c.name)
	}
	sweep(s.dir) // What those left who were killed while they made something; the next Open would.
	dirEmpty(s.t, s.dir)
	dirEmpty(s.t, s.records)
}

// tell tells the senders, or the receivers, to end.
func (s *soak) tell(senders bool) {
	for _, c := range s.channels {
		for _, p := range c.procs {
			if p.task.Sends == senders {
				p.say("end")
			}
		}
	}
}

// left counts the processes of that kind.
func (s *soak) left(senders bool) (n int) {
	for _, c := range s.channels {
		for _, p := range c.procs {
			if p.task.Sends == senders {
				n++
			}
		}
	}
	return n
}

// report prints how it goes: each second on a terminal, else every ten.
func (s *soak) report(last bool) {
	every := 10 * time.Second
	if s.tty != nil {
		every = time.Second
	}
	if !last && time.Since(s.reported) < every {
		return
	}
	s.reported = time.Now()
	var sent, received, cancels, opens, lost, along, doubled, torn, late, back, maySwallow, mayDouble uint64
	for _, c := range s.channels {
		sent, cancels, opens, torn = sent+c.settledSent, cancels+c.settledCancel, opens+c.settledOpens, torn+c.torn
		for _, p := range c.procs {
			sent, cancels, opens = sent+p.rec.acked().Load(), cancels+p.rec.cancels().Load(), opens+p.rec.opens().Load()
			torn += p.rec.torn().Load()
		}
		received, doubled, late = received+c.received, doubled+c.doubled, late+c.late
		along, lost = along+min(c.lost, c.maySwallow), lost+c.lost-min(c.lost, c.maySwallow)
		back, maySwallow, mayDouble = back+c.back, maySwallow+c.maySwallow, mayDouble+c.mayDouble
	}
	line := fmt.Sprintf("%7v  %d sent, %d received; %d kills, %d stops, %d detaches, %d closes, %d channels made, %d attaches, %d cancelled or given back; lost %d, taken along by killed Recvs %d (may %d), doubled by killed RecvFuncs %d (may %d), late %d (may %d), torn %d",
		time.Since(s.began).Round(time.Second), sent, received, s.kills, s.stops, s.detaches, s.closes, s.generations, opens, cancels,
		lost, along, maySwallow, doubled, mayDouble, late, back, torn)
	switch {
	case last:
		s.t.Logf("%s; at most %d descriptors; %d times told to try again", line, s.mostFDs, s.busy)
	case s.tty != nil:
		_, _ = fmt.Fprintf(s.tty, "\r\x1b[K%s", line)
	default:
		fmt.Println(line)
	}
}

// dump shows what a channel and its processes are at.
func (s *soak) dump(c *soakChannel) {
	s.report(true)
	if h := c.monitor; h != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: capacity %d, closed %d, head %d, tail %d, holes %d, receivers %x, senders %x, poster %d\n", c.name, c.capacity,
			h.ctl.closed.Load(), h.headHint(), h.tailHint(), h.ctl.holes.Load(), h.ctl.receivers[0].Load(), h.ctl.senders[0].Load(), h.ctl.poster.Load())
		for i := range h.n {
			if w := h.slot(i).Load(); i < 16 || wordState(w) != stFree {
				fmt.Fprintf(&b, "slot %d: position %d, tag %#x, state %d\n", i, wordPos(w), wordTag(w), wordState(w))
			}
		}
		for i := range maxPeers {
			if e := h.entry(i); isUsed(e.state.Load()) {
				fmt.Fprintf(&b, "participant %d: pid %d, state %#x, waits for a rendezvous %d\n", i, e.pid.Load(), e.state.Load(), h.rv[i].Load())
			}
		}
		s.t.Log(b.String())
	}
	for _, p := range c.procs {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // A Go program shows its goroutines.
		_ = p.cmd.Wait()
		p.done = true
		s.t.Logf("pid %d, sends %v, stopped %v: acked %d, noted %d, in hand %d\n%s", p.cmd.Process.Pid, p.task.Sends, !p.stopped.IsZero(),
			p.rec.acked().Load(), p.rec.noted().Load(), p.rec.inHand().Load(), p.errs.String())
	}
}
