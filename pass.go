package shmchan

// Handing files to another process: to a child when it starts, over a Unix socket.
//
// Invariant: files that were handed over are closed here, whether or not it went well: as long as they are open
// the death of the process that uses them is not noticed.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// EnvFiles names the environment variable by which StartWithFiles tells a child which of its descriptors are sets of files:
// their first descriptor and number, as "3+17,20+17".
const EnvFiles = "SHMCHAN_FILES"

// firstExtra is the descriptor of cmd.ExtraFiles[0] in the child.
const firstExtra = 3

// StartWithFiles starts cmd with the sets of files, which Files returned, among its ExtraFiles, and tells it in its environment
// where they are: it gets them by InheritedFiles, in the same order. Whether or not cmd has started, the files are closed then.
func StartWithFiles(cmd *exec.Cmd, sets ...[]*os.File) error {
	defer func() {
		for _, set := range sets {
			closeAll(set)
		}
	}()
	for _, set := range sets {
		if err := checkOpen(set); err != nil {
			return err
		}
	}
	var where []string
	for _, set := range sets {
		where = append(where, fmt.Sprintf("%d+%d", firstExtra+len(cmd.ExtraFiles), len(set)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, set...)
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, EnvFiles+"="+strings.Join(where, ","))
	return cmd.Start()
}

// InheritedFiles returns the sets of files that StartWithFiles gave this process, for FromFiles. It can be called once, as the files are the
// caller's then: a second call, and one in a process that was given none, is fs.ErrNotExist. Call it before the process goes into a sandbox, for
// it has Go's poller started, which takes two descriptors, and the doorbells put into it; FromFiles may come after.
//
// The variable is taken out of the environment, and processes that this one starts do not inherit the files.
func InheritedFiles() (sets [][]*os.File, err error) {
	where, ok := os.LookupEnv(EnvFiles)
	if !ok {
		return nil, fmt.Errorf("shmchan: no files to inherit: %w: $%s is not set; start this process by StartWithFiles, and call InheritedFiles once", fs.ErrNotExist, EnvFiles)
	}
	if err := os.Unsetenv(EnvFiles); err != nil {
		return nil, err
	}
	var all [][]int
	for part := range strings.SplitSeq(where, ",") {
		a, b, _ := strings.Cut(part, "+")
		first, errA := strconv.ParseUint(a, 10, 16)
		n, errB := strconv.ParseUint(b, 10, 16)
		if errA != nil || errB != nil || first < firstExtra || n == 0 || n > maxSeats+1 {
			return nil, fmt.Errorf("shmchan: no files to inherit: %w: $%s is %q, which StartWithFiles does not write", fs.ErrInvalid, EnvFiles, where)
		}
		var fds []int
		for fd := int(first); fd < int(first+n); fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
				return nil, fmt.Errorf("shmchan: no files to inherit: descriptor %d of $%s=%s: %w; do not close what StartWithFiles hands over", fd, EnvFiles, where, err)
			}
			unix.CloseOnExec(fd)
			fds = append(fds, fd)
		}
		all = append(all, fds)
	}
	for _, fds := range all {
		set, err := setOf(fds)
		if err != nil {
			for _, set := range sets {
				closeAll(set)
			}
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// What goes with the files over a socket: 8 bytes, the last the number of files.
const passMark = "shmchan"

func passMessage(n int) []byte { return append([]byte(passMark), byte(n)) }

// SendFiles sends a set of files, which Files returned, over a Unix socket of any kind, for ReceiveFiles at the other end. Whether or not
// it was sent, it is closed then.
func SendFiles(conn *net.UnixConn, files []*os.File) error {
	defer closeAll(files)
	if len(files) == 0 || len(files) > maxSeats+1 {
		return invalidFiles("a set has 1 to %d files, and not %d; send what Files returned", maxSeats+1, len(files))
	}
	if err := checkOpen(files); err != nil {
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	message, rights := passMessage(len(files)), unix.UnixRights(fds...)
	n, oobn, err := conn.WriteMsgUnix(message, rights, nil)
	if err == nil && (n != len(message) || oobn != len(rights)) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("shmchan: cannot send %d files over a Unix socket: %w", len(files), err)
	}
	return nil
}

// ReceiveFiles receives a set of files that SendFiles sent, for FromFiles. It waits for it, as long as conn's read deadline allows, and
// takes it to be the next that is to be read from conn: anything else is fs.ErrInvalid. FromFiles may be
// called after the process has gone into a sandbox.
func ReceiveFiles(conn *net.UnixConn) (files []*os.File, err error) {
	buf, oob := make([]byte, len(passMessage(0))), make([]byte, unix.CmsgSpace(4*(maxSeats+1)))
	n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 && oobn == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("shmchan: cannot receive files over a Unix socket: %w", err)
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for _, m := range messages {
		rights, notRights := unix.ParseUnixRights(&m)
		err = errors.Join(err, notRights)
		fds = append(fds, rights...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	switch {
	case err != nil:
		err = invalidFiles("what came over the socket is no set of files: %v", err)
	case flags&unix.MSG_CTRUNC != 0:
		err = advise(unnamed, fmt.Sprintf("receive all files of the set but %d", len(fds)), unix.EMFILE)
	case len(fds) == 0 || string(buf[:n]) != string(passMessage(len(fds))):
		err = invalidFiles("what came over the socket, %q with %d files, is no set of files; SendFiles must be what the other end does next", buf[:n], len(fds))
	}
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, err
	}
	return setOf(fds)
}

// setOf makes files of the descriptors of a set, which it closes if it cannot. What a process asks the system for once is asked for
// now, as it may not be able to later.
func setOf(fds []int) (files []*os.File, err error) {
	_, _ = pidSpace(), canSpin()
	own := -1
	if at, err := unix.Seek(fds[0], 0, io.SeekCurrent); err == nil && !portableUnnamed {
		if i, _, ok := seatFrom(at, len(fds)-1); ok {
			own = 1 + i
		}
	}
	for i, fd := range fds {
		name := bellFile
		if i == 0 {
			name = memoryFile
		}
		var f *os.File
		if i != own {
			f = os.NewFile(uintptr(fd), name)
		} else if f, err = pollFile(fd, name); err != nil {
			for _, fd := range fds[i+1:] {
				_ = unix.Close(fd)
			}
			closeAll(files)
			return nil, invalidFiles("doorbell %d of the set cannot be waited for (%v); pass on all that Files returned, in that order", i, err)
		}
		files = append(files, f)
	}
	return files, nil
}
