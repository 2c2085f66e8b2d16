package shmchan

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// testPoller waits for a descriptor by epoll, by level or by edge.
type testPoller struct {
	t  testing.TB
	ep int
	fd int
}

func newTestPoller(t testing.TB, fd int, edge bool) *testPoller {
	dup := must[int](t)(unix.Dup(fd))
	ep := must[int](t)(unix.EpollCreate1(0))
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	if edge {
		ev.Events |= unix.EPOLLET
	}
	require.NoError(t, unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, dup, &ev))
	return &testPoller{t, ep, dup}
}

func (p *testPoller) wait() {
	var ev [1]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.ep, ev[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(p.t, err)
		require.Equal(p.t, 1, n)
		return
	}
}

func (p *testPoller) close() {
	require.NoError(p.t, unix.Close(p.ep))
	require.NoError(p.t, unix.Close(p.fd))
}
