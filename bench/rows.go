package main

import (
	"fmt"
	"time"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

// row is one thing that is measured, of every peer that can do it.
type row struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Title string `json:"title"`
	Size  int    `json:"size"`
	Cap   int    `json:"cap"`
	// What the kind needs.
	Wait  string        `json:"wait,omitempty"`
	Batch int           `json:"batch,omitempty"`
	Sides int           `json:"sides,omitempty"` // many: so many senders, and so many receivers
	Gap   time.Duration `json:"gap,omitempty"`
	// The peers that the row's ratios are to, if not the one that its kind says.
	To    []string `json:"to,omitempty"`
	quick bool
}

const (
	capacity  = 1024
	burstSize = 16 // values
	// Counts are multiples of it, so that every size of batch goes into them.
	whole = 256
)

var sizes = []int{8, 64, 1024}

// latency says that the row's figure is a time and not a rate.
func (r row) latency() bool {
	switch r.Kind {
	case contract.PingPong, contract.Bursts, contract.Open:
		return true
	}
	return false
}

// references are the peers that the row's ratios are to.
func (r row) references() []string {
	if ref := r.reference(); ref != "" {
		return []string{ref}
	}
	return r.To
}

// reference is the one that the row's kind says; empty: none does the same.
func (r row) reference() string {
	if len(r.To) > 0 {
		return ""
	}
	switch r.Kind {
	case contract.PingPong:
		if r.Wait == park {
			return floorFutex
		}
		return floorRing
	case contract.OneWay, contract.Batch, contract.Bursts:
		return floorRing
	case contract.InPlace:
		return floorCopy
	case contract.Many:
		return goChan
	}
	return ""
}

// idle says that the row's figure is the CPU time, and nothing else.
func (r row) idle() bool { return r.Kind == contract.Idle }

func allRows() []row {
	var rows []row
	add := func(r row) {
		if r.Cap == 0 {
			r.Cap = capacity
		}
		rows = append(rows, r)
	}
	for _, size := range sizes {
		add(row{Name: fmt.Sprintf("oneway/%d", size), Kind: contract.OneWay, Size: size,
			Title: fmt.Sprintf("One way, %d bytes", size), quick: size == 64})
	}
	for _, wait := range []string{"spin", "park"} {
		for _, size := range sizes {
			how := map[string]string{"spin": "spinning", "park": "parked"}[wait]
			add(row{Name: fmt.Sprintf("%s/%d", wait, size), Kind: contract.PingPong, Size: size, Wait: wait,
				Title: fmt.Sprintf("There and back, %s, %d bytes", how, size), quick: size == 64})
		}
	}
	for _, sides := range []int{1, 2, 4} {
		for _, size := range sizes {
			add(row{Name: fmt.Sprintf("many%d/%d", sides, size), Kind: contract.Many, Size: size, Sides: sides,
				Title: fmt.Sprintf("Many to many, %dx%d, %d bytes", sides, sides, size), quick: size == 64 && sides == 2})
		}
	}
	for _, batch := range []int{1, 8, 64, 256} {
		for _, size := range sizes {
			add(row{Name: fmt.Sprintf("batch%d/%d", batch, size), Kind: contract.Batch, Size: size, Batch: batch,
				Title: fmt.Sprintf("One way in batches of %d, %d bytes", batch, size), quick: size == 64 && batch == 64})
		}
	}
	add(row{Name: "inplace/1024", Kind: contract.InPlace, Size: 1 << 10,
		Title: "Built and read in place, 1 KiB", quick: true})
	// Eight of these fill a CPU's own cache; 1024 would be a measurement of the memory.
	add(row{Name: "inplace/65528", Kind: contract.InPlace, Size: 1<<16 - 8, Cap: 8,
		Title: "Built and read in place, 64 KiB with the word, capacity 8", quick: true})
	for _, gap := range []time.Duration{time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond} {
		add(row{Name: fmt.Sprintf("bursts%s/64", short(gap)), Kind: contract.Bursts, Size: 64, Batch: burstSize, Gap: gap,
			Title: fmt.Sprintf("Bursts of %d values of 64 bytes, %v apart", burstSize, gap), quick: gap == 100*time.Microsecond})
	}
	add(row{Name: "idle", Kind: contract.Idle, Size: 64, Title: "A receiver that waits", quick: true})
	add(row{Name: "open", Kind: contract.Open, Size: 64, Title: "Open and let go", quick: true})
	return rows
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	default:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
}

// parts are the processes of the row: receivers first, on the second CPU, so that they
// wait already when the senders, on the first, begin.
func (r row) parts(p *peer, cpus []int, count, every uint64, idle time.Duration) []part {
	a := contract.Args{
		Row: r.Kind, Mode: p.Mode, Wait: r.Wait, Size: r.Size, Cap: r.Cap, Count: count, Every: every,
		Batch: r.Batch, Gap: r.Gap, Idle: idle, Senders: 1, Receivers: 1,
	}
	sides := max(1, r.Sides)
	if r.Kind == contract.Many {
		a.Senders, a.Receivers = sides, sides
	}
	if p.InProcess || r.Kind == contract.Open {
		a.Role = contract.Both
		if r.Kind == contract.Open {
			cpus = cpus[:1]
		}
		return []part{{a, cpus}}
	}
	var parts []part
	for _, role := range []string{contract.Recv, contract.Send} {
		for i := range sides {
			b := a
			b.Role, b.Index = role, i
			cpu := cpus[1]
			if role == contract.Send {
				cpu = cpus[0]
			}
			parts = append(parts, part{b, []int{cpu}})
		}
	}
	return parts
}
