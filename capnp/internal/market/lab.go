package market

import (
	"context"
	"fmt"

	capnp "capnproto.org/go/capnp/v3"
)

// NewLab is a Lab whose orders are filled by half as soon as they are placed.
func NewLab() Lab { return Lab_ServerToClient(lab{}) }

type lab struct{}

func (lab) Quote(_ context.Context, call Market_quote) error {
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
	return Fill(q, symbol, 3)
}

func (lab) History(_ context.Context, call Lab_history) error {
	symbol, err := call.Args().Symbol()
	if err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	quotes, err := results.NewQuotes(int32(call.Args().Count()))
	if err != nil {
		return err
	}
	for i := range quotes.Len() {
		if err := Fill(quotes.At(i), symbol, i%5); err != nil {
			return err
		}
	}
	return nil
}

func (lab) Place(ctx context.Context, call Market_place) error {
	order, err := call.Args().Order()
	if err != nil {
		return err
	}
	if order.Size() == 0 {
		return fmt.Errorf("an order of nothing")
	}
	t := ticket{filled: (order.Size() + 1) / 2}
	t.left = order.Size() - t.filled
	if l := call.Args().Listener(); l.IsValid() {
		price := order.Price()
		done, release := l.Filled(ctx, func(p Listener_filled_Params) error {
			p.SetSize(t.filled)
			p.SetPrice(price)
			return nil
		})
		defer release()
		if _, err := done.Struct(); err != nil {
			return err
		}
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	return results.SetTicket(Ticket_ServerToClient(t))
}

func (lab) Never(ctx context.Context, call Lab_never) error {
	call.Go()
	<-ctx.Done()
	return ctx.Err()
}

func (lab) Echo(_ context.Context, call Lab_echo) error {
	data, err := call.Args().Data()
	if err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	return results.SetData(data)
}

type ticket struct{ filled, left uint32 }

func (t ticket) Status(_ context.Context, call Ticket_status) error {
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	results.SetFilled(t.filled)
	results.SetLeft(t.left)
	return nil
}

// Fill makes q a quote with that many levels on each side.
func Fill(q Quote, symbol string, levels int) error {
	if err := q.SetSymbol(symbol); err != nil {
		return err
	}
	q.SetTime(1_700_000_000_000_000_000)
	v, err := q.NewVenue()
	if err != nil {
		return err
	}
	if err := v.SetName("Lab"); err != nil {
		return err
	}
	if err := v.SetCountry("CH"); err != nil {
		return err
	}
	bids, err := q.NewBids(int32(levels))
	if err != nil {
		return err
	}
	asks, err := q.NewAsks(int32(levels))
	if err != nil {
		return err
	}
	for i := range levels {
		bids.At(i).SetPrice(100 - float64(i)/4)
		bids.At(i).SetSize(uint32(i + 1))
		asks.At(i).SetPrice(100.25 + float64(i)/4)
		asks.At(i).SetSize(uint32(2*i + 1))
	}
	tags, err := q.NewTags(2)
	if err != nil {
		return err
	}
	for i, tag := range []string{"delayed", "test"} {
		if err := tags.Set(i, tag); err != nil {
			return err
		}
	}
	return nil
}

// Sum reads all of q, and is a number made of that.
func Sum(q Quote) (uint64, error) {
	symbol, err := q.SymbolBytes()
	if err != nil {
		return 0, err
	}
	sum := uint64(q.Time()) + uint64(len(symbol))
	for _, b := range symbol {
		sum = sum*31 + uint64(b)
	}
	v, err := q.Venue()
	if err != nil {
		return 0, err
	}
	for _, text := range []func() ([]byte, error){v.NameBytes, v.CountryBytes} {
		b, err := text()
		if err != nil {
			return 0, err
		}
		for _, c := range b {
			sum = sum*31 + uint64(c)
		}
	}
	for _, side := range []func() (Level_List, error){q.Bids, q.Asks} {
		levels, err := side()
		if err != nil {
			return 0, err
		}
		for i := range levels.Len() {
			sum = sum*31 + uint64(levels.At(i).Price()*4)<<16 + uint64(levels.At(i).Size())
		}
	}
	tags, err := q.Tags()
	if err != nil {
		return 0, err
	}
	for i := range tags.Len() {
		b, err := tags.BytesAt(i)
		if err != nil {
			return 0, err
		}
		for _, c := range b {
			sum = sum*31 + uint64(c)
		}
	}
	return sum, nil
}

// Encoded is a quote in the framing for streams.
func Encoded(symbol string, levels int) ([]byte, error) {
	m, s := capnp.NewSingleSegmentMessage(nil)
	defer m.Release()
	q, err := NewRootQuote(s)
	if err != nil {
		return nil, err
	}
	if err := Fill(q, symbol, levels); err != nil {
		return nil, err
	}
	return m.Marshal()
}
