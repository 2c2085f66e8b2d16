package shmchan

// WithLockedMemory and WithPrefault: what is locked and mapped when Open returns.

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inKernel is what the kernel says of a handle's mapping, in bytes. The mapping must be there.
func inKernel(t *testing.T, h *handle, key string) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	here := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, fmt.Sprintf("%x-", uintptr(unsafe.Pointer(&h.mem[0])))):
			here = true
		case strings.Contains(f[0], "-"):
			if here {
				return n
			}
		case here && f[0] == key+":":
			_, err := fmt.Sscan(f[1], &n)
			require.NoError(t, err)
			n <<= 10
		}
	}
	require.True(t, here)
	return n
}

// isLocked: the kernel's flags of the mapping say so.
func isLocked(t *testing.T, h *handle) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(b), fmt.Sprintf("%x-", uintptr(unsafe.Pointer(&h.mem[0]))))
	require.True(t, ok)
	_, flags, ok := strings.Cut(after, "VmFlags:")
	require.True(t, ok)
	flags, _, _ = strings.Cut(flags, "\n")
	return strings.Contains(flags+" ", " lo ")
}

func TestPrefaultAndLock(t *testing.T) {
	const capacity = 1 << 12
	for name, c := range map[string]struct {
		opts           []Option
		mapped, locked bool
	}{
		"neither": {nil, false, false}, "prefault": {[]Option{WithPrefault()}, true, false}, "lock": {[]Option{WithLockedMemory()}, true, true},
		"both": {[]Option{WithLockedMemory(), WithPrefault()}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			look := func(what string, ch *Chan[message], maker bool) {
				h := ch.Sender.h
				require.Equal(t, c.locked, isLocked(t, h), what)
				mapped := inKernel(t, h, "Rss")
				if c.mapped {
					require.Equal(t, int64(len(h.mem)), mapped, what)
				} else if !maker { // Who makes it writes all slots.
					require.Less(t, mapped, int64(len(h.mem)), what)
				}
			}
			ch := openTest[message](t, append(c.opts, WithCapacity(capacity))...)
			look("made", ch, true)
			look("attached", again(t, ch, c.opts...), false)
			plain := again(t, ch)
			require.False(t, isLocked(t, plain.Sender.h), "it belongs to the handle")
			unnamed := must[*Chan[message]](t)(New[message](append(c.opts, WithCapacity(capacity))...))
			look("made without a name", unnamed, true)
			other := must[*Chan[message]](t)(FromFiles[message](must[[]*os.File](t)(unnamed.Files()), c.opts...))
			look("from files", other, false)
			aLap(t, other)
			require.NoError(t, other.Detach())
			require.NoError(t, unnamed.Detach())
		})
	}
}

// withMemlock runs f where only so many bytes may be locked.
func withMemlock(t *testing.T, limit uint64, f func()) {
	runtime.LockOSThread() // And not unlocked: the thread ends with the test.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	require.NoError(t, unix.Capget(&hdr, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	require.NoError(t, unix.Capset(&hdr, &caps[0]), "of this thread")
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: old.Max}))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old)) }()
	f()
}

func TestLockedMemoryBeyondTheLimit(t *testing.T) {
	for limit, want := range map[uint64]error{0: unix.EPERM, 64 << 10: unix.ENOMEM} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			withMemlock(t, limit, func() {
				dir := WithDir(memDir(t))
				check := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, want)
					require.ErrorContains(t, err, "channel \"")
					require.ErrorContains(t, err, fmt.Sprintf("(RLIMIT_MEMLOCK) allows %d KiB", limit>>10))
					require.ErrorContains(t, err, "ulimit -l")
				}
				_, err := Open[message]("test", dir, WithLockedMemory(), WithCapacity(1<<12))
				check(err)
				_, err = Inspect("test", dir)
				require.ErrorIs(t, err, fs.ErrNotExist, "what could not be locked was not made")

				ch := must[*Chan[message]](t)(Open[message]("test", dir, WithCapacity(1<<12)))
				_, err = Open[message]("test", dir, WithLockedMemory())
				check(err)
				require.Equal(t, 1, ch.Stats().Senders)
				require.NoError(t, ch.Detach())

				_, err = New[message](WithLockedMemory(), WithCapacity(1<<12))
				check(err)
				unnamed := must[*Chan[message]](t)(New[message](WithCapacity(1 << 12)))
				files := must[[]*os.File](t)(unnamed.Files())
				_, err = FromFiles[message](files, WithLockedMemory())
				check(err)
				other := must[*Chan[message]](t)(FromFiles[message](files))
				aLap(t, other)
				require.NoError(t, other.Detach())
				require.NoError(t, unnamed.Detach())
				if limit > 0 {
					small := must[*Chan[byte]](t)(Open[byte]("small", dir, WithLockedMemory(), WithCapacity(1)))
					require.NoError(t, small.Detach())
				}
			})
		})
	}
}

// The system may also be short of memory.
func TestLockedMemoryThatIsNotThere(t *testing.T) {
	was := mlock
	t.Cleanup(func() { mlock = was })
	mlock = func([]byte) error { return unix.EAGAIN }
	_, err := Open[message]("test", WithDir(memDir(t)), WithLockedMemory())
	require.ErrorIs(t, err, unix.EAGAIN)
	require.NotContains(t, err.Error(), "RLIMIT_MEMLOCK")
	require.ErrorContains(t, err, "leave out WithLockedMemory")
}
