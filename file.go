package shmchan

// The files of a channel, and how they come and go.
//
// Invariants:
//   - A channel's file is complete before it has its name, and a name is only
//     given by link, which fails if the name is taken: of two creators one wins.
//   - Whoever takes the name away holds the file's flock ("the name's lock") and has
//     seen, under it, that the name still is this file's.
//   - Everything else in the directory begins with hiddenPrefix, and its owner
//     holds it locked (a temporary) or open for reading (a doorbell): what is
//     neither belongs to a dead process and may be swept away.

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	filePrefix   = "shmchan."
	hiddenPrefix = ".shmchan."
	tmpPrefix    = hiddenPrefix + "tmp."
	bellPrefix   = hiddenPrefix + "bell."
	flockPrefix  = hiddenPrefix + "lock."
	maxName      = 200
)

// moreFiles is what to do when a process may have no more descriptors.
const moreFiles = "; raise the limit of open files (ulimit -n) or detach handles"

// largerFiles is what to do when a process may not have a file so large.
const largerFiles = "; this process may have no file so large: raise that limit (ulimit -f), or use a smaller WithCapacity"

// removeIt is what Remove cannot do, in an error's text.
const removeIt = "remove it"

// advise adds what to do about an error of the system.
func advise(name, what string, err error) error {
	advice := ""
	switch {
	case isUnnamed(name):
		advice = adviseUnnamed(err)
	case errors.Is(err, unix.ENOSPC):
		advice = "; the file system is full: use a smaller WithCapacity, another WithDir, or make room"
	case errors.Is(err, unix.EDQUOT):
		advice = "; this user may have no more there: use a smaller WithCapacity, another WithDir, or make room"
	case errors.Is(err, unix.EFBIG):
		advice = largerFiles
	case errors.Is(err, unix.EROFS):
		advice = "; nobody may write to that file system: use another WithDir"
	case errors.Is(err, unix.ENOTDIR):
		advice = "; a part of that path is no directory: check the directory that WithDir or $" + EnvDir + " names"
	case errors.Is(err, fs.ErrPermission):
		advice = "; whoever made it must allow this user with WithMode, or use another WithDir"
	case errors.Is(err, fs.ErrExist):
		advice = "; choose another name, remove it, or leave out WithCreate to attach"
	case errors.Is(err, fs.ErrNotExist) && what == removeIt:
		advice = "; check the name and the directory: List says which there are"
	case errors.Is(err, fs.ErrNotExist):
		advice = "; check the name and the directory, or have it made first: Open without WithAttach makes it"
	case errors.Is(err, unix.EMFILE):
		advice = moreFiles
	case errors.Is(err, unix.EISDIR):
		advice = "; a directory has its name: remove it, or choose another name"
	case errors.Is(err, unix.ENXIO):
		advice = "; a socket has its name: remove it, or choose another name"
	case errors.Is(err, unix.ELOOP):
		advice = "; its file is a symbolic link, which is not followed: remove it"
	}
	return fmt.Errorf("shmchan: channel %q: cannot %s: %w%s", name, what, err, advice)
}

func pathOf(name string, o *options) (string, error) {
	switch {
	case o.invalid != "":
		return "", fmt.Errorf("shmchan: channel %q: %w: %s", name, fs.ErrInvalid, o.invalid)
	case name == "" || len(name) > maxName || strings.ContainsAny(name, "/\x00"):
		return "", fmt.Errorf("shmchan: channel %q: %w: a name has 1 to %d bytes and no slash", name, fs.ErrInvalid, maxName)
	}
	return filepath.Join(o.dir, filePrefix+name), nil
}

// newHeader describes a channel to be made.
func newHeader(name string, o *options, l *layout) (*header, error) {
	h := &header{
		capacity: DefaultCapacity, size: uint64(l.size), start: o.start & posMask,
		pid: uint64(os.Getpid()), created: uint64(time.Now().UnixNano()),
		text: l.text, typeName: l.typeName, fingerprint: l.fingerprint,
	}
	if o.capacity >= 0 {
		h.capacity = uint64(o.capacity)
	}
	if o.oneSender {
		h.flags |= flagSingleSender
	}
	if o.oneRecver {
		h.flags |= flagSingleReceiver
	}
	if o.checksum {
		h.flags |= flagChecksum
	}
	if o.pair {
		h.flags |= flagPair
	}
	if o.hugePages {
		h.flags |= flagHugePages
	}
	if h.capacity > 0 && canFenceProcesses() {
		h.flags |= flagFences
	}
	if l.bytes {
		if err := h.describeBytes(name, o); err != nil {
			return nil, err
		}
	}
	_, _ = rand.Read(h.id[:]) // Never fails: crypto/rand.
	if !h.geometry() {
		return nil, &chanError{name, ErrTooLarge, fmt.Sprintf("%d values of %d bytes cannot be mapped; use a smaller WithCapacity (at most %d) or a smaller type",
			h.capacity, h.size, maxCapacity)}
	}
	return h, nil
}

// compare says how the channel differs from what the caller states.
func (h *header) compare(name string, o *options, l *layout) error {
	m := func(what, here, there string) error {
		return &MismatchError{Channel: name, What: what, Here: here, There: there, PID: int(h.pid)}
	}
	if l.fingerprint != h.fingerprint {
		return m(firstDifference(l.text, h.text))
	}
	if l.bytes {
		if err := h.compareBytes(name, o); err != nil {
			return err
		}
	} else if uint64(l.size) != h.size {
		return corruptError(name, "its values have %d bytes by the description of their type and %d by the header", l.size, h.size)
	}
	if pair := h.flags&flagPair != 0; o.pair != pair {
		kind := map[bool]string{true: "half of a pair (OpenDuplex)", false: "a channel of its own (Open)"}
		return m("the kind of channel", kind[o.pair], kind[pair])
	}
	if o.capacity >= 0 && uint64(o.capacity) != h.capacity {
		return m("the capacity", fmt.Sprint(o.capacity), fmt.Sprint(h.capacity))
	}
	if o.oneSender && h.flags&flagSingleSender == 0 {
		return m("the sender's role", "single", "for many")
	}
	if o.oneRecver && h.flags&flagSingleReceiver == 0 {
		return m("the receiver's role", "single", "for many")
	}
	if o.checksum && h.flags&flagChecksum == 0 {
		return m("the checksum", "CRC-32C", "none")
	}
	if o.hugePages && h.flags&flagHugePages == 0 {
		return m("the size of pages", "2 MiB", "that of the system")
	}
	if h.flags&flagFences != 0 && !canFenceProcesses() {
		return &chanError{name, errors.ErrUnsupported, "the others count on membarrier(2), which this process may not call; allow it in the sandbox, or have a process that may not call it make the channel"}
	}
	return nil
}

// create makes the channel's file, and returns fs.ErrExist if another was first.
func create(name, path string, o *options, h *header) (f *os.File, mem []byte, err error) {
	f, tmp, err := lockedTemp(o.dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil, fmt.Errorf("shmchan: channel %q: cannot make a file in %s: %w; make the directory and let this user write there, or use another WithDir", name, o.dir, err)
	}
	if err != nil {
		return nil, nil, advise(name, "make a file in "+o.dir, err)
	}
	defer func() {
		_ = os.Remove(tmp)
		if err != nil {
			_ = unmap(mem)
			_ = f.Close()
			mem, f = nil, nil
		}
	}()
	if err := f.Chmod(o.mode); err != nil {
		return f, mem, advise(name, fmt.Sprintf("set the mode %v", o.mode), err)
	}
	err = allocate(f, int64(h.length))
	if refused := hugetlbRefuses(name, f, o.hugePages, err); refused != nil {
		return f, mem, refused
	}
	if err != nil {
		return f, mem, advise(name, fmt.Sprintf("allocate %d bytes in %s", h.length, o.dir), err)
	}
	if mem, err = mapShared(f, h.length); err != nil {
		return f, mem, advise(name, fmt.Sprintf("map %d bytes", h.length), err)
	}
	if o.hugePages {
		collapse(mem)
	}
	h.fill(mem)
	if err := o.settle(name, mem); err != nil {
		return f, mem, err
	}
	if err := os.Link(tmp, path); err != nil {
		return f, mem, advise(name, "give it its name", err)
	}
	unlockName(f)
	return f, mem, nil
}

// fill makes a channel of memory that is all zero.
func (h *header) fill(mem []byte) {
	copy(mem, h.encode())
	mask := h.slots - 1
	for i := range h.slots {
		pos := (h.start + (i-h.start)&mask) & posMask
		atomicAt(mem, h.slotsAt+i*h.stride).Store(word(pos, 0, stFree))
	}
	ctl := (*control)(unsafe.Pointer(&mem[h.ctl]))
	ctl.tail.Store(h.start)
	ctl.head.Store(h.start)
	ctl.base.Store(h.start)
}

// lockedTemp makes a temporary file and locks it, so that nobody sweeps it away.
func lockedTemp(dir string) (*os.File, string, error) {
	for {
		tmp := filepath.Join(dir, tmpPrefix+randomHex())
		f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, "", err
		}
		if ok, err := flockFile(f); err != nil {
			_ = os.Remove(tmp)
			_ = f.Close()
			return nil, "", err
		} else if ok && sameFile(f, tmp) {
			return f, tmp, nil
		}
		_ = f.Close() // Swept between open and lock.
	}
}

// openExisting opens the file of a name and reads its header. The error is
// fs.ErrNotExist if there is none.
func openExisting(name, path string, flags int) (*os.File, *header, error) {
	// Not blocking, for the name may have become that of a FIFO.
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, advise(name, "open it", err)
	}
	h, err := readHeader(name, path, f)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, h, nil
}

func readHeader(name, path string, f *os.File) (*header, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, advise(name, "look at its file", err)
	}
	if !st.Mode().IsRegular() {
		return nil, corruptError(name, "%s is %s and no channel", path, kindOf(st.Mode()))
	}
	b := make([]byte, headerPage)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, advise(name, "read its header", err)
	}
	if b = b[:n]; n == headerPage {
		if more := headerSize + binary.NativeEndian.Uint64(b[offTextLen:]) + binary.NativeEndian.Uint64(b[offNameLen:]); more > headerPage && more <= headerSize+2*maxText {
			b = make([]byte, more)
			if n, err = f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
				return nil, advise(name, "read its header", err)
			}
			b = b[:n]
		}
	}
	h, err := decodeHeader(b, st.Size())
	var m *MismatchError
	if errors.As(err, &m) {
		m.Channel = name
		return nil, m
	} else if err != nil {
		return nil, corruptError(name, "%s: %v", path, err)
	}
	return h, nil
}

// kindOf says what a file is that is not a regular one.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// lockName takes the lock under which a name may be taken away. Others hold it
// for moments only; one that is stopped there is not waited for for more than a second, and false returned. The tries count, not
// the clock: who was stopped himself has not waited.
func lockName(f *os.File) bool {
	delay := time.Microsecond
	for range nameTries.Load() {
		if ok, err := flockFile(f); ok || err != nil {
			return ok
		}
		time.Sleep(delay)
		delay = min(2*delay, time.Millisecond)
	}
	return false
}

// nameTries is how often lockName tries, a millisecond apart; more in tests that others cannot fail by being slow.
var nameTries atomic.Int64

func init() { nameTries.Store(1000) }

func unlockName(f *os.File) { _ = eintr(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }) }

// Remove takes the name of a channel away. Handles that are attached go on with
// the channel they have; the next Open of the name makes a new one. Only WithDir counts
// among the options. It fails with fs.ErrNotExist if there is no such channel.
func Remove(name string, opts ...Option) error {
	o := newOptions(opts)
	path, err := pathOf(name, &o)
	if err != nil {
		return err
	}
	defer sweepInTurn(o.dir)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return advise(name, removeIt, err)
	}
	if err == nil {
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			if !lockName(f) {
				return removing(name, f)
			}
			if !sameFile(f, path) { // Somebody was quicker.
				return advise(name, removeIt, &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist})
			}
		}
	}
	// What cannot be opened, a link or a directory say, is not a channel and goes all the same.
	if err := os.Remove(path); err != nil {
		return advise(name, removeIt, err)
	}
	return nil
}

// sweep removes what dead processes left in the directory: temporaries that
// nobody holds locked, doorbells that nobody listens to. It says how many it has looked at.
func sweep(dir string) (looked int) {
	d, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if strings.HasPrefix(n, hiddenPrefix) {
				sweepOne(filepath.Join(dir, n), n)
				looked++
			}
		}
		if err != nil {
			return looked
		}
	}
}

func sweepOne(path, name string) { leftBeside(path, name, true) }

// bellPath names the doorbell of a participant: an index is used again, but not with its generation.
func (h *handle) bellPath(i int, gen uint64) string {
	return filepath.Join(h.opts.dir, fmt.Sprintf("%s%s.%d.%d", bellPrefix, hex.EncodeToString(h.info.id[:]), i, gen))
}

func (h *handle) removeBell(i int, gen uint64) {
	if h.seats == nil {
		_ = os.Remove(h.bellPath(i, gen))
	}
}

// openBell opens the ringing end of a doorbell. ENXIO: nobody listens. What is no FIFO
// is not written to.
func openBell(path string) (fd int, err error) {
	err = eintr(func() error {
		fd, err = unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		return err
	})
	if err != nil {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		_ = unix.Close(fd)
		return -1, &fs.PathError{Op: "ring", Path: path, Err: fs.ErrInvalid}
	}
	return fd, nil
}

// makeBell makes a doorbell and opens its listening end before it has its name.
// Both ends are opened, so that it never reads as ended.
func makeBell(dir, path string, mode fs.FileMode) (*os.File, error) {
	for {
		tmp := filepath.Join(dir, tmpPrefix+randomHex())
		if err := unix.Mkfifo(tmp, 0o600); err != nil {
			return nil, &fs.PathError{Op: "mkfifo", Path: tmp, Err: err}
		}
		var fd int
		err := eintr(func() (err error) {
			fd, err = unix.Open(tmp, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
			return err
		})
		if err == nil {
			if err = unix.Fchmod(fd, uint32(mode.Perm())); err == nil {
				if err = os.Rename(tmp, path); err == nil {
					return os.NewFile(uintptr(fd), path), nil
				}
			}
			_ = unix.Close(fd)
		}
		_ = os.Remove(tmp)
		if !errors.Is(err, fs.ErrNotExist) { // Else: swept before it was open.
			return nil, &fs.PathError{Op: "open", Path: tmp, Err: err}
		}
	}
}

// shareGroup gives a doorbell the group of the channel's file, so that those who may write the one may ring the other:
// its maker's own group may be another. Where that is not allowed, those who cannot ring leave the wake to the backstop.
func shareGroup(file, bell *os.File) {
	var want, has unix.Stat_t
	if unix.Fstat(int(file.Fd()), &want) == nil && unix.Fstat(int(bell.Fd()), &has) == nil && want.Gid != has.Gid {
		_ = unix.Fchown(int(bell.Fd()), -1, int(want.Gid))
	}
}

// mapShared and unmap are replaced by tests that want to know who looks beyond the mapping.
var mapShared = func(f *os.File, length uint64) ([]byte, error) {
	if bits.UintSize == 32 && length > 1<<31-1 {
		return nil, unix.ENOMEM
	}
	return mapFile(f, length, unix.PROT_READ|unix.PROT_WRITE)
}

var unmap = func(mem []byte) error {
	if mem == nil {
		return nil
	}
	return unix.MunmapPtr(unsafe.Pointer(&mem[0]), uintptr(len(mem)))
}

func atomicAt(mem []byte, off uint64) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&mem[off]))
}
