package shmnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/shmnet"
)

// HTTP between two processes of a machine: but for where the listener and the connections come from, all is as over
// a socket. Both sides are in one process here.
func Example() {
	dir, err := os.MkdirTemp("", "example-") // Only so that this example is alone: leave out WithDir for the memory file system.
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	l, err := shmnet.Listen("api", shmchan.WithDir(dir))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.URL.Path)
	})}
	served := make(chan error)
	go func() { served <- server.Serve(l) }()

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return shmnet.DialContext(ctx, "api", shmchan.WithDir(dir))
	}}
	client := http.Client{Transport: transport}
	r, err := client.Get("http://api/there")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		log.Fatal(err)
	}
	_ = r.Body.Close()
	fmt.Println(r.Status, string(body))

	transport.CloseIdleConnections()
	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	_, err = client.Get("http://api/there")
	fmt.Println("refused:", errors.Is(err, syscall.ECONNREFUSED))
	// Output:
	// 200 OK hello from /there
	// http: Server closed
	// refused: true
}

// A connection is a stream of bytes with an end for each direction.
func ExampleDial() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	l, err := shmnet.Listen("count", shmchan.WithDir(dir))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() { // Says how many bytes it got.
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		n, _ := io.Copy(io.Discard, c)
		fmt.Fprintf(c, "%d bytes", n)
	}()

	c, err := shmnet.Dial("count", shmchan.WithDir(dir))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		log.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	fmt.Println(string(answer), err)
	// Output: 1048576 bytes <nil>
}
