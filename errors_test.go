package shmchan

// What errors advise: a channel without a name has none to open again or to remove, and its files say which of them is wrong.

import (
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// aboutNames is advice that only a channel with a name can follow.
var aboutNames = []string{"open the name", "check the name", "another name", "remove the channel", "remove it", "WithMode", "WithDir", "Open without"}

// Every error of an unnamed channel says which channel, and what to do with one that has no name.
func TestAdviceWithoutAName(t *testing.T) {
	fits := func(err, is error, advice string) {
		t.Helper()
		require.ErrorIs(t, err, is)
		require.ErrorContains(t, err, `channel "unnamed`)
		require.ErrorContains(t, err, advice)
		for _, about := range aboutNames {
			require.NotContains(t, err.Error(), about)
		}
	}
	ch := newTest[int64](t, WithCapacity(1), WithPeers(2))
	h := ch.Sender.h
	require.True(t, isUnnamed(ch.Name()), ch.Name())
	require.NoError(t, ch.Send(1))
	fits(ch.TrySend(2), ErrFull, "WithCapacity")
	require.NoError(t, second(ch.Recv()))
	fits(second(ch.TryRecv()), ErrEmpty, "Recv")
	files := filesOf(t, ch)
	fits(second(ch.Files()), ErrTooManyPeers, "WithPeers")
	fits(second(FromFiles[int32](files)), ErrMismatch, "make another with New")
	fits(second(FromFiles[int64](files, WithCapacity(7))), ErrMismatch, "make another with New")
	if !portableUnnamed {
		fits(second(FromFiles[int64](files, WithPeers(7))), ErrMismatch, "make another with New")
	}
	require.NoError(t, ch.Send(1))
	h.slot(0).Store(word(0, 1, stFree))
	h.slot(1 & h.mask).Store(word(1&h.mask, 1, stFree))
	fits(second(ch.Recv()), ErrCorrupt, "make another with New")
	fits(ch.badBool(1), ErrCorrupt, "make another with New")
	fits(h.badSum(1), ErrCorrupt, "make another with New")
	fits(brokenError(h.name), ErrCorrupt, "make another with New")

	closed := newTest[int64](t)
	require.NoError(t, closed.Close())
	fits(closed.Send(1), ErrClosed, "make another with New")
	fits(second(closed.Recv()), ErrClosed, "stop receiving")
	fits(closed.Close(), ErrClosed, "one sender")
	require.NoError(t, closed.Detach())
	for _, err := range []error{closed.Send(1), second(closed.Recv()), closed.Detach(), second(closed.Files()), second(closed.RecvFD())} {
		fits(err, ErrDetached, "FromFiles")
	}

	single := newTest[int64](t, WithCapacity(2), WithSingleSender(), WithSingleReceiver())
	fits(second(FromFiles[int64](filesOf(t, single))), ErrBusy, "Detach the half")
	used := filesOf(t, single)
	require.NoError(t, single.Sender.Detach())
	if !portableUnnamed {
		var again []*os.File
		for _, f := range used {
			again = append(again, must[*os.File](t)(dupOf(int(f.Fd()), f.Name())))
		}
		t.Cleanup(func() { closeAll(again) })
		s := must[*Sender[int64]](t)(SenderFromFiles[int64](used, WithDisconnect()))
		t.Cleanup(func() { _ = s.Detach() })
		fits(second(FromFiles[int64](again)), ErrBusy, "from Files")
		require.NoError(t, single.Receiver.Detach())
		require.NoError(t, s.TrySend(1))
		require.NoError(t, s.TrySend(1))
	}

	for _, deserted := range []bool{true, false} {
		lonely := newTest[int64](t, WithCapacity(1), WithDisconnect())
		if deserted {
			require.NoError(t, lonely.Sender.Detach())
			fits(second(lonely.Recv()), ErrDisconnected, "hand what Files returns to a sender")
		} else {
			require.NoError(t, lonely.Receiver.Detach())
			require.NoError(t, lonely.Send(1))
			fits(lonely.Send(1), ErrDisconnected, "hand what Files returns to a receiver")
		}
	}
	for _, system := range []error{unix.ENOSPC, unix.EACCES, unix.EPERM, unix.ENOENT, unix.EEXIST, unix.EMFILE, unix.EBADF, unix.EIO} {
		fits(h.fail("do it", system), system, "cannot do it")
	}
}

// A channel with a name has it opened again, or removed.
func TestAdviceWithAName(t *testing.T) {
	for name, is := range map[string]bool{
		"unnamed": true, unnamedName(&header{pid: 4711, id: [16]byte{0xab, 0xcd, 0xef}}): true, unnamedName(&header{}): true,
		"test": false, "unnamed-": false, "unnamed-1": false, "unnamed-1-2": false, "unnamed-x-abcdef": false, "unnamed-1-abcdeg": false,
		"unnamed1-abcdef": false, "unnamed:1-abcdef": false, "unnamed-1-abcdef0": false, "": false,
	} {
		require.Equal(t, is, isUnnamed(name), name)
	}
	ch := openTest[int64](t)
	require.ErrorContains(t, second(Open[int32]("test", WithDir(ch.Sender.h.opts.dir))), "or remove the channel and make it anew")
	require.ErrorContains(t, ch.badBool(1), "remove the channel and make it anew")
	require.ErrorContains(t, brokenError("test"), "remove the channel and make it anew; who may write the file can cut it short, see WithMode")
	require.ErrorContains(t, ch.Sender.h.fail("do it", unix.EACCES), "WithMode")
	require.NoError(t, ch.Close())
	require.ErrorContains(t, ch.Send(1), "open the name again for a new channel")
	require.NoError(t, ch.Detach())
	require.ErrorContains(t, ch.Send(1), "open the name again to go on")
}

// A set with a file that is closed, or nil, is refused with the file's place in it, by whoever takes sets; a set that is whole can be used after that.
func TestSetsThatAreNotWhole(t *testing.T) {
	ch := newTest[int64](t, WithPeers(4))
	for _, i := range []int{0, 1, 3} {
		files := filesOf(t, ch)
		if i >= len(files) {
			continue
		}
		what := []string{"file 0 of the set, the memory,", "file 1 of the set, doorbell 1 of 4,", "", "file 3 of the set, doorbell 3 of 4,"}[i]
		ours, theirs := sockets(t)
		require.NoError(t, theirs.Close())
		fine := append([]*os.File(nil), files...)
		files[i] = nil
		err := second(FromFiles[int64](files))
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, what+" is nil; pass on all that Files returned")
		require.ErrorContains(t, StartWithFiles(exec.Command("true"), []*os.File{nil}), "the memory, is nil")
		require.ErrorContains(t, SendFiles(ours, []*os.File{nil}), "the memory, is nil")
		files[i] = fine[i]
		spare := must[*os.File](t)(dupOf(int(fine[i].Fd()), fine[i].Name()))
		require.NoError(t, files[i].Close())
		for _, take := range []func() error{
			func() error { return second(FromFiles[int64](files)) },
			func() error { return second(SenderFromFiles[int64](files)) },
			func() error { return second(ReceiverFromFiles[int64](files)) },
		} {
			err := take()
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.ErrorContains(t, err, what+" is closed; FromFiles, StartWithFiles and SendFiles close the files that they take")
			require.ErrorContains(t, err, "get another from Files")
		}
		files[i] = spare
		other, err := FromFiles[int64](files)
		require.NoError(t, err)
		require.NoError(t, other.Detach())
		for _, take := range []func() error{
			func() error { return StartWithFiles(exec.Command("true"), fine) },
			func() error { return SendFiles(ours, fine) },
		} {
			require.ErrorContains(t, take(), "is closed; ")
		}
	}
}
