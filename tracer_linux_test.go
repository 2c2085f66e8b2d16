//go:build amd64

package shmchan

// One thread of another process, instruction by instruction, through ptrace. Nothing
// here knows what the thread does; instruction_linux_test.go does.
//
// Of the other threads of that process one is held too, the monitor of the Go
// runtime: it asks a goroutine that has run for 10 ms to give way, which at this pace would
// be every few hundred instructions, and add thousands that are not the operation's. All
// others run freely.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tracer holds one thread. All of its methods must be called from the OS thread that
// called trace. Between calls the thread stands still.
type tracer struct {
	t     testing.TB
	tid   int
	regs  unix.PtraceRegs
	ended bool   // the thread is about to say that it is done, by tgkill
	gone  bool   // the thread is dead, or ours no more
	help  func() // called again and again while the thread sleeps in a futex

	monitor int // the runtime's monitor thread, 0 if it is not held
}

// Where system calls are in this binary, by address: its code does not change.
var callSites = map[uint64]bool{}

// The signals by which a thread says that its operation begins and ends.
const (
	beginMark = unix.SIGUSR1
	endMark   = unix.SIGUSR2
)

// marker says so for the thread that makes it. The tracer sees the signal and takes it away.
func marker() (mark func(unix.Signal)) {
	pid, tid := uintptr(os.Getpid()), uintptr(unix.Gettid())
	return func(s unix.Signal) { _, _, _ = unix.RawSyscall(unix.SYS_TGKILL, pid, tid, uintptr(s)) }
}

// trace attaches to a thread that runs. The error says that this is not permitted.
func trace(t testing.TB, tid int) (*tracer, error) {
	if err := unix.PtraceSeize(tid); err != nil {
		return nil, err
	}
	v := &tracer{t: t, tid: tid, help: func() {}}
	t.Cleanup(func() { // After a failure: the process does not end before we have seen its thread's end.
		if !v.gone {
			_ = unix.Kill(tid, unix.SIGKILL)
			v.reap()
		}
	})
	return v, nil
}

// holdMonitor holds the runtime's monitor thread, the first that the runtime starts: the
// kernel lists threads in the order in which they were made.
func (v *tracer) holdMonitor(pid int) {
	v.t.Helper()
	d := must[*os.File](v.t)(os.Open(fmt.Sprintf("/proc/%d/task", pid)))
	defer func() { _ = d.Close() }()
	names := must[[]string](v.t)(d.Readdirnames(2))
	require.Len(v.t, names, 2)
	require.Equal(v.t, fmt.Sprint(pid), names[0])
	tid := must[int](v.t)(strconv.Atoi(names[1]))
	require.NotEqual(v.t, v.tid, tid)
	require.NoError(v.t, unix.PtraceSeize(tid))
	v.monitor = tid
	for { // Until it sleeps of its own accord: anywhere else it may hold a lock of the runtime.
		require.NoError(v.t, unix.PtraceInterrupt(tid))
		var ws unix.WaitStatus
		n, err := unix.Wait4(tid, &ws, unix.WALL, nil)
		require.NoError(v.t, err)
		require.Equal(v.t, tid, n)
		require.True(v.t, ws.Stopped())
		require.NoError(v.t, unix.PtraceGetRegs(tid, &v.regs))
		switch call := v.regs.Orig_rax; {
		case call == unix.SYS_NANOSLEEP, call == unix.SYS_FUTEX && v.regs.R10 != 0: // with a time limit
			return
		}
		require.NoError(v.t, unix.PtraceCont(tid, 0))
		runtime.Gosched()
	}
}

// toBegin waits until the thread stands at its beginMark. It may not have run into it yet.
func (v *tracer) toBegin() {
	v.t.Helper()
	s := v.stop(false, func() error { return unix.PtraceCont(v.tid, 0) })
	require.Equal(v.t, beginMark, s)
	require.NoError(v.t, unix.PtraceSetOptions(v.tid, unix.PTRACE_O_TRACESYSGOOD))
}

// stop waits until the thread stands still, and says by which signal. Stops that
// are none of ours (the end of a SIGSTOP, the runtime's SIGURG) are gone on from; those
// signals are taken away.
func (v *tracer) stop(sleeps bool, again func() error) unix.Signal {
	v.t.Helper()
	for began := time.Now(); ; {
		var ws unix.WaitStatus
		flags := unix.WALL
		if sleeps {
			flags |= unix.WNOHANG
		}
		n, err := unix.Wait4(v.tid, &ws, flags, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(v.t, err)
		if n == 0 {
			if v.asleep() {
				v.help()
			}
			require.Less(v.t, time.Since(began), wedged, "it sleeps, and nobody wakes it")
			runtime.Gosched()
			continue
		}
		require.True(v.t, ws.Stopped(), "the thread ended by itself: %#x", ws)
		s := ws.StopSignal()
		switch {
		case s == unix.SIGTRAP|0x80, s == beginMark, s == endMark:
			return s
		case s == unix.SIGTRAP && ws>>16 == 0:
			return s
		}
		require.NoError(v.t, again())
	}
}

// asleep says whether the thread sleeps in the kernel.
func (v *tracer) asleep() bool { return stateOf(fmt.Sprint(v.tid)) == 'S' }

// stateOf is the letter by which the kernel tells a thread's state, 0 if there is none.
func stateOf(tid string) byte {
	b, err := os.ReadFile("/proc/" + tid + "/stat")
	if i := bytes.LastIndexByte(b, ')'); err == nil && i > 0 && i+2 < len(b) {
		return b[i+2]
	}
	return 0
}

// finish runs to the end mark and lets the thread go.
func (v *tracer) finish() {
	v.t.Helper()
	if !v.ended {
		v.skip(1 << 20)
	}
	again := func() error { return unix.PtraceCont(v.tid, 0) }
	require.NoError(v.t, again())
	require.Equal(v.t, endMark, v.stop(false, again))
	require.NoError(v.t, unix.PtraceDetach(v.tid))
	require.NoError(v.t, unix.PtraceDetach(v.monitor))
	v.gone = true
}

// step executes one instruction. Call: it was a system call that others may notice;
// a futex of the Go runtime they do not.
func (v *tracer) step() (call bool) {
	v.t.Helper()
	require.NoError(v.t, unix.PtraceGetRegs(v.tid, &v.regs))
	is, known := callSites[v.regs.Rip]
	if !known {
		var code [8]byte
		_, err := unix.PtracePeekText(v.tid, uintptr(v.regs.Rip), code[:])
		require.NoError(v.t, err)
		is = code[0] == 0x0f && code[1] == 0x05 // SYSCALL
		callSites[v.regs.Rip] = is
	}
	if is && v.regs.Rax == unix.SYS_TGKILL {
		v.ended = true
		return false
	}
	futex := is && v.regs.Rax == unix.SYS_FUTEX
	again := func() error { return unix.PtraceSingleStep(v.tid) }
	require.NoError(v.t, again())
	v.stop(futex, again)
	return is && !futex
}

// skip runs until the thread has come back from n system calls that others may
// notice, without stepping.
func (v *tracer) skip(n int) (skipped int) {
	v.t.Helper()
	again := func() error { return unix.PtraceSyscall(v.tid, 0) }
	for skipped < n {
		require.NoError(v.t, again())
		v.stop(false, again)
		require.NoError(v.t, unix.PtraceGetRegs(v.tid, &v.regs))
		if v.regs.Orig_rax == unix.SYS_TGKILL {
			v.ended = true
			return skipped
		}
		futex := v.regs.Orig_rax == unix.SYS_FUTEX
		require.NoError(v.t, again())
		v.stop(futex, again)
		if !futex {
			skipped++
		}
	}
	return skipped
}

// at is the address of the next instruction.
func (v *tracer) at() uint64 {
	require.NoError(v.t, unix.PtraceGetRegs(v.tid, &v.regs))
	return v.regs.Rip
}

// reap waits for the end of the threads that are held, after SIGKILL.
func (v *tracer) reap() {
	v.gone = true
	for _, tid := range []int{v.tid, v.monitor} {
		for ended := tid == 0; !ended; {
			var ws unix.WaitStatus
			_, err := unix.Wait4(tid, &ws, unix.WALL, nil)
			ended = err != nil && !errors.Is(err, unix.EINTR) || err == nil && (ws.Exited() || ws.Signaled())
		}
	}
}

// quietStops has the kernel send no SIGCHLD for a child that only stops, which at every
// step costs as much as the step.
func quietStops(t testing.TB) {
	const noStops = 1 // SA_NOCLDSTOP
	var action struct{ handler, flags, restorer, mask uintptr }
	set := func(from, to uintptr) {
		_, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), from, to, 8, 0, 0)
		require.Zero(t, err)
	}
	set(0, uintptr(unsafe.Pointer(&action)))
	old := action
	action.flags |= noStops
	set(uintptr(unsafe.Pointer(&action)), 0)
	t.Cleanup(func() { set(uintptr(unsafe.Pointer(&old)), 0) })
}

// watcher tells whether any byte of the regular files in a directory has changed.
type watcher struct {
	t     testing.TB
	dir   string
	files map[string]*watchedFile
}

type watchedFile struct{ mem, last []byte }

func newWatcher(t testing.TB, dir string) *watcher {
	w := &watcher{t: t, dir: dir, files: map[string]*watchedFile{}}
	w.rescan()
	return w
}

// rescan looks for new files, which only a system call can bring.
func (w *watcher) rescan() {
	entries, err := os.ReadDir(w.dir)
	require.NoError(w.t, err)
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() || st.Size() == 0 || w.files[e.Name()] != nil {
			continue
		}
		f, err := os.Open(filepath.Join(w.dir, e.Name()))
		if err != nil {
			continue
		}
		mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
		require.NoError(w.t, err)
		_ = f.Close()
		w.files[e.Name()] = &watchedFile{mem, bytes.Clone(mem)}
	}
}

// changed says whether a file has changed since it was last asked.
func (w *watcher) changed() (changed bool) {
	for _, f := range w.files {
		if !bytes.Equal(f.mem, f.last) {
			copy(f.last, f.mem)
			changed = true
		}
	}
	return changed
}

func (w *watcher) close() {
	for _, f := range w.files {
		_ = unix.Munmap(f.mem)
	}
}
