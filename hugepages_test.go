package shmchan

// WithHugePages: what must match, what the file looks like, what happens without huge pages.

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// aLap sends and receives more values than the channel holds.
func aLap(t *testing.T, ch *Chan[message]) {
	t.Helper()
	for i := range uint64(ch.Cap() + 3) {
		require.NoError(t, ch.Send(newMessage(1, i)))
		require.Equal(t, newMessage(1, i), must[message](t)(ch.Recv()))
	}
}

func TestHugePagesBelongToTheChannel(t *testing.T) {
	ch := openTest[message](t, WithHugePages(), WithCapacity(100))
	aLap(t, ch)
	info := must[Info](t)(Inspect("test", WithDir(ch.Sender.h.opts.dir)))
	require.True(t, info.HugePages)
	require.Equal(t, int64(hugeUnit), info.Bytes, "all of a small channel is in one")
	aLap(t, again(t, ch))
	aLap(t, again(t, ch, WithHugePages()))

	ch = openTest[message](t, WithCapacity(100))
	require.False(t, must[Info](t)(Inspect("test", WithDir(ch.Sender.h.opts.dir))).HugePages)
	_, err := Open[message]("test", WithDir(ch.Sender.h.opts.dir), WithHugePages())
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "the size of pages is 2 MiB here, that of the system in the channel")
}

func TestHugePagesOfSets(t *testing.T) {
	for _, opts := range [][]Option{nil, {WithHugePages()}} {
		ch := must[*Chan[message]](t)(New[message](append(opts, WithCapacity(100))...))
		files := must[[]*os.File](t)(ch.Files())
		other, err := FromFiles[message](files, WithHugePages())
		if opts == nil {
			require.ErrorIs(t, err, ErrMismatch)
			closeAll(files)
		} else {
			require.NoError(t, err)
			aLap(t, other)
			require.NoError(t, other.Detach())
		}
		require.NoError(t, ch.Detach())
	}
}

// The length is part of the format: a program of another system must come to the same.
func TestHugePagesGeometry(t *testing.T) {
	for _, c := range []struct{ size, capacity, pages uint64 }{{8, 0, 1}, {64, 1024, 1}, {1024, 1024, 1}, {1024, 2048, 2}, {1016, 2048, 2}, {1024, 65536, 35}, {0, 1, 1}} {
		h := &header{size: c.size, capacity: c.capacity}
		require.True(t, h.geometry())
		small := *h
		h.flags = flagHugePages
		require.True(t, h.geometry())
		require.Equal(t, c.pages*hugeUnit, h.length, "%+v", c)
		require.GreaterOrEqual(t, h.length, small.length)
		require.Less(t, h.length-small.length, uint64(hugeUnit))
		h.length, h.flags = small.length, 0
		require.Equal(t, small, *h, "nothing else differs")
	}
}
