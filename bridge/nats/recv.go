package nats

// The receiving end.
//
// Invariants:
//   - A message is acknowledged after the channel's Send has returned.
//   - Each time it begins, with a consumer of its own, all that was not acknowledged comes in order. What comes out of order is not sent on, but is
//     reason to begin anew. What it has sent on already, by the stream's sequence, it only acknowledges.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
)

// Recv sends on the channel of that name what comes from the far one, until that is closed, and then closes this one too; or until ctx ends, or it fails. It
// waits for the stream, and makes the channel if it is not there, with the options and the layout that the stream says.
func Recv(ctx context.Context, nc *nats.Conn, name string, c Config, opts ...shmchan.Option) (Counts, error) {
	c = c.filled(name)
	if c.Core {
		return recvCore(ctx, nc, name, c, opts)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return Counts{}, err
	}
	r := &receiver{Config: c, nc: nc, js: js, me: nats.NewInbox()}
	desc, err := r.describe(ctx)
	if err != nil {
		return r.counts, err
	}
	if r.to, err = openFor(name, desc, opts); err != nil {
		return r.counts, err
	}
	defer func() { _ = r.to.Detach() }()
	for tries := 0; ; tries++ {
		before := r.counts.Values
		closed, err := r.round(ctx)
		if closed {
			return r.counts, errors.Join(err, drained(ctx, r.to))
		}
		var failed *sendError
		switch {
		case ctx.Err() != nil:
			return r.counts, ctx.Err()
		case errors.As(err, &failed):
			return r.counts, failed.err
		case errors.Is(err, ErrTaken):
			return r.counts, err
		}
		if final := worthless(ctx, nc, nil); final != nil {
			return r.counts, final
		}
		r.counts.Resumed++
		if r.counts.Values != before {
			tries = 0
		}
		if tries == 0 {
			c.Report(fmt.Sprintf("receive: begins anew: %v", err))
		}
		if err := pause(ctx, tries+3); err != nil {
			return r.counts, err
		}
	}
}

// drained waits until all of a closed channel was received: who leaves it last takes away what is still in it.
func drained(ctx context.Context, to *shmchan.RawSender) error {
	for tries := 0; to.Len() > 0; tries++ {
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
	return nil
}

// openFor opens the channel that a description is of.
func openFor(name string, desc map[string]string, opts []shmchan.Option) (*shmchan.RawSender, error) {
	if desc[metaOrder] != byteOrder() {
		return nil, &shmchan.MismatchError{Channel: name, What: "byte order", Here: byteOrder(), There: desc[metaOrder]}
	}
	opts = append(opts, shmchan.WithLayout(desc[metaType], desc[metaLayout]))
	if n, err := strconv.Atoi(desc[metaMessage]); err == nil && n > 0 {
		opts = append(opts, shmchan.WithMaxMessage(n))
	}
	return shmchan.OpenRawSender(name, opts...)
}

type receiver struct {
	Config
	nc     *nats.Conn
	js     jetstream.JetStream
	me     string
	ours   bool // a consumer was made
	to     *shmchan.RawSender
	want   uint64 // all below was sent on
	counts Counts
}

// sendError is a failure of the channel, not of the network.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }

// describe waits for the stream.
func (r *receiver) describe(ctx context.Context) (map[string]string, error) {
	for tries := 0; ; tries++ {
		call, cancel := context.WithTimeout(ctx, r.Timeout)
		s, err := r.js.Stream(call, r.stream())
		cancel()
		if err == nil {
			if m := s.CachedInfo().Config.Metadata; m[metaLayout] != "" {
				return m, nil
			}
			return nil, fmt.Errorf("shmchan bridge: the stream %s was not made by a bridge; give another name", r.stream())
		}
		if final := worthless(ctx, r.nc, nil); final != nil {
			return nil, final
		}
		if err := pause(ctx, tries); err != nil {
			return nil, err
		}
	}
}

// consumer makes a consumer that begins with what was not acknowledged.
func (r *receiver) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*r.Timeout)
	defer cancel()
	old, err := r.js.Consumer(ctx, r.stream(), consumerName)
	if err == nil {
		if r.ours && old.CachedInfo().Config.Metadata[metaConsumer] != r.me {
			return nil, ErrTaken
		}
		err = r.js.DeleteConsumer(ctx, r.stream(), consumerName)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	cons, err := r.js.CreateConsumer(ctx, r.stream(), jetstream.ConsumerConfig{
		Name: consumerName, Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: r.Window,
		Metadata: map[string]string{metaConsumer: r.me},
	})
	r.ours = r.ours || err == nil
	return cons, err
}

// round has a consumer of its own, and goes on until something is lost.
func (r *receiver) round(ctx context.Context) (closed bool, err error) {
	cons, err := r.consumer(ctx)
	if err != nil {
		return false, err
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(r.Window), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return false, err
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for next := uint64(1); ; next++ {
		m, err := it.Next()
		if err != nil {
			return false, err
		}
		md, err := m.Metadata()
		if err != nil {
			return false, err
		}
		if md.Sequence.Consumer != next {
			return false, fmt.Errorf("delivery %d came in place of %d", md.Sequence.Consumer, next)
		}
		if md.Sequence.Stream < r.want {
			r.counts.Known++
			_ = m.Ack() // If that is lost, the message comes again.
			continue
		}
		if m.Headers().Get(headerClose) != "" {
			if err := r.to.Close(); err != nil && !errors.Is(err, shmchan.ErrClosed) {
				return false, &sendError{err}
			}
			end, cancel := context.WithTimeout(ctx, r.Timeout)
			defer cancel()
			return true, m.DoubleAck(end)
		}
		if err := r.to.SendContext(ctx, m.Data()); err != nil {
			return false, &sendError{err}
		}
		r.want = md.Sequence.Stream + 1
		r.counts.Values++
		_ = m.Ack()
	}
}
