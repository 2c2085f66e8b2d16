package shmchan

// The fault guard: a channel's file is cut short, to nothing, to each page's beginning and in between, while calls of all kinds are
// under way and while they wait, in this process and in others. Every call ends with ErrCorrupt, nobody dies and nothing stays behind.
//
// What it does not show: that a fault between two given instructions is survived; the moments are random.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// calls are all calls on a channel, by the name of the method, with a context that ends soon for those that take one.
// TestFaultGuardCoversEveryMethod sees to it that none is missing.
var guardCalls = map[string]func(ctx context.Context, ch *Chan[fuzzed]) error{
	"Send":        func(_ context.Context, ch *Chan[fuzzed]) error { return ch.Send(fuzzed{}) },
	"SendContext": func(ctx context.Context, ch *Chan[fuzzed]) error { return ch.SendContext(ctx, fuzzed{}) },
	"TrySend":     func(_ context.Context, ch *Chan[fuzzed]) error { return ch.TrySend(fuzzed{}) },
	"SendBatch": func(ctx context.Context, ch *Chan[fuzzed]) error {
		return second(ch.SendBatch(ctx, make([]fuzzed, 3)))
	},
	"SendFunc": func(ctx context.Context, ch *Chan[fuzzed]) error {
		return ch.SendFunc(ctx, func(v *fuzzed) error { v.Fill[100] = 1; return nil })
	},
	"SendFD":      func(_ context.Context, ch *Chan[fuzzed]) error { return second(ch.SendFD()) },
	"RecvFD":      func(_ context.Context, ch *Chan[fuzzed]) error { return second(ch.RecvFD()) },
	"Recv":        func(_ context.Context, ch *Chan[fuzzed]) error { return second(ch.Recv()) },
	"RecvContext": func(ctx context.Context, ch *Chan[fuzzed]) error { return second(ch.RecvContext(ctx)) },
	"TryRecv":     func(_ context.Context, ch *Chan[fuzzed]) error { return second(ch.TryRecv()) },
	"RecvBatch": func(ctx context.Context, ch *Chan[fuzzed]) error {
		return second(ch.RecvBatch(ctx, make([]fuzzed, 3)))
	},
	"RecvFunc": func(ctx context.Context, ch *Chan[fuzzed]) error {
		return ch.RecvFunc(ctx, func(v *fuzzed) error { return v.honest() })
	},
	"All": func(_ context.Context, ch *Chan[fuzzed]) error {
		for range ch.All() {
			break
		}
		return ch.Err()
	},
	"Hold": func(ctx context.Context, ch *Chan[fuzzed]) error {
		return holdAndDone(func(v *Held) error { return ch.Hold(ctx, v) }, func() error { return second(ch.RecvContext(ctx)) })
	},
	"Close": func(_ context.Context, ch *Chan[fuzzed]) error { return ch.Close() },
	"Len":   func(_ context.Context, ch *Chan[fuzzed]) error { ch.Len(); return nil },
	"Stats": func(_ context.Context, ch *Chan[fuzzed]) error { ch.Stats(); return nil },
}

// holdAndDone holds a value and takes it. Where a single receiver may not, it receives.
func holdAndDone(hold func(*Held) error, receive func() error) error {
	var v Held
	switch err := hold(&v); {
	case errors.Is(err, ErrBusy):
		return receive()
	case err != nil:
		return err
	}
	return v.Done()
}

// Those that touch no shared memory, or are another's: Err is All's, Detach is called at the end of every test, the ordinary channels
// and what is said of them: TestFaultGuardOfChans.
var guardFree = []string{"Cap", "Name", "Err", "Detach", "RecvChan", "SendChan", "SendErr", "Done", "Raw"}

// A new method must be in the table, so that the tests here make it.
func TestFaultGuardCoversEveryMethod(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[*Sender[int]](), reflect.TypeFor[*Receiver[int]]()} {
		for m := range typ.Methods() {
			_, called := guardCalls[m.Name]
			require.True(t, called || slices.Contains(guardFree, m.Name), "%v.%s is not in guardCalls: how does it behave on a truncated file?", typ, m.Name)
		}
	}
}

// lengths are those to which a file is cut: nothing, each page's beginning, in the middle, a byte less.
func lengths(h *handle) (all []int64) {
	for n := int64(0); n < int64(len(h.mem)); n += int64(os.Getpagesize()) {
		all = append(all, n)
	}
	return append(all, int64(h.info.ctl)+100, int64(h.info.slotsAt)+20, int64(len(h.mem))/2, int64(len(h.mem))-1)
}

func guardForms() map[string][]Option {
	return map[string][]Option{
		"many": {WithCapacity(2)}, "single": {WithCapacity(2), WithSingleSender(), WithSingleReceiver()}, "rendezvous": {WithCapacity(0)},
		"three": {WithCapacity(3)}, "spinning": {WithCapacity(2), WithWait(Spin)}, "disconnect": {WithCapacity(2), WithDisconnect()},
	}
}

// requireBroken makes every call, each of which says ErrCorrupt, and lets go.
func requireBroken(t *testing.T, ch *Chan[fuzzed]) {
	t.Helper()
	for name, call := range guardCalls {
		if err := call(forever, ch); name != "Len" && name != "Stats" {
			require.ErrorIs(t, err, ErrCorrupt, name)
			require.ErrorContains(t, err, `channel "test"`, name)
		}
	}
	require.Zero(t, ch.Len())
	require.Equal(t, Stats{Name: "test", Cap: ch.Cap()}, ch.Stats())
	require.NoError(t, ch.Detach())
	require.ErrorIs(t, ch.Send(fuzzed{}), ErrDetached)
	require.ErrorIs(t, second(ch.Recv()), ErrDetached)
}

// needsFaultAddress skips a test where a fault is told without its address, as qemu-user does, so that no program
// can know a fault of a mapping from another one. Kernels tell it.
func needsFaultAddress(t *testing.T) {
	if !emulated() {
		return
	}
	f := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "short")))
	defer f.Close()
	require.NoError(t, f.Truncate(int64(os.Getpagesize())))
	mem := must[[]byte](t)(unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	defer func() { require.NoError(t, unix.Munmap(mem)) }()
	require.NoError(t, f.Truncate(0))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if _, told := recover().(interface{ Addr() uintptr }); !told {
			t.Skip("this emulator does not tell the address of a fault (SIGBUS)")
		}
	}()
	mem[len(mem)/2] = 1
}

// A file that is cut short ends the ordinary channels and makes descriptors readable, without a call.
func TestFaultGuardOfChans(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	ch := openTest[fuzzed](t, WithFaultGuard(), WithCapacity(2))
	in, done := ch.RecvChan(t.Context()), ch.Done()
	fd, err := ch.SendFD()
	require.NoError(t, err)
	for errors.Is(err, nil) {
		err = ch.TrySend(fuzzed{})
	}
	require.ErrorIs(t, err, ErrFull)
	require.False(t, readable(t, fd, 0))
	require.NoError(t, os.Truncate(ch.Sender.h.path, 0))
	require.True(t, readable(t, fd, -1))
	<-done
	for range in {
	}
	require.ErrorIs(t, ch.Err(), ErrCorrupt)
	require.ErrorIs(t, ch.TrySend(fuzzed{}), ErrCorrupt)
}

// Parked and spinning calls end when the file is cut short, wherever.
func TestFaultGuardParked(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for form, opts := range guardForms() {
		t.Run(form, func(t *testing.T) {
			before := runtime.NumGoroutine()
			ch := openTest[fuzzed](t, opts...)
			all := lengths(ch.Sender.h)
			require.NoError(t, ch.Detach())
			for i, n := range all {
				for _, full := range []bool{false, true} {
					if *hostile == 0 && form != "many" && i%3 != 0 { // Each waits for the backstop.
						continue
					}
					ch := openTest[fuzzed](t, append(opts, WithFaultGuard())...)
					h := ch.Sender.h
					waits := []string{"Recv", "RecvContext", "RecvBatch", "RecvFunc", "All"}
					if full {
						waits = []string{"Send", "SendContext", "SendBatch", "SendFunc"}
						for range ch.Cap() {
							require.NoError(t, ch.Send(fuzzed{}))
						}
					}
					if form == "single" {
						waits = waits[:1]
					}
					errs := make(chan error)
					for _, name := range waits {
						go func() { errs <- guardCalls[name](t.Context(), ch) }()
					}
					if form == "spinning" {
						runtime.Gosched()
					} else {
						until(t, "parked", func() bool { return ch.Stats().Parked >= uint64(len(waits)) })
					}
					require.NoError(t, os.Truncate(h.path, n))
					for range waits {
						require.ErrorIs(t, <-errs, ErrCorrupt, n)
					}
					requireBroken(t, ch)
				}
			}
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 }) // the backstop may be
		})
	}
}

// work makes random calls until one says ErrCorrupt, and fails on what it may not say.
func guardWork(ch *Chan[fuzzed], rnd *rand.Rand, only string) error {
	names := slices.DeleteFunc(slices.Sorted(func(yield func(string) bool) {
		for n := range guardCalls {
			if !yield(n) {
				return
			}
		}
	}), func(n string) bool {
		sends := n == "Send" || n == "SendContext" || n == "TrySend" || n == "SendBatch" || n == "SendFunc"
		return n == "Close" || n == "Send" || n == "Recv" || n == "All" || only == "send" && !sends || only == "recv" && sends
	})
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(3000))*time.Microsecond)
		err := guardCalls[names[rnd.IntN(len(names))]](ctx, ch)
		cancel()
		switch {
		case errors.Is(err, ErrCorrupt):
			return nil
		case err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrFull) || errors.Is(err, ErrEmpty):
		default:
			return err
		}
	}
}

func init() {
	roles["guarded"] = func(args []string) error {
		ch, err := Open[fuzzed]("test", WithDir(args[0]), WithAttach(), WithFaultGuard())
		if err != nil {
			return err
		}
		fmt.Println("open")
		var wg sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			wg.Go(func() { errs[i] = guardWork(ch, rand.New(rand.NewPCG(1, uint64(i))), "") })
		}
		wg.Wait()
		return errors.Join(errors.Join(errs...), ch.Detach())
	}
	roles["unguarded"] = func(args []string) error {
		ch, err := Open[fuzzed]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		fmt.Println("open")
		_, _ = fmt.Scanln(new(string))
		return ch.Send(fuzzed{})
	}
}

// notUnderRace: the race detector makes an atomic in C, after a look at the address in Go: a page that goes between the two is the end.
func notUnderRace(t *testing.T) {
	if raceEnabled {
		t.Skip("a fault in the race detector's own code cannot be caught")
	}
}

// The file is cut short at random moments while goroutines here, on two handles, and another process are at work.
func TestFaultGuardUnderWork(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	rnd := testRand(t)
	for form, opts := range guardForms() {
		t.Run(form, func(t *testing.T) {
			before := runtime.NumGoroutine()
			for round := range 20 + 100**hostile {
				dir := memDir(t)
				ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", append(opts, WithDir(dir), WithFaultGuard())...))
				all, path := lengths(ch.Sender.h), ch.Sender.h.path
				var wg sync.WaitGroup
				work := func(ch *Chan[fuzzed], only string) {
					own := rand.New(rand.NewPCG(rnd.Uint64(), 3))
					wg.Go(func() { assert.NoError(t, guardWork(ch, own, only)) })
				}
				handles := []*Chan[fuzzed]{ch}
				var c *child
				if form == "single" {
					work(ch, "send")
					work(ch, "recv")
				} else {
					other := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", WithDir(dir), WithFaultGuard()))
					handles = append(handles, other)
					for range 2 {
						work(ch, "")
						work(other, "")
					}
					if round%4 == 0 {
						c = start(t, "guarded", dir)
						require.Equal(t, "open", c.line())
					}
				}
				for range rnd.IntN(2000) {
					runtime.Gosched()
				}
				early := rnd.IntN(4) == 0
				if early { // While calls are under way: the last one out lets go.
					go func() {
						for range 100 {
							runtime.Gosched()
						}
						_ = os.Truncate(path, all[rnd.IntN(len(all))])
					}()
				} else {
					require.NoError(t, os.Truncate(path, all[rnd.IntN(len(all))]))
				}
				wg.Wait()
				for _, ch := range handles {
					require.NoError(t, ch.Detach())
				}
				if c != nil {
					c.wait()
				}
			}
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
			require.Empty(t, leaked())
		})
	}
}

// Detach in the middle of calls whose memory goes: the last one out lets go all the same.
func TestFaultGuardAgainstDetach(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	rnd := testRand(t)
	before := runtime.NumGoroutine()
	for range 50 + 500**hostile {
		ch := openTest[fuzzed](t, WithCapacity(2), WithFaultGuard())
		path, all := ch.Sender.h.path, lengths(ch.Sender.h)
		var wg sync.WaitGroup
		for range 4 {
			own := rand.New(rand.NewPCG(rnd.Uint64(), 3))
			wg.Go(func() {
				if err := guardWork(ch, own, ""); err != nil {
					assert.ErrorIs(t, err, ErrDetached)
				}
			})
		}
		n := all[rnd.IntN(len(all))]
		wg.Go(func() { assert.NoError(t, os.Truncate(path, n)) })
		wg.Go(func() { assert.NoError(t, ch.Detach()) })
		wg.Wait()
		until(t, "let go", func() bool { return len(leaked()) == 0 })
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// What a caller's function does is its own affair, but for the channel's memory.
func TestFaultGuardAndFunctions(t *testing.T) {
	needsFaultAddress(t)
	type own struct{ n int }
	for _, caller := range []bool{false, true} {
		was := debug.SetPanicOnFault(caller)
		ch := openTest[fuzzed](t, WithCapacity(2), WithFaultGuard())
		mine := &own{1}
		require.PanicsWithValue(t, mine, func() { _ = ch.SendFunc(forever, func(*fuzzed) error { panic(mine) }) })
		require.NoError(t, ch.Send(fuzzed{A: 3}))
		require.PanicsWithValue(t, mine, func() { _ = ch.RecvFunc(forever, func(*fuzzed) error { panic(mine) }) })
		require.ErrorIs(t, ch.RecvFunc(forever, func(*fuzzed) error { return errNo }), errNo)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = ch.SendFunc(forever, func(*fuzzed) error { runtime.Goexit(); return nil })
			t.Error("it was to end")
		}()
		<-ended
		elsewhere, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
		require.NoError(t, err)
		require.Panics(t, func() { _ = ch.SendFunc(forever, func(*fuzzed) error { elsewhere[0] = 1; return nil }) })
		require.NoError(t, unix.Munmap(elsewhere))
		require.Equal(t, 1, ch.Len(), "and it works")
		require.Equal(t, caller, debug.SetPanicOnFault(caller), "as the caller had it")

		path := ch.Sender.h.path
		require.ErrorIs(t, ch.SendFunc(forever, func(v *fuzzed) error {
			assert.NoError(t, os.Truncate(path, 0))
			v.A = 1
			t.Error("there is no memory")
			return nil
		}), ErrCorrupt)
		require.Equal(t, caller, debug.SetPanicOnFault(was), "as the caller had it")
		requireBroken(t, ch)
	}
	ch := openTest[[100]uint64](t, WithCapacity(2), WithFaultGuard())
	require.NoError(t, ch.Send([100]uint64{}))
	require.ErrorIs(t, ch.RecvFunc(forever, func(v *[100]uint64) error {
		assert.NoError(t, os.Truncate(ch.Sender.h.path, 0))
		return fmt.Errorf("there is no memory, but %d", v[7])
	}), ErrCorrupt)
	require.NoError(t, ch.Detach())
}

// The file is cut short between Open's, or Inspect's, look at its size and the first touch.
func TestFaultGuardOpen(t *testing.T) {
	needsFaultAddress(t)
	usual, usualRead := mapShared, mapToRead
	t.Cleanup(func() { mapShared, mapToRead = usual, usualRead })
	ch := openTest[fuzzed](t, WithCapacity(2))
	all := lengths(ch.Sender.h)
	dir, path := ch.Sender.h.opts.dir, ch.Sender.h.path
	clean := append([]byte(nil), ch.Sender.h.mem...)
	require.NoError(t, ch.Detach())
	for _, n := range all {
		cut := func(mem []byte, err error) ([]byte, error) { return mem, errors.Join(err, os.Truncate(path, n)) }
		mapShared = func(f *os.File, length uint64) ([]byte, error) { return cut(usual(f, length)) }
		mapToRead = func(f *os.File, length uint64) ([]byte, error) { return cut(usualRead(f, length)) }
		require.NoError(t, os.WriteFile(path, clean, 0o600))
		if _, err := Inspect("test", WithDir(dir)); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		require.NoError(t, os.WriteFile(path, clean, 0o600))
		ch, err := Open[fuzzed]("test", WithDir(dir), WithFaultGuard())
		if err == nil { // It has not touched what is gone.
			require.GreaterOrEqual(t, n, int64(os.Getpagesize()))
			err = second(ch.TryRecv())
			require.NoError(t, ch.Detach())
		}
		if n <= int64(len(clean)/2) {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		mapShared, mapToRead = usual, usualRead
		require.ErrorIs(t, second(Open[fuzzed]("test", WithDir(dir), WithFaultGuard())), ErrCorrupt)
	}
	require.Empty(t, leaked())
}

// A file that is made anew without memory for it, on a file system that is full, is no end either.
func TestFaultGuardWithoutSpace(t *testing.T) {
	needsFaultAddress(t)
	if os.Getuid() != 0 {
		t.Skip("only root can mount a file system of its own")
	}
	dir, err := mountMemory(t, "tmpfs", "size=256k")
	if err != nil {
		t.Skipf("cannot mount a file system: %v", err)
	}
	ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", WithDir(dir), WithCapacity(2), WithFaultGuard()))
	h := ch.Sender.h
	require.NoError(t, os.Truncate(h.path, 0))
	require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600), unix.ENOSPC)
	require.NoError(t, os.Truncate(h.path, int64(len(h.mem))))
	require.ErrorIs(t, ch.Send(fuzzed{}), ErrCorrupt)
	requireBroken(t, ch)
}

// Without the guard the process ends, which this documents.
func TestTruncatedWithoutGuard(t *testing.T) {
	needsFaultAddress(t)
	ch := openTest[fuzzed](t, WithCapacity(2), WithFaultGuard())
	c := start(t, "unguarded", ch.Sender.h.opts.dir)
	require.Equal(t, "open", c.line())
	require.NoError(t, os.Truncate(ch.Sender.h.path, 0))
	c.say("go")
	c.done = true
	require.ErrorContains(t, c.cmd.Wait(), "exit status 2")
	require.Contains(t, c.errs.String(), "unexpected fault address")
	requireBroken(t, ch)
}

// The guard allocates nothing.
func TestFaultGuardAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ch := openTest[int64](t, WithFaultGuard())
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = ch.SendFunc(forever, func(v *int64) error { *v = 1; return nil }), ch.Send(1)
		_, _ = ch.TryRecv()
		_, _ = ch.Recv()
	}))
}

// Each call is the first to touch what is gone, with nobody who looked at the file's size before; and then Detach is.
func TestFaultGuardFirstTouch(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	alive := watchdog(t)
	for form, opts := range guardForms() {
		for name, call := range guardCalls {
			for _, n := range []int64{0, int64(os.Getpagesize())} {
				alive()
				ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", append(opts, WithDir(memDir(t)), WithFaultGuard())...))
				h := ch.Sender.h
				h.faults.looked.Store(1 << 62)
				require.NoError(t, os.Truncate(h.path, n))
				if err := call(t.Context(), ch); name != "Len" && name != "Stats" {
					require.ErrorIs(t, err, ErrCorrupt, "%s %s", form, name)
				}
				if ch.Cap() > 0 || name != "Len" { // which touches nothing without a buffer
					require.True(t, h.faults.broken.Load(), "%s %s", form, name)
				}
				requireBroken(t, ch)
			}
		}
		dir := memDir(t)
		ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", append(opts, WithDir(dir), WithFaultGuard())...))
		ch.Sender.h.faults.looked.Store(1 << 62)
		require.NoError(t, os.Truncate(ch.Sender.h.path, 0))
		require.NoError(t, ch.Detach())
		require.NoError(t, os.Remove(ch.Sender.h.path))
		dirEmpty(t, dir) // its doorbell has gone too
		require.Empty(t, leaked())
	}
}
