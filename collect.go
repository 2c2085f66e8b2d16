package shmchan

// Collecting what dead processes left behind.
//
// Invariants:
//   - What is held is not touched, and a dry run changes nothing: it looks at locks and takes none but
//     those of temporaries, for an instant, as every sweep does.
//   - A channel is taken away under the name's lock and under the locks of all entries, so that nobody is
//     attached, nor becomes so meanwhile. It is closed before its name goes: whoever had its file open and joins
//     after that finds it closed and without its name, and opens the name anew (joinAndLook). So nobody
//     is left with a channel that others do not find.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Collection says what Collect may take away besides what is nobody's any more.
type Collection struct {
	DryRun   bool // only say what would go
	Values   bool // also channels that hold values which nobody has received, left by processes that died
	Detached bool // also channels that nobody died in and that all have left by Detach: they may be waiting for somebody

	Only func(name string) bool // if it is set, only channels whose name it is true for, and no files beside them
}

// Leftover is a file in the directory of channels that nobody alive holds, or that cannot be told. Why says why it goes, or is kept.
type Leftover struct {
	Name   string // the channel's; empty for a file beside them
	Path   string
	Bytes  int64 // of the file
	Values int   // that the channel holds
	Held   bool  // somebody alive holds it
	Goes   bool  // it was removed, or would be if it is a dry run
	Why    string
	Err    error // it was to go and could not be removed
}

// Collect looks at all files of the directory that are channels or lie beside them, and removes those that dead
// processes left behind. It returns what it looked at, in the order of names, files beside the channels first. Only WithDir counts among
// the options. It may run beside everything else, other Collects included: who opens a channel just
// then gets it, or a new one. Like Remove it needs the right to write to the file and the directory; what it
// may not look at is kept.
func Collect(c Collection, opts ...Option) ([]Leftover, error) {
	o := newOptions(opts)
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return nil, fmt.Errorf("shmchan: cannot look for leftovers: %w; check the directory that WithDir or $%s names", err, EnvDir)
	}
	var all []Leftover
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), hiddenPrefix) && c.Only == nil {
			if l := leftBeside(filepath.Join(o.dir, e.Name()), e.Name(), !c.DryRun); l.Path != "" {
				all = append(all, l)
			}
		}
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), filePrefix); ok && name != "" && (c.Only == nil || c.Only(name)) {
			if l, there := c.channel(name, &o); there {
				all = append(all, l)
			}
		}
	}
	return all, nil
}

// leftBeside looks at a hidden file, and removes it if its owner is dead and it is to be. Path is empty if it is gone.
func leftBeside(path, name string, remove bool) (l Leftover) {
	st, err := os.Lstat(path)
	if err != nil {
		return l
	}
	l = Leftover{Path: path, Bytes: st.Size()}
	goes := func(why string) {
		l.Goes, l.Why = true, why
		if !remove {
			return
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.Goes, l.Err = false, err
		}
	}
	switch temp := strings.HasPrefix(name, tmpPrefix); {
	case st.Mode().IsRegular() && (temp || strings.HasPrefix(name, flockPrefix)):
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			l.Why = cannotTell(err)
			return l
		}
		defer f.Close()
		switch ok, err := flockFile(f); {
		case err != nil:
			l.Why = cannotTell(err)
		case !ok:
			l.Held, l.Why = true, "its owner is alive and has it locked"
		case !sameFile(f, path):
			return Leftover{}
		case temp:
			goes("a channel that was being made: its maker died before it had a name, for nobody has it locked")
		default:
			goes("the lock of a handle that is gone: nobody has it locked")
		}
	case st.Mode()&fs.ModeNamedPipe != 0 && (temp || strings.HasPrefix(name, bellPrefix)):
		// A doorbell gets its name with its listener at the other end, and never
		// again once that is gone.
		fd, err := openBell(path)
		switch {
		case errors.Is(err, unix.ENXIO):
			goes("the doorbell of a handle whose process died: nobody listens to it")
		case errors.Is(err, fs.ErrNotExist):
			return Leftover{}
		case err != nil:
			l.Why = cannotTell(err)
		default:
			l.Held, l.Why = true, "its owner is alive and listens to it"
			_ = unix.Close(fd)
		}
	default:
		l.Why = "it is none of the files that channels have"
	}
	return l
}

func cannotTell(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Sprintf("it cannot be told whether somebody alive has it: %v", err)
}

// channel looks at a channel, and removes it if it is to go. False: it is gone.
func (c Collection) channel(name string, o *options) (l Leftover, there bool) {
	path, err := pathOf(name, o)
	if err != nil {
		return Leftover{Name: name, Path: filepath.Join(o.dir, filePrefix+name), Why: "no channel can have this name"}, true
	}
	l = Leftover{Name: name, Path: path}
	if st, err := os.Lstat(path); err != nil {
		return l, false
	} else {
		l.Bytes = st.Size()
	}
	h, err := lookInto(name, path, o, os.O_RDWR)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, false
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrMismatch):
		l.Why = "it is not a channel that this version can read, so not known to be nobody's; Remove takes it away"
		return l, true
	case err != nil:
		l.Why = cannotTell(err)
		return l, true
	}
	defer h.lookedInto()
	if h.caught(func() {
		if c.judge(h, &l); l.Goes && !c.DryRun {
			there = c.takeAway(h, &l)
		} else {
			there = true
		}
	}) {
		l.Goes, l.Why, there = false, "its file was cut short under the look", true
	}
	return l, there
}

// lookInto maps a channel, without attaching to it: to read, and with os.O_RDWR to write too.
func lookInto(name, path string, o *options, flags int) (*handle, error) {
	f, hd, err := openExisting(name, path, flags)
	if err != nil {
		return nil, err
	}
	mapIt := mapToRead
	if flags == os.O_RDWR {
		mapIt = mapShared
	}
	mem, err := mapIt(f, hd.length)
	if err != nil {
		_ = f.Close()
		return nil, advise(name, "map it", err)
	}
	h := &handle{name: name, path: path, opts: *o, info: hd, file: f, mem: mem, idx: -1}
	h.opts.faultGuard = true
	h.adopt()
	return h, nil
}

// lookedInto lets go of what lookInto returned, and of the locks taken since.
func (h *handle) lookedInto() {
	_ = h.locks.close()
	_ = unmap(h.mem)
	_ = h.file.Close()
}

// judge says whether the channel is to go.
func (c Collection) judge(h *handle, l *Leftover) {
	keep := func(format string, a ...any) { l.Goes, l.Why = false, fmt.Sprintf(format, a...) }
	holder, err := h.anyHolder()
	if err == nil && holder == "" && h.info.flags&flagPair != 0 {
		if holder, err = h.otherHalfHolder(); holder != "" {
			holder = "the other half of the pair: " + holder
		}
	}
	switch {
	case err != nil:
		keep("%s", cannotTell(err))
		return
	case holder != "":
		l.Held = true
		keep("held by %s", holder)
		return
	}
	c.judgeFree(h, l)
}

// judgeFree is judge, once it is known that nobody holds it.
func (c Collection) judgeFree(h *handle, l *Leftover) {
	n, _, _ := h.census()
	if h.rendezvous {
		n = 0 // An offer is its sender's, and gone with that.
	}
	l.Values = n
	dead := h.deadEntries()
	goes := func(format string, a ...any) { l.Goes, l.Why = true, fmt.Sprintf(format, a...) }
	switch {
	case h.ctl.closed.Load() != 0 && n == 0:
		goes("closed, and nobody holds it: the next Open of the name would remove it")
	case h.ctl.closed.Load() != 0:
		goes("closed, and nobody holds it: the next Open of the name would remove it with its %s", valuesOf(n))
	case dead == "" && h.ctl.joins.Load() == 0:
		goes("its maker died before it had joined: nobody ever held it")
	case isConnection(h.name) && h.info.flags&(flagPair|flagBytes) == flagPair|flagBytes && dead != "":
		goes("half of a connection (shmnet) whose ends are gone: %s; nobody can take it up again", dead)
	case n > 0 && dead != "" && c.Values:
		goes("%s, and nobody holds it; its %s go with it", dead, valuesOf(n))
	case n > 0 && dead != "":
		l.Goes, l.Why = false, fmt.Sprintf("%s, and nobody holds it, but it has %s that somebody may come for; to be taken with Values", dead, valuesOf(n))
	case dead != "":
		goes("%s, and nobody holds it; it is empty", dead)
	case c.Detached && (n == 0 || c.Values):
		goes("nobody holds it: all have detached; it has %s", valuesOf(n))
	case c.Detached:
		l.Goes, l.Why = false, fmt.Sprintf("all have detached, but it has %s that somebody may come for; to be taken with Detached and Values", valuesOf(n))
	default:
		l.Goes, l.Why = false, fmt.Sprintf("nobody died in it: all have detached, and it waits for whoever comes next, with %s; to be taken with Detached", valuesOf(n))
	}
}

func valuesOf(n int) string {
	switch n {
	case 0:
		return "no values"
	case 1:
		return "1 value"
	}
	return fmt.Sprintf("%d values", n)
}

// anyHolder names somebody alive who holds the channel, or is about to. It looks at all locks, for who joins takes one
// before anything else.
func (h *handle) anyHolder() (string, error) {
	for i := range lockReceiver + 1 {
		held, err := h.locks.held(i)
		if err != nil {
			return "", err
		}
		if !held {
			continue
		}
		if i < maxPeers && isUsed(h.entry(i).state.Load()) {
			return fmt.Sprintf("pid %d", h.entry(i).pid.Load()), nil
		}
		if pid, _ := flockHolder(h.file); pid != 0 { // Another collector, say.
			who, does, _ := remover(h.file)
			return who + ", which " + does, nil
		}
		return "a process that joins just now", nil
	}
	return "", nil
}

// otherHalfHolder is anyHolder of the other half of a pair: the two are made and held as one.
func (h *handle) otherHalfHolder() (holder string, err error) {
	other, ok := strings.CutSuffix(h.name, halfAB)
	if ok {
		other += halfBA
	} else {
		other = strings.TrimSuffix(h.name, halfBA) + halfAB
	}
	path, err := pathOf(other, &h.opts)
	if err != nil {
		return "", err
	}
	o, err := lookInto(other, path, &h.opts, os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, ErrMismatch):
		return "", nil
	case err != nil:
		return "", err
	}
	defer o.lookedInto()
	if o.caught(func() { holder, err = o.anyHolder() }) {
		return "", nil
	}
	return holder, err
}

// deadEntries names those who died while they were attached, empty if nobody did.
func (h *handle) deadEntries() string {
	var pids []string
	for i := range maxPeers {
		if e := h.entry(i); isUsed(e.state.Load()) {
			pids = append(pids, fmt.Sprint(e.pid.Load()))
		}
	}
	switch n := len(pids); {
	case n == 0:
		return ""
	case n == 1:
		return "pid " + pids[0] + " died while attached"
	case n <= 4:
		return "pids " + strings.Join(pids, ", ") + " died while attached"
	default:
		return fmt.Sprintf("pids %s and %d others died while attached", strings.Join(pids[:3], ", "), n-3)
	}
}

// isConnection says whether a channel's name is that of half of a connection, as shmnet makes them.
func isConnection(name string) bool {
	rest, ok := strings.CutSuffix(name, halfAB)
	if !ok {
		rest, ok = strings.CutSuffix(name, halfBA)
	}
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot <= 0 || len(rest)-dot-1 != 32 {
		return false
	}
	_, err := hex.DecodeString(rest[dot+1:])
	return err == nil
}

// beforeTakingAway is replaced by tests that open the channel just then.
var beforeTakingAway = func(name string) {}

// takeAway removes a channel that judge found to be nobody's, if it still is. False: its name is another file's by now.
func (c Collection) takeAway(h *handle, l *Leftover) (there bool) {
	beforeTakingAway(h.name)
	keep := func(why string) bool {
		l.Goes, l.Why = false, why
		return true
	}
	if !lockName(h.file) {
		who, does, _ := remover(h.file)
		return keep(who + " " + does)
	}
	defer unlockName(h.file)
	if !sameFile(h.file, h.path) {
		return false
	}
	for i := range maxPeers {
		if ok, err := h.locks.tryLock(i); err != nil {
			return keep(cannotTell(err))
		} else if !ok {
			l.Held = true
			return keep("somebody has opened it just now")
		}
	}
	// Nobody is attached, and nobody becomes so before lookedInto: so the judgement stands.
	if h.info.flags&flagPair != 0 {
		if holder, err := h.otherHalfHolder(); err != nil {
			return keep(cannotTell(err))
		} else if holder != "" {
			l.Held = true
			return keep("somebody has opened the other half of the pair just now")
		}
	}
	if c.judgeFree(h, l); !l.Goes {
		return true
	}
	for i := range maxPeers { // Who waits to join sees that a place will be free.
		if e := h.entry(i); isUsed(e.state.Load()) {
			e.state.Or(peerDead)
		}
	}
	h.removeDeadBells()
	h.ctl.closed.Store(1)
	if err := os.Remove(h.path); err != nil {
		l.Goes, l.Err = false, h.fail("remove it", err)
	}
	return true
}
