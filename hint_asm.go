//go:build amd64 || 386 || arm64

package shmchan

// Hints to the processor. Nothing counts on them.

import "unsafe"

// pause says that this is a waiting loop.
//
//go:noescape
func pause()

// prefetchWrite asks for so many cache lines from p on, at least one, to be written.
//
//go:noescape
func prefetchWrite(p unsafe.Pointer, lines uint64)

// prefetchRead asks for so many cache lines from p on, at least one, to be read. There need be nothing at p.
func prefetchRead(p, lines uintptr)

// goroutine is a number that no other living goroutine has, or 0 where that cannot be told.
func goroutine() uintptr
