package main

import (
	"os"
	"slices"
	"testing"

	"github.com/shmchan/shmchan"
)

func TestMain(m *testing.M) {
	if os.Getenv(shmchan.EnvFiles) != "" { // The stage.
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// before [0 1 4 9 16]
	// after  [0 1 4 9 16]
}

func TestSame(t *testing.T) {
	squares, err := after()
	if want := before(); err != nil || !slices.Equal(squares, want) {
		t.Errorf("%v, %v; before it was %v", squares, err, want)
	}
}
