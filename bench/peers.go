package main

import (
	"github.com/shmchan/shmchan/bench/internal/contract"
)

// peer is a transport in one of its settings.
type peer struct {
	Name      string `json:"name"`
	Mode      string `json:"mode"`
	InProcess bool   `json:"in_process,omitempty"`
	Setting   string `json:"setting"` // what was chosen, and why it is fast
	program   *program
	rows      []string // the kinds that it can do; pingpong by spin and park
	sizes     []int    // if not all
}

func (p *peer) can(r row) bool {
	kind := r.Kind
	if kind == contract.PingPong {
		kind = r.Wait
	}
	ok := false
	for _, k := range p.rows {
		ok = ok || k == kind
	}
	if len(p.sizes) == 0 || !ok {
		return ok
	}
	for _, s := range p.sizes {
		if s == r.Size {
			return true
		}
	}
	return false
}

// The names of peers that others are compared with, or that the plots know.
const (
	floorRing  = "C ring"
	floorCopy  = "C ring, memcpy"
	floorFutex = "futex in Go"
	goChan     = "Go chan"
)

const (
	oneway  = contract.OneWay
	spin    = "spin"
	park    = "park"
	many    = contract.Many
	batch   = contract.Batch
	inplace = contract.InPlace
	bursts  = contract.Bursts
	idle    = contract.Idle
	open    = contract.Open
)

// does is only a list, but reads better in the table.
func does(rows ...string) []string { return rows }

// allPeers is the table of peers: add yours here.
func allPeers() []*peer {
	var (
		floor   = &program{name: "floor", build: buildC("floor.c"), needs: []string{"gcc"}}
		futex   = goProgram("futex")
		lib     = goProgram("shmchan")
		channel = goProgram("channel")
		kernel  = goProgram("kernel")
	)
	return []*peer{
		{Name: floorRing, Mode: "ring", program: floor, rows: does(oneway, spin, batch, bursts),
			Setting: "the floor: one sender, one receiver, the word in the slot, 8-byte copies, spinning without PAUSE"},
		{Name: "C ring, a publish every 32", Mode: "ring32", program: floor, rows: does(oneway, batch),
			Setting: "the same with one word for 32 slots"},
		{Name: floorCopy, Mode: "memcpy", program: floor, rows: does(inplace, oneway),
			Setting: "the same, copied by the C library's memcpy at both ends"},
		{Name: "memcpy alone", Mode: "copy", program: floor, rows: does(inplace),
			Setting: "only the receiver's memcpy of what the other process has just written, without a ring around it"},
		{Name: "futex in C", Mode: "futex", program: floor, rows: does(park),
			Setting: "no value but a number; each side waits in FUTEX_WAIT"},
		{Name: floorFutex, program: futex, rows: does(park),
			Setting: "the same by the raw system call, the thread held"},

		{Name: "shmchan single spin", Mode: "single-spin", program: lib, rows: does(oneway, spin, batch, inplace),
			Setting: "WithSingleSender, WithSingleReceiver, Spin"},
		{Name: "shmchan single", Mode: "single-adaptive", program: lib, rows: does(oneway, spin, batch, inplace),
			Setting: "WithSingleSender, WithSingleReceiver, Adaptive"},
		{Name: "shmchan single park", Mode: "single-park", program: lib, rows: does(park),
			Setting: "WithSingleSender, WithSingleReceiver, Park"},
		{Name: "shmchan spin", Mode: "many-spin", program: lib, rows: does(oneway, spin, batch, inplace, bursts),
			Setting: "many senders and receivers allowed, Spin"},
		{Name: "shmchan", Mode: "many-adaptive", program: lib, rows: does(oneway, spin, many, batch, inplace, bursts, idle, open),
			Setting: "the default: many senders and receivers allowed, Adaptive; opens a channel that another handle holds"},
		{Name: "shmchan park", Mode: "many-park", program: lib, rows: does(park, many, bursts, idle),
			Setting: "many senders and receivers allowed, Park"},
		{Name: "shmchan create", Mode: "many-create", program: lib, rows: does(open),
			Setting: "makes a channel and removes it each time"},

		{Name: goChan, program: channel, InProcess: true, rows: does(oneway, spin, many, bursts, idle),
			Setting: "goroutines, GOMAXPROCS 2; a goroutine that waits is passed over by the scheduler, which spins a little"},
		{Name: "pipe", Mode: "pipe", program: kernel, rows: does(oneway, park, many, bursts, idle, open),
			Setting: "a FIFO through os.File, a system call a value"},
		{Name: "Unix stream", Mode: "unix", program: kernel, rows: does(oneway, park, bursts, idle, open),
			Setting: "package net, a system call a value"},
		{Name: "Unix stream, bufio", Mode: "unix-bufio", program: kernel, rows: does(oneway, batch),
			Setting: "bufio.Writer and Reader of 4096 bytes; in batches of a batch, flushed at its end"},
		{Name: "Unix seqpacket", Mode: "unixpacket", program: kernel, rows: does(oneway, park, idle),
			Setting: "package net, a packet a value"},
		{Name: "TCP", Mode: "tcp", program: kernel, rows: does(oneway, park, idle, open),
			Setting: "loopback, TCP_NODELAY as package net sets it"},
		{Name: "TCP, bufio", Mode: "tcp-bufio", program: kernel, rows: does(oneway, batch),
			Setting: "as Unix stream, bufio"},
	}
}
