// Selectloop: one goroutine that serves shared channels, Go channels and timers; by Go's select, and by Select.
//
//	go run ./examples/selectloop
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/shmchan/shmchan"
)

func main() {
	log.SetFlags(0)
	for _, loop := range []func(context.Context, *shmchan.Receiver[int64], *shmchan.Sender[int64]) error{goLoop, selectLoop} {
		if err := serve(loop); err != nil {
			log.Fatal(err)
		}
	}
}

// goLoop answers each number with its double. In Go's own select shared channels stand beside anything else.
func goLoop(ctx context.Context, in *shmchan.Receiver[int64], out *shmchan.Sender[int64]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // Or the goroutines behind the channels would stay.
	numbers, answers := in.RecvChan(ctx), out.SendChan(ctx)
	idle := time.NewTimer(time.Minute)
	for {
		select {
		case n, ok := <-numbers:
			if !ok {
				return errors.Join(in.Err(), out.SendErr())
			}
			select {
			case answers <- 2 * n:
			case <-out.Done(): // Nobody takes it any more.
				return errors.Join(shmchan.ErrClosed, out.SendErr())
			case <-ctx.Done():
				return ctx.Err()
			}
			idle.Reset(time.Minute)
		case <-idle.C:
			return errors.New("nothing came for a minute")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// selectLoop does the same by Select: no goroutine beside it, no value between two channels, a context for the time.
func selectLoop(ctx context.Context, in *shmchan.Receiver[int64], out *shmchan.Sender[int64]) error {
	var n int64 // Before the loop: RecvCase has it escape.
	var answers []int64
	for open := true; open || len(answers) > 0; {
		var recv, send shmchan.Case // Never ready, unless set.
		if open && len(answers) < 4 {
			recv = shmchan.RecvCase(in, &n)
		}
		if len(answers) > 0 {
			send = shmchan.SendCase(out, answers[0])
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		i, err := shmchan.Select(wait, recv, send)
		cancel()
		switch {
		case i == 0 && errors.Is(err, shmchan.ErrClosed):
			open = false
		case err != nil:
			return err
		case i == 0:
			answers = append(answers, 2*n)
		case i == 1:
			answers = answers[1:]
		}
	}
	return nil
}

// serve has a loop answer three numbers.
func serve(loop func(context.Context, *shmchan.Receiver[int64], *shmchan.Sender[int64]) error) error {
	in, err := shmchan.New[int64]()
	if err != nil {
		return err
	}
	out, err := shmchan.New[int64]()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- loop(context.Background(), in.Receiver, out.Sender) }()
	for n := range int64(3) {
		if err := in.Send(n + 1); err != nil {
			return err
		}
	}
	for range 3 {
		n, err := out.Recv()
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
	return errors.Join(in.Close(), <-done, in.Detach(), out.Detach())
}
