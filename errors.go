package shmchan

// Errors: sentinels to compare with errors.Is, and the texts that a handle gives.
// Invariant: every error that a handle returns names its channel and says what to
// do; those of the hot path are made once, at Open, and cost no allocation.

import (
	"fmt"
	"os"
	"strings"
)

// sentinel is an error to compare with; it may also stand for one of the standard library.
type sentinel struct {
	text string
	also error
}

func (s *sentinel) Error() string        { return "shmchan: " + s.text }
func (s *sentinel) Is(target error) bool { return s.also != nil && target == s.also }

// The life of a channel.
var (
	// ErrClosed is returned by a send on a closed channel, by a receive once the
	// channel is closed and drained, and by a second Close. It is also os.ErrClosed.
	ErrClosed error = &sentinel{"channel is closed", os.ErrClosed}
	// ErrDetached is returned by every call on a handle that was let go by Detach,
	// also by those that were blocked on it.
	ErrDetached error = &sentinel{text: "handle is detached"}
	// ErrDisconnected is returned, with WithDisconnect, by a receive on an empty
	// channel that no live sender holds and by a blocked send that no live receiver could take; and,
	// whatever the options, on a side of a pair by such calls once the other side has gone.
	ErrDisconnected error = &sentinel{text: "nobody at the other end"}
)

// Calls that do not wait.
var (
	// ErrFull is returned by TrySend when it would have to wait.
	ErrFull error = &sentinel{text: "channel is full"}
	// ErrEmpty is returned by TryRecv when it would have to wait.
	ErrEmpty error = &sentinel{text: "channel is empty"}
	// ErrWouldBlock is returned by TrySelect when no case is ready: the default branch.
	ErrWouldBlock error = &sentinel{text: "no case is ready; go on with something else, or use Select to wait"}
)

// Opening.
var (
	// ErrBusy is returned when a single role, or a side of a pair, is held by a live handle; by calls of a single role
	// inside its own SendFunc or RecvFunc; by FromFiles for files that were used before; by Hold where it cannot hold;
	// and for as long as another process has the lock of its name, about to join, leave or remove it. Its text says which.
	ErrBusy error = &sentinel{text: "busy"}
	// ErrMismatch is returned when the channel is not what the caller says it is;
	// a *MismatchError names the first difference.
	ErrMismatch error = &sentinel{text: "mismatch"}
	// ErrNotPOD is returned for a type that may not cross; a *TypeError names the field.
	ErrNotPOD error = &sentinel{text: "not a fixed-size plain type"}
	// ErrTooLarge is returned for a channel or a type of more bytes than can be mapped, and for a message of more
	// bytes than WithMaxMessage allows.
	ErrTooLarge error = &sentinel{text: "too large"}
	// ErrTooManyPeers is returned when all entries for participants are held by live handles.
	ErrTooManyPeers error = &sentinel{text: "too many handles"}
)

// ErrCorrupt is returned when the shared bytes break the rules: a header that
// contradicts itself, a slot word that cannot be, a length that lies, a bool that is neither.
var ErrCorrupt error = &sentinel{text: "shared memory is corrupt"}

// MismatchError says how a channel differs from what the caller expects. It is ErrMismatch.
type MismatchError struct {
	Channel string // the channel's name
	What    string // the field, option, version or byte order: the first that differs
	Here    string // as this program has it
	There   string // as the channel has it
	PID     int    // of the process that made the channel, 0 if not known
}

func (e *MismatchError) Error() string {
	by := "in the channel"
	if e.PID != 0 {
		by = fmt.Sprintf("in the channel that pid %d made", e.PID)
	}
	return fmt.Sprintf("shmchan: channel %q: %s is %s here, %s %s; use the same on both sides, or %s",
		e.Channel, e.What, e.Here, e.There, by, renewal(e.Channel))
}

// Is reports whether target is ErrMismatch.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// TypeError says which part of a type may not cross between processes. It is ErrNotPOD.
type TypeError struct {
	Channel string // the channel's name
	Type    string // the type that was asked for
	Path    string // the offending part, as Tick.Meta.Name
	Kind    string // what it is, as "a string"
	Hint    string // what to use instead
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("shmchan: channel %q: type %s cannot cross between processes: %s is %s; %s",
		e.Channel, e.Type, e.Path, e.Kind, e.Hint)
}

// Is reports whether target is ErrNotPOD.
func (e *TypeError) Is(target error) bool { return target == ErrNotPOD }

// chanError is a sentinel with the channel's name and advice.
type chanError struct {
	channel string
	err     error
	advice  string
}

func (e *chanError) Error() string {
	return fmt.Sprintf("shmchan: channel %q: %s; %s", e.channel, strings.TrimPrefix(e.err.Error(), "shmchan: "), e.advice)
}
func (e *chanError) Unwrap() error { return e.err }

// handleErrors are the errors of the hot path, made once for each handle.
type handleErrors struct {
	sendClosed, recvClosed, closeClosed error
	full, noRoom, noReceiver, empty     error
	detached, nested, broken            error
	sendDisconnected, recvDisconnected  error
}

func newHandleErrors(name string) handleErrors {
	e := func(err error, advice string) error { return &chanError{name, err, advice} }
	errs := handleErrors{
		sendClosed:       e(ErrClosed, "nothing more can be sent; stop sending, or open the name again for a new channel once everybody has left"),
		recvClosed:       e(ErrClosed, "all that was sent has been received; stop receiving"),
		closeClosed:      e(ErrClosed, "it was closed before; let one sender do it"),
		full:             e(ErrFull, "try again once something was received, use Send to wait, or make it with a larger WithCapacity"),
		noRoom:           e(ErrFull, "its arena has no room for this message; try again once something was received, use Send to wait, or make it with a larger WithArena"),
		noReceiver:       e(ErrFull, "its capacity is 0 and no receiver waits; use Send to wait for one"),
		empty:            e(ErrEmpty, "try again once something was sent, or use Recv to wait"),
		detached:         e(ErrDetached, "open the name again to go on"),
		broken:           brokenError(name),
		nested:           e(ErrBusy, "its single role is in the middle of a SendFunc or RecvFunc: do not use it inside, or make the channel without a single role"),
		sendDisconnected: e(ErrDisconnected, "no live process holds it for receiving; start a receiver, or send without WithDisconnect to wait for one"),
		recvDisconnected: e(ErrDisconnected, "it is empty and no live process holds it for sending; start a sender, or receive without WithDisconnect to wait for one"),
	}
	if isUnnamed(name) { // There is no name to open, nor can anybody come who has none of its files.
		errs.sendClosed = e(ErrClosed, "nothing more can be sent; stop sending, or make another with New")
		errs.detached = e(ErrDetached, "to go on use FromFiles with files that another handle's Files returns, or make another with New")
		errs.sendDisconnected = e(ErrDisconnected, "no live process holds it for receiving; hand what Files returns to a receiver, or send without WithDisconnect to wait for one")
		errs.recvDisconnected = e(ErrDisconnected, "it is empty and no live process holds it for sending; hand what Files returns to a sender, or receive without WithDisconnect to wait for one")
	}
	return errs
}

// ofPair says them as they are for half of a pair, which is always told that the other side has gone.
func (errs *handleErrors) ofPair(name string) {
	const next = "Detach and open this side anew to wait for the next one who comes"
	errs.sendDisconnected = &chanError{name, ErrDisconnected, "it is full and the other side of the pair has gone; " + next}
	errs.recvDisconnected = &chanError{name, ErrDisconnected, "it is empty and the other side of the pair has gone; " + next}
}

func corruptError(name, format string, a ...any) error {
	return &chanError{name, fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, a...)),
		"some process wrote where it must not; " + renewal(name)}
}

// renewal is what to do about a channel that is of no more use.
func renewal(name string) string {
	if isUnnamed(name) {
		return "make another with New and hand out its Files"
	}
	return "remove the channel and make it anew"
}
