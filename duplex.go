package shmchan

// Pairs: two one-way channels under one name, for two sides that talk to each other.
//
// Invariants:
//   - The halves are channels of their own, name.ab for what side A sends and name.ba for what side B sends. Each role of them is held by
//     one handle at a time, by the kernel's lock of a single role; but any number of goroutines may use it.
//   - Both sides take the roles of name.ab first: of two who open the same side one gets both.
//   - A side waits for the other until that has been there; once it has gone, calls do not wait for it (disconnect.go).

import (
	"errors"
	"fmt"
	"io/fs"
)

// Side is one of the two sides of a pair.
type Side int

const (
	SideA Side = iota // the first, who opens it with the types as they are
	SideB             // the other, who opens it with the types swapped
)

func (s Side) String() string {
	switch s {
	case SideA:
		return "SideA"
	case SideB:
		return "SideB"
	}
	return fmt.Sprintf("Side(%d)", int(s))
}

// The halves' names after that of the pair.
const (
	halfAB = ".ab"
	halfBA = ".ba"
)

// Duplex is one side of a pair: it sends S and receives R. Many goroutines may use it, but where an option makes a single role.
// Len and Stats are those of the halves: d.Sender.Len() is what the other side has not received yet.
type Duplex[S, R any] struct {
	*Sender[S]
	*Receiver[R]
	name string
}

// BytesDuplex is one side of a pair of channels of bytes; see Duplex.
type BytesDuplex struct {
	*BytesSender
	*BytesReceiver
	name string
}

// OpenDuplex makes the pair of that name, or attaches to it, as one of its two sides. The other side opens it with the types
// swapped: OpenDuplex[Request, Reply](name, SideA) and OpenDuplex[Reply, Request](name, SideB).
//
// Each side is held by one handle at a time; a second one is ErrBusy until the first detaches or dies. Until the other side
// has been there calls wait for it. When it has gone, by Detach or by its death, a receive that has got all that it sent and a
// send that would have to wait are ErrDisconnected; it may come back, and then they go on. The options
// are those of Open and apply to both directions.
//
// A side waits for the next one who comes when it has called Detach and opened the pair anew. That one finds what was not received, replies to
// the one before him too: give requests ids that no other has, and drop replies to others. So it is also when both had left; Close the pair, or
// RemoveDuplex, to end it.
//
// On disk, and for Inspect, List and Remove, it is two channels, name.ab for what SideA sends and name.ba.
func OpenDuplex[S, R any](name string, side Side, opts ...Option) (*Duplex[S, R], error) {
	out, in, opts, err := halves(name, side, opts)
	if err != nil {
		return nil, err
	}
	if _, err := layoutFor[R](in); err != nil { // Before the other half is made.
		return nil, err
	}
	s, r, err := openHalves(side,
		func() (*Sender[S], error) { return OpenSender[S](out, opts...) },
		func() (*Receiver[R], error) { return OpenReceiver[R](in, opts...) })
	if errors.Is(err, ErrMismatch) && swapped[S, R](name, side, opts) {
		err = fmt.Errorf("%w; or swap them here: the two types are the other way round, and each side names first what it sends", err)
	}
	if err != nil {
		return nil, err
	}
	return &Duplex[S, R]{s, r, name}, nil
}

// swapped says whether what the side is said to receive is what it sends in the pair that is there.
func swapped[S, R any](name string, side Side, opts []Option) bool {
	info, err := Inspect(name+halfAB, opts...)
	sends, noType := layoutFor[S](name)
	receives, noTypeEither := layoutFor[R](name)
	if err != nil || noType != nil || noTypeEither != nil {
		return false
	}
	if side == SideB {
		sends, receives = receives, sends
	}
	return info.Layout == receives.text && info.Layout != sends.text
}

// OpenBytesDuplex is OpenDuplex for messages of bytes.
func OpenBytesDuplex(name string, side Side, opts ...Option) (*BytesDuplex, error) {
	out, in, opts, err := halves(name, side, opts)
	if err != nil {
		return nil, err
	}
	s, r, err := openHalves(side,
		func() (*BytesSender, error) { return OpenBytesSender(out, opts...) },
		func() (*BytesReceiver, error) { return OpenBytesReceiver(in, opts...) })
	if err != nil {
		return nil, err
	}
	return &BytesDuplex{s, r, name}, nil
}

// halves are the names of the half that the side sends on and of that it receives on, and the options of both.
func halves(name string, side Side, opts []Option) (out, in string, both []Option, err error) {
	switch {
	case name == "" || len(name) > maxName-len(halfAB):
		err = fmt.Errorf("shmchan: pair %q: %w: a name has 1 to %d bytes and no slash", name, fs.ErrInvalid, maxName-len(halfAB))
	case side == SideA:
		out, in = name+halfAB, name+halfBA
	case side == SideB:
		out, in = name+halfBA, name+halfAB
	default:
		err = fmt.Errorf("shmchan: pair %q: %w: %v; use SideA or SideB", name, fs.ErrInvalid, side)
	}
	return out, in, append(opts[:len(opts):len(opts)], func(o *options) { o.pair, o.disconnect = true, true }), err
}

// openHalves opens what is name.ab first.
func openHalves[S, R interface{ Detach() error }](side Side, sender func() (S, error), receiver func() (R, error)) (s S, r R, err error) {
	if side == SideB {
		r, s, err = inOrder(receiver, sender)
		return s, r, err
	}
	return inOrder(sender, receiver)
}

func inOrder[X, Y interface{ Detach() error }](first func() (X, error), second func() (Y, error)) (x X, y Y, err error) {
	if x, err = first(); err != nil {
		return x, y, err
	}
	if y, err = second(); err != nil {
		_ = x.Detach()
	}
	return x, y, err
}

// RemoveDuplex takes the name of a pair away; see Remove. It fails with fs.ErrNotExist if neither half is there.
func RemoveDuplex(name string, opts ...Option) error {
	a, b := Remove(name+halfAB, opts...), Remove(name+halfBA, opts...)
	if errors.Is(a, fs.ErrNotExist) != errors.Is(b, fs.ErrNotExist) { // Half of it was gone.
		if errors.Is(a, fs.ErrNotExist) {
			return b
		}
		return a
	}
	return errors.Join(a, b)
}

// Name is the pair's name.
func (d *Duplex[S, R]) Name() string { return d.name }

// Name is the pair's name.
func (d *BytesDuplex) Name() string { return d.name }

// Cap is the capacity of each direction.
func (d *Duplex[S, R]) Cap() int { return d.Sender.Cap() }

// Cap is the capacity of each direction, in messages.
func (d *BytesDuplex) Cap() int { return d.BytesSender.Cap() }

// MaxMessage is how many bytes a message may have, in each direction.
func (d *BytesDuplex) MaxMessage() int { return d.BytesSender.MaxMessage() }

// Close ends both directions for both sides: nobody can send any more, what was sent can still be received. A second Close, by whichever
// side, is ErrClosed. Close of the Sender alone says that this side has no more to send.
func (d *Duplex[S, R]) Close() error { return closeBoth(d.Sender.Close, d.Receiver.Close) }

// Close ends both directions for both sides; see Duplex.Close.
func (d *BytesDuplex) Close() error { return closeBoth(d.BytesSender.Close, d.BytesReceiver.Close) }

// closeBoth closes both halves; one that was closed before is none to speak of if the other was not.
func closeBoth(a, b func() error) error {
	errA, errB := a(), b()
	switch {
	case errA == nil && errors.Is(errB, ErrClosed):
		return nil
	case errB == nil && errors.Is(errA, ErrClosed):
		return nil
	case errA != nil:
		return errA
	}
	return errB
}

// Detach lets go of this side, which the other notices; see Sender.Detach.
func (d *Duplex[S, R]) Detach() error { return detachBoth(d.Sender.Detach, d.Receiver.Detach) }

// Detach lets go of this side, which the other notices; see Sender.Detach.
func (d *BytesDuplex) Detach() error {
	return detachBoth(d.BytesSender.Detach, d.BytesReceiver.Detach)
}

func detachBoth(a, b func() error) error {
	errA, errB := a(), b()
	if errA != nil && errB != nil {
		return errA
	}
	return nil
}
