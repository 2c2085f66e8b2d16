package main

import (
	"os"
	"testing"

	"github.com/shmchan/shmchan"
)

func TestMain(m *testing.M) {
	if os.Getenv(shmchan.EnvFiles) != "" { // The child.
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// 91 is divided by 7
	// 97 is divided by 97
	// 1099511627776 is divided by 2
}
