package shmchan

// Unnamed channels: memory that only descriptors lead to.
//
// Invariants:
//   - A set of files is for one participant. Its memory file is an open file description of its
//     own, which holds the lock of that participant's entry, the seat, from the moment the set is made
//     until the last descriptor of it is closed: so the kernel tells of the death of whoever has it.
//   - The seat's number travels as the file position of that description, which nothing else uses.
//   - A seat is reserved until FromFiles takes it, by a CAS on the entry: of two who use the same set one
//     gets it. Until then it counts as a handle that sends and receives, for that it may become.
//   - Everybody has the doorbells of all seats, and rings without opening anything. A ring at an empty
//     seat wakes nobody and is not lost for it: see "Unnamed channels" in DESIGN.md.
//   - Before its seat is taken FromFiles changes nothing that a handle with the same files counts on.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How many handles an unnamed channel may have: see WithPeers.
const (
	DefaultPeers = 16
	maxSeats     = 252 // with the memory as many files as one message of a Unix socket takes
)

// portableUnnamed: the memory is an unlinked file, and doorbells and locks are hidden files as those of a channel
// with a name. Tests set it, to run here what macOS does.
var portableUnnamed = runtime.GOOS != "linux"

// WithPeers says how many handles an unnamed channel may have at a time, sets of files that are on their way included:
// 2 to 252, DefaultPeers if it is left out. Each process holds that many descriptors and one for each of its handles. It
// belongs to the channel. Only for New and FromFiles; macOS has 256 always, and one descriptor each.
func WithPeers(n int) Option {
	return func(o *options) {
		if n < 2 || n > maxSeats {
			o.refuse("WithPeers(%d): an unnamed channel has 2 to %d handles", n, maxSeats)
			return
		}
		o.peers = n
	}
}

// New makes a channel without a name. Others get to it by the files that Files returns and FromFiles takes: a child
// by StartWithFiles and InheritedFiles, any process by SendFiles and ReceiveFiles over a Unix socket.
//
// On Linux it is a memfd, sealed so that nobody can change its size, and its doorbells are eventfds. It goes with the last
// descriptor, also when all are killed. On macOS it is an unlinked file, and doorbells and locks are hidden files in the temporary
// directory (or $SHMCHAN_DIR), which all of its processes must have in common and be able to use.
//
// The options are those of Open, and WithPeers; WithDir, WithMode, WithCreate and WithAttach are refused (fs.ErrInvalid), as they are about a name.
// With WithSingleSender or WithSingleReceiver the handle has both roles: Detach the half that the other process is to have.
func New[T any](opts ...Option) (*Chan[T], error) {
	l, c, err := unnamedLayout[T]()
	if err != nil {
		return nil, err
	}
	h, err := newUnnamed(l, opts)
	if err != nil {
		return nil, err
	}
	return &Chan[T]{newSender(h, c), newReceiver(h, c)}, nil
}

// FromFiles is the other end of New: a handle on the channel whose files these are, all of one set and in their order. It opens no
// file, so it works in a process that may not; on Linux, and for files that InheritedFiles or ReceiveFiles returned, it needs no other descriptor either.
//
// When it has succeeded the files are the handle's, which closes them. When it fails they are still the caller's to close, and may
// be used again, for another type say. A set is for one handle: a second use, in this process or another, is ErrBusy. (Who holds copies of a used set
// should close them: until then nobody notices the death of the one who uses it.) WithPeers and what belongs to the channel must match if stated (ErrMismatch). Files that are no such set,
// a memfd that is not sealed for one, are fs.ErrInvalid; a memfd with anything but a channel in it is ErrCorrupt.
func FromFiles[T any](files []*os.File, opts ...Option) (*Chan[T], error) {
	h, c, err := fromFiles[T](files, peerSends|peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return &Chan[T]{newSender(h, c), newReceiver(h, c)}, nil
}

// SenderFromFiles is FromFiles for sending only.
func SenderFromFiles[T any](files []*os.File, opts ...Option) (*Sender[T], error) {
	h, c, err := fromFiles[T](files, peerSends, opts)
	if err != nil {
		return nil, err
	}
	return newSender(h, c), nil
}

// ReceiverFromFiles is FromFiles for receiving only.
func ReceiverFromFiles[T any](files []*os.File, opts ...Option) (*Receiver[T], error) {
	h, c, err := fromFiles[T](files, peerReceives, opts)
	if err != nil {
		return nil, err
	}
	return newReceiver(h, c), nil
}

// Files returns a set of files for one more handle on an unnamed channel, in another process as a rule, which FromFiles makes of them: one use for
// each call. Any handle of the channel may make sets. The caller closes them once they are handed over (StartWithFiles and SendFiles do): as
// long as one is open here the death of the process that uses them is not noticed. From here on until it is used, or closed everywhere, the set counts as a handle that
// sends and receives; WithDisconnect waits for it.
//
// It fails with ErrTooManyPeers when all of WithPeers are taken, and on Linux where there is no /proc, which it takes to open the memory
// once more. A channel with a name is fs.ErrInvalid.
func (c *Chan[T]) Files() ([]*os.File, error) { return c.Sender.h.handOut() }

// handOut is Files.
func (h *handle) handOut() (files []*os.File, err error) {
	if gone := h.use(func() { files, err = h.newSet() }); gone != nil {
		return nil, gone
	}
	return files, err
}

// seats are the files of an unnamed channel, as one handle has them.
type seats struct {
	files []*os.File    // the memory is the first, then comes a doorbell for each seat
	bells []int         // their descriptors
	own   io.ReadCloser // ours, to listen to
	given bool          // by FromFiles: handle.idx is our seat, and taken already
	gen   uint64        // of that
}

func (s *seats) close() {
	for _, f := range s.files {
		_ = f.Close()
	}
}

// peerReserved is the state of an entry whose seat nobody has taken yet.
const peerReserved = peerUsed | peerSends | peerReceives | peerSeat

// unnamed is the name in errors about what is not known to be a certain channel.
const unnamed = "unnamed"

// What os.Files of a set are called.
const (
	memoryFile = filePrefix + unnamed
	bellFile   = memoryFile + ".bell"
)

func unnamedName(i *header) string { return fmt.Sprintf("%s-%d-%x", unnamed, i.pid, i.id[:3]) }

// isUnnamed says whether a name is one that unnamedName makes, or stands for it, so that an error about it gives advice that fits.
func isUnnamed(name string) bool {
	rest, ok := strings.CutPrefix(name, unnamed)
	if !ok || rest == "" {
		return ok
	}
	pid, id, ok := strings.Cut(strings.TrimPrefix(rest, "-"), "-")
	_, notPid := strconv.ParseUint(pid, 10, 64)
	_, notID := strconv.ParseUint(id, 16, 24)
	return ok && rest[0] == '-' && notPid == nil && notID == nil && len(id) == 6
}

// adviseUnnamed is what to do about an error of the system about a channel without a name.
func adviseUnnamed(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "; there is no memory for it: use a smaller WithCapacity, or make room"
	case errors.Is(err, unix.EFBIG):
		return largerFiles
	case errors.Is(err, fs.ErrPermission):
		return "; the sandbox of this process must allow it"
	case errors.Is(err, unix.EMFILE):
		return moreFiles
	case errors.Is(err, unix.EBADF):
		return "; its files were closed, though they are the handle's: get another set from Files"
	}
	return ""
}

func unnamedLayout[T any]() (*layout, codec[T], error) {
	l, err := layoutFor[T](unnamed)
	if err != nil {
		return nil, codec[T]{}, err
	}
	return l, codec[T]{bools: l.bools}, nil
}

// unnamedOptions are the options of a channel without a name, where those about one do not apply.
func unnamedOptions(opts []Option, l *layout) (options, error) {
	stated := options{}
	stated.apply(opts)
	stated.fit(l)
	for _, option := range []struct {
		name   string
		stated bool
	}{
		{"WithDir", stated.dir != ""}, {"WithMode", stated.mode != 0}, {"WithCreate", stated.create}, {"WithAttach", stated.attach},
	} {
		if option.stated && stated.invalid == "" {
			stated.refuse("%s is about a channel's name, and this one has none; leave it out", option.name)
		}
	}
	if stated.invalid != "" {
		return stated, invalidFiles("%s", stated.invalid)
	}
	peers := stated.peers
	o := newOptions(append(opts[:len(opts):len(opts)], func(o *options) { o.peers = 0 }))
	o.peers = peers
	return o, nil
}

// invalidFiles is an error about files, or options, that cannot be right.
func invalidFiles(format string, a ...any) error {
	return fmt.Errorf("shmchan: channel %q: %w: %s", unnamed, fs.ErrInvalid, fmt.Sprintf(format, a...))
}

func unnamedHandle(o options) *handle {
	h := &handle{name: unnamed, opts: o, bells: map[int]ringer{}}
	h.spins = o.wait == Spin || o.wait == Adaptive && canSpin()
	return h
}

func newUnnamed(l *layout, opts []Option) (*handle, error) {
	o, err := unnamedOptions(opts, l)
	if err != nil {
		return nil, err
	}
	h := unnamedHandle(o)
	if h.info, err = newHeader(unnamed, &o, l); err != nil {
		return nil, err
	}
	h.name = unnamedName(h.info)
	h.errs = newHandleErrors(h.name)
	if err = h.makeUnnamed(); err == nil {
		err = h.join(peerSends | peerReceives)
	}
	if err != nil {
		h.abandon()
		if !h.joined && h.seats != nil {
			h.seats.close()
		}
		return nil, err
	}
	return h, nil
}

// makeUnnamed makes the memory and, where they are no files with names, the doorbells.
func (h *handle) makeUnnamed() (err error) {
	size := int64(h.info.length)
	if portableUnnamed {
		sweep(h.opts.dir)
		h.file, err = makeUnlinked(h.opts.dir, size)
	} else {
		h.file, err = makeMemfd(size)
	}
	if err != nil {
		return h.fail(fmt.Sprintf("make its memory of %d bytes", size), err)
	}
	if h.mem, err = mapShared(h.file, h.info.length); err != nil {
		return h.fail(fmt.Sprintf("map %d bytes", size), err)
	}
	if h.opts.hugePages {
		collapse(h.mem)
	}
	h.info.fill(h.mem)
	if portableUnnamed {
		return nil
	}
	n := h.opts.peers
	if n == 0 {
		n = DefaultPeers
	}
	h.seats = &seats{}
	for i := range n {
		f, err := makeEventBell(i == 0) // The first one to join gets seat 0.
		if err != nil {
			return h.fail(fmt.Sprintf("make doorbell %d of %d", i+1, n), err)
		}
		h.seats.files = append(h.seats.files, f)
		h.seats.bells = append(h.seats.bells, int(f.Fd()))
	}
	h.seats.own, err = listenTo(h.seats.files[0])
	return err
}

// makeUnlinked makes a file that has no name any more.
func makeUnlinked(dir string, size int64) (*os.File, error) {
	f, tmp, err := lockedTemp(dir)
	if err != nil {
		return nil, err
	}
	if err = allocate(f, size); err == nil {
		err = os.Remove(tmp)
	}
	if err != nil {
		_ = os.Remove(tmp)
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// newSet is Files. It is called in a call.
func (h *handle) newSet() (set []*os.File, err error) {
	if h.path != "" {
		return nil, fmt.Errorf("shmchan: channel %q: %w: it has a name; let the other process open that, or make the channel with New", h.name, fs.ErrInvalid)
	}
	defer func() {
		if err != nil {
			closeAll(set)
			set = nil
		}
	}()
	if h.seats == nil {
		f, err := dupOf(int(h.file.Fd()), h.file.Name())
		if err != nil {
			return nil, h.fail("hand out its memory", err)
		}
		return append(set, f), nil
	}
	memory, err := reopen(h.file)
	if err != nil {
		return nil, h.fail("open its memory once more for the other process", err)
	}
	set = append(set, memory)
	for _, bell := range h.seats.bells {
		f, err := dupOf(bell, bellFile)
		if err != nil {
			return set, h.fail("hand out its doorbells", err)
		}
		set = append(set, f)
	}
	return set, h.reserve(memory)
}

// reserve takes a free seat for the set that this memory file begins.
func (h *handle) reserve(memory *os.File) error {
	locks := newLocks(memory, h.info, "")
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	for i := range h.seats.bells {
		if i == h.idx {
			continue
		}
		ok, err := locks.tryLock(i)
		if err != nil {
			return h.fail("lock a seat", err)
		}
		if !ok {
			continue
		}
		h.clear(i)
		e := h.entry(i)
		gen := (peerGen(e.state.Load()) + 1) & genMask
		if _, err := memory.Seek(seatOf(i, gen, len(h.seats.bells)), io.SeekStart); err != nil {
			return h.fail("number the seat", err)
		}
		e.pid.Store(uint64(os.Getpid()))
		e.attached.Store(uint64(time.Now().UnixNano()))
		e.space.Store(0) // Nobody knows yet whose death to watch for: they look often.
		e.state.Store(gen<<peerGenShift | peerReserved)
		h.announce(i)
		return nil
	}
	return &chanError{h.name, ErrTooManyPeers, fmt.Sprintf("all of its %d seats are taken by live handles or sets of files; close sets that are not used, detach a handle, or make it with a larger WithPeers", len(h.seats.bells))}
}

// A seat as a file position: a mark, how many seats there are, generation, index.
const seatMark = 1 << 30

func seatOf(i int, gen uint64, n int) int64 {
	return int64(seatMark | uint64(n)<<(genBits+idxBits) | gen<<idxBits | uint64(i))
}

// seatFrom is the seat that a memory file's position tells, of a set with n seats.
func seatFrom(at int64, n int) (i int, gen uint64, ok bool) {
	tag := uint64(at) & (1<<(genBits+idxBits) - 1)
	i, gen = tagIndex(tag), tagGen(tag)
	return i, gen, i < n && at == seatOf(i, gen, n)
}

func fromFiles[T any](files []*os.File, roles uint64, opts []Option) (*handle, codec[T], error) {
	l, c, err := unnamedLayout[T]()
	if err != nil {
		return nil, c, err
	}
	h, err := openFiles(files, l, roles, opts)
	return h, c, err
}

// openFiles is FromFiles.
func openFiles(files []*os.File, l *layout, roles uint64, opts []Option) (h *handle, err error) {
	o, err := unnamedOptions(opts, l)
	if err != nil {
		return nil, err
	}
	n := len(files) - 1
	if err = checkOpen(files); err != nil {
		return nil, err
	}
	if portableUnnamed && n != 0 || !portableUnnamed && (n < 2 || n > maxSeats) {
		return nil, invalidFiles("a set has the memory and a doorbell for each of 2 to %d handles (on macOS the memory alone), and not %d files; pass on all that Files returned, in that order", maxSeats, len(files))
	}
	h = unnamedHandle(o)
	defer func() {
		if err != nil {
			_ = unmap(h.mem)
			h = nil
		}
	}()
	h.file = files[0]
	if portableUnnamed {
		err = checkUnlinked(h.file)
	} else {
		err = checkMemfd(h.file)
	}
	if err != nil {
		return h, err
	}
	if h.info, err = readHeader(unnamed, "the memory of the set", h.file); err != nil {
		return h, err
	}
	h.name = unnamedName(h.info)
	h.errs = newHandleErrors(h.name)
	if err = h.info.compare(h.name, &o, l); err != nil {
		return h, err
	}
	if o.peers != 0 && !portableUnnamed && o.peers != n {
		return h, &MismatchError{Channel: h.name, What: "the number of handles", Here: fmt.Sprint(o.peers), There: fmt.Sprint(n), PID: int(h.info.pid)}
	}
	if h.mem, err = mapShared(h.file, h.info.length); err != nil {
		return h, h.fail(fmt.Sprintf("map %d bytes", h.info.length), err)
	}
	h.adopt()
	if portableUnnamed {
		unix.CloseOnExec(int(h.file.Fd()))
		return h, h.joinUnlinked(roles)
	}
	return h, h.joinSeat(files, roles)
}

// checkOpen refuses a set in which a file is nil or closed, and says which.
func checkOpen(files []*os.File) error {
	for i, f := range files {
		what := "the memory"
		if i > 0 {
			what = fmt.Sprintf("doorbell %d of %d", i, len(files)-1)
		}
		if f == nil {
			return invalidFiles("file %d of the set, %s, is nil; pass on all that Files returned, in that order", i, what)
		}
		c, err := f.SyscallConn()
		if err == nil {
			err = c.Control(func(uintptr) {})
		}
		if err != nil {
			return invalidFiles("file %d of the set, %s, is closed; FromFiles, StartWithFiles and SendFiles close the files that they take, each set is for one of them: get another from Files", i, what)
		}
	}
	return nil
}

// checkUnlinked refuses what is not an unlinked regular file.
func checkUnlinked(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return advise(unnamed, "look at its memory", err)
	}
	if u, ok := st.Sys().(*syscall.Stat_t); !st.Mode().IsRegular() || !ok || u.Nlink != 0 {
		return invalidFiles("the memory is not an unlinked file but %v %q; pass on all that Files returned, in that order", st.Mode(), f.Name())
	}
	return nil
}

// joinUnlinked joins where the locks and the doorbells have names. What it leaves behind goes, but for the file.
func (h *handle) joinUnlinked(roles uint64) error {
	own := h.file
	dup, err := dupOf(int(own.Fd()), own.Name()) // For release closes it, should this fail.
	if err != nil {
		return h.fail("use its memory", err)
	}
	h.file = dup
	if h.opts.faultGuard { // A memfd is sealed; this file can be cut short.
		if h.caught(func() { err = h.join(roles) }) || h.faults.broken.Load() {
			err = h.errs.broken
		}
	} else {
		err = h.join(roles)
	}
	if err != nil {
		h.abandon()
		h.mem = nil
		return err
	}
	_ = own.Close()
	return nil
}

// joinSeat takes the seat that the files are for.
func (h *handle) joinSeat(files []*os.File, roles uint64) (err error) {
	n := len(files) - 1
	s := &seats{files: files, given: true}
	for i, f := range files {
		unix.CloseOnExec(int(f.Fd()))
		if i == 0 {
			continue
		}
		if err := checkEventBell(f); err != nil {
			return invalidFiles("doorbell %d of %d, %q: %v; pass on all that Files returned, in that order", i, n, f.Name(), err)
		}
		s.bells = append(s.bells, int(f.Fd()))
	}
	at, err := h.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return h.fail("read the number of its seat", err)
	}
	i, gen, ok := seatFrom(at, n)
	if !ok {
		return invalidFiles("the set has no seat among %d (position %#x); pass on all that Files returned, in that order, and do not read or write the memory", n, at)
	}
	e := h.entry(i)
	const taken = peerUsed | peerSends | peerReceives
	reserved := gen<<peerGenShift | peerReserved
	if !e.state.CompareAndSwap(reserved, gen<<peerGenShift|taken) {
		return &chanError{h.name, ErrBusy, "its set of files was used before, and each is for one handle; get another from Files"}
	}
	s.gen, h.seats, h.idx = gen, s, i
	if ok, err = h.locks.tryLock(i); err == nil && !ok {
		err = corruptError(h.name, "seat %d of the set is held by another", i)
	}
	var made *os.File
	if err == nil { // The seat is ours: nobody else changes the doorbell's mode.
		made, err = h.listenToSeat(files[1+i])
	}
	if err == nil {
		err = h.join(roles)
	}
	if err != nil { // The files may be used again.
		if made != nil {
			_ = made.Close()
		}
		_ = h.locks.unlock(lockSender)
		_ = h.locks.unlock(lockReceiver)
		e.state.CompareAndSwap(gen<<peerGenShift|taken, reserved)
	}
	return err
}

// listenToSeat listens to the doorbell of our seat, by another descriptor if need be, which is made then.
func (h *handle) listenToSeat(f *os.File) (made *os.File, err error) {
	bell, isNew, err := inPoller(f)
	if err != nil {
		return nil, h.fail("listen to its doorbell", err)
	}
	if isNew {
		made = bell
		h.seats.files = append(h.seats.files[:len(h.seats.files):len(h.seats.files)], bell)
	}
	if h.seats.own, err = listenTo(bell); err != nil {
		return made, h.fail("listen to its doorbell", err)
	}
	return made, nil
}

// sitDown is attach for one who has a seat.
func (h *handle) sitDown(roles uint64) {
	h.peerMu.Lock()
	defer h.peerMu.Unlock()
	for i := range maxPeers {
		if isUsed(h.entry(i).state.Load()) {
			h.clearIfDead(i)
		}
	}
	h.me = h.seats.gen<<idxBits | uint64(h.idx)
	e := h.entry(h.idx)
	e.pid.Store(uint64(os.Getpid()))
	e.attached.Store(uint64(time.Now().UnixNano()))
	e.space.Store(pidSpace())
	e.polls.Store(0) // The last owner may have died with a descriptor armed.
	e.state.Store(tagGen(h.me)<<peerGenShift | peerUsed | roles)
	h.joined = true
	h.announce(h.idx)
	if roles != peerSends|peerReceives {
		h.wakeAll() // Some may have waited for the role that the seat might have had.
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// dupOf is another descriptor of the same open file.
func dupOf(fd int, name string) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inPoller is f if Go's poller has it, else another descriptor of it that the poller has.
func inPoller(f *os.File) (in *os.File, made bool, err error) {
	if f.SetReadDeadline(time.Time{}) == nil {
		return f, false, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, false, os.NewSyscallError("dup", err)
	}
	in, err = pollFile(fd, f.Name())
	return in, true, err
}

// pollFile makes a file of fd that Go's poller has, and closes fd if that cannot be. The mode, which is that
// of all who have it, stays blocking: nobody who makes an *os.File of theirs has their poller listen to it.
func pollFile(fd int, name string) (*os.File, error) {
	err := unix.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), name)
	if err == nil {
		err = f.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
