package shmchan

// Channels of bytes over processes: small and large messages mixed, kills and stops at any moment, programs for other
// machines. The machinery is that of process_test.go and unnamed_test.go; what carries its messages as bytes is bulk_test.go.

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func bulk(opts ...Option) []Option { return append(opts, WithMaxMessage(bulkMost)) }

// bytesForms are forms under the hammer: with an arena for all messages, and for few.
var bytesForms = []form{
	{64, bulk(), 2, 2, "send", "func"},
	{64, bulk(WithArena(3 * bulkMost)), 3, 2, "func", "func"},
	{5, bulk(WithArena(48 << 10)), 2, 2, "try", "try"},
	{1, bulk(), 2, 2, "send", "recv"},
	{0, bulk(), 2, 2, "send", "func"},
	{16, bulk(WithChecksum()), 2, 2, "send", "func"},
	{64, bulk(WithSingleSender(), WithSingleReceiver(), WithArena(3*bulkMost)), 1, 1, "send", "recv"},
	{8, bulk(WithSingleSender()), 1, 2, "func", "func"},
	{8, bulk(WithSingleReceiver()), 2, 1, "send", "func"},
	{7, []Option{WithMaxMessage(200)}, 2, 2, "func", "func"},
}

func TestBytesKills(t *testing.T) {
	for _, f := range bytesForms {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, *kills, false) })
	}
}

func TestBytesStops(t *testing.T) {
	for _, f := range []form{bytesForms[1], bytesForms[4], bytesForms[6]} {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, *kills/2, true) })
	}
}

func TestBytesUnnamedKills(t *testing.T) {
	for _, how := range []string{byInheritance, bySocket} {
		for _, f := range []form{bytesForms[1], bytesForms[8]} {
			t.Run(how+" "+f.String(), func(t *testing.T) { hammerUnnamed(t, how, f, max(3, *kills/2)) })
		}
	}
}

// Beside a 32-bit program, in either role.
func TestBytesForeign(t *testing.T) {
	for _, arch := range []string{"386", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			command := foreignProgram(t, arch)
			n := *kills / 2
			if len(command) > 1 {
				n /= 4
			}
			for _, who := range []string{"sender", "receiver"} {
				for _, f := range []form{bytesForms[1], bytesForms[5], bytesForms[6]} {
					t.Run(who+" "+f.String(), func(t *testing.T) {
						withProgram(t, command, func(role string) bool { return role == who })
						hammer(t, f, n, true)
					})
				}
			}
		})
	}
}

// Nobody dies: every message comes once, in its sender's order, whatever waits for room meanwhile.
func TestBytesManyToMany(t *testing.T) {
	for _, f := range []form{
		{64, bulk(WithArena(3 * bulkMost)), 3, 2, "send", "recv"},
		{0, bulk(), 2, 2, "send", "recv"},
		{8, bulk(WithSingleReceiver(), WithChecksum()), 2, 1, "func", "func"},
	} {
		t.Run(f.String(), func(t *testing.T) {
			dir, auditPath := memDir(t), filepath.Join(t.TempDir(), "audit")
			a := openAudit(t, auditPath)
			s, err := openSends(append([]Option{WithDir(dir), WithCapacity(f.capacity), withStart(1<<posBits - 100)}, f.opts...)...)
			require.NoError(t, err)
			var senders, receivers []*child
			for i := range f.senders {
				senders = append(senders, start(t, "sender", dir, auditPath, i, f.send))
			}
			for range f.receivers {
				receivers = append(receivers, start(t, "receiver", dir, auditPath, f.recv))
			}
			for _, c := range senders {
				require.Equal(t, "open", c.line())
				require.Equal(t, "sent", c.line())
				c.wait()
			}
			require.NoError(t, s.Close())
			for _, c := range receivers {
				require.Equal(t, "open", c.line())
				require.Equal(t, "drained", c.line())
				c.wait()
			}
			assert.Zero(t, a.torn().Load())
			assert.Zero(t, a.late().Load())
			for from := range uint64(f.senders) {
				for seq := range uint64(auditSeqs) {
					require.Equal(t, uint32(1), a.count(from, seq).Load(), "sender %d message %d", from, seq)
				}
			}
			require.NoError(t, s.Detach())
			dirEmpty(t, dir)
		})
	}
}
