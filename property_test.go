package shmchan

// The handle against a plain Go channel as the model, with rapid: any sequence of
// calls that do not wait must give what a chan T of that capacity gives. Positions
// start just before wraparound, so that most runs cross it.

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is a chan T, and what a closed one still holds.
type model struct {
	c      chan uint64
	closed bool
}

func (m *model) trySend(v uint64) error {
	if m.closed {
		return ErrClosed
	}
	select {
	case m.c <- v:
		return nil
	default:
		return ErrFull
	}
}

func (m *model) tryRecv() (uint64, error) {
	select {
	case v, ok := <-m.c:
		if !ok {
			return 0, ErrClosed
		}
		return v, nil
	default:
		return 0, ErrEmpty
	}
}

func sameError(t *rapid.T, what string, want, got error) {
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Fatalf("%s: the model says %v, the channel %v", what, want, got)
	}
}

type wide struct {
	V    uint64
	Fill [9]uint64
	Ok   bool
}

func newWide(v uint64) wide {
	w := wide{V: v, Ok: v%2 == 0}
	for i := range w.Fill {
		w.Fill[i] = v * uint64(i+1)
	}
	return w
}

func TestAgainstAGoChannel(t *testing.T) {
	dir := memDir(t)
	rapid.Check(t, func(t *rapid.T) { againstAGoChannel(t, dir) })
	dirEmpty(t, dir)
}

func againstAGoChannel(t *rapid.T, dir string) {
	capacity := rapid.IntRange(1, 9).Draw(t, "capacity")
	start := uint64(1<<posBits) - rapid.Uint64Range(0, 30).Draw(t, "positions before wraparound")
	single := rapid.SampledFrom([]string{"many", "single sender", "single receiver", "single"}).Draw(t, "roles")
	opts := append([]Option{WithDir(dir), WithCapacity(capacity), withStart(start)}, kinds[single]...)
	if rapid.Bool().Draw(t, "checksums") {
		opts = append(opts, WithChecksum())
	}
	ch, err := Open[wide]("model", opts...)
	require.NoError(t, err)
	handles := []*Chan[wide]{ch}
	if single == "many" {
		for range rapid.IntRange(0, 2).Draw(t, "more handles") {
			other, err := Open[wide]("model", WithDir(dir))
			require.NoError(t, err)
			handles = append(handles, other)
		}
	}
	defer func() {
		_ = handles[0].Close()
		for _, h := range handles {
			_ = h.Detach()
		}
	}()
	pick := func(t *rapid.T) *Chan[wide] { return rapid.SampledFrom(handles).Draw(t, "handle") }
	m := &model{c: make(chan uint64, capacity)}
	next := uint64(0)
	ctx := context.Background()
	bad := errors.New("bad")

	t.Repeat(map[string]func(*rapid.T){
		"TrySend": func(t *rapid.T) {
			sameError(t, "TrySend", m.trySend(next), pick(t).TrySend(newWide(next)))
			next++
		},
		"Send": func(t *rapid.T) {
			if want := m.trySend(next); !errors.Is(want, ErrFull) {
				sameError(t, "Send", want, pick(t).Send(newWide(next)))
			}
			next++
		},
		"SendFunc": func(t *rapid.T) {
			h := pick(t)
			fails := rapid.Bool().Draw(t, "fails")
			if m.closed || len(m.c) == capacity {
				return
			}
			err := h.SendFunc(ctx, func(w *wide) error {
				*w = newWide(next)
				if fails {
					return bad
				}
				return nil
			})
			if fails {
				sameError(t, "SendFunc", bad, err)
			} else {
				sameError(t, "SendFunc", m.trySend(next), err)
			}
			next++
		},
		"SendBatch": func(t *rapid.T) {
			h := pick(t)
			n := rapid.IntRange(0, capacity-len(m.c)).Draw(t, "n")
			var vs []wide
			var want error
			for range n {
				if want = m.trySend(next); want == nil || len(vs) == 0 {
					vs = append(vs, newWide(next))
				}
				next++
			}
			got, err := h.SendBatch(ctx, vs)
			sameError(t, "SendBatch", want, err)
			if want == nil && got != n {
				t.Fatalf("SendBatch sent %d of %d", got, n)
			}
		},
		"TryRecv": func(t *rapid.T) {
			want, wantErr := m.tryRecv()
			got, err := pick(t).TryRecv()
			sameError(t, "TryRecv", wantErr, err)
			if err == nil && got != newWide(want) {
				t.Fatalf("received %+v, not %d", got, want)
			}
		},
		"Recv": func(t *rapid.T) {
			want, wantErr := m.tryRecv()
			if errors.Is(wantErr, ErrEmpty) {
				return
			}
			got, err := pick(t).RecvContext(ctx)
			sameError(t, "Recv", wantErr, err)
			if err == nil && got != newWide(want) {
				t.Fatalf("received %+v, not %d", got, want)
			}
		},
		"RecvFunc": func(t *rapid.T) {
			h := pick(t)
			if len(m.c) == 0 {
				return
			}
			err := h.RecvFunc(ctx, func(*wide) error { return bad })
			sameError(t, "RecvFunc that fails", bad, err)
			want, _ := m.tryRecv()
			err = h.RecvFunc(ctx, func(w *wide) error {
				if *w != newWide(want) {
					t.Fatalf("received %+v, not %d", *w, want)
				}
				return nil
			})
			sameError(t, "RecvFunc", nil, err)
		},
		"RecvBatch": func(t *rapid.T) {
			h := pick(t)
			if len(m.c) == 0 {
				return
			}
			buf := make([]wide, rapid.IntRange(1, capacity+1).Draw(t, "n"))
			n, err := h.RecvBatch(ctx, buf)
			sameError(t, "RecvBatch", nil, err)
			if n != min(len(m.c), len(buf)) {
				t.Fatalf("received %d values of %d into %d", n, len(m.c), len(buf))
			}
			for _, got := range buf[:n] {
				if want, _ := m.tryRecv(); got != newWide(want) {
					t.Fatalf("received %+v, not %d", got, want)
				}
			}
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
			close(m.c)
			m.closed = true
		},
		"another handle of the role": func(t *rapid.T) {
			if single == "many" || m.closed {
				return
			}
			if err := handles[0].Detach(); err != nil {
				t.Fatal(err)
			}
			ch, err := Open[wide]("model", WithDir(dir), WithAttach())
			if err != nil {
				t.Fatal(err)
			}
			handles[0] = ch
		},
		"": func(t *rapid.T) {
			if got, want := pick(t).Len(), len(m.c); got != want {
				t.Fatalf("Len is %d, not %d", got, want)
			}
		},
	})
}

// Each of the words of a slot comes apart as it was put together.
func TestWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pos := rapid.Uint64Range(0, posMask).Draw(t, "position")
		tag := rapid.Uint64Range(0, tagMask).Draw(t, "tag")
		state := rapid.Uint64Range(0, stMask).Draw(t, "state")
		w := word(pos, tag, state)
		if wordPos(w) != pos || wordTag(w) != tag || wordState(w) != state {
			t.Fatalf("%#x", w)
		}
		d := rapid.Int64Range(-1<<(posBits-1)+1, 1<<(posBits-1)-1).Draw(t, "distance")
		if got := dist((pos+uint64(d))&posMask, pos); got != d {
			t.Fatalf("distance %d, not %d", got, d)
		}
	})
}
