package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheShippedTradesAreTheGeneratedOnes(t *testing.T) {
	shipped, err := os.ReadFile("../../trades.csv")
	require.NoError(t, err)
	var made bytes.Buffer
	require.NoError(t, generate(&made))
	require.True(t, bytes.Equal(shipped, made.Bytes()), "run go generate in cmd/shmchan")
}
