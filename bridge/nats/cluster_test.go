package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// Three servers keep each value. One after the other goes down and comes up again, with what it has stored; the next when it has caught up, for without two of three nothing goes on.
func TestClusterWithANodeDown(t *testing.T) {
	const nodes, n = 3, 30_000
	var routes []*url.URL
	var opts [nodes]server.Options
	for i := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		opts[i] = server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: c.Addr().(*net.TCPAddr).Port},
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: c.Addr().String()})
		require.NoError(t, errors.Join(l.Close(), c.Close()))
	}
	var servers [nodes]*server.Server
	var urls []string
	start := func(i int) {
		o := opts[i].Clone()
		o.Routes = routes
		s, err := server.NewServer(o)
		require.NoError(t, err)
		s.Start()
		servers[i] = s
	}
	for i := range nodes {
		start(i)
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", opts[i].Port))
	}
	defer func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}()
	require.Eventually(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == nodes
			}
		}
		return false
	}, time.Minute, 10*time.Millisecond)
	connect := func() *nats.Conn {
		nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	here, there, ctx := t.TempDir(), t.TempDir(), context.Background()
	out, err := shmchan.OpenSender[tick]("cluster", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[tick]("cluster", shmchan.WithDir(there))
	require.NoError(t, err)
	c := Config{Replicas: nodes, Report: func(s string) { t.Log(s) }}
	sent, got := sendFrom(ctx, t, connect(), "cluster", here, c), recvInto(ctx, connect(), "cluster", there, c)
	go func() {
		for i := range uint64(n) {
			if out.Send(tick{Seq: i}) != nil {
				return
			}
		}
		_ = out.Close()
	}()
	for i := range uint64(n) {
		v, err := in.Recv()
		require.NoError(t, err)
		require.Equal(t, i, v.Seq)
		if k := int(i / 5000); i%5000 == 2500 && k < nodes {
			servers[k].Shutdown()
			servers[k].WaitForShutdown()
		}
		if k := int(i / 5000); i%5000 == 4500 && k < nodes {
			start(k)
			require.True(t, servers[k].ReadyForConnections(time.Minute))
			require.Eventually(t, func() bool { // Else the next to go down may be the second that is missing.
				return servers[k].Healthz(&server.HealthzOptions{}).Status == "ok"
			}, time.Minute, 10*time.Millisecond)
		}
	}
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	a, b := <-sent, <-got
	require.NoError(t, errors.Join(a.err, b.err, out.Detach(), in.Detach()))
	t.Logf("send %+v, receive %+v", a.Counts, b.Counts)
}
