package shmchan

// Much of everything: channels in a process, processes on a channel, goroutines blocked. What that takes of
// descriptors, threads, memory and CPU is bounded here; docs/scale.md has the figures.
//
// The bounds have room for a busy machine: they tell a cost that grows with the wrong thing, not one that is a few percent higher.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var scale = flag.Int("scale", 0, "percent of a thousand channels, a hundred processes (at most 250) and ten thousand goroutines in the tests of scale; "+
	"0: 100, but 10 with -short, the race detector or an emulator")

// scaled is how many of n there are to be.
func scaled(t testing.TB, n int) int {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors and threads in /proc")
	}
	percent := *scale
	if percent == 0 {
		percent = 100
		if testing.Short() || raceEnabled || emulated() {
			percent = 10
		}
	}
	return max(1, n*percent/100)
}

// emulated says whether memory and CPU time are an emulator's too.
func emulated() bool { return os.Getenv(programEnv) != "" }

// usage is what a process has and has used.
type usage struct {
	fds, threads, goroutines int
	private, shared          int // memory, in kB
	cpu                      time.Duration
	at                       time.Time
}

func used() usage {
	u := usage{fds: countOf("/proc/self/fd") - 1, threads: countOf("/proc/self/task"), goroutines: runtime.NumGoroutine()}
	u.private, u.shared = memoryOf("self")
	u.cpu, u.at = cpuTime(), time.Now()
	return u
}

// countOf is how many entries a directory has.
func countOf(dir string) int {
	entries, _ := os.ReadDir(dir)
	return len(entries)
}

// memoryOf is what a process has of memory of its own and of shared memory, in kB.
func memoryOf(pid string) (private, shared int) {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &private); err == nil {
			continue
		}
		_, _ = fmt.Sscanf(line, "RssShmem: %d kB", &shared)
	}
	return private, shared
}

// since is what came on top of an earlier usage.
func (u usage) since(before usage) usage {
	return usage{
		fds: u.fds - before.fds, threads: u.threads - before.threads, goroutines: u.goroutines - before.goroutines,
		private: u.private - before.private, shared: u.shared - before.shared, cpu: u.cpu - before.cpu,
	}
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d goroutines, %d kB private, %d kB shared, %v of CPU time",
		u.fds, u.threads, u.goroutines, u.private, u.shared, u.cpu.Round(100*time.Microsecond))
}

// loose is a bound of CPU or memory where those of the race detector or of an emulator come on top.
func loose[N int | float64 | time.Duration](bound N) N {
	if raceEnabled || emulated() {
		return 20 * bound
	}
	return bound
}

// A thousand channels in one process: two descriptors and a goroutine each, no thread.
func TestManyChannels(t *testing.T) {
	n := scaled(t, 1000)
	var files unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	if most := (int(min(files.Cur, 1<<30)) - countOf("/proc/self/fd") - 50) / 2; n > most {
		t.Logf("%d channels, not %d, as no more than %d files may be open", most, n, files.Cur)
		n = most
	}
	dir := memDir(t)
	openTest[int64](t) // What a process has once.
	before := used()
	all := make([]*Chan[int64], n)
	var half usage
	for i := range all {
		if i == n/2 {
			half = used()
		}
		all[i] = must[*Chan[int64]](t)(Open[int64](fmt.Sprint(i), WithDir(dir), WithCapacity(16)))
	}
	u := used().since(before)
	t.Logf("%d channels opened: %v", n, u)
	assert.InDelta(t, 2*n, u.fds, 3, "descriptors: the memory and the doorbell")
	assert.InDelta(t, n, u.goroutines, 5, "goroutines: one listens to the doorbell")
	assert.Less(t, u.threads, fewThreads())
	assert.Less(t, u.private, loose(40*n+4000))
	assert.Less(t, u.shared, 40*n+4000)
	// Were it so the second half would cost three times the first, on a slow machine too.
	first := half.since(before).cpu
	t.Logf("%v for the first half, %v for the second", first, u.cpu-first)
	assert.Less(t, u.cpu-first, 2*first+100*time.Millisecond, "making one does not cost the more the more there are")

	results := make(chan error, n)
	for i, ch := range all {
		go func() {
			v, err := ch.Recv()
			if err == nil && v != int64(i) {
				err = fmt.Errorf("%d received on channel %d", v, i)
			}
			results <- err
		}()
	}
	for _, ch := range all {
		until(t, "all are parked", func() bool { return ch.Stats().Parked > 0 })
	}
	parked := used().since(before)
	t.Logf("and a receiver parked on each: %v", parked)
	assert.InDelta(t, 2*n, parked.fds, 6)
	assert.InDelta(t, 2*n, parked.goroutines, 6)
	assert.Less(t, parked.threads, fewThreads())
	assert.Less(t, parked.private, loose(56*n+4000))
	limit := loose(0.004 + 0.00001*float64(n))
	share := leastShare(time.Second, 2, limit)
	t.Logf("idle: %.3f %% of a CPU", 100*share)
	assert.Less(t, share, limit)

	for i, ch := range all {
		require.NoError(t, ch.Send(int64(i)))
	}
	for range all {
		require.NoError(t, <-results)
	}
	for _, ch := range all {
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
	}
	dirEmpty(t, dir)
	until(t, "everything is let go", func() bool { u := used().since(before); return u.fds <= 3 && u.goroutines <= 5 })
}

func init() {
	// A process that opens channels until it may have no more descriptors, and then uses those that it has.
	roles["many-channels"] = func(args []string) error {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		limit.Cur = 64
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		var all []*Chan[int64]
		for {
			ch, err := Open[int64](fmt.Sprint(len(all)), WithDir(args[0]), WithCapacity(1))
			if errors.Is(err, unix.EMFILE) && strings.Contains(err.Error(), "ulimit -n") {
				break
			} else if err != nil {
				return fmt.Errorf("channel %d: %w", len(all), err)
			}
			all = append(all, ch)
		}
		for { // Nothing is left to ring with, nor for a timer.
			if _, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				break
			}
		}
		fmt.Println(len(all))
		_, _ = fmt.Scanln(new(string))
		for i, ch := range all {
			if err := ch.Send(int64(i)); err != nil {
				return err
			}
		}
		for i := range all { // The parent has received what we sent by then.
			_, _ = fmt.Scanln(new(string))
			fmt.Println(all[i].Recv())
		}
		for _, ch := range all {
			if err := ch.Detach(); err != nil {
				return err
			}
		}
		return nil
	}
}

// Open fails clearly when the process may have no more descriptors, and leaves nothing behind. The channels that it
// has still work; those whom it cannot ring are woken by their own look, later.
func TestChannelsUntilNoDescriptors(t *testing.T) {
	scaled(t, 1)
	dir := memDir(t)
	c := start(t, "many-channels", dir)
	n, err := strconv.Atoi(c.line())
	require.NoError(t, err)
	assert.Greater(t, n, 20)
	names, err := filepath.Glob(filepath.Join(dir, filePrefix+"*"))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(names), n+1, "a channel that could be made and not joined is there")
	bells, err := filepath.Glob(filepath.Join(dir, hiddenPrefix+"*"))
	require.NoError(t, err)
	assert.Len(t, bells, n, "doorbells of those who are there, and nothing else")

	type result struct {
		v   int64
		err error
	}
	all, results := make([]*Chan[int64], n), make(chan result, n)
	for i := range all {
		all[i] = must[*Chan[int64]](t)(Open[int64](fmt.Sprint(i), WithDir(dir), WithAttach()))
		go func() { v, err := all[i].Recv(); results <- result{v, err} }()
	}
	for _, ch := range all {
		until(t, "parked", func() bool { return ch.Stats().Waiting > 0 })
	}
	began := time.Now()
	c.say("go")
	sum := 0
	for range all {
		r := <-results
		require.NoError(t, r.err)
		sum += int(r.v)
	}
	assert.Equal(t, n*(n-1)/2, sum)
	t.Logf("%d receivers that could not be rung have received after %v", n, time.Since(began))
	for i, ch := range all {
		c.say("next")
		require.NoError(t, ch.Send(int64(i)))
		require.Equal(t, fmt.Sprint(i, " <nil>"), c.line())
	}
	c.wait()
	for _, ch := range all {
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
	}
	for _, name := range names[min(n, len(names)):] {
		t.Log("made, and not joined: ", filepath.Base(name))
	}
	_ = Remove(fmt.Sprint(n), WithDir(dir)) // If it is there.
	dirEmpty(t, dir)
}

func init() {
	// One of many processes on a channel: it exchanges some values, then parks until the channel is closed.
	roles["one-of-many"] = func(args []string) error {
		a := openAudit(nil, args[1])
		from, _ := strconv.ParseUint(args[2], 10, 64)
		began := time.Now()
		ch, err := Open[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		fmt.Println(time.Since(began).Microseconds())
		told := make(chan bool, 2)
		var through atomic.Bool
		go func() {
			for {
				if _, err := fmt.Scanln(new(string)); err != nil {
					break
				}
				told <- true
			}
			if !ch.Stats().Closed && !through.Load() { // The parent is gone, and has not closed it before.
				os.Exit(3)
			}
		}()
		<-told
		sent := make(chan error, 1)
		go func() {
			for seq := range uint64(manyValues) {
				if err := ch.Send(newMessage(from, seq)); err != nil {
					sent <- err
					return
				}
				a.acked(from).Store(seq + 1)
			}
			sent <- nil
		}()
		var order [auditSenders]uint64
		for range manyValues {
			m, err := ch.Recv()
			if err != nil {
				return err
			}
			a.note(&m, &order)
		}
		if err := <-sent; err != nil {
			return err
		}
		fmt.Println("exchanged")
		<-told // Until then it would take what another is to receive.
		for {
			m, err := ch.Recv()
			if errors.Is(err, ErrClosed) {
				through.Store(true)
				return ch.Detach()
			} else if err != nil {
				return err
			}
			a.note(&m, &order)
		}
	}
}

const manyValues = 50

// cpuOf is the CPU time that a process has used, as its threads that are alive tell. False: the kernel does not.
func cpuOf(pid int) (sum time.Duration, ok bool) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, task := range tasks {
		var ns int64
		text, _ := os.ReadFile(task)
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, false
		}
		sum += time.Duration(ns)
	}
	return sum, len(tasks) > 0
}

// A hundred processes on one channel: all attach, exchange values, and park; what they have and use is bounded. Handles up to the
// limit, the next one is refused at once, and let in when one has detached or died.
func TestManyProcesses(t *testing.T) {
	n := min(scaled(t, 100), 250)
	ch := openTest[message](t, WithCapacity(16))
	dir, auditPath := WithDir(ch.Sender.h.opts.dir), filepath.Join(t.TempDir(), "audit")
	a := openAudit(t, auditPath)
	children := make([]*child, n)
	began := time.Now()
	for i := range children {
		children[i] = start(t, "one-of-many", ch.Sender.h.opts.dir, auditPath, i)
	}
	var longest int
	for _, c := range children {
		took, err := strconv.Atoi(c.line())
		require.NoError(t, err)
		longest = max(longest, took)
	}
	t.Logf("%d processes started and attached in %v, the slowest Open took %v", n, time.Since(began), time.Duration(longest)*time.Microsecond)

	began = time.Now()
	for _, c := range children {
		c.say("go")
	}
	for _, c := range children {
		require.Equal(t, "exchanged", c.line())
	}
	t.Logf("%d values exchanged in %v", n*manyValues, time.Since(began))
	whole := func(from uint64, values int) {
		t.Helper()
		for seq := range uint64(values) {
			require.Equal(t, uint32(1), a.count(from, seq).Load(), "value %d of %d", seq, from)
		}
	}
	for i := range uint64(n) {
		whole(i, manyValues)
	}
	require.Zero(t, a.torn().Load())

	for _, c := range children {
		c.say("park")
	}
	parked := func() bool { return ch.Stats().Waiting >= n }
	until(t, "all are parked", parked)
	var fds, threads, private, shared int
	for _, c := range children {
		pid := strconv.Itoa(c.cmd.Process.Pid)
		fds = max(fds, countOf("/proc/"+pid+"/fd"))
		threads = max(threads, countOf("/proc/"+pid+"/task"))
		p, s := memoryOf(pid)
		private, shared = max(private, p), max(shared, s)
	}
	t.Logf("parked, the most of a process: %d descriptors, %d threads, %d kB private, %d kB shared (with the audit of this test)", fds, threads, private, shared)
	assert.LessOrEqual(t, fds, 2*n+20, "a pidfd and a doorbell for each of the others at most")
	assert.Less(t, threads, fewThreads())
	assert.Less(t, private, loose(16<<10))
	total := func() (sum time.Duration, ok bool) {
		for _, c := range children {
			cpu, ok := cpuOf(c.cmd.Process.Pid)
			if !ok {
				return 0, false
			}
			sum += cpu
		}
		return sum, true
	}
	least := 1e9
	told := true
	limit := loose(0.1 + 0.004*float64(n))
	for i := 0; i < 2 || i < 20 && told && least >= limit; i++ { // As leastShare does.
		before, ok := total()
		began = time.Now()
		time.Sleep(time.Second) // It is the span that is measured.
		after, ok2 := total()
		told = told && ok && ok2
		least = min(least, float64(after-before)/float64(time.Since(began)))
	}
	if told {
		t.Logf("idle: %.2f %% of a CPU, all together", 100*least)
		assert.Less(t, least, limit)
	}

	var mine []*Chan[message]
	open := func() error {
		h, err := Open[message]("test", dir, WithAttach())
		if err == nil {
			mine = append(mine, h)
		}
		return err
	}
	began = time.Now()
	for range maxPeers - 1 - n {
		require.NoError(t, open())
	}
	t.Logf("%d more handles in %v", len(mine), time.Since(began))
	refused := func() {
		t.Helper()
		began := time.Now()
		require.ErrorIs(t, open(), ErrTooManyPeers)
		t.Logf("one more is refused after %v", time.Since(began))
		assert.Less(t, time.Since(began), time.Minute, "it waits for nobody to leave")
	}
	refused()
	require.NoError(t, mine[0].Detach())
	mine = mine[1:]
	require.NoError(t, open())
	refused()
	children[0].kill()
	until(t, "its place is cleared, by whomever", func() bool {
		err := open()
		if err != nil { // Who clears it has its lock, and may be kept from going on.
			require.ErrorIs(t, err, ErrTooManyPeers)
		}
		return err == nil
	})
	refused()

	half := children[:(n+1)/2] // Killed together; the first one is already.
	for _, c := range half[1:] {
		c.signal(unix.SIGKILL)
	}
	for _, c := range half {
		c.kill()
	}
	const me, values = auditSenders - 1, 500
	for seq := range uint64(values) {
		if n > len(half) {
			require.NoError(t, ch.Send(newMessage(me, seq)))
		}
	}
	require.NoError(t, ch.Close())
	for _, c := range children[len(half):] {
		c.wait()
	}
	if n > len(half) {
		whole(me, values)
	}
	for _, h := range mine {
		require.NoError(t, h.Detach())
	}
}

// Ten thousand goroutines blocked on one handle, as many on another, and as many on a hundred channels: no thread, some memory, no
// CPU to speak of. Released or cancelled all at once none is left, and no value lost.
func TestManyGoroutines(t *testing.T) {
	n := scaled(t, 10000)
	recv, send := openTest[int64](t, WithCapacity(1)), openTest[int64](t, WithCapacity(1))
	require.NoError(t, send.Send(int64(n)))
	many := make([]*Chan[int64], 100)
	for i := range many {
		many[i] = openTest[int64](t, WithCapacity(4))
	}
	runtime.GC()
	before := used()
	var received, sent, spread blockedCalls
	for range n {
		received.receive(recv, context.Background())
		spread.receive(many[int(spread.started.Load())%len(many)], context.Background())
	}
	for i := range n {
		sent.wg.Go(func() { sent.note(int64(i), send.Send(int64(i))) })
	}
	until(t, "all are parked", func() bool {
		var parks uint64
		for _, ch := range many {
			parks += ch.Stats().Parked
		}
		return recv.Stats().Parked >= uint64(n) && send.Stats().Parked >= uint64(n) && parks >= uint64(n)
	})
	u := used().since(before)
	t.Logf("%d goroutines blocked: %v", 3*n, u)
	assert.Less(t, u.threads, fewThreads())
	assert.Less(t, u.fds, 5)
	assert.Less(t, u.private, loose(8*3*n+4000))
	limit := loose(0.006)
	share := leastShare(time.Second, 2, limit)
	t.Logf("idle: %.3f %% of a CPU", 100*share)
	assert.Less(t, share, limit)

	began := time.Now()
	for i := range n {
		require.NoError(t, recv.Send(int64(i)))
	}
	received.wg.Wait()
	received.each(t, n)
	t.Logf("%d receivers of one handle released in %v", n, time.Since(began))
	began = time.Now()
	for range n + 1 {
		v, err := send.Recv()
		require.NoError(t, err)
		if v != int64(n) {
			received.note(v, nil)
		}
	}
	sent.wg.Wait()
	sent.each(t, n)
	received.each(t, n)
	t.Logf("%d senders of one handle released in %v", n, time.Since(began))
	began = time.Now()
	for i := range n {
		require.NoError(t, many[i%len(many)].Send(int64(i)))
	}
	spread.wg.Wait()
	spread.each(t, n)
	t.Logf("%d receivers of %d handles released in %v", n, len(many), time.Since(began))

	// Cancelled all at once, while some values come: each is received, or is still there.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parks := recv.Stats().Parked
	for range n {
		received.receive(recv, ctx)
	}
	until(t, "all are parked", func() bool { return recv.Stats().Parked >= parks+uint64(n) })
	sending := make(chan error, 1)
	const values = 200
	go func() {
		var err error
		for i := 0; i < values && err == nil; i++ {
			err = recv.Send(int64(i))
		}
		sending <- err
	}()
	until(t, "the first value is received", func() bool { return recv.Stats().Received > uint64(n) })
	began = time.Now()
	cpu := cpuTime()
	cancel()
	received.wg.Wait()
	cpu = cpuTime() - cpu
	t.Logf("%d receivers cancelled in %v, %v of CPU time", n, time.Since(began), cpu)
	assert.Less(t, cpu, loose(5*time.Second))
	for received.done() < values {
		v, err := recv.RecvContext(t.Context())
		require.NoError(t, err)
		received.note(v, nil)
	}
	require.NoError(t, <-sending)
	received.each(t, values)
	until(t, "all have ended", func() bool { return runtime.NumGoroutine() <= before.goroutines+5 })
}

// blockedCalls counts values of blocked calls. A cancelled one has none.
type blockedCalls struct {
	wg      sync.WaitGroup
	started atomic.Int64
	mu      sync.Mutex
	seen    map[int64]int
	errs    []error
}

func (y *blockedCalls) receive(ch *Chan[int64], ctx context.Context) {
	y.started.Add(1)
	y.wg.Go(func() { v, err := ch.RecvContext(ctx); y.note(v, err) })
}

func (y *blockedCalls) note(v int64, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		y.errs = append(y.errs, err)
	default:
		if y.seen == nil {
			y.seen = map[int64]int{}
		}
		y.seen[v]++
	}
}

func (y *blockedCalls) done() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.seen)
}

// each requires that each of n values was counted, once, and starts anew.
func (y *blockedCalls) each(t *testing.T, n int) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	require.Empty(t, y.errs)
	require.Len(t, y.seen, n)
	for v, times := range y.seen {
		require.Equal(t, 1, times, "%d", v)
	}
	y.seen = nil
}

// An unnamed channel has a descriptor for the doorbell of each of its handles to be, and one for its memory.
func TestUnnamedDescriptors(t *testing.T) {
	scaled(t, 1)
	if portableUnnamed {
		t.Skip("Linux's")
	}
	for peers, opts := range map[int][]Option{2: {WithPeers(2)}, DefaultPeers: nil, maxSeats: {WithPeers(maxSeats)}} {
		before := unnamedFDs()
		ch := must[*Chan[int64]](t)(New[int64](opts...))
		have := unnamedFDs() - before
		assert.Equal(t, 1+peers, have)
		files := must[[]*os.File](t)(ch.Files())
		assert.Len(t, files, 1+peers)
		other := must[*Chan[int64]](t)(FromFiles[int64](files))
		both := unnamedFDs() - before
		t.Logf("%d handles at most: %d descriptors with one handle, %d with two", peers, have, both)
		assert.Equal(t, have+2+peers, both, "one more for a handle made of files: its own doorbell twice")
		require.NoError(t, other.Detach())
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
		assert.Equal(t, before, unnamedFDs())
	}
}

// unnamedFDs is how many descriptors this process has of what unnamed channels are made of.
func unnamedFDs() (n int) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "/memfd:") || strings.Contains(to, "[eventfd]") {
			n++
		}
	}
	return n
}
