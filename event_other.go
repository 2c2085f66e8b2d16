//go:build !linux

package shmchan

func newPlatformEvent() (event, error) { return newPipeEvent() }
