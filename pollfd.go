package shmchan

// Descriptors that poll readable: RecvFD and SendFD.
//
// Invariants:
//   - Under handle.mu a side's descriptor is either armed, and then its participant's flag is up or a waker has just
//     taken it down and rings; or it is readable; or it is closed.
//   - It is armed by a Try call that found nothing: drained, then the hint, then the flag, then a fence for all, then a
//     look; if that finds something it is readable again at once. So of the two, who publishes and who arms, one sees the other.
//   - A descriptor keeps no wake. Who wakes makes readable every descriptor that he comes by and goes on until a goroutine
//     was woken, once around. That a descriptor alone waits stands in its participant's entry (peer.polls), which the waker reads
//     after he has taken the flag down; a goroutine that queues takes the hint away before it puts the flag up. So a waker who
//     reads that nobody but a descriptor waits there has published before that goroutine looks.
//   - A wake that was meant for a goroutine and finds only a descriptor, as the goroutine has left, is passed on if there is something.
//   - Nobody wakes another because his Try call found nothing: so pollers come to rest.

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// event is a descriptor that polls readable while it is raised. Its calls are serialised by handle.mu.
type event interface {
	fd() int
	raise() // at most once between two drains
	drain()
	close()
}

// newEvent is replaced by tests that run another system's here.
var newEvent = newPlatformEvent

// pipeEvent is an event from a pipe.
type pipeEvent struct{ r, w int }

func newPipeEvent() (event, error) {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return nil, err
	}
	e := pipeEvent{p[0], p[1]}
	for _, fd := range p {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

func (e pipeEvent) fd() int { return e.r }
func (e pipeEvent) raise() {
	_ = eintr(func() error { _, err := unix.Write(e.w, []byte{1}); return err })
}
func (e pipeEvent) drain() {
	var buf [64]byte
	_ = eintr(func() error { _, err := unix.Read(e.r, buf[:]); return err })
}
func (e pipeEvent) close() {
	_ = unix.Close(e.w)
	_ = unix.Close(e.r)
}

// poll is a side's descriptor.
type poll struct {
	event  event       // guarded by handle.mu
	armed  atomic.Bool // changed under handle.mu
	closed bool        // guarded by handle.mu
}

// RecvFD is a descriptor for select, poll, epoll and kqueue that polls readable when a receive may find something, or has
// an error to report: the channel is closed and drained, corrupt, the handle is detached, or (WithDisconnect) no live sender holds it. It may
// be readable though another was quicker; it stays so until a TryRecv fails with ErrEmpty, and from then on is readable
// only once there is something again. So: wait for it, then TryRecv until ErrEmpty. That goes for edges too (EPOLLET).
//
// Poll it, and do nothing else with it: do not read, write or close it. It belongs to this side of the handle, is made by the first call and
// closed by Detach. A closed descriptor leaves an epoll without a word, so give epoll, an os.File, or another process a
// dup; that polls readable after Detach. It fails with ErrDetached, or as the system does when descriptors have run out.
func (r *Receiver[T]) RecvFD() (int, error) { return r.h.recv.descriptor() }

// SendFD is RecvFD for sending: it polls readable (not writable) when a TrySend may go ahead or has an error to report,
// until one fails with ErrFull. With capacity 0 that is when a receiver waits in a Recv and nobody's value is before it.
func (s *Sender[T]) SendFD() (int, error) { return s.h.send.descriptor() }

// descriptor makes the descriptor at the first call.
func (s *side) descriptor() (int, error) {
	h, fd := s.h, 0
	err := h.guard(s, func() error {
		if !s.enter() {
			return h.errs.detached
		}
		defer s.leave()
		p, made, err := s.pollOf()
		if err != nil {
			return err
		}
		if made {
			s.arm(p)
		}
		fd = p.event.fd()
		return nil
	})
	return fd, err
}

func (s *side) pollOf() (p *poll, made bool, err error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.detached.Load() {
		return nil, false, h.errs.detached
	}
	if p := s.poll.Load(); p != nil {
		return p, false, nil
	}
	e, err := newEvent()
	if err != nil {
		return nil, false, h.fail("make a descriptor to poll", err)
	}
	p = &poll{event: e}
	s.poll.Store(p)
	return p, true, nil
}

// refused is for a Try call that has failed, still in the call. If it found nothing, it says why, and arms the descriptor.
func (s *side) refused(err error) error {
	h := s.h
	if err != h.errs.empty && err != h.errs.full && err != h.errs.noRoom && err != h.errs.noReceiver { //nolint:errorlint // They are these.
		return err
	}
	if h.opts.disconnect && s.desertedNow() {
		return s.disconnected()
	}
	if p := s.poll.Load(); p != nil && !p.armed.Load() {
		s.arm(p)
	}
	return err
}

// arm has the next wake make the descriptor readable, in a call that found nothing.
func (s *side) arm(p *poll) {
	h := s.h
	h.checkHolders(s.d)
	if !s.flagUp(p) {
		return
	}
	h.watchPeers()
	if !h.watched.Load() {
		h.watch()
	}
	h.fenceAll()
	if h.pollReady(s.d) || s.deserted(waitTurn) {
		h.raisePoll(s)
	}
}

// flagUp is the first half of arm. False: the descriptor is armed already, or closed.
func (s *side) flagUp(p *poll) bool {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.closed || p.armed.Load() {
		return false
	}
	p.event.drain()
	p.armed.Store(true)
	s.tellPolls()
	h.setWaiting(s.d, h.idx)
	return true
}

// armed says whether the descriptor waits.
func (s *side) armed() bool {
	p := s.poll.Load()
	return p != nil && p.armed.Load()
}

// tellPolls says in our entry whether nobody but the descriptor waits. The caller holds h.mu.
func (s *side) tellPolls() {
	if s.poll.Load() == nil {
		return
	}
	polls := &s.h.entry(s.h.idx).polls
	if s.armed() && s.noneQueued() {
		polls.Or(pollBit(s.d))
	} else {
		polls.And(^pollBit(s.d))
	}
}

func pollBit(d direction) uint64 { return 1 << d }

// onlyPolls says whether, of participant i whose flag we took down, only the descriptor waits.
func (h *handle) onlyPolls(i int, d direction) bool {
	return h.entry(i).polls.Load()&pollBit(d) != 0
}

// raise makes the descriptor readable. The caller holds h.mu, has set the flag, and found it armed.
func (p *poll) raise() { p.event.raise() }

// disarm takes the descriptor out. The caller holds h.mu. Nil: it was not armed.
func (s *side) disarm() *poll {
	if !s.armed() {
		return nil
	}
	p := s.poll.Load()
	p.armed.Store(false)
	return p
}

// raisePoll takes the descriptor out and makes it readable, if it is armed; for nobody else.
func (h *handle) raisePoll(s *side) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := s.disarm(); p != nil {
		s.fixFlag()
		p.raise()
	}
}

// closePoll makes the descriptor readable, for its dups, and closes it.
func (s *side) closePoll() {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	p := s.poll.Load()
	if p == nil || p.closed {
		return
	}
	if s.disarm() != nil {
		p.raise()
	}
	s.fixFlag()
	p.closed = true
	p.event.close()
}

// handOn is for a wake that was rung and found no goroutine: one that waited has left, and the descriptor that was
// readable, or is now, keeps no wake.
func (h *handle) handOn(s *side) {
	if s.poll.Load() != nil {
		h.passOn(s, true)
	}
}

// pollReady says whether a Try call may find something, or an error. For any goroutine.
func (h *handle) pollReady(d direction) bool {
	if !h.readyFor(d) {
		return false
	}
	if want := h.send.want.Load(); d == sending && want > 0 && h.ctl.closed.Load() == 0 && !h.hasRoom(want) {
		return false
	}
	if !h.rendezvous || d == receiving || h.ctl.closed.Load() != 0 {
		return true
	}
	_, ok := h.rvFind()
	return ok
}
