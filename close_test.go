package shmchan

// Close against Send: whatever Close meets, each Send that returned nil is received,
// each that did not is not, and everybody ends.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCloseAgainstSend(t *testing.T) {
	noBackstop(t)
	rnd := testRand(t)
	for kind, opts := range kinds {
		for _, c := range []int{0, 1, 2, 5} {
			t.Run(fmt.Sprintf("%d %s", c, kind), func(t *testing.T) {
				for began := time.Now(); time.Since(began) < 150*time.Millisecond; {
					a := openTest[int64](t, append(opts, WithCapacity(c), withStart(1<<posBits-20))...)
					b := a
					senders, receivers := 1, 1
					if kind == "many" {
						b, senders, receivers = again(t, a), 3, 2
					}
					var sent, got [3]atomic.Int64 // count of each sender
					var wg sync.WaitGroup
					for i := range senders {
						h := []*Chan[int64]{a, b}[i%2]
						wg.Go(func() {
							for {
								var err error
								switch sent[i].Load() % 3 {
								case 0:
									err = h.Send(int64(i))
								case 1:
									err = h.SendFunc(context.Background(), func(v *int64) error { *v = int64(i); return nil })
								default:
									_, err = h.SendBatch(context.Background(), []int64{int64(i)})
								}
								if err != nil {
									assert.ErrorIs(t, err, ErrClosed)
									return
								}
								sent[i].Add(1)
							}
						})
					}
					bad := errors.New("bad")
					for k := range receivers {
						h := []*Chan[int64]{a, b}[k%2]
						wg.Go(func() {
							for n := 0; ; n++ {
								err := h.RecvFunc(context.Background(), func(v *int64) error {
									if n%3 == 0 {
										return bad // given back, also after the close
									}
									got[*v].Add(1)
									return nil
								})
								if errors.Is(err, ErrClosed) {
									return
								}
							}
						})
					}
					for range rnd.IntN(3000) {
						pause()
					}
					require.NoError(t, b.Close())
					wg.Wait()
					for i := range senders {
						require.Equal(t, sent[i].Load(), got[i].Load(), "sender %d", i)
					}
					require.Zero(t, a.Len())
					require.NoError(t, a.Detach())
					if b != a {
						require.NoError(t, b.Detach())
					}
				}
			})
		}
	}
}

// A cancel against a delivery: the Send was received, or it says that it was not sent.
func TestCancelAgainstDelivery(t *testing.T) {
	noBackstop(t)
	rnd := testRand(t)
	for _, c := range []int{0, 1} {
		a := openTest[int64](t, WithCapacity(c))
		b := again(t, a)
		var got, sent int64
		for i := range int64(3000) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- a.SendContext(ctx, i) }()
			before, after := rnd.IntN(300), rnd.IntN(300)
			go func() {
				for range before {
					pause()
				}
				cancel()
			}()
			for range after {
				pause()
			}
			if v, err := b.TryRecv(); err == nil {
				got++
				require.Equal(t, i, v)
			}
			if err := <-done; err == nil {
				sent++
			} else {
				require.ErrorIs(t, err, context.Canceled)
			}
			for v, err := b.TryRecv(); err == nil; v, err = b.TryRecv() {
				got++
				require.Equal(t, i, v)
			}
			require.Equal(t, sent, got, "round %d", i)
		}
		t.Logf("capacity %d: %d of 3000 delivered", c, got)
	}
}
