package shmchan

// What dead processes left behind, and only that. Processes are killed with what they hold; a live one, one that opens
// just then, and what all have left properly are in the same directory.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	// It makes a channel of each kind that can be left behind, says so, and waits to be killed.
	roles["leaver"] = func(args []string) error {
		dir := WithDir(args[0])
		for name, values := range map[string]int{"empty": 0, "full": 2, "closed": 1} {
			ch, err := Open[message](name, dir, WithCapacity(4))
			if err != nil {
				return err
			}
			for i := range values {
				if err := ch.Send(newMessage(0, uint64(i))); err != nil {
					return err
				}
			}
			if name == "closed" {
				if err := ch.Close(); err != nil {
					return err
				}
			}
		}
		if _, err := OpenBytesDuplex("web."+strings.Repeat("0a", 16), SideA, dir, WithMaxMessage(10)); err != nil {
			return err
		}
		tmp, _, err := lockedTemp(args[0])
		if err != nil {
			return err
		}
		defer tmp.Close() // Until we are killed it is ours, whatever the garbage collector does.
		fmt.Println("there")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
}

// collected is what Collect says, by name or, of files beside the channels, by the first words of why.
func collected(t *testing.T, c Collection, dir string) map[string]Leftover {
	t.Helper()
	found := map[string]Leftover{}
	for _, l := range must[[]Leftover](t)(Collect(c, WithDir(dir))) {
		require.NoError(t, l.Err)
		require.NotEmpty(t, l.Why, "%+v", l)
		key := l.Name
		if key == "" {
			key, _, _ = strings.Cut(l.Why, ":")
		}
		found[key] = l
	}
	return found
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		names = append(names, e.Name())
	}
	return names
}

func TestCollect(t *testing.T) {
	dir := memDir(t)
	in := WithDir(dir)
	c := start(t, "leaver", dir)
	require.Equal(t, "there", c.line())
	for key, l := range collected(t, Collection{Values: true, Detached: true}, dir) {
		require.True(t, l.Held, "%s is held by a live process: %+v", key, l)
		require.False(t, l.Goes, "%s", key)
	}
	c.kill()

	// Beside them: one that is held, two that all have left, one of another version, something that is no channel.
	held := must[*Chan[int64]](t)(Open[int64]("held", in))
	defer func() { _ = held.Detach() }()
	for _, name := range []string{"left", "left-full"} {
		ch := must[*Chan[int64]](t)(Open[int64](name, in))
		if name == "left-full" {
			require.NoError(t, ch.Send(1))
		}
		require.NoError(t, ch.Detach())
	}
	for _, name := range []string{"shmchan.junk", ".shmchan.what", "other"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("junk"), 0o600))
	}
	// Open has swept the temporary and the doorbells; make others.
	tmp := filepath.Join(dir, tmpPrefix+"1")
	require.NoError(t, os.WriteFile(tmp, nil, 0o600))
	bell := filepath.Join(dir, bellPrefix+"1")
	require.NoError(t, unix.Mkfifo(bell, 0o600))

	before := files(t, dir)
	goes := func(c Collection) (names []string) {
		for key, l := range collected(t, c, dir) {
			if l.Goes {
				names = append(names, key)
			}
			require.False(t, l.Goes && l.Held)
		}
		return names
	}
	pair := "web." + strings.Repeat("0a", 16)
	always := []string{"empty", "closed", pair + ".ab", pair + ".ba", "a channel that was being made", "the doorbell of a handle whose process died"}
	require.ElementsMatch(t, always, goes(Collection{DryRun: true}))
	require.ElementsMatch(t, append([]string{"full"}, always...), goes(Collection{DryRun: true, Values: true}))
	require.ElementsMatch(t, append([]string{"left"}, always...), goes(Collection{DryRun: true, Detached: true}))
	require.ElementsMatch(t, append([]string{"left", "left-full", "full"}, always...), goes(Collection{DryRun: true, Detached: true, Values: true}))
	require.Equal(t, before, files(t, dir), "a dry run removes nothing")

	all := collected(t, Collection{DryRun: true}, dir)
	require.Contains(t, all["empty"].Why, fmt.Sprintf("pid %d died", c.cmd.Process.Pid))
	require.Contains(t, all["full"].Why, "2 values")
	require.Equal(t, 2, all["full"].Values)
	require.Contains(t, all["held"].Why, fmt.Sprintf("held by pid %d", os.Getpid()))
	require.True(t, all["held"].Held)
	require.Contains(t, all["junk"].Why, "not a channel")
	require.Contains(t, all["left"].Why, "all have detached")
	require.Positive(t, all["full"].Bytes)

	h := held.Sender.h
	living := filepath.Base(h.bellPath(h.idx, tagGen(h.me)))
	require.ElementsMatch(t, always, goes(Collection{}))
	require.ElementsMatch(t, []string{living, "shmchan.full", "shmchan.held", "shmchan.left", "shmchan.left-full", "shmchan.junk", ".shmchan.what", "other"}, files(t, dir))
	require.ElementsMatch(t, []string{"full", "left", "left-full"}, goes(Collection{Values: true, Detached: true}))
	require.ElementsMatch(t, []string{living, "shmchan.held", "shmchan.junk", ".shmchan.what", "other"}, files(t, dir))
	require.NoError(t, held.Send(1), "who holds it goes on")

	_, err := Collect(Collection{}, WithDir(filepath.Join(dir, "missing")))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A channel whose maker died before it had joined is nobody's, and Only is heeded: no other channel goes, and no file beside them.
func TestCollectOnly(t *testing.T) {
	dir := memDir(t)
	for _, name := range []string{"never", "another"} {
		o := newOptions([]Option{WithDir(dir)})
		path := must[string](t)(pathOf(name, &o))
		f, mem, err := create(name, path, &o, must[*header](t)(newHeader(name, &o, bytesLayout())))
		require.NoError(t, err)
		require.NoError(t, unmap(mem))
		require.NoError(t, f.Close())
	}
	tmp := filepath.Join(dir, tmpPrefix+"1")
	require.NoError(t, os.WriteFile(tmp, nil, 0o600))
	only := Collection{Only: func(name string) bool { return name == "never" }}
	found := collected(t, only, dir)
	require.Len(t, found, 1)
	require.True(t, found["never"].Goes)
	require.Contains(t, found["never"].Why, "its maker died before it had joined")
	require.ElementsMatch(t, []string{filepath.Base(tmp), "shmchan.another"}, files(t, dir))
	require.Empty(t, collected(t, only, dir))
	require.Len(t, collected(t, Collection{}, dir), 2)
	dirEmpty(t, dir)
}

// A half of a pair stays as long as somebody holds the other.
func TestCollectLeavesThePairTogether(t *testing.T) {
	dir := memDir(t)
	d := must[*Duplex[int64, int32]](t)(OpenDuplex[int64, int32]("pair", SideA, WithDir(dir)))
	require.NoError(t, d.Sender.Detach())
	for _, l := range must[[]Leftover](t)(Collect(Collection{Values: true, Detached: true}, WithDir(dir))) {
		require.True(t, l.Held, "%+v", l)
		require.False(t, l.Goes, "%+v", l)
	}
	require.NoError(t, d.Detach())
	require.Len(t, must[[]Leftover](t)(Collect(Collection{Detached: true}, WithDir(dir))), 2)
	dirEmpty(t, dir)
}

// One opens the channel between the look and the removal.
func TestCollectWhileOneOpens(t *testing.T) {
	dir := memDir(t)
	made := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	require.NoError(t, made.Detach())
	var ch *Chan[int64]
	t.Cleanup(func() { beforeTakingAway = func(string) {} })
	beforeTakingAway = func(name string) { ch = must[*Chan[int64]](t)(Open[int64](name, WithDir(dir), WithAttach())) }
	l := must[[]Leftover](t)(Collect(Collection{Detached: true}, WithDir(dir)))
	require.Len(t, l, 1)
	require.False(t, l[0].Goes)
	require.True(t, l[0].Held)
	require.Contains(t, l[0].Why, "opened it just now")
	require.NoError(t, ch.Send(1))
	other := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir), WithAttach()))
	require.Equal(t, int64(1), must[int64](t)(other.Recv()), "both have the same")
	require.NoError(t, errors.Join(ch.Detach(), other.Detach()))

	// Or sends to it and leaves again: it is looked at once more.
	beforeTakingAway = func(name string) {
		ch := must[*Chan[int64]](t)(Open[int64](name, WithDir(dir), WithAttach()))
		require.NoError(t, errors.Join(ch.Send(1), ch.Detach()))
	}
	l = must[[]Leftover](t)(Collect(Collection{Detached: true}, WithDir(dir)))
	require.False(t, l[0].Goes)
	require.Equal(t, 1, l[0].Values)

	// Or removes it, and makes another.
	beforeTakingAway = func(name string) {
		require.NoError(t, Remove(name, WithDir(dir)))
		ch = must[*Chan[int64]](t)(Open[int64](name, WithDir(dir), WithCreate()))
	}
	require.Empty(t, must[[]Leftover](t)(Collect(Collection{Detached: true, Values: true}, WithDir(dir))))
	require.NoError(t, errors.Join(ch.Send(1), ch.Detach()))
}

// Whoever has opened a channel has the one of that name, however many collect meanwhile.
func TestCollectAndOpenRace(t *testing.T) {
	dir := memDir(t)
	var stop atomic.Bool
	var removed atomic.Int64
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for !stop.Load() {
				all, err := Collect(Collection{Detached: true}, WithDir(dir))
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range all {
					if l.Goes && l.Name != "" {
						removed.Add(1)
					}
				}
			}
		})
	}
	for i := range 300 {
		var one *Sender[int64]
		var err error
		until(t, "nobody who was stopped while he collects is in the way", func() bool {
			one, err = OpenSender[int64]("test", WithDir(dir), WithSingleSender(), WithCapacity(2))
			return !errors.Is(err, ErrBusy) && !errors.Is(err, ErrTooManyPeers) // After a second.
		})
		require.NoError(t, err)
		require.True(t, sameFile(one.h.file, one.h.path), "round %d: the channel that was opened is not that of the name", i)
		two, err := OpenReceiver[int64]("test", WithDir(dir), WithAttach())
		require.NoError(t, err)
		require.NoError(t, one.Send(int64(i)))
		require.Equal(t, int64(i), must[int64](t)(two.Recv()))
		require.NoError(t, errors.Join(one.Detach(), two.Detach()))
	}
	before := removed.Load()
	until(t, "it is collected", func() bool { return removed.Load() > before || len(files(t, dir)) == 0 })
	stop.Store(true)
	group.Wait()
	require.Positive(t, removed.Load(), "nothing was collected in all that time")
	t.Logf("%d channels were collected", removed.Load())
}

// The file is cut short under the look.
func TestCollectOfACutFile(t *testing.T) {
	needsFaultAddress(t)
	dir := memDir(t)
	ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	require.NoError(t, ch.Detach())
	was := mapShared
	t.Cleanup(func() { mapShared = was })
	mapShared = func(f *os.File, n uint64) ([]byte, error) {
		mem, err := was(f, n)
		require.NoError(t, os.Truncate(filepath.Join(dir, "shmchan.test"), 0))
		return mem, err
	}
	l := must[[]Leftover](t)(Collect(Collection{Detached: true}, WithDir(dir)))
	require.Len(t, l, 1)
	require.Contains(t, l[0].Why, "cut short")
	require.False(t, l[0].Goes)
}

// Those who only look do not see each other, nor do they keep others from seeing that a handle is dead: also where locks are files.
func TestInspectorsTakeNoLocks(t *testing.T) {
	dir := memDir(t)
	ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	defer func() { _ = ch.Detach() }()
	l := newFlockLocks(dir, ch.Sender.h.info.id)
	require.True(t, must[bool](t)(l.tryLock(7)))
	looker := must[*os.File](t)(os.Open(l.path(7)))
	defer looker.Close()
	require.NoError(t, l.fds[7].Close()) // Its holder dies.
	require.True(t, must[bool](t)(flockAs(looker, unix.LOCK_SH)), "another looks")
	held, err := newFlockLocks(dir, ch.Sender.h.info.id).held(7)
	require.NoError(t, err)
	require.False(t, held, "one who looks is not taken for a holder")
	require.NoError(t, os.Remove(l.path(7)))
	delete(l.fds, 7)
}
