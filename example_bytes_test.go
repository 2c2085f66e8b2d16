package shmchan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/shmchan/shmchan"
)

// Messages of any length up to WithMaxMessage. Each Recv appends to the buffer that it is given.
func ExampleOpenBytes() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.OpenBytes("lines", dir, shmchan.WithCapacity(16), shmchan.WithMaxMessage(1<<20))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ch.Detach() }()

	_ = ch.Send([]byte("hello"))
	_ = ch.Send(bytes.Repeat([]byte("x"), 100_000))
	_ = ch.Close()

	var buf []byte // Grows to what the longest message needs, and is used again.
	for {
		buf, err = ch.Recv(buf[:0])
		if err != nil {
			fmt.Println(errors.Is(err, shmchan.ErrClosed))
			return
		}
		fmt.Println(len(buf), "bytes,", string(buf[:5]))
	}
	// Output:
	// 5 bytes, hello
	// 100000 bytes, xxxxx
	// true
}

// A message that is written where the receiver will read it, and read there: nobody copies it.
func ExampleBytesSender_SendFunc() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.OpenBytes("reports", dir, shmchan.WithMaxMessage(1<<16))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ch.Detach() }()

	ctx := context.Background()
	err = ch.SendFunc(ctx, 1<<16, func(buf []byte) (int, error) { // At most so many bytes;
		return len(fmt.Appendf(buf[:0], "%d and %d", 6, 7)), nil // so many it was.
	})
	fmt.Println(err)
	err = ch.RecvFunc(ctx, func(msg []byte) error {
		fmt.Printf("%s\n", msg)
		return nil
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// 6 and 7
	// <nil>
}

// A message that RecvFunc could not use goes to another receive.
func ExampleBytesReceiver_RecvFunc() {
	dir, cleanup := tempDir()
	defer cleanup()
	ch, err := shmchan.OpenBytes("jobs", dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ch.Detach() }()

	_ = ch.Send([]byte("dig a hole"))
	err = ch.RecvFunc(context.Background(), func(msg []byte) error {
		return errors.New("no shovel")
	})
	fmt.Println(err)
	msg, err := ch.Recv(nil)
	fmt.Printf("%s %v\n", msg, err)
	// Output:
	// no shovel
	// dig a hole <nil>
}

// A channel of bytes without a name, whose other end is made of its files, in another process as a rule.
func ExampleNewBytes() {
	here, err := shmchan.NewBytes(shmchan.WithCapacity(4))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = here.Detach() }()
	files, err := here.Files() // For StartWithFiles, or SendFiles.
	if err != nil {
		fmt.Println(err)
		return
	}
	there, err := shmchan.BytesFromFiles(files)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = there.Detach() }()

	_ = here.Send([]byte("across"))
	msg, err := there.Recv(nil)
	fmt.Printf("%s %v\n", msg, err)
	// Output:
	// across <nil>
}
