package shmchan

import "golang.org/x/sys/unix"

// eventFD is an event from an eventfd(2).
type eventFD int

func newPlatformEvent() (event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return eventFD(fd), nil
}

func (e eventFD) fd() int { return int(e) }
func (e eventFD) raise() {
	one := [8]byte{1} // Any count will do, so the byte order does not matter.
	_ = eintr(func() error { _, err := unix.Write(int(e), one[:]); return err })
}
func (e eventFD) drain() {
	var buf [8]byte
	_ = eintr(func() error { _, err := unix.Read(int(e), buf[:]); return err })
}
func (e eventFD) close() { _ = unix.Close(int(e)) }
