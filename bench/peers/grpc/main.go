// Command grpc is the bench's peer for gRPC: unary calls there and back, a stream of the
// client's one way. The server receives, the client sends; a batch is one message.
//
// Its mode is made of words: tcp or unix; proto, whose messages are protobuf's BytesValue and
// not bare bytes; plain, which leaves gRPC's own settings. The service is written down as protoc
// would have generated it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

const (
	echoMethod = "/bench.Bench/Echo"
	takeMethod = "/bench.Bench/Take"
	window     = 1 << 20 // as much as the ring of the scenario original holds
)

var streamDesc = grpc.StreamDesc{StreamName: "Take", ClientStreams: true}

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	switch a.Size {
	case 8:
		return open[[1]uint64](a)
	case 64:
		return open[[8]uint64](a)
	case 120:
		return open[[15]uint64](a)
	case 1024:
		return open[[128]uint64](a)
	}
	return nil, fmt.Errorf("no values of %d bytes", a.Size)
}

func open[T contract.Value](a contract.Args) (func(*contract.Result) error, error) {
	m := mode(strings.Split(a.Mode, "-"))
	switch {
	case a.Row == contract.PingPong && a.Role == contract.Send:
		return openCaller[T](a, m)
	case a.Row == contract.PingPong:
		return openAnswerer[T](a, m)
	case a.Role == contract.Send:
		return openStream[T](a, m)
	}
	return openTaker[T](a, m)
}

// mode is the words of a peer's mode.
type mode []string

func (m mode) is(word string) bool { return slices.Contains(m, word) }

// serve offers a service on what a.Dir tells the client.
func serve(a contract.Args, m mode, desc *grpc.ServiceDesc) error {
	path := filepath.Join(a.Dir, "grpc")
	network, address := "unix", path
	if m.is("tcp") {
		network, address = "tcp", "127.0.0.1:0"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if m.is("tcp") { // The client finds the address in a file.
		if err := os.WriteFile(path+".new", []byte(l.Addr().String()), 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	var options []grpc.ServerOption
	if !m.is("plain") {
		options = append(options, grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window), grpc.NumStreamWorkers(1))
	}
	s := grpc.NewServer(options...)
	desc.ServiceName, desc.HandlerType = "bench.Bench", (*any)(nil)
	s.RegisterService(desc, nil)
	go func() { contract.Fail(fmt.Errorf("serve: %w", s.Serve(l))) }()
	return nil
}

// dial connects, and returns when the connection stands.
func dial(a contract.Args, m mode) (*grpc.ClientConn, error) {
	path := filepath.Join(a.Dir, "grpc")
	target := "unix:" + path
	if m.is("tcp") {
		target = "passthrough:///" + string(contract.Retry(func() ([]byte, error) { return os.ReadFile(path) }))
	} else {
		contract.Retry(func() (os.FileInfo, error) { return os.Stat(path) })
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if !m.is("proto") {
		options = append(options, grpc.WithDefaultCallOptions(grpc.CallContentSubtype(bareName)))
	}
	if !m.is("plain") {
		options = append(options, grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window), grpc.WithDisableRetry())
	}
	c, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, err
	}
	c.Connect()
	for at := c.GetState(); at != connectivity.Ready; at = c.GetState() {
		if !c.WaitForStateChange(context.Background(), at) {
			return nil, errors.New("no connection")
		}
	}
	return c, nil
}

// caller makes unary calls, one after the other: what Send was given goes with the call that
// Recv makes.
type caller[T contract.Value] struct {
	conn     *grpc.ClientConn
	ask, say message
}

func openCaller[T contract.Value](a contract.Args, m mode) (func(*contract.Result) error, error) {
	c := &caller[T]{ask: newMessage(m), say: newMessage(m)}
	var err error
	if c.conn, err = dial(a, m); err != nil {
		return nil, err
	}
	return func(r *contract.Result) error { return contract.Work(a, c, r) }, nil
}

func (c *caller[T]) Send(v *T) error {
	c.ask.set(contract.Bytes(v))
	return nil
}

func (c *caller[T]) Recv(v *T) error {
	if err := c.conn.Invoke(context.Background(), echoMethod, c.ask.any(), c.say.any()); err != nil {
		return err
	}
	return one(v, c.say.get())
}

// openAnswerer answers unary calls: gRPC's goroutine does, and the row's waits for the last.
func openAnswerer[T contract.Value](a contract.Args, m mode) (func(*contract.Result) error, error) {
	done := make(chan error, 1)
	said := newMessage(m) // There is one call at a time.
	v := new(T)
	next := uint64(0)
	echo := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		err := decode(said.any())
		if err == nil {
			err = one(v, said.get())
		}
		if err == nil {
			err = contract.Check(v, next)
		}
		if next++; err != nil || next == a.Count {
			done <- err
		}
		return said.any(), err
	}
	err := serve(a, m, &grpc.ServiceDesc{Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}}})
	if err != nil {
		return nil, err
	}
	return func(r *contract.Result) error {
		r.Count = a.Count
		return <-done
	}, nil
}

// one is the only value of a message.
func one[T contract.Value](v *T, b []byte) error {
	if len(b) != len(contract.Bytes(v)) {
		return &contract.WrongError{What: fmt.Sprintf("a message of %d bytes instead of %d", len(b), len(contract.Bytes(v)))}
	}
	copy(contract.Bytes(v), b)
	return nil
}

// oneWay is a Queue, and a Batcher, over a stream; a side has one half of it.
type oneWay[T contract.Value] struct {
	send interface{ SendMsg(m any) error }
	recv interface{ RecvMsg(m any) error }
	m    message
}

func openStream[T contract.Value](a contract.Args, m mode) (func(*contract.Result) error, error) {
	c, err := dial(a, m)
	if err != nil {
		return nil, err
	}
	s, err := c.NewStream(context.Background(), &streamDesc, takeMethod)
	if err != nil {
		return nil, err
	}
	q := &oneWay[T]{send: s, m: newMessage(m)}
	return func(r *contract.Result) error { return contract.Work(a, q, r) }, nil
}

func openTaker[T contract.Value](a contract.Args, m mode) (func(*contract.Result) error, error) {
	streams := make(chan grpc.ServerStream)
	take := func(_ any, s grpc.ServerStream) error {
		streams <- s
		<-s.Context().Done() // The row's goroutine receives, not this one.
		return nil
	}
	desc := streamDesc
	desc.Handler = take
	err := serve(a, m, &grpc.ServiceDesc{Streams: []grpc.StreamDesc{desc}})
	if err != nil {
		return nil, err
	}
	q := &oneWay[T]{m: newMessage(m)}
	return func(r *contract.Result) error {
		q.recv = <-streams
		return contract.Work(a, q, r)
	}, nil
}

// Send sends one value in a message.
func (q *oneWay[T]) Send(v *T) error { return q.SendBatch(unsafe.Slice(v, 1)) }

// Recv receives a message of one value.
func (q *oneWay[T]) Recv(v *T) error {
	if err := q.recv.RecvMsg(q.m.any()); err != nil {
		return err
	}
	return one(v, q.m.get())
}

// SendBatch sends all values in one message.
func (q *oneWay[T]) SendBatch(vs []T) error {
	q.m.set(bytesOf(vs))
	return q.send.SendMsg(q.m.any())
}

// RecvBatch receives a message.
func (q *oneWay[T]) RecvBatch(buf []T) (int, error) {
	if err := q.recv.RecvMsg(q.m.any()); err != nil {
		return 0, err
	}
	b, size := q.m.get(), len(contract.Bytes(&buf[0]))
	if len(b) == 0 || len(b)%size != 0 || len(b) > len(buf)*size {
		return 0, &contract.WrongError{What: fmt.Sprintf("a message of %d bytes, where at most %d values of %d bytes were to come", len(b), len(buf), size)}
	}
	return copy(bytesOf(buf), b) / size, nil
}

func bytesOf[T contract.Value](vs []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(vs))), len(vs)*int(unsafe.Sizeof(vs[0])))
}
