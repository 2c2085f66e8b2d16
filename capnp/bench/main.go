// Bench measures Cap'n Proto between two processes: over shared memory and over a Unix socket.
//
//	go run ./bench [-n 20000] [-rounds 5]
//
// Messages: a quote is built, sent, read in full by the other process, and answered with another; and one way. Over shared memory
// it is built in the slot and read there; over the socket it goes through Encoder and Decoder, with buffers that are used again. RPC: one
// call at a time, 64 at a time, and a call on the result of a call that is still under way. The ways take turns within each round; printed is the
// median of the rounds, and their range.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/shmchan/shmchan"
	shmcapnp "github.com/shmchan/shmchan/capnp"
	"github.com/shmchan/shmchan/capnp/internal/market"
)

var (
	calls  = flag.Int("n", 20000, "messages, and calls, of a measurement")
	rounds = flag.Int("rounds", 5, "how often each is measured")
	peer   = flag.String("peer", "", "be the other process, for this way")
	dir    = flag.String("dir", "", "where that finds the first")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	run := measure
	if *peer != "" {
		run = serve
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

const (
	levels  = 3    // of a quote, on each side
	room    = 1024 // bytes for a quote
	atATime = 64
)

// link carries quotes: send builds one, receive reads one in full.
type link interface {
	send() error
	receive() error
	close() error
}

type shared struct{ pair *shmchan.BytesDuplex }

func (s shared) send() error {
	return shmcapnp.SendFunc(context.Background(), s.pair.BytesSender, room, build)
}
func (s shared) receive() error {
	return shmcapnp.RecvFunc(context.Background(), s.pair.BytesReceiver, read)
}
func (s shared) close() error { return errors.Join(s.pair.Close(), s.pair.Detach()) }

type socket struct {
	conn net.Conn
	in   *capnp.Decoder
	out  *capnp.Encoder
}

func socketOf(c net.Conn) socket {
	return socket{c, capnp.NewDecoder(bufio.NewReaderSize(c, 64<<10)), capnp.NewEncoder(c)}
}

func (s socket) send() error {
	m, seg := capnp.NewSingleSegmentMessage(nil)
	defer m.Release()
	if err := build(seg); err != nil {
		return err
	}
	return s.out.Encode(m)
}

func (s socket) receive() error {
	m, err := s.in.Decode()
	if err != nil {
		return err
	}
	defer m.Release()
	return read(m)
}

func (s socket) close() error { return s.conn.Close() }

func build(s *capnp.Segment) error {
	q, err := market.NewRootQuote(s)
	if err != nil {
		return err
	}
	return market.Fill(q, "AAPL", levels)
}

func read(m *capnp.Message) error {
	q, err := market.ReadRootQuote(m)
	if err == nil {
		_, err = market.Sum(q)
	}
	return err
}

// The ways.
const (
	shm  = "shmchan"
	spin = "shmchan, Spin"
	unix = "Unix socket"
)

var ways = []string{shm, spin, unix}

// dial is one side of a way: the first process listens, and so waits for the other.
func dial(way, dir string, first bool) (quotes func() (link, error), transport func() (rpc.Transport, error), err error) {
	if way != unix {
		side := shmchan.SideB
		if first {
			side = shmchan.SideA
		}
		wait := shmchan.Adaptive
		if way == spin {
			wait = shmchan.Spin
		}
		pair, err := shmchan.OpenBytesDuplex("capnp-bench", side, shmchan.WithDir(dir), shmchan.WithWait(wait))
		if err != nil {
			return nil, nil, err
		}
		return func() (link, error) { return shared{pair}, nil },
			func() (rpc.Transport, error) { return shmcapnp.NewTransport(pair, shmcapnp.Limits{}), nil }, nil
	}
	connect := func() (net.Conn, error) { return net.Dial("unix", filepath.Join(dir, "socket")) }
	if first {
		l, err := net.Listen("unix", filepath.Join(dir, "socket"))
		if err != nil {
			return nil, nil, err
		}
		connect = func() (net.Conn, error) {
			defer func() { _ = l.Close() }()
			return l.Accept()
		}
	}
	return func() (link, error) {
			c, err := connect()
			return socketOf(c), err
		}, func() (rpc.Transport, error) {
			c, err := connect()
			if err != nil {
				return nil, err
			}
			return rpc.NewStreamTransport(c), nil
		}, nil
}

// serve is the other process: it answers quotes, takes as many without an answer, and answers calls.
func serve() error {
	way, do := *peer, flag.Arg(0)
	quotes, transport, err := dial(way, *dir, false)
	if err != nil {
		return err
	}
	if do == "rpc" {
		t, err := transport()
		if err != nil {
			return err
		}
		<-rpc.NewConn(t, &rpc.Options{BootstrapClient: capnp.Client(market.NewLab())}).Done()
		return nil
	}
	l, err := quotes()
	if err != nil {
		return err
	}
	for range warmUp + *calls {
		if err := errors.Join(l.receive(), l.send()); err != nil {
			return err
		}
	}
	for range *calls {
		if err := l.receive(); err != nil {
			return err
		}
	}
	return l.send()
}

const warmUp = 2000

// figures are the results of a way: one number a round.
type figures map[string][]float64

func measure() error {
	all := map[string]figures{shm: {}, spin: {}, unix: {}}
	for range *rounds {
		for _, way := range ways {
			for _, do := range []string{"quotes", "rpc"} {
				if err := once(way, do, all[way]); err != nil {
					return fmt.Errorf("%s, %s: %w", way, do, err)
				}
			}
		}
	}
	fmt.Printf("%-42s", "median (least to most) of rounds")
	for _, way := range ways {
		fmt.Printf(" %26s", way)
	}
	fmt.Println()
	for _, row := range rows {
		fmt.Printf("%-42s", row)
		for _, way := range ways {
			f := all[way][row]
			slices.Sort(f)
			fmt.Printf(" %26s", fmt.Sprintf("%.2f (%.2f to %.2f)", f[len(f)/2], f[0], f[len(f)-1]))
		}
		fmt.Println()
	}
	return nil
}

var rows = []string{
	"quote there and back, p50, µs", "quote there and back, p99, µs", "quotes one way, thousands a second",
	"a call, p50, µs", "a call, p99, µs", "calls, 64 at a time, thousands a second", "call and call on its result, p50, µs",
}

func once(way, do string, f figures) error {
	dir, err := os.MkdirTemp(memory(), "capnp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	quotes, transport, err := dial(way, dir, true)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "-peer", way, "-dir", dir, "-n", fmt.Sprint(*calls), do)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	if do == "quotes" {
		err = measureQuotes(quotes, f)
	} else {
		err = measureRPC(transport, f)
	}
	if err != nil {
		_ = cmd.Process.Kill()
	}
	return errors.Join(err, cmd.Wait())
}

func memory() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}

func measureQuotes(connect func() (link, error), f figures) error {
	l, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = l.close() }()
	err = times(warmUp, *calls, rows[0], rows[1], f, func() error {
		if err := l.send(); err != nil {
			return err
		}
		return l.receive()
	})
	if err != nil {
		return err
	}
	began := time.Now()
	for range *calls {
		if err := l.send(); err != nil {
			return err
		}
	}
	if err := l.receive(); err != nil { // It has read them all.
		return err
	}
	f[rows[2]] = append(f[rows[2]], perSecond(*calls, time.Since(began)))
	return nil
}

func measureRPC(connect func() (rpc.Transport, error), f figures) error {
	t, err := connect()
	if err != nil {
		return err
	}
	conn := rpc.NewConn(t, nil)
	defer func() { _ = conn.Close() }()
	ctx := context.Background()
	lab := market.Lab(conn.Bootstrap(ctx))
	defer lab.Release()
	if err := lab.Resolve(ctx); err != nil {
		return err
	}
	data := []byte("0123456789abcdef0123456789abcdef")
	echo := func() error {
		a, release := lab.Echo(ctx, func(p market.Lab_echo_Params) error { return p.SetData(data) })
		defer release()
		_, err := a.Struct()
		return err
	}
	if err := times(warmUp, *calls, rows[3], rows[4], f, echo); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, atATime)
	began := time.Now()
	for range atATime {
		wg.Go(func() {
			for range *calls / atATime {
				if err := echo(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	select {
	case err := <-errs:
		return err
	default:
	}
	f[rows[5]] = append(f[rows[5]], perSecond(*calls/atATime*atATime, took))
	return times(warmUp/10, *calls/10, rows[6], "", f, func() error {
		placed, release := lab.Place(ctx, func(p market.Market_place_Params) error {
			o, err := p.NewOrder()
			o.SetSize(2)
			return err
		})
		defer release()
		status, release := placed.Ticket().Status(ctx, nil)
		defer release()
		_, err := status.Struct()
		return err
	})
}

// times measures do, n times, and notes the median and the 99th percentile.
func times(warm, n int, p50, p99 string, f figures, do func() error) error {
	took := make([]time.Duration, n)
	for i := range warm + n {
		began := time.Now()
		if err := do(); err != nil {
			return err
		}
		if i >= warm {
			took[i-warm] = time.Since(began)
		}
	}
	slices.Sort(took)
	note := func(row string, d time.Duration) {
		if row != "" {
			f[row] = append(f[row], float64(d)/1e3)
		}
	}
	note(p50, took[n/2])
	note(p99, took[n*99/100])
	return nil
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() / 1e3 }
