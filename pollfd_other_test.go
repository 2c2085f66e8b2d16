//go:build !linux

package shmchan

import "testing"

// testPoller waits for a descriptor by poll(2), where there is no epoll.
type testPoller struct {
	t  testing.TB
	fd int
}

func newTestPoller(t testing.TB, fd int, _ bool) *testPoller { return &testPoller{t, fd} }
func (p *testPoller) wait()                                  { readable(p.t, p.fd, -1) }
func (p *testPoller) close()                                 {}
