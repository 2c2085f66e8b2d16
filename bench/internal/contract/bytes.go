package contract

import (
	"fmt"
	"time"
)

// Link is a transport of bytes: one value a call, all of its bytes.
type Link interface {
	Send(b []byte) error
	Recv(b []byte) error
}

type bytesQueue[T Value] struct{ Link }

func (q bytesQueue[T]) Send(v *T) error { return q.Link.Send(Bytes(v)) }
func (q bytesQueue[T]) Recv(v *T) error { return q.Link.Recv(Bytes(v)) }

func (q bytesQueue[T]) Flush() error {
	if f, ok := q.Link.(Flusher); ok {
		return f.Flush()
	}
	return nil
}

// WorkBytes is Work for links.
func WorkBytes(a Args, l Link, r *Result) error {
	switch a.Size {
	case 8:
		return Work(a, bytesQueue[[1]uint64]{l}, r)
	case 64:
		return Work(a, bytesQueue[[8]uint64]{l}, r)
	case 120:
		return Work(a, bytesQueue[[15]uint64]{l}, r)
	case 1024:
		return Work(a, bytesQueue[[128]uint64]{l}, r)
	}
	return fmt.Errorf("no values of %d bytes", a.Size)
}

// Opens measures a.Count calls.
func Opens(a Args, r *Result, once func() error) error {
	r.Count = a.Count
	for range a.Count {
		began := time.Now()
		if err := once(); err != nil {
			return err
		}
		r.Lat = append(r.Lat, int64(time.Since(began)))
	}
	return nil
}

// Retry tries again until it succeeds: the other process may not be there yet. The
// runner's time limit is the only one.
func Retry[R any](f func() (R, error)) R {
	for {
		r, err := f()
		if err == nil {
			return r
		}
		time.Sleep(time.Millisecond)
	}
}
