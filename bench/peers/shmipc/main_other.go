//go:build !linux || !(amd64 || arm64)

// Command shmipc needs Linux on amd64 or arm64.
package main

import "log"

func main() { log.Fatal("shmipc-go needs Linux on amd64 or arm64") }
