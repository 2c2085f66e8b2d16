package shmcapnp

// Messages over a channel: built and read in place, and what becomes of those that fail.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/capnp/internal/market"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func openBytes(t testing.TB, opts ...shmchan.Option) *shmchan.Bytes {
	t.Helper()
	b, err := shmchan.OpenBytes("messages", append([]shmchan.Option{shmchan.WithDir(memDir(t))}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Detach() })
	return b
}

// quote builds one.
func quote(symbol string, levels int) func(*capnp.Segment) error {
	return func(s *capnp.Segment) error {
		q, err := market.NewRootQuote(s)
		if err != nil {
			return err
		}
		return market.Fill(q, symbol, levels)
	}
}

// message is the same as a message of one segment, and as bytes.
func message(t testing.TB, symbol string, levels int) (*capnp.Message, []byte) {
	t.Helper()
	m, s := capnp.NewSingleSegmentMessage(nil)
	require.NoError(t, quote(symbol, levels)(s))
	b, err := m.Marshal()
	require.NoError(t, err)
	return m, b
}

// multi is a message with many segments, in which pointers go from one to the next.
func multi(t testing.TB, symbol string) *capnp.Message {
	t.Helper()
	m, s := capnp.NewMultiSegmentMessage([][]byte{make([]byte, 0, 16), make([]byte, 0, 48), make([]byte, 0, 64), make([]byte, 0, 4096)})
	require.NoError(t, quote(symbol, 5)(s))
	require.EqualValues(t, 4, m.NumSegments())
	return m
}

func sumOf(m *capnp.Message) (uint64, error) {
	q, err := market.ReadRootQuote(m)
	if err != nil {
		return 0, err
	}
	return market.Sum(q)
}

// What SendFunc builds lies in the channel as the standard framing has it, byte for byte, whatever was there before; RecvFunc's message is
// that memory itself, but for a short one that was given much room.
func TestInPlace(t *testing.T) {
	for _, most := range []int{4096, 1 << 20} { // In the slot; in the arena too.
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			c := openBytes(t, shmchan.WithMaxMessage(most), shmchan.WithCapacity(2))
			junk := make([]byte, most)
			for i := range junk {
				junk[i] = 0xa5
			}
			for i := range 8 { // Every slot and every block has held something.
				require.NoError(t, c.Send(junk))
				_, err := c.Recv(nil)
				require.NoError(t, err)
				levels := i * 9
				_, want := message(t, "AAPL", levels)
				for _, room := range []int{len(want), len(want) + 7, most} {
					var built unsafe.Pointer
					require.NoError(t, SendFunc(t.Context(), c.BytesSender, room, func(s *capnp.Segment) error {
						if err := quote("AAPL", levels)(s); err != nil {
							return err
						}
						built = unsafe.Pointer(&s.Data()[0])
						return nil
					}))
					require.Zero(t, uintptr(built)%8, "a message is not aligned")
					again := errors.New("again")
					require.ErrorIs(t, RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
						s, err := m.Segment(0)
						require.NoError(t, err)
						if short := most > 4096 && room > 1008 && len(want) <= 1008; !short { // A short one goes from the room that it was given into its slot.
							require.Equal(t, built, unsafe.Pointer(&s.Data()[0]), "a message was copied")
						}
						a, err := sumOf(m)
						require.NoError(t, err)
						w, _ := message(t, "AAPL", levels)
						b, err := sumOf(w)
						require.NoError(t, err)
						require.Equal(t, b, a)
						return again
					}), again)
					got, err := c.Recv(nil)
					require.NoError(t, err)
					require.Equal(t, want, got)
				}
			}
		})
	}
}

// Any message that fits is the same however it was sent, and however it is received.
func TestAnyMessage(t *testing.T) {
	c := openBytes(t, shmchan.WithMaxMessage(1<<16))
	rapid.Check(t, func(r *rapid.T) {
		symbol := rapid.String().Draw(r, "symbol")
		levels := rapid.IntRange(0, 300).Draw(r, "levels")
		m, want := message(t, symbol, levels)
		var err error
		switch rapid.IntRange(0, 2).Draw(r, "send") {
		case 0:
			err = SendFunc(t.Context(), c.BytesSender, len(want)+rapid.IntRange(0, 100).Draw(r, "more"), quote(symbol, levels))
		case 1:
			err = Send(t.Context(), c.BytesSender, m)
		default:
			err = c.Send(want)
		}
		require.NoError(r, err)
		var got []byte
		if rapid.Bool().Draw(r, "in place") {
			err = RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
				got, err = m.Marshal()
				return err
			})
		} else {
			var m *capnp.Message
			m, err = Recv(t.Context(), c.BytesReceiver)
			require.NoError(r, err)
			got, err = m.Marshal()
		}
		require.NoError(r, err)
		require.Equal(r, want, got)
	})
}

func TestManySegments(t *testing.T) {
	c := openBytes(t, shmchan.WithMaxMessage(8192))
	want, err := sumOf(multi(t, "NESN"))
	require.NoError(t, err)
	require.NoError(t, Send(t.Context(), c.BytesSender, multi(t, "NESN")))
	require.NoError(t, Send(t.Context(), c.BytesSender, multi(t, "NESN")))
	require.NoError(t, RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
		require.EqualValues(t, 4, m.NumSegments())
		got, err := sumOf(m)
		require.Equal(t, want, got)
		return err
	}))
	m, err := Recv(t.Context(), c.BytesReceiver)
	require.NoError(t, err)
	got, err := sumOf(m)
	require.NoError(t, err)
	require.Equal(t, want, got)

	many := make([][]byte, maxSegments+1)
	for i := range many {
		many[i] = make([]byte, 8)
	}
	require.ErrorContains(t, Send(t.Context(), c.BytesSender, &capnp.Message{Arena: capnp.MultiSegment(many)}), "513 segments")
	require.NoError(t, Send(t.Context(), c.BytesSender, &capnp.Message{Arena: capnp.MultiSegment(many[:len(many)-1])}))
	require.ErrorContains(t, Send(t.Context(), c.BytesSender, &capnp.Message{Arena: capnp.SingleSegment(make([]byte, 12))}), "whole words")
}

// A message that does not fit is refused, and nothing of it is sent.
func TestOutgrown(t *testing.T) {
	for _, most := range []int{4096, 1 << 16} {
		c := openBytes(t, shmchan.WithMaxMessage(most))
		_, want := message(t, "AAPL", 30)
		for _, room := range []int{0, 7, 8, 15, 16, 17, 64, len(want) - 8, len(want) - 1} {
			err := SendFunc(t.Context(), c.BytesSender, room, quote("AAPL", 30))
			require.ErrorIs(t, err, shmchan.ErrTooLarge, "%d", room)
			require.ErrorContains(t, err, `channel "messages"`)
			err = SendFunc(t.Context(), c.BytesSender, room, func(s *capnp.Segment) error {
				_ = quote("AAPL", 30)(s)
				return nil
			})
			require.ErrorIs(t, err, shmchan.ErrTooLarge, "%d: an error of Cap'n Proto was not looked at", room)
			require.Zero(t, c.Len())
		}
		require.ErrorIs(t, SendFunc(t.Context(), c.BytesSender, most+1, quote("AAPL", 1)), shmchan.ErrTooLarge)
		require.Error(t, SendFunc(t.Context(), c.BytesSender, -1, quote("AAPL", 1)))
		m, _ := message(t, "AAPL", most)
		require.ErrorIs(t, Send(t.Context(), c.BytesSender, m), shmchan.ErrTooLarge)
		require.Zero(t, c.Len())
		require.NoError(t, SendFunc(t.Context(), c.BytesSender, len(want), quote("AAPL", 30)))
		got, err := c.Recv(nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A build that fails or panics sends nothing, and leaves nothing behind for the next one.
func TestBuildFails(t *testing.T) {
	c := openBytes(t, shmchan.WithCapacity(1))
	mine := errors.New("mine")
	for range 4 {
		require.Equal(t, mine, SendFunc(t.Context(), c.BytesSender, 4096, func(s *capnp.Segment) error {
			require.NoError(t, quote("half", 3)(s))
			return mine
		}))
		require.PanicsWithValue(t, "mine", func() {
			_ = SendFunc(t.Context(), c.BytesSender, 4096, func(s *capnp.Segment) error {
				require.NoError(t, quote("half", 3)(s))
				panic("mine")
			})
		})
		require.Zero(t, c.Len())
		require.NoError(t, SendFunc(t.Context(), c.BytesSender, 4096, func(*capnp.Segment) error { return nil }))
		got, err := c.Recv(nil)
		require.NoError(t, err)
		require.Equal(t, make([]byte, 8), got[8:], "the root of a message before")
		require.Len(t, got, 16)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, SendFunc(ctx, c.BytesSender, 4096, quote("late", 1)), context.Canceled)
	require.NoError(t, c.Close())
	require.ErrorIs(t, SendFunc(t.Context(), c.BytesSender, 4096, quote("late", 1)), shmchan.ErrClosed)
}

func TestCapabilitiesAreRefused(t *testing.T) {
	c := openBytes(t)
	with := func(s *capnp.Segment) error {
		p, err := market.NewRootMarket_place_Params(s)
		if err != nil {
			return err
		}
		return p.SetListener(market.Listener(capnp.ErrorClient(errors.New("nobody"))))
	}
	require.ErrorContains(t, SendFunc(t.Context(), c.BytesSender, 4096, with), "1 capabilities")
	m, s := capnp.NewSingleSegmentMessage(nil)
	require.NoError(t, with(s))
	require.ErrorContains(t, Send(t.Context(), c.BytesSender, m), "1 capabilities")
	require.Zero(t, c.Len())
	require.NoError(t, SendFunc(t.Context(), c.BytesSender, 4096, quote("after", 1)))
}

// A use that fails or panics gives the message back; Malformed drops it.
func TestUseFails(t *testing.T) {
	c := openBytes(t)
	mine := errors.New("mine")
	require.NoError(t, SendFunc(t.Context(), c.BytesSender, 4096, quote("again", 2)))
	for range 3 {
		require.Equal(t, mine, RecvFunc(t.Context(), c.BytesReceiver, func(*capnp.Message) error { return mine }))
		require.PanicsWithValue(t, "mine", func() {
			_ = RecvFunc(t.Context(), c.BytesReceiver, func(*capnp.Message) error { panic("mine") })
		})
		require.Equal(t, 1, c.Len())
	}
	err := RecvFunc(t.Context(), c.BytesReceiver, func(*capnp.Message) error { return fmt.Errorf("use: %w", Malformed(mine)) })
	require.ErrorIs(t, err, mine)
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, `channel "messages"`)
	require.Zero(t, c.Len())
	require.NoError(t, Malformed(nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, RecvFunc(ctx, c.BytesReceiver, nil), context.Canceled)
	_, err = Recv(ctx, c.BytesReceiver)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, c.Close())
	require.ErrorIs(t, RecvFunc(t.Context(), c.BytesReceiver, nil), shmchan.ErrClosed)
}

// framed puts a table before words.
func framed(words ...uint64) []byte {
	b := make([]byte, 8, 8+8*len(words))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(words)))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func table(numbers ...uint32) (b []byte) {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func TestMalformed(t *testing.T) {
	c := openBytes(t)
	_, good := message(t, "AAPL", 2)
	for name, b := range map[string][]byte{
		"nothing":                {},
		"half a table":           {0, 0, 0, 0},
		"too long":               append(good[:len(good):len(good)], 0),
		"too short":              good[:len(good)-1],
		"no segment":             table(0, 1),
		"too many segments":      table(maxSegments, 0),
		"2^32 segments":          table(1<<32-1, 0),
		"table cut short":        table(9, 0, 0, 0),
		"segment of 2^32 words":  table(0, 1<<32-1),
		"segment of 2^29 words":  table(0, 1<<29),
		"second segment missing": table(1, 1, 1, 0, 0, 0),
		"a word too much":        framed(0, 0)[:8:8],
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.Send(b))
			require.ErrorIs(t, RecvFunc(t.Context(), c.BytesReceiver, func(*capnp.Message) error {
				t.Error("used")
				return nil
			}), ErrMalformed)
			require.Zero(t, c.Len(), "a malformed message was given back")
			require.NoError(t, c.Send(b))
			_, err := Recv(t.Context(), c.BytesReceiver)
			require.ErrorIs(t, err, ErrMalformed)
			require.NoError(t, c.Send(good))
			require.NoError(t, RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
				_, err := sumOf(m)
				return err
			}))
		})
	}
}

// Limits hold in place: pointers that lead out, in a circle, or to the same again and again.
func TestLimits(t *testing.T) {
	c := openBytes(t, shmchan.WithMaxMessage(4096))
	quoteAt := func(offset int32) uint64 { return uint64(uint32(offset)<<2) | 1<<32 | 5<<48 } // 1 word of data, 5 pointers
	read := func(b []byte, use func(m *capnp.Message) error) {
		t.Helper()
		require.NoError(t, c.Send(b))
		require.NoError(t, RecvFunc(t.Context(), c.BytesReceiver, use))
	}
	read(framed(quoteAt(100), 0, 0, 0, 0, 0, 0), func(m *capnp.Message) error {
		_, err := m.Root()
		require.ErrorContains(t, err, "invalid address")
		return nil
	})
	read(framed(quoteAt(-100), 0, 0, 0, 0, 0, 0), func(m *capnp.Message) error {
		_, err := m.Root()
		require.ErrorContains(t, err, "invalid address")
		return nil
	})
	// A struct of one pointer, to itself.
	circle := framed(0|1<<48, uint64(uint32(0xffff_fffc))|1<<48)
	deep := func(m *capnp.Message) (int, error) {
		p, err := m.Root()
		for n := 1; ; n++ {
			if err != nil {
				return n, err
			}
			p, err = p.Struct().Ptr(0)
		}
	}
	read(circle, func(m *capnp.Message) error {
		n, err := deep(m)
		require.ErrorContains(t, err, "depth limit")
		require.Equal(t, 65, n)
		return nil
	})
	read(circle, func(m *capnp.Message) error {
		m.DepthLimit = 1000
		m.ResetReadLimit(80)
		n, err := deep(m)
		require.ErrorContains(t, err, "traversal limit")
		require.Equal(t, 11, n)
		return nil
	})
	read(circle, func(m *capnp.Message) error { // What was set for one message does not stay.
		n, err := deep(m)
		require.ErrorContains(t, err, "depth limit")
		require.Equal(t, 65, n)
		return nil
	})
	// A list of 2^29-1 structs of no size counts as that many words.
	read(framed(1|0<<2|7<<32, uint64(1<<29-1)<<2), func(m *capnp.Message) error {
		_, err := m.Root()
		require.ErrorContains(t, err, "traversal limit")
		return nil
	})
}

// The reference implementation reads what is built here, and what it writes is read here.
func TestReferenceImplementation(t *testing.T) {
	tool, err := exec.LookPath("capnp")
	if err != nil {
		t.Skip("there is no capnp here; Debian has it in the package capnproto")
	}
	all, err := os.ReadFile("internal/market/market.capnp")
	require.NoError(t, err)
	var plain strings.Builder
	for line := range strings.Lines(string(all)) {
		if !strings.Contains(line, "Go") { // Annotations for Go need a file of its module.
			plain.WriteString(line)
		}
	}
	schema := filepath.Join(t.TempDir(), "market.capnp")
	require.NoError(t, os.WriteFile(schema, []byte(plain.String()), 0o600))
	run := func(in []byte, what string) []byte {
		cmd := exec.Command(tool, what, schema, "Quote")
		cmd.Stdin = strings.NewReader(string(in))
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err, errs.String())
		return out
	}
	c := openBytes(t)
	require.NoError(t, SendFunc(t.Context(), c.BytesSender, 4096, quote("NESN", 1)))
	b, err := c.Recv(nil)
	require.NoError(t, err)
	const text = `( symbol = "NESN", time = 1700000000000000000, venue = (name = "Lab", country = "CH"), ` +
		`bids = [(price = 100, size = 1)], asks = [(price = 100.25, size = 1)], tags = ["delayed", "test"] )`
	require.Equal(t, strings.Join(strings.Fields(text), ""), strings.Join(strings.Fields(string(run(b, "decode"))), ""))

	require.NoError(t, c.Send(run([]byte(text), "encode")))
	w, _ := message(t, "NESN", 1)
	want, err := sumOf(w)
	require.NoError(t, err)
	require.NoError(t, RecvFunc(t.Context(), c.BytesReceiver, func(m *capnp.Message) error {
		got, err := sumOf(m)
		require.Equal(t, want, got)
		return err
	}))
}
