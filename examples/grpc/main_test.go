package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(dirEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCalls(t *testing.T) { require.NoError(t, run(500)) }
