package shmchan

// Huge pages: a channel whose memory lies in pages of 2 MiB, where the system has them to give.
//
// Invariants:
//   - Whether a channel asks for them is a flag of its header, and makes its file a multiple of hugeUnit. Nothing else of
//     the layout differs, and nothing of the protocol.
//   - Every mapping of such a file begins at a multiple of hugeUnit: a huge page of the file can then be one of the mapping.
//   - Pages are moved together before the file has its name, so never under anybody's calls.

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeUnit is the size of a huge page, and part of the format. Where a system's are larger, there are none for us.
const hugeUnit = 2 << 20

// WithHugePages makes a channel whose file is a multiple of 2 MiB and asks the system to keep it in pages of that size in place of
// 4 KiB ones. A process then takes a fault for every 2 MiB that it touches for the first time, and not 512, and a processor
// needs one entry in place of 512 to know where they are. That is for large channels: see docs/tuning.md for what it brings, and when it is nothing.
// The making takes about as long as with small pages, or several times as long if the system has to move memory for it first.
//
// Linux gives transparent huge pages to the files of any tmpfs, /dev/shm too, and to unnamed channels, from version 6.1 on, unless
// /sys/kernel/mm/transparent_hugepage/shmem_enabled is "deny"; before that where the tmpfs is mounted with huge=always or within_size. If the
// system has none to give, or not enough, the channel works all the same, with small pages: Stats and Inspect say in HugeBytes what there is.
//
// With WithDir in a hugetlbfs (of 2 MiB pages) the pages come from the pool that the administrator has set aside, are there for certain and never swapped out. If
// the pool has too few, making the channel fails with syscall.ENOSPC or syscall.ENOMEM, and says how to enlarge it. A hugetlbfs takes no other channels (fs.ErrInvalid).
//
// It belongs to the channel. It has no effect on macOS but for the file's size.
func WithHugePages() Option { return func(o *options) { o.hugePages = true } }

// mapFile maps the whole of a channel's file.
func mapFile(f *os.File, length uint64, prot int) ([]byte, error) {
	at, flags := unsafe.Pointer(nil), unix.MAP_SHARED
	if length%hugeUnit == 0 {
		var err error
		if at, err = alignedHole(uintptr(length)); err != nil {
			return nil, err
		}
		if at != nil {
			flags |= unix.MAP_FIXED
		}
	}
	p, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(length), prot, flags)
	if err != nil {
		if at != nil {
			_ = unix.MunmapPtr(at, uintptr(length))
		}
		return nil, err
	}
	return unsafe.Slice((*byte)(p), length), nil
}

// noteHugePages asks for huge pages for our mapping and notes how much of it has some. It has each of them mapped first.
func (h *handle) noteHugePages() {
	if h.info.flags&flagHugePages != 0 {
		adviseHuge(h.mem)
		touchEvery(h.mem, hugeUnit)
		h.hugeBytes = hugeBytes(h.mem)
	}
}
