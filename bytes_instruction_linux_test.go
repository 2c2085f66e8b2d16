//go:build amd64

package shmchan

// A kill, and a stop, at every instruction of a call on a channel of bytes whose messages lie in the arena. See
// instruction_linux_test.go for what that shows.

import "testing"

// bulkScenes are scenes with messages in the arena.
func bulkScenes() map[string][]scene {
	sending := []scene{
		{name: "empty", capacity: 3},
		{name: "one from full", capacity: 3, values: 2},
		{name: "full", capacity: 3, values: 3},
		{name: "receiver parked", capacity: 3, parked: "receiver"},
		{name: "sender comes", capacity: 3, values: 2, comes: "sender"},
		{name: "closer comes", capacity: 3, values: 1, comes: "closer"},
		{name: "no room", capacity: 4, values: 2, room: 2},
		{name: "no room, sender comes", capacity: 4, values: 2, room: 2, comes: "sender"},
		{name: "no room, closer comes", capacity: 4, values: 2, room: 2, comes: "closer"},
		{name: "wraparound", capacity: 3, values: 1, start: nearWrap},
		{name: "in the lane, empty", capacity: 4},
		{name: "in the lane, receiver parked", capacity: 4, parked: "receiver"},
		{name: "in the lane, sender comes", capacity: 4, values: 2, comes: "sender"},
		{name: "empty", capacity: 4, single: true},
		{name: "no room", capacity: 4, values: 2, room: 2, single: true},
		{name: "receiver parked", capacity: 4, parked: "receiver", single: true},
		{name: "wraparound", capacity: 4, values: 1, start: nearWrap, single: true},
		{name: "nobody there"},
		{name: "receiver parked", parked: "receiver"},
		{name: "closer comes", comes: "closer"},
	}
	receiving := []scene{
		{name: "empty", capacity: 3},
		{name: "one value", capacity: 3, values: 1},
		{name: "full, sender parked", capacity: 3, values: 3, parked: "sender"},
		{name: "no room, sender parked", capacity: 4, values: 2, room: 2, parked: "sender"},
		{name: "one value, receiver comes", capacity: 3, values: 1, comes: "receiver"},
		{name: "closed, two values", capacity: 3, values: 2, closed: true},
		{name: "wraparound", capacity: 3, values: 3, start: nearWrap},
		{name: "in the lane, one value", capacity: 4, values: 1},
		{name: "in the lane, full, sender parked", capacity: 4, values: 4, parked: "sender"},
		{name: "one value", capacity: 4, values: 1, single: true},
		{name: "no room, sender parked", capacity: 4, values: 2, room: 2, parked: "sender", single: true},
		{name: "wraparound", capacity: 4, values: 3, start: nearWrap, single: true},
		{name: "sender parked", parked: "sender"},
		{name: "sender parked, receiver comes", parked: "sender", comes: "receiver"},
	}
	for _, all := range [][]scene{sending, receiving} {
		for i := range all {
			all[i].bulk = true
		}
	}
	return map[string][]scene{"Send": sending, "SendFunc": sending, "Recv": receiving, "RecvFunc": receiving}
}

func TestKillAtEveryInstructionOfBytes(t *testing.T) { killAtEvery(t, bulkScenes()) }

func TestStopAtEveryInstructionOfBytes(t *testing.T) { stopAtEvery(t, bulkScenes()) }
