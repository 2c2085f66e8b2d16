// Package feed shows how code that takes a Sender is tested: see feed_test.go.
package feed

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/shmchan/shmchan"
)

// Numbers sends each line of r, a number, and closes the channel at the end of r.
func Numbers(r io.Reader, out *shmchan.Sender[int64]) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		if err := out.Send(n); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Close()
}
