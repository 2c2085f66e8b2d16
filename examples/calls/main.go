// Command calls is request and response over a pair: many goroutines of one process call another process, with all of their
// requests under way at once. Each request has an id, which its reply carries, so the other process may answer in whatever order it likes.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/shmchan/shmchan"
)

// Request asks for N squared.
type Request struct{ ID, N uint64 }

// Reply answers the request of that ID.
type Reply struct{ ID, Square uint64 }

// client makes calls over its side of the pair, for any number of goroutines.
type client struct {
	pair    *shmchan.Duplex[Request, Reply]
	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan Reply
	gone    error // why no reply will come any more
}

func newClient(pair *shmchan.Duplex[Request, Reply]) *client {
	c := &client{pair: pair, waiting: map[uint64]chan Reply{}}
	go c.replies()
	return c
}

// replies hands each reply to the call that waits for it, until the pair is closed or the other side has gone.
func (c *client) replies() {
	for r := range c.pair.All() {
		c.mu.Lock()
		w := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if w != nil {
			w <- r
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone = c.pair.Err(); c.gone == nil {
		c.gone = shmchan.ErrClosed
	}
	for id, w := range c.waiting {
		delete(c.waiting, id)
		close(w)
	}
}

// square is a call.
func (c *client) square(n uint64) (uint64, error) {
	w := make(chan Reply, 1)
	c.mu.Lock()
	if err := c.gone; err != nil {
		c.mu.Unlock()
		return 0, err
	}
	c.lastID++
	id := c.lastID
	c.waiting[id] = w
	c.mu.Unlock()
	if err := c.pair.Send(Request{id, n}); err != nil {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return 0, err
	}
	r, ok := <-w
	if !ok {
		return 0, c.gone
	}
	return r.Square, nil
}

// serve answers from several goroutines, so not in the order of the requests.
func serve(name string) error {
	pair, err := shmchan.OpenDuplex[Reply, Request](name, shmchan.SideB)
	if err != nil {
		return err
	}
	defer func() { _ = pair.Detach() }()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				q, err := pair.Recv()
				if err == nil {
					err = pair.Send(Reply{q.ID, q.N * q.N})
				}
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func run(name string) error {
	pair, err := shmchan.OpenDuplex[Request, Reply](name, shmchan.SideA)
	if err != nil {
		return err
	}
	defer func() { _ = pair.Detach() }()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverEnv+"="+name)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}

	const callers, each = 100, 100
	c := newClient(pair)
	sums := make([]uint64, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for k := range each {
				n := uint64(i*each + k)
				s, err := c.square(n)
				if err != nil || s != n*n {
					errs[i] = fmt.Errorf("%d squared is %d, %w", n, s, err)
					return
				}
				sums[i] += s
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var sum uint64
	for _, s := range sums {
		sum += s
	}
	fmt.Println(callers*each, "calls, the sum of the squares is", sum)

	// A call that is under way when the server dies ends, and so does every later one.
	if err := server.Process.Kill(); err != nil {
		return err
	}
	_ = server.Wait()
	_, err = c.square(1)
	fmt.Println("without a server:", errors.Is(err, shmchan.ErrDisconnected))
	return pair.Close()
}

const serverEnv = "CALLS_PAIR"

func main() {
	var err error
	if name := os.Getenv(serverEnv); name != "" {
		err = serve(name)
	} else {
		err = run("calls-" + strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		log.Fatal(err)
	}
}
