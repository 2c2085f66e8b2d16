package shmchan

// What the options of memory cost and bring: the figures of docs/tuning.md. A channel of 65536 values of 1 KiB (69 MiB): without a name,
// one goroutine in this process; and with a name, between two processes.

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

type kib [128]uint64

const tuningCapacity = 1 << 16

// faultsOf is how many page faults of this thread f takes, none of which read a disk.
func faultsOf(f func()) int64 {
	var before, after unix.Rusage
	_ = unix.Getrusage(rusageThread, &before)
	f()
	_ = unix.Getrusage(rusageThread, &after)
	return int64(after.Minflt - before.Minflt) //nolint:unconvert // Of 32 bits elsewhere.
}

// attachAgain is another handle on an unnamed channel.
func attachAgain(b *testing.B, ch *Chan[kib], opts ...Option) *Chan[kib] {
	files, err := ch.Files()
	require.NoError(b, err)
	other, err := FromFiles[kib](files, opts...)
	require.NoError(b, err)
	return other
}

var tunings = []struct {
	name           string
	made, attached []Option
}{
	{"small pages", nil, nil},
	{"WithPrefault", []Option{WithPrefault()}, []Option{WithPrefault()}},
	{"WithLockedMemory", []Option{WithLockedMemory()}, []Option{WithLockedMemory()}},
	{"WithHugePages", []Option{WithHugePages()}, nil},
}

func BenchmarkTuningMake(b *testing.B) {
	for _, c := range tunings {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				ch, err := New[kib](append(c.made, WithCapacity(tuningCapacity), WithPeers(2))...)
				require.NoError(b, err)
				b.StopTimer()
				require.NoError(b, ch.Detach())
				b.StartTimer()
			}
		})
	}
}

func BenchmarkTuningAttach(b *testing.B) {
	for _, c := range tunings {
		b.Run(c.name, func(b *testing.B) {
			ch, err := New[kib](append(c.made, WithCapacity(tuningCapacity), WithPeers(2))...)
			require.NoError(b, err)
			for b.Loop() {
				other := attachAgain(b, ch, c.attached...)
				b.StopTimer()
				require.NoError(b, other.Detach())
				b.StartTimer()
			}
			require.NoError(b, ch.Detach())
		})
	}
}

// A lap: as many values sent and received, one after the other, as the channel has slots.
func BenchmarkTuningLap(b *testing.B) {
	for _, c := range tunings {
		for lap, name := range []string{"first", "second"} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				ch, err := New[kib](append(c.made, WithCapacity(tuningCapacity), WithPeers(2))...)
				require.NoError(b, err)
				faults := int64(0)
				goRound := func(other *Chan[kib]) {
					for seq := range uint64(tuningCapacity) {
						if err := other.Send(kib{seq}); err != nil {
							b.Fatal(err)
						}
						if v, err := other.Recv(); err != nil || v[0] != seq {
							b.Fatal(v[0], err)
						}
					}
				}
				for b.Loop() {
					b.StopTimer()
					other := attachAgain(b, ch, c.attached...)
					if lap == 1 {
						goRound(other)
					}
					b.StartTimer()
					faults += faultsOf(func() { goRound(other) })
					b.StopTimer()
					require.NoError(b, other.Detach())
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/tuningCapacity, "ns/value")
				b.ReportMetric(float64(faults)/float64(b.N), "faults")
				require.NoError(b, ch.Detach())
			})
		}
	}
}

func init() {
	// Receives two laps, and says when each is over.
	roles["laps"] = func(args []string) error {
		i, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		r, err := OpenReceiver[kib]("test", append(tunings[i].attached, WithDir(args[0]), WithAttach())...)
		if err != nil {
			return err
		}
		fmt.Println("in")
		for range 2 {
			for seq := range uint64(tuningCapacity) {
				if v, err := r.Recv(); err != nil || v[0] != seq {
					return fmt.Errorf("value %d came as %d: %w", seq, v[0], err)
				}
			}
			fmt.Println("over")
		}
		return r.Detach()
	}
}

// Two laps from a new handle of this process to one of another.
func BenchmarkTuningProcesses(b *testing.B) {
	for i, c := range tunings {
		b.Run(c.name, func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				dir := memDir(b)
				ch := must[*Chan[kib]](b)(Open[kib]("test", append(c.made, WithDir(dir), WithCapacity(tuningCapacity))...))
				s := must[*Sender[kib]](b)(OpenSender[kib]("test", append(c.attached, WithDir(dir))...))
				other := start(b, "laps", dir, i)
				require.Equal(b, "in", other.line())
				for lap := range took {
					began := time.Now()
					for seq := range uint64(tuningCapacity) {
						if err := s.Send(kib{seq}); err != nil {
							b.Fatal(err)
						}
					}
					require.Equal(b, "over", other.line())
					took[lap] += time.Since(began)
				}
				other.wait()
				require.NoError(b, s.Detach())
				require.NoError(b, ch.Close())
				require.NoError(b, ch.Detach())
			}
			for lap, name := range []string{"ns/value-first", "ns/value-second"} {
				b.ReportMetric(float64(took[lap].Nanoseconds())/float64(b.N)/tuningCapacity, name)
			}
		})
	}
}
