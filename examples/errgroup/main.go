// Errgroup: goroutines that use shared channels, in a group of golang.org/x/sync/errgroup. The first error cancels the
// context, and with it every call that waits on a channel.
//
//	go run ./examples/errgroup
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/shmchan/shmchan"
	"golang.org/x/sync/errgroup"
)

func main() {
	log.SetFlags(0)
	ch, err := shmchan.New[int64](shmchan.WithCapacity(4)) // Or Open, for a channel with a name.
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(run(context.Background(), os.Stdout, ch, nil), ch.Detach()); err != nil {
		log.Fatal(err)
	}
}

// run sends the numbers from 1 to 100 to three workers, which add them up. With an error in bad one of them fails.
func run(ctx context.Context, out io.Writer, ch *shmchan.Chan[int64], bad error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for n := range int64(100) {
			if err := ch.SendContext(ctx, n+1); err != nil {
				return err
			}
		}
		return ch.Close()
	})
	sums := make([]int64, 3)
	for i := range sums {
		g.Go(func() error {
			for {
				n, err := ch.RecvContext(ctx)
				if errors.Is(err, shmchan.ErrClosed) {
					return nil // Closed, and all of it received.
				} else if err != nil {
					return err
				}
				if bad != nil {
					return fmt.Errorf("worker %d at %d: %w", i, n, bad)
				}
				sums[i] += n
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Fprintln(out, "sum", sums[0]+sums[1]+sums[2])
	return nil
}
