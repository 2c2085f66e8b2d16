package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/shmchan/shmchan"
)

func Example() {
	main()
	// Output: sum 5050
}

// The error of one ends the others, also the sender that waits for space.
func TestFirstErrorEndsAll(t *testing.T) {
	ch, err := shmchan.New[int64](shmchan.WithCapacity(1))
	if err != nil {
		t.Fatal(err)
	}
	bad := errors.New("no such number")
	if err := run(context.Background(), io.Discard, ch, bad); !errors.Is(err, bad) {
		t.Errorf("not the first error: %v", err)
	}
	if err := ch.Detach(); err != nil {
		t.Error(fmt.Errorf("detach: %w", err))
	}
}
