//go:build !amd64 || race

package shmchan

import "sync/atomic"

// weakStores says whether a load may come before a storeRelease that precedes it in the program.
const weakStores = false

// storeRelease stores v after everything that comes before it in the program.
func storeRelease(p *atomic.Uint64, v uint64) { p.Store(v) }
