package nats

// Plain NATS, at most once: a value leaves the channel when it is written to the connection. Nobody keeps it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/shmchan/shmchan"
)

func sendCore(ctx context.Context, nc *nats.Conn, from *shmchan.RawReceiver, c Config, desc map[string]string) (n Counts, err error) {
	text, err := json.Marshal(desc)
	if err != nil {
		return n, err
	}
	sub, err := nc.Subscribe(c.subject()+".layout", func(m *nats.Msg) { _ = m.Respond(text) })
	if err != nil {
		return n, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var v shmchan.Held
	for {
		if err := from.Hold(ctx, &v); errors.Is(err, shmchan.ErrClosed) {
			return n, errors.Join(nc.PublishMsg(&nats.Msg{Subject: c.subject(), Header: nats.Header{headerClose: {"1"}}}), nc.Flush())
		} else if err != nil {
			return n, err
		}
		if err := nc.Publish(c.subject(), v.Bytes()); err != nil {
			return n, errors.Join(err, v.Return())
		}
		if err := v.Done(); err != nil {
			return n, err
		}
		n.Values++
	}
}

func recvCore(ctx context.Context, nc *nats.Conn, name string, c Config, opts []shmchan.Option) (n Counts, err error) {
	sub, err := nc.SubscribeSync(c.subject())
	if err != nil {
		return n, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	desc := map[string]string{}
	for tries := 0; ; tries++ {
		call, cancel := context.WithTimeout(ctx, c.Timeout)
		m, err := nc.RequestWithContext(call, c.subject()+".layout", nil)
		cancel()
		if err == nil {
			if err := json.Unmarshal(m.Data, &desc); err != nil {
				return n, fmt.Errorf("shmchan bridge: the far end's description of its channel: %w", err)
			}
			break
		}
		if final := worthless(ctx, nc, nil); final != nil {
			return n, final
		}
		if err := pause(ctx, tries); err != nil {
			return n, err
		}
	}
	to, err := openFor(name, desc, opts)
	if err != nil {
		return n, err
	}
	defer func() { _ = to.Detach() }()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			c.Report("receive: values were dropped, for the channel was full; that is what plain NATS does")
			continue
		}
		if err != nil {
			return n, err
		}
		if m.Header.Get(headerClose) != "" {
			return n, errors.Join(to.Close(), drained(ctx, to))
		}
		if err := to.SendContext(ctx, m.Data); err != nil {
			return n, err
		}
		n.Values++
	}
}
