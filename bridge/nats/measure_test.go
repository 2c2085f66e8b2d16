package nats

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

var measure = flag.Int("measure", 0, "how many values TestMeasure sends for each figure; 0: it is skipped")

// TestMeasure is the bridge beside nats.go at the same settings: a file store, messages with an id, 256 on their way, each acknowledged.
func TestMeasure(t *testing.T) {
	if *measure == 0 {
		t.Skip("it measures: give -measure 100000")
	}
	t.Run("8", measureSize[[8]byte])
	t.Run("64", measureSize[[64]byte])
	t.Run("1024", measureSize[[1024]byte])
}

func measureSize[T any](t *testing.T) {
	for range 3 {
		plain, plainLatency := natsAlone[T](t)
		ours, oursLatency := natsBridge[T](t)
		t.Logf("nats.go %.0f values a second, %v one at a time; bridge %.0f, %v: %.2f", plain, plainLatency, ours, oursLatency, ours/plain)
	}
}

const singles = 500

func natsBridge[T any](t *testing.T) (float64, time.Duration) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	far, err := nats.Connect(nc.ConnectedUrl())
	require.NoError(t, err)
	defer far.Close()
	out, err := shmchan.OpenSender[T]("m", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[T]("m", shmchan.WithDir(there))
	require.NoError(t, err)
	sent, got := sendFrom(ctx, t, nc, "m", here, Config{}), recvInto(ctx, far, "m", there, Config{})
	var v T
	require.NoError(t, out.Send(v))
	_, err = in.Recv()
	require.NoError(t, err)
	began := time.Now()
	go func() {
		for range *measure {
			_ = out.Send(v)
		}
	}()
	for range *measure {
		_, err := in.Recv()
		require.NoError(t, err)
	}
	took := time.Since(began)
	var each []time.Duration
	for range singles {
		began := time.Now()
		require.NoError(t, out.Send(v))
		_, err := in.Recv()
		require.NoError(t, err)
		each = append(each, time.Since(began))
	}
	require.NoError(t, out.Close())
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, errors.Join((<-sent).err, (<-got).err, out.Detach(), in.Detach()))
	return float64(*measure) / took.Seconds(), median(each)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(time.Microsecond)
}

func natsAlone[T any](t *testing.T) (float64, time.Duration) {
	nc, ctx := serverFor(t), context.Background()
	far, err := nats.Connect(nc.ConnectedUrl())
	require.NoError(t, err)
	defer far.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	require.NoError(t, err)
	jsFar, err := jetstream.New(far)
	require.NoError(t, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "M", Subjects: []string{"m"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxMsgs: 1 << 20, Storage: jetstream.FileStorage,
	})
	require.NoError(t, err)
	cons, err := jsFar.CreateConsumer(ctx, "M", jetstream.ConsumerConfig{Durable: "m", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 256})
	require.NoError(t, err)
	it, err := cons.Messages(jetstream.PullMaxMessages(256))
	require.NoError(t, err)
	defer it.Stop()
	var v T
	data := make([]byte, unsafe.Sizeof(v))
	next := func() {
		m, err := it.Next()
		require.NoError(t, err)
		require.NoError(t, m.Ack())
	}
	n := 0
	send := func() {
		n++
		_, err := js.PublishAsync("m", data, jetstream.WithMsgID(fmt.Sprintf("0123456789abcdef012345.%d", n)))
		if err != nil {
			panic(err)
		}
	}
	send()
	next()
	began := time.Now()
	go func() {
		for range *measure {
			send()
		}
	}()
	for range *measure {
		next()
	}
	took := time.Since(began)
	var each []time.Duration
	for range singles {
		began := time.Now()
		send()
		next()
		each = append(each, time.Since(began))
	}
	<-js.PublishAsyncComplete()
	return float64(*measure) / took.Seconds(), median(each)
}
