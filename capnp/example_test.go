package shmcapnp_test

import (
	"context"
	"fmt"
	"log"
	"os"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
	shmcapnp "github.com/shmchan/shmchan/capnp"
	"github.com/shmchan/shmchan/capnp/internal/market"
)

// A message that is built in the channel and read there.
func Example() {
	dir, err := os.MkdirTemp("", "quotes-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	quotes, err := shmchan.OpenBytes("quotes", shmchan.WithDir(dir))
	if err != nil {
		log.Fatal(err)
	}
	defer quotes.Detach()

	ctx := context.Background()
	err = shmcapnp.SendFunc(ctx, quotes.BytesSender, 512, func(s *capnp.Segment) error {
		q, err := market.NewRootQuote(s)
		if err != nil {
			return err
		}
		bids, err := q.NewBids(1)
		if err != nil {
			return err
		}
		bids.At(0).SetPrice(99.5)
		return q.SetSymbol("NESN")
	})
	if err != nil {
		log.Fatal(err)
	}
	err = shmcapnp.RecvFunc(ctx, quotes.BytesReceiver, func(m *capnp.Message) error {
		q, err := market.ReadRootQuote(m)
		if err != nil {
			return shmcapnp.Malformed(err) // Nobody can read it: drop it.
		}
		symbol, err := q.Symbol()
		if err != nil {
			return shmcapnp.Malformed(err)
		}
		bids, err := q.Bids()
		if err != nil {
			return shmcapnp.Malformed(err)
		}
		fmt.Println(symbol, bids.At(0).Price())
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: NESN 99.5
}
