// Package nats takes a channel past one machine: what is sent on it here is received from the channel of the same name there, by way of NATS.
//
// Send and Recv are the two ends. By default a value goes through a JetStream stream, at least once: it leaves the channel here when the stream has it,
// and leaves the stream when it is in the channel there. A crash of the sending end doubles no value within the stream's window for duplicates: a
// message is named by the channel's identity and the value's position. A crash of the receiving end may double those that were sent on and not
// acknowledged yet, at most Config.Window. With Config.Core values go by plain NATS, at most once.
//
// The stream keeps the layout of the channel's values. An end whose channel has another gets shmchan.ErrMismatch, with the field named. A stream that is full
// refuses more, so that the channel here fills and its senders wait. Closing the channel here closes the one there when all has arrived.
package nats

// Invariants:
//   - One Send at a time feeds a stream, and one Recv at a time empties it. A Recv that comes takes over from the one before.
//   - Messages lie in the stream in the order in which the channel had them: each says what the stream's last sequence must be. So after one that
//     was lost or refused none that follows is stored.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
)

// Config says how values go. Its zero value is good, but both ends of a stream should have the same.
type Config struct {
	Name       string             // of the stream and its subjects; the channel's name if empty
	Window     int                // values on their way at once, 1 or more; 0 is 256
	Limit      int64              // values that the stream holds before it refuses more; 0 is 65536
	Duplicates time.Duration      // for how long the stream knows a value again; 0 is 2 minutes
	Replicas   int                // servers of a cluster that keep each value; 0 is 1
	Memory     bool               // the stream is kept in the server's memory and does not outlive it
	Core       bool               // plain NATS, at most once
	Timeout    time.Duration      // after which an answer that did not come is taken for lost; 0 is 2 seconds
	Report     func(event string) // told of what is out of the ordinary; may be nil

	ackWait time.Duration // after which the stream delivers again what was not acknowledged; 0 is a minute
	pullFor time.Duration // for how long the stream is asked for messages at a time, in which it says five times that it is there; 0 is 5 seconds
}

// Counts say what an end has done.
type Counts struct {
	Values  uint64 // that were passed on
	Known   uint64 // that the stream had already, or the channel: not passed on again
	Resumed uint64 // times that the end began anew, after a loss or a refusal
	Full    uint64 // times that the stream refused a value, being full
}

// ErrTaken is returned by Recv when another Recv has taken over.
var ErrTaken = errors.New("shmchan bridge: another bridge receives from this stream; run one at a time for a name")

const (
	headerClose  = "Shmchan-Close"
	metaLayout   = "shmchan.layout"
	metaType     = "shmchan.type"
	metaOrder    = "shmchan.order"
	metaMessage  = "shmchan.max-message"
	consumerName = "shmchan"
	metaConsumer = "shmchan.bridge"
)

var unfit = regexp.MustCompile(`[^A-Za-z0-9_-]`)

func (c Config) filled(channel string) Config {
	if c.Name == "" {
		c.Name = channel
	}
	c.Name = unfit.ReplaceAllString(c.Name, "_")
	if c.Window <= 0 {
		c.Window = 256
	}
	if c.Limit <= 0 {
		c.Limit = 65536
	}
	if c.Duplicates <= 0 {
		c.Duplicates = 2 * time.Minute
	}
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.Timeout <= 0 {
		c.Timeout = 2 * time.Second
	}
	if c.ackWait <= 0 {
		c.ackWait = time.Minute
	}
	if c.pullFor <= 0 {
		c.pullFor = 5 * time.Second
	}
	if c.Report == nil {
		c.Report = func(string) {}
	}
	return c
}

func (c Config) stream() string  { return "SHMCHAN_" + c.Name }
func (c Config) subject() string { return "shmchan." + c.Name }

func byteOrder() string {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return "big-endian"
	}
	return "little-endian"
}

// description is what both ends must agree about.
func description(r interface {
	Layout() *shmchan.Layout
	Type() string
	MaxMessage() int
}) map[string]string {
	return map[string]string{metaLayout: r.Layout().String(), metaType: r.Type(), metaOrder: byteOrder(), metaMessage: fmt.Sprint(r.MaxMessage())}
}

// compare says how the stream's values differ from the channel's.
func compare(channel string, here, there map[string]string) error {
	if there[metaLayout] == "" {
		return fmt.Errorf("shmchan bridge: channel %q: the stream is there and was not made by a bridge; give another name", channel)
	}
	if err := shmchan.CompareLayouts(channel, here[metaLayout], there[metaLayout]); err != nil {
		return err
	}
	for _, m := range [][2]string{{metaOrder, "byte order"}, {metaMessage, "the longest message"}} {
		if key := m[0]; here[key] != there[key] {
			return &shmchan.MismatchError{Channel: channel, What: m[1], Here: here[key], There: there[key]}
		}
	}
	return nil
}

// pause waits a little, longer the more often it is called in a row.
func pause(ctx context.Context, tries int) error {
	t := time.NewTimer(min(time.Millisecond<<min(tries, 8), 200*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// makeStream makes the stream, or compares that which is there.
func makeStream(ctx context.Context, nc *nats.Conn, c Config, channel string, desc map[string]string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	storage := jetstream.FileStorage
	if c.Memory {
		storage = jetstream.MemoryStorage
	}
	var s jetstream.Stream
	err = c.insist(ctx, nc, "makes the stream "+c.stream(), func(ctx context.Context) error {
		if s, err = js.Stream(ctx, c.stream()); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: c.stream(), Subjects: []string{c.subject()}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
			MaxMsgs: c.Limit, Storage: storage, Duplicates: c.Duplicates, Replicas: c.Replicas, Metadata: desc,
		})
		return err
	})
	if err != nil {
		return err
	}
	return compare(channel, desc, s.CachedInfo().Config.Metadata)
}

// insist calls ask, which gets c.Timeout for an answer of the server, until that is good or final. It reports why it goes on, once for each reason.
func (c Config) insist(ctx context.Context, nc *nats.Conn, what string, ask func(ctx context.Context) error) error {
	reported := ""
	for tries := 0; ; tries++ {
		call, cancel := context.WithTimeout(ctx, c.Timeout)
		err := ask(call)
		cancel()
		if err == nil {
			return nil
		}
		if final := worthless(ctx, nc, err); final != nil {
			return final
		}
		text := err.Error()
		if errors.Is(err, nats.ErrNoResponders) {
			text += ": the server has no JetStream, or not yet; enable it there (nats-server -js)"
		}
		if text != reported && tries > 0 { // The first may be the connection, which is being made.
			c.Report(what + ": " + text)
			reported = text
		}
		if err := pause(ctx, tries); err != nil {
			return err
		}
	}
}

// worthless says why an answer of the server is final; nil if it may be another later.
func worthless(ctx context.Context, nc *nats.Conn, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if nc.IsClosed() {
		if why := nc.LastError(); why != nil {
			return fmt.Errorf("shmchan bridge: %w: %w; connect again", nats.ErrConnectionClosed, why)
		}
		return fmt.Errorf("shmchan bridge: %w; connect again", nats.ErrConnectionClosed)
	}
	if why := forbidden(nc, err); why != nil {
		return why
	}
	var api jetstream.JetStreamError
	if !errors.As(err, &api) || api.APIError() == nil {
		return nil
	}
	code := api.APIError().Code
	if code >= 400 && code < 500 && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("shmchan bridge: the server refuses: %w; see its account's limits and permissions", err)
	}
	return nil
}

// forbidden says whether err is that the user may not ask what was asked: that is not answered, but said apart from it.
func forbidden(nc *nats.Conn, err error) error {
	if why := nc.LastError(); errors.Is(err, context.DeadlineExceeded) && errors.Is(why, nats.ErrPermissionViolation) {
		return fmt.Errorf("shmchan bridge: the server refuses: %w; see the user's permissions", why)
	}
	return nil
}
