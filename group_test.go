package shmchan

// A channel that the users of a group share: values and wakes both ways, recovery across users, and nobody else.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	// A user of a group who closes a channel and lets go, as the last one.
	roles["group closer"] = func(args []string) error {
		if err := become(args[1:]); err != nil {
			return err
		}
		r, err := OpenReceiver[int64]("there", WithDir(args[0]), WithMode(0o660))
		if err != nil {
			fmt.Println(err)
			return nil
		}
		fmt.Println("closed:", r.Close(), r.Detach())
		return nil
	}
	// A user of a group who echoes: what it receives on "there" it sends on "back". Without the backstop, so that each wake is rung.
	roles["member"] = func(args []string) error {
		if err := become(args[1:]); err != nil {
			return err
		}
		backstopAfter(time.Hour, time.Hour)
		there, err := OpenReceiver[int64]("there", WithDir(args[0]), WithMode(0o660), WithWait(Park))
		if errors.Is(err, fs.ErrPermission) {
			fmt.Println("may not:", strings.Contains(err.Error(), `channel "there"`))
			return nil
		} else if err != nil {
			return err
		}
		back, err := OpenSender[int64]("back", WithDir(args[0]), WithMode(0o660), WithWait(Park), WithCapacity(1))
		if err != nil {
			return err
		}
		fmt.Println("open")
		for {
			err := there.RecvFunc(forever, func(v *int64) error {
				if *v < 0 {
					fmt.Println("in hand")
					select {}
				}
				return back.Send(*v)
			})
			if err != nil {
				return err
			}
		}
	}
}

// become makes this process that of a user, with a group of its own and one more, or "".
func become(ids []string) error {
	uid, err := strconv.Atoi(ids[0])
	own, err2 := strconv.Atoi(ids[1])
	groups := []int{}
	if ids[2] != "" {
		n, err := strconv.Atoi(ids[2])
		if err != nil {
			return err
		}
		groups = append(groups, n)
	}
	return errors.Join(err, err2, syscall.Setgroups(groups), syscall.Setgid(own), syscall.Setuid(uid))
}

func TestGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become others")
	}
	noBackstop(t)
	const group, alice, bob, eve = 60000, 60001, 60002, 60003
	umask := syscall.Umask(0o077) // Of which the mode is independent.
	t.Cleanup(func() { syscall.Umask(umask) })
	for what, mode := range map[string]fs.FileMode{"setgid": fs.ModeSetgid | 0o770, "sticky": fs.ModeSticky | fs.ModeSetgid | 0o777, "changed": 0o777} {
		t.Run(what, func(t *testing.T) {
			dir := memDir(t)
			require.NoError(t, os.Chown(dir, alice, group))
			require.NoError(t, os.Chmod(dir, mode))
			if what == "changed" { // The group is the file's only, not what its users make files with.
				for _, name := range []string{"there", "back"} {
					ch := must[*Chan[int64]](t)(Open[int64](name, WithDir(dir), WithMode(0o660), WithCapacity(1)))
					require.NoError(t, os.Chown(ch.Sender.h.path, -1, group))
					require.NoError(t, ch.Detach())
				}
			}
			there := must[*Sender[int64]](t)(OpenSender[int64]("there", WithDir(dir), WithMode(0o660), WithWait(Park), WithCapacity(1)))
			back := must[*Receiver[int64]](t)(OpenReceiver[int64]("back", WithDir(dir), WithMode(0o660), WithWait(Park), WithCapacity(1)))
			for _, ch := range []*handle{there.h, back.h} {
				st, err := os.Stat(ch.path)
				require.NoError(t, err)
				require.Equal(t, fs.FileMode(0o660), st.Mode(), "whatever the umask")
				require.EqualValues(t, group, st.Sys().(*syscall.Stat_t).Gid)
			}
			// Root's handles make the channel, alice's and bob's processes use it; root receives what they send back.
			for killed, user := range []int{alice, bob} {
				c := start(t, "member", dir, user, user, group)
				require.Equal(t, "open", c.line())
				until(t, "it waits, with a doorbell", func() bool { return there.Stats().Waiting > 0 })
				until(t, "the one before it is cleared away, with its doorbells", func() bool {
					return there.Stats().Recovered == uint64(killed) && back.Stats().Recovered == uint64(killed)
				})
				bells, err := filepath.Glob(filepath.Join(dir, bellPrefix+"*"))
				require.NoError(t, err)
				require.NotEmpty(t, bells)
				for _, b := range bells {
					st, err := os.Stat(b)
					require.NoError(t, err)
					require.EqualValues(t, group, st.Sys().(*syscall.Stat_t).Gid, b)
					require.Equal(t, fs.FileMode(0o660), st.Mode().Perm())
				}
				for i := range int64(20) { // Each waits for the other in turn, both parked.
					until(t, "it waits", func() bool { return there.Stats().Waiting > 0 })
					require.NoError(t, there.Send(i))
					v, err := back.Recv()
					require.NoError(t, err)
					require.Equal(t, i, v)
				}
				until(t, "it is done with the last one", func() bool { return there.Stats().Waiting > 0 })
				c.kill()
			}
			requireUsersTakeOver(t, dir, there, back, group, alice, bob)
			c := start(t, "member", dir, eve, eve, "")
			require.Equal(t, "may not: true", c.line())
			c.wait()
			require.NoError(t, there.Detach())
			require.NoError(t, back.Detach())
		})
	}
}

// requireUsersTakeOver has one user die with a value in hand, and another receive it.
func requireUsersTakeOver(t *testing.T, dir string, there *Sender[int64], back *Receiver[int64], group, dead, heir int) {
	t.Helper()
	c := start(t, "member", dir, dead, dead, group)
	require.Equal(t, "open", c.line())
	require.NoError(t, there.Send(-1))
	require.Equal(t, "in hand", c.line())
	c.kill()
	h := start(t, "member", dir, heir, heir, group)
	require.Equal(t, "open", h.line())
	require.Equal(t, "in hand", h.line(), "the value that the other had in hand")
	until(t, "it is cleared away", func() bool { return there.Stats().Recovered >= 3 }) // With those before it.
	h.kill()
	again := start(t, "member", dir, heir, heir, group)
	require.Equal(t, "open", again.line())
	require.Equal(t, "in hand", again.line())
	again.kill()
	require.Zero(t, back.Len())
}

// In a sticky directory only its owner, or root, removes what a user has left there.
func TestGroupInAStickyDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become others")
	}
	const group, alice, bob = 60000, 60001, 60002
	dir := memDir(t)
	require.NoError(t, os.Chmod(dir, fs.ModeSticky|fs.ModeSetgid|0o777))
	require.NoError(t, os.Chown(dir, 0, group))
	bells := func() (of []string) {
		all, err := filepath.Glob(filepath.Join(dir, bellPrefix+"*"))
		require.NoError(t, err)
		for _, b := range all {
			if st, err := os.Stat(b); err == nil && st.Sys().(*syscall.Stat_t).Uid == alice {
				of = append(of, b)
			}
		}
		return of
	}
	a := start(t, "member", dir, alice, alice, group)
	require.Equal(t, "open", a.line())
	until(t, "she waits, with a doorbell", func() bool { return len(bells()) > 0 })
	b := start(t, "member", dir, bob, bob, group)
	require.Equal(t, "open", b.line())
	left := bells()
	a.kill()
	until(t, "bob has seen that she is dead", func() bool {
		info, err := Inspect("there", WithDir(dir))
		return err == nil && info.Recovered == 1
	})
	require.Equal(t, left, bells(), "bob may not remove her doorbell")
	a = start(t, "member", dir, alice, alice, group)
	require.Equal(t, "open", a.line())
	for _, old := range left {
		require.NoFileExists(t, old, "her next Open does")
	}
	a.kill()
	b.kill()
	c := start(t, "group closer", dir, bob, bob, group)
	require.Equal(t, "closed: <nil> <nil>", c.line())
	c.wait()
	path := filepath.Join(dir, filePrefix+"there")
	require.FileExists(t, path, "bob may not remove the channel that she has made")
	c = start(t, "group closer", dir, bob, bob, group)
	require.Contains(t, c.line(), `channel "there": cannot remove what is left of it, closed`)
	c.wait()
	c = start(t, "group closer", dir, alice, alice, group)
	require.Equal(t, "closed: <nil> <nil>", c.line())
	c.wait()
	require.NoFileExists(t, path, "she may")
}
