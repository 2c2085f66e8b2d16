package shmchan

// Checksums between programs of different architectures: both put the same sum at the same place, and each tells a bit that was flipped in
// a value that the other has sent.

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func init() {
	// A process that opens the channel, says where the sum lies and what it would be, and then does what it is told.
	roles["summer"] = func(args []string) error {
		ch, err := Open[even]("test", WithDir(args[0]), WithAttach(), WithChecksum())
		if err != nil {
			return err
		}
		h := ch.Sender.h
		fmt.Println(layoutOfSums(h))
		for {
			var what string
			if _, err := fmt.Scanln(&what); err != nil {
				return ch.Detach()
			}
			switch what {
			case "send":
				fmt.Println(ch.Send(newEven()))
			case "recv":
				v, err := ch.Recv()
				if errors.Is(err, ErrCorrupt) || err == nil && v == newEven() {
					fmt.Println(err)
				} else {
					fmt.Printf("%+v %v\n", v, err)
				}
			}
		}
	}
}

// layoutOfSums is what two programs must agree on: where a slot, a value and its sum lie, and the sum.
func layoutOfSums(h *handle) string {
	v := newEven()
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))
	return fmt.Sprintf("size %d stride %d slots at %d value at %d sum at %d: %#x %#x", h.info.size, h.info.stride, h.info.slotsAt, valueOffset, sumOffset(h.info.size),
		sumOf(7, b), sumOf(1<<posBits-1, b))
}

func TestForeignChecksum(t *testing.T) {
	for _, arch := range []string{"386", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			command := foreignProgram(t, arch)
			withProgram(t, command, func(string) bool { return true })
			checksumBetween(t)
		})
	}
}

// The same beside a program of this architecture, so that it does not rot where no other can be run.
func TestChecksumBetweenProcesses(t *testing.T) { checksumBetween(t) }

func checksumBetween(t *testing.T) {
	ch := openTest[even](t, WithCapacity(3), WithChecksum(), withStart(1<<posBits-20))
	h := ch.Sender.h
	c := start(t, "summer", h.opts.dir)
	require.Equal(t, layoutOfSums(h), c.line())
	pos := uint64(1<<posBits - 20)
	flip := func(bit uint64) {
		*(*byte)(unsafe.Add(h.value(pos), bit/8)) ^= 1 << (bit % 8)
	}
	corrupt := func(text string) {
		t.Helper()
		require.Contains(t, text, `channel "test": shared memory is corrupt: the value at position `+strconv.FormatUint(pos, 10)+", in slot ")
		require.Contains(t, text, "does not match its checksum")
	}
	end := 8 * (sumOffset(h.info.size) + sumSize - valueOffset)
	for bit := uint64(0); bit < end; bit += 37 { // Of the value, its padding and the sum; over the end of positions.
		for _, damaged := range []bool{false, true} {
			// From here to there.
			require.NoError(t, ch.Send(newEven()))
			if damaged {
				flip(bit)
			}
			c.say("recv")
			if line := c.line(); damaged {
				corrupt(line)
			} else {
				require.Equal(t, "<nil>", line)
			}
			pos = (pos + 1) & posMask
			// And back.
			c.say("send")
			require.Equal(t, "<nil>", c.line())
			if damaged {
				flip(bit)
			}
			v, err := ch.Recv()
			if damaged {
				require.ErrorIs(t, err, ErrCorrupt)
				corrupt(err.Error())
				require.Zero(t, v)
			} else {
				require.NoError(t, err)
				require.Equal(t, newEven(), v)
			}
			pos = (pos + 1) & posMask
		}
	}
	c.wait()
}
