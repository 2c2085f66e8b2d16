//go:build !race

package shmcapnp

// What holds only without the race detector, which drops what a pool has, and reports bytes that others write.

import (
	"math/rand/v2"
	"testing"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/capnp/internal/market"
	"github.com/stretchr/testify/require"
)

func TestNoAllocations(t *testing.T) {
	for _, most := range []int{4096, 1 << 16} {
		c := openBytes(t, shmchan.WithMaxMessage(most))
		build := quote("AAPL", 3)
		use := func(m *capnp.Message) error {
			_, err := market.ReadRootQuote(m)
			return err
		}
		ctx := t.Context()
		both := func() {
			if SendFunc(ctx, c.BytesSender, 2048, build) != nil || RecvFunc(ctx, c.BytesReceiver, use) != nil {
				panic("failed")
			}
		}
		both()
		require.Zero(t, testing.AllocsPerRun(1000, both))
	}
}

// A peer that writes over a message while it is read in place: what is read may be nonsense, and is within the message and its limits.
func TestScribbler(t *testing.T) {
	c := openBytes(t)
	_, good := message(t, "AAPL", 20)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var mine []byte // the memory that is written over
	r := readers.Get().(*reader)
	require.NoError(t, c.Send(good))
	read, failed := 0, 0
	require.NoError(t, c.RecvFunc(t.Context(), func(b []byte) error {
		mine = b
		go func() {
			defer close(stopped)
			random := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range 3 {
					mine[random.IntN(len(mine))] = byte(random.Uint32())
				}
				copy(mine[8*random.IntN(len(mine)/8):], good[8*random.IntN(len(good)/8):][:8])
				if random.IntN(4) == 0 {
					copy(mine, good)
				}
			}
		}()
		for n := 0; n < 200_000 || read == 0 || failed == 0; n++ { // Until who writes has had his turn.
			r.use = func(m *capnp.Message) error {
				m.ResetReadLimit(1 << 16)
				if err := walk(m); err != nil {
					failed++
				} else {
					read++
				}
				return nil
			}
			if err := r.run(b); err != nil {
				return err
			}
		}
		close(stop)
		<-stopped
		return nil
	}))
	t.Logf("%d reads of nonsense succeeded, %d failed", read, failed)
	require.NotZero(t, read)
	require.NotZero(t, failed)
}
