package shmchan

// Raw handles beside typed ones and ones of bytes: the same channel, the same rules.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	roles["raw-hold"] = func(args []string) error { // takes a value raw, says so, and keeps it in hand
		r, err := OpenRawReceiver(args[1], WithDir(args[0]))
		if err != nil {
			return err
		}
		return r.RecvFunc(context.Background(), func([]byte) error {
			fmt.Println("in hand")
			_, _ = os.Stdin.Read(make([]byte, 1))
			return errors.New("nobody took it")
		})
	}
}

// rawValue has all that a raw handle must get right: a bool, padding, more than a cache line.
type rawValue struct {
	Seq  uint64
	Ok   [3]bool
	Px   float64
	Fill [70]byte
}

func rawBytes(v *rawValue) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)))
}

func rawOf(i int) rawValue {
	v := rawValue{Seq: uint64(i), Ok: [3]bool{i%2 == 0, true, i%3 == 0}, Px: float64(i) / 4}
	copy(v.Fill[:], some(len(v.Fill), i))
	return v
}

func openRawSender(t testing.TB, dir string, opts ...Option) *RawSender {
	t.Helper()
	s, err := OpenRawSender("test", append([]Option{WithDir(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Detach() })
	return s
}

func openRawReceiver(t testing.TB, dir, name string, opts ...Option) *RawReceiver {
	t.Helper()
	r, err := OpenRawReceiver(name, append([]Option{WithDir(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Detach() })
	return r
}

// rawForms are the forms of a channel, and what raw handles on it have of their own.
func rawForms(t *testing.T, f func(t *testing.T, capacity int, channel, handle []Option)) {
	for kind, single := range kinds {
		for how, more := range map[string][2][]Option{"": {}, ", guarded": {nil, {WithFaultGuard()}}, ", checked": {{WithChecksum()}, nil}} {
			for _, c := range []int{0, 1, 3, 16, 200} {
				t.Run(fmt.Sprintf("%s%s, capacity %d", kind, how, c), func(t *testing.T) {
					f(t, c, slices.Concat(single, more[0], []Option{WithCapacity(c), withStart(posMask - 20)}), more[1])
				})
			}
		}
	}
}

// rawSends and rawRecvs are the ways to send a value and to get one.
var rawSends = []func(s *RawSender, v []byte) error{
	func(s *RawSender, v []byte) error { return s.Send(v) },
	func(s *RawSender, v []byte) error { return s.SendContext(context.Background(), v) },
	func(s *RawSender, v []byte) error {
		for {
			if err := s.TrySend(v); !errors.Is(err, ErrFull) {
				return err
			}
			runtime.Gosched()
		}
	},
}

var rawRecvs = []func(r *RawReceiver) ([]byte, error){
	func(r *RawReceiver) ([]byte, error) { return r.Recv(nil) },
	func(r *RawReceiver) ([]byte, error) { return r.RecvContext(context.Background(), nil) },
	func(r *RawReceiver) ([]byte, error) {
		for {
			if v, err := r.TryRecv(nil); !errors.Is(err, ErrEmpty) {
				return v, err
			}
			runtime.Gosched()
		}
	},
	func(r *RawReceiver) (out []byte, err error) {
		err = r.RecvFunc(context.Background(), func(v []byte) error { out = slices.Clone(v); return nil })
		return out, err
	},
	func(r *RawReceiver) (out []byte, err error) {
		err = r.RecvFuncAt(context.Background(), func(_ uint64, v []byte) error { out = slices.Clone(v); return nil })
		return out, err
	},
}

// What goes in raw comes out typed, and the other way, by every call.
func TestRawBesideTyped(t *testing.T) {
	const n = 400
	rawForms(t, func(t *testing.T, capacity int, channel, handle []Option) {
		dir := memDir(t)
		maker, err := Open[rawValue]("test", append(channel, WithDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = maker.Detach() })

		require.NoError(t, maker.Sender.Detach())
		s := openRawSender(t, dir, handle...)
		require.Equal(t, capacity, s.Cap())
		require.Equal(t, "shmchan.rawValue", s.Type())
		require.Equal(t, int(unsafe.Sizeof(rawValue{})), s.Layout().Size())
		require.Equal(t, 0, s.MaxMessage())
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range n {
				v := rawOf(i)
				assert.NoError(t, rawSends[i/10%len(rawSends)](s, rawBytes(&v)))
			}
		})
		for i := range n {
			v, err := maker.Recv()
			require.NoError(t, err)
			require.Equal(t, rawOf(i), v)
		}
		wg.Wait()
		require.NoError(t, s.Detach())
		require.ErrorIs(t, s.Send(make([]byte, unsafe.Sizeof(rawValue{}))), ErrDetached)

		require.NoError(t, maker.Receiver.Detach())
		sender, err := OpenSender[rawValue]("test", WithDir(dir))
		require.NoError(t, err)
		r := openRawReceiver(t, dir, "test", handle...)
		wg.Go(func() {
			for i := range n {
				assert.NoError(t, sender.Send(rawOf(i)))
			}
			assert.NoError(t, sender.Close())
			assert.NoError(t, sender.Detach())
		})
		for i := range n {
			b, err := rawRecvs[i/10%len(rawRecvs)](r)
			require.NoError(t, err)
			require.Equal(t, rawOf(i), *(*rawValue)(unsafe.Pointer(&b[0])))
		}
		for _, recv := range rawRecvs {
			_, err := recv(r)
			require.ErrorIs(t, err, ErrClosed)
		}
		wg.Wait()
	})
}

func TestRawBesideBytes(t *testing.T) {
	const n = 300
	rawForms(t, func(t *testing.T, capacity int, channel, handle []Option) {
		for _, most := range []int{300, testMost} {
			dir := memDir(t)
			maker, err := OpenBytes("test", append(channel, WithDir(dir), WithMaxMessage(most))...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = maker.Detach() })
			length := func(i int) int { return i * 7919 % (most + 1) }

			require.NoError(t, maker.BytesSender.Detach())
			s := openRawSender(t, dir, handle...)
			require.Equal(t, most, s.MaxMessage())
			require.True(t, s.Layout().Bytes())
			require.ErrorIs(t, s.Send(make([]byte, most+1)), ErrTooLarge)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range n {
					assert.NoError(t, rawSends[i/10%len(rawSends)](s, some(length(i), i)))
				}
			})
			for i := range n {
				v, err := maker.Recv(nil)
				require.NoError(t, err)
				require.True(t, slices.Equal(some(length(i), i), v), "message %d", i)
			}
			wg.Wait()
			require.NoError(t, s.Detach())

			require.NoError(t, maker.BytesReceiver.Detach())
			sender, err := OpenBytesSender("test", WithDir(dir))
			require.NoError(t, err)
			r := openRawReceiver(t, dir, "test", handle...)
			wg.Go(func() {
				for i := range n {
					assert.NoError(t, sender.Send(some(length(i), i)))
				}
				assert.NoError(t, sender.Detach())
			})
			for i := range n {
				b, err := rawRecvs[i/10%len(rawRecvs)](r)
				require.NoError(t, err)
				require.True(t, slices.Equal(some(length(i), i), b), "message %d", i)
			}
			wg.Wait()
			require.NoError(t, r.Detach())
		}
	})
}

// A value that no typed handle could have sent takes no place.
func TestRawRefusesWhatIsNoValue(t *testing.T) {
	ch := openTest[rawValue](t, WithCapacity(2))
	s := openRawSender(t, ch.Sender.h.opts.dir)
	good := rawOf(1)
	for _, send := range rawSends {
		for _, v := range [][]byte{nil, rawBytes(&good)[1:], append(rawBytes(&good), 0)} {
			err := send(s, v)
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.ErrorContains(t, err, fmt.Sprintf(`channel "test": invalid argument: a value of %d bytes, and those of shmchan.rawValue have %d; send all`, len(v), unsafe.Sizeof(good)))
		}
		bad := rawBytes(&good)
		bad[unsafe.Offsetof(good.Ok)+1] = 7
		err := send(s, bad)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, "Ok[1] is a bool that is neither 0 nor 1")
	}
	st := s.Stats()
	require.Zero(t, st.Sent+st.Abandoned+uint64(st.Len))
	require.NoError(t, s.TrySend(rawBytes(&good)))
	require.NoError(t, s.TrySend(rawBytes(&good)))
	require.ErrorIs(t, s.TrySend(rawBytes(&good)), ErrFull)
}

func TestRawDropsWhatIsNoValue(t *testing.T) {
	for _, recv := range rawRecvs {
		ch := openTest[rawValue](t, WithCapacity(4))
		r := openRawReceiver(t, ch.Sender.h.opts.dir, "test")
		require.NoError(t, ch.Send(rawOf(1)))
		require.NoError(t, ch.Send(rawOf(2)))
		pos := ch.Sender.h.info.start
		*(*byte)(unsafe.Add(ch.Sender.h.value(pos), unsafe.Offsetof(rawValue{}.Ok)+2)) = 9
		_, err := recv(r)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "Ok[2], of the value at position 0, is a bool that is neither 0 nor 1; it was dropped")
		v, err := recv(r)
		require.NoError(t, err)
		require.Equal(t, rawOf(2), *(*rawValue)(unsafe.Pointer(&v[0])))
		require.NoError(t, ch.Detach())

		ch = openTest[rawValue](t, WithCapacity(4), WithChecksum())
		r = openRawReceiver(t, ch.Sender.h.opts.dir, "test")
		require.NoError(t, ch.Send(rawOf(1)))
		*(*byte)(unsafe.Add(ch.Sender.h.value(ch.Sender.h.info.start), 1)) ^= 1
		_, err = recv(r)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "checksum")
	}
}

// What RecvFunc did not use stays, with its position.
func TestRawRecvFuncInVain(t *testing.T) {
	rawForms(t, func(t *testing.T, capacity int, channel, handle []Option) {
		dir := memDir(t)
		ch, err := Open[rawValue]("test", append(channel, WithDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ch.Detach() })
		require.NoError(t, ch.Receiver.Detach())
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, ch.Send(rawOf(5))) })
		r := openRawReceiver(t, dir, "test", handle...)
		no := errors.New("no")
		var at []uint64
		use := func(fail error) func(pos uint64, v []byte) error {
			return func(pos uint64, v []byte) error {
				at = append(at, pos)
				assert.Equal(t, rawOf(5), *(*rawValue)(unsafe.Pointer(&slices.Clone(v)[0])))
				return fail
			}
		}
		require.ErrorIs(t, r.RecvFuncAt(context.Background(), use(no)), no)
		require.Panics(t, func() {
			_ = r.RecvFunc(context.Background(), func([]byte) error { panic("no") })
		})
		require.NoError(t, r.RecvFuncAt(context.Background(), use(nil)))
		require.Equal(t, at[0], at[1])
		wg.Wait()
		_, err = r.TryRecv(nil)
		require.ErrorIs(t, err, ErrEmpty)
	})
}

// A process that dies with a value in hand leaves it.
func TestRawReceiverDies(t *testing.T) {
	ch := openTest[rawValue](t, WithCapacity(2))
	require.NoError(t, ch.Send(rawOf(3)))
	c := start(t, "raw-hold", ch.Sender.h.opts.dir, "test")
	require.Equal(t, "in hand", c.line())
	_, err := ch.TryRecv()
	require.ErrorIs(t, err, ErrEmpty)
	c.kill()
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, rawOf(3), v)
	require.Equal(t, uint64(1), ch.Stats().Redelivered)
}

func TestRawHasItsRoles(t *testing.T) {
	ch := openTest[rawValue](t, WithSingleSender())
	dir := WithDir(ch.Sender.h.opts.dir)
	_, err := OpenRawSender("test", dir)
	require.ErrorIs(t, err, ErrBusy)
	_, err = OpenRaw("test", dir)
	require.ErrorIs(t, err, ErrBusy)
	r := openRawReceiver(t, ch.Sender.h.opts.dir, "test")
	info, err := Inspect("test", dir)
	require.NoError(t, err)
	require.Len(t, info.Peers, 2)
	require.Equal(t, 2, info.Receivers)
	require.Equal(t, 1, info.Senders)
	require.NoError(t, r.Detach())

	require.NoError(t, ch.Sender.Detach())
	s := openRawSender(t, ch.Sender.h.opts.dir)
	_, err = OpenSender[rawValue]("test", dir)
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Close(), ErrClosed)
	_, err = ch.Recv()
	require.ErrorIs(t, err, ErrClosed)
}

// Half of a pair is a channel whose roles are held once.
func TestRawHalfOfAPair(t *testing.T) {
	dir := memDir(t)
	a, err := OpenDuplex[rawValue, int32]("pair", SideA, WithDir(dir))
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Detach() })
	_, err = OpenRawSender("pair.ab", WithDir(dir))
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, a.Send(rawOf(1)))
	r := openRawReceiver(t, dir, "pair.ab")
	v, err := r.Recv(nil)
	require.NoError(t, err)
	require.Equal(t, rawOf(1), *(*rawValue)(unsafe.Pointer(&v[0])))
}

func TestRawOfNothing(t *testing.T) {
	dir := memDir(t)
	_, want := Inspect("test", WithDir(dir))
	for _, open := range []func() error{
		func() error { _, err := OpenRaw("test", WithDir(dir)); return err },
		func() error { _, err := OpenRawSender("test", WithDir(dir)); return err },
		func() error { _, err := OpenRawReceiver("test", WithDir(dir)); return err },
	} {
		err := open()
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.EqualError(t, err, want.Error())
	}
	_, err := OpenRaw("test", WithDir(dir), WithCreate())
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "WithLayout")
	names, err := List(WithDir(dir))
	require.NoError(t, err)
	require.Empty(t, names)
}

// What a raw handle states must be so.
func TestRawMismatch(t *testing.T) {
	ch := openTest[rawValue](t, WithCapacity(7))
	dir := WithDir(ch.Sender.h.opts.dir)
	for _, c := range []struct {
		opt  Option
		what string
	}{
		{WithCapacity(8), "the capacity"}, {WithSingleSender(), "the sender's role"}, {WithChecksum(), "the checksum"}, {WithMaxMessage(10), "the kind of channel"},
		{WithLayout("[]byte", bytesLayout().text), "the value"},
		{WithLayout("x", ". int64 0 8 8\n"), "the value"},
	} {
		_, err := OpenRaw("test", dir, c.opt)
		var m *MismatchError
		require.ErrorAs(t, err, &m)
		require.Equal(t, c.what, m.What)
	}
	_, err := OpenRaw("test", dir, WithCreate(), WithLayout("x", ". int64 0 8 8\n"))
	require.ErrorIs(t, err, fs.ErrExist)
}

// A channel made of a layout that came from elsewhere is that of the type.
func TestRawMakesAChannel(t *testing.T) {
	l, err := layoutFor[rawValue]("")
	require.NoError(t, err)
	for kind, opts := range kinds {
		t.Run(kind, func(t *testing.T) {
			dir := memDir(t)
			r, err := OpenRawReceiver("test", append(opts, WithDir(dir), WithLayout("elsewhere.Tick", l.text), WithCapacity(3), WithChecksum())...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = r.Detach() })
			require.Equal(t, "elsewhere.Tick", r.Type())

			_, err = OpenSender[struct {
				Seq  uint64
				Ok   [3]bool
				Px   int64
				Fill [70]byte
			}]("test", WithDir(dir))
			var m *MismatchError
			require.ErrorAs(t, err, &m)
			at := fmt.Sprint(unsafe.Offsetof(rawValue{}.Px))
			require.Equal(t, []string{"Px", "int64 at " + at, "float64 at " + at}, []string{m.What, m.Here, m.There})
			_, err = OpenBytesSender("test", WithDir(dir))
			require.ErrorIs(t, err, ErrMismatch)

			s, err := OpenSender[rawValue]("test", WithDir(dir), WithCapacity(3))
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Detach() })
			require.NoError(t, s.Send(rawOf(1)))
			v, err := r.Recv(nil)
			require.NoError(t, err)
			require.Equal(t, rawOf(1), *(*rawValue)(unsafe.Pointer(&v[0])))

			again, err := OpenRaw("test", WithDir(dir), WithLayout("other.Name", l.text), WithAttach())
			if len(opts) > 0 {
				require.ErrorIs(t, err, ErrBusy)
				return
			}
			require.NoError(t, err)
			require.Equal(t, r.ID(), again.ID())
			require.NoError(t, again.Detach())
		})
	}

	dir := memDir(t)
	b, err := OpenRaw("bytes", WithDir(dir), WithLayout("[]byte", bytesLayout().text), WithMaxMessage(5000))
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Detach() })
	other, err := OpenBytes("bytes", WithDir(dir), WithMaxMessage(5000))
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Detach() })
	require.NoError(t, other.Send(some(5000, 1)))
	v, err := b.Recv(nil)
	require.NoError(t, err)
	require.Equal(t, some(5000, 1), v)

	_, err = OpenRaw("lie", WithDir(dir), WithLayout("x", ". struct 0 8 4\nA int32 0 4 4\nB int32 2 4 4\n"))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, `channel "lie": invalid argument: WithLayout: layout: invalid argument: line 3 "B int32 2 4 4": it begins at 2, in what stands before it`)
	_, err = OpenRaw("lie", WithDir(dir), WithLayout("x", ". int64 0 8 8\n"), WithMaxMessage(10))
	require.ErrorContains(t, err, "WithMaxMessage")
	_, err = Open[int64]("lie", WithDir(dir), WithLayout("x", ". int64 0 8 8\n"))
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "WithLayout is for OpenRaw")
}

// A file whose type's description is none that a type can have is not touched further.
func TestRawOfALyingFile(t *testing.T) {
	for _, text := range []string{"", "x", ". struct 0 8 8\nA int64 0 8 8\nB int64 0 8 8\n", ". bytes 0 0 8\n"} {
		dir := memDir(t)
		o := newOptions([]Option{WithDir(dir), WithCapacity(2)})
		path, err := pathOf("test", &o)
		require.NoError(t, err)
		h, err := newHeader("test", &o, &layout{size: 8, text: text, typeName: "x", fingerprint: fingerprintOf(text)})
		require.NoError(t, err)
		f, mem, err := create("test", path, &o, h)
		require.NoError(t, err)
		require.NoError(t, errors.Join(unmap(mem), f.Close()))
		_, err = OpenRaw("test", WithDir(dir))
		require.ErrorIs(t, err, ErrCorrupt, "%q", text)
	}
}

func TestRawNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	forms := maps.Clone(kinds)
	forms["checked"] = []Option{WithChecksum()}
	for kind, opts := range forms {
		ch := openTest[rawValue](t, append(opts, WithCapacity(8))...)
		require.NoError(t, ch.Detach())
		s, r := openRawSender(t, ch.Sender.h.opts.dir), openRawReceiver(t, ch.Sender.h.opts.dir, "test")
		one := rawOf(1)
		v, buf := rawBytes(&one), make([]byte, 0, 200)
		n := testing.AllocsPerRun(100, func() {
			_ = s.Send(v)
			_, _ = r.Recv(buf)
		})
		require.Zero(t, n, kind)
	}
}
