// Command grpc is gRPC over shared memory: a server process and a client, both as they would be over a
// socket but for where the connection comes from. It measures the round trip of a unary call over shared memory and over a Unix socket,
// in turns.
//
//	cd examples/grpc && go run .
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/shmnet"
)

const (
	dirEnv  = "GRPC_EXAMPLE_DIR"
	service = "shm"
)

// serve serves gRPC's health service on shared memory and on a Unix socket, until its standard input ends.
func serve(dir string) error {
	shared, err := shmnet.Listen(service, shmchan.WithDir(dir))
	if err != nil {
		return err
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	ended := make(chan error, 2)
	for _, l := range []net.Listener{shared, socket} {
		go func() { ended <- s.Serve(l) }()
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Stop()
	return errors.Join(<-ended, <-ended)
}

// dial makes a client of a connection that comes from f.
func dial(f func(context.Context, string) (net.Conn, error)) (grpc_health_v1.HealthClient, func(), error) {
	c, err := grpc.NewClient("passthrough:///"+service, grpc.WithContextDialer(f), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return grpc_health_v1.NewHealthClient(c), func() { _ = c.Close() }, nil
}

func run(calls int) error {
	dir, err := os.MkdirTemp("", "grpc-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), dirEnv+"="+dir)
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = in.Close(); _ = server.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		return fmt.Errorf("the server: %w", err)
	}

	shared, closeShared, err := dial(func(ctx context.Context, name string) (net.Conn, error) {
		return shmnet.DialContext(ctx, name, shmchan.WithDir(dir))
	})
	if err != nil {
		return err
	}
	defer closeShared()
	socket, closeSocket, err := dial(func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "socket"))
	})
	if err != nil {
		return err
	}
	defer closeSocket()

	const rounds = 10
	names, clients := []string{"shared memory", "Unix socket"}, []grpc_health_v1.HealthClient{shared, socket}
	took := make([][]time.Duration, len(clients))
	for range rounds {
		for i, c := range clients {
			for range calls / rounds {
				began := time.Now()
				r, err := c.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
				if err != nil {
					return fmt.Errorf("over %s: %w", names[i], err)
				}
				if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
					return fmt.Errorf("over %s: %v", names[i], r.Status)
				}
				took[i] = append(took[i], time.Since(began))
			}
		}
	}
	for i, name := range names {
		slices.Sort(took[i])
		n := len(took[i])
		fmt.Printf("%-13s  %d calls, there and back: p50 %v, p99 %v\n", name, n, took[i][n/2].Round(100*time.Nanosecond), took[i][n*99/100].Round(100*time.Nanosecond))
	}
	return nil
}

func main() {
	var err error
	if dir := os.Getenv(dirEnv); dir != "" {
		err = serve(dir)
	} else {
		err = run(20000)
	}
	if err != nil {
		log.Fatal(err)
	}
}
