package shmchan

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func openBytes(t *testing.T, opts ...Option) *Bytes {
	t.Helper()
	b, err := OpenBytes("test", append([]Option{WithDir(memDir(t))}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Detach() })
	return b
}

func fillBytes(n int, seed int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + seed)
	}
	return p
}

func TestBytesQuick(t *testing.T) {
	for _, max := range []int{1, 100, 4096, 4097, 1 << 20} {
		b := openBytes(t, WithMaxMessage(max), WithCapacity(4))
		for i := range 3000 {
			n := (i * 7919) % (max + 1)
			p := fillBytes(n, i)
			require.NoError(t, b.Send(p))
			q, err := b.Recv([]byte("x"))
			require.NoError(t, err)
			require.Equal(t, "x"+string(p), string(q))
			if max > 1<<16 && i > 200 {
				break
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		require.ErrorIs(t, b.SendContext(ctx, make([]byte, max+1)), ErrTooLarge)
		cancel()
		require.NoError(t, b.Detach())
	}
}
