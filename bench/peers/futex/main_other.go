//go:build !linux

// Command futex needs Linux.
package main

import "log"

func main() { log.Fatal("futexes need Linux") }
