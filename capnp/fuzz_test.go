package shmcapnp

// Bytes from a peer that is not trusted: a call may fail, not panic, and not go on for ever.

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/capnp/internal/market"
	"github.com/stretchr/testify/require"
)

// walk reads all of a message, as a quote and as whatever its pointers say, for as long as its limits allow.
func walk(m *capnp.Message) error {
	_, asQuote := sumOf(m)
	p, err := m.Root()
	if err != nil {
		return err
	}
	return errors.Join(asQuote, walkPtr(p))
}

func walkPtr(p capnp.Ptr) error {
	_, _ = p.Text(), p.Data()
	if s := p.Struct(); s.IsValid() {
		_ = s.Uint64(0)
		for i := range uint16(8) {
			q, err := s.Ptr(i)
			if err == nil && q.IsValid() {
				err = walkPtr(q)
			}
			if err != nil {
				return err
			}
		}
	}
	if l := p.List(); l.IsValid() {
		for i := range min(l.Len(), 1000) {
			_ = capnp.UInt8List(l).ToPtr()
			if q, err := capnp.PointerList(l).At(i); err == nil { // Else it is not of pointers, or over a limit.
				if err := walkPtr(q); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func FuzzMessage(f *testing.F) {
	for _, levels := range []int{0, 1, 7} {
		_, b := message(f, "AAPL", levels)
		f.Add(b)
	}
	m, s := capnp.NewMultiSegmentMessage([][]byte{make([]byte, 0, 16), make([]byte, 0, 48), make([]byte, 0, 64), make([]byte, 0, 4096)})
	require.NoError(f, quote("NESN", 5)(s))
	b, err := m.Marshal()
	require.NoError(f, err)
	f.Add(b)
	f.Add(framed(0|1<<48, uint64(uint32(0xffff_fffc))|1<<48))
	f.Add(framed(1|7<<32, uint64(1<<29-1)<<2))
	c := openBytes(f, shmchan.WithMaxMessage(4096), shmchan.WithCapacity(2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		require.NoError(t, c.Send(b))
		var inPlace error
		err := RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
			m.ResetReadLimit(1 << 16)
			inPlace = walk(m)
			return nil
		})
		require.True(t, err == nil || errors.Is(err, ErrMalformed), "%v", err)
		require.NoError(t, c.Send(b))
		m, errCopy := Recv(t.Context(), c.BytesReceiver)
		require.Equal(t, err == nil, errCopy == nil)
		require.Zero(t, c.Len())
		if errCopy == nil {
			m.ResetReadLimit(1 << 16)
			require.Equal(t, inPlace == nil, walk(m) == nil)
			again, err := gatherOf(m)
			require.NoError(t, err)
			require.Equal(t, len(b), again.left)
			got := make([]byte, len(b))
			_, _ = again.fill(got)
			for n, _ := segmentsOf(b); n%2 == 0; n++ { // The padding after an even number of segments is nobody's.
				copy(got[4*(n+1):][:4], b[4*(n+1):])
			}
			require.Equal(t, b, got)
		}
	})
}

// rpcMessage is a message of RPC as bytes.
func rpcMessage(t testing.TB, set func(m rpccp.Message) error) []byte {
	t.Helper()
	m, s := capnp.NewSingleSegmentMessage(nil)
	root, err := rpccp.NewRootMessage(s)
	require.NoError(t, err)
	require.NoError(t, set(root))
	b, err := m.Marshal()
	require.NoError(t, err)
	return b
}

func callOf(t testing.TB, question uint32, method uint16, set func(c rpccp.Call, target rpccp.MessageTarget) error) []byte {
	return rpcMessage(t, func(m rpccp.Message) error {
		c, err := m.NewCall()
		if err != nil {
			return err
		}
		c.SetQuestionId(question)
		c.SetInterfaceId(market.Lab_TypeID)
		c.SetMethodId(method)
		target, err := c.NewTarget()
		if err != nil {
			return err
		}
		p, err := c.NewParams()
		if err != nil {
			return err
		}
		args, err := market.NewLab_echo_Params(p.Segment())
		if err != nil {
			return err
		}
		return errors.Join(args.SetData([]byte("hello")), p.SetContent(capnp.Struct(args).ToPtr()), set(c, target))
	})
}

// fuzzedMessages are bytes cut into messages, each after its length in 16 bits.
func fuzzedMessages(b []byte) (all [][]byte) {
	for len(b) >= 2 && len(all) < 64 {
		n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2, 4096)
		all = append(all, b[2:2+n])
		b = b[2+n:]
	}
	return all
}

// A peer says what it likes to a server: its connection goes on or ends, and ends when the peer has gone.
func FuzzConn(f *testing.F) {
	boot := rpcMessage(f, func(m rpccp.Message) error {
		b, err := m.NewBootstrap()
		b.SetQuestionId(0)
		return err
	})
	onAnswer := func(_ rpccp.Call, target rpccp.MessageTarget) error {
		p, err := target.NewPromisedAnswer()
		p.SetQuestionId(0)
		return err
	}
	onExport := func(_ rpccp.Call, target rpccp.MessageTarget) error {
		target.SetImportedCap(0)
		return nil
	}
	finish := rpcMessage(f, func(m rpccp.Message) error {
		fin, err := m.NewFinish()
		fin.SetQuestionId(1)
		fin.SetReleaseResultCaps(true)
		return err
	})
	release := rpcMessage(f, func(m rpccp.Message) error {
		r, err := m.NewRelease()
		r.SetId(0)
		r.SetReferenceCount(1)
		return err
	})
	ret := rpcMessage(f, func(m rpccp.Message) error {
		r, err := m.NewReturn()
		if err != nil {
			return err
		}
		r.SetAnswerId(0)
		_, err = r.NewResults()
		return err
	})
	resolve := rpcMessage(f, func(m rpccp.Message) error {
		r, err := m.NewResolve()
		if err != nil {
			return err
		}
		d, err := r.NewCap()
		d.SetSenderHosted(3)
		return err
	})
	disembargo := rpcMessage(f, func(m rpccp.Message) error {
		d, err := m.NewDisembargo()
		if err != nil {
			return err
		}
		d.Context().SetSenderLoopback(5)
		target, err := d.NewTarget()
		target.SetImportedCap(0)
		return err
	})
	abort := rpcMessage(f, func(m rpccp.Message) error {
		a, err := m.NewAbort()
		if err != nil {
			return err
		}
		return a.SetReason("no reason")
	})
	for _, seed := range [][][]byte{
		{boot, callOf(f, 1, 2, onAnswer), finish},
		{boot, callOf(f, 1, 2, onExport), callOf(f, 2, 1, onExport), finish},
		{boot, boot},
		{boot, release, callOf(f, 1, 2, onExport)},
		{ret}, {resolve}, {disembargo}, {boot, disembargo}, {abort}, {finish}, {release}, {callOf(f, 1, 9, onAnswer)},
		{{}}, {table(0, 100)}, {framed(0)},
	} {
		var b []byte
		for _, m := range seed {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(m)))
			b = append(b, m...)
		}
		f.Add(b)
	}
	dir := memDir(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		pair, err := openPair(dir, shmchan.SideB)
		require.NoError(t, err)
		conn := rpc.NewConn(NewTransport(pair, Limits{Message: 1 << 20}), &rpc.Options{BootstrapClient: capnp.Client(market.NewLab())})
		raw, err := openPair(dir, shmchan.SideA)
		require.NoError(t, err)
		for _, m := range fuzzedMessages(b) {
			if err := raw.Send(m); err != nil {
				require.ErrorIs(t, err, shmchan.ErrClosed)
				break
			}
		}
		require.NoError(t, raw.BytesSender.Detach())
		for err = error(nil); err == nil; {
			_, err = raw.Recv(nil) // What it answers, until it has ended: nobody sends to it any more.
		}
		require.ErrorIs(t, err, shmchan.ErrClosed)
		select {
		case <-conn.Done():
		case <-time.After(patience):
			t.Fatal("the connection does not end")
		}
		require.NoError(t, raw.BytesReceiver.Detach())
	})
}
