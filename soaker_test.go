package shmchan

// The processes of the soak (soak_test.go): each sends on or receives from one channel with every
// call that the API has, and keeps a record in a file that it shares with the parent, so that the
// record survives its death. It does what it is told by lines on its standard input:
//
//	detach      let go of the handle, in the middle of whatever its worker does, and open the name again
//	close ID    close the channel, if it is that one
//	end         a sender stops, a receiver goes on to the end of the channel

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// A value tells who sent it, the how-manieth of that sender it is, and whether it is whole.
const (
	soakSeqBits = 36
	soakSumBits = 10
	soakSenders = 1 << (64 - soakSeqBits - soakSumBits)
)

// small is a value of 8 bytes: sender, sequence, checksum. Medium values are messages.
type small uint64

// large is a value of 1024 bytes: sender, sequence, a pattern that both determine, its checksum.
type large [128]uint64

func makeSmall(from, seq uint64) small {
	v := from<<soakSeqBits | seq
	return small(v<<soakSumBits | v*0x9e3779b97f4a7c15>>(64-soakSumBits))
}

func readSmall(v small) (from, seq uint64, whole bool) {
	from, seq = uint64(v)>>(soakSeqBits+soakSumBits), uint64(v)>>soakSumBits&(1<<soakSeqBits-1)
	return from, seq, v == makeSmall(from, seq)
}

func readMedium(m message) (from, seq uint64, whole bool) { return m.From, m.Seq, m.whole() }

func makeLarge(from, seq uint64) (v large) {
	v[0], v[1] = from, seq
	x := from<<soakSeqBits | seq
	for i := 2; i < len(v)-1; i++ {
		x = x*6364136223846793005 + 1442695040888963407
		v[i] = x
		v[len(v)-1] ^= x
	}
	return v
}

func readLarge(v large) (from, seq uint64, whole bool) {
	return v[0], v[1], v[0] < soakSenders && v[1] < 1<<soakSeqBits && v == makeLarge(v[0], v[1])
}

// soakRecord is the memory that a process of the soak and the parent share.
type soakRecord struct{ mem []byte }

const (
	soakEntries = 1 << 12 // values received that the parent has not looked at yet

	soakFailed = 1 // states of a process
	soakEnded  = 2
)

func openSoakRecord(path string) (*soakRecord, error) {
	mem, err := sharedMemory(nil, path, 8*(16+soakEntries))
	return &soakRecord{mem}, err
}

func (r *soakRecord) word(i int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&r.mem[8*i])) }

func (r *soakRecord) acked() *atomic.Uint64   { return r.word(0) } // values whose send has returned nil
func (r *soakRecord) trying() *atomic.Uint64  { return r.word(1) } // values whose send may have begun
func (r *soakRecord) noted() *atomic.Uint64   { return r.word(2) } // values received and noted here
func (r *soakRecord) audited() *atomic.Uint64 { return r.word(3) } // and seen by the parent
func (r *soakRecord) inHand() *atomic.Uint64  { return r.word(4) } // values that a call may have taken and that are not noted
func (r *soakRecord) using() *atomic.Uint64   { return r.word(5) } // 1: a value is noted, and its RecvFunc not back
func (r *soakRecord) at() *atomic.Uint64      { return r.word(6) } // the channel's id while attached, else 0
func (r *soakRecord) torn() *atomic.Uint64    { return r.word(7) }
func (r *soakRecord) opens() *atomic.Uint64   { return r.word(8) }
func (r *soakRecord) cancels() *atomic.Uint64 { return r.word(9) }  // calls that their context ended
func (r *soakRecord) busy() *atomic.Uint64    { return r.word(11) } // Opens that were told to try again
func (r *soakRecord) state() *atomic.Uint64   { return r.word(10) }
func (r *soakRecord) entry(i uint64) *atomic.Uint64 {
	return r.word(16 + int(i%soakEntries))
}

// note records a value that was received, once the parent has made room.
func (r *soakRecord) note(from, seq uint64, whole bool) {
	if !whole || from >= soakSenders {
		r.torn().Add(1)
		return
	}
	n := r.noted().Load()
	for n-r.audited().Load() == soakEntries {
		runtime.Gosched()
	}
	r.entry(n).Store(from<<soakSeqBits | seq)
	r.noted().Store(n + 1)
}

// soakTask is what a process of the soak is started with.
type soakTask struct {
	Dir, Name, Record string
	Capacity, Size    int
	OneSender         bool
	OneReceiver       bool
	Sends             bool
	Func              bool   // receive by RecvFunc only
	Number            uint64 // of a sender
	Seed              uint64
}

func (t soakTask) options() []Option {
	opts := []Option{WithDir(t.Dir), WithCapacity(t.Capacity)}
	if t.OneSender {
		opts = append(opts, WithSingleSender())
	}
	if t.OneReceiver {
		opts = append(opts, WithSingleReceiver())
	}
	return opts
}

// soakID makes a word of a channel's random id.
func soakID(h *handle) uint64 { return binary.NativeEndian.Uint64(h.info.id[:]) | 1 }

// soaker is such a process, with values of type T.
type soaker[T any] struct {
	soakTask
	rec    *soakRecord
	rnd    *rand.Rand
	make   func(from, seq uint64) T
	read   func(T) (from, seq uint64, whole bool)
	ending atomic.Bool

	mu       sync.Mutex // guards what follows, and a Detach under way
	s        *Sender[T]
	r        *Receiver[T]
	attached bool
	last     bool // it was told to end before it let go of the last one
}

func init() {
	roles["soaker"] = func(args []string) error {
		var t soakTask
		if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
			return err
		}
		rec, err := openSoakRecord(t.Record)
		if err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(t.Seed, 2))
		switch t.Size {
		case 8:
			err = (&soaker[small]{soakTask: t, rec: rec, rnd: rnd, make: makeSmall, read: readSmall}).run()
		case 64:
			err = (&soaker[message]{soakTask: t, rec: rec, rnd: rnd, make: newMessage, read: readMedium}).run()
		default:
			err = (&soaker[large]{soakTask: t, rec: rec, rnd: rnd, make: makeLarge, read: readLarge}).run()
		}
		if err != nil {
			rec.state().Store(soakFailed)
		} else {
			rec.state().Store(soakEnded)
		}
		return err
	}
}

func (s *soaker[T]) run() error {
	before := openDescriptors()
	go s.obey()
	for {
		if err := s.open(); errors.Is(err, ErrBusy) && strings.Contains(err.Error(), "about to join, leave or remove it") {
			s.rec.busy().Add(1) // Somebody was stopped there for a second. It says to try again.
			continue
		} else if err != nil {
			return err
		}
		began := s.rec.noted().Load() + s.rec.acked().Load()
		err := s.work()
		for err == nil {
			err = s.work()
		}
		s.rec.at().Store(0)
		s.letGo()
		closed := errors.Is(err, ErrClosed)
		switch {
		case s.Sends && s.ending.Load(), closed && s.last:
			return nothingLeft(before)
		case closed && s.rec.noted().Load()+s.rec.acked().Load() == began:
			// It is closed, but not left by all. A program that wants the next one tries now and then.
			time.Sleep(time.Duration(s.rnd.Int64N(int64(5 * time.Millisecond))))
		case !closed && !errors.Is(err, ErrDetached) && !errors.Is(err, errSoakEnds):
			return err
		}
	}
}

var errSoakEnds = errors.New("told to end")

func (s *soaker[T]) open() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opts := append(s.options(), WithWait([]Wait{Adaptive, Adaptive, Park}[s.rnd.IntN(3)]))
	if s.Sends {
		s.s, err = OpenSender[T](s.Name, opts...)
	} else {
		s.r, err = OpenReceiver[T](s.Name, opts...)
	}
	if err == nil {
		s.attached = true
		s.rec.at().Store(soakID(s.handle()))
		s.rec.opens().Add(1)
	}
	return err
}

func (s *soaker[T]) handle() *handle {
	if s.Sends {
		return s.s.h
	}
	return s.r.h
}

// letGo detaches the handle, unless that was done, and returns when it is. A receiver that is told to end only after that has not seen the end:
// from then on the next channel may be there, with values of senders that have ended since.
func (s *soaker[T]) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attached {
		s.attached, s.last = false, s.ending.Load()
	}
	if s.Sends && s.s != nil {
		_ = s.s.Detach()
	} else if s.r != nil {
		_ = s.r.Detach()
	}
}

// obey does what the parent says. When the parent is gone, so is the process.
func (s *soaker[T]) obey() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		what, id, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "detach":
			s.letGo()
		case "close":
			s.closeOnly(id)
		case "end":
			s.ending.Store(true)
		}
	}
	if !s.ending.Load() {
		os.Exit(4)
	}
}

func (s *soaker[T]) closeOnly(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.Sends && s.s != nil && strconv.FormatUint(soakID(s.s.h), 10) == id:
		_ = s.s.Close()
	case !s.Sends && s.r != nil && strconv.FormatUint(soakID(s.r.h), 10) == id:
		_ = s.r.Close()
	}
}

func (s *soaker[T]) work() error {
	if s.Sends {
		return s.sendSome()
	}
	return s.recvSome()
}

// context is mostly one that ends soon, so that many calls are cancelled in the middle.
func (s *soaker[T]) context() (context.Context, context.CancelFunc) {
	if s.rnd.IntN(4) == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(s.rnd.Int64N(int64(2*time.Millisecond))))
}

// passing counts the errors that are no end of the work, and takes them away.
func (s *soaker[T]) passing(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errSoakNo) {
		s.rec.cancels().Add(1)
		return nil
	}
	if errors.Is(err, ErrFull) || errors.Is(err, ErrEmpty) {
		runtime.Gosched()
		return nil
	}
	return err
}

var errSoakNo = errors.New("no")

func (s *soaker[T]) sendSome() error {
	if s.ending.Load() {
		return errSoakEnds
	}
	seq := s.rec.acked().Load()
	s.rec.trying().Store(seq + 1)
	var err error
	sent := uint64(1)
	switch s.rnd.IntN(16) {
	case 0, 1:
		ctx, cancel := s.context()
		err = s.s.SendContext(ctx, s.make(s.Number, seq))
		cancel()
	case 2, 3:
		err = s.s.TrySend(s.make(s.Number, seq))
	case 4, 5:
		s.rec.trying().Store(seq + 4)
		ctx, cancel := s.context()
		var n int
		n, err = s.s.SendBatch(ctx, []T{s.make(s.Number, seq), s.make(s.Number, seq+1), s.make(s.Number, seq+2), s.make(s.Number, seq+3)})
		cancel()
		s.rec.acked().Store(seq + uint64(n))
		return s.passing(err)
	case 6, 7:
		no := s.rnd.IntN(8) == 0
		err = s.s.SendFunc(forever, func(v *T) error {
			*v = s.make(s.Number, seq)
			s.linger()
			if no {
				return errSoakNo
			}
			return nil
		})
	default:
		err = s.s.Send(s.make(s.Number, seq))
	}
	if err == nil {
		s.rec.acked().Store(seq + sent)
	}
	return s.passing(err)
}

// linger stays a while with a slot in hand, now and then, so that many are killed and stopped there.
func (s *soaker[T]) linger() {
	if s.rnd.IntN(64) == 0 {
		time.Sleep(time.Duration(s.rnd.Int64N(int64(2 * time.Millisecond))))
	}
}

func (s *soaker[T]) recvSome() error {
	if s.Func {
		ctx, cancel := s.context()
		defer cancel()
		// Not where many are behind it: what is given back is late, and the audit bounds the late by those.
		no := s.Capacity <= 7 && s.rnd.IntN(64) == 0
		err := s.r.RecvFunc(ctx, func(v *T) error {
			if no {
				return errSoakNo // It comes again, to us or another.
			}
			s.linger()
			s.rec.using().Store(1)
			s.rec.note(s.read(*v))
			return nil
		})
		s.rec.using().Store(0)
		return s.passing(err)
	}
	var err error
	var buf [4]T
	n, batch := 1, false
	s.rec.inHand().Store(1)
	switch s.rnd.IntN(8) {
	case 0, 1:
		ctx, cancel := s.context()
		buf[0], err = s.r.RecvContext(ctx)
		cancel()
	case 2:
		buf[0], err = s.r.TryRecv()
	case 3:
		s.rec.inHand().Store(uint64(len(buf)))
		batch = true
		ctx, cancel := s.context()
		n, err = s.r.RecvBatch(ctx, buf[:])
		cancel()
	default:
		buf[0], err = s.r.Recv()
	}
	if err != nil && !batch {
		n = 0
	}
	for i := range n {
		s.rec.note(s.read(buf[i]))
	}
	s.rec.inHand().Store(0)
	return s.passing(err)
}

// nothingLeft fails if something of a channel stays open or mapped, or more descriptors than
// before and the two of Go's poller. The timer of the backstop and the watches of deaths are closed a moment after Detach.
func nothingLeft(before int) error {
	for began := time.Now(); ; runtime.Gosched() {
		if leaks := leaked(); len(leaks) > 0 {
			return fmt.Errorf("left open or mapped: %v", leaks)
		}
		n := openDescriptors()
		if n <= before+2 {
			return nil
		}
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("%d descriptors are open after Detach: %v", n, descriptorNames())
		}
	}
}

func descriptorNames() (names []string) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		names = append(names, fd.Name()+" "+to)
	}
	return names
}

// openDescriptors counts those of this process; 0 where the system does not tell.
func openDescriptors() int {
	fds, _ := os.ReadDir("/proc/self/fd")
	return len(fds)
}

// A value that is changed anywhere shows, in each of the sizes.
func TestSoakValues(t *testing.T) {
	rnd := testRand(t)
	for range 200 {
		from, seq := rnd.Uint64N(soakSenders), rnd.Uint64N(1<<soakSeqBits)
		gotFrom, gotSeq, whole := readSmall(makeSmall(from, seq))
		assert.Equal(t, [3]any{from, seq, true}, [3]any{gotFrom, gotSeq, whole})
		m := newMessage(from, seq)
		m.Fill[rnd.IntN(5)] ^= 1 << rnd.IntN(64)
		_, _, whole = readMedium(m)
		assert.False(t, whole)
		l := makeLarge(from, seq)
		_, _, whole = readLarge(l)
		assert.True(t, whole)
		l[rnd.IntN(len(l))] ^= 1 << rnd.IntN(64)
		_, _, whole = readLarge(l)
		assert.False(t, whole)
	}
}
