package main

// What the library says, in the words of the command: it advises options of Open where here are flags and commands.

import (
	"strings"

	"github.com/shmchan/shmchan"
)

var asCommand = strings.NewReplacer(
	"check the name and the directory, or have it made first: Open without WithAttach makes it",
	"check the name and --dir: shmchan ls shows which there are; one that is closed goes with the last who leaves it",
	"whoever made it must allow this user with WithMode, or use another WithDir", "its owner must allow this user, with chmod, or with WithMode when it is made",
	"check the directory that WithDir or $"+shmchan.EnvDir+" names", "check --dir and $"+shmchan.EnvDir,
	"use a smaller WithCapacity, another WithDir, or make room", "make room",
	"or send without WithDisconnect to wait for one", "and try again",
	"or receive without WithDisconnect to wait for one", "and try again",
	"Remove takes it away", "shmchan rm takes it away",
	"to be taken with Detached and Values", "--detached --values takes it",
	"to be taken with Values", "--values takes it",
	"to be taken with Detached", "--detached takes it",
)

// words is the text of an error.
func words(err error) string { return asCommand.Replace(err.Error()) }
