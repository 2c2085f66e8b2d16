// Sandbox: a parent has work done by a child that may not open a file, nor a socket, nor anything else.
//
//	go run ./examples/sandbox
//
// The child gets two channels as open files when it starts, gives up the right to have any more descriptors, and then
// makes channels of the files (not on macOS, where that takes opening hidden files). It works on until the parent closes its channel; should the parent be killed, it is told.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/shmchan/shmchan"
	"golang.org/x/sys/unix"
)

// Job is what the parent wants to know, and Result what the child found.
type (
	Job    struct{ N uint64 }
	Result struct{ N, Factor uint64 }
)

func main() {
	log.SetFlags(0)
	run := parent
	if os.Getenv(shmchan.EnvFiles) != "" {
		run = child
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func parent() error {
	jobs, err := shmchan.New[Job]()
	if err != nil {
		return err
	}
	results, err := shmchan.New[Result](shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	jobFiles, err := jobs.Files() // A set is for one process, and one use.
	if err != nil {
		return err
	}
	resultFiles, err := results.Files()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	if err := shmchan.StartWithFiles(cmd, jobFiles, resultFiles); err != nil { // It closes them here.
		return err
	}
	if err := results.Sender.Detach(); err != nil { // Only the child sends: if it dies, All ends.
		return err
	}
	for _, n := range []uint64{91, 97, 1 << 40} {
		if err := jobs.Send(Job{n}); err != nil {
			return err
		}
	}
	if err := jobs.Close(); err != nil {
		return err
	}
	for r := range results.All() {
		fmt.Println(r.N, "is divided by", r.Factor)
	}
	return errors.Join(results.Err(), cmd.Wait(), results.Detach(), jobs.Detach())
}

func child() error {
	sets, err := shmchan.InheritedFiles() // First, as it starts what Go waits for descriptors with.
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}); err != nil {
		return err
	}
	if _, err := os.Open("/dev/null"); !errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("this is no sandbox: opening a file says %w", err)
	}
	jobs, err := shmchan.ReceiverFromFiles[Job](sets[0], shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	results, err := shmchan.SenderFromFiles[Result](sets[1])
	if err != nil {
		return err
	}
	for j := range jobs.All() {
		factor := uint64(2)
		for factor*factor <= j.N && j.N%factor != 0 {
			factor++
		}
		if factor*factor > j.N {
			factor = j.N
		}
		if err := results.Send(Result{j.N, factor}); err != nil {
			return err
		}
	}
	return errors.Join(jobs.Err(), results.Close(), results.Detach(), jobs.Detach())
}
