package nats

// Ends that stop in the worst moment, with values of which nobody told them that they are stored; and a far channel from which nobody takes.

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// valve is a way to a server that can let through what goes to it and nothing of what it says.
type valve struct {
	addr string
	deaf atomic.Bool
	mu   sync.Mutex // guards ways
	ways []net.Conn
}

func newValve(t *testing.T, nc *nats.Conn) *valve {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	v := &valve{addr: l.Addr().String()}
	to := strings.TrimPrefix(nc.ConnectedUrl(), "nats://")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			v.mu.Lock()
			v.ways = append(v.ways, c, s)
			v.mu.Unlock()
			go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
			go func() { _, _ = io.Copy(answers{v, c}, s); _ = c.Close() }()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		v.cut()
	})
	return v
}

// cut cuts all connections.
func (v *valve) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.ways {
		_ = c.Close()
	}
	v.ways = nil
}

type answers struct {
	*valve
	to io.Writer
}

func (a answers) Write(b []byte) (int, error) {
	if a.deaf.Load() {
		return len(b), nil
	}
	return a.to.Write(b)
}

func stored(t *testing.T, nc *nats.Conn, c Config, channel string) *jetstream.StreamInfo {
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := js.Stream(ctx, c.filled(channel).stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &jetstream.StreamInfo{}
	}
	require.NoError(t, err)
	return s.CachedInfo()
}

// forgotten says whether the stream does not know its last message again: one with the same id is no duplicate then. It is not stored
// either, for it says that it follows another than it does.
func forgotten(t *testing.T, nc *nats.Conn, c Config, channel string) bool {
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c = c.filled(channel)
	s, err := js.Stream(ctx, c.stream())
	require.NoError(t, err)
	last, err := s.GetMsg(ctx, s.CachedInfo().State.LastSeq)
	require.NoError(t, err)
	answer, err := nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: c.subject(), Header: nats.Header{headerID: {last.Header.Get(headerID)}, "Nats-Expected-Last-Msg-Id": {"none"}},
	})
	require.NoError(t, err)
	return !strings.Contains(string(answer.Data), `"duplicate"`)
}

// A sending end ends, or is killed, while the stream has a window of values that it does not know to be stored. The next one
// sends them again, and the stream knows them: none is doubled. But a stream that has forgotten them, for its window of time is over, has each of them twice.
func TestNoDoublesWithinTheWindow(t *testing.T) {
	const window, first, more = 64, 10, 20
	for how, c := range map[string]Config{
		"it ends":                        {Window: window, Timeout: patience},
		"it is killed":                   {Window: window, Timeout: patience},
		"it is killed, and comes later":  {Window: window, Timeout: patience, Duplicates: 200 * time.Millisecond},
		"it goes on when it is answered": {Window: window, Timeout: time.Second},
	} {
		t.Run(how, func(t *testing.T) {
			nc, here, there := serverFor(t), t.TempDir(), t.TempDir()
			v := newValve(t, nc)
			out, err := shmchan.OpenSender[tick]("chaos", shmchan.WithDir(here))
			require.NoError(t, err)
			n := uint64(0)
			send := func(values int) {
				for range values {
					require.NoError(t, out.Send(tick{Seq: n}))
					n++
				}
			}
			var anew atomic.Bool // it has found out that it is not answered
			c.Report = func(event string) { anew.Store(anew.Load() || strings.HasPrefix(event, "send: begins anew")) }
			var stop func() chan result // ends the first end, and gives the one that goes on
			ctx := context.Background()
			if how == "it is killed" || how == "it is killed, and comes later" {
				m := &member{t: t, role: "send", dir: here, url: v.addr, duplicates: c.Duplicates, patient: true}
				m.start()
				stop = func() chan result { m.kill(); return nil }
			} else {
				deaf := connectTo(t, "nats://"+v.addr, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				sent := sendFrom(ctx, t, deaf, "chaos", here, c)
				stop = func() chan result {
					if how == "it goes on when it is answered" {
						v.deaf.Store(false)
						v.cut()
						return sent
					}
					cancel()
					require.ErrorIs(t, (<-sent).err, context.Canceled)
					return nil
				}
			}
			send(first)
			require.Eventually(t, func() bool { return out.Len() == 0 }, patience, time.Millisecond)
			v.deaf.Store(true)
			send(window)
			all := false // One that finds out too soon publishes no more.
			require.Eventually(t, func() bool {
				all = stored(t, nc, c, "chaos").State.Msgs == first+window
				return all || anew.Load()
			}, patience, time.Millisecond)
			require.Equal(t, window, out.Len(), "nobody knows that they are stored")
			sent := stop()
			if c.Duplicates > 0 {
				require.Eventually(t, func() bool { return forgotten(t, nc, c, "chaos") }, patience, time.Millisecond)
			}
			send(more)
			require.NoError(t, out.Close())
			another := sent == nil
			if another {
				sent = sendFrom(ctx, t, nc, "chaos", here, c)
			}
			in, err := shmchan.OpenReceiver[tick]("chaos", shmchan.WithDir(there))
			require.NoError(t, err)
			got := recvInto(ctx, nc, "chaos", there, c)
			seen, next := map[uint64]int{}, uint64(0)
			for value := range in.All() {
				if seen[value.Seq]++; seen[value.Seq] == 1 {
					require.Equal(t, next, value.Seq, "in order")
					next++
				}
			}
			require.NoError(t, in.Err())
			require.Equal(t, n, next, "all of them")
			twice := 0
			for _, times := range seen {
				require.LessOrEqual(t, times, 2)
				twice += times - 1
			}
			end := <-sent
			require.NoError(t, errors.Join(end.err, (<-got).err))
			if another {
				require.Zero(t, end.Resumed, "it has found out how far the stream is without being refused")
			}
			switch {
			case !another:
				require.Zero(t, twice)
				require.Equal(t, n, end.Values+end.Known)
				require.True(t, !all || end.Known >= window, "%+v", end)
			case c.Duplicates == 0:
				require.Zero(t, twice)
				require.EqualValues(t, window, end.Known)
			default:
				require.Equal(t, window, twice)
				require.Zero(t, end.Known)
			}
			require.NoError(t, errors.Join(out.Detach(), in.Detach()))
		})
	}
}

// A value that waits for room in the far channel for longer than the stream waits for its acknowledgement is delivered again, and passed on once.
func TestNobodyTakesForLong(t *testing.T) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	c := Config{Window: 8, Limit: 20, ackWait: 50 * time.Millisecond, pullFor: longestPull, Timeout: patience} // It does not begin anew by itself.
	out, err := shmchan.OpenSender[tick]("slow", shmchan.WithDir(here), shmchan.WithCapacity(8))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[tick]("slow", shmchan.WithDir(there), shmchan.WithCapacity(4))
	require.NoError(t, err)
	sent, got := sendFrom(ctx, t, nc, "slow", here, c), recvInto(ctx, nc, "slow", there, c)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	n := uint64(0)
	for range 6 { // Two more than there is room for.
		require.NoError(t, out.Send(tick{Seq: n}))
		n++
	}
	require.Eventually(t, func() bool {
		cons, err := js.Consumer(ctx, c.filled("slow").stream(), consumerName)
		return err == nil && cons.CachedInfo().NumRedelivered == 2
	}, patience, time.Millisecond, "the two come again")
	// All fills: the far channel, the stream, this channel.
	require.Eventually(t, func() bool {
		for out.TrySend(tick{Seq: n}) == nil {
			n++
		}
		return n == 4+20+8
	}, patience, time.Millisecond)
	require.Equal(t, 4, in.Len())
	require.EqualValues(t, 20, stored(t, nc, c, "slow").State.Msgs)
	require.ErrorIs(t, out.TrySend(tick{}), shmchan.ErrFull)
	require.NoError(t, out.Close())
	allInOrder(t, in, n)
	a, b := <-sent, <-got
	require.NoError(t, errors.Join(a.err, b.err, out.Detach(), in.Detach()))
	require.Equal(t, n, b.Values)
	require.NotZero(t, b.Known, "what came again was only acknowledged")
	require.NotZero(t, a.Full)
}

// A message that the server does not take is said, and stays in the channel.
func TestAMessageThatIsTooLongForTheServer(t *testing.T) {
	nc, here := serverFor(t), t.TempDir()
	size := int(nc.MaxPayload())
	ch, err := shmchan.OpenBytes("long", shmchan.WithDir(here), shmchan.WithMaxMessage(size), shmchan.WithCapacity(2))
	require.NoError(t, err)
	require.NoError(t, ch.Send(make([]byte, size)))
	r := <-sendFrom(context.Background(), t, nc, "long", here, Config{})
	require.ErrorIs(t, r.err, nats.ErrMaxPayload)
	require.ErrorContains(t, r.err, `channel "long"`)
	require.ErrorContains(t, r.err, "set max_payload")
	require.Equal(t, 1, ch.Len())
	require.NoError(t, ch.Detach())
}
