package shmchan

// Pairs: who may hold a side, what goes where, who is missed when, and how it ends.

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	request struct{ ID, N int64 }
	reply   struct {
		ID int64
		OK bool
	}
)

func openPair(t *testing.T, opts ...Option) (a *Duplex[request, reply], b *Duplex[reply, request]) {
	t.Helper()
	opts = append([]Option{WithDir(memDir(t))}, opts...)
	a = must[*Duplex[request, reply]](t)(OpenDuplex[request, reply]("pair", SideA, opts...))
	b = must[*Duplex[reply, request]](t)(OpenDuplex[reply, request]("pair", SideB, opts...))
	t.Cleanup(func() { _, _ = a.Detach(), b.Detach() })
	return a, b
}

func TestDuplexBothWays(t *testing.T) {
	for _, opts := range [][]Option{nil, {WithCapacity(0)}, {WithCapacity(1)}, {WithSingleSender(), WithSingleReceiver()}, {WithChecksum()}, {WithFaultGuard()}} {
		a, b := openPair(t, opts...)
		done := make(chan error)
		go func() {
			for m := range b.All() {
				if err := b.Send(reply{m.ID, m.N%2 == 0}); err != nil {
					done <- err
					return
				}
			}
			done <- b.Err()
		}()
		for i := range int64(100) {
			require.NoError(t, a.Send(request{i, i}))
			require.Equal(t, reply{i, i%2 == 0}, must[reply](t)(a.Recv()))
		}
		require.NoError(t, a.Sender.Close())
		require.NoError(t, <-done)
		require.Equal(t, "pair", a.Name())
		require.NoError(t, a.Close())
		require.ErrorIs(t, b.Close(), ErrClosed)
		require.ErrorIs(t, second(a.Recv()), ErrClosed)
		require.NoError(t, a.Detach())
		require.NoError(t, b.Detach())
		require.ErrorIs(t, a.Detach(), ErrDetached)
		dirEmpty(t, a.Sender.h.opts.dir)
	}
}

// A side has one holder, who may be many goroutines, whichever half is tried.
func TestDuplexSideIsHeldOnce(t *testing.T) {
	a, b := openPair(t)
	dir := WithDir(a.Sender.h.opts.dir)
	for range 2 {
		err := second(OpenDuplex[request, reply]("pair", SideA, dir))
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorContains(t, err, "another handle of this process holds this side of the pair")
		require.ErrorIs(t, second(OpenDuplex[reply, request]("pair", SideB, dir)), ErrBusy)
	}
	require.ErrorIs(t, second(OpenReceiver[request]("pair.ab", dir)), ErrMismatch)
	require.ErrorContains(t, second(OpenReceiver[request]("pair.ab", dir)), "half of a pair")
	require.ErrorIs(t, second(OpenDuplex[reply, request]("pair", SideA, dir)), ErrMismatch)
	for _, err := range []error{second(OpenDuplex[reply, request]("pair", SideA, dir)), second(OpenDuplex[request, reply]("pair", SideB, dir))} {
		var differs *MismatchError
		require.ErrorAs(t, err, &differs)
		require.ErrorContains(t, err, "the two types are the other way round")
	}
	require.NotContains(t, second(OpenDuplex[int64, reply]("pair", SideA, dir)).Error(), "round")
	require.ErrorIs(t, second(OpenDuplex[string, int64]("pair", SideB, dir)), ErrMismatch)
	alike := must[*Duplex[int64, int64]](t)(OpenDuplex[int64, int64]("alike", SideA, dir))
	err := second(OpenDuplex[int64, int64]("alike", SideB, dir, WithCapacity(7)))
	require.ErrorIs(t, err, ErrMismatch)
	require.NotContains(t, err.Error(), "round")
	require.NoError(t, alike.Detach())
	require.NoError(t, RemoveDuplex("alike", dir))
	require.NoError(t, a.Detach())
	a = must[*Duplex[request, reply]](t)(OpenDuplex[request, reply]("pair", SideA, dir))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				assert.NoError(t, a.Send(request{N: 1}))
			}
		})
	}
	sum := int64(0)
	for range 8 * 200 {
		sum += must[request](t)(b.Recv()).N
	}
	wg.Wait()
	require.EqualValues(t, 8*200, sum)
	require.NoError(t, a.Detach())
}

func TestDuplexNames(t *testing.T) {
	dir := WithDir(memDir(t))
	require.ErrorIs(t, second(OpenDuplex[int, int]("", SideA, dir)), fs.ErrInvalid)
	require.ErrorIs(t, second(OpenDuplex[int, int]("a/b", SideA, dir)), fs.ErrInvalid)
	require.ErrorContains(t, second(OpenDuplex[int, int]("x", Side(2), dir)), "Side(2); use SideA or SideB")
	require.ErrorIs(t, RemoveDuplex("x", dir), fs.ErrNotExist)
	a := must[*Duplex[int, int]](t)(OpenDuplex[int, int]("x", SideB, dir))
	require.Equal(t, []string{"x.ab", "x.ba"}, must[[]string](t)(List(dir)))
	require.NoError(t, Remove("x.ba", dir))
	require.NoError(t, RemoveDuplex("x", dir))
	require.NoError(t, a.Detach())
	require.ErrorIs(t, second(OpenDuplex[string, int]("x", SideA, dir)), ErrNotPOD)
	require.ErrorIs(t, second(OpenDuplex[int, string]("x", SideA, dir)), ErrNotPOD)
	require.Empty(t, must[[]string](t)(List(dir)))
	b := must[*BytesDuplex](t)(OpenBytesDuplex("x", SideB, dir, WithMaxMessage(10)))
	require.Equal(t, 10, b.MaxMessage())
	require.NoError(t, b.Detach())
}

// Before the other side has come a call waits for it; once it has gone, it is ErrDisconnected; and it may come back.
func TestDuplexPatience(t *testing.T) {
	for _, wait := range []Wait{Adaptive, Spin, Park} {
		dir := WithDir(memDir(t))
		a := must[*Duplex[request, reply]](t)(OpenDuplex[request, reply]("pair", SideA, dir, WithWait(wait), WithCapacity(1)))
		require.ErrorIs(t, second(a.TryRecv()), ErrEmpty)
		got := make(chan error)
		receive := func() {
			_, err := a.Recv()
			got <- err
		}
		go receive()
		until(t, "it waits", func() bool { return a.Receiver.Stats().Waiting > 0 || wait == Spin })
		open := func() *Duplex[reply, request] {
			return must[*Duplex[reply, request]](t)(OpenDuplex[reply, request]("pair", SideB, dir))
		}
		b := open()
		require.NoError(t, b.Send(reply{}))
		require.NoError(t, <-got)
		go receive()
		require.NoError(t, b.Send(reply{}))
		require.NoError(t, <-got)
		go receive()
		require.NoError(t, b.Detach())
		require.ErrorIs(t, <-got, ErrDisconnected)
		require.ErrorIs(t, second(a.TryRecv()), ErrDisconnected)
		require.ErrorContains(t, second(a.TryRecv()), `channel "pair.ba": nobody at the other end; it is empty and the other side of the pair has gone; Detach and open`)
		require.NoError(t, a.Send(request{})) // There is space.
		require.ErrorIs(t, a.Send(request{}), ErrDisconnected)
		require.ErrorContains(t, a.Send(request{}), `channel "pair.ab": nobody at the other end; it is full and the other side of the pair has gone; Detach and open`)
		b = open()
		require.NoError(t, second(b.Recv()))
		require.NoError(t, b.Send(reply{}))
		require.NoError(t, second(a.Recv()))

		// One that comes when the other has gone waits for it, whatever was before.
		require.NoError(t, b.Detach())
		require.NoError(t, a.Detach())
		a = must[*Duplex[request, reply]](t)(OpenDuplex[request, reply]("pair", SideA, dir, WithWait(wait)))
		require.ErrorIs(t, second(a.TryRecv()), ErrEmpty)
		go receive()
		b = open()
		require.NoError(t, b.Detach())
		require.ErrorIs(t, <-got, ErrDisconnected)
		require.NoError(t, a.Close())
		require.NoError(t, a.Detach())
	}
}

// A side that is killed is missed, with what it sent received before.
func TestDuplexDeath(t *testing.T) {
	for _, wait := range []Wait{Adaptive, Park} {
		dir := memDir(t)
		a := must[*BytesDuplex](t)(OpenBytesDuplex("pair", SideA, WithDir(dir), WithWait(wait)))
		c := start(t, "pair-echo", dir)
		for i := range 100 {
			require.NoError(t, a.Send([]byte(strconv.Itoa(i))))
			require.Equal(t, fmt.Sprint(i), string(must[[]byte](t)(a.Recv(nil))))
		}
		require.NoError(t, a.Send([]byte("twice")))
		require.Equal(t, "twice", c.line())
		c.kill()
		for range 2 {
			require.Equal(t, "twice", string(must[[]byte](t)(a.Recv(nil))))
		}
		require.ErrorIs(t, second(a.Recv(nil)), ErrDisconnected)
		require.ErrorIs(t, second(a.RecvContext(context.Background(), nil)), ErrDisconnected)
		require.NoError(t, a.Close())
		require.NoError(t, a.Detach())
		dirEmpty(t, dir)
	}
}

func init() {
	// Sends back what it gets, until it is killed.
	roles["pair-echo"] = func(args []string) error {
		b, err := OpenBytesDuplex("pair", SideB, WithDir(args[0]))
		if err != nil {
			return err
		}
		for {
			msg, err := b.Recv(nil)
			if err != nil {
				return err
			}
			n := 1
			if string(msg) == "twice" {
				n = 2
			}
			for range n {
				if err := b.Send(msg); err != nil {
					return err
				}
			}
			if n == 2 {
				fmt.Println("twice")
				_, _ = os.Stdin.Read(make([]byte, 1))
			}
		}
	}
}
