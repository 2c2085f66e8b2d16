package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(dirEnv) != "" { // A worker.
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// killing a worker
	// restarting it: signal: killed
	// 1000 jobs done
}
