package main

// The file that all processes of the demo map: what to send, and the record of
// what was sent and received. It has no name, so nothing is left of it.
//
//	0        sharedHeader
//	rowsAt   the trades to send, header.rows of them
//	wordsAt  a word for each value that may be sent: see outcome
//
// Invariant: each word but those of the values is written by one process only, and
// all of them survive that process's death at any instant.

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxProcesses bounds the senders, and the receivers, that a run can have one after another.
const maxProcesses = 64

type sharedHeader struct {
	rows, words atomic.Uint64 // how many
	senders     [maxProcesses]senderRecord
	receivers   [maxProcesses]receiverRecord
}

// senderRecord is written by the sender, but for the first three, which are set
// before it starts.
type senderRecord struct {
	quota     atomic.Uint64 // how many it is to send
	base      atomic.Uint64 // where its words begin: number seq has word base+seq-1
	firstRow  atomic.Uint64 // of the rows, where it begins
	attempted atomic.Uint64 // the last number that it began to send
	acked     atomic.Uint64 // the last number whose Send returned nil
	firstAt   atomic.Int64  // when it began to send
	stopped   atomic.Uint64 // the number that it stopped at, half written
	_         [128 - 56]byte
}

// receiverRecord is written by the receiver.
type receiverRecord struct {
	received   atomic.Uint64 // deliveries
	late       atomic.Uint64 // of these, numbers below one that it had from the same sender
	torn       atomic.Uint64 // values that nobody sent so
	lastAt     atomic.Int64  // when it received the last
	stopped    atomic.Uint64 // the number that it stopped at with the value in hand...
	heldSender atomic.Uint64 // ...and its sender
	_          [128 - 48]byte
}

// outcome is a value's word: deliveries (8 bits), the receiver that was first (8),
// and the nanoseconds from the Send to that (48).
type outcome uint64

const latencyBits = 48

func (o outcome) count() int     { return int(o >> 56) }
func (o outcome) receiver() int  { return int(o >> latencyBits & 0xff) }
func (o outcome) latency() int64 { return int64(o & (1<<latencyBits - 1)) }

// mark notes a delivery in a value's word.
func mark(word *atomic.Uint64, receiver int, latency int64) {
	latency = min(max(latency, 0), 1<<latencyBits-1)
	first := uint64(1)<<56 | uint64(receiver)<<latencyBits | uint64(latency)
	if word.CompareAndSwap(0, first) {
		return
	}
	for {
		old := word.Load()
		if outcome(old).count() == 255 || word.CompareAndSwap(old, old+1<<56) {
			return
		}
	}
}

// sharedFile is a process's mapping of the file.
type sharedFile struct {
	file *os.File
	mem  []byte
	head *sharedHeader
	rows []row
	// words are the outcomes of the values.
	words []atomic.Uint64
}

const (
	rowSize  = int(unsafe.Sizeof(row{}))
	headSize = int(unsafe.Sizeof(sharedHeader{}))
)

// newSharedFile makes the file, with place for so many values.
func newSharedFile(rows []row, words int) (*sharedFile, error) {
	f, err := os.CreateTemp("", "shmchan-demo-*")
	if err != nil {
		return nil, fmt.Errorf("shmchan: cannot make a temporary file: %w; set $TMPDIR to a directory that can be written", err)
	}
	size := headSize + len(rows)*rowSize + words*8
	if err := errors.Join(os.Remove(f.Name()), fillWithZeros(f, size)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("shmchan: cannot make a temporary file of %d bytes: %w; make room, set $TMPDIR to another directory, or lower --values", size, err)
	}
	s, err := mapSharedFile(f, size)
	if err != nil {
		return nil, err
	}
	s.head.rows.Store(uint64(len(rows)))
	s.head.words.Store(uint64(words))
	s.locate()
	copy(s.rows, rows)
	return s, nil
}

// fillWithZeros takes the memory now, so that a full disk is an error here and not a
// fault in the middle.
func fillWithZeros(f *os.File, size int) error {
	zeros := make([]byte, 1<<20)
	for size > 0 {
		n, err := f.Write(zeros[:min(size, len(zeros))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// openSharedFile maps the file that another process made.
func openSharedFile(f *os.File) (*sharedFile, error) {
	st, err := f.Stat()
	if err != nil || st.Size() < int64(headSize) {
		return nil, errors.Join(errors.New("shmchan: the demo's processes are started by shmchan demo only"), err)
	}
	s, err := mapSharedFile(f, int(st.Size()))
	if err != nil {
		return nil, err
	}
	if want := uint64(headSize) + s.head.rows.Load()*uint64(rowSize) + s.head.words.Load()*8; want != uint64(st.Size()) {
		s.close()
		return nil, fmt.Errorf("shmchan: the demo's shared file has %d bytes and should have %d; start shmchan demo anew", st.Size(), want)
	}
	s.locate()
	return s, nil
}

func mapSharedFile(f *os.File, size int) (*sharedFile, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("shmchan: cannot map the demo's shared file of %d bytes: %w; lower --values", size, err)
	}
	return &sharedFile{file: f, mem: mem, head: (*sharedHeader)(unsafe.Pointer(&mem[0]))}, nil
}

// locate finds the rows and the words, which lie behind the header.
func (s *sharedFile) locate() {
	at := unsafe.Pointer(&s.mem[0])
	rows, words := int(s.head.rows.Load()), int(s.head.words.Load())
	s.rows = unsafe.Slice((*row)(unsafe.Add(at, headSize)), rows)
	s.words = unsafe.Slice((*atomic.Uint64)(unsafe.Add(at, headSize+rows*rowSize)), words)
}

// word is where the outcome of a sender's value is noted; nil if the sender has no such value.
func (s *sharedFile) word(sender uint32, seq uint64) *atomic.Uint64 {
	if sender >= maxProcesses || seq == 0 || seq > s.head.senders[sender].attempted.Load() {
		return nil
	}
	i := s.head.senders[sender].base.Load() + seq - 1
	if i >= uint64(len(s.words)) {
		return nil
	}
	return &s.words[i]
}

// sent is how many Sends have returned.
func (s *sharedFile) sent() (n uint64) {
	for i := range s.head.senders {
		n += s.head.senders[i].acked.Load()
	}
	return n
}

// received is how many values have been delivered, counted anew when delivered again.
func (s *sharedFile) received() (n uint64) {
	for i := range s.head.receivers {
		n += s.head.receivers[i].received.Load()
	}
	return n
}

func (s *sharedFile) close() {
	_ = unix.Munmap(s.mem)
	_ = s.file.Close()
}
