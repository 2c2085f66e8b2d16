package shmchan

import "errors"

// pin does not exist here: macOS has no call for it.
func pin(int) (undo func() error, err error) {
	return nil, errors.New("macOS pins no process to a CPU")
}

const rusageThread = 0 // Of the process: there is no other.
