//go:build !linux

package shmchan

// fenceThreads is fence.
func fenceThreads() { stopTheWorld() }

// Without a fence for other processes every publish and every free makes one of its own.

func canFenceProcesses() bool { return false }
func fenceProcesses()         {}
func fencesReach() bool       { return false }
