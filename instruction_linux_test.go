//go:build amd64

package shmchan

// A kill, and a stop, at every instruction.
//
// What it shows: a real process that is killed after the first instruction of an
// operation, or after the second, and so on to the last, in each of the scenes below,
// leaves the others able to go on within 100 ms, without a value lost but those that it
// had in hand, none doubled, none torn, each sender's order kept, and in the end
// nothing in the directory. And that others pass by one that is stopped at any
// of them, which takes nothing from it, and goes on correctly afterwards.
//
// What it does not show: two deaths in one operation, what happens while several are in the
// middle of something (the checked model does), or other memory orders than this
// processor's. The threads of the Go runtime beside the one that runs the operation are
// wherever they happen to be.
//
// A place is named by the system calls that the others may notice (futexes they do
// not), the changes of the shared bytes after the last of them, and the instructions
// after that. Nobody else can tell a kill from one an instruction later unless that
// instruction was a system call or changed the shared bytes. So -instructions=all
// kills after each of those and, where an operation is long, after a sample of the others;
// -instructions=literal kills after every one, which takes hours where there are tens of
// thousands of them. Without the flag a sample is taken.

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var instructions = flag.String("instructions", "sample", "where to kill and to stop: at a sample of the instructions (-kills sets its size), all, literal")

const (
	shortOperation = 600 // instructions up to which "all" means every one of them
	longSample     = 40  // of the instructions of longer ones, that change nothing
)

// operation is what the process does when it is killed.
type operation struct {
	name     string
	values   int // that it sends
	receives int // that it receives at most
	role     uint64
	run      func(v *victim) error
}

func (o *operation) sends() bool { return o.role == peerSends }

var operations = []*operation{
	{"Send", 1, 0, peerSends, func(v *victim) error { return v.s.Send(v.value(0)) }},
	{"SendBatch", 3, 0, peerSends, func(v *victim) error {
		_, err := v.s.SendBatch(forever, v.batch[:])
		return err
	}},
	{"SendFunc", 1, 0, peerSends, func(v *victim) error {
		return v.s.SendFunc(forever, func(m *message) error { *m = v.value(0); return nil })
	}},
	{"Recv", 0, 1, peerReceives, func(v *victim) error {
		m, err := v.r.Recv()
		return v.received(m, err)
	}},
	{"RecvBatch", 0, 3, peerReceives, func(v *victim) error {
		n, err := v.r.RecvBatch(forever, v.buf[:])
		v.n = n
		return err
	}},
	{"RecvFunc", 0, 1, peerReceives, func(v *victim) error {
		var got message
		err := v.r.RecvFunc(forever, func(m *message) error {
			got = *m
			_, _ = unix.Write(1, usedLine)
			return nil
		})
		return v.received(got, err)
	}},
	{"Close", 0, 0, peerSends, func(v *victim) error { return v.s.Close() }},
	{"Detach", 0, 0, peerSends, func(v *victim) error { return v.detach() }},
	{"Open", 0, 0, peerSends, func(v *victim) error { return v.open() }},
}

var usedLine = []byte("used\n")

func operationNamed(name string) *operation {
	i := slices.IndexFunc(operations, func(o *operation) bool { return o.name == name })
	return operations[i]
}

// victim is the process in its own eyes.
type victim struct {
	op     *operation
	opts   []Option
	single bool
	bulk   bool
	s      sendsAny
	r      recvsAny
	both   func() error // lets go of both
	batch  [3]message
	buf    [3]message
	n      int // of buf
}

func (v *victim) value(i int) message { return v.batch[i] }

func (v *victim) received(m message, err error) error {
	if err == nil {
		v.buf[0], v.n = m, 1
	}
	return err
}

// open opens a handle with the operation's role, or where many may have it with both.
func (v *victim) open() (err error) {
	v.s, v.r, v.both = nil, nil, nil
	switch {
	case !v.single:
		v.s, v.r, v.both, err = openBoth(v.opts...)
	case v.op.sends():
		v.s, err = openSends(v.opts...)
	default:
		v.r, err = openReceives(v.opts...)
	}
	return err
}

func (v *victim) detach() error {
	switch {
	case v.both != nil:
		return v.both()
	case v.s != nil:
		return v.s.Detach()
	}
	return v.r.Detach()
}

func (v *victim) handle() *handle {
	if v.s != nil {
		return v.s.of()
	}
	return v.r.of()
}

// warm does everything once on a channel of its own, so that the instructions that are counted
// later are the operation's and not those of first times.
func (v *victim) warm(dir string) error {
	mine, err := os.MkdirTemp(dir, "warm")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(mine) }()
	w := &victim{op: v.op, opts: (&scene{capacity: 64, bulk: v.bulk}).options(mine), batch: v.batch}
	if err := w.open(); err != nil {
		return err
	}
	for _, op := range operations {
		if op.role == peerReceives {
			if _, err := w.s.SendBatch(forever, v.batch[:]); err != nil {
				return err
			}
		}
		if op.name == "Open" || op.name == "RecvFunc" && v.op.name != op.name {
			continue
		}
		if err := op.run(w); err != nil {
			return err
		}
	}
	return nil
}

// notLeader runs f on a thread that is not the process's first: when that one is
// killed under ptrace, waiting for it and for the process would be the same.
func notLeader(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != os.Getpid() {
		return f()
	}
	result := make(chan error)
	go func() { result <- notLeader(f) }()
	return <-result
}

func init() {
	// It says "ready", is told where, opens, says which thread and participant it is, is
	// told to go, does the operation between marks, and says what came of it; and again.
	roles["victim"] = func(args []string) error {
		debug.SetGCPercent(-1)
		backstopAfter(time.Hour, time.Hour) // A wake that is lost is not to be made good.
		return notLeader(func() error {
			v := &victim{op: operationNamed(args[0]), single: args[1] == "true", bulk: args[3] == "true"}
			for i := range v.batch {
				v.batch[i] = newMessage(fromVictim, uint64(i))
			}
			if err := v.warm(args[2]); err != nil {
				return fmt.Errorf("warming up: %w", err)
			}
			mark := marker()
			fmt.Println("ready")
			for {
				var dir string
				var capacity, room int
				var start uint64
				if n, _ := fmt.Scanln(&dir, &capacity, &room, &start); n != 4 {
					return nil // Nobody needs us any more.
				}
				sc := scene{capacity: capacity, single: v.single, start: start, bulk: v.bulk, room: room}
				v.opts = sc.options(dir)
				idx := -1
				if v.op.name != "Open" {
					if err := v.open(); err != nil {
						return err
					}
					idx = v.handle().idx
				}
				if v.op.name != "Open" && capacity&(capacity-1) == 0 { // Else senders go the way of all.
					v.handle().send.moveLane()
					v.handle().recv.moveLane()
				}
				v.n = 0
				fmt.Println(unix.Gettid(), idx)
				if n, _ := fmt.Scanln(new(string)); n != 1 {
					return nil
				}
				mark(beginMark)
				err := v.op.run(v)
				mark(endMark)
				if err != nil && !errors.Is(err, ErrClosed) {
					return err
				}
				if v.op.name != "Detach" {
					if err := v.detach(); err != nil {
						return err
					}
				}
				fmt.Println("done", v.took())
			}
		})
	}
}

// took says which values it has received, for tookOf.
func (v *victim) took() string {
	var words []string
	for _, m := range v.buf[:v.n] {
		if !m.whole() {
			return "torn"
		}
		words = append(words, fmt.Sprintf("%d.%d", m.From, m.Seq))
	}
	return strings.Join(words, " ")
}

func tookOf(t testing.TB, line string) (took []id) {
	words := strings.Fields(line)
	require.Equal(t, "done", words[0], line)
	for _, w := range words[1:] {
		var v id
		_, err := fmt.Sscanf(w, "%d.%d", &v.from, &v.seq)
		require.NoError(t, err, line)
		took = append(took, v)
	}
	return took
}

// Positions just before they begin again at 0.
const nearWrap = 1<<posBits - 2

var (
	// Calls go straight to their slots only where the capacity is a power of two.
	sendScenes = []scene{
		{name: "empty", capacity: 3},
		{name: "one from full", capacity: 3, values: 2},
		{name: "full", capacity: 3, values: 3},
		{name: "receiver parked", capacity: 3, parked: "receiver"},
		{name: "sender comes", capacity: 3, values: 2, comes: "sender"},
		{name: "closer comes", capacity: 3, values: 1, comes: "closer"},
		{name: "closed", capacity: 3, values: 1, closed: true},
		{name: "wraparound", capacity: 3, values: 1, start: nearWrap},
		{name: "capacity 1, sender comes", capacity: 1, comes: "sender"},
		{name: "in the lane, empty", capacity: 4},
		{name: "in the lane, one from full", capacity: 4, values: 3},
		{name: "in the lane, receiver parked", capacity: 4, parked: "receiver"},
		{name: "in the lane, sender comes", capacity: 4, values: 2, comes: "sender"},
		{name: "in the lane, closer comes", capacity: 4, values: 1, comes: "closer"},
		{name: "in the lane, wraparound", capacity: 4, values: 1, start: nearWrap},
		{name: "empty", capacity: 4, single: true},
		{name: "one from full", capacity: 4, values: 3, single: true},
		{name: "full", capacity: 4, values: 4, single: true},
		{name: "receiver parked", capacity: 4, parked: "receiver", single: true},
		{name: "closer comes", capacity: 4, values: 1, comes: "closer", single: true},
		{name: "receiver parked, closer comes", capacity: 4, parked: "receiver", comes: "closer", single: true},
		{name: "other capacity", capacity: 3, values: 2, single: true},
		{name: "closed", capacity: 4, values: 1, closed: true, single: true},
		{name: "wraparound", capacity: 4, values: 1, start: nearWrap, single: true},
		{name: "nobody there"},
		{name: "receiver parked", parked: "receiver"},
		{name: "closed", closed: true},
		{name: "closer comes", comes: "closer"},
	}
	recvScenes = []scene{
		{name: "empty", capacity: 3},
		{name: "one value", capacity: 3, values: 1},
		{name: "full", capacity: 3, values: 3},
		{name: "full, sender parked", capacity: 3, values: 3, parked: "sender"},
		{name: "one value, receiver comes", capacity: 3, values: 1, comes: "receiver"},
		{name: "one value, closer comes", capacity: 3, values: 1, comes: "closer"},
		{name: "closed, two values", capacity: 3, values: 2, closed: true},
		{name: "closed and empty", capacity: 3, closed: true},
		{name: "wraparound", capacity: 3, values: 3, start: nearWrap},
		{name: "in the lane, one value", capacity: 4, values: 1},
		{name: "in the lane, full, sender parked", capacity: 4, values: 4, parked: "sender"},
		{name: "in the lane, two values, receiver comes", capacity: 4, values: 2, comes: "receiver"},
		{name: "in the lane, one value, closer comes", capacity: 4, values: 1, comes: "closer"},
		{name: "in the lane, closed, two values", capacity: 4, values: 2, closed: true},
		{name: "in the lane, wraparound", capacity: 4, values: 3, start: nearWrap},
		{name: "empty", capacity: 4, single: true},
		{name: "one value", capacity: 4, values: 1, single: true},
		{name: "full", capacity: 4, values: 4, single: true},
		{name: "full, sender parked", capacity: 4, values: 4, parked: "sender", single: true},
		{name: "closed, two values", capacity: 4, values: 2, closed: true, single: true},
		{name: "closed and empty", capacity: 4, closed: true, single: true},
		{name: "wraparound", capacity: 4, values: 3, start: nearWrap, single: true},
		{name: "nobody there"},
		{name: "sender parked", parked: "sender"},
		{name: "sender parked, receiver comes", parked: "sender", comes: "receiver"},
		{name: "sender parked, closer comes", parked: "sender", comes: "closer"},
		{name: "closed", closed: true},
	}
	scenes = map[string][]scene{
		"Send": sendScenes, "SendBatch": sendScenes, "SendFunc": sendScenes,
		"Recv": recvScenes, "RecvBatch": recvScenes, "RecvFunc": recvScenes,
		"Close": {
			{name: "receiver parked", capacity: 3, parked: "receiver"},
			{name: "full, sender parked", capacity: 3, values: 3, parked: "sender"},
			{name: "two values", capacity: 3, values: 2},
			{name: "closed", capacity: 3, values: 2, closed: true},
			{name: "wraparound, full", capacity: 3, values: 3, start: nearWrap},
			{name: "receiver parked", capacity: 4, parked: "receiver", single: true},
			{name: "receiver parked", parked: "receiver"},
			{name: "sender parked", parked: "sender"},
		},
		"Detach": {
			{name: "empty", capacity: 3},
			{name: "full, sender parked", capacity: 3, values: 3, parked: "sender"},
			{name: "receiver parked", capacity: 3, parked: "receiver"},
			{name: "receiver parked, no other sender", capacity: 3, parked: "receiver", lonely: true},
			{name: "closed, one value", capacity: 3, values: 1, closed: true},
			{name: "closed, nobody else", capacity: 3, closed: true, alone: true},
			{name: "one value", capacity: 4, values: 1, single: true},
			{name: "receiver parked", parked: "receiver"},
		},
		"Open": {
			{name: "creating", capacity: 3, absent: true},
			{name: "creating", capacity: 4, absent: true, single: true},
			{name: "creating", absent: true},
			{name: "attaching, empty", capacity: 3},
			{name: "attaching, full, sender parked", capacity: 3, values: 3, parked: "sender"},
			{name: "attaching, receiver parked", capacity: 3, parked: "receiver"},
			{name: "attaching, one value", capacity: 4, values: 1, single: true},
			{name: "attaching, closed", capacity: 3, values: 1, closed: true},
			{name: "anew, closed and left by all", capacity: 3, values: 1, closed: true, alone: true},
			{name: "attaching, receiver parked", parked: "receiver"},
		},
	}
)

// place is where an operation is held.
type place struct {
	calls   int // system calls before it
	changes int // and then changes of the shared bytes
	steps   int // and then instructions
	most    int // instructions to look for the changes in, 0: to the next system call
}

// stage is one operation in one scene, again and again.
type stage struct {
	t     *testing.T
	op    *operation
	sc    *scene
	dir   string // for the channels, each in a directory of its own
	warm  string
	runs  int
	spare *child // started ahead
	where map[uint64]bool
}

// victim starts a process, or takes the one that was started ahead.
func (st *stage) victim() *child {
	if st.spare == nil {
		st.spare = st.startVictim()
	}
	c := st.spare
	st.spare = st.startVictim()
	for c.line() != "ready" { // Before that, what it has used while it warmed up.
	}
	return c
}

func (st *stage) startVictim() *child {
	return start(st.t, "victim", st.op.name, st.sc.single, st.warm, st.sc.bulk)
}

// begin sets the scene and has c come to the beginning of its operation.
func (st *stage) begin(c *child) (*others, *tracer, int) {
	st.t.Helper()
	st.runs++
	dir := filepath.Join(st.dir, fmt.Sprint(st.runs))
	require.NoError(st.t, os.Mkdir(dir, 0o700))
	o := newOthers(st.t, st.sc, st.op, dir)
	c.say("%s %d %d %d", dir, st.sc.capacity, st.sc.room, st.sc.start)
	var tid, idx int
	line := c.line()
	_, err := fmt.Sscan(line, &tid, &idx)
	require.NoError(st.t, err, line)
	o.joined()
	v, err := trace(st.t, tid)
	require.NoError(st.t, err)
	v.holdMonitor(c.cmd.Process.Pid)
	v.help = func() { o.help(idx) }
	c.say("go")
	v.toBegin()
	return o, v, idx
}

// to takes the thread to a place, or to the end of the operation if that comes first.
// It ends early where a system call comes first: another way was taken this time.
func (st *stage) to(v *tracer, p place, dir string) {
	v.skip(p.calls)
	if p.changes > 0 {
		w := newWatcher(st.t, dir)
		defer w.close()
		for n, steps := 0, 0; n < p.changes && (p.most == 0 || steps < p.most); steps++ {
			if v.ended || v.step() {
				return
			}
			if w.changed() {
				n++
			}
		}
	}
	for range p.steps {
		if v.ended || v.step() {
			return
		}
	}
}

// killAt kills a process at a place.
func (st *stage) killAt(p place) {
	st.t.Helper()
	st.kill(func(o *others, v *tracer) { st.to(v, p, o.dir) })
}

// kill kills a process where hold has taken it, and checks the others.
func (st *stage) kill(hold func(*others, *tracer)) {
	st.t.Helper()
	c := st.victim()
	o, v, idx := st.begin(c)
	hold(o, v)
	st.where[v.at()] = true
	o.arrive(st.sc.comes)
	l := o.look(idx)
	require.NoError(st.t, c.cmd.Process.Kill())
	v.reap()
	used := 0
	for c.out.Scan() {
		used++
	}
	c.kill()
	o.afterDeath(l, outcome{ended: v.ended, used: used})
	require.NoError(st.t, os.Remove(o.dir))
}

// segment is what lies between two system calls.
type segment struct {
	steps   int
	changes []int // the instructions that changed the shared bytes
}

// survey steps a process through its operation and notes all places. It is killed at the end.
func (st *stage) survey() (segments []segment) {
	st.kill(func(o *others, v *tracer) {
		w := newWatcher(st.t, o.dir)
		defer w.close()
		var s segment
		for !v.ended {
			call := v.step()
			s.steps++
			if w.changed() && !call {
				s.changes = append(s.changes, s.steps)
			}
			if call {
				segments = append(segments, s)
				s = segment{}
				w.rescan()
			}
		}
		segments = append(segments, s)
	})
	return segments
}

// calls counts the system calls of an operation, which is killed at its end.
func (st *stage) calls() (n int) {
	st.kill(func(_ *others, v *tracer) { n = v.skip(1 << 20) })
	return n
}

// places are all distinguishable places, and as many others as sample says, all if negative.
func places(segments []segment, sample int, rnd *rand.Rand) (all []place) {
	var rest []place
	for calls, s := range segments {
		p, last := place{calls: calls}, 0
		all = append(all, p)
		for k := 1; k <= s.steps; k++ {
			if len(s.changes) > p.changes && s.changes[p.changes] == k {
				p.changes++
				last = k
				all = append(all, p)
				continue
			}
			rest = append(rest, place{calls: p.calls, changes: p.changes, steps: k - last})
		}
	}
	if sample >= 0 && sample < len(rest) {
		rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		rest = rest[:sample]
	}
	return append(all, rest...)
}

// surveyed are the places of the operation at which it is to be met, by a survey.
func (st *stage) surveyed(r *row, rnd *rand.Rand) []place {
	segments := st.survey()
	for _, s := range segments {
		r.instructions += s.steps
	}
	sample := -1
	if *instructions != "literal" && r.instructions > shortOperation {
		sample = longSample
	}
	r.events = len(places(segments, 0, rnd)) - 1
	return places(segments, sample, rnd)
}

// somePlace is a place chosen without a survey.
func somePlace(calls int, rnd *rand.Rand) place {
	p := place{calls: rnd.IntN(calls + 1)}
	if rnd.IntN(2) == 0 {
		p.changes, p.steps, p.most = 1+rnd.IntN(10), rnd.IntN(3), 600
	} else {
		p.steps = rnd.IntN(600)
	}
	return p
}

// row is a line of the table of what was covered.
type row struct {
	name                 string
	instructions, events int // by the survey
	kills, addresses     int
}

// eachStage runs f for every operation in every scene to which it applies.
func eachStage(t *testing.T, scenes map[string][]scene, applies func(sc *scene) bool, f func(st *stage) row) {
	mayTrace(t)
	t.Setenv("GODEBUG", "asyncpreemptoff=1") // for the children
	quietStops(t)
	startClock(t)
	slowest = longest{}
	dir, began, shown := memDir(t), time.Now(), time.Now()
	var rows []row
	kills := 0
	for _, op := range operations {
		for i := range scenes[op.name] {
			sc := &scenes[op.name][i]
			if !applies(sc) {
				continue
			}
			t.Run(op.name+", "+sc.String(), func(t *testing.T) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				st := &stage{t: t, op: op, sc: sc, where: map[uint64]bool{}}
				st.dir = must[string](t)(os.MkdirTemp(dir, "stage"))
				st.warm = must[string](t)(os.MkdirTemp(dir, "warm"))
				r := f(st)
				r.name = op.name + ", " + sc.String()
				rows = append(rows, r)
				kills += r.kills
			})
			if *instructions != "sample" && time.Since(shown) > 10*time.Second {
				shown = time.Now()
				fmt.Fprintf(os.Stderr, "%s: %s in scene %d of %d, %d places after %v\n", t.Name(), op.name, i+1, len(scenes[op.name]), kills, time.Since(began).Round(time.Second))
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-55s %12s %8s %6s %9s\n", "operation, channel, scene", "instructions", "events", "places", "addresses")
	for _, r := range rows {
		known := fmt.Sprintf("%12d %8d", r.instructions, r.events)
		if r.instructions == 0 {
			known = fmt.Sprintf("%12s %8s", "", "")
		}
		fmt.Fprintf(&table, "%-55s %s %6d %9d\n", r.name, known, r.kills, r.addresses)
	}
	t.Logf("%s%d places in %v; the slowest of the others took %d ms, %v by the clock on the wall", table.String(), kills, time.Since(began).Round(time.Second), slowest.naps, slowest.wall.Round(time.Millisecond))
}

// mayTrace skips where there is no ptrace.
func mayTrace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's instructions are not the library's, and ten times as many")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := start(t, "sleeper")
	require.Equal(t, "here", c.line())
	v, err := trace(t, c.cmd.Process.Pid)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
		t.Skipf("this process may not trace its child: ptrace: %v", err)
	}
	require.NoError(t, err)
	v.gone = true // Its number may soon be somebody else's.
	c.kill()
}

func init() {
	roles["sleeper"] = func([]string) error {
		fmt.Println("here")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
}

func TestKillAtEveryInstruction(t *testing.T) {
	killAtEvery(t, scenes)
}

func killAtEvery(t *testing.T, scenes map[string][]scene) {
	rnd := testRand(t)
	eachStage(t, scenes, func(*scene) bool { return true }, func(st *stage) row {
		var r row
		if *instructions == "sample" {
			calls := st.calls()
			r.kills = 1
			for range max(1, *kills/30) {
				st.killAt(somePlace(calls, rnd))
				r.kills++
			}
		} else {
			all := st.surveyed(&r, rnd)
			r.kills = 1
			for _, p := range all {
				st.killAt(p)
				r.kills++
			}
		}
		r.addresses = len(slices.Collect(maps.Keys(st.where)))
		return r
	})
}

func TestStopAtEveryInstruction(t *testing.T) { stopAtEvery(t, scenes) }

func stopAtEvery(t *testing.T, scenes map[string][]scene) {
	rnd := testRand(t)
	// Not the scenes that are about a death, nor that in which the others would take the
	// single role before the process does.
	applies := func(sc *scene) bool {
		return !sc.alone && !sc.lonely && sc.room == 0 && sc.comes == "" && (!sc.absent || !sc.single)
	}
	eachStage(t, scenes, applies, func(st *stage) row {
		var r row
		c := st.victim()
		if *instructions == "sample" {
			for range 1 + *kills/30 {
				st.stopAt(c, somePlace(4, rnd))
				r.kills++
			}
		} else {
			for _, p := range st.surveyed(&r, rnd) {
				st.stopAt(c, p)
				r.kills++
			}
		}
		c.wait()
		r.addresses = len(slices.Collect(maps.Keys(st.where)))
		return r
	})
}

// stopAt stops a process at a place, has the others pass by, lets it finish, and checks all.
func (st *stage) stopAt(c *child, p place) {
	st.t.Helper()
	o, v, idx := st.begin(c)
	st.to(v, p, o.dir)
	st.where[v.at()] = true
	freeze(c)
	o.passBy(idx)
	c.signal(unix.SIGCONT)
	v.finish()
	line := c.line()
	for line == strings.TrimSpace(string(usedLine)) {
		line = c.line()
	}
	took := tookOf(st.t, line)
	o.afterDeath(o.look(idx), outcome{ended: true, lived: true, took: took})
	require.NoError(st.t, os.Remove(o.dir))
}

// freeze stops all threads of a process; those that are traced stand still already.
func freeze(c *child) {
	c.t.Helper()
	c.signal(unix.SIGSTOP)
	tasks := fmt.Sprintf("/proc/%d/task", c.cmd.Process.Pid)
	until(c.t, "all threads stand still", func() bool {
		entries, err := os.ReadDir(tasks)
		require.NoError(c.t, err)
		for _, e := range entries {
			if s := stateOf(e.Name()); s != 'T' && s != 't' {
				return false
			}
		}
		return true
	})
}
