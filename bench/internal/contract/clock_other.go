//go:build !linux

package contract

import "time"

// The bench measures on Linux only; elsewhere it compiles.

// Now is the time of day.
func Now() int64 { return time.Now().UnixNano() }

// CPUTime is not known.
func CPUTime() int64 { return 0 }

// Clock is Now.
type Clock struct{}

// NewClock returns one.
func NewClock() Clock { return Clock{} }

// Now is the time in nanoseconds.
func (Clock) Now() int64 { return Now() }
