package shmchan

// Who has the lock of a name, for errors that say so.
//
// Invariant: it is a hint for people. What is done is decided by locks alone.

import (
	"fmt"
	"os"
)

// removing is the error of one who cannot have the name's lock of f: another has it for longer than lockName waits.
func removing(name string, f *os.File) error {
	who, does, stopped := remover(f)
	advice := "try again"
	if stopped != 0 {
		advice = fmt.Sprintf("let it go on (kill -CONT %d) or end it, then try again", stopped)
	}
	return &chanError{name, ErrBusy, fmt.Sprintf("%s %s; %s", who, does, advice)}
}

// remover says who has the name's lock of f and what that one does, and whose pid to let go on if it is stopped, else 0.
func remover(f *os.File) (who, does string, stopped int) {
	does = "is about to join, leave or remove it"
	switch pid, stopped := flockHolder(f); {
	case pid == 0:
		return "another process", does, 0
	case pid == os.Getpid():
		return "another goroutine of this process", does, 0
	case stopped:
		return fmt.Sprintf("pid %d", pid), does + ", and is stopped", pid
	default:
		return fmt.Sprintf("pid %d", pid), does, 0
	}
}
