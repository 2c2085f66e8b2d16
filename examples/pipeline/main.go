// Pipeline: a pipeline over Go's channels, and the same with its middle stage in another process.
//
//	go run ./examples/pipeline
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/shmchan/shmchan"
)

const last = 5

func main() {
	log.SetFlags(0)
	if os.Getenv(shmchan.EnvFiles) != "" { // The stage, started by after.
		if err := squareProcess(); err != nil {
			log.Fatal(err)
		}
		return
	}
	fmt.Println("before", before())
	squares, err := after()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("after ", squares)
}

// Before.

func before() (squares []int64) {
	in, out := make(chan int64, 16), make(chan int64, 16)
	go squareBefore(in, out)
	go func() {
		defer close(in)
		for n := range int64(last) {
			in <- n
		}
	}()
	for s := range out {
		squares = append(squares, s)
	}
	return squares
}

func squareBefore(in <-chan int64, out chan<- int64) {
	defer close(out)
	for n := range in {
		out <- n * n
	}
}

// After: <-chan T is a *Receiver[T], chan<- T a *Sender[T], a send can fail, and a loop says why it ended.

func after() (squares []int64, err error) {
	in, err := shmchan.New[int64](shmchan.WithCapacity(16), shmchan.WithDisconnect()) // An error, should the stage die.
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Detach() }()
	out, err := shmchan.New[int64](shmchan.WithCapacity(16), shmchan.WithDisconnect())
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Detach() }()
	stage, err := startStage(in, out)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(in.Receiver.Detach(), out.Sender.Detach()); err != nil { // They are the stage's now.
		return nil, errors.Join(err, stage.Process.Kill(), stage.Wait())
	}
	sent := make(chan error, 1)
	go func() {
		for n := range int64(last) {
			if err := in.Send(n); err != nil {
				sent <- err
				return
			}
		}
		sent <- in.Close()
	}()
	for s := range out.All() {
		squares = append(squares, s)
	}
	return squares, errors.Join(out.Err(), <-sent, stage.Wait())
}

func square(in *shmchan.Receiver[int64], out *shmchan.Sender[int64]) error {
	for n := range in.All() {
		if err := out.Send(n * n); err != nil {
			return err
		}
	}
	return errors.Join(in.Err(), out.Close())
}

// startStage starts this program again, as the stage between in and out.
func startStage(in, out *shmchan.Chan[int64]) (*exec.Cmd, error) {
	inFiles, err := in.Files()
	if err != nil {
		return nil, err
	}
	outFiles, err := out.Files()
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	return cmd, shmchan.StartWithFiles(cmd, inFiles, outFiles)
}

func squareProcess() error {
	sets, err := shmchan.InheritedFiles()
	if err != nil {
		return err
	}
	in, err := shmchan.ReceiverFromFiles[int64](sets[0], shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	out, err := shmchan.SenderFromFiles[int64](sets[1], shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	return errors.Join(square(in, out), in.Detach(), out.Detach())
}
