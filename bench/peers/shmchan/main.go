// Command shmchan is the bench's peer for this repository's library.
//
// Its mode is made of words: single or many (the roles), adaptive, spin or park (how it
// waits), bytes for a channel of bytes, see bytes.go, and create if the row open is to make and remove a channel each time.
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	switch a.Size {
	case 8:
		return open[[1]uint64](a)
	case 64:
		return open[[8]uint64](a)
	case 120: // With its word, a slot of 128.
		return open[[15]uint64](a)
	case 1024:
		return open[[128]uint64](a)
	case 65528:
		return open[[8191]uint64](a)
	}
	return nil, fmt.Errorf("no values of %d bytes", a.Size)
}

func options(a contract.Args) []shmchan.Option {
	o := []shmchan.Option{shmchan.WithDir(a.Dir), shmchan.WithCapacity(a.Cap)}
	for _, word := range strings.Split(a.Mode, "-") {
		switch word {
		case "single":
			o = append(o, shmchan.WithSingleSender(), shmchan.WithSingleReceiver())
		case "spin":
			o = append(o, shmchan.WithWait(shmchan.Spin))
		case "park":
			o = append(o, shmchan.WithWait(shmchan.Park))
		}
	}
	return o
}

func open[T contract.Value](a contract.Args) (func(*contract.Result) error, error) {
	if a.Row == contract.Open {
		return opens[T](a)
	}
	if strings.Contains(a.Mode, "bytes") {
		return openBytes[T](a)
	}
	out, in := names(a)
	var e end[T]
	var err error
	if out != "" {
		if e.s, err = shmchan.OpenSender[T](out, options(a)...); err != nil {
			return nil, err
		}
	}
	if in != "" {
		if e.r, err = shmchan.OpenReceiver[T](in, options(a)...); err != nil {
			return nil, err
		}
	}
	return func(r *contract.Result) error { return contract.Work(a, e, r) }, nil
}

// names are the channels that this process sends to and receives from, "" if it does not.
func names(a contract.Args) (out, in string) {
	switch {
	case a.Row == contract.PingPong && a.Role == contract.Send:
		return "there", "back"
	case a.Row == contract.PingPong:
		return "back", "there"
	case a.Role == contract.Send:
		return "there", ""
	}
	return "", "there"
}

// opens measures Open and Detach, of a channel that others hold or of a new one.
func opens[T contract.Value](a contract.Args) (func(*contract.Result) error, error) {
	if strings.Contains(a.Mode, "create") {
		return func(r *contract.Result) error {
			return contract.Opens(a, r, func() error {
				c, err := shmchan.Open[T]("new", options(a)...)
				if err != nil {
					return err
				}
				if err := c.Close(); err != nil { // The last to leave removes a closed channel.
					return err
				}
				return c.Detach()
			})
		}, nil
	}
	held, err := shmchan.Open[T]("held", options(a)...)
	if err != nil {
		return nil, err
	}
	return func(r *contract.Result) error {
		err := contract.Opens(a, r, func() error {
			c, err := shmchan.Open[T]("held", options(a)...)
			if err != nil {
				return err
			}
			return c.Detach()
		})
		if err != nil {
			return err
		}
		return held.Detach()
	}, nil
}

// end has the hot loops as a user would write them; the bench's own would add a call
// through an interface to each value.
type end[T contract.Value] struct {
	s *shmchan.Sender[T]
	r *shmchan.Receiver[T]
}

func (e end[T]) Send(v *T) error { return e.s.Send(*v) }

func (e end[T]) Recv(v *T) (err error) {
	*v, err = e.r.Recv()
	return err
}

func (e end[T]) SendN(n uint64) error {
	var v T
	for seq := range n {
		contract.Mark(&v, 0, seq)
		if err := e.s.Send(v); err != nil {
			return err
		}
	}
	return nil
}

func (e end[T]) RecvN(n uint64) error {
	for seq := range n {
		v, err := e.r.Recv()
		if err != nil {
			return err
		}
		if err := contract.Check(&v, seq); err != nil {
			return err
		}
	}
	return nil
}

func (e end[T]) Round(seq uint64) error {
	var v T
	contract.Mark(&v, 0, seq)
	if err := e.s.Send(v); err != nil {
		return err
	}
	v, err := e.r.Recv()
	if err != nil {
		return err
	}
	return contract.Check(&v, seq)
}

func (e end[T]) Pong(n uint64) error {
	for seq := range n {
		v, err := e.r.Recv()
		if err != nil {
			return err
		}
		if err := contract.Check(&v, seq); err != nil {
			return err
		}
		if err := e.s.Send(v); err != nil {
			return err
		}
	}
	return nil
}

func (e end[T]) SendBatch(vs []T) error {
	_, err := e.s.SendBatch(context.Background(), vs)
	return err
}

func (e end[T]) RecvBatch(buf []T) (int, error) {
	return e.r.RecvBatch(context.Background(), buf)
}

func (e end[T]) SendFunc(fill func(*T) error) error {
	return e.s.SendFunc(context.Background(), fill)
}

func (e end[T]) RecvFunc(use func(*T) error) error {
	return e.r.RecvFunc(context.Background(), use)
}
