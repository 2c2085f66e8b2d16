package shmchan

// The arena of a channel of bytes: who gets room, when, and who is told.
//
// What the tests here show: extents of messages that are there, or in somebody's hands, do not overlap, whatever the order in which
// they come and go, at the ends of lap, position and block numbers too; nothing in the shared bytes leads out of the arena, or into a
// call that does not end; and whoever waits for room is woken by each way in which some comes free, with nobody to look after him.
// What they do not show: every interleaving (model/arena.pml), and that bytes which nobody marked were not touched.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const testBlock = 1 << 10

// smallArena has 10 blocks, for messages of at most 5.
func smallArena(opts ...Option) []Option {
	return append([]Option{WithMaxMessage(5 * testBlock), WithArena(10 * testBlock), WithCapacity(8), WithWait(Park)}, opts...)
}

func blocksOf(k, seed int) []byte { return some(k*testBlock, seed) }

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

// A message that was given much room and is short goes into its slot and leaves the room to others; one that does not fit there keeps all of it.
func TestRoomOfAShortMessage(t *testing.T) {
	for name, roles := range kinds {
		for how, more := range map[string][]Option{"": nil, ", checked": {WithChecksum()}, ", guarded": {WithFaultGuard()}} {
			t.Run(name+how, func(t *testing.T) {
				b := openBytes(t, smallArena(append(more, roles...)...)...)
				h := b.BytesSender.h
				send := func(n, seed int) {
					require.NoError(t, b.SendFunc(t.Context(), 5*testBlock, func(buf []byte) (int, error) {
						for i := range buf {
							buf[i] = 0xee
						}
						return copy(buf, some(n, seed)), nil
					}))
				}
				for _, n := range []int{0, 1, 8, inlineSmall} {
					send(n, n)
					require.Zero(t, h.arenaUsed(), "%d bytes", n)
				}
				require.NoError(t, b.TrySend(blocksOf(5, 1)))
				require.NoError(t, b.TrySend(blocksOf(4, 2)))
				for _, n := range []int{0, 1, 8, inlineSmall} {
					takes(t, b.BytesReceiver, some(n, n))
				}
				takes(t, b.BytesReceiver, blocksOf(5, 1))
				takes(t, b.BytesReceiver, blocksOf(4, 2))
				send(inlineSmall+1, 3)
				require.EqualValues(t, 5*testBlock, h.arenaUsed())
				takes(t, b.BytesReceiver, some(inlineSmall+1, 3))
				roomEverywhere(t, b.BytesSender, b.BytesReceiver)
			})
		}
	}
}

// Where the arena's words make no sense, each way to send a large message says so, sends nothing and gives its position back.
func TestRoomThatMakesNoSense(t *testing.T) {
	for name, roles := range kinds {
		t.Run(name, func(t *testing.T) {
			b := openBytes(t, smallArena(roles...)...)
			a := b.BytesSender.h.arena
			for what, send := range bytesSends(b) {
				was := a.tail.Load()
				a.tail.Store(was + 100*a.blocks)
				require.ErrorIs(t, send(blocksOf(5, 1)), ErrCorrupt, what)
				a.tail.Store(was)
				require.Zero(t, b.Len(), what)
				for i := range b.Cap() { // No slot is lost.
					require.NoError(t, b.TrySend([]byte{byte(i)}), what)
				}
				for i := range b.Cap() {
					takes(t, b.BytesReceiver, []byte{byte(i)})
				}
			}
			roomEverywhere(t, b.BytesSender, b.BytesReceiver)
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

// Nor does the room of a dead sender come back into use with the next message at its position.
func TestRoomOfTheDeadIsFree(t *testing.T) {
	noBackstop(t)
	b := openBytes(t, smallArena()...)
	c := start(t, "arena-holder", b.BytesReceiver.h.opts.dir, "send")
	require.Equal(t, "in", c.line())
	c.kill()
	h := b.BytesSender.h
	h.checkOwner(wordTag(h.slot(h.headHint()).Load()))
	require.EqualValues(t, 1, b.Stats().Recovered)
	require.Zero(t, h.arenaUsed())
	require.NotZero(t, h.ctl.holes.Load())
	require.NoError(t, b.Send([]byte("small")))
	require.Zero(t, h.ctl.holes.Load(), "it has the dead one's position")
	require.NoError(t, b.Send(blocksOf(5, 1)))
	sent := make(chan error)
	go func() { sent <- b.Send(blocksOf(5, 2)) }()
	until(t, "sent, or parked", func() bool { return b.Len() == 3 || b.Stats().Parked > 0 })
	takes(t, b.BytesReceiver, []byte("small"))
	require.NoError(t, <-sent)
	takes(t, b.BytesReceiver, blocksOf(5, 1))
	takes(t, b.BytesReceiver, blocksOf(5, 2))
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

// arenaChecker claims, holds and frees extents by hand, and knows who has which block.
type arenaChecker struct {
	h      *handle
	blocks []uint64 // 1 + the position that has it
}

func (c *arenaChecker) claim(t require.TestingT, b, k, pos uint64) {
	a := c.h.arena
	require.LessOrEqual(t, b%a.blocks+k, a.blocks, "within the arena")
	for i := b; i < b+k; i++ {
		require.Zero(t, c.blocks[i%a.blocks], "block %d for position %d", i, pos)
		c.blocks[i%a.blocks] = pos + 1
	}
}

func (c *arenaChecker) free(pos uint64) {
	for i, p := range c.blocks {
		if p == pos+1 {
			c.blocks[i] = 0
		}
	}
}

// Extents do not overlap, end within the arena, and come free with their slots, whatever the order, from everywhere: beside the
// ends of laps, of the low bits of positions, and of positions, and with hints that lag.
func TestArenaAgainstAModel(t *testing.T) {
	dir := memDir(t)
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(2, 8).Draw(t, "capacity")
		first := rapid.SampledFrom([]uint64{0, 1 << 32, 1 << 40}).Draw(t, "positions near") - rapid.Uint64Range(0, 9).Draw(t, "before")
		b, err := OpenBytes("arena", smallArena(WithDir(dir), WithCapacity(capacity), withStart(first))...)
		require.NoError(t, err)
		defer func() { _ = b.Detach(); _ = Remove("arena", WithDir(dir)) }()
		h := b.BytesSender.h
		a := h.arena
		c := &arenaChecker{h, make([]uint64, a.blocks)}
		from := rapid.SampledFrom([]uint64{0, (1<<16 - 2) * a.blocks, (1<<16 - 1) * a.blocks, 1 << 40}).Draw(t, "blocks near")
		from += rapid.Uint64Range(0, 2*a.blocks).Draw(t, "and so many")
		a.tail.Store(from)
		a.head.Store(from)
		writing, full, reading := []uint64{}, []uint64{}, []uint64{}
		extents := map[uint64]uint64{} // of positions written
		pick := func(t *rapid.T, from *[]uint64) (pos uint64, ok bool) {
			if len(*from) == 0 {
				return 0, false
			}
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
			pos = (*from)[i]
			*from = append((*from)[:i:i], (*from)[i+1:]...)
			return pos, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				k := rapid.Uint64Range(0, 5).Draw(t, "blocks")
				pos, v := h.claimSend()
				if v != claimed {
					return
				}
				if k > 0 {
					b, v := a.take(k, pos)
					require.NotEqual(t, corrupt, v)
					if v == blocked {
						used := 0
						for _, p := range c.blocks {
							if p != 0 {
								used++
							}
						}
						require.NotZero(t, used, "with nothing in use there is room")
						h.giveUp(pos)
						return
					}
					c.claim(t, b, k, pos)
					require.NotNil(t, a.at(b, k*a.block, pos))
					require.Nil(t, a.at(b, k*a.block+1, pos), "no more than was claimed")
					require.Nil(t, a.at(b, 1, pos+1), "for no other")
					require.Nil(t, a.at(b+a.blocks, 1, pos), "in no other lap")
					extents[pos] = b
				}
				writing = append(writing, pos)
			},
			"publish": func(t *rapid.T) {
				if pos, ok := pick(t, &writing); ok {
					require.Equal(t, claimed, h.publish(pos))
					full = append(full, pos)
				}
			},
			"give up": func(t *rapid.T) {
				if pos, ok := pick(t, &writing); ok {
					if b, ok := extents[pos]; ok {
						a.drop(b, pos)
						delete(extents, pos)
					}
					h.giveUp(pos)
					c.free(pos)
				}
			},
			"read": func(t *rapid.T) {
				if pos, _, v := h.claimRecv(); v == claimed {
					reading = append(reading, pos)
					for i, p := range full {
						if p == pos {
							full = append(full[:i:i], full[i+1:]...)
						}
					}
				}
			},
			"free": func(t *rapid.T) {
				if pos, ok := pick(t, &reading); ok {
					require.True(t, h.free(pos))
					c.free(pos)
					delete(extents, pos)
				}
			},
			"give back": func(t *rapid.T) {
				if pos, ok := pick(t, &reading); ok {
					require.True(t, h.giveBack(pos))
					full = append(full, pos)
				}
			},
			"the sender dies": func(t *rapid.T) {
				h.recoverAndWake(h.me)
				for _, pos := range writing {
					c.free(pos)
					delete(extents, pos)
				}
				full, writing, reading = append(full, reading...), nil, nil
			},
			"look": func(t *rapid.T) { h.hasRoom(rapid.Uint64Range(1, 10).Draw(t, "blocks")) },
			"the tail lags": func(t *rapid.T) { // To the end of some extent.
				a.tail.Store(a.head.Load())
			},
			"": func(t *rapid.T) {
				for pos, b := range extents {
					require.True(t, a.inUse(a.word(b).Load(), noPos), "position %d", pos)
				}
			},
		})
		writing = append(writing, full...)
		h.recoverAndWake(h.me)
		for {
			pos, _, v := h.claimRecv()
			if v != claimed {
				break
			}
			require.True(t, h.free(pos))
		}
		require.True(t, h.hasRoom(5), "with nothing in use there is room for the longest")
	})
}

// Nonsense in the words and hints leads nowhere outside, and to no call that does not end.
func TestArenaHostile(t *testing.T) {
	alive := watchdog(t)
	rnd := testRand(t)
	b := openBytes(t, smallArena()...)
	a := b.BytesSender.h.arena
	nonsense := func() uint64 {
		switch rnd.IntN(4) {
		case 0:
			return rnd.Uint64()
		case 1:
			return rnd.Uint64N(40)
		case 2:
			return a.extent(rnd.Uint64N(40), rnd.Uint64N(12), rnd.Uint64N(8)) | rnd.Uint64N(2)*extNobody
		}
		return ^rnd.Uint64N(40)
	}
	for range 300 {
		alive()
		for i := range a.blocks {
			a.word(i).Store(nonsense())
		}
		a.tail.Store(nonsense())
		a.head.Store(nonsense())
		if at, v := a.take(rnd.Uint64N(5)+1, rnd.Uint64()&posMask); v == claimed {
			require.LessOrEqual(t, at%a.blocks, a.blocks)
		}
		b.BytesSender.h.hasRoom(3)
		b.BytesSender.h.checkRoom()
		a.dropAll(func(uint64) bool { return rnd.IntN(2) == 0 })
		for range 20 {
			at, n := nonsense(), rnd.Uint64N(5*testBlock)
			if m := a.at(at, n, rnd.Uint64N(8)); m != nil {
				from := uintptr(unsafe.Pointer(unsafe.SliceData(m))) - uintptr(a.mem)
				require.LessOrEqual(t, from+uintptr(n), uintptr(a.block*a.blocks))
			}
		}
		require.ErrorIs(t, b.BytesSender.h.corruptArena(), ErrCorrupt)
	}
}

// Words that go round for ever end a look.
func TestArenaWordsWithoutEnd(t *testing.T) {
	b := openBytes(t, smallArena()...)
	a := b.BytesSender.h.arena
	for i := range a.blocks { // Each is an extent of a lap that is long over by the head.
		a.word(i).Store(a.extent(i, 1, 0))
	}
	a.tail.Store(0)
	a.head.Store(1 << 63)
	require.ErrorIs(t, b.TrySend(blocksOf(1, 1)), ErrCorrupt)
	require.ErrorIs(t, b.Send(blocksOf(1, 1)), ErrCorrupt)
}

// Who waits for room is woken by each way in which some comes free, here and in another handle, with nobody to look after him.
func TestRoomWakes(t *testing.T) {
	noBackstop(t)
	no := errors.New("no")
	for _, where := range []string{"same handle", "another"} {
		for what, free := range map[string]func(t *testing.T, b *Bytes) error{
			"Recv":     func(t *testing.T, b *Bytes) error { return second(b.Recv(nil)) },
			"TryRecv":  func(t *testing.T, b *Bytes) error { return second(b.TryRecv(nil)) },
			"RecvFunc": func(t *testing.T, b *Bytes) error { return b.RecvFunc(t.Context(), func([]byte) error { return nil }) },
			"RecvFunc that fails, and Recv": func(t *testing.T, b *Bytes) error {
				require.ErrorIs(t, b.RecvFunc(t.Context(), func([]byte) error { return no }), no)
				return second(b.Recv(nil))
			},
			"Close":  func(t *testing.T, b *Bytes) error { return b.Close() },
			"Detach": nil, "cancel": nil, "SendFunc given up": nil, "SendFunc of a short message": nil, "nobody receives": nil,
		} {
			t.Run(where+" "+what, func(t *testing.T) {
				opts := smallArena()
				if what == "nobody receives" {
					opts = append(opts, WithDisconnect())
				}
				b := openBytes(t, opts...)
				other := b
				if where == "another" || what == "nobody receives" {
					other = must[*Bytes](t)(OpenBytes("test", WithDir(b.BytesSender.h.opts.dir), WithWait(Park)))
					defer func() { _ = other.Detach() }()
				}
				if what == "nobody receives" {
					require.NoError(t, b.BytesReceiver.Detach())
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				given, giveUp := make(chan error), make(chan struct{})
				if what == "SendFunc given up" || what == "SendFunc of a short message" {
					inside := make(chan struct{})
					go func() {
						given <- other.SendFunc(t.Context(), 5*testBlock, func([]byte) (int, error) {
							close(inside)
							<-giveUp
							if what == "SendFunc given up" {
								return 0, no
							}
							return inlineSmall, nil
						})
					}()
					<-inside
				} else {
					require.NoError(t, other.Send(blocksOf(5, 1)))
				}
				require.NoError(t, other.Send(blocksOf(5, 2)))
				sent := make(chan error)
				parked := b.Stats().Parked
				go func() { sent <- b.SendContext(ctx, blocksOf(5, 3)) }()
				until(t, "parked", func() bool { return b.Stats().Parked > parked })
				var want error
				switch what {
				case "Detach":
					want = ErrDetached
					require.NoError(t, b.BytesSender.Detach())
				case "cancel":
					want = context.Canceled
					cancel()
				case "SendFunc given up":
					close(giveUp)
					require.ErrorIs(t, <-given, no)
				case "SendFunc of a short message":
					close(giveUp)
					require.NoError(t, <-given)
				case "nobody receives":
					want = ErrDisconnected
					require.NoError(t, other.BytesReceiver.Detach())
				case "Close":
					want = ErrClosed
					require.NoError(t, free(t, other))
				default:
					require.NoError(t, free(t, other))
				}
				require.ErrorIs(t, <-sent, want)
			})
		}
	}
}

// Who waits for room is woken when a dead receiver's message has gone to another, who takes it.
func TestRoomAfterADeadReceiver(t *testing.T) {
	noBackstop(t)
	b := openBytes(t, smallArena()...)
	require.NoError(t, b.Send(blocksOf(5, 1)))
	require.NoError(t, b.Send(blocksOf(5, 2)))
	c := start(t, "arena-holder", b.BytesSender.h.opts.dir, "recv")
	require.Equal(t, "in", c.line())
	sent := make(chan error)
	go func() { sent <- b.Send(blocksOf(5, 3)) }()
	until(t, "parked", func() bool { return b.Stats().Parked > 0 })
	c.kill()
	until(t, "it is cleared away", func() bool { return b.Stats().Recovered == 1 })
	takes(t, b.BytesReceiver, blocksOf(5, 1))
	require.NoError(t, <-sent)
	takes(t, b.BytesReceiver, blocksOf(5, 2))
	takes(t, b.BytesReceiver, blocksOf(5, 3))
	// And when one who waited with an earlier position in hand has died.
	require.NoError(t, b.Send(blocksOf(5, 1)))
	require.NoError(t, b.Send(blocksOf(5, 2)))
	c = start(t, "arena-holder", b.BytesSender.h.opts.dir, "waits")
	require.Equal(t, "in", c.line())
	c.kill()
	takes(t, b.BytesReceiver, blocksOf(5, 1))
	require.NoError(t, b.Send(blocksOf(5, 3)))
	takes(t, b.BytesReceiver, blocksOf(5, 2))
	takes(t, b.BytesReceiver, blocksOf(5, 3))
	roomEverywhere(t, b.BytesSender, b.BytesReceiver)
}

// SendFD after a TrySend that found no room: readable once there is some, not before, and none is lost.
func TestSendFDWaitsForRoom(t *testing.T) {
	noBackstop(t)
	for name, roles := range kinds {
		t.Run(name, func(t *testing.T) {
			b := openBytes(t, smallArena(roles...)...)
			fd := must[int](t)(b.SendFD())
			for i := range 6 {
				require.NoError(t, b.TrySend(blocksOf(5, i)))
				require.NoError(t, b.TrySend(blocksOf(5, i+1)))
				require.ErrorIs(t, b.TrySend(blocksOf(5, i+2)), ErrFull)
				for range 3 {
					require.False(t, readable(t, fd, 0), "there is no room")
				}
				b.BytesSender.h.lookAfter()
				require.False(t, readable(t, fd, 0), "nor after a look")
				takes(t, b.BytesReceiver, blocksOf(5, i))
				require.True(t, readable(t, fd, -1))
				require.NoError(t, b.TrySend(blocksOf(5, i+2)))
				takes(t, b.BytesReceiver, blocksOf(5, i+1))
				takes(t, b.BytesReceiver, blocksOf(5, i+2))
			}
			require.NoError(t, b.BytesSender.Detach())
			require.Zero(t, b.BytesReceiver.h.rvCount[rvRoom])
		})
	}
}

// Goroutines of several handles send messages of all lengths, some of which they give up or back; each is whole, and none is lost.
func TestArenaManyAtOnce(t *testing.T) {
	for name, roles := range kinds {
		t.Run(name, func(t *testing.T) {
			b := openBytes(t, append(smallArena(roles...), WithCapacity(5), withStart(1<<32-100))...)
			h := b.BytesSender.h
			const each = 400
			senders, receivers := 3, 2
			if h.oneSender {
				senders = 1
			}
			if h.oneRecver {
				receivers = 1
			}
			no := errors.New("no")
			var group, receiving sync.WaitGroup
			var sum, got atomic.Int64
			for g := range senders {
				group.Go(func() {
					for i := range each {
						n := (i*7919 + g*1300) % (5*testBlock + 1)
						p := bytes.Repeat([]byte{byte(i + g)}, n)
						if i%5 == 0 {
							_ = b.SendFunc(t.Context(), n, func(buf []byte) (int, error) { copy(buf, bytes.Repeat([]byte{0xee}, n)); return 0, no })
						}
						if !assert.NoError(t, b.Send(p)) {
							return
						}
						sum.Add(int64(n))
					}
				})
			}
			for range receivers {
				receiving.Go(func() {
					for i := 0; ; i++ {
						err := b.RecvFunc(t.Context(), func(msg []byte) error {
							for _, c := range msg {
								if c != msg[0] {
									t.Error("a torn message")
									break
								}
							}
							if i%7 == 0 {
								i++
								return no
							}
							got.Add(int64(len(msg)))
							return nil
						})
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil && !errors.Is(err, no) {
							t.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			require.NoError(t, b.Close())
			receiving.Wait()
			require.Equal(t, sum.Load(), got.Load())
		})
	}
}
