package shmchan

// The fault guard, statement by statement: what breaks a handle and in which order, who looks at the file's size, what is run once more.
// guard_test.go has the whole of it, at random moments. Each of these tests is here because a mutant passed the others.

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// faultError is a panic as the runtime makes one of a fault.
type faultError uintptr

func (faultError) Error() string   { return "fault" }
func (faultError) RuntimeError()   {}
func (f faultError) Addr() uintptr { return uintptr(f) }

// A fault of the mapping is one of its own bytes, neither of those around it, and there is none before there is a mapping.
func TestIsFault(t *testing.T) {
	h := openTest[int64](t, WithFaultGuard()).Sender.h
	first, length := uintptr(unsafe.Pointer(&h.mem[0])), uintptr(len(h.mem))
	require.True(t, h.isFault(faultError(first)))
	require.True(t, h.isFault(faultError(first+length-1)))
	require.False(t, h.isFault(faultError(first+length)))
	require.False(t, h.isFault(faultError(first-1)))
	require.False(t, h.isFault(faultError(0)))
	require.False(t, h.isFault(runtime.Error(nil)))
	require.False(t, h.isFault("a panic"))
	require.False(t, (&handle{}).isFault(faultError(0)))
}

// A handle is marked before its memory goes, so that whoever has seen zeros finds the mark, and who waits is woken after that. It breaks once.
func TestBreakUp(t *testing.T) {
	usual := mapZeros
	t.Cleanup(func() { mapZeros = usual })
	noBackstop(t)
	for round := range 12 {
		capacity := round % 2
		ch := openTest[int64](t, WithCapacity(capacity), WithFaultGuard(), WithWait(Park))
		idle := openTest[int64](t, WithCapacity(0), WithWait(Park))
		h := ch.Sender.h
		fd, gone, done := must[int](t)(ch.RecvFD()), ch.Receiver.h.recv.gone(), ch.Done()
		require.ErrorIs(t, second(ch.TryRecv()), ErrEmpty)
		results, waits := make(chan error, 4), 0
		wait := func(call func() error) {
			parking(t, h, func() { results <- call() })
			waits++
		}
		if capacity == 0 { // As a poster and in the queue, or as a watcher and a poster: where the Select's offer is is random.
			wait(func() error { return second(Select(t.Context(), SendCase(idle.Sender, 1), SendCase(ch.Sender, 2))) })
			wait(func() error { return ch.Send(1) })
		} else {
			wait(func() error { return second(ch.Recv()) })
			wait(func() error { return second(Select(t.Context(), RecvCase(ch.Receiver, nil))) })
		}
		queued := queuedOn(&h.send) + queuedOn(&h.recv)
		require.Equal(t, waits, queued)
		calls := 0
		mapZeros = func(mem []byte) error {
			calls++
			assert.True(t, h.faults.broken.Load(), "marked first")
			assert.Empty(t, results, "nobody was woken yet")
			select {
			case <-gone:
				t.Error("nobody was told yet")
			default:
			}
			return usual(mem)
		}
		h.breakUp()
		require.Equal(t, 1, calls)
		for range waits {
			require.ErrorIs(t, <-results, ErrCorrupt)
		}
		require.Zero(t, queuedOn(&h.send)+queuedOn(&h.recv))
		require.True(t, readable(t, fd, 0))
		<-gone
		<-done
		require.Zero(t, h.mem[0], "where the magic number was")
		h.mem[0] = 1
		h.breakUp()
		require.Equal(t, byte(1), h.mem[0], "once")
		require.Equal(t, 1, calls)
	}
}

// Where no zeros can be put in the place of memory that is gone, every touch is a fault, and every call ends all the same.
func TestBreakUpWithoutZeros(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	usual := mapZeros
	t.Cleanup(func() { mapZeros = usual })
	mapZeros = func([]byte) error { return unix.ENOMEM }
	for form, opts := range guardForms() {
		dir := memDir(t)
		ch := must[*Chan[fuzzed]](t)(Open[fuzzed]("test", append(opts, WithDir(dir), WithFaultGuard())...))
		path := ch.Sender.h.path
		ch.Sender.h.faults.looked.Store(1 << 62)
		require.NoError(t, os.Truncate(path, 0))
		require.ErrorIs(t, ch.Send(fuzzed{}), ErrCorrupt, form)
		requireBroken(t, ch)
	}
	require.Empty(t, leaked())
}

// A file that has lost its last byte faults nobody, as the page is still there: each call finds it by the size.
func TestFaultGuardLooksAtTheSize(t *testing.T) {
	noBackstop(t)
	for form, opts := range guardForms() {
		if form == "rendezvous" {
			continue // Its calls would wait for one another.
		}
		for name, call := range guardCalls {
			ch := openTest[fuzzed](t, append(opts, WithFaultGuard())...)
			h := ch.Sender.h
			require.NoError(t, ch.Send(fuzzed{}))
			require.NoError(t, os.Truncate(h.path, int64(len(h.mem))-1))
			h.faults.looked.Store(-int64(time.Hour))
			if err := call(t.Context(), ch); name != "Len" && name != "Stats" {
				require.ErrorIs(t, err, ErrCorrupt, "%s %s", form, name)
			}
			require.True(t, h.faults.broken.Load(), "%s %s", form, name)
		}
		for what, cases := range map[string]func(ch *Chan[fuzzed]) []Case{
			"receives": func(ch *Chan[fuzzed]) []Case { return []Case{RecvCase(ch.Receiver, nil)} },
			"sends":    func(ch *Chan[fuzzed]) []Case { return []Case{SendCase(ch.Sender, fuzzed{})} },
		} {
			for _, try := range []bool{false, true} {
				ch := openTest[fuzzed](t, append(opts, WithFaultGuard())...)
				h := ch.Sender.h
				require.NoError(t, ch.Send(fuzzed{}))
				require.NoError(t, os.Truncate(h.path, int64(len(h.mem))-1))
				h.faults.looked.Store(-int64(time.Hour))
				var err error
				if try {
					_, err = TrySelect(cases(ch)...)
				} else {
					_, err = Select(t.Context(), cases(ch)...)
				}
				require.ErrorIs(t, err, ErrCorrupt, "%s %s", form, what)
			}
		}
	}
}

// It is looked at no more often than every 5 ms, but by the backstop each time.
func TestSizeIsLookedAtSeldom(t *testing.T) {
	noBackstop(t)
	ch := openTest[int64](t, WithFaultGuard())
	h := ch.Sender.h
	require.NoError(t, ch.Send(1))
	h.faults.looked.Store(int64(time.Hour)) // Somebody looked, or will have.
	require.NoError(t, os.Truncate(h.path, int64(len(h.mem))-1))
	require.NoError(t, ch.Send(1))
	require.False(t, h.faults.broken.Load())
	h.faults.looked.Store(int64(time.Since(processStart))) // Just now, at the latest.
	h.whileHere(func() {})
	require.True(t, h.faults.broken.Load())
	require.ErrorIs(t, ch.Send(1), ErrCorrupt)
}

// One who waits by a handle with the guard is woken by another handle, and looked after by the backstop.
func TestFaultGuardIsWoken(t *testing.T) {
	for _, quietly := range []bool{false, true} {
		if !quietly {
			noBackstop(t)
		} else {
			backstopAfter(backstopEvery, backstopBlind)
		}
		for _, capacity := range []int{0, 1} {
			ch := openTest[int64](t, WithCapacity(capacity), WithFaultGuard(), WithWait(Park))
			other := again(t, ch, WithWait(Park))
			got := make(chan error, 1)
			parking(t, ch.Sender.h, func() { got <- second(ch.Recv()) })
			if quietly {
				relieve(t, other.Sender.h, receiving)
			} else {
				require.NoError(t, other.Send(1))
			}
			require.NoError(t, <-got)
		}
	}
}

// The look of the backstop, and what came by the doorbell, are guarded too: they may be the first to touch what is gone.
func TestFaultGuardOfWatchers(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	for _, rung := range []bool{false, true} {
		if rung {
			noBackstop(t)
		}
		ch := openTest[int64](t, WithCapacity(1), WithFaultGuard(), WithWait(Park))
		h := ch.Sender.h
		other := again(t, ch, WithFaultGuard())
		got := make(chan error, 1)
		parking(t, h, func() { got <- second(ch.Recv()) })
		require.NoError(t, other.TrySend(1)) // So that its doorbell is known, and open.
		require.NoError(t, <-got)
		parking(t, h, func() { got <- second(ch.Recv()) })
		h.faults.looked.Store(1 << 62) // It does not look at the size.
		require.NoError(t, os.Truncate(h.path, 0))
		if rung {
			other.Sender.h.bellMu.Lock()
			for _, r := range other.Sender.h.bells {
				require.NoError(t, second(unix.Write(r.fd, []byte{ringReceiver})))
			}
			other.Sender.h.bellMu.Unlock()
		}
		require.ErrorIs(t, <-got, ErrCorrupt)
	}
}

// What a fault ended is done once more by Detach: the descriptors are closed and the single roles let go.
func TestFaultGuardDetachesToTheEnd(t *testing.T) {
	needsFaultAddress(t)
	notUnderRace(t)
	noBackstop(t)
	ch := openTest[int64](t, WithCapacity(2), WithSingleSender(), WithSingleReceiver(), WithFaultGuard())
	h := ch.Sender.h
	file := must[*os.File](t)(os.OpenFile(h.path, os.O_RDWR, 0))
	locks := newLocks(file, h.info, h.opts.dir)
	defer func() { require.NoError(t, errors.Join(locks.close(), file.Close())) }()
	require.True(t, must[bool](t)(locks.held(lockSender)))
	fds := [2]int{must[int](t)(ch.SendFD()), must[int](t)(ch.RecvFD())}
	h.faults.looked.Store(1 << 62)
	require.NoError(t, os.Truncate(h.path, 0))
	isOpen := func(fd int) bool {
		return !errors.Is(second(unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)), syscall.EBADF)
	}
	require.NoError(t, ch.Sender.Detach())
	require.False(t, isOpen(fds[0]))
	require.False(t, must[bool](t)(locks.held(lockSender)))
	require.True(t, isOpen(fds[1]))
	require.True(t, must[bool](t)(locks.held(lockReceiver)))
	require.NoError(t, ch.Receiver.Detach())
	require.False(t, isOpen(fds[1]))
	require.False(t, must[bool](t)(locks.held(lockReceiver)))
}

// A value that was taken when the handle had just been broken by another is not given to the caller.
func TestFaultGuardTakesNothing(t *testing.T) {
	ch := openTest[int64](t, WithCapacity(2), WithFaultGuard())
	h := ch.Sender.h
	require.NoError(t, ch.Send(7))
	v, err := ch.guardedTake(func() (uint64, error) {
		pos, err := h.tryRecvBegin()
		h.faults.broken.Store(true) // By another, who puts zeros there next.
		return pos, err
	})
	require.ErrorIs(t, err, ErrCorrupt)
	require.Zero(t, v)
}

// Who finds a handle that another is about to break returns when there are zeros, so that what surely runs once more cannot fault again.
func TestBreakUpIsWaitedFor(t *testing.T) {
	usual := mapZeros
	t.Cleanup(func() { mapZeros = usual })
	h := openTest[int64](t, WithFaultGuard()).Sender.h
	var replaced atomic.Bool
	other := make(chan bool, 1)
	mapZeros = func(mem []byte) error {
		go func() {
			h.breakUp()
			other <- replaced.Load()
		}()
		for range 1000 { // It has its chance.
			runtime.Gosched()
		}
		replaced.Store(true)
		return usual(mem)
	}
	h.breakUp()
	require.True(t, <-other)
}

// A call that faults is over before the handle is broken, and its end may be what lets go of the memory, which is then left alone: somebody else's
// may lie there.
func TestFaultThatLetsGo(t *testing.T) {
	needsFaultAddress(t)
	usual := mapZeros
	t.Cleanup(func() { mapZeros = usual })
	for form, opts := range guardForms() {
		if form == "rendezvous" {
			continue // Its calls would wait for one another.
		}
		ch, let := openTest[fuzzed](t, opts...), 0
		all := lengths(ch.Sender.h)
		require.NoError(t, ch.Detach())
		for _, n := range all {
			ch := openTest[fuzzed](t, append(opts, WithFaultGuard())...)
			h := ch.Sender.h
			mapZeros = func(mem []byte) error {
				h.life.RLock()
				defer h.life.RUnlock()
				require.False(t, h.released && h.faults.gone, "%s, %d bytes: the memory is not ours any more", form, n)
				return usual(mem)
			}
			err := ch.SendFunc(forever, func(v *fuzzed) error {
				assert.NoError(t, ch.Detach())
				assert.NoError(t, os.Truncate(h.path, n))
				*v = fuzzed{}
				return nil
			})
			if err == nil {
				continue // All that it touched was there.
			}
			require.ErrorIs(t, err, ErrDetached)
			require.True(t, h.faults.broken.Load())
			require.True(t, h.released)
			let++
		}
		require.Positive(t, let, form)
	}
	require.Empty(t, leaked())
}
