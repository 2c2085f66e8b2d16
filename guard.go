package shmchan

// WithFaultGuard: a file that is cut short under a handle is ErrCorrupt there, and not the end of the process.
//
// The system answers a touch of memory that the file has no more, or for which the file system has no room, by
// SIGBUS. Go makes a panic of that in a goroutine that has asked for it (debug.SetPanicOnFault), wherever in Go
// or in assembly it happens, and says the address.
//
// Invariants, for a handle with the option:
//   - Its lanes are barred, so that all calls go the long way. Shared memory is touched only inside guard, caught or surely:
//     by calls, by the listener, the backstop and the watchers (whileHere), by Open, and by who lets go.
//   - The first fault breaks the handle: first it is marked, then its memory is replaced by private zeros, so that nobody
//     faults any more, then everybody who waits is woken. A call that may have seen the zeros looks at
//     the mark before it returns, and says ErrCorrupt.
//   - Who faulted, or found the file too short, may not be counted any more when it breaks the handle: memory that
//     was let go of is left alone.
//   - Who holds a mutex while shared memory is touched has deferred its unlock.
//   - A panic that is no fault of the mapping goes on as it was, and the goroutine's own setting is put back.

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faultGuard is what a handle notes of its faults.
type faultGuard struct {
	mu     sync.Mutex
	gone   bool // the memory is not ours any more; guarded by mu
	broken atomic.Bool
	looked atomic.Int64 // when somebody looked at the file's size
}

// caught runs f, and says whether a fault of the mapping ended it. The handle is broken then.
func (h *handle) caught(f func()) (fault bool) {
	defer h.catch(debug.SetPanicOnFault(true), &fault)
	f()
	return false
}

func (h *handle) catch(was bool, fault *bool) {
	p := recover()
	if *fault = p != nil && h.isFault(p); *fault {
		h.breakUp()
		p = nil
	}
	debug.SetPanicOnFault(was)
	if p != nil {
		panic(p)
	}
}

// isFault says whether a panic is a fault of the mapping.
func (h *handle) isFault(p any) bool {
	e, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	return ok && len(h.mem) > 0 && e.Addr()-uintptr(unsafe.Pointer(&h.mem[0])) < uintptr(len(h.mem))
}

// breakUp ends all work on the handle. It touches no shared memory.
func (h *handle) breakUp() {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	if h.faults.broken.Swap(true) || h.faults.gone {
		return
	}
	_ = mapZeros(h.mem) // Should this fail, every touch is a fault of its own, and caught too.
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range []*side{&h.send, &h.recv} {
		for _, l := range []*waitList{&s.queue, &s.posters, &s.watchers} {
			for w := l.pop(); w != nil; w = l.pop() {
				w.wake()
			}
		}
		if p := s.disarm(); p != nil {
			p.raise()
		}
		s.closeGone()
	}
}

// mapZeros puts private zeros in the place of memory. It is replaced by tests of the order in which a handle breaks.
var mapZeros = func(mem []byte) error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&mem[0]), uintptr(len(mem)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}

// guard runs a call of a side.
func (h *handle) guard(s *side, f func() error) (err error) {
	if !h.opts.faultGuard {
		return f()
	}
	h.checkSize(checkEvery)
	if !h.faults.broken.Load() {
		h.caught(func() { err = f() })
	}
	if h.faults.broken.Load() {
		return s.whyGone()
	}
	return err
}

// surely runs f to its end: once more if a fault ended it, which cannot happen again. So f may be begun anew anywhere.
func (h *handle) surely(f func()) {
	if !h.opts.faultGuard {
		f()
	} else if h.caught(f) {
		h.caught(f)
	}
}

// checkSize breaks the handle if its file is shorter, for not every call touches what is gone. It looks at most that often.
func (h *handle) checkSize(every time.Duration) {
	now := int64(time.Since(processStart))
	last := h.faults.looked.Load()
	if now-last < int64(every) || !h.faults.looked.CompareAndSwap(last, now) {
		return
	}
	if st, err := h.file.Stat(); err == nil && st.Size() < int64(len(h.mem)) {
		h.breakUp()
	}
}

// watchFile is whileHere's guard.
func (h *handle) watchFile(f func()) {
	if !h.opts.faultGuard {
		f()
		return
	}
	if h.checkSize(0); !h.faults.broken.Load() {
		h.caught(f)
	}
}

// openGuarded is open with the guard, if that was asked for.
func (h *handle) openGuarded(l *layout, roles uint64) (again bool, err error) {
	if !h.opts.faultGuard {
		return h.open(l, roles)
	}
	h.caught(func() { again, err = h.open(l, roles) })
	if h.faults.broken.Load() {
		return false, h.errs.broken
	}
	return again, err
}

// whyGone says why calls of the side end: it is detached, or the handle is broken.
func (s *side) whyGone() error {
	if !s.detached.Load() && s.h.faults.broken.Load() {
		return s.h.errs.broken
	}
	return s.h.errs.detached
}

func brokenError(name string) error {
	who := "who may write the file can cut it short, see WithMode"
	if isUnnamed(name) {
		who = "who has its files can cut it short, where they are no sealed memfd"
	}
	return &chanError{name, fmt.Errorf("%w: its file was cut short under this handle, or its file system has no room for it", ErrCorrupt),
		"detach, " + renewal(name) + "; " + who}
}

// newSender is a handle's sending side. With the guard, plain is the same without: what the guarded calls call.
func newSender[T any](h *handle, c codec[T]) *Sender[T] {
	s := &Sender[T]{h: h, codec: c}
	if h.opts.faultGuard {
		s.plain = &Sender[T]{h: h, codec: c}
	}
	return s
}

func newReceiver[T any](h *handle, c codec[T]) *Receiver[T] {
	r := &Receiver[T]{h: h, codec: c}
	if h.opts.faultGuard {
		r.plain = &Receiver[T]{h: h, codec: c}
	}
	return r
}

// The calls, guarded. Not inlined, lest they make the unguarded ones slower.

//go:noinline
func (s *Sender[T]) guardedSend(ctx context.Context, v *T) error {
	h := s.h
	return h.guard(&h.send, func() error {
		if !h.send.begin() {
			return h.errs.detached
		}
		defer h.send.end()
		pos, err := h.sendBegin(ctx)
		if err != nil {
			return err
		}
		s.put(h.value(pos), v)
		return h.sendEnd(ctx, pos)
	})
}

//go:noinline
func (s *Sender[T]) guardedTrySend(v *T) error {
	return s.h.guard(&s.h.send, func() error { return s.plain.TrySend(*v) })
}

//go:noinline
func (s *Sender[T]) guardedBatch(ctx context.Context, vs []T) (n int, err error) {
	err = s.h.guard(&s.h.send, func() (err error) { n, err = s.plain.sendBatch(nil, ctx, vs, 0); return err })
	return n, err
}

//go:noinline
func (s *Sender[T]) guardedFunc(ctx context.Context, fill func(v *T) error) error {
	return s.h.guard(&s.h.send, func() error { return s.plain.SendFunc(ctx, fill) })
}

//go:noinline
func (r *Receiver[T]) guardedReceive(ctx context.Context) (v T, err error) {
	return r.guardedTake(func() (uint64, error) { return r.h.recvBegin(ctx) })
}

//go:noinline
func (r *Receiver[T]) guardedTry() (v T, err error) {
	return r.guardedTake(func() (uint64, error) {
		pos, err := r.h.tryRecvBegin()
		return pos, r.h.recv.refused(err)
	})
}

func (r *Receiver[T]) guardedTake(begin func() (uint64, error)) (v T, err error) {
	h := r.h
	err = h.guard(&h.recv, func() error {
		if !h.recv.begin() {
			return h.errs.detached
		}
		defer h.recv.end()
		pos, err := begin()
		if err != nil {
			return err
		}
		return r.take(pos, &v)
	})
	if h.faults.broken.Load() {
		var zero T
		v = zero
	}
	return v, err
}

//go:noinline
func (r *Receiver[T]) guardedBatch(ctx context.Context, buf []T) (n int, err error) {
	err = r.h.guard(&r.h.recv, func() (err error) { n, err = r.plain.recvBatch(nil, ctx, buf); return err })
	return n, err
}

//go:noinline
func (r *Receiver[T]) guardedFunc(ctx context.Context, use func(v *T) error) error {
	return r.h.guard(&r.h.recv, func() error { return r.plain.RecvFunc(ctx, use) })
}
