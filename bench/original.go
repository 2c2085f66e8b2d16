package main

// What shmchan was first made for: a ring of fixed slots of 128 bytes, 1 MiB of them, one
// producer and one consumer, and two such rings for there and back. It was to be 3 to 10
// times faster than a tuned socket in Python. docs/original.md tells the story.
//
// A value has 120 bytes: with its word it fills a slot of 128. Peers without slots move the
// same 120 bytes. To add a peer, add it to the table in originalPeers.

import (
	"fmt"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

const (
	originalSize = 120
	originalCap  = 1 << 20 / 128

	// own says that in there and back each peer waits in the way of its setting.
	own = "own"
)

// The peers that the others are measured by.
const (
	pythonTCP         = "Python TCP"
	pythonNagle       = "Python TCP, kept back"
	pythonUnix        = "Python Unix stream"
	pythonTCPColumns  = "Python TCP, by columns"
	pythonUnixColumns = "Python Unix stream, by columns"
	pythonTCPPolling  = "Python TCP, polling"
	pythonUnixPolling = "Python Unix stream, polling"
)

var originalBatches = []int{8, 64, 256}

func original() scenario {
	return scenario{
		name: "original", title: "The original's scenario", files: "original",
		rows: originalRows, peers: originalPeers, goals: originalGoals(), pictures: (*report).originalPictures,
	}
}

func originalRows() []row {
	rows := []row{{
		Name: "original/oneway", Kind: contract.OneWay, Title: "One way, one message at a time",
		To: []string{pythonTCP, pythonNagle, pythonUnix},
	}}
	for _, batch := range originalBatches {
		rows = append(rows, row{
			Name: fmt.Sprintf("original/batch%d", batch), Kind: contract.Batch, Batch: batch,
			Title: fmt.Sprintf("One way in batches of %d", batch),
			To:    []string{pythonTCP, pythonUnix, pythonTCPColumns, pythonUnixColumns},
		})
	}
	rows = append(rows, row{
		Name: "original/there-and-back", Kind: contract.PingPong, Wait: own, Title: "There and back over two rings",
		To: []string{pythonTCP, pythonUnix, pythonTCPPolling, pythonUnixPolling},
	})
	for i := range rows {
		rows[i].Size, rows[i].Cap = originalSize, originalCap
		rows[i].quick = rows[i].Batch == 0 || rows[i].Batch == 64
	}
	return rows
}

func originalPeers() []*peer {
	var (
		floor  = &program{name: "floor", build: buildC("floor.c"), needs: []string{"gcc"}}
		lib    = goProgram("shmchan")
		kernel = goProgram("kernel")
		rpc    = goProgram("grpc")
		tuned  = tunedPython()
	)
	return []*peer{
		{Name: "shmchan single spin", Mode: "single-spin", program: lib, rows: does(oneway, batch, own),
			Setting: "WithSingleSender, WithSingleReceiver, Spin"},
		{Name: "shmchan single", Mode: "single-adaptive", program: lib, rows: does(oneway, batch, own),
			Setting: "WithSingleSender, WithSingleReceiver, Adaptive"},
		{Name: "shmchan single park", Mode: "single-park", program: lib, rows: does(oneway, own),
			Setting: "WithSingleSender, WithSingleReceiver, Park"},
		{Name: "shmchan", Mode: "many-adaptive", program: lib, rows: does(oneway, batch, own),
			Setting: "the default: many senders and receivers allowed, Adaptive"},
		{Name: "shmchan bytes single", Mode: "bytes-single-adaptive", program: lib, rows: does(oneway, own),
			Setting: "OpenBytes: each message with its length, so slots of 192 bytes; WithSingleSender, WithSingleReceiver, Adaptive"},
		{Name: "shmchan bytes", Mode: "bytes-many-adaptive", program: lib, rows: does(oneway, own),
			Setting: "the same, many senders and receivers allowed"},
		{Name: "shmchan park", Mode: "many-park", program: lib, rows: does(own),
			Setting: "many senders and receivers allowed, Park"},
		{Name: floorRing, Mode: "ring", program: floor, rows: does(oneway, own),
			Setting: "the floor: a plain ring in C of the same slots, no roles, no deaths, no waking"},

		{Name: pythonTCP, Mode: "tcp,single", program: tuned, rows: does(oneway, batch, own),
			Setting: "tuned: loopback, TCP_NODELAY, buffers of 1 MiB, built in place, a call to send and one to receive each message or batch: to receive all that is there is slower here"},
		{Name: pythonNagle, Mode: "tcp,nagle", program: tuned, rows: does(oneway),
			Setting: "without TCP_NODELAY: messages may be kept back until the last ones are acknowledged; and received as much as is there with each call"},
		{Name: pythonUnix, Mode: "unix", program: tuned, rows: does(oneway, batch, own),
			Setting: "tuned: buffers of 1 MiB, built in place, a call to send each message or batch; received as much as is there with each call"},
		{Name: pythonTCPColumns, Mode: "tcp,columns", program: tuned, rows: does(batch),
			Setting: "as " + pythonTCP + ", but received as much as is there with each call, and numbers are written and checked by slices with a stride: no message is looked at by itself"},
		{Name: pythonUnixColumns, Mode: "unix,columns", program: tuned, rows: does(batch),
			Setting: "the same over a Unix stream, beside " + pythonUnix},
		{Name: pythonTCPPolling, Mode: "tcp,polling", program: tuned, rows: does(own),
			Setting: "as " + pythonTCP + ", but it asks again and again, and never waits in the kernel"},
		{Name: pythonUnixPolling, Mode: "unix,polling", program: tuned, rows: does(own),
			Setting: "the same over a Unix stream"},

		{Name: "Go TCP", Mode: "tcp", program: kernel, rows: does(oneway, own),
			Setting: "package net, loopback, TCP_NODELAY, a call to send and one to receive each message: what of it is not Python"},
		{Name: "Go Unix stream", Mode: "unix", program: kernel, rows: does(oneway, own),
			Setting: "package net, a call to send and one to receive each message"},
		{Name: "gRPC TCP", Mode: "tcp", program: rpc, rows: does(oneway, batch, own),
			Setting: "grpc-go v1.85.0, loopback, no TLS, bare bytes, windows of 1 MiB; a stream of the client's one way, a message a batch; unary calls there and back"},
		{Name: "gRPC Unix stream", Mode: "unix", program: rpc, rows: does(oneway, batch, own),
			Setting: "the same over a Unix socket"},
	}
}

// originalGoals are what the scenario was to reach. For the strictest reading each stands also
// against the quickest that Python has.
func originalGoals() []goal {
	one := func(against string, want float64) goal {
		return goal{Text: "one message at a time", Row: "original/oneway",
			Peers: []string{"shmchan single", "shmchan"}, Against: against, Want: want}
	}
	goals := []goal{one(pythonTCP, 100), one(pythonNagle, 100), one(pythonUnix, 50)}
	for _, batch := range originalBatches {
		for _, against := range []string{pythonTCP, pythonUnix, pythonTCPColumns, pythonUnixColumns} {
			goals = append(goals, goal{Text: fmt.Sprintf("in batches of %d", batch), Row: fmt.Sprintf("original/batch%d", batch),
				Peers: []string{"shmchan single", "shmchan"}, Against: against, Want: 8})
		}
	}
	for _, against := range []string{pythonTCP, pythonUnix} {
		goals = append(goals, goal{Text: "there and back, spinning", Row: "original/there-and-back",
			Peers: []string{"shmchan single spin", "shmchan"}, Against: against, Want: 200})
	}
	for _, against := range []string{pythonTCP, pythonUnix} {
		goals = append(goals, goal{Text: "there and back, parked", Row: "original/there-and-back",
			Peers: []string{"shmchan single park", "shmchan park"}, Against: against, Want: 1})
	}
	return goals
}

// originalPictures are one way by the size of the batch, and the percentiles of there and back.
func (r *report) originalPictures() []picture {
	oneways := r.rowsOf(func(w row) bool { return w.Kind != contract.PingPong })
	at := r.at(oneways)
	byBatch := picture{
		file: "original-throughput.svg", title: fmt.Sprintf("One way, slots of 128 bytes, 1 MiB, CPUs %s", at),
		x: "messages in a batch", y: "messages a second", xTicks: only(1, 8, 64, 256), yTicks: decades(""), logX: true,
		lines: r.byRow(oneways, at, func(w row) float64 { return float64(max(1, w.Batch)) }, func(m measurement) float64 { return m.PerSecond }),
	}
	rounds := r.rowsOf(func(w row) bool { return w.Kind == contract.PingPong })
	at = r.at(rounds)
	return []picture{byBatch, {
		file: "original-latency.svg", title: fmt.Sprintf("There and back, slots of 128 bytes, CPUs %s", at),
		x: "percentile", y: "time of a round", xTicks: percentiles{}, yTicks: decades("ns"), logX: true, bare: true,
		lines: r.curves(rounds, at),
	}}
}
