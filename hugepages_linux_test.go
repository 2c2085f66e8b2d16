package shmchan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hugeChannels opens a channel with these options by name and without one.
func hugeChannels(t *testing.T, f func(t *testing.T, ch *Chan[message]), opts ...Option) {
	t.Run("named", func(t *testing.T) { f(t, openTest[message](t, opts...)) })
	t.Run("unnamed", func(t *testing.T) {
		ch := must[*Chan[message]](t)(New[message](opts...))
		t.Cleanup(func() { _ = ch.Detach() })
		f(t, ch)
	})
}

// canHugePages: whether this system moves the pages of a file in a tmpfs into a huge one, as a program that is not ours finds.
func canHugePages(t *testing.T) error {
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.Ftruncate(fd, hugeUnit))
	all, err := unix.Mmap(-1, 0, 3*hugeUnit, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { _ = unix.Munmap(all) }()
	at := unsafe.Pointer(&all[-uintptr(unsafe.Pointer(&all[0]))%hugeUnit])
	_, err = unix.MmapPtr(fd, 0, at, hugeUnit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	require.NoError(t, err)
	mem := unsafe.Slice((*byte)(at), hugeUnit)
	for i := range mem {
		mem[i] = 1
	}
	return unix.Madvise(mem, unix.MADV_COLLAPSE)
}

// needsHugePages skips where there are none. The function that it returns is for when a channel has been made, and skips if the system has refused it any:
// it may have some at one moment and none at the next.
func needsHugePages(t *testing.T) (given func(t *testing.T)) {
	if emulated() {
		t.Skip("an emulator does not pass this advice on, though it says so")
	}
	if err := canHugePages(t); err != nil {
		t.Skipf("no huge pages here: %v (from Linux 6.1 on, with /sys/kernel/mm/transparent_hugepage/shmem_enabled not deny, and memory that is free in one piece)", err)
	}
	usual := madvise
	t.Cleanup(func() { madvise = usual })
	asked, refused := 0, error(nil)
	madvise = func(mem []byte, advice int) error {
		err := usual(mem, advice)
		if advice == unix.MADV_COLLAPSE {
			asked, refused = asked+1, errors.Join(refused, err)
		}
		return err
	}
	return func(t *testing.T) {
		require.NotZero(t, asked)
		err := refused
		if asked, refused = 0, nil; err != nil {
			t.Skipf("the system has no huge pages for this channel: %v", err)
		}
	}
}

func TestHugePagesAreThere(t *testing.T) {
	given := needsHugePages(t)
	hugeChannels(t, func(t *testing.T, ch *Chan[message]) {
		given(t)
		h := ch.Sender.h
		require.Zero(t, uintptr(unsafe.Pointer(&h.mem[0]))%hugeUnit)
		require.Equal(t, int64(len(h.mem)), ch.Stats().HugeBytes)
		require.Equal(t, int64(len(h.mem)), hugeBytes(h.mem))
		aLap(t, ch)
		if h.path == "" {
			other := must[*Chan[message]](t)(FromFiles[message](must[[]*os.File](t)(ch.Files())))
			defer func() { _ = other.Detach() }()
			require.Equal(t, int64(len(h.mem)), other.Stats().HugeBytes)
			return
		}
		require.Equal(t, int64(len(h.mem)), again(t, ch).Stats().HugeBytes)
		require.Equal(t, int64(len(h.mem)), must[Info](t)(Inspect("test", WithDir(h.opts.dir))).HugeBytes)
	}, WithHugePages(), WithCapacity(1<<15))
}

// hugeForms are forms of channel under the hammer: values that fill several huge pages, and messages in an arena.
var hugeForms = []form{
	{1 << 16, []Option{WithHugePages()}, 2, 2, "send", "func"},
	{64, bulk(WithHugePages(), WithArena(4<<20)), 2, 2, "func", "func"},
	{64, []Option{WithHugePages(), WithSingleSender(), WithSingleReceiver()}, 1, 1, "send", "recv"},
}

func init() {
	// Says how much of its mapping is in huge pages once it has received so many values, and holds the next one until it is told to go on.
	roles["huge"] = func(args []string) error {
		r, err := OpenReceiver[message]("test", WithDir(args[0]), WithAttach())
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return err
		}
		for seq := range n {
			if m, err := r.Recv(); err != nil || m != newMessage(1, seq) {
				return fmt.Errorf("value %d came as %d: %w", seq, m.Seq, err)
			}
		}
		fmt.Println(hugeBytes(r.h.mem))
		return r.RecvFunc(forever, func(*message) error {
			fmt.Println("in")
			_, err := fmt.Scanln(new(string))
			return err
		})
	}
}

// Two processes have the same huge pages, and one that is killed with a value in hand leaves them, and the value, to the next.
func TestHugePagesOfTwoProcesses(t *testing.T) {
	given := needsHugePages(t)
	ch := openTest[message](t, WithHugePages(), WithCapacity(1<<15))
	given(t)
	h := ch.Sender.h
	require.NoError(t, ch.Receiver.Detach())
	lap := uint64(ch.Cap())
	all := strconv.Itoa(len(h.mem))
	for round := range 3 {
		n := lap + 3
		if round > 0 {
			n = 0 // The one in hand comes again, and the rest behind it.
		}
		c := start(t, "huge", h.opts.dir, n)
		if round == 0 {
			for seq := range n + 1 {
				require.NoError(t, ch.Send(newMessage(1, seq)))
			}
		}
		require.Equal(t, all, c.line(), "the other process has small pages")
		require.Equal(t, "in", c.line())
		require.EqualValues(t, len(h.mem), hugeBytes(h.mem))
		c.kill()
	}
	r := must[*Receiver[message]](t)(OpenReceiver[message]("test", WithDir(h.opts.dir)))
	require.Equal(t, newMessage(1, lap+3), must[message](t)(r.Recv()))
	require.EqualValues(t, len(h.mem), r.Stats().HugeBytes)
	require.NoError(t, r.Detach())
}

// Kills, with the pages that the system gives, and where it gives none when the channel is made.
func TestHugePagesKills(t *testing.T) {
	for _, f := range hugeForms {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, max(3, *kills/4), false) })
		t.Run(f.String()+" none given", func(t *testing.T) {
			was := madvise
			t.Cleanup(func() { madvise = was })
			madvise = func([]byte, int) error { return unix.EINVAL }
			hammer(t, f, max(3, *kills/4), false)
		})
	}
}

// Where the system has none the channel works, and says that it has none.
func TestHugePagesThatAreNotThere(t *testing.T) {
	was := madvise
	t.Cleanup(func() { madvise = was })
	madvise = func([]byte, int) error { return unix.EINVAL }
	hugeChannels(t, func(t *testing.T, ch *Chan[message]) {
		require.Zero(t, ch.Stats().HugeBytes)
		aLap(t, ch)
	}, WithHugePages(), WithCapacity(100))
}

func TestHugeBytes(t *testing.T) {
	smaps := strings.ReplaceAll(`7f0000000000-7f0000200000 rw-s 00000000 00:19 5 /dev/shm/other
Rss:                2048 kB
ShmemPmdMapped:     2048 kB
7f0000200000-7f0000a00000 rw-s 00000000 00:19 6 /dev/shm/shmchan.x
Size:               8192 kB
ShmemPmdMapped:     4096 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    1024 kB
VmFlags: rd wr sh mr mw me ms hg
7f0000a00000-7f0000c00000 rw-s 00000000 00:19 5 /dev/shm/other
ShmemPmdMapped:     1024 kB
`, "\t", "")
	for at, want := range map[uint64]int64{0x7f0000200000: 7 << 20, 0x7f00009fffff: 7 << 20, 0x7f0000000000: 2 << 20, 0x7f0000a00000: 1 << 20, 0x1000: 0} {
		require.Equal(t, want, hugeBytesIn(strings.NewReader(smaps), at), "%#x", at)
	}
	was := procSmaps
	t.Cleanup(func() { procSmaps = was })
	procSmaps = "/nonexistent"
	require.Zero(t, hugeBytes(make([]byte, 1)), "no /proc")
}

// A hole is aligned whatever lies around it, and nothing else of the process is lost.
func TestAlignedHole(t *testing.T) {
	var holes []unsafe.Pointer
	for i := range 20 {
		at := must[unsafe.Pointer](t)(alignedHole(uintptr(1+i%3) * hugeUnit))
		require.Zero(t, uintptr(at)%hugeUnit)
		holes = append(holes, at)
	}
	for i, at := range holes {
		require.NoError(t, unix.MunmapPtr(at, uintptr(1+i%3)*hugeUnit))
	}
	_, err := alignedHole(^uintptr(0) - 2*hugeUnit)
	require.ErrorIs(t, err, unix.ENOMEM)
}

func freeHugePages(t *testing.T) (free int) {
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err == nil {
		_, err = fmt.Sscan(string(b), &free)
	}
	if more, errMore := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"); err == nil && errMore == nil {
		var n int
		_, err = fmt.Sscan(string(more), &n)
		free += n
	}
	if err != nil {
		t.Skipf("no hugetlbfs here: %v", err)
	}
	return free
}

func TestHugetlbfs(t *testing.T) {
	dir, err := mountMemory(t, "hugetlbfs", "pagesize=2M")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		t.Skipf("needs to mount a hugetlbfs: %v", err)
	}
	require.NoError(t, err)
	_, err = Open[message]("test", WithDir(dir))
	require.ErrorContains(t, err, "with WithHugePages only")
	require.True(t, errors.Is(err, fs.ErrInvalid) || errors.Is(err, unix.ENOSPC))
	dirEmpty(t, dir)

	t.Run("none free", func(t *testing.T) {
		if n := freeHugePages(t); n > 64 {
			t.Skipf("%d huge pages are free here, for this test too many to ask for more", n)
		}
		_, err := Open[message]("test", WithDir(dir), WithHugePages(), WithCapacity(1<<21))
		require.True(t, errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM), "%v", err)
		require.ErrorContains(t, err, `channel "test"`)
		require.ErrorContains(t, err, "/proc/sys/vm/nr_hugepages")
		dirEmpty(t, dir)
	})
	t.Run("works", func(t *testing.T) {
		if n := freeHugePages(t); n < 4 {
			t.Skipf("%d huge pages are free here and this takes 4: /proc/sys/vm/nr_overcommit_hugepages", n)
		}
		ch, err := Open[message]("test", WithDir(dir), WithHugePages(), WithCapacity(1<<14))
		require.NoError(t, err)
		require.Equal(t, int64(len(ch.Sender.h.mem)), ch.Stats().HugeBytes)
		aLap(t, ch)
		other := again(t, ch, WithLockedMemory(), WithFaultGuard())
		aLap(t, other)
		require.Equal(t, int64(len(ch.Sender.h.mem)), must[Info](t)(Inspect("test", WithDir(dir))).HugeBytes)
		require.NoError(t, ch.Close())
		require.NoError(t, ch.Detach())
		require.NoError(t, other.Detach())
		dirEmpty(t, dir)
	})
	t.Run("of 1 GiB", func(t *testing.T) {
		dir, err := mountMemory(t, "hugetlbfs", "pagesize=1G")
		if err != nil {
			t.Skipf("no pages of 1 GiB here: %v", err)
		}
		_, err = Open[message]("test", WithDir(dir), WithHugePages())
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "a hugetlbfs of 1048576 KiB pages")
		dirEmpty(t, dir)
	})
}
