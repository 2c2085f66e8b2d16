//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

var errSystem = errors.New("the bench pins processes to CPUs, which only Linux does")

type launcher struct{}

func newLauncher() *launcher { return &launcher{} }

func (*launcher) start(*exec.Cmd, []int) error { return errSystem }
func canPin([]int) error                       { return errSystem }
func killGroup(int)                            {}
func unlinkQueues(string)                      {}
