package contract

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Queue is a process's end of a transport: it sends there and receives from the other
// side. One that only ever does one of the two need not be able to do the other.
type Queue[T Value] interface {
	Send(v *T) error
	Recv(v *T) error
}

// Flusher is a Queue that keeps values back until it is told not to.
type Flusher interface{ Flush() error }

// Batcher is a Queue that moves several values with one call.
type Batcher[T Value] interface {
	SendBatch(vs []T) error
	RecvBatch(buf []T) (int, error)
}

// InPlacer is a Queue whose values are built and read where they lie.
type InPlacer[T Value] interface {
	SendFunc(fill func(*T) error) error
	RecvFunc(use func(*T) error) error
}

// Fast is a Queue with loops of its own for the rows in which a call through an
// interface would be a part of what is measured.
type Fast interface {
	SendN(n uint64) error
	RecvN(n uint64) error
	Round(seq uint64) error // sends that value and receives it back
	Pong(n uint64) error
}

// Work does the part of one process in the row.
func Work[T Value](a Args, q Queue[T], r *Result) error {
	sends := a.Role == Send
	switch {
	case a.Row == OneWay && sends:
		return sendAll(a, q, r)
	case a.Row == OneWay:
		return recvAll(a, q, r)
	case a.Row == Batch && sends:
		return sendBatches(a, q, r)
	case a.Row == Batch:
		return recvBatches(a, q, r)
	case a.Row == InPlace && sends:
		return sendInPlace(a, q, r)
	case a.Row == InPlace:
		return recvInPlace(a, q, r)
	case a.Row == PingPong && sends:
		return ping(a, q, r)
	case a.Row == PingPong:
		return pong(a, q, r)
	case a.Row == Many && sends:
		return sendShare(a, q, r)
	case a.Row == Many:
		return recvShares(a, q, r)
	case a.Row == Bursts && sends:
		return sendBursts(a, q, r)
	case a.Row == Bursts:
		return recvBursts(a, q, r)
	case a.Row == Idle && sends:
		time.Sleep(a.Idle)
		v := new(T)
		Mark(v, 0, 0)
		return errors.Join(q.Send(v), flush(q))
	case a.Row == Idle:
		v := new(T)
		r.Count = 1
		if err := q.Recv(v); err != nil {
			return err
		}
		return Check(v, 0)
	}
	return fmt.Errorf("cannot do the row %q as %q", a.Row, a.Role)
}

func flush[T Value](q Queue[T]) error {
	if f, ok := q.(Flusher); ok {
		return f.Flush()
	}
	return nil
}

func sendAll[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	if f, ok := q.(Fast); ok {
		return f.SendN(a.Count)
	}
	v := new(T)
	for seq := range a.Count {
		Mark(v, 0, seq)
		if err := q.Send(v); err != nil {
			return err
		}
	}
	return flush(q)
}

func recvAll[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	if f, ok := q.(Fast); ok {
		return f.RecvN(a.Count)
	}
	v := new(T)
	for seq := range a.Count {
		if err := q.Recv(v); err != nil {
			return err
		}
		if err := Check(v, seq); err != nil {
			return err
		}
	}
	return nil
}

func sendBatches[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	buf := make([]T, a.Batch)
	b, whole := q.(Batcher[T])
	for seq := uint64(0); seq < a.Count; {
		some := buf[:min(uint64(len(buf)), a.Count-seq)]
		for i := range some {
			Mark(&some[i], 0, seq)
			seq++
			if !whole {
				if err := q.Send(&some[i]); err != nil {
					return err
				}
			}
		}
		var err error
		if whole {
			err = b.SendBatch(some)
		} else {
			err = flush(q)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func recvBatches[T Value](a Args, q Queue[T], r *Result) error {
	b, whole := q.(Batcher[T])
	if !whole {
		return recvAll(a, q, r)
	}
	r.Count = a.Count
	buf := make([]T, a.Batch)
	for seq := uint64(0); seq < a.Count; {
		n, err := b.RecvBatch(buf[:min(uint64(len(buf)), a.Count-seq)])
		if err != nil {
			return err
		}
		for i := range buf[:n] {
			if err := Check(&buf[i], seq); err != nil {
				return err
			}
			seq++
		}
	}
	return nil
}

func sendInPlace[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	p, ok := q.(InPlacer[T])
	if !ok {
		return errors.New("cannot build values in place")
	}
	from := new(T)
	seq := uint64(0)
	fill := func(v *T) error {
		Mark(from, 0, seq)
		copy(Bytes(v), Bytes(from))
		return nil
	}
	for ; seq < a.Count; seq++ {
		if err := p.SendFunc(fill); err != nil {
			return err
		}
	}
	return nil
}

func recvInPlace[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	p, ok := q.(InPlacer[T])
	if !ok {
		return errors.New("cannot read values in place")
	}
	to := new(T)
	seq := uint64(0)
	use := func(v *T) error {
		copy(Bytes(to), Bytes(v))
		return Check(to, seq)
	}
	for ; seq < a.Count; seq++ {
		if err := p.RecvFunc(use); err != nil {
			return err
		}
	}
	return nil
}

func ping[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	v := new(T)
	round := func(seq uint64) error {
		Mark(v, 0, seq)
		if err := q.Send(v); err != nil {
			return err
		}
		if err := flush(q); err != nil {
			return err
		}
		if err := q.Recv(v); err != nil {
			return err
		}
		return Check(v, seq)
	}
	if f, ok := q.(Fast); ok {
		round = f.Round
	}
	every := max(1, a.Every)
	left := every
	r.Lat = make([]int64, 0, a.Count/every+1)
	warm(r.Lat)
	for seq := range a.Count {
		if left--; left > 0 {
			if err := round(seq); err != nil {
				return err
			}
			continue
		}
		left = every
		began := time.Now()
		if err := round(seq); err != nil {
			return err
		}
		r.Lat = append(r.Lat, int64(time.Since(began)))
	}
	return nil
}

// warm touches the pages behind what will be appended.
func warm(lat []int64) {
	lat = lat[:cap(lat)]
	for i := range lat {
		lat[i] = 1
	}
}

func pong[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	if f, ok := q.(Fast); ok {
		return f.Pong(a.Count)
	}
	v := new(T)
	for seq := range a.Count {
		if err := q.Recv(v); err != nil {
			return err
		}
		if err := Check(v, seq); err != nil {
			return err
		}
		if err := q.Send(v); err != nil {
			return err
		}
		if err := flush(q); err != nil {
			return err
		}
	}
	return nil
}

func sendShare[T Value](a Args, q Queue[T], r *Result) error {
	r.Count = a.Count
	v := new(T)
	for seq := range a.Count {
		Mark(v, a.Index, seq)
		if err := q.Send(v); err != nil {
			return err
		}
	}
	for range a.Receivers {
		Mark(v, a.Index, Pill)
		if err := q.Send(v); err != nil {
			return err
		}
	}
	return flush(q)
}

func recvShares[T Value](a Args, q Queue[T], r *Result) error {
	audit := NewAudit(a.Senders)
	v := new(T)
	for {
		if err := q.Recv(v); err != nil {
			return err
		}
		done, err := audit.take(words(v))
		if err != nil {
			return err
		}
		if done {
			r.Got = audit.got
			for _, g := range r.Got {
				r.Count += g[0]
			}
			return nil
		}
	}
}

// A burst's values carry in their second word when it began, and in the third how many
// there are behind this one.

func sendBursts[T Value](a Args, q Queue[T], r *Result) error {
	clock := NewClock()
	v := new(T)
	w := words(v)
	seq := uint64(0)
	next := clock.Now()
	for range a.Count {
		next += int64(a.Gap)
		began := clock.Now()
		for ; began < next; began = clock.Now() {
		}
		next = max(next, began-int64(a.Gap)) // who cannot keep up does not have to catch up
		for i := range a.Batch {
			Mark(v, 0, seq)
			seq++
			w[1], w[2] = uint64(began), uint64(a.Batch-1-i)
			if err := q.Send(v); err != nil {
				return err
			}
		}
		if err := flush(q); err != nil {
			return err
		}
	}
	r.Count = seq
	return nil
}

func recvBursts[T Value](a Args, q Queue[T], r *Result) error {
	clock := NewClock()
	v := new(T)
	w := words(v)
	r.Count = a.Count * uint64(a.Batch)
	r.Lat = make([]int64, 0, a.Count)
	warm(r.Lat)
	for seq := range r.Count {
		if err := q.Recv(v); err != nil {
			return err
		}
		if err := Check(v, seq); err != nil {
			return err
		}
		if w[2] == 0 {
			r.Lat = append(r.Lat, clock.Now()-int64(w[1]))
		}
	}
	return nil
}

// Within does the row with goroutines of one process. What the senders send on left,
// the receivers receive from right; in pingpong also the other way round.
func Within[T Value](a Args, left, right Queue[T], r *Result) error {
	type part struct {
		a Args
		q Queue[T]
	}
	parts := []part{}
	add := func(role string, index int, q Queue[T]) {
		b := a
		b.Role, b.Index = role, index
		parts = append(parts, part{b, q})
	}
	for i := range max(1, a.Senders) {
		add(Send, i, left)
	}
	for i := range max(1, a.Receivers) {
		add(Recv, i, right)
	}
	results := make([]Result, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() {
			if err := Work(p.a, p.q, &results[i]); err != nil {
				Fail(err) // The others would wait for ever.
			}
		})
	}
	all.Wait()
	for i, p := range parts {
		if len(results[i].Lat) > 0 {
			r.Lat = results[i].Lat
		}
		if p.a.Role == Recv {
			r.Count += results[i].Count
			r.Got = addGot(r.Got, results[i].Got)
		}
	}
	return nil
}

func addGot(a, b [][2]uint64) [][2]uint64 {
	if a == nil {
		return b
	}
	for i := range a {
		a[i][0] += b[i][0]
		a[i][1] += b[i][1]
	}
	return a
}

// Fail ends the process from a goroutine whose error nobody waits for.
func Fail(err error) {
	var w *WrongError
	if errors.As(err, &w) {
		fmt.Printf("{\"wrong\":%q}\n", w.What)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
