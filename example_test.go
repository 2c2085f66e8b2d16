package shmchan_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shmchan/shmchan"
)

// Tick is what the examples send: of fixed size, without pointers.
type Tick struct {
	Sym [8]byte
	Px  float64
	Qty int64
}

// tempDir keeps the examples out of the system's memory file system.
func tempDir() (shmchan.Option, func()) {
	dir, err := os.MkdirTemp("", "shmchan-example-")
	if err != nil {
		panic(err)
	}
	return shmchan.WithDir(dir), func() { _ = os.RemoveAll(dir) }
}

// Two programs that open the same name have one channel. Here both ends are in one.
func Example() {
	dir, cleanup := tempDir()
	defer cleanup()

	// One program:
	out, err := shmchan.OpenSender[Tick]("ticks", dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = out.Send(Tick{Sym: [8]byte{'A', 'C', 'M', 'E'}, Px: 99.5, Qty: 100})
	_ = out.Close()

	// The other:
	in, err := shmchan.OpenReceiver[Tick]("ticks", dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	for t := range in.All() {
		fmt.Printf("%s %.1f x %d\n", t.Sym[:4], t.Px, t.Qty)
	}
	fmt.Println(in.Err())
	_, _ = out.Detach(), in.Detach()
	// Output:
	// ACME 99.5 x 100
	// <nil>
}

// A value that RecvFunc could not use goes to another receive.
func ExampleReceiver_RecvFunc() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.Open[Tick]("ticks", dir, shmchan.WithCapacity(4))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	_ = ch.Send(Tick{Qty: 7})
	ctx := context.Background()
	fmt.Println(ch.RecvFunc(ctx, func(*Tick) error { return errors.New("the database is away") }))
	fmt.Println(ch.RecvFunc(ctx, func(t *Tick) error { fmt.Println(t.Qty); return nil }))
	// Output:
	// the database is away
	// 7
	// <nil>
}

// SendFunc builds the value where it will lie, without a copy.
func ExampleSender_SendFunc() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.Open[[4096]byte]("frames", dir, shmchan.WithCapacity(4))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	_ = ch.SendFunc(context.Background(), func(frame *[4096]byte) error {
		copy(frame[:], "pixels")
		return nil
	})
	frame, _ := ch.Recv()
	fmt.Println(string(frame[:6]), ch.Len(), ch.Cap())
	// Output: pixels 0 4
}

// TrySend and TryRecv are what select's default branch is for a Go channel.
func ExampleSender_TrySend() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.Open[int64]("numbers", dir, shmchan.WithCapacity(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	fmt.Println(ch.TrySend(1))
	fmt.Println(errors.Is(ch.TrySend(2), shmchan.ErrFull))
	v, err := ch.TryRecv()
	fmt.Println(v, err)
	_, err = ch.TryRecv()
	fmt.Println(errors.Is(err, shmchan.ErrEmpty))
	// Output:
	// <nil>
	// true
	// 1 <nil>
	// true
}

// A type that cannot cross is refused, with the path to what is wrong.
func ExampleTypeError() {
	type Order struct {
		ID   int64
		Note string
	}
	_, err := shmchan.Open[Order]("orders")
	fmt.Println(err)
	// Output:
	// shmchan: channel "orders": type shmchan_test.Order cannot cross between processes: Order.Note is a string; use a fixed-size array such as [32]byte and a length
}

// One goroutine serves two channels of different types, whichever has something.
func ExampleSelect() {
	dir, cleanup := tempDir()
	defer cleanup()
	ticks, err := shmchan.Open[Tick]("ticks", dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	quit, err := shmchan.Open[struct{}]("quit", dir, shmchan.WithCapacity(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _, _ = ticks.Detach(), quit.Detach() }()

	received := make(chan bool)
	go func() { // Another program.
		_ = ticks.Send(Tick{Sym: [8]byte{'A', 'C', 'M', 'E'}, Px: 99.5, Qty: 100})
		<-received
		_ = quit.Send(struct{}{})
	}()

	var t Tick // Before the loop: RecvCase has it escape.
	for {
		i, err := shmchan.Select(context.Background(),
			shmchan.RecvCase(ticks.Receiver, &t),
			shmchan.RecvCase(quit.Receiver, nil))
		if err != nil {
			fmt.Println(i, err)
			return
		}
		switch i {
		case 0:
			fmt.Printf("%s %.1f x %d\n", t.Sym[:4], t.Px, t.Qty)
			received <- true
		case 1:
			fmt.Println("quit")
			return
		}
	}
	// Output:
	// ACME 99.5 x 100
	// quit
}

// TrySelect is a select with a default branch.
func ExampleTrySelect() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.Open[int64]("numbers", dir, shmchan.WithCapacity(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ch.Detach() }()

	var n int64
	for range 2 {
		switch i, err := shmchan.TrySelect(shmchan.RecvCase(ch.Receiver, &n)); {
		case i == 0 && err == nil:
			fmt.Println("received", n)
		case errors.Is(err, shmchan.ErrWouldBlock):
			fmt.Println("nothing there")
			_ = ch.Send(42)
		}
	}
	// Output:
	// nothing there
	// received 42
}
