package shmchan

// What Linux has in huge pages: transparent ones, and hugetlbfs.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// madvise is replaced by tests of systems that have no huge pages.
var madvise = unix.Madvise

// alignedHole is address space, nobody else's, that begins at a multiple of hugeUnit. Whoever asked for it maps over it.
func alignedHole(length uintptr) (unsafe.Pointer, error) {
	all, err := unix.MmapPtr(-1, 0, nil, length+hugeUnit, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	before := -uintptr(all) % hugeUnit
	at := unsafe.Add(all, before)
	if before > 0 {
		_ = unix.MunmapPtr(all, before)
	}
	_ = unix.MunmapPtr(unsafe.Add(at, length), hugeUnit-before)
	return at, nil
}

// adviseHuge says that huge pages are welcome. What it cannot have is no error.
func adviseHuge(mem []byte) { _ = madvise(mem, unix.MADV_HUGEPAGE) }

// collapse moves the memory of a file that nobody else uses yet into huge pages, as far as there are any. It is not bound to what the
// file system was mounted with. Source: madvise(2), MADV_COLLAPSE, from Linux 6.1 on.
func collapse(mem []byte) {
	adviseHuge(mem)
	_ = madvise(mem, unix.MADV_COLLAPSE)
}

// procSmaps is replaced by tests.
var procSmaps = "/proc/self/smaps"

// hugeBytes is how much of a mapping, which begins one of the process's, is mapped by huge pages now. 0 if the system does not tell.
func hugeBytes(mem []byte) int64 {
	f, err := os.Open(procSmaps)
	if err != nil {
		return 0
	}
	defer f.Close()
	return hugeBytesIn(f, uint64(uintptr(unsafe.Pointer(&mem[0]))))
}

// hugeBytesIn looks for the mapping that address is in. Source: proc_pid_smaps(5).
func hugeBytesIn(smaps io.Reader, address uint64) (n int64) {
	here := false
	for s := bufio.NewScanner(smaps); s.Scan(); {
		key, rest, _ := strings.Cut(s.Text(), " ")
		if from, to, ok := strings.Cut(key, "-"); ok {
			if here {
				break
			}
			a, errA := strconv.ParseUint(from, 16, 64)
			b, errB := strconv.ParseUint(to, 16, 64)
			here = errA == nil && errB == nil && a <= address && address < b
			continue
		}
		switch key {
		case "ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:":
			if kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); here && err == nil {
				n += kib << 10
			}
		}
	}
	return n
}

// hugetlbRefuses says why a file of a hugetlbfs does not do, if f is one: a channel of small pages, another size of huge ones, or too few of them.
// err is what came of its allocation.
func hugetlbRefuses(name string, f *os.File, hugePages bool, err error) error {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil || int64(st.Type)&0xffffffff != unix.HUGETLBFS_MAGIC { //nolint:unconvert // Of 32 bits elsewhere.
		return nil //nolint:nilerr // Then it is none that we know.
	}
	switch {
	case !hugePages:
		return &chanError{name, fs.ErrInvalid, "the directory is a hugetlbfs, which holds channels made with WithHugePages only; add that or use another WithDir"}
	case st.Bsize != hugeUnit:
		return &chanError{name, fs.ErrInvalid, fmt.Sprintf("the directory is a hugetlbfs of %d KiB pages; mount one with -o pagesize=2M", st.Bsize>>10)}
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM):
		return &chanError{name, fmt.Errorf("cannot have its memory from the hugetlbfs: %w", err),
			"too few huge pages are free: raise /proc/sys/vm/nr_hugepages (or the limit of the mount or of the cgroup's hugetlb controller), use a smaller WithCapacity, or a WithDir in a tmpfs, which gives what there is"}
	}
	return nil
}
