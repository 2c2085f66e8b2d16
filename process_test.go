package shmchan

// Real processes: values through them, kills and stops at any moment.
//
// What the hammer shows: after any number of SIGKILLs at moments that nobody chose,
// everything that was acknowledged is received, nothing torn, nothing invented,
// nothing doubled beyond what protocol and documentation say, each sender's order
// kept. What it does not show: that every instruction was hit.

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	kills = flag.Int("kills", 60, "SIGKILLs for each form of channel in TestKills; thousands for the long mode")
	seed  = flag.Uint64("seed", 0, "seed of the random choices; 0: a new one, printed")
)

func testRand(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// message says who sent it and whether it is whole.
type message struct {
	From, Seq uint64
	Fill      [5]uint64
	Sum       uint64
}

func newMessage(from, seq uint64) message {
	m := message{From: from, Seq: seq}
	for i := range m.Fill {
		m.Fill[i] = (from<<32 + seq + uint64(i)) * 0x9e3779b97f4a7c15
	}
	m.Sum = m.sum()
	return m
}

func (m *message) sum() uint64 {
	s := m.From*31 + m.Seq
	for _, f := range m.Fill {
		s = s*1099511628211 ^ f
	}
	return s
}

func (m *message) whole() bool { return *m == newMessage(m.From, m.Seq) }

// audit is memory that all processes of a test share and that survives their kills. Programs
// for other architectures share it too: it lies alike in all.
type audit struct{ mem []byte }

const (
	auditSenders = 4096    // numbers that senders may have: enough for thousands of kills
	auditSeqs    = 1 << 14 // values that each may send
	auditCounts  = 8 * (auditSenders + 8)
)

func openAudit(t testing.TB, path string) *audit {
	mem, err := sharedMemory(t, path, auditCounts+4*auditSenders*auditSeqs)
	if err != nil {
		panic(err)
	}
	return &audit{mem}
}

func (a *audit) word(i uint64) *atomic.Uint64     { return (*atomic.Uint64)(unsafe.Pointer(&a.mem[8*i])) }
func (a *audit) acked(from uint64) *atomic.Uint64 { return a.word(from) }
func (a *audit) progress() *atomic.Uint64         { return a.word(auditSenders) }
func (a *audit) torn() *atomic.Uint64             { return a.word(auditSenders + 1) }
func (a *audit) late() *atomic.Uint64             { return a.word(auditSenders + 2) }
func (a *audit) count(from, seq uint64) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&a.mem[auditCounts+4*(from*auditSeqs+seq)]))
}

// note records a value that was received; order holds the last seen of each sender.
func (a *audit) note(m *message, order *[auditSenders]uint64) {
	if v := *m; !v.whole() || v.From >= auditSenders || v.Seq >= auditSeqs {
		a.torn().Add(1)
		return
	}
	if m.Seq+1 <= order[m.From] {
		a.late().Add(1)
	}
	order[m.From] = max(order[m.From], m.Seq+1)
	a.count(m.From, m.Seq).Add(1)
	a.progress().Add(1)
}

func init() {
	roles["sender"] = func(args []string) error {
		dir, auditPath, how := args[0], args[1], args[3]
		from, _ := strconv.ParseUint(args[2], 10, 64)
		a := openAudit(nil, auditPath)
		s, err := roleSender(dir)
		if err != nil {
			return err
		}
		fmt.Println("open")
		batch := make([]message, 0, 8)
		for seq := uint64(0); seq < auditSeqs && err == nil; {
			switch how {
			case "batch":
				batch = batch[:0]
				for i := seq; i < seq+8; i++ {
					batch = append(batch, newMessage(from, i))
				}
				var n int
				n, err = s.SendBatch(forever, batch)
				seq += uint64(n)
				a.acked(from).Store(seq)
				continue
			case "func":
				err = s.SendFunc(forever, func(m *message) error { *m = newMessage(from, seq); return nil })
			case "try":
				for err = s.TrySend(newMessage(from, seq)); errors.Is(err, ErrFull); err = s.TrySend(newMessage(from, seq)) {
					runtime.Gosched()
				}
			default:
				err = s.Send(newMessage(from, seq))
			}
			if err == nil {
				seq++
				a.acked(from).Store(seq)
			}
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			return err
		}
		if err := s.Detach(); err != nil {
			return err
		}
		fmt.Println("sent")
		_, _ = fmt.Scanln(new(string)) // Stay until told, so that nobody stops or kills a process that is no more.
		return nil
	}
	roles["receiver"] = func(args []string) error {
		dir, auditPath, how := args[0], args[1], args[2]
		a := openAudit(nil, auditPath)
		r, err := roleReceiver(dir)
		if err != nil {
			return err
		}
		fmt.Println("open")
		var order [auditSenders]uint64
		buf := make([]message, 8)
		for err == nil {
			var m message
			var n int
			switch how {
			case "func":
				err = r.RecvFunc(forever, func(m *message) error { a.note(m, &order); return nil })
			case "batch":
				n, err = r.RecvBatch(forever, buf)
				for i := range buf[:n] {
					a.note(&buf[i], &order)
				}
			case "try":
				if m, err = r.TryRecv(); err == nil {
					a.note(&m, &order)
				} else if errors.Is(err, ErrEmpty) {
					runtime.Gosched()
					err = nil
				}
			default:
				if m, err = r.Recv(); err == nil {
					a.note(&m, &order)
				}
			}
		}
		if !errors.Is(err, ErrClosed) {
			return err
		}
		fmt.Println("drained")
		return r.Detach()
	}
}

// form is a form of channel under the hammer.
type form struct {
	capacity           int
	opts               []Option
	senders, receivers int
	send, recv         string
}

func (f form) String() string {
	return fmt.Sprintf("cap%d-%d%s-%d%s-opts%d", f.capacity, f.senders, f.send, f.receivers, f.recv, len(f.opts))
}

// single says whether a role of it is the children's alone.
func (f form) single() bool {
	o := newOptions(f.opts)
	return o.oneSender || o.oneRecver
}

var forms = []form{
	{1024, nil, 2, 2, "send", "func"},
	{1, nil, 2, 2, "func", "func"},
	{3, nil, 2, 2, "batch", "batch"},
	{5, nil, 2, 2, "try", "try"},
	{0, nil, 2, 2, "send", "func"},
	{0, nil, 2, 2, "send", "recv"},
	{7, []Option{WithSingleSender(), WithSingleReceiver()}, 1, 1, "send", "recv"},
	{2, []Option{WithSingleSender()}, 1, 2, "func", "func"},
	{4, []Option{WithSingleReceiver()}, 2, 1, "send", "func"},
}

// TestKills keeps processes sending and receiving, kills one after another at
// moments that their own progress and chance decide, replaces them, and audits.
func TestKills(t *testing.T) {
	for _, f := range forms {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, *kills, false) })
	}
}

// TestStops does the same with SIGSTOP and SIGCONT between the kills.
func TestStops(t *testing.T) {
	for _, f := range []form{forms[0], forms[2], forms[4], forms[6]} {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, *kills/2, true) })
	}
}

func hammer(t *testing.T, f form, kills int, stops bool) {
	rnd := testRand(t)
	dir := memDir(t)
	auditPath := filepath.Join(t.TempDir(), "audit")
	a := openAudit(t, auditPath)
	closer, _, detach, err := openBoth(append([]Option{WithDir(dir), WithCapacity(f.capacity), withStart(1<<posBits - 1000)}, f.opts...)...)
	require.NoError(t, err)
	if f.single() { // The single roles are the children's.
		require.NoError(t, detach())
	}
	numbers := uint64(0)
	newSender := func() *child {
		c := start(t, "sender", dir, auditPath, numbers, f.send)
		numbers++
		require.Less(t, numbers, uint64(auditSenders))
		return c
	}
	newReceiver := func() *child { return start(t, "receiver", dir, auditPath, f.recv) }
	var senders, receivers []*child
	for range f.senders {
		senders = append(senders, newSender())
	}
	for range f.receivers {
		receivers = append(receivers, newReceiver())
	}
	for _, c := range append(append([]*child{}, senders...), receivers...) {
		require.Equal(t, "open", c.line())
	}
	receiverKills := 0
	allSent := func() bool {
		for _, c := range senders {
			if a.acked(numberOf(c)).Load() < auditSeqs {
				return false
			}
		}
		return true
	}
	for k := range kills {
		goal := a.progress().Load() + rnd.Uint64N(400)
		until(t, fmt.Sprintf("value %d, after %d kills", goal, k), func() bool { return a.progress().Load() >= goal || allSent() })
		if stops { // Stop one for a while: others pass by, or wait for it once the ring has come round.
			all := append(append([]*child{}, senders...), receivers...)
			c := all[rnd.IntN(len(all))]
			if i := slices.Index(senders, c); i < 0 || a.acked(numberOf(c)).Load() < auditSeqs {
				c.stop()
				goal := a.progress().Load() + rnd.Uint64N(100)
				for began := time.Now(); a.progress().Load() < goal && time.Since(began) < 20*time.Millisecond; {
					runtime.Gosched()
				}
				c.signal(syscall.SIGCONT)
			}
		}
		i := rnd.IntN(f.senders + f.receivers)
		if i < f.senders {
			senders[i].kill()
			senders[i] = newSender()
			require.Equal(t, "open", senders[i].line())
		} else {
			i -= f.senders
			receivers[i].kill()
			receiverKills++
			receivers[i] = newReceiver()
			require.Equal(t, "open", receivers[i].line())
		}
		// A sender that has used up its numbers is replaced too.
		for i, c := range senders {
			if a.acked(numberOf(c)).Load() >= auditSeqs {
				require.Equal(t, "sent", c.line())
				c.wait()
				senders[i] = newSender()
				require.Equal(t, "open", senders[i].line())
			}
		}
	}
	if f.single() {
		for _, c := range senders {
			c.kill()
		}
		closer, err = openSends(asItIs(dir)...)
		require.NoError(t, err)
		detach = closer.Detach
	}
	require.NoError(t, closer.Close())
	if !f.single() {
		for _, c := range senders {
			require.Equal(t, "sent", c.line())
			c.wait()
		}
	}
	for _, c := range receivers {
		require.Equal(t, "drained", c.line())
		c.wait()
	}
	st := closer.Stats()
	require.NoError(t, detach())
	sweep(dir) // What a single sender has left that was through and was killed in its Detach; the next Open of another process would.
	dirEmpty(t, dir)

	a.check(t, f, numbers, kills, receiverKills, st)
}

// check looks at what the senders with these numbers sent, and the receivers received.
func (a *audit) check(t testing.TB, f form, numbers uint64, kills, receiverKills int, st Stats) {
	lost, doubled, invented := 0, 0, 0
	for from := range numbers {
		acked := a.acked(from).Load()
		for seq := range uint64(auditSeqs) {
			n := a.count(from, seq).Load()
			switch {
			case n == 0 && seq < acked:
				lost++
			case n > 1:
				doubled += int(n - 1)
			}
			if extra := uint64(8); n > 0 && seq >= acked+extra { // At most a batch was under way.
				invented++
			}
		}
	}
	batch := 1
	if f.recv == "batch" {
		batch = 8
	}
	t.Logf("%d values, %d kills (%d of receivers), lost %d, doubled %d, late %d; %+v", a.progress().Load(), kills, receiverKills, lost, doubled, a.late().Load(), st)
	assert.Zero(t, a.torn().Load(), "torn")
	assert.Zero(t, invented, "invented")
	if f.recv == "func" { // A value that was noted but not freed comes once more; none is lost.
		assert.Zero(t, lost, "lost")
		assert.LessOrEqual(t, doubled, receiverKills, "doubled")
	} else { // A receiver killed after it has freed the slot takes its value along.
		assert.LessOrEqual(t, lost, batch*receiverKills, "lost")
		assert.Zero(t, doubled, "doubled")
	}
	assert.LessOrEqual(t, int(a.late().Load()), receiverKills, "late")
}

// numberOf is the number that a sender was started with.
func numberOf(c *child) uint64 {
	n, err := strconv.ParseUint(c.args[2], 10, 64)
	require.NoError(c.t, err)
	return n
}

// Many to many over processes, nobody dies: sums and orders.
func TestManyToMany(t *testing.T) {
	for _, f := range []form{
		{64, nil, 2, 3, "send", "recv"},
		{0, nil, 2, 2, "send", "recv"},
		{3, nil, 3, 2, "batch", "batch"},
		{16, []Option{WithSingleReceiver()}, 3, 1, "func", "func"},
	} {
		t.Run(f.String(), func(t *testing.T) {
			dir, auditPath := memDir(t), filepath.Join(t.TempDir(), "audit")
			a := openAudit(t, auditPath)
			s, err := OpenSender[message]("test", append([]Option{WithDir(dir), WithCapacity(f.capacity), withStart(1<<posBits - 100)}, f.opts...)...)
			require.NoError(t, err)
			var senders, receivers []*child
			for i := range f.senders {
				senders = append(senders, start(t, "sender", dir, auditPath, i, f.send))
			}
			for range f.receivers {
				receivers = append(receivers, start(t, "receiver", dir, auditPath, f.recv))
			}
			for _, c := range senders {
				require.Equal(t, "open", c.line())
				require.Equal(t, "sent", c.line())
				c.wait()
			}
			require.NoError(t, s.Close())
			for _, c := range receivers {
				require.Equal(t, "open", c.line())
				require.Equal(t, "drained", c.line())
				c.wait()
			}
			assert.Zero(t, a.torn().Load())
			assert.Zero(t, a.late().Load())
			for from := range uint64(f.senders) {
				require.Equal(t, uint64(auditSeqs), a.acked(from).Load())
				for seq := range uint64(auditSeqs) {
					require.Equal(t, uint32(1), a.count(from, seq).Load(), "sender %d value %d", from, seq)
				}
			}
			st := s.Stats()
			assert.Equal(t, uint64(f.senders*auditSeqs), st.Sent)
			assert.Equal(t, uint64(f.senders*auditSeqs), st.Received)
			require.NoError(t, s.Detach())
			dirEmpty(t, dir)
		})
	}
}

func init() {
	// A process that stays in the middle of a call until it is told to go on.
	roles["holder"] = func(args []string) error {
		ch, err := Open[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		hold := func(*message) error {
			fmt.Println("in")
			_, err := fmt.Scanln(new(string))
			return err
		}
		switch args[1] {
		case "send":
			err = ch.SendFunc(forever, func(m *message) error { *m = newMessage(1, 77); return hold(m) })
		case "recv":
			err = ch.RecvFunc(forever, hold)
		case "idle":
			err = hold(nil)
		case "parked":
			fmt.Println("in")
			_, err = ch.Recv()
		}
		if err != nil {
			return err
		}
		fmt.Println("out")
		return ch.Detach()
	}
}

// toldInTime is for a test that is about to kill somebody whom a parked call of h waits for. From here on the backstop sleeps, unless h is not
// told of all deaths, and then it comes every 90 ms: so who goes on does so within 100 ms of the death, as far as it is
// for us to say. How soon this busy machine then runs him is not, and no clock is looked at.
func toldInTime(t testing.TB, h *handle) {
	t.Helper()
	require.Less(t, backstopBlind, 100*time.Millisecond)
	backstopPeriod.Store(int64(time.Hour))
	t.Cleanup(wakeBackstop)
	until(t, "the backstop sleeps, or comes often", func() bool {
		watched.Lock()
		defer watched.Unlock()
		return watched.tick == nil || watched.period == time.Hour || h.blind.Load() && watched.period <= backstopBlind
	})
}

// A process killed in the middle of a call delays the others by less than 100 ms,
// and what it had in hand is another's; also when the others only poll.
func TestDeathInTheMiddle(t *testing.T) {
	for _, poll := range []bool{false, true} {
		for _, what := range []string{"send", "recv"} {
			t.Run(fmt.Sprintf("%s poll=%v", what, poll), func(t *testing.T) {
				ch := openTest[message](t, WithCapacity(2))
				if what == "recv" {
					require.NoError(t, ch.Send(newMessage(0, 0)))
				}
				c := start(t, "holder", ch.Sender.h.opts.dir, what)
				require.Equal(t, "in", c.line())
				if what == "send" { // Behind the half-made value: one more fits.
					require.NoError(t, ch.TrySend(newMessage(0, 1)))
					m, err := ch.TryRecv()
					require.NoError(t, err)
					require.Equal(t, newMessage(0, 1), m)
					require.ErrorIs(t, ch.TrySend(newMessage(0, 2)), ErrFull)
				}
				result := make(chan error, 1)
				call := func() error {
					if what == "send" {
						return ch.Send(newMessage(0, 2))
					}
					m, err := ch.Recv()
					if err == nil && m != newMessage(0, 0) {
						err = errors.New("another value")
					}
					return err
				}
				if poll {
					call = func() (err error) {
						for {
							if what == "send" {
								err = ch.TrySend(newMessage(0, 2))
							} else {
								_, err = ch.TryRecv()
							}
							if !errors.Is(err, ErrFull) && !errors.Is(err, ErrEmpty) {
								return err
							}
							runtime.Gosched()
						}
					}
				}
				parked := ch.Stats().Parked
				go func() { result <- call() }()
				if !poll {
					until(t, "parked", func() bool { return ch.Stats().Parked > parked })
				}
				toldInTime(t, ch.Sender.h)
				require.Empty(t, result)
				c.kill()
				died := time.Now()
				require.NoError(t, <-result)
				t.Logf("went on after %v", time.Since(died))
				until(t, "it is cleared away", func() bool { return ch.Stats().Recovered == 1 }) // by whoever was told first
				st := ch.Stats()
				if what == "recv" {
					assert.Equal(t, uint64(1), st.Redelivered)
					assert.Zero(t, st.Len)
				} else {
					assert.Equal(t, uint64(1), st.Abandoned)
					assert.Equal(t, 1, st.Len)
				}
			})
		}
	}
}

// A stopped process is not a dead one: nothing is taken from it, and it holds up
// its own slot only.
func TestStoppedIsNotDead(t *testing.T) {
	for _, what := range []string{"send", "recv"} {
		t.Run(what, func(t *testing.T) {
			const capacity = 8
			ch := openTest[message](t, WithCapacity(capacity))
			if what == "recv" {
				require.NoError(t, ch.Send(newMessage(0, 0)))
			}
			c := start(t, "holder", ch.Sender.h.opts.dir, what)
			require.Equal(t, "in", c.line())
			c.stop()
			for i := range uint64(capacity - 1) { // To the end of the lap, value by value.
				require.NoError(t, ch.Send(newMessage(0, 10+i)))
				m, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, newMessage(0, 10+i), m)
			}
			// Now the ring has come round. Look often, and for longer than any backstop.
			for began, looks := time.Now(), 0; looks < 1000 || time.Since(began) < 2*backstopEvery; looks++ {
				require.ErrorIs(t, ch.TrySend(newMessage(0, 99)), ErrFull)
				_, err := ch.TryRecv()
				require.ErrorIs(t, err, ErrEmpty)
			}
			st := ch.Stats()
			assert.Zero(t, st.Recovered+st.Redelivered+st.Abandoned, "nothing was taken from it")
			sent := make(chan error, 1)
			parked := st.Parked
			go func() { sent <- ch.Send(newMessage(0, 20)) }()
			until(t, "parked", func() bool { return ch.Stats().Parked > parked })
			c.signal(syscall.SIGCONT)
			c.say("go")
			require.Equal(t, "out", c.line())
			c.wait()
			if what == "send" {
				m, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, newMessage(1, 77), m)
			}
			require.NoError(t, <-sent)
			m, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, newMessage(0, 20), m)
		})
	}
}

// The one who is woken dies, or is stopped, before it takes the value: another does.
func TestWokenOneDies(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		ch := openTest[message](t, WithCapacity(4))
		c := start(t, "holder", ch.Sender.h.opts.dir, "parked")
		require.Equal(t, "in", c.line())
		until(t, "it waits", func() bool { return ch.Sender.h.anyWaiting(receiving) })
		c.stop()
		require.NoError(t, ch.Send(newMessage(0, 5)), "its flag is down now, and its bell rung")
		require.False(t, ch.Sender.h.anyWaiting(receiving))
		result := make(chan error, 1)
		other := again(t, ch, WithWait(Park))
		if sig == syscall.SIGKILL {
			c.kill()
		}
		go func() { _, err := other.Recv(); result <- err }()
		require.NoError(t, <-result)
		c.kill()
	}
	// And a second one parked already, which nobody rings for.
	ch := openTest[message](t, WithCapacity(4))
	c := start(t, "holder", ch.Sender.h.opts.dir, "parked")
	require.Equal(t, "in", c.line())
	until(t, "it waits", func() bool { return ch.Sender.h.anyWaiting(receiving) })
	c.stop()
	other := again(t, ch, WithWait(Park))
	result := make(chan error, 1)
	go func() { _, err := other.Recv(); result <- err }()
	until(t, "it waits too", func() bool { return other.Stats().Parked > 0 })
	pos, err := ch.Sender.h.sendBegin(forever)
	require.NoError(t, err)
	m := newMessage(0, 6)
	ch.Sender.put(ch.Sender.h.value(pos), &m)
	require.NoError(t, ch.Sender.h.sendQuietly(pos), "and the waker dies before it rings")
	require.NoError(t, <-result, "by the backstop")
}

// A role dies with its holder.
func TestSingleRoleDiesWithItsHolder(t *testing.T) {
	dir := memDir(t)
	ch, err := Open[message]("test", WithDir(dir), WithSingleSender(), WithSingleReceiver())
	require.NoError(t, err)
	require.NoError(t, ch.Send(newMessage(0, 1)))
	require.NoError(t, ch.Detach())
	c := start(t, "holder", dir, "idle")
	require.Equal(t, "in", c.line())
	_, err = Open[message]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", c.cmd.Process.Pid))
	c.kill()
	ch, err = Open[message]("test", WithDir(dir))
	require.NoError(t, err)
	m, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, newMessage(0, 1), m)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
	dirEmpty(t, dir)
}

// ErrDisconnected within 100 ms of the death of the last one at the other end.
func TestDisconnectByDeath(t *testing.T) {
	dir := memDir(t)
	r, err := OpenReceiver[message]("test", WithDir(dir), WithDisconnect())
	require.NoError(t, err)
	a, b := start(t, "holder", dir, "idle"), start(t, "holder", dir, "idle")
	require.Equal(t, "in", a.line())
	require.Equal(t, "in", b.line())
	result := make(chan error, 1)
	go func() { _, err := r.Recv(); result <- err }()
	until(t, "parked", func() bool { return r.Stats().Parked > 0 })
	a.kill()
	b.stop()
	until(t, "the dead one is cleared away", func() bool { return r.Stats().Recovered == 1 })
	for began := time.Now(); time.Since(began) < 2*backstopEvery; {
		require.Empty(t, result, "one is alive, if stopped")
	}
	toldInTime(t, r.h)
	b.kill()
	died := time.Now()
	require.ErrorIs(t, <-result, ErrDisconnected)
	t.Logf("told after %v", time.Since(died))
	require.NoError(t, r.Detach())
}

// A sender that dies with the last position in hand leaves space there, also while
// the first ones are full, for one who polls and for one who parks and is told of no death.
func TestFullBehindADeadSender(t *testing.T) {
	for _, blind := range []bool{false, true} {
		ch := openTest[message](t, WithCapacity(2))
		require.NoError(t, ch.Send(newMessage(0, 1)))
		c := start(t, "holder", ch.Sender.h.opts.dir, "send")
		require.Equal(t, "in", c.line())
		require.ErrorIs(t, ch.TrySend(newMessage(0, 2)), ErrFull)
		if !blind {
			c.kill()
			until(t, "there is space", func() bool { return ch.TrySend(newMessage(0, 2)) == nil })
		} else {
			for i := range maxPeers { // as if of another pid namespace
				if e := ch.Sender.h.entry(i); i != ch.Sender.h.idx && isUsed(e.state.Load()) {
					e.space.Store(1)
				}
			}
			done := make(chan error, 1)
			parked := ch.Stats().Parked
			go func() { done <- ch.Send(newMessage(0, 2)) }()
			until(t, "parked", func() bool { return ch.Stats().Parked > parked })
			c.kill()
			require.NoError(t, <-done)
		}
		require.Equal(t, 2, ch.Len())
	}
}

// No ErrDisconnected while a value is in the channel, even if it is given back all the time.
func TestNotDisconnectedFromAValue(t *testing.T) {
	ch := openTest[int64](t, WithDisconnect())
	other, err := OpenReceiver[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.NoError(t, err)
	require.NoError(t, ch.Send(7))
	require.NoError(t, ch.Sender.Detach())
	no := errors.New("no")
	var ended atomic.Bool
	done := make(chan bool)
	go func() {
		defer close(done)
		for !ended.Load() {
			_ = other.RecvFunc(forever, func(*int64) error { return no })
		}
	}()
	for range 30000 {
		if err := ch.RecvFunc(forever, func(*int64) error { return no }); !assert.Equal(t, no, err) {
			break
		}
	}
	ended.Store(true)
	<-done
	require.NoError(t, other.Detach())
}

// The counts do not go below zero when somebody dies between a step and its count.
func TestStatsAfterADeathBetweenCounts(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2))
	require.Error(t, ch.SendFunc(t.Context(), func(*int64) error { return errors.New("no") }))
	h := ch.Sender.h
	p := (h.tailHint() - 1) & posMask
	const dead = 7<<idxBits | 9
	require.True(t, h.slot(p).CompareAndSwap(word(p, 0, stHole), word(p, dead, stWriting)))
	h.recoverTag(dead)
	require.Zero(t, ch.Stats().Sent)
	require.NoError(t, ch.Send(1))
	require.Equal(t, uint64(1), ch.Stats().Sent)
}
