package shmchan

// Looking at channels without taking part: for tools and monitoring.
// Invariant: nothing here writes to a channel, or needs to know its type.

import (
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info describes a channel.
type Info struct {
	Stats
	Type           string // the element type, as its maker named it
	Layout         string // the canonical layout: a line a field, path kind offset size alignment
	Size           int    // bytes of a value; of a channel of bytes, of what a slot has for one
	MaxMessage     int    // of a channel of bytes: bytes of a message at most; else 0
	Arena          int64  // of a channel of bytes: bytes that the messages which do not fit in a slot share; 0: all fit
	ArenaUsed      int64  // of these, in whole blocks, those of messages in the channel
	SingleSender   bool
	SingleReceiver bool
	Checksum       bool // a CRC-32C beside each value
	HugePages      bool // made with WithHugePages; HugeBytes says how many there are
	Mode           fs.FileMode
	Bytes          int64 // of the channel's file
	Path           string
	PID            int // of the process that made it
	Created        time.Time
	Peers          []Peer
}

// Peer is a handle that is attached to a channel, or was when its process died.
type Peer struct {
	PID      int // as its process sees it
	Sends    bool
	Receives bool
	Alive    bool // false: dead, and not cleared away yet by anybody who goes on
	Waiting  bool
	Since    time.Time

	WaitsToSend, WaitsToReceive bool // which of the two Waiting is
	Here                        bool // PID is a number of this process's pid namespace
	Reserved                    bool // no handle yet: a set of files of an unnamed channel that nobody has used
}

// Inspect looks at the channel of that name, without attaching to it. Only WithDir
// counts among the options. Stats.Parked is 0, and Senders and Receivers count live handles only.
func Inspect(name string, opts ...Option) (Info, error) {
	o := newOptions(opts)
	path, err := pathOf(name, &o)
	if err != nil {
		return Info{}, err
	}
	h, err := lookInto(name, path, &o, os.O_RDONLY)
	if err != nil {
		return Info{}, err
	}
	defer h.lookedInto()
	var info Info
	if h.caught(func() { info, err = h.inspect() }) {
		return Info{}, brokenError(name)
	}
	return info, err
}

func (h *handle) inspect() (Info, error) {
	h.noteHugePages()
	hd := h.info
	info := Info{
		Stats: h.stats(), Type: hd.typeName, Layout: hd.text, Size: int(hd.size), Path: h.path,
		SingleSender: hd.flags&flagSingleSender != 0, SingleReceiver: hd.flags&flagSingleReceiver != 0, Checksum: hd.flags&flagChecksum != 0, HugePages: hd.flags&flagHugePages != 0,
		MaxMessage: int(hd.maxMessage), Arena: int64(hd.block * hd.blocks), ArenaUsed: h.arenaUsed(),
		PID: int(hd.pid), Created: time.Unix(0, int64(hd.created)), Bytes: int64(hd.length),
	}
	if st, err := h.file.Stat(); err == nil {
		info.Mode = st.Mode().Perm()
	}
	info.Senders, info.Receivers = 0, 0
	for i := range maxPeers {
		e := h.entry(i)
		s := e.state.Load()
		if !isUsed(s) {
			continue
		}
		alive, err := h.locks.held(i)
		if err != nil {
			return info, advise(h.name, "look who is alive", err)
		}
		bit := uint64(1) << (i % 64)
		toSend, toReceive := h.ctl.senders[i/64].Load()&bit != 0, h.ctl.receivers[i/64].Load()&bit != 0
		p := Peer{
			PID: int(e.pid.Load()), Sends: s&peerSends != 0, Receives: s&peerReceives != 0,
			Alive: alive, Waiting: (toSend || toReceive) && alive, Since: time.Unix(0, int64(e.attached.Load())),
			WaitsToSend: toSend && alive, WaitsToReceive: toReceive && alive,
			Here: e.space.Load() != 0 && e.space.Load() == pidSpace(), Reserved: s&peerSeat != 0,
		}
		info.Peers = append(info.Peers, p)
		if alive && p.Sends {
			info.Senders++
		}
		if alive && p.Receives {
			info.Receivers++
		}
	}
	return info, nil
}

// arenaUsed is how many bytes of the arena messages have. Others go on between the looks.
func (h *handle) arenaUsed() (bytes int64) {
	a := h.arena
	if a == nil {
		return 0
	}
	b := a.head.Load()
	for end := b + a.blocks; b < end; {
		w := a.word(b).Load()
		k, ok := a.claimed(w, b)
		if k == 0 || !ok {
			break
		}
		if a.inUse(w, noPos) {
			bytes += int64(k * a.block)
		}
		b += k
	}
	return bytes
}

// List names the channels in the directory, sorted: all files that have a
// channel's name, whatever is in them. Only WithDir counts among the options.
func List(opts ...Option) ([]string, error) {
	o := newOptions(opts)
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return nil, fmt.Errorf("shmchan: cannot list channels: %w; check the directory that WithDir or $%s names", err, EnvDir)
	}
	var names []string
	for _, e := range entries {
		if n, ok := strings.CutPrefix(e.Name(), filePrefix); ok && n != "" {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names, nil
}

// mapToRead is replaced by tests that change the file just then.
var mapToRead = func(f *os.File, length uint64) ([]byte, error) {
	return mapFile(f, length, unix.PROT_READ)
}
