// Command futex is the bench's peer for the least that a parked round trip can take in
// Go: each side waits in the futex of one word, by the raw system call.
package main

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

const (
	futexWait = 0
	futexWake = 1
	away      = 32 // words: another line, and not the neighbour that is fetched along
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	if a.Row != contract.PingPong {
		return nil, fmt.Errorf("cannot do the row %q", a.Row)
	}
	mem, err := contract.Page(a, "futex")
	if err != nil {
		return nil, err
	}
	words := unsafe.Slice((*atomic.Uint32)(unsafe.Pointer(&mem[0])), contract.PageSize/4)
	there, back := &words[0], &words[away]
	return func(r *contract.Result) error {
		r.Count = a.Count
		if a.Role == contract.Recv {
			for seq := range uint32(a.Count) {
				sleepUntil(there, seq+1)
				wake(back, seq+1)
			}
			return nil
		}
		r.Lat = make([]int64, 0, a.Count)
		for seq := range uint32(a.Count) {
			began := time.Now()
			wake(there, seq+1)
			sleepUntil(back, seq+1)
			r.Lat = append(r.Lat, int64(time.Since(began)))
		}
		return nil
	}, nil
}

// The number of the round is all that travels: it is what the other side waits for.

// sleepUntil takes the thread along: no scheduler of Go's comes between.
func sleepUntil(w *atomic.Uint32, want uint32) {
	for v := w.Load(); v != want; v = w.Load() {
		_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWait, uintptr(v), 0, 0, 0)
	}
}

func wake(w *atomic.Uint32, to uint32) {
	w.Store(to)
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWake, 1, 0, 0, 0)
}
