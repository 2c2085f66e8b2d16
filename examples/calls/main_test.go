package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// 10000 calls, the sum of the squares is 333283335000
	// without a server: true
}
