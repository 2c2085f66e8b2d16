package shmchan

// A channel of bytes against a Go channel of them: messages of every length, in slots and in the arena, with any roles, across the
// wraparound of positions, and of the arena.
//
// What it shows: each message arrives once, whole, in order, behind what dst held; errors leave dst and the channel as they were. What
// it does not: calls at the same time (linear_bytes_test.go).

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBytesAgainstAGoChannel(t *testing.T) {
	dir := memDir(t)
	rapid.Check(t, func(t *rapid.T) { bytesAgainstAGoChannel(t, dir) })
	dirEmpty(t, dir)
}

// bytesModel is what the channel holds.
type bytesModel struct {
	queue    [][]byte
	capacity int
	closed   bool
}

func (m *bytesModel) full() bool { return len(m.queue) == m.capacity }

// longOnes is how many messages lie in the arena.
func (m *bytesModel) longOnes(inline int) (n int) {
	for _, p := range m.queue {
		if len(p) > inline {
			n++
		}
	}
	return n
}

func bytesAgainstAGoChannel(t *rapid.T, dir string) {
	m := &bytesModel{capacity: rapid.IntRange(1, 6).Draw(t, "capacity")}
	most := rapid.SampledFrom([]int{1, 7, 8, 120, 4096, 4097, 20000}).Draw(t, "longest message")
	single := rapid.SampledFrom([]string{"many", "single sender", "single receiver", "single"}).Draw(t, "roles")
	start := uint64(1<<posBits) - rapid.Uint64Range(0, 30).Draw(t, "positions before wraparound")
	opts := append([]Option{WithDir(dir), WithCapacity(m.capacity), WithMaxMessage(most), withStart(start)}, kinds[single]...)
	if rapid.Bool().Draw(t, "checksums") {
		opts = append(opts, WithChecksum())
	}
	tight := most > 4096 && rapid.Bool().Draw(t, "tight arena")
	if tight {
		opts = append(opts, WithArena(2*most+2048))
	} else if most > 4096 {
		opts = append(opts, WithArena((m.capacity+2)*(most+4096)))
	}
	b, err := OpenBytes("model", opts...)
	require.NoError(t, err)
	handles := []*Bytes{b}
	if single == "many" {
		for range rapid.IntRange(0, 2).Draw(t, "more handles") {
			other, err := OpenBytes("model", WithDir(dir), WithMaxMessage(most))
			require.NoError(t, err)
			handles = append(handles, other)
		}
	}
	inline := b.BytesSender.h.inline
	defer func() {
		_ = handles[0].Close()
		for _, h := range handles {
			_ = h.Detach()
		}
	}()
	pick := func(t *rapid.T) *Bytes { return rapid.SampledFrom(handles).Draw(t, "handle") }
	message := func(t *rapid.T) []byte {
		n := rapid.OneOf(rapid.IntRange(0, most), rapid.SampledFrom([]int{0, min(inline, most), min(inline+1, most), most})).Draw(t, "length")
		seed := rapid.Byte().Draw(t, "seed")
		p := make([]byte, n)
		for i := range p {
			p[i] = seed + byte(i) + byte(i>>8)
		}
		return p
	}
	// noRoom says that so many bytes may have to wait for the arena.
	noRoom := func(n int) bool { return tight && n > inline && m.longOnes(inline) > 0 }
	sent := func(t *rapid.T, what string, p []byte, room int, err error) {
		switch {
		case m.closed:
			sameError(t, what, ErrClosed, err)
		case m.full():
			sameError(t, what, ErrFull, err)
		case noRoom(room) && errors.Is(err, ErrFull):
		default:
			sameError(t, what, nil, err)
			m.queue = append(m.queue, p)
		}
	}
	received := func(t *rapid.T, what string, dst, got []byte, err error) {
		switch {
		case len(m.queue) > 0:
			sameError(t, what, nil, err)
			if want := append(bytes.Clone(dst), m.queue[0]...); !bytes.Equal(want, got) {
				t.Fatalf("%s: %d bytes %.32x, not %d bytes %.32x", what, len(got), got, len(want), want)
			}
			m.queue = m.queue[1:]
			return
		case m.closed:
			sameError(t, what, ErrClosed, err)
		default:
			sameError(t, what, ErrEmpty, err)
		}
		if !bytes.Equal(dst, got) {
			t.Fatalf("%s failed and gave %x, not %x", what, got, dst)
		}
	}
	ctx := context.Background()
	bad := errors.New("bad")
	prefix := rapid.SliceOfN(rapid.Byte(), 0, 5)

	t.Repeat(map[string]func(*rapid.T){
		"TrySend": func(t *rapid.T) {
			p := message(t)
			sent(t, "TrySend", p, len(p), pick(t).TrySend(p))
		},
		"Send": func(t *rapid.T) {
			if p := message(t); m.closed || !m.full() && !noRoom(len(p)) {
				sent(t, "Send", p, len(p), pick(t).Send(p))
			}
		},
		"too long": func(t *rapid.T) {
			p := make([]byte, most+rapid.IntRange(1, 5000).Draw(t, "too long"))
			h := pick(t)
			sameError(t, "Send", ErrTooLarge, h.Send(p))
			sameError(t, "TrySend", ErrTooLarge, h.TrySend(p))
			sameError(t, "SendFunc", ErrTooLarge, h.SendFunc(ctx, len(p), func([]byte) (int, error) { return 0, nil }))
		},
		"SendFunc": func(t *rapid.T) {
			p := message(t)
			room := rapid.IntRange(len(p), most).Draw(t, "room")
			h := pick(t)
			how := rapid.SampledFrom([]string{"fails", "says too much", "fills", "fills"}).Draw(t, "fill")
			if m.closed || m.full() || noRoom(room) {
				return
			}
			err := h.SendFunc(ctx, room, func(buf []byte) (int, error) {
				if len(buf) != room {
					t.Fatalf("a buffer of %d bytes, not %d", len(buf), room)
				}
				switch how {
				case "fails":
					return 0, bad
				case "says too much":
					return room + 1, nil
				}
				return copy(buf, p), nil
			})
			switch how {
			case "fails":
				sameError(t, "SendFunc", bad, err)
			case "says too much":
				if err == nil {
					t.Fatal("more than there is room for was sent")
				}
			default:
				sent(t, "SendFunc", p, room, err)
			}
		},
		"TryRecv": func(t *rapid.T) {
			dst := prefix.Draw(t, "dst")
			got, err := pick(t).TryRecv(bytes.Clone(dst))
			received(t, "TryRecv", dst, got, err)
		},
		"Recv": func(t *rapid.T) {
			if len(m.queue) == 0 && !m.closed {
				return
			}
			dst := prefix.Draw(t, "dst")
			got, err := pick(t).RecvContext(ctx, bytes.Clone(dst))
			received(t, "Recv", dst, got, err)
		},
		"RecvFunc": func(t *rapid.T) {
			h := pick(t)
			if len(m.queue) == 0 {
				return
			}
			sameError(t, "RecvFunc that fails", bad, h.RecvFunc(ctx, func([]byte) error { return bad }))
			var got []byte
			err := h.RecvFunc(ctx, func(msg []byte) error { got = bytes.Clone(msg); return nil })
			received(t, "RecvFunc", nil, got, err)
		},
		"Close": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "rarely") != 0 {
				return
			}
			err := pick(t).Close()
			if m.closed {
				sameError(t, "Close", ErrClosed, err)
				return
			}
			sameError(t, "Close", nil, err)
			m.closed = true
		},
		"another handle of the role": func(t *rapid.T) {
			if single == "many" || m.closed {
				return
			}
			require.NoError(t, handles[0].Detach())
			b, err := OpenBytes("model", WithDir(dir), WithMaxMessage(most), WithAttach())
			require.NoError(t, err)
			handles[0] = b
		},
		"": func(t *rapid.T) {
			if got, want := pick(t).Len(), len(m.queue); got != want {
				t.Fatalf("Len is %d, not %d", got, want)
			}
		},
	})
}
