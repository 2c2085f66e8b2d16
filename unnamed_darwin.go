package shmchan

// macOS has no memfds, no eventfds, and no way to open an unlinked file once more: portableUnnamed is set
// there, and nothing of this is called.

import (
	"errors"
	"io"
	"os"
)

func makeMemfd(int64) (*os.File, error)        { return nil, errors.ErrUnsupported }
func checkMemfd(*os.File) error                { return errors.ErrUnsupported }
func reopen(*os.File) (*os.File, error)        { return nil, errors.ErrUnsupported }
func makeEventBell(bool) (*os.File, error)     { return nil, errors.ErrUnsupported }
func checkEventBell(*os.File) error            { return errors.ErrUnsupported }
func listenTo(*os.File) (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
func (*seats) ring(int, byte) bool             { return false }
