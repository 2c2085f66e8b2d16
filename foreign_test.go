package shmchan

// Other machines' habits: programs for other architectures on one channel with this
// one. A 32-bit one runs here as it is, others under an emulator (qemu-user).
//
// What it shows: layout, locks, doorbells, wakes and recovery agree between a 32-bit
// and a 64-bit program and between amd64 and arm64, in both directions, also when
// either is killed; a big-endian program and a little-endian one refuse each other. What
// it does not show: missing barriers. The emulator runs on this machine's memory, whose
// order is stronger than that of a real arm64.

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var foreign = flag.Bool("foreign", false, "run the tests beside programs for other architectures, which they build first")

// emulators run what this machine does not.
var emulators = map[string]string{"386": "", "arm64": "qemu-aarch64", "s390x": "qemu-s390x"}

// foreignProgram builds the tests for another architecture, and returns the command that runs them.
func foreignProgram(t *testing.T, arch string) []string {
	if !*foreign {
		t.Skip("it builds the tests for another architecture: say -foreign")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("the programs beside which it runs are for linux/amd64, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	var command []string
	if emulator := emulators[arch]; emulator != "" {
		path, err := exec.LookPath(emulator)
		if err != nil {
			t.Skipf("it needs %s, of Debian's package qemu-user: %v", emulator, err)
		}
		command = append(command, path)
	}
	binary := filepath.Join(t.TempDir(), "shmchan-"+arch)
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	command = append(command, binary)
	if out, err := exec.Command(command[0], append(command[1:], "-test.list", "^$")...).CombinedOutput(); err != nil {
		t.Skipf("this system does not run programs for %s: %v %s", arch, err, out)
	}
	return command
}

// withProgram has the roles that choose says run by another program.
func withProgram(t *testing.T, command []string, choose func(role string) bool) {
	usual := program
	program = func(role string) []string {
		if choose(role) {
			return command
		}
		return usual(role)
	}
	t.Cleanup(func() { program = usual })
}

func TestForeign(t *testing.T) {
	for _, arch := range []string{"386", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			command := foreignProgram(t, arch)
			every := 0
			for who, choose := range map[string]func(role string) bool{
				"senders":   func(role string) bool { return role == "sender" },
				"receivers": func(role string) bool { return role == "receiver" },
				"half":      func(string) bool { every++; return every%2 == 0 },
			} {
				t.Run(who, func(t *testing.T) { foreignHammer(t, command, choose) })
			}
			t.Run("children", func(t *testing.T) { foreignChildren(t, command) })
			t.Run("parent", func(t *testing.T) { foreignParent(t, command) })
			if arch == "386" {
				t.Run("types", func(t *testing.T) { foreignTypes(t, command) })
			}
		})
	}
}

// foreignHammer kills and stops processes of which some are foreign.
func foreignHammer(t *testing.T, command []string, choose func(role string) bool) {
	withProgram(t, command, choose)
	n := *kills
	if len(command) > 1 {
		n /= 4 // Under an emulator each start of a process takes a while.
	}
	for _, f := range []form{forms[1], forms[2], forms[4], forms[6]} {
		t.Run(f.String(), func(t *testing.T) { hammer(t, f, n/2, true) })
	}
}

// betweenProcesses are tests in which a child holds, waits, dies or is stopped, and its
// parent goes on, wakes it or is woken.
var betweenProcesses = []struct {
	name string
	test func(*testing.T)
}{
	{"TestOpenAfterTheEnd", TestOpenAfterTheEnd},
	{"TestInspectAndList", TestInspectAndList},
	{"TestDeathInTheMiddle", TestDeathInTheMiddle},
	{"TestStoppedIsNotDead", TestStoppedIsNotDead},
	{"TestWokenOneDies", TestWokenOneDies},
	{"TestSingleRoleDiesWithItsHolder", TestSingleRoleDiesWithItsHolder},
	{"TestDisconnectByDeath", TestDisconnectByDeath},
	{"TestFullBehindADeadSender", TestFullBehindADeadSender},
	{"TestParkedOnBothSides", TestParkedOnBothSides},
}

// foreignChildren runs those tests here, with foreign children.
func foreignChildren(t *testing.T, command []string) {
	withProgram(t, command, func(string) bool { return true })
	for _, b := range betweenProcesses {
		t.Run(b.name, b.test)
	}
}

// foreignParent runs them the other way round: a foreign program with children of this one.
func foreignParent(t *testing.T, command []string) {
	var names []string
	for _, b := range betweenProcesses {
		names = append(names, b.name)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(command[0], append(command[1:], "-test.v", "-test.run", "^("+strings.Join(names, "|")+")$")...)
	cmd.Env = append(os.Environ(), programEnv+"="+self)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range names {
		require.Contains(t, string(out), "--- PASS: "+name+" ")
	}
}

func init() {
	// A process that sends back what it receives, parked whenever there is nothing.
	roles["echo"] = func(args []string) error {
		in, err := OpenReceiver[message]("there", WithDir(args[0]), WithAttach(), WithWait(Park))
		if err != nil {
			return err
		}
		out, err := OpenSender[message]("back", WithDir(args[0]), WithAttach(), WithWait(Park))
		if err != nil {
			return err
		}
		for m := range in.All() {
			if err := out.Send(m); err != nil {
				return err
			}
		}
		return errors.Join(in.Err(), in.Detach(), out.Close(), out.Detach())
	}
}

// Two processes that park whenever they wait wake each other, every time.
func TestParkedOnBothSides(t *testing.T) {
	noBackstop(t)
	for _, capacity := range []int{0, 1, 4} {
		dir := memDir(t)
		there := must[*Chan[message]](t)(Open[message]("there", WithDir(dir), WithCapacity(capacity), WithWait(Park)))
		back := must[*Chan[message]](t)(Open[message]("back", WithDir(dir), WithCapacity(capacity), WithWait(Park)))
		c := start(t, "echo", dir)
		for seq := range uint64(500) {
			require.NoError(t, there.Send(newMessage(1, seq)))
			m, err := back.Recv()
			require.NoError(t, err)
			require.Equal(t, newMessage(1, seq), m)
		}
		require.NotZero(t, back.Stats().Parked)
		require.NoError(t, there.Close())
		_, err := back.Recv()
		require.ErrorIs(t, err, ErrClosed)
		c.wait()
		require.NoError(t, there.Detach())
		require.NoError(t, back.Detach())
		dirEmpty(t, dir)
	}
}

// lopsided has a field of eight bytes that a 32-bit program puts elsewhere; even lies
// alike everywhere.
type lopsided struct {
	A uint32
	B int64
}

type even struct {
	B int64
	F float64
	A uint32
	_ uint32
	C complex128
	X [2]struct {
		N    uint64
		Ok   bool
		Fill [7]uint8
	}
}

func newEven() (v even) {
	v.B, v.F, v.A, v.C = -7, 1.5, 1<<31+1, complex(2, -3)
	v.X[1].N, v.X[1].Ok = 1<<63+5, true
	return v
}

func init() {
	// A process that opens a channel, says how that went, sends and receives, and stays.
	roles["opener"] = func(args []string) error {
		opts := []Option{WithDir(args[0]), WithCapacity(3)}
		if args[1] == "lopsided" {
			ch, err := Open[lopsided]("test", opts...)
			if err != nil {
				fmt.Println(err)
				return nil
			}
			fmt.Println("open")
			_, _ = fmt.Scanln(new(string))
			return ch.Detach()
		}
		ch, err := Open[even]("test", opts...)
		if err != nil {
			fmt.Println(err)
			return nil
		}
		if err := ch.Send(newEven()); err != nil {
			return err
		}
		fmt.Println("open")
		_, _ = fmt.Scanln(new(string))
		if v, err := ch.Recv(); err != nil || v != newEven() {
			return fmt.Errorf("%+v %w", v, err)
		}
		return ch.Detach()
	}
}

// A field that lies elsewhere in a 32-bit program is refused by name, in both
// directions; where all lie alike, values cross.
func foreignTypes(t *testing.T, command []string) {
	withProgram(t, command, func(string) bool { return true })
	dir := memDir(t)
	ch, err := Open[lopsided]("test", WithDir(dir), WithCapacity(3))
	require.NoError(t, err)
	c := start(t, "opener", dir, "lopsided")
	require.Contains(t, c.line(), `channel "test": B is int64 at 4 here, int64 at 8 in the channel`)
	c.wait()
	require.NoError(t, ch.Detach())
	require.NoError(t, Remove("test", WithDir(dir)))

	c = start(t, "opener", dir, "lopsided")
	require.Equal(t, "open", c.line())
	_, err = Open[lopsided]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, "B is int64 at 8 here, int64 at 4 in the channel that pid "+fmt.Sprint(c.cmd.Process.Pid))
	c.wait()
	require.NoError(t, Remove("test", WithDir(dir)))

	c = start(t, "opener", dir, "even")
	require.Equal(t, "open", c.line())
	e, err := Open[even]("test", WithDir(dir))
	require.NoError(t, err)
	v, err := e.Recv()
	require.NoError(t, err)
	require.Equal(t, newEven(), v)
	require.NoError(t, e.Send(newEven()))
	c.wait()
	require.NoError(t, e.Close())
	require.NoError(t, e.Detach())
	dirEmpty(t, dir)
}

// A big-endian program is refused, and refuses.
func TestForeignByteOrder(t *testing.T) {
	command := foreignProgram(t, "s390x")
	withProgram(t, command, func(string) bool { return true })
	dir := memDir(t)
	ch, err := Open[even]("test", WithDir(dir), WithCapacity(3))
	require.NoError(t, err)
	c := start(t, "opener", dir, "even")
	require.Contains(t, c.line(), `channel "test": byte order is big-endian here, little-endian in the channel`)
	c.wait()
	require.NoError(t, ch.Detach())
	require.NoError(t, Remove("test", WithDir(dir)))

	c = start(t, "opener", dir, "even")
	require.Equal(t, "open", c.line(), "alone it works")
	_, err = Open[even]("test", WithDir(dir))
	require.ErrorIs(t, err, ErrMismatch)
	require.ErrorContains(t, err, `channel "test": byte order is little-endian here, big-endian in the channel`)
	_, err = Inspect("test", WithDir(dir))
	require.ErrorIs(t, err, ErrMismatch)
	c.wait()
	require.NoError(t, Remove("test", WithDir(dir)))
	dirEmpty(t, dir)
}
