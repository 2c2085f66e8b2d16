package nats

// The receiving end.
//
// Invariants:
//   - A message is acknowledged after the channel's Send has returned.
//   - Each time it begins, with a consumer of its own, all that was not acknowledged comes in order. What comes out of order is not sent on, but is
//     reason to begin anew. What it has sent on already, by the stream's sequence, it only acknowledges.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
)

// pullBytes is how many bytes of messages may lie ready at the receiving end. The server cuts a connection off that has 64 MiB to go.
const pullBytes = 16 << 20

// Recv sends on the channel of that name what comes from the far one, until that is closed, and then closes this one too; or until ctx ends, or it fails. It
// waits for the stream, and makes the channel if it is not there, with the options and the layout that the stream says. It returns when the closed channel is drained.
func Recv(ctx context.Context, nc *nats.Conn, name string, c Config, opts ...shmchan.Option) (Counts, error) {
	var to *shmchan.RawSender
	n, err := c.filled(name).receive(ctx, nc, func(desc map[string]string) (_ *shmchan.RawSender, err error) {
		to, err = openFor(name, desc, opts)
		return to, err
	})
	if to == nil {
		return n, err
	}
	if err == nil {
		err = drained(ctx, to)
	}
	return n, errors.Join(err, to.Detach())
}

// RecvInto is Recv for a channel that the caller has open: that of a typed channel is its Raw. The sender stays the caller's, who must not send on it, nor let
// go of a closed channel before it is drained: who leaves it last takes away what is still in it.
func RecvInto(ctx context.Context, nc *nats.Conn, to *shmchan.RawSender, c Config) (Counts, error) {
	return c.filled(to.Name()).receive(ctx, nc, func(desc map[string]string) (*shmchan.RawSender, error) {
		return to, compare(to.Name(), description(to), desc)
	})
}

// receive gets the channel from open when it knows what the far one is like.
func (c Config) receive(ctx context.Context, nc *nats.Conn, open func(desc map[string]string) (*shmchan.RawSender, error)) (Counts, error) {
	if c.Core {
		return recvCore(ctx, nc, c, open)
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
	if desc[metaLayout] == "" {
		return r.counts, fmt.Errorf("shmchan bridge: the stream %s was not made by a bridge; give another name", r.stream())
	}
	if r.to, err = open(desc); err != nil {
		return r.counts, err
	}
	reported := ""
	for tries := 0; ; tries++ {
		before := r.counts.Values
		closed, err := r.round(ctx)
		if closed {
			return r.counts, err
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
		if final := cmp.Or(forbidden(nc, err), worthless(ctx, nc, nil)); final != nil {
			return r.counts, final
		}
		r.counts.Resumed++
		if r.counts.Values != before {
			tries, reported = 0, ""
		}
		if event := fmt.Sprintf("receive: begins anew: %v", err); event != reported {
			c.Report(event)
			reported = event
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
	opts = append([]shmchan.Option{shmchan.WithWait(shmchan.Park)}, opts...) // To spin is to keep what the wait is for from running.
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
func (r *receiver) describe(ctx context.Context) (desc map[string]string, err error) {
	return desc, r.insist(ctx, r.nc, "waits for the stream "+r.stream(), func(ctx context.Context) error {
		s, err := r.js.Stream(ctx, r.stream())
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return errors.New("no sending end has made it yet")
		case err == nil:
			desc = s.CachedInfo().Config.Metadata
		}
		return err
	})
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
		Name: consumerName, Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: r.ackWait, MaxAckPending: r.Window,
		Metadata: map[string]string{metaConsumer: r.me},
	})
	r.ours = r.ours || err == nil
	return cons, err
}

// outcome is how a round ends.
type outcome struct {
	closed bool
	err    error
}

// round has a consumer of its own, and goes on until something is lost.
func (r *receiver) round(ctx context.Context) (closed bool, err error) {
	cons, err := r.consumer(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan outcome, 1)
	end := func(o outcome) {
		select {
		case over <- o:
		default: // It has ended already.
		}
		cancel()
	}
	// What was on its way when the connection broke would come again only when its time to be acknowledged is over.
	status := r.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer r.nc.RemoveStatusListener(status)
	var passing sync.Mutex // guards next, and what pass works on
	next := uint64(1)
	run, err := cons.Consume(func(m jetstream.Msg) {
		passing.Lock()
		defer passing.Unlock()
		if ctx.Err() != nil {
			return
		}
		if closed, err := r.pass(ctx, m, next); closed || err != nil {
			end(outcome{closed, err})
		}
		next++
	}, jetstream.PullMaxMessages(r.pull()), jetstream.PullExpiry(r.pullFor), jetstream.PullHeartbeat(r.pullFor/5),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { end(outcome{err: err}) }))
	if err != nil {
		return false, err
	}
	select {
	case <-status:
		end(outcome{err: errors.New("the connection was made anew")})
	case <-ctx.Done():
		end(outcome{err: ctx.Err()})
	}
	run.Stop()
	passing.Lock()
	defer passing.Unlock()
	o := <-over
	return o.closed, o.err
}

// pull is how many messages may lie ready here: so many that the server does not take the connection for one that is too slow.
func (r *receiver) pull() int {
	size := max(r.to.Layout().Size(), r.to.MaxMessage(), 1)
	return min(r.Window, max(1, pullBytes/size))
}

// pass passes on a message, which shall be that delivery.
func (r *receiver) pass(ctx context.Context, m jetstream.Msg, shall uint64) (closed bool, err error) {
	stream, delivery, err := sequences(m.Reply())
	if err != nil {
		return false, err
	}
	if delivery != shall {
		return false, fmt.Errorf("delivery %d came in place of %d", delivery, shall)
	}
	if stream < r.want {
		r.counts.Known++
		_ = m.Ack() // If that is lost, the message comes again.
		return false, nil
	}
	if m.Headers()[headerClose] != nil {
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
	r.want = stream + 1
	r.counts.Values++
	_ = m.Ack()
	return false, nil
}

// sequences are the stream's and the consumer's in the subject for a message's acknowledgement:
// $JS.ACK.[domain.account.]stream.consumer.times.SEQUENCE.SEQUENCE.time.pending[.more].
func sequences(reply string) (stream, delivery uint64, err error) {
	before, rest := 5, reply
	if strings.Count(reply, ".") > 8 {
		before = 7
	}
	for range before {
		_, rest, _ = strings.Cut(rest, ".")
	}
	a, rest, _ := strings.Cut(rest, ".")
	b, _, _ := strings.Cut(rest, ".")
	if stream, err = strconv.ParseUint(a, 10, 64); err == nil {
		delivery, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil {
		err = fmt.Errorf("the subject for an acknowledgement, %q, is none that is known: %w", reply, err)
	}
	return stream, delivery, err
}
