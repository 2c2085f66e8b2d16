package shmchan

// macOS has no huge pages for files.

import (
	"os"
	"unsafe"
)

func alignedHole(uintptr) (unsafe.Pointer, error)        { return nil, nil }
func adviseHuge([]byte)                                  {}
func collapse([]byte)                                    {}
func hugeBytes([]byte) int64                             { return 0 }
func hugetlbRefuses(string, *os.File, bool, error) error { return nil }
