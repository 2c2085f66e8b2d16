package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/shmnet"
)

// Streams, cancels, deadlines and GracefulStop are over shared memory as over a socket.
func TestStreams(t *testing.T) {
	dir := shmchan.WithDir(t.TempDir())
	l, err := shmnet.Listen(service, dir)
	require.NoError(t, err)
	healthy := health.NewServer()
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, healthy)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client, done, err := dial(func(ctx context.Context, name string) (net.Conn, error) { return shmnet.DialContext(ctx, name, dir) })
	require.NoError(t, err)
	defer done()

	watch := func(ctx context.Context) grpc_health_v1.Health_WatchClient {
		w, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		r, err := w.Recv()
		require.NoError(t, err)
		require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, r.Status)
		return w
	}
	w := watch(t.Context())
	for i := range 100 { // The one that is not read yet may be replaced, so one at a time.
		want := []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_NOT_SERVING, grpc_health_v1.HealthCheckResponse_SERVING}[i%2]
		healthy.SetServingStatus("", want)
		r, err := w.Recv()
		require.NoError(t, err)
		require.Equal(t, want, r.Status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w = watch(ctx)
	cancel()
	_, err = w.Recv()
	require.Equal(t, codes.Canceled, status.Code(err))
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w, err = client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	for err == nil { // The first answer too may come too late.
		_, err = w.Recv()
	}
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))

	ctx, cancel = context.WithCancel(t.Context())
	w = watch(ctx)
	stopped := make(chan struct{})
	go func() { s.GracefulStop(); close(stopped) }()
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed) // No new connections, but the stream goes on.
	healthy.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	r, err := w.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING, r.Status)
	select {
	case <-stopped:
		t.Fatal("it has not waited for the stream")
	default:
	}
	cancel()
	s.Stop() // The first stream is never cancelled.
	<-stopped
	require.NoError(t, <-served)
}
