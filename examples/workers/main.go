// Workers: processes that share the work of a channel, and a parent that starts another when one dies. Nothing is lost:
// a worker takes a job with RecvFunc and answers before it lets the job go.
//
//	go run ./examples/workers
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/shmchan/shmchan"
)

const (
	workers = 3
	jobs    = 1000
	dirEnv  = "WORKERS_DIR"
)

// Result is a job, done, and who did it.
type Result struct{ Job, PID int64 }

func main() {
	log.SetFlags(0)
	run := parent
	if os.Getenv(dirEnv) != "" {
		run = worker
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func parent() error {
	dir, err := os.MkdirTemp("", "workers-") // Leave out WithDir for /dev/shm, which needs names that are yours alone.
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	todo, err := shmchan.OpenSender[int64]("jobs", shmchan.WithDir(dir), shmchan.WithCapacity(16))
	if err != nil {
		return err
	}
	done, err := shmchan.OpenReceiver[Result]("results", shmchan.WithDir(dir), shmchan.WithCapacity(16))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ended := make(chan error, workers)
	for range workers {
		go func() {
			err := supervise(dir)
			if err != nil {
				cancel(err)
			}
			ended <- err
		}()
	}
	sent := make(chan error, 1)
	go func() {
		for n := range int64(jobs) {
			if err := todo.SendContext(ctx, n); err != nil {
				sent <- err
				return
			}
		}
		sent <- todo.Close()
	}()
	seen := map[int64]bool{}
	for killed := false; len(seen) < jobs; {
		r, err := done.RecvContext(ctx)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		seen[r.Job] = true // A job whose worker died between its answer and its end is answered twice.
		if !killed {
			killed = true
			fmt.Println("killing a worker")
			p, err := os.FindProcess(int(r.PID))
			if err != nil {
				return err
			}
			if err := p.Kill(); err != nil {
				return err
			}
		}
	}
	errs := []error{<-sent}
	for range workers { // They end when all jobs are done.
		errs = append(errs, <-ended)
	}
	fmt.Println(len(seen), "jobs done")
	return errors.Join(append(errs, done.Close(), done.Detach(), todo.Detach())...)
}

// supervise starts a worker, and another when it dies, until one has ended because there is no more to do.
func supervise(dir string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for {
		cmd := exec.Command(program)
		cmd.Env, cmd.Stderr = append(os.Environ(), dirEnv+"="+dir), os.Stderr
		err := cmd.Run()
		var died *exec.ExitError
		if !errors.As(err, &died) || died.Exited() { // Done, not started, or ended with an error of its own.
			return err
		}
		fmt.Println("restarting it:", died)
	}
}

func worker() error {
	// An error should the parent die, and no new channel should it be gone.
	opts := []shmchan.Option{shmchan.WithDir(os.Getenv(dirEnv)), shmchan.WithAttach(), shmchan.WithDisconnect()}
	todo, err := shmchan.OpenReceiver[int64]("jobs", opts...)
	if err != nil {
		return err
	}
	done, err := shmchan.OpenSender[Result]("results", opts...)
	if err != nil {
		return err
	}
	for err == nil {
		err = todo.RecvFunc(context.Background(), func(job *int64) error { // Until it returns nil, the job is another's if we die.
			return done.Send(Result{*job, int64(os.Getpid())})
		})
	}
	if errors.Is(err, shmchan.ErrClosed) {
		err = nil
	}
	return errors.Join(err, todo.Detach(), done.Detach())
}
