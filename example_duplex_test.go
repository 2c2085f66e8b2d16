package shmchan_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/shmchan/shmchan"
)

// Request and response, for one client after another. The server and its clients are processes as a rule.
func ExampleOpenBytesDuplex() {
	dir, cleanup := tempDir()
	defer cleanup()

	ended := make(chan error)
	go func() {
		for {
			err := serveOne(dir)
			if !errors.Is(err, shmchan.ErrDisconnected) { // Else its client has gone, and the next one may come.
				ended <- err
				return
			}
		}
	}()
	fmt.Println(ask(dir, "first"))
	fmt.Println(ask(dir, "second"))

	last, err := shmchan.OpenBytesDuplex("upper", shmchan.SideA, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = last.Detach() }() // The last to leave removes it.
	_ = last.Close()                     // For good.
	fmt.Println(errors.Is(<-ended, shmchan.ErrClosed))
	// Output:
	// FIRST <nil>
	// SECOND <nil>
	// true
}

const idSize = 16 // bytes before each request, and before its reply

// serveOne waits for a client and answers it until it has gone.
func serveOne(dir shmchan.Option) error {
	pair, err := shmchan.OpenBytesDuplex("upper", shmchan.SideB, dir)
	if err != nil {
		return err
	}
	defer func() { _ = pair.Detach() }()
	var buf []byte
	for {
		if buf, err = pair.Recv(buf[:0]); err != nil {
			return err
		}
		if err := pair.Send(append(buf[:idSize:idSize], bytes.ToUpper(buf[idSize:])...)); err != nil {
			return err
		}
	}
}

// ask is a client with one request. It asks again if it came just when the server, whose client before it had gone, let go to
// wait for the next one.
func ask(dir shmchan.Option, request string) (string, error) {
	for {
		reply, err := askOnce(dir, request)
		if !errors.Is(err, shmchan.ErrDisconnected) {
			return reply, err
		}
	}
}

// askOnce has an id that nobody else has: a client before it may have died, and its reply still be there.
func askOnce(dir shmchan.Option, request string) (string, error) {
	pair, err := shmchan.OpenBytesDuplex("upper", shmchan.SideA, dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = pair.Detach() }()
	id := []byte(rand.Text()[:idSize])
	if err := pair.Send(append(id, request...)); err != nil {
		return "", err
	}
	for {
		reply, err := pair.Recv(nil)
		if err != nil {
			return "", err
		}
		if bytes.HasPrefix(reply, id) {
			return string(reply[idSize:]), nil
		}
	}
}
