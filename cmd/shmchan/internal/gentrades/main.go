// Command gentrades makes the trades that the demo sends: synthetic ones, the same
// each time it is run.
//
//	go run ./internal/gentrades > trades.csv
//
// Invariant: everything is computed with integers from a fixed seed, so the file is
// the same, byte for byte, on every machine.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
)

const (
	trades = 2000
	seed   = 20260105
)

// instrument is an invented share. Its price walks at random, a cent or a few at a
// time, and is drawn back to where it began.
type instrument struct {
	symbol string
	start  int64 // cents
	lot    int64 // quantities are multiples of it
	price  int64 // cents, now
}

func generate(w io.Writer) error {
	instruments := []*instrument{
		{"ALPHA", 10250, 100, 10250},
		{"BETA", 4875, 100, 4875},
		{"GAMMA", 23110, 50, 23110},
		{"DELTA", 780, 500, 780},
		{"EPSILON", 151500, 1, 151500},
		{"ZETA", 3333, 100, 3333},
		{"ETA", 64020, 10, 64020},
		{"THETA", 1999, 200, 1999},
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "symbol,side,price,quantity")
	for range trades {
		// The lower of two: the first ones are traded more.
		s := instruments[min(rnd.IntN(len(instruments)), rnd.IntN(len(instruments)))]
		tick := max(1, s.start/5000)
		s.price += tick * (rnd.Int64N(7) - 3)
		s.price += (s.start - s.price) / 50
		side := "buy"
		if rnd.IntN(2) == 1 {
			side = "sell"
		}
		quantity := s.lot * (1 + min(rnd.Int64N(40), rnd.Int64N(40), rnd.Int64N(40)))
		fmt.Fprintf(out, "%s,%s,%d.%02d,%d\n", s.symbol, side, s.price/100, s.price%100, quantity)
	}
	return out.Flush()
}

func main() {
	log.SetFlags(0)
	if err := generate(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
