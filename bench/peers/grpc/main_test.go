package main

// Both halves of the peer in one process, in every mode: what is right passes, what is not the
// next value is told, and so is a message of another size.

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

type value = [15]uint64

var modes = []string{"tcp", "unix", "tcp-proto", "unix-plain"}

// ends are what the two processes of a row would do.
func ends(t *testing.T, a contract.Args) (send, recv func() error) {
	t.Helper()
	a.Size, a.Dir, a.Role = int(unsafe.Sizeof(value{})), t.TempDir(), contract.Recv
	receive, err := setup(a)
	require.NoError(t, err)
	a.Role = contract.Send
	give, err := setup(a)
	require.NoError(t, err)
	in := make(chan error, 1)
	go func() {
		var r contract.Result
		err := receive(&r)
		if err == nil && r.Count != a.Count {
			err = assert.AnError
		}
		in <- err
	}()
	return func() error { return give(new(contract.Result)) }, func() error { return <-in }
}

func TestValuesPass(t *testing.T) {
	for _, mode := range modes {
		for _, a := range []contract.Args{
			{Row: contract.OneWay, Count: 300},
			{Row: contract.Batch, Count: 300, Batch: 64},
			{Row: contract.PingPong, Count: 30},
		} {
			t.Run(mode+"/"+a.Row, func(t *testing.T) {
				a.Mode = mode
				send, recv := ends(t, a)
				require.NoError(t, send())
				require.NoError(t, recv())
			})
		}
	}
}

// wrongly is a side that sends what it is given.
func wrongly(t *testing.T, a contract.Args, send func(q contract.Queue[value]) error) error {
	t.Helper()
	a.Size, a.Dir, a.Role = int(unsafe.Sizeof(value{})), t.TempDir(), contract.Recv
	receive, err := setup(a)
	require.NoError(t, err)
	in := make(chan error, 1)
	go func() { in <- receive(new(contract.Result)) }()
	m := mode{"unix"}
	c, err := dial(a, m)
	require.NoError(t, err)
	if a.Row == contract.PingPong {
		_ = send(&caller[value]{conn: c, ask: newMessage(m), say: newMessage(m)}) // The call ends with the error that is looked at.
		return <-in
	}
	s, err := c.NewStream(t.Context(), &streamDesc, takeMethod)
	require.NoError(t, err)
	require.NoError(t, send(&oneWay[value]{send: s, m: newMessage(m)}))
	return <-in
}

func TestWrongValueIsTold(t *testing.T) {
	for _, row := range []string{contract.OneWay, contract.Batch, contract.PingPong} {
		t.Run(row, func(t *testing.T) {
			err := wrongly(t, contract.Args{Row: row, Mode: "unix", Count: 10, Batch: 1}, func(q contract.Queue[value]) error {
				for _, seq := range []uint64{0, 1, 3} {
					var v value
					contract.Mark(&v, 0, seq)
					if err := q.Send(&v); err != nil {
						return err
					}
					if row == contract.PingPong {
						if err := q.Recv(&v); err != nil {
							return err
						}
					}
				}
				return nil
			})
			var wrong *contract.WrongError
			require.ErrorAs(t, err, &wrong)
			assert.Contains(t, wrong.What, "0x3..0x3 where 0x2 was next")
		})
	}
}

func TestMessageOfAnotherSizeIsTold(t *testing.T) {
	for row, size := range map[string]int{contract.OneWay: 8, contract.Batch: 2 * 120} {
		t.Run(row, func(t *testing.T) {
			err := wrongly(t, contract.Args{Row: row, Mode: "unix", Count: 10, Batch: 1}, func(q contract.Queue[value]) error {
				o := q.(*oneWay[value])
				o.m.set(make([]byte, size))
				return o.send.SendMsg(o.m.any())
			})
			var wrong *contract.WrongError
			require.ErrorAs(t, err, &wrong)
			assert.Contains(t, wrong.What, "bytes")
		})
	}
}

func TestBareCodecRefusesWhatIsNotItsOwn(t *testing.T) {
	_, err := bareCodec{}.Marshal("text")
	require.ErrorContains(t, err, "string")
	require.ErrorContains(t, bareCodec{}.Unmarshal(nil, 1), "int")
}
