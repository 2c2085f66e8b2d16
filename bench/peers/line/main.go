// Command line is the yardstick in Go, for a machine without a C compiler: a word on a
// cache line of its own goes there and back between two processes.
package main

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

const rounds = 64 // each figure is the mean of so many

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	if a.Row != contract.Line {
		return nil, fmt.Errorf("cannot do the row %q", a.Row)
	}
	mem, err := contract.Page(a, "line")
	if err != nil {
		return nil, err
	}
	word := (*atomic.Uint64)(unsafe.Pointer(&mem[2048]))
	return func(r *contract.Result) error {
		for n := range a.Count {
			began := time.Now()
			for seq := n * rounds; seq < (n+1)*rounds; seq++ {
				if a.Role == contract.Send {
					word.Store(2*seq + 1)
					await(word, 2*seq+2)
				} else {
					await(word, 2*seq+1)
					word.Store(2*seq + 2)
				}
			}
			r.Lat = append(r.Lat, int64(time.Since(began))/rounds)
		}
		return nil
	}, nil
}

func await(w *atomic.Uint64, want uint64) {
	for w.Load() != want {
	}
}
