package main

import (
	"strings"

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
	only      string   // what the names of its rows begin with
}

func (p *peer) can(r row) bool {
	if !strings.HasPrefix(r.Name, p.only) {
		return false
	}
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
		queues  = goProgram("queues")
		shmipc  = goProgram("shmipc")
		mangos  = goProgram("mangos")
		python  = &program{name: "python", build: runPython("sockets.py"), needs: []string{"python3"}}
		mq      = &program{name: "mq", build: buildC("mq.cpp", "-lrt"), needs: []string{"g++"}}
		boostMQ = &program{name: "boost_mq", build: buildC("boost_mq.cpp", "-lrt"), needs: []string{"g++"}, how: "apt-get install libboost-dev", long: true}
		boostLF = &program{name: "boost_lockfree", build: buildC("boost_lockfree.cpp"), needs: []string{"g++"}, how: "apt-get install libboost-dev", long: true}
		zmq     = &program{name: "zmq", build: buildC("zmq.cpp", "-lzmq"), needs: []string{"g++"}, how: "apt-get install libzmq3-dev"}
		rings   = &program{name: "rings", build: buildRust("rings"), needs: []string{"cargo"}, long: true}
		iceoryx = &program{name: "iceoryx2", build: buildRust("bench-iceoryx2"), needs: []string{"cargo"}, how: "it also needs libclang: apt-get install libclang-dev", long: true}
		aeron   = &program{name: "aeron", build: buildAeron, needs: []string{"mvn", "javac", "java"}, long: true}
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
		{Name: "shmchan bytes single", Mode: "bytes-single-adaptive", program: lib, rows: does(oneway, spin, inplace),
			Setting: "OpenBytes with messages of that size, WithSingleSender, WithSingleReceiver, Adaptive"},
		{Name: "shmchan bytes", Mode: "bytes-many-adaptive", program: lib, rows: does(oneway, spin, inplace),
			Setting: "OpenBytes with messages of that size, many senders and receivers allowed, Adaptive"},
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

		{Name: "Python Unix stream", Mode: "unix", program: python, rows: does(oneway, park, batch, idle),
			Setting: "sendall of each value; in batches, of a batch joined; recv_into"},
		{Name: "Python TCP", Mode: "tcp", program: python, rows: does(oneway, park, batch, idle),
			Setting: "the same over loopback, TCP_NODELAY"},
		{Name: "shmipc-go", Mode: "flush1", program: shmipc, rows: does(oneway, park, batch, idle),
			Setting: "v0.2.0, a flush for each value, in batches for each batch; memory in pieces of what is flushed; its sender kept within the capacity"},
		{Name: "shmipc-go, a flush every 64", Mode: "flush64", program: shmipc, rows: does(oneway),
			Setting: "the same, but a flush every 64 values"},
		{Name: "nng (mangos)", Mode: "pair", program: mangos, rows: does(oneway, park, idle),
			Setting: "mangos v3.4.2, PAIR over ipc, messages from its pool, queues of half the capacity at each side"},
		{Name: "ZeroMQ", Mode: "pair", program: zmq, rows: does(oneway, park, idle),
			Setting: "Debian's libzmq, PAIR over ipc, high-water marks of half the capacity at each side"},
		{Name: "POSIX mq", Mode: "mq", program: mq, rows: does(oneway, park, many, idle, open),
			Setting: "in C, mq_send and mq_receive; holds as many values as the system allows, at most 1024"},
		{Name: "Boost message_queue", Mode: "mq", program: boostMQ, rows: does(oneway, park, many, idle, open),
			Setting: "Boost.Interprocess, Debian's; waits in its own mutex and condition"},
		{Name: "Boost spsc_queue", Mode: "spsc", program: boostLF, InProcess: true, rows: does(oneway, spin, batch),
			Setting: "Boost.Lockfree, two threads that spin"},
		{Name: "Boost queue", Mode: "queue", program: boostLF, InProcess: true, rows: does(oneway, spin, many),
			Setting: "Boost.Lockfree, fixed in size; threads that spin, and yield where they share a CPU"},
		{Name: "crossbeam-channel", Mode: "crossbeam", program: rings, InProcess: true, rows: does(oneway, spin, park, many, idle),
			Setting: "0.5.17, bounded; try_send and try_recv in a loop where it spins, else send and recv"},
		{Name: "rtrb", Mode: "rtrb", program: rings, InProcess: true, rows: does(oneway, spin, batch),
			Setting: "0.4.1, two threads that spin; in batches by slices"},
		{Name: "iceoryx2", Mode: "pubsub", program: iceoryx, rows: does(oneway, spin, park, inplace, idle),
			Setting: "0.10.0, a publisher that waits when the subscriber's buffer is full; polled where it spins, else an event with each value"},
		{Name: "Aeron IPC", Mode: "ipc", program: aeron, rows: does(oneway, spin, inplace), sizes: []int{8, 64, 1024},
			Setting: "1.47.4, tryClaim and a busy poll, terms of 4 MiB (so it holds more than 1024 values); the media driver in the sender's process"},
		{Name: "xsync MPMCQueue", Mode: "xsync-mpmc", program: queues, InProcess: true, rows: does(oneway, spin, many),
			Setting: "v4.5.0, tried again after runtime.Gosched"},
		{Name: "xsync SPSCQueue", Mode: "xsync-spsc", program: queues, InProcess: true, rows: does(oneway, spin),
			Setting: "v4.5.0, tried again after runtime.Gosched"},
		{Name: "Workiva RingBuffer", Mode: "workiva", program: queues, InProcess: true, rows: does(oneway, spin, many),
			Setting: "go-datastructures v1.1.7; holds interfaces, so each value is an allocation"},
	}
}
