package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(dirEnv) != "" { // The market.
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// asked: 300 at 100.25
	// filled: 300 at 100.25
	// left: 200 of 500
	// killing the market
	// the connection has ended
}
