package shmchan

// Under the race detector: what a channel orders is ordered for it too, and what it
// does not order is reported. Without it these tests only run the code.

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Heap data changes hands through a channel of indices, over one handle and over two.
func TestHandOver(t *testing.T) {
	for _, c := range []int{0, 1, 3, 64} {
		for kind, opts := range kinds {
			a := openTest[int32](t, append(opts, WithCapacity(c))...)
			receivers := []*Chan[int32]{a}
			if kind == "many" {
				receivers = append(receivers, again(t, a))
			}
			heap := make([]int, 500)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range heap {
					heap[i] = i + 1 // not atomic: ours until it is sent
					assert.NoError(t, a.Send(int32(i)))
				}
				assert.NoError(t, a.Close())
			})
			for _, r := range receivers {
				wg.Go(func() {
					for i := range r.All() {
						assert.Equal(t, int(i)+1, heap[i])
						heap[i] = -1
					}
				})
			}
			wg.Wait()
			for _, v := range heap { // after the close that they all have seen
				require.Equal(t, -1, v)
			}
		}
	}
}

// A slot that comes free is an order too: a channel as a semaphore.
func TestSemaphore(t *testing.T) {
	ch := openTest[struct{}](t, WithCapacity(1))
	shared := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				assert.NoError(t, ch.Send(struct{}{}))
				shared++
				_, err := ch.Recv()
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 800, shared)
}

// What the detector must see: run in a child, for a report fails the test.
func TestDetectorIsNotBlind(t *testing.T) {
	if !raceEnabled {
		t.Skip("needs the race detector")
	}
	for _, what := range []string{"TestRaceUnordered", "TestRaceSingleRole"} {
		cmd := exec.Command(os.Args[0], "-test.run=^"+what+"$", "-test.v")
		cmd.Env = append(os.Environ(), "SHMCHAN_TEST_RACE=1")
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s: %s", what, out)
		require.True(t, strings.Contains(string(out), "DATA RACE"), "%s: %s", what, out)
	}
}

// A write after the Send is ordered by nothing.
func TestRaceUnordered(t *testing.T) {
	if os.Getenv("SHMCHAN_TEST_RACE") == "" {
		t.Skip("races on purpose: run by TestDetectorIsNotBlind")
	}
	ch := openTest[int32](t, WithCapacity(4))
	shared := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.NoError(t, ch.Send(1))
		shared = 1
	})
	_, err := ch.Recv()
	require.NoError(t, err)
	shared = 2
	wg.Wait()
	t.Log(shared)
}

// A second goroutine on a single role.
func TestRaceSingleRole(t *testing.T) {
	if os.Getenv("SHMCHAN_TEST_RACE") == "" {
		t.Skip("races on purpose: run by TestDetectorIsNotBlind")
	}
	ch := openTest[int32](t, WithSingleSender())
	flag := &ch.Sender.h.ctl.poster // shared memory, which the detector does not see: no order for it
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = ch.SendFunc(t.Context(), func(*int32) error {
			for flag.Store(1); flag.Load() != 2; {
				runtime.Gosched()
			}
			return nil
		})
	})
	wg.Go(func() {
		for flag.Load() != 1 {
			runtime.Gosched()
		}
		_ = ch.Send(1)
		flag.Store(2)
	})
	wg.Wait()
}
