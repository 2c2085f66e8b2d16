//go:build !race

package shmchan

// Without the race detector there is nothing to tell; see race.go.

const raceEnabled = false

type raceState struct{}

func newRaceState([16]byte, uint64) *raceState { return nil }

func (*raceState) drop([16]byte)    {}
func (*raceState) own(_, _ uint64)  {}
func (*raceState) hand(_, _ uint64) {}
func (*raceState) close()           {}
func (*raceState) sawClosed()       {}
func touch(*int)                    {}
