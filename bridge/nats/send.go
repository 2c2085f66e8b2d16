package nats

// The sending end.
//
// Two goroutines work: feed holds values and publishes them itself, and that of the acknowledgements, which is nats.go's, takes out of the channel what the
// stream has. So a value that finds nothing before it goes from the channel to the connection without changing hands. Send itself only begins anew.
//
// Invariants:
//   - The queue is ring[head, tail): what is held of the channel, in the channel's order, oldest first; a value is Done only when its acknowledgement is there.
//     ring[head, sent) was published in this epoch. Only feed moves tail, and until it has, ring[tail] is feed's alone.
//   - Careful: one message is on its way, that of the queue's head. It becomes flowing with the first acknowledgement that is no duplicate, for then
//     nothing that follows is in the stream. Any refusal, or silence, ends the epoch: nothing is published until the next has begun, careful again, and what is
//     answered to an older one does not count.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
)

const (
	codeFull      = 10077 // the stream has as many messages as it may
	codeWrongLast = 10071 // its last sequence is another
	codeNone      = -1    // no answer of the stream's

	headerID   = "Nats-Msg-Id"
	headerLast = "Nats-Expected-Last-Sequence"
)

// settleEach is how many acknowledgements that lie ready are settled together at most. Each settling may wake a sender, and feed.
const settleEach = 32

type entry struct {
	held  shmchan.Held // holds nothing: the end of the channel
	acked bool
}

type ack struct {
	epoch, number uint64
	duplicate     bool
	code          int
	text          string
}

type sender struct {
	Config
	nc     *nats.Conn
	js     jetstream.JetStream
	from   *shmchan.RawReceiver
	inbox  string
	stored []byte // how the stream's answer to a message that it has stored begins

	mu        sync.Mutex // guards the rest, but for the channels, and ring[tail]
	ring      []entry
	head      uint64 // of the queue; numbers count since the end began
	sent      uint64
	tail      uint64
	last      uint64 // the stream's last sequence once all that was sent is stored
	epoch     uint64
	flows     bool
	broken    string    // why the epoch has ended; empty while it goes on
	tries     int       // epochs that ended since the last acknowledgement
	moved     time.Time // when something was last sent to an idle stream, or acknowledged
	ended     bool      // the channel gives no more
	why       error     // of that
	unsettled int       // answers since the last settling
	counts    Counts
	msg       nats.Msg    // for publish
	header    [2][]string // of msg: one of each
	text      []byte

	room chan struct{} // the queue was full and is not now
	anew chan struct{} // the epoch has ended
	over chan error    // all is done, or it has failed
}

// Send passes on what is sent on a channel until that is closed and drained, and then closes the far one; or until ctx ends, or it fails. The receiver stays the
// caller's; that of a typed channel is its Raw. If the channel has a single receiver, it must have been opened with shmchan.WithHold. A handle for the bridge
// alone is best opened with shmchan.WithWait(shmchan.Park): what it waits for is other goroutines' work. What was not acknowledged when Send returns goes back to the channel.
func Send(ctx context.Context, nc *nats.Conn, from *shmchan.RawReceiver, c Config) (Counts, error) {
	c = c.filled(from.Name())
	desc := description(from)
	if c.Core {
		return sendCore(ctx, nc, from, c, desc)
	}
	if err := makeStream(ctx, nc, c, from.Name(), desc); err != nil {
		return Counts{}, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return Counts{}, err
	}
	s := &sender{
		Config: c, nc: nc, js: js, from: from, inbox: nats.NewInbox(), stored: fmt.Appendf(nil, `{"stream":%q,"seq":`, c.stream()),
		ring: make([]entry, c.Window), header: [2][]string{{""}, {""}}, room: make(chan struct{}, 1), anew: make(chan struct{}, 1), over: make(chan error, 1),
	}
	s.msg = nats.Msg{Subject: s.subject(), Header: nats.Header{headerID: s.header[0], headerLast: s.header[1]}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := nc.Subscribe(s.inbox+".*.*", s.answer)
	if err != nil {
		return Counts{}, err
	}
	var fed sync.WaitGroup
	if err = s.begin(ctx); err == nil {
		fed.Go(func() { s.feed(ctx) })
		err = s.run(ctx)
	}
	cancel()
	fed.Wait()
	_ = sub.Unsubscribe() // The connection may be gone, and with it the subscription.
	err = errors.Join(err, s.letGo())
	return s.counts, err
}

// letGo gives back what the stream is not known to have.
func (s *sender) letGo() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++ // No answer counts any more.
	for ; s.tail > s.head; s.tail-- {
		if e := s.at(s.tail - 1); e.acked {
			err = errors.Join(err, e.held.Done())
		} else if e.held.Holds() {
			err = errors.Join(err, e.held.Return())
		}
	}
	return err
}

func (s *sender) at(number uint64) *entry { return &s.ring[number%uint64(len(s.ring))] }

// run begins anew each time that an epoch has ended.
func (s *sender) run(ctx context.Context) error {
	tick := time.NewTicker(s.Timeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.over:
			return err
		case <-tick.C:
			s.mu.Lock()
			if s.sent > s.head && time.Since(s.moved) > s.Timeout {
				s.end("no answer from the server")
			}
			s.mu.Unlock()
		case <-s.anew:
			if err := s.begin(ctx); err != nil {
				return err
			}
		}
	}
}

// end ends the epoch. The caller has locked.
func (s *sender) end(why string) {
	if s.broken == "" {
		s.broken = why
		s.tries++
		s.anew <- struct{}{} // There is room: begin has taken that of the epoch before.
	}
}

// finish ends all. The caller has locked.
func (s *sender) finish(err error) {
	select {
	case s.over <- err:
	default: // It has ended already.
	}
}

// begin begins a new epoch: careful, from what the stream has now.
func (s *sender) begin(ctx context.Context) error {
	s.mu.Lock()
	s.epoch, s.flows, s.sent = s.epoch+1, false, s.head
	tries, why := s.tries, s.broken
	if tries > 0 {
		s.counts.Resumed++
	}
	s.mu.Unlock()
	if tries > 0 {
		if tries == 1 {
			s.Report("send: begins anew: " + why)
		}
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
	return s.insist(ctx, s.nc, "asks for the stream "+s.stream(), func(ctx context.Context) error {
		st, err := s.js.Stream(ctx, s.stream())
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last, s.moved, s.broken = st.CachedInfo().State.LastSeq, time.Now(), ""
		s.publish()
		return nil
	})
}

// feed holds values, and publishes them, until the channel gives no more.
func (s *sender) feed(ctx context.Context) {
	for {
		s.mu.Lock()
		full := s.tail-s.head >= uint64(s.Window)
		e := s.at(s.tail)
		s.mu.Unlock()
		if full {
			select {
			case <-s.room:
			case <-ctx.Done():
				return
			}
			continue
		}
		err := s.from.Hold(ctx, &e.held)
		s.mu.Lock()
		if err == nil || errors.Is(err, shmchan.ErrClosed) {
			e.acked = false
			s.tail++
			s.publish()
		}
		if err != nil {
			s.why, s.ended = err, true
			s.settle()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// publish sends what may be on its way. The caller has locked.
func (s *sender) publish() {
	for s.sent < s.tail && s.broken == "" && (s.flows || s.sent == s.head) {
		e := s.at(s.sent)
		if e.acked { // In an earlier epoch, while one before it was not: it is stored.
			s.sent++
			continue
		}
		// One string for all three.
		b := append(append(s.text[:0], s.inbox...), '.')
		b = append(strconv.AppendUint(b, s.epoch, 36), '.')
		b = strconv.AppendUint(b, s.sent, 36)
		reply := len(b)
		m := &s.msg
		if e.held.Holds() {
			b = e.held.AppendID(b)
			m.Data = e.held.Bytes()
		} else {
			b = fmt.Appendf(b, "%x.close", s.from.ID())
			m = &nats.Msg{Subject: m.Subject, Header: nats.Header{headerClose: {"1"}, headerID: s.header[0], headerLast: s.header[1]}}
		}
		id := len(b)
		s.text = strconv.AppendUint(b, s.last, 10)
		all := string(s.text)
		m.Reply, s.header[0][0], s.header[1][0] = all[:reply], all[reply:id], all[id:]
		if err := s.nc.PublishMsg(m); errors.Is(err, nats.ErrMaxPayload) {
			s.finish(fmt.Errorf("shmchan bridge: channel %q: %w: a message of %d bytes, and the server takes %d with what is said about it; set max_payload in its configuration",
				s.from.Name(), err, len(m.Data), s.nc.MaxPayload()))
			return
		} else if err != nil {
			s.end(err.Error())
			return
		}
		if s.sent == s.head {
			s.moved = time.Now()
		}
		s.last++
		s.sent++
	}
}

// answer is told what the stream says to a message.
func (s *sender) answer(m *nats.Msg) {
	a := s.read(m)
	left, _, err := m.Sub.Pending() // This one counts.
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.epoch == s.epoch && s.broken == "" && a.number >= s.head && a.number < s.sent {
		if a.code == 0 {
			s.acknowledge(a)
		} else {
			s.refused(a)
		}
	}
	if s.unsettled++; err != nil || left <= 1 || s.unsettled >= settleEach {
		s.settle()
		s.publish()
	}
}

// acknowledge notes what the stream has. The caller has locked.
func (s *sender) acknowledge(a ack) {
	e := s.at(a.number)
	if e.acked {
		return
	}
	e.acked, s.tries = true, 0
	if a.duplicate {
		s.counts.Known++
		if !s.flows {
			s.last-- // The stream has grown by none.
		}
		return
	}
	s.flows = true
	if e.held.Holds() {
		s.counts.Values++
	}
}

// refused ends the epoch, or all. The caller has locked.
func (s *sender) refused(a ack) {
	if a.code == codeFull {
		s.counts.Full++
	} else if a.code != codeWrongLast && a.code != codeNone && s.tries > 50 {
		s.finish(fmt.Errorf("shmchan bridge: the server refuses a value again and again: %s (%d)", a.text, a.code))
		return
	}
	s.end(a.text)
}

// settle takes from the channel what the stream has. The caller has locked.
func (s *sender) settle() {
	s.unsettled = 0
	was := s.head
	for ; s.head < s.tail && s.at(s.head).acked; s.head++ {
		if v := &s.at(s.head).held; v.Holds() {
			if err := v.Done(); err != nil {
				s.finish(err)
			}
		}
	}
	if s.head != was {
		s.moved, s.sent = time.Now(), max(s.sent, s.head)
		select {
		case s.room <- struct{}{}:
		default:
		}
	}
	if s.ended && s.head == s.tail {
		if errors.Is(s.why, shmchan.ErrClosed) {
			s.why = nil
		}
		s.finish(s.why)
	}
}

// read reads an answer.
func (s *sender) read(m *nats.Msg) ack {
	var a ack
	epoch, number, _ := strings.Cut(m.Subject[len(s.inbox)+1:], ".")
	a.epoch, _ = strconv.ParseUint(epoch, 36, 64)
	a.number, _ = strconv.ParseUint(number, 36, 64)
	if rest, ok := bytes.CutPrefix(m.Data, s.stored); ok && isNumber(rest) {
		return a // As most are.
	}
	var answer struct {
		Duplicate bool `json:"duplicate"`
		Error     *struct {
			Code int    `json:"err_code"`
			Text string `json:"description"`
		} `json:"error"`
	}
	if len(m.Data) == 0 {
		a.code, a.text = codeNone, "no server answers for the stream"
	} else if err := json.Unmarshal(m.Data, &answer); err != nil {
		a.code, a.text = codeNone, err.Error()
	} else if answer.Error != nil {
		a.code, a.text = answer.Error.Code, answer.Error.Text
	}
	a.duplicate = answer.Duplicate
	return a
}

// isNumber says whether that is a number and the end of an object.
func isNumber(b []byte) bool {
	for i, c := range b {
		if c < '0' || c > '9' {
			return c == '}' && i > 0 && i == len(b)-1
		}
	}
	return false
}
