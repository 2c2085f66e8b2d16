package nats_test

import (
	"context"
	"fmt"
	"os"

	"github.com/shmchan/shmchan"
	bridge "github.com/shmchan/shmchan/bridge/nats"
)

type reading struct {
	Sensor uint32
	Value  float32
}

// A program that has its channel open passes it to the bridge as it is: Raw is the same handle, without the type.
func ExampleSend() {
	here, there, store := dir(), dir(), dir()
	defer remove(here, there, store)
	server, err := bridge.Serve("127.0.0.1:0", store)
	check(err)
	defer server.Shutdown()
	nc, err := bridge.Connect(server.ClientURL(), bridge.Login{}, nil)
	check(err)
	defer nc.Close()
	ctx := context.Background()

	out, err := shmchan.Open[reading]("readings", shmchan.WithDir(here))
	check(err)
	sent := make(chan error, 1)
	go func() {
		_, err := bridge.Send(ctx, nc, out.Receiver.Raw(), bridge.Config{})
		sent <- err
	}()

	in, err := shmchan.Open[reading]("readings", shmchan.WithDir(there)) // On the other machine.
	check(err)
	received := make(chan error, 1)
	go func() {
		_, err := bridge.RecvInto(ctx, nc, in.Sender.Raw(), bridge.Config{})
		received <- err
	}()

	check(out.Send(reading{7, 21.5}))
	check(out.Send(reading{8, 19}))
	check(out.Close())
	for v := range in.All() {
		fmt.Println(v.Sensor, v.Value)
	}
	check(<-sent)
	check(<-received)
	check(out.Detach())
	check(in.Detach())
	// Output:
	// 7 21.5
	// 8 19
}

func dir() string {
	d, err := os.MkdirTemp("", "bridge-example-")
	check(err)
	return d
}

func remove(dirs ...string) {
	for _, d := range dirs {
		check(os.RemoveAll(d))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
