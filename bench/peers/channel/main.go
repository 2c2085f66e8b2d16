// Command channel is the bench's peer for Go's own channels, in one process: goroutines
// on two CPUs.
package main

import (
	"fmt"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	switch a.Size {
	case 8:
		return within[[1]uint64](a), nil
	case 64:
		return within[[8]uint64](a), nil
	case 1024:
		return within[[128]uint64](a), nil
	}
	return nil, fmt.Errorf("no values of %d bytes", a.Size)
}

func within[T contract.Value](a contract.Args) func(*contract.Result) error {
	there := make(chan T, a.Cap)
	back := there
	if a.Row == contract.PingPong {
		back = make(chan T, a.Cap)
	}
	return func(r *contract.Result) error {
		return contract.Within(a, end[T]{there, back}, end[T]{back, there}, r)
	}
}

// end has the hot loops as a user would write them.
type end[T contract.Value] struct{ out, in chan T }

func (e end[T]) Send(v *T) error {
	e.out <- *v
	return nil
}

func (e end[T]) Recv(v *T) error {
	*v = <-e.in
	return nil
}

func (e end[T]) SendN(n uint64) error { //nolint:unparam // contract.Fast has it so.
	var v T
	for seq := range n {
		contract.Mark(&v, 0, seq)
		e.out <- v
	}
	return nil
}

func (e end[T]) RecvN(n uint64) error {
	for seq := range n {
		v := <-e.in
		if err := contract.Check(&v, seq); err != nil {
			return err
		}
	}
	return nil
}

func (e end[T]) Round(seq uint64) error {
	var v T
	contract.Mark(&v, 0, seq)
	e.out <- v
	v = <-e.in
	return contract.Check(&v, seq)
}

func (e end[T]) Pong(n uint64) error {
	for seq := range n {
		v := <-e.in
		if err := contract.Check(&v, seq); err != nil {
			return err
		}
		e.out <- v
	}
	return nil
}
