package nats

import (
	"context"
	"errors"
	"flag"
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

var hasty = flag.Bool("hasty", false, "TestClusterWithANodeDown has the next server go down when the one before is up, and does not wait until that has caught up")

// Three servers keep each value. One after the other goes down and comes up again, with what it has stored; the next when it has caught up, for without two of three nothing goes on.
func TestClusterWithANodeDown(t *testing.T) {
	const nodes, n = 3, 30_000
	var routes []*url.URL
	var opts [nodes]server.Options
	host := ownHost() // Else who connects might get the port of a server that is down.
	for i := range nodes {
		l, err := net.Listen("tcp", host+":0")
		require.NoError(t, err)
		c, err := net.Listen("tcp", host+":0")
		require.NoError(t, err)
		opts[i] = server.Options{
			ServerName: fmt.Sprint("n", i), Host: host, Port: l.Addr().(*net.TCPAddr).Port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "three", Host: host, Port: c.Addr().(*net.TCPAddr).Port},
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
		urls = append(urls, fmt.Sprintf("nats://%s:%d", host, opts[i].Port))
	}
	defer func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}()
	for _, s := range servers {
		require.True(t, s.ReadyForConnections(patience), "%s listens", s.Name())
	}
	require.Eventually(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == nodes
			}
		}
		return false
	}, patience, 10*time.Millisecond)
	connect := func() *nats.Conn {
		return connectTo(t, strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
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
	down := -1 // the server that is
	up := func() {
		start(down)
		require.True(t, servers[down].ReadyForConnections(patience))
		require.Eventually(t, func() bool { // Else the next to go down may be the second that is missing.
			return *hasty || servers[down].Healthz(&server.HealthzOptions{}).Status == "ok"
		}, patience, 10*time.Millisecond)
		down = -1
	}
	receive := func() (tick, error) {
		for {
			patience := patience
			if *hasty {
				patience /= 10
			}
			wait, cancel := context.WithTimeout(ctx, patience)
			v, err := in.RecvContext(wait)
			cancel()
			if !*hasty || down < 0 || !errors.Is(err, context.DeadlineExceeded) {
				return v, err
			}
			t.Logf("nothing for half a minute without server %d; it comes up now", down)
			up()
		}
	}
	for i := range uint64(n) {
		v, err := receive()
		require.NoError(t, err)
		require.Equal(t, i, v.Seq)
		if k := int(i / 5000); i%5000 == 2500 && k < nodes {
			servers[k].Shutdown()
			servers[k].WaitForShutdown()
			down = k
		}
		if i%5000 == 4500 && down >= 0 {
			up()
		}
	}
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	a, b := <-sent, <-got
	require.NoError(t, errors.Join(a.err, b.err, out.Detach(), in.Detach()))
	t.Logf("send %+v, receive %+v", a.Counts, b.Counts)
}
