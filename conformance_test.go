package shmchan

// Conformance: what Go's test/chan and runtime/chan_test.go, and crossbeam's tests of
// its bounded channels, hold a channel to, tested anew on this one. A case is a
// behaviour and the parts that show it; they run as goroutines on one handle, as in
// Go, then each as a process of its own. DESIGN.md has the table of what is the same
// elsewhere and what is not.
//
// The parts of a case share a board of numbers: to wait for one another and to count.
// Nothing here depends on time: a part waits until another is certain to be blocked.
//
// More of Select is in select_test.go.

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// item is a value that says who sent it.
type item struct{ From, Seq int64 }

// board is memory that the parts of a case share.
type board struct {
	marks  *[64]atomic.Int64            // by name, below
	counts *[8 * boardSeqs]atomic.Int64 // of each sender's values
}

const boardSeqs = 1 << 10

// The marks of the board.
const (
	markOpen = iota
	markGone
	markReady
	markDone
	markSent
	markGot
	markBegun
	markOf // and on, one for each sender or receiver
)

func openBoard(t testing.TB, path string) (*board, error) {
	size := int(unsafe.Sizeof([64]atomic.Int64{}) + unsafe.Sizeof([8 * boardSeqs]atomic.Int64{}))
	mem, err := sharedMemory(t, path, size)
	if err != nil {
		return nil, err
	}
	return &board{(*[64]atomic.Int64)(unsafe.Pointer(&mem[0])), (*[8 * boardSeqs]atomic.Int64)(unsafe.Pointer(&mem[8*64]))}, nil
}

func (b *board) clear() {
	for i := range b.marks {
		b.marks[i].Store(0)
	}
	for i := range b.counts {
		b.counts[i].Store(0)
	}
}

// player plays a part of a case.
type player struct {
	*board
	ch       *Chan[item]
	dir      string
	capacity int
	opened   []*Chan[item] // beside ch
	n        int64         // its number among those who play the same
	of       int64         // how many those are
}

// failure is what a part that fails panics with.
type failure string

func (p *player) must(ok bool, format string, a ...any) {
	if !ok {
		_, file, line, _ := runtime.Caller(1)
		panic(failure(fmt.Sprintf("%s:%d: ", filepath.Base(file), line) + fmt.Sprintf(format, a...)))
	}
}

// is requires that an error is the one, nil for none.
func (p *player) is(want, got error) {
	if !errors.Is(got, want) || want == nil && got != nil {
		_, file, line, _ := runtime.Caller(1)
		panic(failure(fmt.Sprintf("%s:%d: %v, not %v", filepath.Base(file), line, got, want)))
	}
}

func (p *player) mark(m int)           { p.marks[m].Add(1) }
func (p *player) marked(m int) int64   { return p.marks[m].Load() }
func (p *player) await(m int, n int64) { p.until(func() bool { return p.marked(m) >= n }) }
func (p *player) until(ok func() bool) {
	for !ok() {
		runtime.Gosched()
	}
}

// blocked is how many goroutines on this handle, and how many other handles, wait.
func (p *player) blocked(d direction) (n int) {
	h := p.handle()
	s := h.side(d)
	h.mu.Lock()
	for _, l := range []*waitList{&s.queue, &s.posters} {
		for w := l.first; w != nil; w = w.next {
			n++
		}
	}
	h.mu.Unlock()
	for i := range h.ctl.waiting(d) {
		v := h.ctl.waiting(d)[i].Load()
		if h.idx/64 == i {
			v &^= 1 << (h.idx % 64)
		}
		n += bits.OnesCount64(v)
	}
	return n
}

func (p *player) awaitBlocked(d direction, n int) { p.until(func() bool { return p.blocked(d) >= n }) }

func (p *player) handle() *handle {
	if p.ch.Sender != nil {
		return p.ch.Sender.h
	}
	return p.ch.Receiver.h
}

// open opens a channel of the case for itself, in one direction or both.
func (p *player) open(name string, how string, opts ...Option) *Chan[item] {
	ch, err := openItems(name, how, append([]Option{WithDir(p.dir)}, opts...)...)
	p.is(nil, err)
	p.opened = append(p.opened, ch)
	return ch
}

func openItems(name string, how string, opts ...Option) (ch *Chan[item], err error) {
	ch = &Chan[item]{}
	switch how {
	case sendsOnly:
		ch.Sender, err = OpenSender[item](name, opts...)
	case receivesOnly:
		ch.Receiver, err = OpenReceiver[item](name, opts...)
	default:
		ch, err = Open[item](name, opts...)
	}
	return ch, err
}

// How a part opens a channel.
const (
	both         = ""
	sendsOnly    = "sends"
	receivesOnly = "receives"
)

func detachItems(ch *Chan[item]) {
	if ch.Sender != nil {
		_ = ch.Sender.Detach()
	}
	if ch.Receiver != nil {
		_ = ch.Receiver.Detach()
	}
}

func (p *player) item(seq int64) item { return item{p.n, seq} }

func (p *player) send(seq int64) { p.is(nil, p.ch.Send(p.item(seq))) }

// expect receives the value of the first sender.
func (p *player) expect(seq int64) {
	v, err := p.ch.Recv()
	p.is(nil, err)
	p.must(v == item{0, seq}, "received %v, not %d", v, seq)
}

// sendAll sends n values and then says so; the last of all to be through closes.
func (p *player) sendAll(n int64, send func(v item)) {
	for seq := range n {
		send(p.item(seq))
	}
	if p.marks[markSent].Add(1) == p.of {
		p.is(nil, p.ch.Close())
	}
}

// count notes a value, and that it keeps its sender's order. After is what this receiver has seen.
func (p *player) count(v item, after map[int64]int64) {
	p.must(v.Seq >= after[v.From], "value %d of %d after %d", v.Seq, v.From, after[v.From]-1)
	after[v.From] = v.Seq + 1
	p.counts[v.From*boardSeqs+v.Seq].Add(1)
	p.mark(markGot)
}

// once requires that each of n values of each sender was received once, when all receivers are through.
func (p *player) once(senders, n int64) {
	if p.marks[markDone].Add(1) < p.of {
		return
	}
	for from := range senders {
		for seq := range n {
			got := p.counts[from*boardSeqs+seq].Load()
			p.must(got == 1, "value %d of sender %d was received %d times", seq, from, got)
		}
	}
}

// part is who plays what, and how many.
type part struct {
	how   string
	count int
	play  func(p *player)
}

// conformance is a case.
type conformance struct {
	name       string
	capacities []int
	opts       []Option
	parts      []part
}

// within is a short while, for calls that are to be cancelled; after so many that were, longer now and then, so that
// where everything is slow some of them get as far as to wait.
func within(cancelled int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 200*time.Microsecond<<(cancelled%10))
}

// traffic is sender and receiver of 300 values each from count senders, by every method.
func traffic(senders, receivers int) []part {
	const each = 300
	return []part{
		{sendsOnly, senders, func(p *player) {
			p.sendAll(each, func(v item) {
				switch (v.From + v.Seq) % 4 {
				case 0:
					p.is(nil, p.ch.Send(v))
				case 1:
					p.is(nil, p.ch.SendFunc(forever, func(to *item) error { *to = v; return nil }))
				case 2:
					n, err := p.ch.SendBatch(forever, []item{v})
					p.must(n == 1, "sent %d", n)
					p.is(nil, err)
				default:
					for err := p.ch.TrySend(v); err != nil; err = p.ch.TrySend(v) {
						p.is(ErrFull, err)
						runtime.Gosched()
					}
				}
			})
		}},
		{receivesOnly, receivers, func(p *player) {
			after, sum := map[int64]int64{}, int64(0)
			for v := range p.ch.All() {
				p.count(v, after)
				sum += v.Seq
			}
			p.is(nil, p.ch.Err())
			p.marks[markOf].Add(sum)
			p.once(int64(senders), each)
			if p.marked(markDone) == p.of {
				p.must(p.marked(markOf) == int64(senders)*each*(each-1)/2, "the sum is %d", p.marked(markOf))
			}
		}},
	}
}

func init() {
	// A process that plays one part after another.
	roles["player"] = func(args []string) error {
		backstopAfter(time.Hour, time.Hour)
		b, err := openBoard(nil, args[0])
		if err != nil {
			return err
		}
		for line, next := range lines() {
			var c, part int
			p := player{board: b}
			if _, err := fmt.Sscan(line, &c, &part, &p.n, &p.capacity, &p.dir); err != nil {
				return err
			}
			if err := p.perform(&conformances[c].parts[part], next); err != nil {
				return err
			}
		}
		return nil
	}
}

// perform plays the part in a process of its own.
func (p *player) perform(part *part, next func()) (err error) {
	if p.ch, err = openItems("main", part.how, WithDir(p.dir), WithAttach()); err != nil {
		return err
	}
	fmt.Println("open")
	p.await(markOpen, 1)
	if err := p.play(part); err != nil {
		return err
	}
	fmt.Println("done")
	next() // The others may still need what is open here.
	p.leave()
	detachItems(p.ch)
	fmt.Println("left")
	return nil
}

// play plays the part and says what failed.
func (p *player) play(part *part) (err error) {
	defer func() {
		if f, ok := recover().(failure); ok {
			err = errors.New(string(f))
		}
	}()
	p.of = int64(part.count)
	part.play(p)
	return nil
}

func (p *player) leave() {
	for _, ch := range p.opened {
		detachItems(ch)
	}
}

const conformancePlayers = 7 // at most, in a case

// TestConformance runs each case in one process and over several.
func TestConformance(t *testing.T) {
	noBackstop(t) // Here and in the players: every wake comes by itself.
	path, root := filepath.Join(t.TempDir(), "board"), memDir(t)
	b := must[*board](t)(openBoard(t, path))
	var children []*child
	for range conformancePlayers {
		children = append(children, start(t, "player", path))
	}
	runs := 0
	for i := range conformances {
		c := &conformances[i]
		t.Run(c.name, func(t *testing.T) {
			for _, capacity := range c.capacities {
				for _, how := range []string{"goroutines", "processes"} {
					t.Run(fmt.Sprintf("%d in %s", capacity, how), func(t *testing.T) {
						runs++
						dir := filepath.Join(root, fmt.Sprint(runs))
						require.NoError(t, os.Mkdir(dir, 0o700))
						b.clear()
						ch := must[*Chan[item]](t)(Open[item]("main", append([]Option{WithDir(dir), WithCapacity(capacity), withStart(1<<posBits - 50)}, c.opts...)...))
						if how == "processes" {
							c.overProcesses(t, i, capacity, dir, b, ch, children)
						} else {
							c.inOneProcess(t, capacity, dir, b, ch)
						}
						require.NoError(t, os.RemoveAll(dir))
					})
				}
			}
		})
	}
	for _, c := range children {
		c.wait()
	}
}

func (c *conformance) inOneProcess(t *testing.T, capacity int, dir string, b *board, ch *Chan[item]) {
	var players []*player
	done := make(chan error)
	for i := range c.parts {
		for n := range c.parts[i].count {
			p := &player{board: b, ch: ch, dir: dir, capacity: capacity, n: int64(n)}
			players = append(players, p)
			go func() { done <- p.play(&c.parts[i]) }()
		}
	}
	for range players {
		require.NoError(t, <-done)
	}
	for _, p := range players {
		p.leave()
	}
	require.NoError(t, ch.Detach())
}

func (c *conformance) overProcesses(t *testing.T, number, capacity int, dir string, b *board, ch *Chan[item], children []*child) {
	single := len(c.opts) > 0 // Then the roles are the children's.
	if single {
		require.NoError(t, ch.Detach())
	}
	var playing []*child
	for i, part := range c.parts {
		for n := range part.count {
			child := children[len(playing)]
			playing = append(playing, child)
			child.say("%d %d %d %d %s", number, i, n, capacity, dir)
		}
	}
	answer := func(want string) {
		t.Helper()
		answers := make(chan string)
		for _, child := range playing { // From all at once: if one has failed the others may wait for it for ever.
			go func() {
				if child.out.Scan() {
					answers <- child.out.Text()
				} else {
					answers <- "it ended: " + strings.TrimSpace(child.errs.String())
				}
			}()
		}
		for range playing {
			require.Equal(t, want, <-answers)
		}
	}
	answer("open")
	if !single {
		require.NoError(t, ch.Detach())
	}
	b.marks[markOpen].Store(1)
	answer("done")
	for _, child := range playing {
		child.say("leave")
	}
	answer("left")
}

var conformances = []conformance{
	{"first in, first out", []int{0, 1, 10}, nil, []part{
		{sendsOnly, 1, func(p *player) {
			for seq := range int64(1000) {
				p.send(seq)
			}
		}},
		{receivesOnly, 1, func(p *player) {
			for seq := range int64(1000) {
				p.expect(seq)
			}
		}},
	}},
	{"one to one", []int{0, 1, 3, 64}, []Option{WithSingleSender(), WithSingleReceiver()}, traffic(1, 1)},
	{"many to one", []int{0, 1, 3, 64}, []Option{WithSingleReceiver()}, traffic(3, 1)},
	{"one to many", []int{0, 1, 3, 64}, []Option{WithSingleSender()}, traffic(1, 3)},
	{"many to many", []int{0, 1, 3, 64}, nil, traffic(3, 3)},
	{"capacity and length", []int{0, 1, 2, 7}, nil, []part{
		{both, 1, func(p *player) {
			p.must(p.ch.Cap() == p.capacity && p.ch.Len() == 0, "cap %d, len %d", p.ch.Cap(), p.ch.Len())
			for n := range p.capacity {
				p.send(int64(n))
				p.must(p.ch.Len() == n+1, "len %d after %d", p.ch.Len(), n+1)
			}
			p.is(ErrFull, p.ch.TrySend(item{}))
			p.mark(markReady)
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			p.must(p.ch.Cap() == p.capacity && p.ch.Len() == p.capacity, "cap %d, len %d", p.ch.Cap(), p.ch.Len())
			for n := range p.capacity {
				p.expect(int64(n))
				p.must(p.ch.Len() == p.capacity-n-1, "len %d after %d", p.ch.Len(), n+1)
			}
		}},
	}},
	{"the length is never above the capacity", []int{1, 3}, nil, []part{
		{both, 2, func(p *player) {
			for seq := range int64(500) {
				p.send(seq)
				p.must(p.ch.Len() <= p.capacity, "len %d", p.ch.Len())
			}
		}},
		{both, 2, func(p *player) {
			for range 500 {
				_, err := p.ch.Recv()
				p.is(nil, err)
				p.must(p.ch.Len() <= p.capacity, "len %d", p.ch.Len())
			}
		}},
	}},
	{"a send without a buffer waits for its receive", []int{0}, nil, []part{
		{both, 1, func(p *player) {
			p.send(0)
			p.must(p.marked(markReady) == 1, "it returned before anybody came to receive")
			p.mark(markSent)
		}},
		{both, 1, func(p *player) {
			p.awaitBlocked(sending, 1)
			p.must(p.marked(markSent) == 0, "sent")
			p.mark(markReady)
			p.expect(0)
			p.await(markSent, 1)
		}},
	}},
	{"a send waits for space", []int{1, 2, 7}, nil, []part{
		{both, 1, func(p *player) {
			for seq := range int64(p.capacity + 1) {
				p.send(seq)
				p.mark(markSent)
			}
		}},
		{both, 1, func(p *player) {
			p.awaitBlocked(sending, 1)
			p.must(p.marked(markSent) == int64(p.capacity), "%d sent", p.marked(markSent))
			p.is(ErrFull, p.ch.TrySend(item{}))
			p.expect(0)
			p.await(markSent, int64(p.capacity+1))
		}},
	}},
	{"a receive waits for a value", []int{0, 1, 7}, nil, []part{
		{both, 2, func(p *player) {
			_, err := p.ch.Recv()
			p.is(nil, err)
			p.mark(markGot)
		}},
		{both, 1, func(p *player) {
			p.awaitBlocked(receiving, 2)
			p.must(p.marked(markGot) == 0, "received from nobody")
			_, err := p.ch.TryRecv()
			p.is(ErrEmpty, err)
			p.send(0)
			p.await(markGot, 1)
			p.awaitBlocked(receiving, 1)
			p.must(p.marked(markGot) == 1, "received twice")
			p.send(1)
		}},
	}},
	{"a send into space does not wait", []int{1, 7}, nil, []part{
		{both, 1, func(p *player) {
			for seq := range int64(p.capacity) {
				p.send(seq)
			}
			p.mark(markReady)
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			p.must(p.ch.Len() == p.capacity, "len %d", p.ch.Len())
		}},
	}},
	{"try calls on full, empty and closed", []int{1, 3}, nil, []part{
		{both, 1, func(p *player) {
			for seq := range int64(p.capacity) {
				p.is(nil, p.ch.TrySend(p.item(seq)))
			}
			p.is(ErrFull, p.ch.TrySend(item{}))
			p.mark(markReady)
			p.await(markGot, 1)
			p.is(nil, p.ch.TrySend(p.item(int64(p.capacity))))
			p.is(ErrFull, p.ch.TrySend(item{}))
			p.is(nil, p.ch.Close())
			p.is(ErrClosed, p.ch.TrySend(item{}))
			p.mark(markSent)
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			for seq := range int64(p.capacity + 1) {
				v, err := p.ch.TryRecv()
				p.is(nil, err)
				p.must(v.Seq == seq, "received %v, not %d", v, seq)
				if seq == 0 {
					p.mark(markGot)
					p.await(markSent, 1)
				}
			}
			_, err := p.ch.TryRecv()
			p.is(ErrClosed, err)
		}},
	}},
	{"try calls without a buffer find who waits", []int{0}, nil, []part{
		{both, 1, func(p *player) {
			_, err := p.ch.TryRecv()
			p.is(ErrEmpty, err)
			p.is(ErrFull, p.ch.TrySend(item{}))
			p.mark(markReady)
			for seq := range int64(100) {
				if seq%2 == 0 {
					p.awaitBlocked(receiving, 1)
					p.is(nil, p.ch.TrySend(p.item(seq)))
				} else {
					p.awaitBlocked(sending, 1)
					v, err := p.ch.TryRecv()
					p.is(nil, err)
					p.must(v.Seq == seq, "received %v, not %d", v, seq)
				}
				p.await(markDone, seq+1)
				_, err := p.ch.TryRecv()
				p.is(ErrEmpty, err)
				p.is(ErrFull, p.ch.TrySend(item{}))
				p.mark(markGone)
			}
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			for seq := range int64(100) {
				if seq%2 == 0 {
					p.expect(seq)
				} else {
					p.send(seq)
				}
				p.mark(markDone)
				p.await(markGone, seq+1)
			}
		}},
	}},
	{"who has sent finds something to receive", []int{4}, nil, []part{
		{both, 4, func(p *player) {
			for seq := range int64(500) {
				p.send(seq)
				_, err := p.ch.TryRecv()
				p.is(nil, err)
			}
		}},
	}},
	{"close wakes every receiver", []int{0, 1, 7}, nil, []part{
		{both, 3, func(p *player) {
			v, err := p.ch.Recv()
			p.is(ErrClosed, err)
			p.must(v == item{}, "a value with it: %v", v)
		}},
		{both, 1, func(p *player) {
			p.awaitBlocked(receiving, 3)
			p.is(nil, p.ch.Close())
		}},
	}},
	{"close wakes every sender, and nothing was sent", []int{0, 2}, nil, []part{
		{both, 3, func(p *player) {
			p.await(markReady, 1)
			p.is(ErrClosed, p.ch.Send(item{9, 9}))
			p.mark(markDone)
		}},
		{both, 1, func(p *player) {
			for seq := range int64(p.capacity) {
				p.send(seq)
			}
			p.mark(markReady)
			p.awaitBlocked(sending, 3)
			p.is(nil, p.ch.Close())
			p.await(markDone, 3)
			for seq := range int64(p.capacity) {
				p.expect(seq)
			}
			_, err := p.ch.Recv()
			p.is(ErrClosed, err)
		}},
	}},
	{"closed, then drained, then closed for ever", []int{1, 7}, nil, []part{
		{both, 1, func(p *player) {
			for seq := range int64(p.capacity) {
				p.send(seq)
			}
			p.is(nil, p.ch.Close())
			p.mark(markReady)
		}},
		{both, 3, func(p *player) {
			p.await(markReady, 1)
			after := map[int64]int64{}
			for v, err := p.ch.Recv(); err == nil; v, err = p.ch.Recv() {
				p.count(v, after)
			}
			for range 3 {
				v, err := p.ch.Recv()
				p.is(ErrClosed, err)
				p.must(v == item{}, "a value with it: %v", v)
				_, err = p.ch.TryRecv()
				p.is(ErrClosed, err)
			}
			p.once(1, int64(p.capacity))
		}},
	}},
	{"of many who close, one does", []int{0, 1}, nil, []part{
		{both, 4, func(p *player) {
			p.mark(markReady)
			p.await(markReady, p.of)
			if err := p.ch.Close(); err == nil {
				p.mark(markGot)
			} else {
				p.is(ErrClosed, err)
				p.is(os.ErrClosed, err)
			}
			p.mark(markDone)
			p.await(markDone, p.of)
			p.must(p.marked(markGot) == 1, "%d have", p.marked(markGot))
		}},
	}},
	{"no send on a closed channel, by any method", []int{0, 1}, nil, []part{
		{both, 1, func(p *player) {
			p.is(nil, p.ch.Close())
			p.mark(markReady)
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			p.is(ErrClosed, p.ch.Send(item{}))
			p.is(ErrClosed, p.ch.SendContext(context.Background(), item{}))
			p.is(ErrClosed, p.ch.TrySend(item{}))
			n, err := p.ch.SendBatch(forever, []item{{}, {}})
			p.must(n == 0, "sent %d", n)
			p.is(ErrClosed, err)
			p.is(ErrClosed, p.ch.SendFunc(forever, func(*item) error { panic("called") }))
			_, err = p.ch.Recv()
			p.is(ErrClosed, err)
		}},
	}},
	{"a value that is there at close is not lost to one who polls", []int{1}, nil, []part{
		{both, 1, func(p *player) {
			p.send(0)
			p.mark(markReady)
			p.await(markBegun, 2)
			p.is(nil, p.ch.Close())
		}},
		{both, 2, func(p *player) {
			p.await(markReady, 1)
			p.mark(markBegun)
			after := map[int64]int64{}
			for {
				v, err := p.ch.TryRecv()
				if errors.Is(err, ErrClosed) {
					break
				}
				if err == nil {
					p.count(v, after)
				} else {
					p.is(ErrEmpty, err) // Another has it in hand.
				}
				runtime.Gosched()
			}
			p.once(1, 1)
		}},
	}},
	{"range ends at close, and to leave it loses nothing", []int{0, 3}, nil, []part{
		{both, 1, func(p *player) { p.sendAll(100, func(v item) { p.is(nil, p.ch.Send(v)) }) }},
		{both, 1, func(p *player) {
			next := int64(0)
			for p.ch.Err() == nil && next < 100 {
				for v := range p.ch.All() {
					p.must(v.Seq == next, "received %v, not %d", v, next)
					if next++; next%7 == 0 {
						break
					}
				}
			}
			for v := range p.ch.All() {
				p.must(false, "received %v", v)
			}
			p.is(nil, p.ch.Err())
		}},
	}},
	{"no sender starves", []int{0, 1, 3}, nil, []part{
		{both, 3, func(p *player) {
			for seq := int64(0); ; seq++ {
				if err := p.ch.Send(p.item(seq)); err != nil {
					p.is(ErrClosed, err)
					return
				}
			}
		}},
		{both, 1, func(p *player) {
			got := map[int64]int{}
			for enough := 0; enough < 3; {
				v, err := p.ch.Recv()
				p.is(nil, err)
				if got[v.From]++; got[v.From] == 50 {
					enough++
				}
			}
			p.is(nil, p.ch.Close())
		}},
	}},
	{"no receiver starves", []int{0, 1, 3}, nil, []part{
		{both, 3, func(p *player) {
			for n := 1; ; n++ {
				if _, err := p.ch.Recv(); err != nil {
					p.is(ErrClosed, err)
					return
				}
				if n == 50 {
					p.mark(markDone)
				}
			}
		}},
		{both, 1, func(p *player) {
			for seq := int64(0); p.marked(markDone) < 3; seq++ {
				p.send(seq)
			}
			p.is(nil, p.ch.Close())
		}},
	}},
	{"one who polls two channels", []int{0, 2}, nil, []part{
		{both, 1, func(p *player) {
			other := p.open("other", both, WithCapacity(2))
			got := [2]int64{}
			for closed := 0; closed < 2; {
				closed = 0
				for i, ch := range []*Chan[item]{p.ch, other} {
					v, err := ch.TryRecv()
					switch {
					case err == nil:
						p.must(v == item{int64(i), got[i]}, "received %v, not %d of %d", v, got[i], i)
						got[i]++
					case errors.Is(err, ErrClosed):
						closed++
					default:
						p.is(ErrEmpty, err)
						runtime.Gosched()
					}
				}
			}
			p.must(got == [2]int64{300, 300}, "received %v", got)
		}},
		{both, 2, func(p *player) {
			ch := p.ch
			if p.n == 1 {
				ch = p.open("other", both, WithCapacity(2))
			}
			for seq := range int64(300) {
				p.is(nil, ch.Send(p.item(seq)))
			}
			p.is(nil, ch.Close())
		}},
	}},
	{"one who selects over two channels", []int{0, 2}, nil, []part{
		{both, 1, func(p *player) {
			other := p.open("other", both, WithCapacity(p.capacity))
			got, v := [2]int64{}, item{}
			cases := []Case{RecvCase(p.ch.Receiver, &v), RecvCase(other.Receiver, &v)}
			for closed := 0; closed < 2; {
				i, err := Select(forever, cases...)
				if errors.Is(err, ErrClosed) {
					closed++
					cases[i] = Case{}
					continue
				}
				p.is(nil, err)
				p.must(v == item{int64(i), got[i]}, "received %v, not %d of %d", v, got[i], i)
				got[i]++
			}
			p.must(got == [2]int64{300, 300}, "received %v", got)
		}},
		{both, 2, func(p *player) {
			ch := p.ch
			if p.n == 1 {
				ch = p.open("other", both, WithCapacity(p.capacity))
			}
			for seq := range int64(300) {
				p.is(nil, ch.Send(p.item(seq)))
			}
			p.is(nil, ch.Close())
		}},
	}},
	{"two who select to send and to receive meet in pairs", []int{0}, nil, []part{
		{both, 2, func(p *player) { // Each of one's meets one of the other's, so both do as many.
			in, out := p.ch, p.open("other", both, WithCapacity(0))
			if p.n == 1 {
				in, out = out, in
			}
			var sent, got, v = 0, 0, item{}
			for seq := range int64(1000) {
				switch i, err := Select(forever, SendCase(out.Sender, p.item(seq)), RecvCase(in.Receiver, &v)); {
				case err != nil:
					p.is(nil, err)
				case i == 0:
					sent++
				default:
					p.must(v.From == 1-p.n && v.Seq == seq, "received %v, not %d of %d", v, seq, 1-p.n)
					got++
				}
			}
			p.must(sent+got == 1000, "%d and %d", sent, got)
		}},
	}},
	{"there and back", []int{0, 1}, nil, []part{
		{both, 1, func(p *player) {
			back := p.open("back", both, WithCapacity(p.capacity))
			for seq := range int64(500) {
				p.send(seq)
				v, err := back.Recv()
				p.is(nil, err)
				p.must(v.Seq == seq, "received %v, not %d", v, seq)
			}
			p.is(nil, p.ch.Close())
		}},
		{both, 1, func(p *player) {
			back := p.open("back", both, WithCapacity(p.capacity))
			for v := range p.ch.All() {
				p.is(nil, back.Send(v))
			}
		}},
	}},
	{"a sieve of primes", []int{0, 2}, nil, []part{
		{both, 1, func(p *player) {
			for n := int64(2); ; n++ {
				if err := p.ch.Send(item{0, n}); err != nil {
					p.is(ErrClosed, err)
					return
				}
			}
		}},
		{both, 5, func(p *player) {
			in, out := p.ch, p.open(fmt.Sprint("sieve", p.n), both, WithCapacity(p.capacity))
			if p.n > 0 {
				in = p.open(fmt.Sprint("sieve", p.n-1), both, WithCapacity(p.capacity))
			}
			prime, err := in.Recv()
			p.is(nil, err)
			p.must(prime.Seq == []int64{2, 3, 5, 7, 11}[p.n], "%d", prime.Seq)
			for v := range in.All() {
				if v.Seq%prime.Seq != 0 && out.Send(v) != nil {
					break // The next one needs no more.
				}
			}
			_ = in.Close()
		}},
		{both, 1, func(p *player) {
			in := p.open("sieve4", both, WithCapacity(p.capacity))
			for _, want := range []int64{13, 17, 19, 23, 29} {
				v, err := in.Recv()
				p.is(nil, err)
				p.must(v.Seq == want, "%d, not %d", v.Seq, want)
			}
			p.is(nil, in.Close())
		}},
	}},
	{"work for many, results for one", []int{6}, nil, []part{
		{both, 3, func(p *player) {
			results := p.open("results", both, WithCapacity(p.capacity))
			for v := range p.ch.All() {
				if v.Seq%7 == p.n {
					runtime.Gosched()
				}
				p.is(nil, results.Send(v))
			}
			if p.marks[markGone].Add(1) == p.of {
				p.is(nil, results.Close())
			}
		}},
		{both, 1, func(p *player) { p.sendAll(900, func(v item) { p.is(nil, p.ch.Send(v)) }) }},
		{both, 1, func(p *player) {
			n, sum := 0, int64(0)
			for v := range p.open("results", both, WithCapacity(p.capacity)).All() {
				n++
				sum += v.Seq
			}
			p.must(n == 900 && sum == 900*899/2, "%d results, their sum is %d", n, sum)
		}},
	}},
	{"a cancelled receive takes nothing along", []int{0, 1, 3}, nil, []part{
		{both, 2, func(p *player) {
			after := map[int64]int64{}
			for cancelled := 0; ; {
				ctx, cancel := within(cancelled)
				v, err := p.ch.RecvContext(ctx)
				cancel()
				if errors.Is(err, ErrClosed) {
					break
				}
				if err == nil {
					p.count(v, after)
					cancelled = 0
				} else {
					p.is(context.DeadlineExceeded, err)
					cancelled++
				}
			}
			p.once(1, 200)
		}},
		{both, 1, func(p *player) {
			p.sendAll(200, func(v item) {
				if v.Seq%20 == 0 {
					p.awaitBlocked(receiving, 1) // So that some of them wait, and end while they do.
				}
				p.is(nil, p.ch.Send(v))
			})
		}},
	}},
	{"a cancelled send has not sent", []int{0, 1, 3}, nil, []part{
		{both, 2, func(p *player) {
			p.sendAll(100, func(v item) {
				for cancelled := 0; ; cancelled++ {
					ctx, cancel := within(cancelled)
					err := p.ch.SendContext(ctx, v)
					cancel()
					if err == nil {
						return
					}
					p.is(context.DeadlineExceeded, err)
				}
			})
		}},
		{both, 1, func(p *player) {
			after := map[int64]int64{}
			for v := range p.ch.All() {
				if v.Seq%20 == 0 && p.capacity == 0 {
					runtime.Gosched()
				}
				p.count(v, after)
			}
			p.once(2, 100)
		}},
	}},
	{"values of no size", []int{1}, nil, []part{
		{both, 2, func(p *player) {
			for _, c := range []int{0, 1, 100} {
				ch, err := Open[struct{}](fmt.Sprint("none", c), WithDir(p.dir), WithCapacity(c))
				p.is(nil, err)
				for range 200 {
					if p.n == 0 {
						p.is(nil, ch.Send(struct{}{}))
					} else {
						_, err := ch.Recv()
						p.is(nil, err)
					}
					p.must(ch.Len() <= c, "len %d", ch.Len())
				}
				p.is(nil, ch.Detach())
			}
		}},
	}},
	{"a receiver whose last sender has gone", []int{1, 7}, nil, []part{
		{both, 1, func(p *player) {
			s := p.open("gone", sendsOnly, WithCapacity(p.capacity))
			for seq := range int64(p.capacity) {
				p.is(nil, s.Send(p.item(seq)))
			}
			p.mark(markReady)
			p.await(markBegun, 1)
			p.is(nil, s.Sender.Detach())
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			r := p.open("gone", receivesOnly, WithDisconnect())
			for seq := range int64(p.capacity) {
				v, err := r.Recv()
				p.is(nil, err)
				p.must(v.Seq == seq, "received %v, not %d", v, seq)
			}
			p.mark(markBegun)
			_, err := r.Recv()
			p.is(ErrDisconnected, err)
			_, err = r.TryRecv()
			p.is(ErrDisconnected, err) // It says what is so now; a sender may yet come.
			s := p.open("gone", sendsOnly)
			p.is(nil, s.Send(p.item(77)))
			v, err := r.Recv()
			p.is(nil, err)
			p.must(v.Seq == 77, "received %v", v)
		}},
	}},
	{"a sender whose last receiver has gone", []int{0, 2}, nil, []part{
		{both, 1, func(p *player) {
			r := p.open("gone", receivesOnly, WithCapacity(p.capacity))
			p.mark(markReady)
			p.await(markBegun, 1)
			p.is(nil, r.Receiver.Detach())
		}},
		{both, 1, func(p *player) {
			p.await(markReady, 1)
			s := p.open("gone", sendsOnly, WithDisconnect())
			for seq := range int64(p.capacity) {
				p.is(nil, s.Send(p.item(seq)))
			}
			p.mark(markBegun)
			p.is(ErrDisconnected, s.Send(p.item(77)))
			p.is(ErrDisconnected, s.TrySend(item{}))
			r := p.open("gone", receivesOnly)
			p.must(r.Receiver.Len() == p.capacity, "len %d", r.Receiver.Len())
		}},
	}},
	{"once each", []int{1}, nil, []part{
		{both, 1, func(p *player) {
			for i := range int64(30) {
				shot := p.open(fmt.Sprint("shot", i), both, WithCapacity(1))
				p.is(nil, shot.Send(p.item(i)))
				p.is(nil, shot.Close())
			}
		}},
		{both, 1, func(p *player) {
			for i := range int64(30) {
				shot := p.open(fmt.Sprint("shot", i), both, WithCapacity(1))
				v, err := shot.Recv()
				p.is(nil, err)
				p.must(v.Seq == i, "received %v, not %d", v, i)
				_, err = shot.Recv()
				p.is(ErrClosed, err)
			}
		}},
	}},
	{"handles come and go in the traffic", []int{0, 1, 7}, nil, []part{
		{both, 2, func(p *player) {
			steady := p.open("traffic", sendsOnly, WithCapacity(p.capacity))
			p.sendAll(120, func(v item) {
				if v.Seq%30 == 29 {
					s := p.open("traffic", sendsOnly, WithCapacity(p.capacity))
					p.is(nil, s.Send(v))
					p.is(nil, s.Sender.Detach())
					return
				}
				p.is(nil, steady.Send(v))
			})
		}},
		{both, 2, func(p *player) {
			after := map[int64]int64{}
			for p.marked(markGot) < 240 {
				r := p.open("traffic", receivesOnly, WithCapacity(p.capacity))
				for range 20 {
					if v, err := r.TryRecv(); err == nil {
						p.count(v, after)
					} else {
						p.is(ErrEmpty, err)
						runtime.Gosched()
					}
				}
				p.is(nil, r.Receiver.Detach())
			}
			p.once(2, 120)
		}},
	}},
}
