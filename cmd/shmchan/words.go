package main

// What the library says, in the words of the command: it advises options of Open where here are flags and commands.

import (
	"fmt"
	"strings"

	"github.com/shmchan/shmchan"
)

var asCommand = strings.NewReplacer(
	"check the name and the directory, or have it made first: Open without WithAttach makes it",
	"check the name and --dir: shmchan ls shows which there are; one that is closed goes with the last who leaves it",
	"check the name and the directory: List says which there are", "check the name and --dir: shmchan ls shows which there are; one that is closed goes with the last who leaves it",
	"whoever made it must allow this user with WithMode, or use another WithDir", "its owner must allow this user, with chmod, or with WithMode when it is made",
	"check the directory that WithDir or $"+shmchan.EnvDir+" names", "check --dir and $"+shmchan.EnvDir,
	"use a smaller WithCapacity, another WithDir, or make room", "make room there (shmchan gc --dry-run shows what the dead have left), or use another --dir",
	"use a smaller WithCapacity", "use a smaller --capacity",
	"use another WithDir", "use another --dir",
	"or make the channel with a larger WithMaxMessage", "or have whoever makes the channel allow longer ones",
	"or send without WithDisconnect to wait for one", "and try again",
	"or receive without WithDisconnect to wait for one", "and try again",
	"Remove takes it away", "shmchan rm takes it away",
	"to be taken with Detached and Values", "--detached --values takes it",
	"to be taken with Values", "--values takes it",
	"to be taken with Detached", "--detached takes it",
)

// words is the text of an error.
func words(err error) string { return asCommand.Replace(err.Error()) }

// within is an error about a channel, for a text that has named it already.
func within(name string, err error) error {
	if rest, ok := strings.CutPrefix(err.Error(), fmt.Sprintf("shmchan: channel %q: ", name)); ok {
		return shorter{err, rest}
	}
	return err
}

// shorter is an error in fewer words.
type shorter struct {
	error
	text string
}

func (s shorter) Error() string { return s.text }
func (s shorter) Unwrap() error { return s.error }
