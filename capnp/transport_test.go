package shmcapnp

// RPC over a pair: with capabilities, between processes, with peers that die, messages that are none, and limits.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/capnp/internal/market"
	"github.com/stretchr/testify/require"
)

// patience is when a test is held to hang. What it waits for takes milliseconds, and some seconds on a machine that has much to do.
const patience = 5 * time.Minute

func openPair(dir string, side shmchan.Side, opts ...shmchan.Option) (*shmchan.BytesDuplex, error) {
	return shmchan.OpenBytesDuplex("rpc", side, append([]shmchan.Option{shmchan.WithDir(dir)}, opts...)...)
}

// connect makes this process a side of a connection.
func connect(t testing.TB, dir string, side shmchan.Side, limits Limits, boot capnp.Client, opts ...shmchan.Option) *rpc.Conn {
	t.Helper()
	pair, err := openPair(dir, side, opts...)
	require.NoError(t, err)
	conn := rpc.NewConn(NewTransport(pair, limits), &rpc.Options{BootstrapClient: boot})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// both are the ends of a connection within this process, and the lab at its other side.
func both(t testing.TB, a, b Limits, opts ...shmchan.Option) (here, there *rpc.Conn, lab market.Lab) {
	t.Helper()
	dir := memDir(t)
	there = connect(t, dir, shmchan.SideB, b, capnp.Client(market.NewLab()), opts...)
	here = connect(t, dir, shmchan.SideA, a, capnp.Client{}, opts...)
	lab = market.Lab(here.Bootstrap(t.Context()))
	t.Cleanup(lab.Release)
	return here, there, lab
}

func ends(t testing.TB, conn *rpc.Conn) {
	t.Helper()
	select {
	case <-conn.Done():
	case <-time.After(patience):
		t.Fatal("the connection does not end")
	}
}

func echo(ctx context.Context, lab market.Lab, data []byte) ([]byte, error) {
	f, release := lab.Echo(ctx, func(p market.Lab_echo_Params) error { return p.SetData(data) })
	defer release()
	r, err := f.Struct()
	if err != nil {
		return nil, err
	}
	got, err := r.Data()
	return bytes.Clone(got), err
}

func init() {
	// serve is the lab, at side B, until the connection ends.
	roles["serve"] = func(args []string) error {
		pair, err := openPair(args[0], shmchan.SideB)
		if err != nil {
			return err
		}
		conn := rpc.NewConn(NewTransport(pair, Limits{}), &rpc.Options{BootstrapClient: capnp.Client(market.NewLab())})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			_ = conn.Close()
		}()
		fmt.Println("ready")
		<-conn.Done()
		return nil
	}
	// call calls the lab at side B, and has a call that is not answered when it says so.
	roles["call"] = func(args []string) error {
		pair, err := openPair(args[0], shmchan.SideA)
		if err != nil {
			return err
		}
		conn := rpc.NewConn(NewTransport(pair, Limits{}), nil)
		lab := market.Lab(conn.Bootstrap(context.Background()))
		_, release := lab.Never(context.Background(), nil)
		defer release()
		if _, err := echo(context.Background(), lab, []byte("x")); err != nil {
			return err
		}
		fmt.Println("calling")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return nil
	}
}

// listener counts what it is told.
type listener struct {
	mu    sync.Mutex
	sizes []uint32
}

func (l *listener) Filled(_ context.Context, call market.Listener_filled) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sizes = append(l.sizes, call.Args().Size())
	return nil
}

func placeOrder(ctx context.Context, lab market.Lab, size uint32, l *listener) (market.Market_place_Results_Future, capnp.ReleaseFunc) {
	return lab.Place(ctx, func(p market.Market_place_Params) error {
		o, err := p.NewOrder()
		if err != nil {
			return err
		}
		o.SetSize(size)
		o.SetSide(market.Side_sell)
		return errors.Join(o.SetSymbol("AAPL"), p.SetListener(market.Listener_ServerToClient(l)))
	})
}

// Two processes: values, capabilities in both directions, a call on a capability that is not there yet, errors, what takes many
// messages of the channel, and many calls at once.
func TestRPC(t *testing.T) {
	dir := memDir(t)
	server := start(t, "serve", dir)
	require.Equal(t, "ready", server.line())
	conn := connect(t, dir, shmchan.SideA, Limits{}, capnp.Client{})
	ctx := t.Context()
	lab := market.Lab(conn.Bootstrap(ctx))
	defer lab.Release()

	f, release := lab.Quote(ctx, func(p market.Market_quote_Params) error { return p.SetSymbol("AAPL") })
	r, err := f.Struct()
	require.NoError(t, err)
	q, err := r.Quote()
	require.NoError(t, err)
	got, err := market.Sum(q)
	require.NoError(t, err)
	m, _ := message(t, "AAPL", 3)
	want, err := sumOf(m)
	require.NoError(t, err)
	require.Equal(t, want, got)
	release()

	told := &listener{}
	placed, release := placeOrder(ctx, lab, 7, told)
	status, releaseStatus := placed.Ticket().Status(ctx, nil) // Before there is a ticket.
	s, err := status.Struct()
	require.NoError(t, err)
	require.EqualValues(t, 4, s.Filled())
	require.EqualValues(t, 3, s.Left())
	require.Equal(t, []uint32{4}, told.sizes)
	releaseStatus()
	release()

	placed, release = placeOrder(ctx, lab, 0, told)
	_, err = placed.Struct()
	require.ErrorContains(t, err, "an order of nothing")
	release()

	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, in messages of 4 KiB
	back, err := echo(ctx, lab, large)
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, back))
	h, release := lab.History(ctx, func(p market.Lab_history_Params) error {
		p.SetCount(3000)
		return p.SetSymbol("AAPL")
	})
	hr, err := h.Struct()
	require.NoError(t, err)
	quotes, err := hr.Quotes()
	require.NoError(t, err)
	require.Equal(t, 3000, quotes.Len())
	for i := range quotes.Len() {
		_, err := market.Sum(quotes.At(i))
		require.NoError(t, err)
	}
	release()

	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 50 {
				data := bytes.Repeat([]byte{byte(g), byte(i)}, 1+i*i*3)
				if got, err := echo(ctx, lab, data); err != nil || !bytes.Equal(data, got) {
					t.Errorf("echo: %v", err)
				}
			}
		})
	}
	wg.Wait()

	canceled, cancel := context.WithCancel(ctx)
	never, release := lab.Never(canceled, nil)
	_, err = echo(ctx, lab, nil)
	require.NoError(t, err)
	cancel()
	_, err = never.Struct()
	require.Error(t, err)
	release()

	require.NoError(t, conn.Close())
	server.wait()
	_, err = echo(ctx, lab, nil)
	require.True(t, capnp.IsDisconnected(err), "%v", err)
}

// A server that is killed, with calls in progress: they fail, all of them, and the next server has the same name.
func TestKilledServer(t *testing.T) {
	dir := memDir(t)
	for range 5 {
		server := start(t, "serve", dir)
		require.Equal(t, "ready", server.line())
		conn := connect(t, dir, shmchan.SideA, Limits{}, capnp.Client{})
		lab := market.Lab(conn.Bootstrap(t.Context()))
		var waits []market.Lab_never_Results_Future
		for range 3 {
			never, release := lab.Never(t.Context(), nil)
			defer release()
			waits = append(waits, never)
		}
		_, err := echo(t.Context(), lab, []byte("so the others have come"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var wg sync.WaitGroup
		for range 4 { // More than there is room for, so that some wait in Send.
			wg.Go(func() {
				for {
					if _, err := echo(ctx, lab, make([]byte, 1<<20)); err != nil {
						return
					}
				}
			})
		}
		server.kill()
		for _, never := range waits {
			select {
			case <-never.Done():
				_, err := never.Struct()
				require.True(t, capnp.IsDisconnected(err), "%v", err)
			case <-ctx.Done():
				t.Fatal("a call waits for a dead server")
			}
		}
		wg.Wait()
		require.NoError(t, ctx.Err(), "a call waits for a dead server")
		ends(t, conn)
		lab.Release()
		cancel()
	}
}

// A caller that is killed: the server's side of the connection ends, and what was called is cancelled.
func TestKilledCaller(t *testing.T) {
	dir := memDir(t)
	for range 5 {
		lab := &waiting{Lab: market.NewLab(), over: make(chan struct{})}
		conn := connect(t, dir, shmchan.SideB, Limits{}, capnp.Client(market.Lab_ServerToClient(lab)))
		caller := start(t, "call", dir)
		require.Equal(t, "calling", caller.line())
		caller.kill()
		ends(t, conn)
		select {
		case <-lab.over:
		case <-time.After(patience):
			t.Fatal("a dead caller's call goes on")
		}
	}
}

// waiting is a lab that says when its Never is over.
type waiting struct {
	market.Lab
	over chan struct{}
}

func (w *waiting) Never(ctx context.Context, call market.Lab_never) error {
	call.Go()
	<-ctx.Done()
	close(w.over)
	return ctx.Err()
}

func (w *waiting) Echo(ctx context.Context, call market.Lab_echo) error {
	_, err := call.AllocResults()
	return err
}
func (w *waiting) History(context.Context, market.Lab_history) error { return errors.ErrUnsupported }
func (w *waiting) Quote(context.Context, market.Market_quote) error  { return errors.ErrUnsupported }
func (w *waiting) Place(context.Context, market.Market_place) error  { return errors.ErrUnsupported }

// A message over the limit ends the connection for both, whoever sent it.
func TestMessageLimit(t *testing.T) {
	small := Limits{Message: 16 << 10}
	for name, limits := range map[string][2]Limits{"call": {{}, small}, "answer": {small, {}}} {
		t.Run(name, func(t *testing.T) {
			here, there, lab := both(t, limits[0], limits[1])
			_, err := echo(t.Context(), lab, make([]byte, 8<<10))
			require.NoError(t, err)
			_, err = echo(t.Context(), lab, make([]byte, 32<<10))
			require.Error(t, err)
			ends(t, here)
			ends(t, there)
		})
	}
}

// The other limits are those of the messages.
func TestReadLimits(t *testing.T) {
	for name, limits := range map[string]Limits{"traverse": {Traverse: 100}, "depth": {Depth: 3}} {
		t.Run(name, func(t *testing.T) {
			dir := memDir(t)
			a, err := openPair(dir, shmchan.SideA)
			require.NoError(t, err)
			b, err := openPair(dir, shmchan.SideB)
			require.NoError(t, err)
			ta, tb := NewTransport(a, Limits{}), NewTransport(b, limits)
			out, err := ta.NewMessage()
			require.NoError(t, err)
			u, err := out.Message().NewUnimplemented()
			require.NoError(t, err)
			for range 10 {
				u, err = u.NewUnimplemented()
				require.NoError(t, err)
			}
			require.NoError(t, out.Send())
			out.Release()
			in, err := tb.RecvMessage()
			require.NoError(t, err)
			u = in.Message()
			for i := 0; err == nil && i < 10; i++ {
				u, err = u.Unimplemented()
			}
			require.ErrorContains(t, err, "limit")
			in.Release()
			require.NoError(t, ta.Close())
			require.NoError(t, tb.Close())
		})
	}
}

// Bytes that are no message end the connection.
func TestMalformedEndsConnection(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"empty":         {{}},
		"not a table":   {[]byte("hello, world, hello, world")},
		"empty part":    {table(0, 8), {}},
		"too long":      {append(framed(0), 1)},
		"part too long": {table(0, 2), make([]byte, 17)},
		"no root":       {framed()},
		"bad root":      {framed(1<<32 | 400)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := memDir(t)
			conn := connect(t, dir, shmchan.SideB, Limits{}, capnp.Client(market.NewLab()))
			raw, err := openPair(dir, shmchan.SideA)
			require.NoError(t, err)
			for _, p := range parts {
				require.NoError(t, raw.Send(p))
			}
			ends(t, conn)
			for err == nil { // An abort first.
				_, err = raw.Recv(nil)
			}
			require.ErrorIs(t, err, shmchan.ErrClosed)
			require.NoError(t, raw.Detach())
		})
	}
}

// What transport.Transport says of its calls.
func TestTransport(t *testing.T) {
	dir := memDir(t)
	a, err := openPair(dir, shmchan.SideA, shmchan.WithCapacity(1), shmchan.WithMaxMessage(64))
	require.NoError(t, err)
	b, err := openPair(dir, shmchan.SideB)
	require.NoError(t, err)
	ta, tb := NewTransport(a, Limits{}), NewTransport(b, Limits{})

	out, err := ta.NewMessage()
	require.NoError(t, err)
	boot, err := out.Message().NewBootstrap()
	require.NoError(t, err)
	boot.SetQuestionId(42)
	require.NoError(t, out.Send())
	in, err := tb.RecvMessage()
	require.NoError(t, err)
	got, err := in.Message().Bootstrap()
	require.NoError(t, err)
	require.EqualValues(t, 42, got.QuestionId())
	in.Release()
	in.Release()
	require.NoError(t, out.Send()) // There is room for one.
	waits := make(chan error)
	go func() {
		out, err := ta.NewMessage()
		if err == nil {
			_, _ = out.Message().NewBootstrap()
			err = out.Send() // Waits.
			out.Release()
		}
		waits <- err
	}()
	go func() {
		_, err := ta.RecvMessage()
		waits <- err
	}()
	// Nothing tells when both have begun to wait: they end either way.
	require.NoError(t, ta.Close())
	require.NoError(t, ta.Close())
	for range 2 {
		select {
		case err := <-waits:
			require.True(t, capnp.IsDisconnected(err), "%v", err)
		case <-time.After(patience):
			t.Fatal("Close does not end a call")
		}
	}
	require.True(t, capnp.IsDisconnected(out.Send()))
	out.Release()
	out.Release()
	require.Panics(t, func() { _ = out.Send() })
	late, err := ta.NewMessage() // rpc.Conn cannot do with an error.
	require.NoError(t, err)
	require.True(t, capnp.IsDisconnected(late.Send()))
	late.Release()

	in, err = tb.RecvMessage() // What was sent before.
	require.NoError(t, err)
	in.Release()
	_, err = tb.RecvMessage()
	require.True(t, capnp.IsDisconnected(err), "%v", err)
	require.NoError(t, tb.Close())
}

// A message that cannot be sent, and that the other side would wait for, ends the connection.
func TestFailedSendEndsConnection(t *testing.T) {
	dir := memDir(t)
	a, err := openPair(dir, shmchan.SideA)
	require.NoError(t, err)
	ta := NewTransport(a, Limits{})
	out, err := ta.NewMessage()
	require.NoError(t, err)
	require.NoError(t, a.BytesSender.Detach())
	received := make(chan error)
	go func() {
		_, err := ta.RecvMessage()
		received <- err
	}()
	require.ErrorIs(t, out.Send(), shmchan.ErrDetached)
	select {
	case err := <-received:
		require.ErrorIs(t, err, shmchan.ErrDetached)
	case <-time.After(patience):
		t.Fatal("nobody was told that a message is missing")
	}
	out.Release()
	require.ErrorIs(t, ta.Close(), shmchan.ErrDetached)
}

// A connection that was closed leaves nothing behind under its name; one whose sides both died does, until RemoveDuplex.
func TestNameAgain(t *testing.T) {
	dir := memDir(t)
	for range 3 {
		there := connect(t, dir, shmchan.SideB, Limits{}, capnp.Client(market.NewLab()))
		here := connect(t, dir, shmchan.SideA, Limits{}, capnp.Client{})
		lab := market.Lab(here.Bootstrap(t.Context()))
		_, err := echo(t.Context(), lab, []byte("x"))
		require.NoError(t, err)
		lab.Release()
		require.NoError(t, here.Close())
		ends(t, there)
	}
	raw, err := openPair(dir, shmchan.SideA)
	require.NoError(t, err)
	require.NoError(t, raw.Send(table(0, 1000)))
	require.NoError(t, raw.Detach()) // As its death would.
	require.NoError(t, shmchan.RemoveDuplex("rpc", shmchan.WithDir(dir)))
	connect(t, dir, shmchan.SideB, Limits{}, capnp.Client(market.NewLab()))
	here := connect(t, dir, shmchan.SideA, Limits{}, capnp.Client{})
	lab := market.Lab(here.Bootstrap(t.Context()))
	defer lab.Release()
	_, err = echo(t.Context(), lab, []byte("x"))
	require.NoError(t, err)
}
