package shmchan

// What Hold promises beyond keeping values: names that are one channel's own, copies where memory is not trusted, room given back for what
// is dropped, any type, and that holding many is not slower the more are held.

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeldIDsAreTheChannelsOwn(t *testing.T) {
	ids := map[string]bool{}
	for range 2 { // The second channel of that name.
		ch := openTest[uint64](t, WithCapacity(4))
		for i := range uint64(3) {
			require.NoError(t, ch.Send(i))
			v := hold1(t, ch.Receiver)
			require.Regexp(t, `^[A-Za-z0-9_-]{22}\.[0-9]+$`, v.ID())
			require.Equal(t, "x"+v.ID(), string(v.AppendID([]byte("x"))))
			ids[v.ID()] = true
			require.NoError(t, v.Done())
			require.Empty(t, v.ID(), "it holds nothing any more")
			require.Nil(t, v.Bytes())
		}
	}
	require.Len(t, ids, 6)
}

// A value that was damaged is not held but dropped, and who waits for its room is woken.
func TestHoldDropsWhatIsDamaged(t *testing.T) {
	noBackstop(t)
	ch := openTest[uint64](t, WithCapacity(1), WithChecksum())
	other := again(t, ch)
	require.NoError(t, ch.Send(1))
	*(*byte)(ch.Receiver.h.value(ch.Receiver.h.headHint())) ^= 1
	sent := make(chan error, 1)
	parking(t, other.Sender.h, func() { sent <- other.Send(2) })
	var v Held
	require.ErrorIs(t, ch.Hold(forever, &v), ErrCorrupt)
	require.False(t, v.Holds())
	require.Nil(t, v.Bytes())
	require.NoError(t, <-sent, "nobody else would wake it")
	require.NoError(t, ch.Hold(forever, &v))
	require.EqualValues(t, 2, number(&v))
	require.NoError(t, v.Done())

	b := must[*Bytes](t)(OpenBytes("damaged", WithDir(memDir(t)), WithMaxMessage(100), WithChecksum()))
	require.NoError(t, b.Send([]byte("hello")))
	m, err := b.BytesReceiver.h.messageAt(b.BytesReceiver.h.headHint())
	require.NoError(t, err)
	m.data[0] ^= 1
	require.ErrorIs(t, b.Hold(forever, &v), ErrCorrupt)
	require.Zero(t, b.Len())
	require.NoError(t, b.Detach())
}

// So is who waits for the arena's room, of a message that is dropped.
func TestHoldDropsADamagedMessage(t *testing.T) {
	noBackstop(t)
	const most = 8 << 10
	b := must[*Bytes](t)(OpenBytes("held", WithDir(memDir(t)), WithMaxMessage(most), WithArena(2*most+2048), WithCapacity(8), WithChecksum()))
	other := must[*Bytes](t)(OpenBytes("held", WithDir(b.BytesSender.h.opts.dir), WithMaxMessage(most)))
	for range 2 {
		require.NoError(t, b.Send(make([]byte, most)))
	}
	m, err := b.BytesReceiver.h.messageAt(b.BytesReceiver.h.headHint())
	require.NoError(t, err)
	m.data[0] ^= 1
	sent := make(chan error, 1)
	parking(t, other.BytesSender.h, func() { sent <- other.Send(make([]byte, most)) })
	var v Held
	require.ErrorIs(t, b.Hold(forever, &v), ErrCorrupt)
	require.NoError(t, <-sent, "nobody else would wake it")
	require.NoError(t, errors.Join(b.Detach(), other.Detach()))
}

// With WithFaultGuard what is held is a copy, which stays when the file is cut short; Done says so.
func TestHeldOutlivesACutFile(t *testing.T) {
	needsFaultAddress(t)
	ch := openTest[uint64](t, WithFaultGuard())
	require.NoError(t, ch.Send(7))
	v := hold1(t, ch.Receiver)
	b := must[*Bytes](t)(OpenBytes("cut", WithDir(memDir(t)), WithMaxMessage(100), WithFaultGuard()))
	require.NoError(t, b.Send([]byte("hello")))
	var m Held
	require.NoError(t, b.Hold(forever, &m))
	for _, h := range []*handle{ch.Sender.h, b.BytesSender.h} {
		require.NoError(t, os.Truncate(h.path, 0))
	}
	require.EqualValues(t, 7, number(v))
	require.Equal(t, "hello", string(m.Bytes()))
	require.ErrorIs(t, v.Done(), ErrCorrupt)
	require.ErrorIs(t, m.Return(), ErrCorrupt)
	require.False(t, v.Holds() || m.Holds())
	_ = errors.Join(ch.Detach(), b.Detach())
}

func TestHoldOfAnyType(t *testing.T) {
	dir := memDir(t)
	ch := must[*Chan[rawValue]](t)(Open[rawValue]("raw", WithDir(dir), WithCapacity(4)))
	b := must[*Bytes](t)(OpenBytes("bytes", WithDir(dir), WithMaxMessage(100)))
	r := must[*RawReceiver](t)(OpenRawReceiver("raw", WithDir(dir)))
	rb := must[*RawReceiver](t)(OpenRawReceiver("bytes", WithDir(dir)))
	for i := range 3 {
		require.NoError(t, ch.Send(rawOf(i)))
		require.NoError(t, b.Send([]byte{byte(i)}))
	}
	var held [3][2]Held
	for i := range held {
		require.NoError(t, r.Hold(forever, &held[i][0]))
		require.NoError(t, rb.Hold(forever, &held[i][1]))
	}
	for i := range held {
		want := rawOf(i)
		require.Equal(t, rawBytes(&want), held[i][0].Bytes())
		require.Equal(t, []byte{byte(i)}, held[i][1].Bytes())
		require.NoError(t, errors.Join(held[i][0].Done(), held[i][1].Done()))
	}
	require.Zero(t, ch.Len()+b.Len())
	require.NoError(t, errors.Join(ch.Detach(), b.Detach(), r.Detach(), rb.Detach()))
}

// To hold one more does not take a walk over all that are held. Held against the same when it does, in turns.
func TestHoldingManyIsNotSlower(t *testing.T) {
	const many = 4096
	ch := openTest[uint64](t, WithCapacity(many))
	held := make([]Held, many)
	holdAll := func(walk bool) time.Duration {
		for i := range uint64(many) {
			require.NoError(t, ch.Send(i))
		}
		began := time.Now()
		for i := range held {
			if walk {
				ch.Receiver.h.hold.left = 0
			}
			if err := ch.Hold(forever, &held[i]); err != nil {
				require.NoError(t, err)
			}
		}
		took := time.Since(began)
		for i := range held {
			require.EqualValues(t, i, number(&held[i]))
			require.NoError(t, held[i].Done())
		}
		return took
	}
	short, long := time.Hour, time.Hour
	for i := 0; i < 5 || i < 100 && short >= long/4; i++ { // The shortest of each: somebody else may be on the CPU, also for all of the five.
		short, long = min(short, holdAll(false)), min(long, holdAll(true))
	}
	t.Logf("%v, and %v with a walk for each", short, long)
	require.Less(t, short, long/4)
}
