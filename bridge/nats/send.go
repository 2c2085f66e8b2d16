package nats

// The sending end.
//
// Invariants:
//   - The queue has what is held of the channel, in the channel's order, oldest first; a value is Done only when its acknowledgement is there.
//   - Careful: one message is on its way, that of the queue's head. It becomes flowing with the first acknowledgement that is no duplicate, for then
//     nothing that follows is in the stream. Any refusal, or silence, makes it careful again, in a new epoch: what is answered to an older one does not count.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
)

const (
	codeFull      = 10077 // the stream has as many messages as it may
	codeWrongLast = 10071 // its last sequence is another
	codeNone      = -1    // no answer of the stream's
)

type entry struct {
	held  *shmchan.Held // nil: the end of the channel
	id    string
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
	inbox  string
	queue  []entry
	first  uint64 // number of the queue's head, since the end began
	sent   int    // of the queue, in this epoch
	last   uint64 // the stream's last sequence once all that was sent is stored
	epoch  uint64
	flows  bool
	moved  time.Time // when something was last sent to an idle stream, or acknowledged
	free   chan *shmchan.Held
	next   chan *shmchan.Held
	ended  chan struct{} // closed when the channel gives no more
	why    error         // of that
	acks   chan ack
	counts Counts
}

// Send passes on what is sent on a channel until that is closed and drained, and then closes the far one; or until ctx ends, or it fails. The receiver
// must have been opened with shmchan.WithHold, and stays the caller's. What was not acknowledged then goes back to the channel.
func Send(ctx context.Context, nc *nats.Conn, from *shmchan.RawReceiver, c Config) (Counts, error) {
	c = c.filled(from.Name())
	desc := description(from)
	if c.Core {
		return sendCore(ctx, nc, from, c, desc)
	}
	if err := makeStream(ctx, nc, c, from.Name(), desc); err != nil {
		return Counts{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &sender{
		Config: c, nc: nc, inbox: nats.NewInbox(), acks: make(chan ack, 4*c.Window), ended: make(chan struct{}),
		free: make(chan *shmchan.Held, c.Window), next: make(chan *shmchan.Held, c.Window),
	}
	var err error
	if s.js, err = jetstream.New(nc); err != nil {
		return Counts{}, err
	}
	sub, err := nc.Subscribe(s.inbox+".*.*", func(m *nats.Msg) {
		select {
		case s.acks <- readAck(m, len(s.inbox)):
		case <-ctx.Done():
		}
	})
	if err != nil {
		return Counts{}, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for range c.Window {
		s.free <- &shmchan.Held{}
	}
	go s.hold(ctx, from)
	err = s.run(ctx, fmt.Sprintf("%x.close", from.ID()))
	cancel()
	<-s.ended
	for len(s.next) > 0 {
		s.queue = append(s.queue, entry{held: <-s.next})
	}
	for i := len(s.queue) - 1; i >= 0; i-- {
		if v := s.queue[i].held; v != nil && v.Holds() {
			err = errors.Join(err, v.Return())
		}
	}
	return s.counts, err
}

// hold holds values until the channel gives no more.
func (s *sender) hold(ctx context.Context, from *shmchan.RawReceiver) {
	defer close(s.ended)
	for {
		select {
		case v := <-s.free:
			if s.why = from.Hold(ctx, v); s.why != nil {
				return
			}
			s.next <- v
		case <-ctx.Done():
			s.why = ctx.Err()
			return
		}
	}
}

func readAck(m *nats.Msg, prefix int) ack {
	var a ack
	epoch, number, _ := strings.Cut(m.Subject[prefix+1:], ".")
	a.epoch, _ = strconv.ParseUint(epoch, 36, 64)
	a.number, _ = strconv.ParseUint(number, 36, 64)
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

func (s *sender) run(ctx context.Context, closeID string) error {
	tick := time.NewTicker(s.Timeout / 4)
	defer tick.Stop()
	if err := s.begin(ctx, 0, ""); err != nil {
		return err
	}
	ended, tries, closing := s.ended, 0, false
	for {
		if ended == nil && len(s.next) == 0 && len(s.queue) == 0 {
			if closing {
				return nil
			}
			if !errors.Is(s.why, shmchan.ErrClosed) {
				return s.why
			}
			closing = true
			s.queue = append(s.queue, entry{id: closeID})
		}
		again := ""
		if err := s.publish(); err != nil {
			again = err.Error()
		} else {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case v := <-s.next:
				s.queue = append(s.queue, entry{held: v, id: v.ID()})
			case <-ended:
				ended = nil
			case a := <-s.acks:
				if a.epoch != s.epoch {
					continue
				}
				if a.code == 0 {
					tries = 0
					if err := s.acknowledge(a); err != nil {
						return err
					}
					continue
				}
				if a.code == codeFull {
					s.counts.Full++
				} else if a.code != codeWrongLast && a.code != codeNone && tries > 50 {
					return fmt.Errorf("shmchan bridge: the server refuses a value again and again: %s (%d)", a.text, a.code)
				}
				again = a.text
			case <-tick.C:
				if s.sent > 0 && time.Since(s.moved) > s.Timeout {
					again = "no answer from the server"
				}
			}
		}
		if again != "" {
			tries++
			if err := s.begin(ctx, tries, again); err != nil {
				return err
			}
		}
	}
}

// begin begins a new epoch: careful, from what the stream has now.
func (s *sender) begin(ctx context.Context, tries int, why string) error {
	s.epoch, s.flows, s.sent = s.epoch+1, false, 0
	if tries > 0 {
		s.counts.Resumed++
		if tries == 1 {
			s.Report("send: begins anew: " + why)
		}
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		call, cancel := context.WithTimeout(ctx, s.Timeout)
		st, err := s.js.Stream(call, s.stream())
		cancel()
		if err == nil {
			s.last, s.moved = st.CachedInfo().State.LastSeq, time.Now()
			return nil
		}
		if final := worthless(ctx, s.nc, err); final != nil {
			return final
		}
		if err := pause(ctx, n+4); err != nil {
			return err
		}
	}
}

// publish sends what may be on its way.
func (s *sender) publish() error {
	for s.sent < len(s.queue) && (s.flows || s.sent == 0) {
		e := &s.queue[s.sent]
		if e.acked { // In an earlier epoch, while one before it was not: it is stored.
			s.sent++
			continue
		}
		m := &nats.Msg{
			Subject: s.subject(),
			Reply:   s.inbox + "." + strconv.FormatUint(s.epoch, 36) + "." + strconv.FormatUint(s.first+uint64(s.sent), 36),
			Header:  nats.Header{"Nats-Msg-Id": {e.id}, "Nats-Expected-Last-Sequence": {strconv.FormatUint(s.last, 10)}},
		}
		if e.held != nil {
			m.Data = e.held.Bytes()
		} else {
			m.Header[headerClose] = []string{"1"}
		}
		if err := s.nc.PublishMsg(m); err != nil {
			return err
		}
		if s.sent == 0 {
			s.moved = time.Now()
		}
		s.last++
		s.sent++
	}
	return nil
}

// acknowledge takes from the channel what the stream has.
func (s *sender) acknowledge(a ack) error {
	i := int(a.number - s.first)
	if i < 0 || i >= s.sent || s.queue[i].acked {
		return nil
	}
	e := &s.queue[i]
	e.acked = true
	s.moved = time.Now()
	switch {
	case a.duplicate:
		s.counts.Known++
		if !s.flows {
			s.last-- // The stream has grown by none.
		}
	default:
		s.flows = true
		if e.held != nil {
			s.counts.Values++
		}
	}
	for len(s.queue) > 0 && s.queue[0].acked {
		if v := s.queue[0].held; v != nil {
			if err := v.Done(); err != nil {
				return err
			}
			s.free <- v
		}
		s.queue = s.queue[1:]
		s.first++
		s.sent = max(0, s.sent-1)
	}
	return nil
}
