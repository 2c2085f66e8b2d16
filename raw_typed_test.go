package shmchan

// Raw handles that are a typed one, or one of bytes, without its type.

import (
	"errors"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestRawOfATypedHandle(t *testing.T) {
	for kind, single := range kinds {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			ch, err := Open[rawValue]("test", slices.Concat(single, []Option{WithDir(dir), WithCapacity(4)})...)
			require.NoError(t, err)
			raw := ch.Raw() // Of a single role too: it is no second handle.
			require.Equal(t, int(unsafe.Sizeof(rawValue{})), raw.Layout().Size())
			require.Equal(t, "test", raw.Name())
			require.Equal(t, 4, raw.Cap())
			require.Zero(t, raw.MaxMessage())
			v := rawOf(3)
			require.NoError(t, ch.Send(v))
			b, err := raw.Recv(nil)
			require.NoError(t, err)
			require.Equal(t, rawBytes(&v), b)
			require.NoError(t, raw.Send(b))
			got, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, v, got)
			require.NoError(t, raw.RawSender.Detach())
			require.ErrorIs(t, ch.Send(v), ErrDetached, "the two are one handle")
			require.NoError(t, ch.Receiver.Detach())
			_, err = raw.TryRecv(nil)
			require.ErrorIs(t, err, ErrDetached)
		})
	}
}

func TestRawOfAHandleOfBytes(t *testing.T) {
	for kind, single := range kinds {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			ch, err := OpenBytes("test", slices.Concat(single, []Option{WithDir(dir), WithMaxMessage(300), WithCapacity(4)})...)
			require.NoError(t, err)
			raw := ch.Raw()
			require.True(t, raw.Layout().Bytes())
			require.Equal(t, 300, raw.MaxMessage())
			for _, m := range [][]byte{{}, []byte("short"), some(300, 1)} {
				require.NoError(t, ch.Send(m))
				b, err := raw.Recv([]byte{})
				require.NoError(t, err)
				require.Equal(t, m, b)
				require.NoError(t, raw.Send(b))
				b, err = ch.Recv([]byte{})
				require.NoError(t, err)
				require.Equal(t, m, b)
			}
			require.NoError(t, errors.Join(raw.RawSender.Detach(), ch.BytesReceiver.Detach()))
			require.ErrorIs(t, ch.Send(nil), ErrDetached, "the two are one handle")
		})
	}
}
