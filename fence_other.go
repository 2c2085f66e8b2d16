//go:build !linux

package shmchan

// fenceThreads is fence.
func fenceThreads() { stopTheWorld() }
