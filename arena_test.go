package shmchan

// The arena of a channel of bytes: who gets room, when, and who is told.
//
// What the tests here show: extents of messages that are there, or in somebody's hands, do not overlap, whatever the order in which
// they come and go, at the ends of lap, position and block numbers too; nothing in the shared bytes leads out of the arena, or into a
// call that does not end; and whoever waits for room is woken by each way in which some comes free, with nobody to look after him.
// What they do not show: every interleaving (model/arena.pml), and that bytes which nobody marked were not touched.

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const testBlock = 1 << 10

// smallArena has 10 blocks, for messages of at most 5.
func smallArena(opts ...Option) []Option {
	return append([]Option{WithMaxMessage(5 * testBlock), WithArena(10 * testBlock), WithCapacity(8), WithWait(Park)}, opts...)
}

func blocksOf(k, seed int) []byte { return fillBytes(k*testBlock, seed) }

func takes(t testing.TB, r *BytesReceiver, want []byte) {
	t.Helper()
	got, err := r.TryRecv(nil)
	require.NoError(t, err)
	require.True(t, string(want) == string(got), "another message, or a torn one: %d bytes for %d", len(got), len(want))
}

// A TrySend that asks for room takes nothing from a message at a position whose low 32 bits are all ones.
func TestRoomAtEveryPosition(t *testing.T) {
	for _, start := range []uint64{0, 1<<32 - 3, 1<<40 - 3} {
		b := openBytes(t, smallArena(withStart(start))...)
		for i := range 40 {
			first, other := blocksOf(5, i), blocksOf(5, i+1)
			require.NoError(t, b.TrySend(first))
			if b.TrySend(other) == nil { // Wherever the frontier is, two are the most.
				require.ErrorIs(t, b.TrySend(other), ErrFull)
				takes(t, b.BytesReceiver, first)
				takes(t, b.BytesReceiver, other)
				continue
			}
			takes(t, b.BytesReceiver, first)
		}
		require.NoError(t, b.Detach())
	}
}

// Room that was given up does not come back into use with the next message at that position, which may need none: who waits would not
// be told when that one is received.
func TestRoomGivenUpIsFree(t *testing.T) {
	noBackstop(t)
	for name, roles := range kinds {
		t.Run(name, func(t *testing.T) {
			b := openBytes(t, smallArena(roles...)...)
			no := errors.New("no")
			require.ErrorIs(t, b.SendFunc(t.Context(), 5*testBlock, func([]byte) (int, error) { return 0, no }), no)
			require.NoError(t, b.Send([]byte("small")))
			require.NoError(t, b.Send(blocksOf(5, 1)))
			sent := make(chan error)
			go func() { sent <- b.Send(blocksOf(5, 2)) }()
			until(t, "sent, or parked", func() bool { return b.Len() == 3 || b.Stats().Parked > 0 })
			takes(t, b.BytesReceiver, []byte("small"))
			require.NoError(t, <-sent)
			takes(t, b.BytesReceiver, blocksOf(5, 1))
			takes(t, b.BytesReceiver, blocksOf(5, 2))
		})
	}
}

// Who looks for room on behalf of a descriptor while the single sender is at work takes nothing from it.
func TestRoomLookedForBesideTheSingleSender(t *testing.T) {
	b := openBytes(t, smallArena(WithSingleSender())...)
	h := b.BytesSender.h
	fill := func(want []byte) error {
		return b.SendFunc(t.Context(), len(want), func(buf []byte) (int, error) {
			h.hasRoom(10)
			return copy(buf, want), nil
		})
	}
	require.NoError(t, fill(blocksOf(5, 1)))
	require.NoError(t, fill(blocksOf(5, 2)))
	require.ErrorIs(t, b.TrySend(blocksOf(5, 3)), ErrFull)
	takes(t, b.BytesReceiver, blocksOf(5, 1))
	takes(t, b.BytesReceiver, blocksOf(5, 2))
}

func init() {
	// A process that stays in the middle of a large message until it is told to go on, or killed.
	roles["arena-holder"] = func(args []string) error {
		dir := WithDir(args[0])
		hold := func() error {
			fmt.Println("in")
			_, err := fmt.Scanln(new(string))
			return err
		}
		switch args[1] {
		case "send":
			s, err := OpenBytesSender("test", dir, WithAttach())
			if err != nil {
				return err
			}
			return s.SendFunc(forever, 5*testBlock, func(buf []byte) (int, error) { return len(buf), hold() })
		case "recv":
			r, err := OpenBytesReceiver("test", dir, WithAttach())
			if err != nil {
				return err
			}
			return r.RecvFunc(forever, func([]byte) error { return hold() })
		case "waits": // In hand a position, and no room.
			s, err := OpenBytesSender("test", dir, WithAttach(), WithWait(Park))
			if err != nil {
				return err
			}
			s.h.onPark = func() { fmt.Println("in") }
			return s.Send(blocksOf(5, 77))
		}
		return errors.New("no such part")
	}
}

// When a process has been killed in the middle of a large message there is room for the longest again: for one who waits for it,
// and for one who asks again and again, although nobody receives.
func TestRoomAfterADeath(t *testing.T) {
	noBackstop(t)
	for name, single := range kinds {
		for _, how := range []string{"waits", "tries", "comes later"} {
			t.Run(name+" "+how, func(t *testing.T) {
				b := openBytes(t, smallArena(single...)...)
				dir := WithDir(b.BytesSender.h.opts.dir)
				if b.BytesSender.h.oneSender {
					require.NoError(t, b.BytesSender.Detach())
				}
				c := start(t, "arena-holder", b.BytesReceiver.h.opts.dir, "send")
				require.Equal(t, "in", c.line())
				s := b.BytesSender
				sent := make(chan error, 2)
				if b.BytesSender.h.oneSender {
					how = "comes later"
				} else {
					require.NoError(t, s.Send(blocksOf(4, 1)))
					if how == "waits" {
						go func() { sent <- s.Send(blocksOf(5, 2)) }()
						until(t, "parked", func() bool { return s.Stats().Parked > 0 })
					}
				}
				c.kill()
				switch how {
				case "waits":
					require.NoError(t, <-sent)
				case "tries":
					until(t, "there is room", func() bool { return s.TrySend(blocksOf(5, 2)) == nil })
				default:
					if s.h.oneSender {
						s = must[*BytesSender](t)(OpenBytesSender("test", dir, WithWait(Park)))
						require.NoError(t, s.Send([]byte("small"))) // At the position that the dead one had in hand.
						require.NoError(t, s.Send(blocksOf(4, 1)))
					}
					require.NoError(t, s.Send(blocksOf(5, 2)))
				}
				if s != b.BytesSender {
					takes(t, b.BytesReceiver, []byte("small"))
				}
				takes(t, b.BytesReceiver, blocksOf(4, 1))
				takes(t, b.BytesReceiver, blocksOf(5, 2))
				roomEverywhere(t, s, b.BytesReceiver)
				if s != b.BytesSender {
					require.NoError(t, s.Detach())
				}
			})
		}
	}
}

// roomEverywhere requires that an empty channel takes the longest, and a shorter one, wherever the frontier lies.
func roomEverywhere(t testing.TB, s *BytesSender, r *BytesReceiver) {
	t.Helper()
	for i := range 7 { // At every place.
		require.NoError(t, s.TrySend(blocksOf(5, i)))
		takes(t, r, blocksOf(5, i))
		require.NoError(t, s.TrySend(blocksOf(2, i)))
		takes(t, r, blocksOf(2, i))
	}
	require.Equal(t, 0, s.Len())
}
