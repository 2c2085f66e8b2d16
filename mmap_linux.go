package shmchan

// What Linux gives: the memory file system, mapping, fallocate, locks on an open
// file description, FIFOs. Nothing else in the package makes a system call that
// differs between systems.

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func defaultDir() string { return "/dev/shm" }

// allocate gives the file its size and its memory, so that a full file system is
// ENOSPC here and not SIGBUS later.
func allocate(f *os.File, size int64) error {
	err := eintr(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(f, size)
	}
	return err
}

// onlineCPUs is how many CPUs the machine has running.
func onlineCPUs() int {
	list, err := os.ReadFile("/sys/devices/system/cpu/online") // as 0-3,6
	if n := countCPUs(string(list)); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// countCPUs is how many a list of them has, 0 if it is none.
func countCPUs(list string) (n int) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 0 || b < a {
			return 0
		}
		n += b - a + 1
	}
	return n
}

// timerTicker is a timerfd in Go's poller. Per tick it costs a third of what a
// time.Ticker does, for it wakes neither the runtime's monitor thread nor, as the read
// never blocks and goes past the scheduler, makes it look after us.
type timerTicker struct {
	f    *os.File
	fd   int // of f
	conn syscall.RawConn
	buf  [8]byte
}

func newTicker(every time.Duration) ticker {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return goTicker{time.NewTicker(every)}
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	conn, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return goTicker{time.NewTicker(every)}
	}
	t := &timerTicker{f: f, fd: fd, conn: conn}
	t.reset(every)
	return t
}

// reset cannot fail: it is a timer, and the time is in range.
func (t *timerTicker) reset(every time.Duration) {
	spec := unix.NsecToTimespec(int64(every))
	_ = unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Interval: spec, Value: spec}, nil)
}

func (t *timerTicker) wait() {
	err := t.conn.Read(func(fd uintptr) bool {
		_, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&t.buf)), uintptr(len(t.buf)))
		return e == 0
	})
	if err != nil { // The poller would not have it.
		time.Sleep(backstopBlind)
	}
}

func (t *timerTicker) stop() { _ = t.f.Close() }

// timerAlarm is a timerfd in Go's poller, and who waits for it: Go's own timers may be a millisecond late.
type timerAlarm struct {
	f  *os.File
	fd int // of f
}

func newAlarm(ring func()) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newGoAlarm(ring)
	}
	a := timerAlarm{os.NewFile(uintptr(fd), "timerfd"), fd}
	go func() {
		var buf [8]byte
		for {
			if _, err := a.f.Read(buf[:]); err != nil {
				return
			}
			ring()
		}
	}()
	return a
}

// set cannot fail: it is a timer, and the time is in range.
func (a timerAlarm) set(in time.Duration) {
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil)
}

func (a timerAlarm) stop() { _ = a.f.Close() }

// onDeath calls f once the process pid, as this pid namespace numbers it, has
// ended, and not after cancel. It proves nothing, for pids are used again: f looks at the
// locks, which are free by then (the kernel closes a process's files before it tells).
func onDeath(pid int, f func()) (cancel func(), err error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	conn, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	go func() {
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err == nil {
			f()
		}
		_ = file.Close()
	}()
	return func() { _ = file.Close() }, nil
}

// pidSpace tells pid namespaces apart; 0 if it is not known.
var pidSpace = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0
	}
	return st.Ino
})

// rangeLocks are open-file-description locks on single bytes of the ring's file,
// far behind its end. They belong to the description, and so to this handle alone:
// closing another descriptor of the file does not drop them, the end of the
// process does. Source: fcntl(2), "Open file description locks".
type rangeLocks struct{ fd int }

const lockBase = 1 << 62

func newLocks(f *os.File, _ *header, _ string) locker { return rangeLocks{int(f.Fd())} }

func (l rangeLocks) op(cmd int, typ int16, i int) (unix.Flock_t, error) {
	lk := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: lockBase + int64(i), Len: 1}
	err := eintr(func() error { return unix.FcntlFlock(uintptr(l.fd), cmd, &lk) })
	return lk, err
}

func (l rangeLocks) tryLock(i int) (bool, error) {
	_, err := l.op(unix.F_OFD_SETLK, unix.F_WRLCK, i)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

func (l rangeLocks) held(i int) (bool, error) {
	lk, err := l.op(unix.F_OFD_GETLK, unix.F_WRLCK, i)
	return lk.Type != unix.F_UNLCK, err
}

func (l rangeLocks) unlock(i int) error {
	_, err := l.op(unix.F_OFD_SETLK, unix.F_UNLCK, i)
	return err
}

func (l rangeLocks) close() error { return nil }

// yieldCPU lets another thread run on this CPU, if one wants to.
func yieldCPU() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
