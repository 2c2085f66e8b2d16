package nats

// The bridge beside nats.go, and beside the bench of the program nats, at the same settings.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

var (
	measure   = flag.Int("measure", 0, "how many values TestMeasure sends for each figure; 0: it is skipped")
	pairs     = flag.Int("pairs", 7, "how often TestMeasure measures each, in turn")
	natsBench = flag.String("natsbench", "", "the program nats, whose bench TestMeasure has beside the bridge, each part a process")
	waiting   = flag.String("waiting", "adaptive", "how the handles of TestMeasure's programs wait: adaptive, spin or park")
)

// TestMeasure is the bridge beside nats.go at the same settings: a file store, messages with an id, 256 on their way, each acknowledged.
func TestMeasure(t *testing.T) {
	if *measure == 0 {
		t.Skip("it measures: give -measure 60000")
	}
	t.Run("8", measureSize[[8]byte])
	t.Run("64", measureSize[[64]byte])
	t.Run("1024", measureSize[[1024]byte])
}

// figures are values a second, the CPU time of this process for each, with the server that it runs, and what one takes with nothing else on its way.
type figures struct {
	rate float64
	cpu  time.Duration
	one  time.Duration
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // It cannot fail.
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measureSize[T any](t *testing.T) {
	kinds := []struct {
		name string
		run  func(t *testing.T) figures
	}{{"nats.go", natsAlone[T]}, {"bridge", natsBridge[T]}}
	if *natsBench != "" {
		kinds[0].name, kinds[0].run = "nats bench", benchOfNats[T]
		kinds[1].name, kinds[1].run = "bridge of processes", bridgeOfProcesses[T]
	}
	got := [2][]figures{}
	for i := range *pairs {
		for k := range kinds { // Each is the first of its pair in turn.
			k = (k + i) % 2
			got[k] = append(got[k], kinds[k].run(t))
		}
	}
	var ratios []float64
	for i := range got[0] {
		ratios = append(ratios, got[1][i].rate/got[0][i].rate)
	}
	for k := range kinds {
		rates, cpus, ones := []float64{}, []time.Duration{}, []time.Duration{}
		for _, f := range got[k] {
			rates, cpus, ones = append(rates, f.rate), append(cpus, f.cpu), append(ones, f.one)
		}
		slices.Sort(rates)
		slices.Sort(cpus)
		slices.Sort(ones)
		mid, last := *pairs/2, *pairs-1
		t.Logf("%-20s %6.0f values a second (%.0f to %.0f)", kinds[k].name, rates[mid], rates[0], rates[last])
		if *natsBench == "" {
			t.Logf("%-20s %v of CPU for each (%v to %v)", "", cpus[mid], cpus[0], cpus[last])
		}
		if ones[mid] > 0 {
			t.Logf("%-20s one at a time %v (%v to %v)", "", ones[mid], ones[0], ones[last])
		}
	}
	slices.Sort(ratios)
	t.Logf("bridge / nats %.2f (%.2f)", ratios[len(ratios)/2], ratios)
}

const singles = 500

func handleOptions(dir string) []shmchan.Option {
	return []shmchan.Option{shmchan.WithDir(dir), shmchan.WithWait(map[string]shmchan.Wait{"adaptive": shmchan.Adaptive, "spin": shmchan.Spin, "park": shmchan.Park}[*waiting])}
}

func natsBridge[T any](t *testing.T) figures {
	nc, ctx := serverFor(t), context.Background()
	far, err := nats.Connect(nc.ConnectedUrl())
	require.NoError(t, err)
	defer far.Close()
	here, there := t.TempDir(), t.TempDir()
	from, err := shmchan.OpenRawReceiver("m", shmchan.WithDir(here), shmchan.WithWait(shmchan.Park), shmchan.WithHold(), shmchan.WithLayout(layoutOf[T](t)))
	require.NoError(t, err)
	ends := make(chan error, 2)
	go func() {
		_, err := Send(ctx, nc, from, Config{})
		ends <- errors.Join(err, from.Detach())
	}()
	go func() {
		_, err := Recv(ctx, far, "m", Config{}, shmchan.WithDir(there))
		ends <- err
	}()
	f := through[T](t, here, there)
	require.NoError(t, errors.Join(<-ends, <-ends))
	return f
}

func layoutOf[T any](t *testing.T) (string, string) {
	ch, err := shmchan.New[T]()
	require.NoError(t, err)
	raw := ch.Raw()
	require.NoError(t, ch.Detach())
	return raw.Type(), raw.Layout().String()
}

// through sends values from the one directory's channel to the other's.
func through[T any](t *testing.T, here, there string) (f figures) {
	out, err := shmchan.OpenSender[T]("m", handleOptions(here)...)
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[T]("m", handleOptions(there)...)
	require.NoError(t, err)
	var v T
	require.NoError(t, out.Send(v))
	_, err = in.Recv()
	require.NoError(t, err)
	began, used := time.Now(), cpuTime()
	go func() {
		for range *measure {
			_ = out.Send(v)
		}
	}()
	for range *measure {
		_, err := in.Recv()
		require.NoError(t, err)
	}
	f.rate, f.cpu = float64(*measure)/time.Since(began).Seconds(), (cpuTime()-used)/time.Duration(*measure)
	var each []time.Duration
	for range singles {
		began := time.Now()
		require.NoError(t, out.Send(v))
		_, err := in.Recv()
		require.NoError(t, err)
		each = append(each, time.Since(began))
	}
	f.one = median(each)
	require.NoError(t, out.Close())
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, errors.Join(out.Detach(), in.Detach()))
	return f
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(time.Microsecond)
}

func natsAlone[T any](t *testing.T) (f figures) {
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
	var left atomic.Int64
	arrived := make(chan time.Time, 1)
	run, err := cons.Consume(func(m jetstream.Msg) {
		_ = m.Ack()
		if left.Add(-1) == 0 {
			arrived <- time.Now()
		}
	}, jetstream.PullMaxMessages(256))
	require.NoError(t, err)
	defer run.Stop()
	var v T
	data := make([]byte, unsafe.Sizeof(v))
	n := 0
	send := func(values int) time.Duration {
		left.Store(int64(values))
		began := time.Now()
		for range values {
			n++
			_, err := js.PublishAsync("m", data, jetstream.WithMsgID(fmt.Sprintf("0123456789abcdef012345.%d", n)), jetstream.WithStallWait(time.Minute))
			require.NoError(t, err)
		}
		return (<-arrived).Sub(began)
	}
	send(1)
	used := cpuTime()
	f.rate = float64(*measure) / send(*measure).Seconds()
	f.cpu = (cpuTime() - used) / time.Duration(*measure)
	var each []time.Duration
	for range singles {
		each = append(each, send(1))
	}
	<-js.PublishAsyncComplete()
	f.one = median(each)
	return f
}

// serverProcess runs a server in a process of its own.
func serverProcess(t *testing.T) (addr string) {
	addr = freeAddress(t)
	m := &member{t: t, role: "server", dir: t.TempDir(), url: addr}
	m.start()
	t.Cleanup(m.kill)
	nc, err := nats.Connect("nats://"+addr, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	require.NoError(t, err)
	defer nc.Close()
	require.Eventually(t, nc.IsConnected, time.Minute, time.Millisecond)
	return addr
}

func bridgeOfProcesses[T any](t *testing.T) figures {
	addr, here, there := serverProcess(t), t.TempDir(), t.TempDir()
	ch, err := shmchan.OpenSender[T]("m", shmchan.WithDir(here))
	require.NoError(t, err)
	for _, m := range []*member{{t: t, role: "send", dir: here, url: addr, name: "m", window: 256}, {t: t, role: "recv", dir: there, url: addr, name: "m", window: 256}} {
		m.start()
		defer func() { _ = m.cmd.Wait() }() // The close ends both.
	}
	f := through[T](t, here, there)
	require.NoError(t, ch.Detach())
	return f
}

var perSecond = regexp.MustCompile(`([0-9,]+) msgs/sec`)

// benchOfNats is the bench of the program nats: one publishes and one consumes, at the same time. The rate is that of the slower.
func benchOfNats[T any](t *testing.T) (f figures) {
	addr := serverProcess(t)
	nc, err := nats.Connect("nats://" + addr)
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	ctx := context.Background()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "benchstream", Subjects: []string{"m"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxMsgs: 1 << 20, Storage: jetstream.FileStorage,
		Duplicates: 2 * time.Minute,
	})
	require.NoError(t, err)
	_, err = js.CreateConsumer(ctx, "benchstream", jetstream.ConsumerConfig{Durable: "m", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 256})
	require.NoError(t, err)
	var v T
	n, size := strconv.Itoa(*measure), strconv.Itoa(int(unsafe.Sizeof(v)))
	run := func(args ...string) func() float64 {
		cmd := exec.Command(*natsBench, append([]string{"--server", "nats://" + addr, "bench", "js"}, append(args, "--msgs", n, "--size", size, "--no-progress", "--batch", "256")...)...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Start())
		return func() float64 {
			err := cmd.Wait()
			found := perSecond.FindStringSubmatch(out.String())
			require.NotNil(t, found, "%v: %s", err, out.String())
			rate, err := strconv.ParseFloat(strings.ReplaceAll(found[1], ",", ""), 64)
			require.NoError(t, err)
			return rate
		}
	}
	consumed := run("consume", "--consumer", "m", "--acks", "explicit")
	published := run("pub", "async", "m", "--dedup")
	f.rate = min(published(), consumed())
	return f
}
