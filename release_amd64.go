//go:build !race

package shmchan

import (
	"sync/atomic"
	"unsafe"
)

// weakStores says whether a load may come before a storeRelease that precedes it in the program.
const weakStores = true

// storeRelease stores v after everything that comes before it in the program, but a load
// that follows may come first. Any store of this processor does that, and no other 64-bit
// store of Go does less than an exchange, which waits for all stores before it.
func storeRelease(p *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(p)) = v }
