package nats

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// longestPull is such that the stream has to say once in 30 seconds that it is there, which is as seldom as it may.
const longestPull = 150 * time.Second

// delivered is a message as a consumer gives it.
type delivered struct {
	jetstream.Msg // nil: what is not here is not called
	reply         string
	data          []byte
	acked         *[]string
}

func (d delivered) Reply() string        { return d.reply }
func (d delivered) Data() []byte         { return d.data }
func (d delivered) Headers() nats.Header { return nil }
func (d delivered) Ack() error           { *d.acked = append(*d.acked, string(d.data)); return nil }

// What comes again is acknowledged and not passed on; what comes out of order is neither, and nothing is acknowledged that is not in the channel.
func TestWhatTheReceivingEndPassesOn(t *testing.T) {
	ch, err := shmchan.OpenBytes("x", shmchan.WithDir(t.TempDir()), shmchan.WithMaxMessage(8), shmchan.WithCapacity(3))
	require.NoError(t, err)
	r := &receiver{Config: Config{}.filled("x"), to: ch.BytesSender.Raw()}
	var acked []string
	pass := func(reply, data string, shall uint64) error {
		_, err := r.pass(context.Background(), delivered{reply: reply, data: []byte(data), acked: &acked}, shall)
		return err
	}
	require.NoError(t, pass("$JS.ACK.S.c.1.7.1.1700000000.0", "a", 1))            // As servers have it before 2.10,
	require.NoError(t, pass("$JS.ACK._.hash.S.c.1.8.2.1700000000.0", "b", 2))     // and since,
	require.NoError(t, pass("$JS.ACK._.hash.S.c.2.7.3.1700000000.0.xyz", "a", 3)) // with more.
	require.NoError(t, pass("$JS.ACK._.hash.S.c.2.8.4.1700000000.0.xyz", "b", 4))
	require.ErrorContains(t, pass("$JS.ACK._.hash.S.c.1.10.6.1700000000.0.xyz", "d", 5), "delivery 6 came in place of 5")
	for _, bad := range []string{"", "$JS.ACK", "$JS.ACK.S.c.1.x.5.1700000000.0", "$JS.ACK.S.c.1.9.x.1700000000.0"} {
		require.ErrorContains(t, pass(bad, "c", 5), "none that is known")
	}
	require.Equal(t, []string{"a", "b", "a", "b"}, acked)
	require.Equal(t, 2, ch.Len())
	require.Equal(t, Counts{Values: 2, Known: 2}, r.counts)
	require.NoError(t, ch.Close())
	var failed *sendError
	require.ErrorAs(t, pass("$JS.ACK._.hash.S.c.1.9.5.1700000000.0.xyz", "c", 5), &failed)
	require.ErrorIs(t, failed.err, shmchan.ErrClosed)
	require.Len(t, acked, 4, "what the channel did not take is not acknowledged")
	for _, want := range []string{"a", "b"} {
		b, err := ch.Recv(nil)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	require.NoError(t, ch.Detach())
}

func TestWhatMayLieReady(t *testing.T) {
	for size, want := range map[int]int{1: 256, 16 << 10: 256, 1 << 20: 16, 32 << 20: 1} {
		ch, err := shmchan.OpenBytes("x", shmchan.WithDir(t.TempDir()), shmchan.WithMaxMessage(size), shmchan.WithCapacity(1))
		require.NoError(t, err)
		require.Equal(t, want, (&receiver{Config: Config{}.filled("x"), to: ch.BytesSender.Raw()}).pull(), "%d", size)
		require.NoError(t, ch.Detach())
	}
}

// A receiving end that comes takes over, and the one before ends and says why.
func TestAnotherReceivingEndTakesOver(t *testing.T) {
	nc, here, ctx := serverFor(t), t.TempDir(), context.Background()
	out, err := shmchan.OpenSender[tick]("x", shmchan.WithDir(here))
	require.NoError(t, err)
	sent := sendFrom(ctx, t, nc, "x", here, Config{})
	far := [2]string{t.TempDir(), t.TempDir()}
	var in [2]*shmchan.Receiver[tick]
	var ends [2]chan result
	c := Config{Timeout: patience}
	for i := range far {
		in[i], err = shmchan.OpenReceiver[tick]("x", shmchan.WithDir(far[i]))
		require.NoError(t, err)
		ends[i] = recvInto(ctx, nc, "x", far[i], c)
		if i == 1 {
			require.ErrorIs(t, (<-ends[0]).err, ErrTaken)
		}
		require.NoError(t, out.Send(tick{Seq: uint64(i)}))
		v, err := in[i].Recv()
		require.NoError(t, err)
		require.EqualValues(t, i, v.Seq)
		require.Eventually(t, func() bool { return stored(t, nc, c, "x").State.Msgs == 0 }, patience, time.Millisecond, "it is acknowledged, or would come again")
	}
	require.NoError(t, out.Close())
	_, err = in[1].Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, errors.Join((<-sent).err, (<-ends[1]).err, out.Detach(), in[0].Detach(), in[1].Detach()))
}

// What was delivered into a connection that broke comes again when that is made anew, and not only when its time to be acknowledged is over.
func TestWhatABrokenConnectionSwallows(t *testing.T) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	v := newValve(t, nc)
	far := connectTo(t, "nats://"+v.addr, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	c := Config{ackWait: time.Hour, pullFor: longestPull} // Nor does it begin anew because it hears nothing.
	out, err := shmchan.OpenSender[tick]("x", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[tick]("x", shmchan.WithDir(there))
	require.NoError(t, err)
	sent, got := sendFrom(ctx, t, nc, "x", here, c), recvInto(ctx, far, "x", there, c)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	receive := func(want uint64) {
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		value, err := in.RecvContext(wait)
		require.NoError(t, err)
		require.Equal(t, want, value.Seq)
	}
	require.NoError(t, out.Send(tick{}))
	receive(0)
	v.deaf.Store(true)
	for i := range uint64(5) {
		require.NoError(t, out.Send(tick{Seq: 1 + i}))
	}
	require.Eventually(t, func() bool {
		cons, err := js.Consumer(ctx, c.filled("x").stream(), consumerName)
		return err == nil && cons.CachedInfo().NumAckPending == 5
	}, patience, time.Millisecond)
	v.deaf.Store(false)
	v.cut()
	for i := range uint64(5) {
		receive(1 + i)
	}
	require.NoError(t, out.Close())
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	end := <-got
	require.NoError(t, errors.Join((<-sent).err, end.err, out.Detach(), in.Detach()))
	require.NotZero(t, end.Resumed)
}

// RecvInto refuses a channel of another layout.
func TestRecvIntoAnotherLayout(t *testing.T) {
	nc, here, ctx := serverFor(t), t.TempDir(), context.Background()
	out, err := shmchan.OpenSender[tick]("x", shmchan.WithDir(here))
	require.NoError(t, err)
	sent := sendFrom(ctx, t, nc, "x", here, Config{})
	other, err := shmchan.Open[struct{ Seq int64 }]("x", shmchan.WithDir(t.TempDir()))
	require.NoError(t, err)
	_, err = RecvInto(ctx, nc, other.Sender.Raw(), Config{})
	var m *shmchan.MismatchError
	require.ErrorAs(t, err, &m)
	require.NoError(t, out.Close())
	require.NoError(t, errors.Join((<-sent).err, out.Detach(), other.Detach()))
}
