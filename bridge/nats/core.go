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

func recvCore(ctx context.Context, nc *nats.Conn, c Config, open func(desc map[string]string) (*shmchan.RawSender, error)) (n Counts, err error) {
	sub, err := nc.SubscribeSync(c.subject())
	if err != nil {
		return n, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var answer []byte
	if err := c.insist(ctx, nc, "waits for a sending end", func(ctx context.Context) error {
		m, err := nc.RequestWithContext(ctx, c.subject()+".layout", nil)
		if err == nil {
			answer = m.Data
		}
		return err
	}); err != nil {
		return n, err
	}
	desc := map[string]string{}
	if err := json.Unmarshal(answer, &desc); err != nil {
		return n, fmt.Errorf("shmchan bridge: the far end's description of its channel: %w", err)
	}
	to, err := open(desc)
	if err != nil {
		return n, err
	}
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
			return n, to.Close()
		}
		if err := to.SendContext(ctx, m.Data); err != nil {
			return n, err
		}
		n.Values++
	}
}
