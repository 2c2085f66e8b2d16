package nats

import (
	"context"
	"errors"
	"fmt"
	"testing"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
	shmcapnp "github.com/shmchan/shmchan/capnp"
	"github.com/stretchr/testify/require"
)

// A message that is built in the channel here is read in the channel there, where it lies.
func TestCapnpMessages(t *testing.T) {
	nc, here, there, ctx := serverFor(t), t.TempDir(), t.TempDir(), context.Background()
	size := shmchan.WithMaxMessage(4096)
	out, err := shmchan.OpenBytesSender("quotes", shmchan.WithDir(here), size)
	require.NoError(t, err)
	in, err := shmchan.OpenBytesReceiver("quotes", shmchan.WithDir(there), size)
	require.NoError(t, err)
	sent, got := sendFrom(ctx, t, nc, "quotes", here, Config{}), recvInto(ctx, nc, "quotes", there, Config{})
	const n = 100
	go func() {
		for i := range n {
			if shmcapnp.SendFunc(ctx, out, 512, func(s *capnp.Segment) error {
				q, err := capnp.NewRootStruct(s, capnp.ObjectSize{DataSize: 8, PointerCount: 1})
				if err != nil {
					return err
				}
				q.SetUint64(0, uint64(i))
				return q.SetText(0, fmt.Sprintf("the %dth, of some length or other", i))
			}) != nil {
				return
			}
		}
		_ = out.Close()
	}()
	for i := range n {
		require.NoError(t, shmcapnp.RecvFunc(ctx, in, func(m *capnp.Message) error {
			root, err := m.Root()
			if err != nil {
				return err
			}
			q := root.Struct()
			text, err := q.Ptr(0)
			require.NoError(t, err)
			require.EqualValues(t, i, q.Uint64(0))
			require.Equal(t, fmt.Sprintf("the %dth, of some length or other", i), text.Text())
			return nil
		}))
	}
	_, err = in.Recv(nil)
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, errors.Join((<-sent).err, (<-got).err, out.Detach(), in.Detach()))
}
