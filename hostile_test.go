package shmchan

// Hostile bytes, systematically: every byte of a channel's file changed, one at a time
// and many at once, before Open and under living handles here and in another process;
// files and doorbells that are not what their names say; and a process that writes
// nonsense as fast as it can while others work. (fuzz_test.go searches; this goes through.)
//
// What it shows: no call crashes, hangs, reads or writes outside of the mapping (which lies
// between pages that nobody may touch), or returns a bool that is none; every error is one
// that the documentation names, with the channel's name; what does not matter changes
// nothing; and other channels, and later ones of the same name, work. What it does not show:
// that a changed value or a forged word is noticed (without a checksum they are not: checksum_test.go).
// Nor a file that is made shorter under a mapping: guard_test.go.

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var hostile = flag.Int("hostile", 0, "in how many ways, of 11, each byte of a file is changed, and for how many seconds nonsense is written; 0: one byte in 32")

// ways chooses how to change the byte b.
func ways(rnd *rand.Rand, b byte) []byte {
	all := []byte{^b, 0, 0xff}
	for bit := range 8 {
		all = append(all, b^1<<bit)
	}
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = slices.DeleteFunc(all, func(to byte) bool { return to == b })
	if *hostile > 0 {
		return all[:min(*hostile, len(all))]
	}
	if rnd.IntN(32) > 0 {
		return nil
	}
	return all[:1]
}

// guardPages puts every channel that is mapped from now on between pages that nobody may touch.
func guardPages(t testing.TB) {
	usualMap, usualUnmap := mapShared, unmap
	var regions sync.Map // from the first byte of a mapping to all that belongs to it
	mapShared = func(f *os.File, length uint64) ([]byte, error) {
		mem, all, err := mapBetweenFences(f, uintptr(length))
		if err == nil {
			regions.Store(&mem[0], all)
		}
		return mem, err
	}
	unmap = func(mem []byte) error {
		if len(mem) > 0 {
			if all, ok := regions.LoadAndDelete(&mem[0]); ok {
				return unix.MunmapPtr(all.(unsafe.Pointer), fenced(uintptr(len(mem))))
			}
		}
		return usualUnmap(mem)
	}
	t.Cleanup(func() { mapShared, unmap = usualMap, usualUnmap })
}

// fenced is how long a mapping is with its fences.
func fenced(length uintptr) uintptr { return length + 2*uintptr(os.Getpagesize()) }

// mapBetweenFences maps f between two pages that nobody may touch.
func mapBetweenFences(f *os.File, length uintptr) (mem []byte, all unsafe.Pointer, err error) {
	all, err = unix.MmapPtr(-1, 0, nil, fenced(length), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, err
	}
	inside := unsafe.Add(all, os.Getpagesize())
	at, err := unix.MmapPtr(int(f.Fd()), 0, inside, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		_ = unix.MunmapPtr(all, fenced(length))
		return nil, nil, err
	}
	return unsafe.Slice((*byte)(at), length), all, nil
}

// The guard pages do guard: the last value ends where the mapping ends.
func TestGuardPages(t *testing.T) {
	guardPages(t)
	ch := openTest[fuzzed](t, WithCapacity(2))
	h := ch.Sender.h
	end := uintptr(h.value(1)) + unsafe.Sizeof(fuzzed{})
	require.Equal(t, uintptr(unsafe.Pointer(&h.mem[0]))+uintptr(len(h.mem)), end)
	c := start(t, "over-the-fence", h.opts.dir)
	require.False(t, c.out.Scan())
	c.done = true
	require.ErrorContains(t, c.cmd.Wait(), "exit status 2")
	require.Contains(t, c.errs.String(), "unexpected fault address")
}

func init() {
	roles["over-the-fence"] = func(args []string) error {
		guardPages(&testing.T{})
		ch, err := Open[fuzzed]("test", WithDir(args[0]))
		if err != nil {
			return err
		}
		fmt.Println(*(*byte)(unsafe.Add(ch.Sender.h.value(1), unsafe.Sizeof(fuzzed{}))))
		return nil
	}
}

// watchdog ends everything, showing all goroutines, if it is not told for a minute that the
// test goes on. Nothing here takes more than a moment.
func watchdog(t testing.TB) (alive func()) {
	const patience = time.Minute
	timer := time.AfterFunc(patience, func() { panic("a call hangs") })
	t.Cleanup(func() { timer.Stop() })
	return func() { timer.Reset(patience) }
}

// snapshots are the bytes of channels in interesting states. Their participants are
// dead: the locks are those of another file.
func snapshots(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	take := func(name string, ch *Chan[fuzzed]) {
		all[name] = append([]byte(nil), ch.Sender.h.mem...)
	}
	end := withStart(1<<posBits - 1)
	ch := openTest[fuzzed](t, WithCapacity(2), end)
	require.NoError(t, ch.Send(fuzzed{A: 10, Ok: [3]bool{true}}))
	take("a value", ch)
	require.ErrorIs(t, ch.SendFunc(forever, func(*fuzzed) error { take("dead sender", ch); return errNo }), errNo)
	take("hole", ch)
	require.NoError(t, ch.Send(fuzzed{A: 11}))
	take("full", ch)
	require.ErrorIs(t, ch.RecvFunc(forever, func(*fuzzed) error { take("dead receiver", ch); return errNo }), errNo)
	require.NoError(t, ch.Close())
	take("closed", ch)
	for range 2 {
		_, err := ch.Recv()
		require.NoError(t, err)
	}
	_, err := ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
	take("sealed", ch)

	ch = openTest[fuzzed](t, WithCapacity(0), end)
	done := make(chan error, 1)
	go func() { done <- ch.Send(fuzzed{A: 12}) }()
	until(t, "it is offered", func() bool { return ch.Stats().Parked > 0 })
	take("offer", ch)
	_, err = ch.Recv()
	require.NoError(t, err)
	require.NoError(t, <-done)

	ch = openTest[fuzzed](t, WithCapacity(2), end, WithSingleSender(), WithSingleReceiver())
	require.NoError(t, ch.Send(fuzzed{A: 13}))
	take("single roles", ch)
	return all
}

// target is a channel's file whose bytes are changed.
type target struct {
	dir, path string
	clean     []byte
	info      *header
}

func newTarget(t testing.TB, clean []byte) *target {
	dir := memDir(t)
	info, err := decodeHeader(clean[:headerPage], int64(len(clean)))
	require.NoError(t, err)
	return &target{dir, filepath.Join(dir, filePrefix+"test"), clean, info}
}

func (v *target) write(t testing.TB, bytes []byte) {
	f, err := os.OpenFile(v.path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes, 0)
	require.NoError(t, err)
}

// hold keeps the first participant alive, so that a closed channel is not taken away.
func (v *target) hold(t testing.TB) (letGo func()) {
	f, err := os.OpenFile(v.path, os.O_RDWR, 0)
	require.NoError(t, err)
	locks := newLocks(f, v.info, v.dir)
	_, err = locks.tryLock(0)
	require.NoError(t, err)
	return func() { require.NoError(t, errors.Join(locks.close(), f.Close())) }
}

// use opens the channel and makes all calls that do not wait, sometimes also the others.
func (v *target) use(waits bool) *report {
	r := &report{}
	_, err := Inspect("test", WithDir(v.dir))
	r.of(err)
	ch, err := Open[fuzzed]("test", WithDir(v.dir), WithAttach())
	r.of(err)
	if err != nil {
		return r
	}
	r.tryAll(ch)
	if waits {
		r.waitAll(ch)
	}
	r.of(ch.Detach())
	return r
}

// header says whether the byte at off is of the header, whose every change is an error.
func (v *target) header(off int) bool { return off < headerSize+len(v.info.text)+len(v.info.typeName) }

// idle says whether the byte at off means nothing, so that its change changes nothing.
func (v *target) idle(off int) bool {
	o, i := uint64(off), v.info
	inControl := func(from, to uintptr) bool { return o >= i.ctl+uint64(from) && o < i.ctl+uint64(to) }
	switch {
	case v.header(off):
		return false
	case o < i.ctl:
		return true
	case o < i.ctl+uint64(unsafe.Sizeof(control{})):
		var c control
		return inControl(unsafe.Offsetof(c.holes)+8, unsafe.Offsetof(c.senders)) || inControl(unsafe.Offsetof(c.poster)+8, unsafe.Offsetof(c.tail)) ||
			inControl(unsafe.Offsetof(c.tail)+8, unsafe.Offsetof(c.head)) || inControl(unsafe.Offsetof(c.head)+8, unsafe.Sizeof(c))
	case o < i.peers:
		return false
	case o < i.peers+peersSize: // pid, time and what is not used
		return (o-i.peers)%uint64(unsafe.Sizeof(peer{})) >= 8
	case o < i.slotsAt || o >= i.slotsAt+i.slots*i.stride: // The counts among them.
		return true
	}
	return (o-i.slotsAt)%i.stride >= valueOffset+i.size
}

// Every byte of the file changed before Open.
func TestEveryByteBeforeOpen(t *testing.T) {
	guardPages(t)
	alive := watchdog(t)
	rnd := testRand(t)
	states := snapshots(t)
	for name, clean := range states {
		t.Run(name, func(t *testing.T) {
			v := newTarget(t, clean)
			v.write(t, clean)
			use := func(waits bool) *report {
				if name == "closed" || name == "sealed" {
					defer v.hold(t)()
				}
				return v.use(waits)
			}
			usual := strings.Join(use(false).words, " ")
			t.Log(usual)
			tries := 0
			for off := range clean {
				for _, b := range ways(rnd, clean[off]) {
					alive()
					v.write(t, clean)
					v.change(t, off, b)
					r := use(rnd.IntN(64) == 0)
					tries++
					said := strings.Join(r.words, " ")
					switch {
					case r.wrong != nil:
						t.Fatalf("byte %d from %#x to %#x: %v (%s)", off, clean[off], b, r.wrong, said)
					case v.header(off) && said != "corrupt corrupt" && said != "mismatch mismatch":
						t.Fatalf("byte %d of the header from %#x to %#x: %s", off, clean[off], b, said)
					case v.idle(off) && !strings.HasPrefix(said, usual[:strings.LastIndex(usual, " ")]):
						t.Fatalf("byte %d, which means nothing, from %#x to %#x: %s", off, clean[off], b, said)
					}
				}
			}
			v.write(t, clean)
			require.Equal(t, usual, strings.Join(use(false).words, " "), "and then as before")
			t.Logf("%d changes of %d bytes", tries, len(clean))
		})
	}
}

func (v *target) change(t testing.TB, off int, b byte) {
	f, err := os.OpenFile(v.path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{b}, int64(off))
	require.NoError(t, err)
}

// rounds is a page that a process shares with one that it tells what to do.
type rounds struct{ wanted, done *atomic.Uint64 }

func openRounds(path string) rounds {
	a := openAudit(nil, path)
	return rounds{a.word(0), a.word(1)}
}

const lastRound = 1 << 63

func init() {
	// A process that makes all calls on a channel each time that it is told to.
	roles["target"] = func(args []string) error {
		guardPages(&testing.T{})
		ch, err := Open[fuzzed]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		told := openRounds(args[1])
		fmt.Println("open")
		var r report
		for n := uint64(1); ; n++ {
			for told.wanted.Load() < n {
				runtime.Gosched()
			}
			if told.wanted.Load() == lastRound {
				return errors.Join(r.wrong, ch.Detach())
			}
			r.words = r.words[:0]
			r.tryAll(ch)
			if n%256 == 0 {
				r.waitAll(ch)
			}
			if r.wrong != nil {
				return r.wrong
			}
			told.done.Store(n)
		}
	}
}

// Every byte changed under handles of this process and of another, who both use the
// channel at once.
func TestEveryByteUnderLivingHandles(t *testing.T) {
	guardPages(t)
	alive := watchdog(t)
	rnd := testRand(t)
	for _, capacity := range []int{2, 0} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			ch := openTest[fuzzed](t, WithCapacity(capacity), withStart(1<<posBits-1))
			h := ch.Sender.h
			v := &target{h.opts.dir, h.path, nil, h.info}
			page := filepath.Join(t.TempDir(), "rounds")
			told := openRounds(page)
			c := start(t, "target", h.opts.dir, page)
			require.Equal(t, "open", c.line())
			ended := make(chan error, 1)
			go func() { ended <- c.cmd.Wait() }()
			n := uint64(0)
			both := func() {
				alive()
				n++
				told.wanted.Store(n)
				r := &report{}
				r.tryAll(ch)
				if n%256 == 0 {
					r.waitAll(ch)
				}
				until(t, "the other has done it", func() bool {
					select {
					case err := <-ended:
						c.done = true
						t.Fatalf("the other ended: %v %s", err, c.errs.String())
					default:
					}
					return told.done.Load() >= n
				})
				require.NoError(t, r.wrong)
			}
			if capacity > 0 {
				require.NoError(t, ch.Send(fuzzed{A: 10}))
			}
			clean := append([]byte(nil), h.mem...)
			restore := func() {
				copy(h.mem[h.info.ctl:], clean[h.info.ctl:])
				h.findPlace(sending) // Where we were lies ahead of what is there now.
				h.findPlace(receiving)
			}
			alone := func() string {
				r := &report{}
				r.tryAll(ch)
				return strings.Join(r.words, " ")
			}
			usual := alone()
			restore()
			tries := 0
			for off := range clean {
				for _, b := range ways(rnd, clean[off]) {
					tries++
					h.mem[off] = b
					if v.header(off) || v.idle(off) {
						require.Equal(t, usual, alone(), "byte %d, which is not read any more", off)
					} else {
						both()
					}
					h.mem[off] = clean[off]
					restore()
				}
			}
			for range 100 + 1000**hostile { // many at once
				for range 1 + rnd.IntN(100) {
					h.mem[int(h.info.ctl)+rnd.IntN(len(clean)-int(h.info.ctl))] = byte(rnd.Uint32())
				}
				both()
				tries++
				restore()
			}
			require.Equal(t, usual, alone(), "and then as before")
			told.wanted.Store(lastRound)
			require.NoError(t, <-ended, c.errs.String())
			c.done = true
			t.Logf("%d changes", tries)
		})
	}
}

// Many bytes changed at random before Open, in every state.
func TestManyBytesBeforeOpen(t *testing.T) {
	guardPages(t)
	alive := watchdog(t)
	rnd := testRand(t)
	for name, clean := range snapshots(t) {
		v := newTarget(t, clean)
		for range 50 + 1000**hostile {
			alive()
			dirty := append([]byte(nil), clean...)
			from := rnd.IntN(2) * int(v.info.ctl) // With the header, or without.
			for range 1 + rnd.IntN(1<<rnd.IntN(10)) {
				dirty[from+rnd.IntN(len(dirty)-from)] = byte(rnd.Uint32())
			}
			v.write(t, dirty)
			r := v.use(rnd.IntN(64) == 0)
			require.NoError(t, r.wrong, name)
		}
	}
}

func init() {
	// A process that writes nonsense into a part of a channel's file until it is told to stop.
	roles["scribbler"] = func(args []string) error {
		path, what := args[0], args[1]
		s, _ := strconv.ParseUint(args[2], 10, 64)
		rnd := rand.New(rand.NewPCG(s, 2))
		f, info, err := openExisting("test", path, os.O_RDWR)
		if err != nil {
			return err
		}
		mem, err := unix.Mmap(int(f.Fd()), 0, int(info.length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		var ended atomic.Bool
		go func() { _, _ = fmt.Scanln(new(string)); ended.Store(true) }()
		fmt.Println("on")
		n := uint64(0)
		for ; !ended.Load(); n++ {
			scribble(mem, info, what, rnd)
		}
		fmt.Println(n)
		return nil
	}
}

// scribble writes once.
func scribble(mem []byte, i *header, what string, rnd *rand.Rand) {
	at := func(from, to uint64) *atomic.Uint64 { return atomicAt(mem, from+rnd.Uint64N((to-from)/8)*8) }
	switch what {
	case "file":
		at(0, i.length).Store(rnd.Uint64())
	case "control":
		at(i.ctl, i.ctl+ctlSize).Store(rnd.Uint64() >> rnd.IntN(64))
	case "peers":
		at(i.peers, i.peers+peersSize).Store(rnd.Uint64() >> rnd.IntN(64))
	case "words":
		atomicAt(mem, i.slotsAt+rnd.Uint64N(i.slots)*i.stride).Store(rnd.Uint64())
	case "values":
		at(i.slotsAt+valueOffset, i.slotsAt+i.stride).Store(rnd.Uint64())
	case "forged": // Words that may be, by one who knows the format, near where the others are.
		slot := rnd.Uint64N(i.slots)
		w := atomicAt(mem, i.slotsAt+slot*i.stride)
		pos := (wordPos(w.Load()) + uint64(rnd.Int64N(9)-4)*i.slots) & posMask
		state := rnd.Uint64N(8)
		tag := [...]uint64{0, lengthTag(i.size), rnd.Uint64() & tagMask, wordTag(w.Load())}[rnd.IntN(4)]
		w.Store(word(pos, tag, state))
	}
}

func init() {
	// A process that works on a channel until it is told to stop, and says how long a call took at most.
	roles["worker"] = func(args []string) error {
		ch, err := Open[fuzzed]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		var ended atomic.Bool
		go func() { _, _ = fmt.Scanln(new(string)); ended.Store(true) }()
		fmt.Println("open")
		n, worst, err := work(ch, &ended)
		fmt.Println(n, worst)
		return errors.Join(err, ch.Detach())
	}
}

// work makes all calls again and again; worst is how long a round of calls took at
// most, of which a millisecond is their context's.
func work(ch *Chan[fuzzed], ended *atomic.Bool) (n int, worst time.Duration, err error) {
	for ; !ended.Load(); n++ {
		r := report{}
		began := time.Now()
		r.tryAll(ch)
		r.waitAll(ch)
		_ = ch.Stats()
		worst = max(worst, time.Since(began))
		if r.wrong != nil {
			return n, worst, r.wrong
		}
	}
	return n, worst, nil
}

// A process writes nonsense as fast as it can while others work: whatever they are
// told, they are told soon, and another channel does not notice.
func TestScribbler(t *testing.T) {
	guardPages(t)
	rnd := testRand(t)
	span := time.Duration(*hostile) * time.Second
	if *hostile == 0 {
		span = 100 * time.Millisecond
	}
	for _, capacity := range []int{2, 0} {
		for _, what := range []string{"file", "words", "forged", "values", "control", "peers"} {
			t.Run(fmt.Sprintf("cap%d %s", capacity, what), func(t *testing.T) { scribbled(t, capacity, what, span, rnd.Uint64()) })
		}
	}
}

func scribbled(t *testing.T, capacity int, what string, span time.Duration, seed uint64) {
	alive := watchdog(t)
	dir := memDir(t)
	ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", WithDir(dir), WithCapacity(capacity)))
	other := must[*Chan[int64]](t)(Open[int64]("other", WithDir(dir), WithCapacity(4)))
	goroutines := runtime.NumGoroutine()
	workers := []*child{start(t, "worker", dir), start(t, "worker", dir)}
	for _, c := range workers {
		require.Equal(t, "open", c.line())
	}
	scribbler := start(t, "scribbler", ch.Sender.h.path, what, seed)
	require.Equal(t, "on", scribbler.line())

	var ended atomic.Bool
	var wg sync.WaitGroup
	var n int
	var worst time.Duration
	wg.Go(func() {
		var err error
		n, worst, err = work(ch, &ended)
		assert.NoError(t, err)
	})
	sent := int64(0)
	for began := time.Now(); time.Since(began) < span; sent++ { // The other channel has nothing to do with it.
		alive()
		require.NoError(t, other.Send(sent))
		v, err := other.Recv()
		require.NoError(t, err)
		require.Equal(t, sent, v)
	}
	scribbler.say("stop")
	writes := scribbler.line()
	scribbler.wait()
	ended.Store(true)
	for _, c := range workers {
		c.say("stop")
	}
	// A poster waits for whoever reads its offer, and believes the word that says so.
	ch.Sender.h.slot(0).Store(word(0, 0, stFree))
	wg.Wait()
	for _, c := range workers {
		t.Logf("a worker's rounds, and the longest: %s", c.line())
		c.wait()
	}
	t.Logf("%s writes; %d rounds here, the longest took %v; %d values through the other channel", writes, n, worst, sent)
	require.NoError(t, ch.Detach())
	until(t, "nothing is left running", func() bool { return runtime.NumGoroutine() <= goroutines-1 }) // ch's listener has gone too
	require.NoError(t, other.Close())
	require.NoError(t, other.Detach())
	require.NoError(t, errors.Join(removeIfThere(dir)))
	ch = must[*Chan[fuzzed]](t)(Open[fuzzed]("test", WithDir(dir), WithCapacity(2)))
	require.NoError(t, ch.Send(fuzzed{A: 1}))
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, fuzzed{A: 1}, v)
	require.NoError(t, ch.Close())
	require.NoError(t, ch.Detach())
}

// removeIfThere removes the channel: a forged flag may have closed it, and the last to leave removed it.
func removeIfThere(dir string) error {
	if err := Remove("test", WithDir(dir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// A doorbell that is none: its owner is woken all the same, by the backstop, nothing is
// written to what is there, and letting go works.
func TestDoorbellSwapped(t *testing.T) {
	for what, put := range map[string]func(t *testing.T, path string) error{
		"missing":   func(*testing.T, string) error { return nil },
		"file":      func(_ *testing.T, p string) error { return os.WriteFile(p, []byte("mine"), 0o600) },
		"link":      func(t *testing.T, p string) error { return os.Symlink(notToBeTouched(t), p) },
		"dangling":  func(_ *testing.T, p string) error { return os.Symlink(p+".no", p) },
		"directory": func(_ *testing.T, p string) error { return os.Mkdir(p, 0o700) },
		"socket":    func(t *testing.T, p string) error { return listenAt(t, p) },
		"dead fifo": func(_ *testing.T, p string) error { return unix.Mkfifo(p, 0o600) },
		"full fifo": func(t *testing.T, p string) error { return fullFIFO(t, p) },
	} {
		t.Run(what, func(t *testing.T) {
			ch := openTest[int64](t)
			dir := ch.Sender.h.opts.dir
			other, err := Open[int64]("test", WithDir(dir), WithWait(Park))
			require.NoError(t, err)
			bell := other.Sender.h.bellPath(other.Sender.h.idx, tagGen(other.Sender.h.me))
			require.NoError(t, os.Remove(bell))
			require.NoError(t, put(t, bell))
			for i := range int64(2) {
				got := make(chan int64, 1)
				parked := other.Stats().Parked
				go func() { v, _ := other.Recv(); got <- v }()
				until(t, "parked", func() bool { return other.Stats().Parked > parked })
				require.NoError(t, ch.Send(i))
				require.Equal(t, i, <-got)
			}
			if st, err := os.Lstat(bell); err == nil && st.Mode().IsRegular() {
				b, err := os.ReadFile(bell)
				require.NoError(t, err)
				require.Equal(t, "mine", string(b))
			}
			require.NoError(t, other.Detach())
			_ = os.RemoveAll(bell)
		})
	}
}

// notToBeTouched is a file that must not change.
func notToBeTouched(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	t.Cleanup(func() {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "mine", string(b))
	})
	return path
}

// listenAt makes a socket at a path, which may be longer than a socket's name.
func listenAt(t *testing.T, path string) error {
	short := filepath.Join(memDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = l.Close() })
	return os.Rename(short, path)
}

// fullFIFO makes a FIFO that somebody holds open and never reads.
func fullFIFO(t *testing.T, path string) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = f.Close() })
	for err == nil {
		_, err = unix.Write(int(f.Fd()), make([]byte, 1024))
	}
	if !errors.Is(err, unix.EAGAIN) {
		return err
	}
	return nil
}

// Another file under a channel's name: who is attached goes on with theirs, who opens
// gets the other, and neither takes the other's away.
func TestReplaced(t *testing.T) {
	dir := memDir(t)
	old := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	path := old.Sender.h.path
	elsewhere := must[*Chan[int64]](t)(Open[int64]("other", WithDir(dir)))
	require.NoError(t, os.Rename(elsewhere.Sender.h.path, path))
	young := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	require.NoError(t, old.Send(1))
	require.ErrorIs(t, second(young.TryRecv()), ErrEmpty)
	require.NoError(t, elsewhere.Send(2))
	v, err := young.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(2), v)
	require.NoError(t, old.Close())
	require.NoError(t, old.Detach())
	_, err = os.Stat(path)
	require.NoError(t, err, "it is not theirs")
	require.NoError(t, elsewhere.Detach())
	require.NoError(t, young.Close())
	require.NoError(t, young.Detach())
	dirEmpty(t, dir)
}

func second[T any](_ T, err error) error { return err }

// A file that grows under living handles does not matter to them; who opens it then is told.
func TestGrownUnderHandles(t *testing.T) {
	ch := openTest[int64](t)
	require.NoError(t, os.Truncate(ch.Sender.h.path, int64(len(ch.Sender.h.mem))+1))
	require.NoError(t, ch.Send(1))
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(1), v)
	_, err = Open[int64]("test", WithDir(ch.Sender.h.opts.dir))
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, `channel "test"`)
}

func init() {
	// A process of somebody else, who says what Open says.
	roles["nobody"] = func(args []string) error {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
		ch, err := Open[int64]("test", WithDir(args[0]), WithMode(0o666))
		if err != nil {
			fmt.Println(errors.Is(err, fs.ErrPermission), err)
			return nil
		}
		fmt.Println("open", ch.Send(7))
		_, _ = fmt.Scanln(new(string))
		return ch.Detach()
	}
}

// What another user may not do is fs.ErrPermission, with the channel's name; what they
// may do works, in both directions.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	for what, c := range map[string]struct {
		mode, dirMode fs.FileMode
		closed        bool
		want          string
	}{
		"may":                       {0o666, 0o777, false, "open <nil>"},
		"may not open":              {0o600, 0o777, false, `true shmchan: channel "test": cannot open it`},
		"may not write":             {0o644, 0o777, false, `true shmchan: channel "test": cannot open it`},
		"may not make a doorbell":   {0o666, 0o755, false, `true shmchan: channel "test": cannot make a doorbell`},
		"may not search":            {0o666, 0o600, false, `true shmchan: channel "test": cannot open it`},
		"may not remove the closed": {0o666, 0o755, true, `true shmchan: channel "test": cannot remove`},
	} {
		t.Run(what, func(t *testing.T) {
			dir := memDir(t)
			ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir), WithMode(c.mode)))
			if c.closed { // and left without anybody noticing
				clean := append([]byte(nil), ch.Sender.h.mem...)
				require.NoError(t, ch.Close())
				require.NoError(t, ch.Detach())
				path := filepath.Join(dir, filePrefix+"test")
				atomicAt(clean, ch.Sender.h.info.ctl).Store(1)
				require.NoError(t, os.WriteFile(path, clean, 0o600))
				require.NoError(t, os.Chmod(path, c.mode))
			}
			require.NoError(t, os.Chmod(dir, c.dirMode))
			p := start(t, "nobody", dir)
			require.Contains(t, p.line(), c.want)
			if c.want == "open <nil>" {
				v, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, int64(7), v)
			}
			p.wait()
			if !c.closed {
				require.NoError(t, ch.Detach())
			}
		})
	}
}
