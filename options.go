package shmchan

// Options: what a caller may say of a channel and of its handle.
// Invariant: what belongs to the channel is compared with the file when attaching;
// what belongs to the handle never reaches the file.

import (
	"fmt"
	"io/fs"
	"os"
)

// DefaultCapacity is the capacity of a channel made without WithCapacity.
const DefaultCapacity = 1024

// EnvDir names the environment variable that replaces the default directory.
const EnvDir = "SHMCHAN_DIR"

// Option changes how Open makes, attaches to or uses a channel. A nil one changes nothing.
type Option func(*options)

// Wait says how a handle waits.
type Wait int

const (
	// Adaptive spins for as long as that has paid lately, at most 200 µs, then parks. Where what it waits for comes
	// at regular intervals, of 0.4 to 100 ms, it parks until shortly before the next is due and spins then. It is the default.
	Adaptive Wait = iota
	// Spin never parks: the shortest latency, at the price of a CPU for each waiting goroutine.
	Spin
	// Park never spins.
	Park
)

type options struct {
	capacity   int // -1: not stated
	dir        string
	mode       fs.FileMode
	oneSender  bool
	oneRecver  bool
	create     bool
	attach     bool
	wait       Wait
	disconnect bool
	pair       bool // half of a pair, see duplex.go
	peers      int  // how many handles an unnamed channel may have, 0: not stated
	faultGuard bool
	checksum   bool
	maxMessage uint64 // 0: not stated
	arena      uint64 // bytes, 0: not stated
	hugePages  bool
	prefault   bool
	locked     bool
	layout     *layout // of WithLayout, see raw.go
	raw        bool    // the handle has no type of its own
	hold       bool    // see hold.go
	start      uint64  // the first position, for tests of wraparound
	invalid    string
}

func (o *options) apply(opts []Option) {
	for _, f := range opts {
		if f != nil {
			f(o)
		}
	}
}

func newOptions(opts []Option) options {
	o := options{capacity: -1, mode: 0o600}
	o.apply(opts)
	if o.dir == "" {
		o.dir = os.Getenv(EnvDir)
	}
	if o.dir == "" {
		o.dir = defaultDir()
	}
	if o.create && o.attach {
		o.invalid = "WithCreate and WithAttach exclude each other; leave both out to create or attach"
	}
	if o.peers != 0 && o.invalid == "" {
		o.refuse("WithPeers is for New and FromFiles; a channel with a name has %d handles", maxPeers)
	}
	return o
}

func (o *options) refuse(format string, a ...any) { o.invalid = fmt.Sprintf(format, a...) }

// WithCapacity sets how many values the channel holds, exactly; 0 is a rendezvous:
// each Send waits for its Recv. On attaching it must match. Left out, attaching
// takes what is there and creating makes DefaultCapacity.
func WithCapacity(n int) Option {
	return func(o *options) {
		if n < 0 {
			o.refuse("WithCapacity(%d): a capacity is 0 or more", n)
			return
		}
		o.capacity = n
	}
}

// WithDir says in which directory the channel lies. The default is $SHMCHAN_DIR or
// else the system's memory file system (/dev/shm on Linux).
func WithDir(path string) Option {
	return func(o *options) { o.dir = path }
}

// WithMode sets the permission bits of a channel that is made, exactly, whatever
// the umask. Whoever may use a channel needs both to read and to write it. The default is 0600.
func WithMode(mode fs.FileMode) Option {
	return func(o *options) {
		if mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 {
			o.refuse("WithMode(%v): the mode has permission bits only, and its owner may read and write", mode)
			return
		}
		o.mode = mode
	}
}

// WithSingleSender makes a channel that one handle at a time sends on, and one
// goroutine at a time uses that handle's sending side: the fast path. A second
// handle that would send is ErrBusy until the first detaches or dies. Two goroutines that send at
// the same time are a data race, which race builds report: values may be lost, and Detach
// may take the memory away under one of them.
func WithSingleSender() Option { return func(o *options) { o.oneSender = true } }

// WithSingleReceiver is WithSingleSender for the receiving side.
func WithSingleReceiver() Option { return func(o *options) { o.oneRecver = true } }

// WithCreate makes Open fail with fs.ErrExist if the channel is already there.
func WithCreate() Option { return func(o *options) { o.create = true } }

// WithAttach makes Open fail with fs.ErrNotExist if the channel is not there.
func WithAttach() Option { return func(o *options) { o.attach = true } }

// WithWait sets how this handle's calls wait.
func WithWait(w Wait) Option {
	return func(o *options) {
		if w < Adaptive || w > Park {
			o.refuse("WithWait(%d): use Adaptive, Spin or Park", int(w))
			return
		}
		o.wait = w
	}
}

// WithDisconnect makes this handle's calls fail with ErrDisconnected where they
// would wait for ever: a receive on an empty channel that no live handle, this one
// included, holds for sending, and a send that must wait and that none holds for receiving.
func WithDisconnect() Option { return func(o *options) { o.disconnect = true } }

// WithChecksum makes a channel with a checksum beside each value, a CRC-32C of its bytes and its position, which processors
// have instructions for. A value that does not match it is dropped, and its receive is ErrCorrupt, which names the
// position; the next one goes on behind it. It tells memory that was damaged, and a value that is not where it was sent to, but it
// is no signature: whoever may write the memory can write a checksum too. Calls take the longer way, RecvFunc works on a copy, and
// a slot has 4 bytes more.
func WithChecksum() Option { return func(o *options) { o.checksum = true } }

// WithFaultGuard makes this handle survive that the channel's file is cut short, or that its file system has no room
// for a page of it: what touches the memory that is gone fails with ErrCorrupt, and so does every call on the
// handle from then on; Len is 0, and Detach works. Without it the process ends by SIGBUS. A call that was under way
// does not tell whether its value, or how much of its batch, went through.
//
// It guards the calls of this handle, the functions given to SendFunc and RecvFunc as far as they touch the value, its goroutines, Open but for the
// making of a new file, and Detach. Not every call touches what is gone, so
// calls also look at the file's size, every 5 ms at most, and on behalf of parked calls the process does so five times a second. Calls take the longer way, and 40 to 95 ns more each (docs/performance.md). While a call
// runs, debug.SetPanicOnFault is true for its goroutine: so a fault elsewhere in a function given to SendFunc or RecvFunc is a panic too.
// Under the race detector, which makes atomics in C, a file cut short in the very moment of one ends the process all the same.
func WithFaultGuard() Option { return func(o *options) { o.faultGuard = true } }

// withStart sets the first position, for tests of wraparound.
func withStart(pos uint64) Option { return func(o *options) { o.start = pos } }
