// Market: Cap'n Proto RPC between two processes over shared memory, with capabilities in both directions. A trader places an
// order with a market, which calls the trader's listener and gives it a ticket; then the market is killed, and the trader is told.
//
//	go run ./examples/market
//
// The schema is internal/market/market.capnp.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/shmchan/shmchan"
	shmcapnp "github.com/shmchan/shmchan/capnp"
	"github.com/shmchan/shmchan/capnp/internal/market"
)

const dirEnv = "MARKET_DIR"

func main() {
	log.SetFlags(0)
	run := trade
	if os.Getenv(dirEnv) != "" {
		run = serve
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// serve is the market: side B of the pair, until the trader has gone.
func serve() error {
	pair, err := shmchan.OpenBytesDuplex("market", shmchan.SideB, shmchan.WithDir(os.Getenv(dirEnv)))
	if err != nil {
		return err
	}
	conn := rpc.NewConn(shmcapnp.NewTransport(pair, shmcapnp.Limits{}),
		&rpc.Options{BootstrapClient: capnp.Client(market.Market_ServerToClient(exchange{}))})
	<-conn.Done()
	return nil
}

type exchange struct{}

func (exchange) Quote(_ context.Context, call market.Market_quote) error {
	symbol, err := call.Args().Symbol()
	if err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	q, err := results.NewQuote()
	if err != nil {
		return err
	}
	asks, err := q.NewAsks(1)
	if err != nil {
		return err
	}
	asks.At(0).SetPrice(100.25)
	asks.At(0).SetSize(300)
	return q.SetSymbol(symbol)
}

// Place sells 300, and answers with a ticket for the rest.
func (exchange) Place(ctx context.Context, call market.Market_place) error {
	order, err := call.Args().Order()
	if err != nil {
		return err
	}
	t := ticket{filled: min(order.Size(), 300)}
	t.left = order.Size() - t.filled
	told, release := call.Args().Listener().Filled(ctx, func(p market.Listener_filled_Params) error {
		p.SetSize(t.filled)
		p.SetPrice(100.25)
		return nil
	})
	defer release()
	if _, err := told.Struct(); err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	return results.SetTicket(market.Ticket_ServerToClient(t))
}

type ticket struct{ filled, left uint32 }

func (t ticket) Status(_ context.Context, call market.Ticket_status) error {
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	results.SetFilled(t.filled)
	results.SetLeft(t.left)
	return nil
}

// listener is what the trader has called.
type listener struct{}

func (listener) Filled(_ context.Context, call market.Listener_filled) error {
	fmt.Println("filled:", call.Args().Size(), "at", call.Args().Price())
	return nil
}

// trade is the trader: side A of the pair.
func trade() error {
	dir, err := os.MkdirTemp("", "market-") // Leave out WithDir for /dev/shm, which needs a name that is yours alone.
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	server := exec.Command(program)
	server.Env = append(os.Environ(), dirEnv+"="+dir)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	pair, err := shmchan.OpenBytesDuplex("market", shmchan.SideA, shmchan.WithDir(dir))
	if err != nil {
		return errors.Join(err, server.Process.Kill(), server.Wait())
	}
	conn := rpc.NewConn(shmcapnp.NewTransport(pair, shmcapnp.Limits{}), nil)
	defer func() { _ = conn.Close() }()
	err = order(conn)
	fmt.Println("killing the market")
	if err := errors.Join(err, server.Process.Kill()); err != nil {
		return err
	}
	_ = server.Wait() // It was killed.
	<-conn.Done()
	fmt.Println("the connection has ended")
	return nil
}

func order(conn *rpc.Conn) error {
	ctx := context.Background()
	m := market.Market(conn.Bootstrap(ctx))
	defer m.Release()
	quoted, release := m.Quote(ctx, func(p market.Market_quote_Params) error { return p.SetSymbol("NESN") })
	defer release()
	answer, err := quoted.Struct()
	if err != nil {
		return err
	}
	q, err := answer.Quote()
	if err != nil {
		return err
	}
	asks, err := q.Asks()
	if err != nil {
		return err
	}
	fmt.Println("asked:", asks.At(0).Size(), "at", asks.At(0).Price())

	placed, release := m.Place(ctx, func(p market.Market_place_Params) error {
		o, err := p.NewOrder()
		if err != nil {
			return err
		}
		o.SetSize(500)
		return errors.Join(o.SetSymbol("NESN"), p.SetListener(market.Listener_ServerToClient(listener{})))
	})
	defer release()
	status, release := placed.Ticket().Status(ctx, nil) // Sent before the answer with the ticket is here.
	defer release()
	s, err := status.Struct()
	if err != nil {
		return err
	}
	fmt.Println("left:", s.Left(), "of", s.Filled()+s.Left())
	return nil
}
