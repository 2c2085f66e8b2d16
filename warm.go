package shmchan

// Code and data that a call needs when it goes on after a park, asked for while it waits for what is due: a CPU that has slept for
// milliseconds takes them from memory, one line after another, when each is needed.
//
// Invariant: these are hints to the processor. Nothing is read or changed, and an address at which there is nothing does no harm.

import (
	"reflect"
	"runtime"
	"sync"
	"unsafe"
)

const (
	lineBytes   = 64
	beforeFrame = 4  // lines of code before the place to which a function returns
	frameLines  = 24 // and with those from there on
	entryLines  = 12 // from where a function begins
)

// goingOn are where the functions begin through which calls of a role go on. Those that are compiled for each type are on the call's own stack.
var goingOn = sync.OnceValue(func() (entries [2][]uintptr) {
	both := []any{(*rhythm).end, (*side).goesOn, (*side).spun, (*side).doneSlow, (*handle).passOn, (*ring).turn, (*ring).anyWaiting}
	for d, own := range map[direction][]any{
		sending:   {(*ring).claimSend, (*ring).publish, (*handle).sendQuietly, (*ring).sendFrom, (*ring).sent},
		receiving: {(*ring).claimRecv, (*ring).free, (*ring).advanceHead, (*handle).recvEnd, (*handle).wakeAfterFree, (*ring).recvFrom, (*ring).received},
	} {
		for _, f := range append(own, both...) {
			entries[d] = append(entries[d], reflect.ValueOf(f).Pointer())
		}
	}
	return entries
})

// warm is for a call of this side that will go on soon.
func (s *side) warm() {
	var returns [8]uintptr
	for _, pc := range returns[:runtime.Callers(2, returns[:])] {
		prefetchRead(pc-beforeFrame*lineBytes, frameLines)
	}
	for _, pc := range goingOn()[s.d] {
		prefetchRead(pc, entryLines)
	}
	h := s.h
	prefetchRead(uintptr(unsafe.Pointer(h.ctl)), (unsafe.Sizeof(*h.ctl)+lineBytes-1)/lineBytes)
	prefetchRead(uintptr(unsafe.Pointer(h)), (unsafe.Sizeof(*h)+lineBytes-1)/lineBytes)
}
