// Package contract is what the bench's runner and a peer written in Go agree on: the
// arguments of a peer, its answer, and the loops that do the rows' work. README.md of
// the bench says the same for peers in other languages.
package contract

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The rows' kinds, as a peer is told them.
const (
	OneWay   = "oneway"
	PingPong = "pingpong"
	Many     = "many"
	Batch    = "batch"
	InPlace  = "inplace"
	Bursts   = "bursts"
	Idle     = "idle"
	Open     = "open"
	Line     = "line"
)

// The roles of a process.
const (
	Send = "send" // in pingpong the one that begins and measures
	Recv = "recv"
	Both = "both" // all sides in one process
)

// Args is what a peer is told, as "-name value" pairs.
type Args struct {
	Row, Mode, Role, Wait string
	Size, Cap             int
	Count                 uint64 // values; in many those of each sender, in bursts the bursts
	Every                 uint64 // pingpong: one round in so many is timed on its own
	Batch                 int
	Gap, Idle             time.Duration
	Senders, Receivers    int
	Index                 int // which of the senders, or receivers, this is
	Dir                   string
	ID                    string // for names that do not lie in Dir
}

func (a *Args) fields() []struct {
	name string
	to   any
} {
	return []struct {
		name string
		to   any
	}{
		{"row", &a.Row}, {"mode", &a.Mode}, {"role", &a.Role}, {"wait", &a.Wait},
		{"size", &a.Size}, {"cap", &a.Cap}, {"count", &a.Count}, {"every", &a.Every},
		{"batch", &a.Batch}, {"gap", &a.Gap}, {"idle", &a.Idle},
		{"senders", &a.Senders}, {"receivers", &a.Receivers}, {"index", &a.Index},
		{"dir", &a.Dir}, {"id", &a.ID},
	}
}

// List is the command line. Durations are in nanoseconds.
func (a Args) List() []string {
	var words []string
	for _, f := range a.fields() {
		var v string
		switch p := f.to.(type) {
		case *string:
			v = *p
		case *int:
			v = strconv.Itoa(*p)
		case *uint64:
			v = strconv.FormatUint(*p, 10)
		case *time.Duration:
			v = strconv.FormatInt(int64(*p), 10)
		}
		words = append(words, "-"+f.name, v)
	}
	return words
}

// Parse reads what List wrote.
func Parse(words []string) (a Args, err error) {
	if len(words)%2 != 0 {
		return a, fmt.Errorf("arguments come in pairs: %q", words)
	}
	for i := 0; i < len(words); i += 2 {
		known := false
		for _, f := range a.fields() {
			if words[i] != "-"+f.name {
				continue
			}
			known = true
			switch p := f.to.(type) {
			case *string:
				*p = words[i+1]
			case *int:
				*p, err = strconv.Atoi(words[i+1])
			case *uint64:
				*p, err = strconv.ParseUint(words[i+1], 10, 64)
			case *time.Duration:
				var n int64
				n, err = strconv.ParseInt(words[i+1], 10, 64)
				*p = time.Duration(n)
			}
			if err != nil {
				return a, fmt.Errorf("%s: %w", words[i], err)
			}
		}
		if !known {
			return a, fmt.Errorf("unknown argument %q", words[i])
		}
	}
	return a, nil
}

// Result is a process's answer, one line of JSON. Times are in nanoseconds.
type Result struct {
	Start int64       `json:"start"` // CLOCK_MONOTONIC
	End   int64       `json:"end"`
	CPU   int64       `json:"cpu"`             // user and system time of the process from start to end
	Took  int64       `json:"took,omitempty"`  // if the row's time is not that from start to end
	Count uint64      `json:"count"`           // values moved by this process
	Lat   []int64     `json:"lat,omitempty"`   // rounds, bursts, calls of open
	Got   [][2]uint64 `json:"got,omitempty"`   // many: from each sender the number of values and the sum of their numbers
	Note  string      `json:"note,omitempty"`  // what one should know beside the figure
	Wrong string      `json:"wrong,omitempty"` // a value that was not the next one; nothing else counts then
}

// WrongError is the error of a value that was lost, doubled, torn or out of order.
type WrongError struct{ What string }

func (w *WrongError) Error() string { return w.What }

// Main is the main function of a peer. Setup connects; what it returns does the work.
func Main(setup func(a Args) (work func(r *Result) error, err error)) {
	if err := serve(setup); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(os.Args, " "), err)
		os.Exit(1)
	}
}

func serve(setup func(a Args) (func(r *Result) error, error)) error {
	a, err := Parse(os.Args[1:])
	if err != nil {
		return err
	}
	work, err := setup(a)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return fmt.Errorf("the runner is gone: %w", err)
	}
	var r Result
	began := CPUTime()
	r.Start = Now()
	err = work(&r)
	r.End = Now()
	r.CPU = CPUTime() - began
	if w, ok := err.(*WrongError); ok { //nolint:errorlint // It is never wrapped: nobody may add to it.
		r = Result{Wrong: w.What}
	} else if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	// Some transports still have values on their way when the sender is done, and lose
	// them if it goes. So it stays until the runner has heard all.
	_, _ = in.ReadString('\n')
	return nil
}
