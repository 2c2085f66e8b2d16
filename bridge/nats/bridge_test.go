package nats

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

type tick struct {
	Seq uint64
	Pad [7]uint64
}

// patience is when something is held not to happen. It takes milliseconds, and some seconds on a machine that has much to do.
const patience = 5 * time.Minute

func init() { connectTimeout = patience }

// connectTo connects, and has nothing happen because an answer is late.
func connectTo(t *testing.T, url string, more ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(more, nats.Timeout(patience))...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func serverFor(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := Serve("127.0.0.1:0", t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return connectTo(t, s.ClientURL())
}

type result struct {
	Counts
	err error
}

func sendFrom(ctx context.Context, t *testing.T, nc *nats.Conn, name, dir string, c Config) chan result {
	t.Helper()
	from, err := shmchan.OpenRawReceiver(name, shmchan.WithDir(dir), shmchan.WithHold())
	require.NoError(t, err)
	done := make(chan result, 1)
	go func() {
		n, err := Send(ctx, nc, from, c)
		done <- result{n, errors.Join(err, from.Detach())}
	}()
	return done
}

func recvInto(ctx context.Context, nc *nats.Conn, name, dir string, c Config) chan result {
	done := make(chan result, 1)
	go func() {
		n, err := Recv(ctx, nc, name, c, shmchan.WithDir(dir))
		done <- result{n, err}
	}()
	return done
}

// allInOrder receives n values, numbered from 0, and then that the channel is closed.
func allInOrder(t *testing.T, in *shmchan.Receiver[tick], n uint64) {
	t.Helper()
	for i := range n {
		v, err := in.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v.Seq)
	}
	_, err := in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
}

func TestValuesAndTheCloseArriveInOrder(t *testing.T) {
	for _, core := range []bool{false, true} {
		nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
		c := Config{Core: core, Limit: 100, Window: 32, Timeout: patience} // Fewer than values: it fills. What is not answered in time would be sent, and counted, anew.
		n := uint64(5000)
		if core {
			n = 500
		}
		out, err := shmchan.OpenSender[tick]("ticks", shmchan.WithDir(here), shmchan.WithSingleReceiver())
		require.NoError(t, err)
		in, err := shmchan.OpenReceiver[tick]("ticks", shmchan.WithDir(there))
		require.NoError(t, err)
		sent, got := sendFrom(ctx, t, nc, "ticks", here, c), recvInto(ctx, nc, "ticks", there, c)
		if core { // At most once: first somebody has to listen.
			require.Eventually(t, func() bool { return in.Stats().Senders > 0 }, patience, time.Millisecond)
		}
		go func() {
			for i := range n {
				if out.Send(tick{Seq: i}) != nil {
					return
				}
			}
			_ = out.Close()
		}()
		allInOrder(t, in, n)
		for _, r := range []result{<-sent, <-got} {
			require.NoError(t, r.err)
			require.Equal(t, n, r.Values)
		}
		require.NoError(t, errors.Join(out.Detach(), in.Detach()))
	}
}

func TestMessagesOfBytes(t *testing.T) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	ch, err := shmchan.OpenBytes("lines", shmchan.WithDir(here), shmchan.WithMaxMessage(100_000))
	require.NoError(t, err)
	long := make([]byte, 100_000)
	for _, m := range [][]byte{[]byte("a"), {}, long} {
		require.NoError(t, ch.Send(m))
	}
	require.NoError(t, ch.Close())
	sent, got := sendFrom(ctx, t, nc, "lines", here, Config{}), recvInto(ctx, nc, "lines", there, Config{})
	require.NoError(t, (<-sent).err)
	require.NoError(t, ch.Detach())
	far, err := shmchan.OpenBytesReceiver("lines", shmchan.WithDir(there), shmchan.WithMaxMessage(100_000))
	require.NoError(t, err)
	for _, m := range [][]byte{[]byte("a"), {}, long} {
		b, err := far.Recv([]byte{})
		require.NoError(t, err)
		require.Equal(t, m, b)
	}
	_, err = far.Recv(nil)
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, (<-got).err)
	require.NoError(t, far.Detach())
}

func TestAnotherLayoutIsAMismatchWithTheField(t *testing.T) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	out, err := shmchan.OpenSender[struct{ A, B int64 }]("x", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[struct {
		A int64
		B float64
	}]("x", shmchan.WithDir(there))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(ctx)
	sent := sendFrom(ctx, t, nc, "x", here, Config{})
	r := <-recvInto(ctx, nc, "x", there, Config{})
	require.ErrorIs(t, r.err, shmchan.ErrMismatch)
	var m *shmchan.MismatchError
	require.ErrorAs(t, r.err, &m)
	require.Equal(t, "B", m.What)
	require.ErrorIs(t, (<-sendFrom(ctx, t, nc, "x", there, Config{})).err, shmchan.ErrMismatch)
	cancel()
	require.ErrorIs(t, (<-sent).err, context.Canceled)
	require.NoError(t, errors.Join(out.Detach(), in.Detach()))
}

// With nobody at the far end the stream fills, then the channel, and then Send waits.
func TestBackPressure(t *testing.T) {
	nc, here := serverFor(t), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	out, err := shmchan.OpenSender[tick]("full", shmchan.WithDir(here), shmchan.WithCapacity(8))
	require.NoError(t, err)
	sent := sendFrom(ctx, t, nc, "full", here, Config{Limit: 20, Timeout: patience}) // What is answered late is sent anew, and known then.
	n := 0
	require.Eventually(t, func() bool {
		for out.TrySend(tick{Seq: uint64(n)}) == nil {
			n++
		}
		return n == 28
	}, patience, time.Millisecond)
	require.ErrorIs(t, out.TrySend(tick{}), shmchan.ErrFull)
	cancel()
	r := <-sent
	require.EqualValues(t, 20, r.Values)
	require.NotZero(t, r.Full)
	require.Equal(t, 8, out.Len(), "what was not acknowledged is in the channel again")
	// Another bridge goes on, and it all arrives.
	there := t.TempDir()
	sent, got := sendFrom(context.Background(), t, nc, "full", here, Config{Limit: 20}), recvInto(context.Background(), nc, "full", there, Config{})
	in, err := shmchan.OpenReceiver[tick]("full", shmchan.WithDir(there))
	require.NoError(t, err)
	require.NoError(t, out.Close())
	for i := range uint64(n) {
		v, err := in.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v.Seq)
	}
	require.NoError(t, errors.Join((<-sent).err, (<-got).err, in.Detach(), out.Detach()))
}
