package nats

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Serve runs a NATS server with JetStream in this process, which listens on addr, "127.0.0.1:0" say, and keeps its streams in the directory
// store. Who reaches addr may use it: it is for one's own machine, or a network where that is right. Shutdown ends it.
func Serve(addr, store string) (*server.Server, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot listen on %q: %w; write host:port", addr, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot listen on %q: the port is no number", addr)
	}
	// The server does not say why it cannot listen, or keep its streams.
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot listen on %q: %w; give a host:port of this machine that is free, port 0 takes any", addr, err)
	}
	if err := errors.Join(l.Close(), os.MkdirAll(store, 0o700), mayWrite(store)); err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot keep streams in %q: %w; give a directory that can be written", store, err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: host, Port: n, JetStream: true, StoreDir: store, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot run a server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return nil, errors.New("shmchan bridge: the server did not come up on " + addr + "; see whether the port is taken")
	}
	return s, nil
}

// mayWrite says why nothing can be written into a directory.
func mayWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".shmchan-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
