//go:build !amd64 && !386 && !arm64

package shmchan

// pause tells the processor that this is a waiting loop, where Go has a word for it.
func pause() {}
