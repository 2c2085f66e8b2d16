// Command queues is the bench's peer for lock-free queues of Go, in one process:
// xsync-mpmc and xsync-spsc of puzpuzpuz/xsync, workiva of Workiva/go-datastructures.
//
// None of the first two can wait; who finds one full or empty looks again, and lets
// others run, as their documentation does it.
package main

import (
	"fmt"
	"runtime"

	"github.com/Workiva/go-datastructures/queue"
	"github.com/puzpuzpuz/xsync/v4"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	switch a.Size {
	case 8:
		return within[[1]uint64](a)
	case 64:
		return within[[8]uint64](a)
	case 1024:
		return within[[128]uint64](a)
	}
	return nil, fmt.Errorf("no values of %d bytes", a.Size)
}

func within[T contract.Value](a contract.Args) (func(*contract.Result) error, error) {
	makers := map[string]func() contract.Queue[T]{
		"xsync-mpmc": func() contract.Queue[T] { return polled[T]{xsync.NewMPMCQueue[T](a.Cap)} },
		"xsync-spsc": func() contract.Queue[T] { return polled[T]{xsync.NewSPSCQueue[T](a.Cap)} },
		"workiva":    func() contract.Queue[T] { return ring[T]{queue.NewRingBuffer(uint64(a.Cap))} },
	}
	fresh, ok := makers[a.Mode]
	if !ok {
		return nil, fmt.Errorf("no mode %q", a.Mode)
	}
	there := fresh()
	back := there
	if a.Row == contract.PingPong {
		back = fresh()
	}
	left, right := pair[T]{there, back}, pair[T]{back, there}
	return func(r *contract.Result) error { return contract.Within(a, left, right, r) }, nil
}

// pair sends on one queue and receives from the other.
type pair[T contract.Value] struct{ out, in contract.Queue[T] }

func (p pair[T]) Send(v *T) error { return p.out.Send(v) }
func (p pair[T]) Recv(v *T) error { return p.in.Recv(v) }

type polled[T contract.Value] struct {
	q interface {
		TryEnqueue(v T) bool
		TryDequeue() (T, bool)
	}
}

func (p polled[T]) Send(v *T) error {
	for !p.q.TryEnqueue(*v) {
		runtime.Gosched()
	}
	return nil
}

func (p polled[T]) Recv(v *T) error {
	for {
		got, ok := p.q.TryDequeue()
		if ok {
			*v = got
			return nil
		}
		runtime.Gosched()
	}
}

// ring holds interfaces: each value is put on the heap.
type ring[T contract.Value] struct{ q *queue.RingBuffer }

func (r ring[T]) Send(v *T) error { return r.q.Put(*v) }

func (r ring[T]) Recv(v *T) error {
	got, err := r.q.Get()
	if err != nil {
		return err
	}
	*v = got.(T) //nolint:forcetypeassert // Nothing else was put.
	return nil
}
