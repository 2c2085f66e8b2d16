// Package shmexpvar shows channels among the variables of expvar, which a program with net/http serves at /debug/vars.
//
// It is a package of its own because expvar brings net/http along.
package shmexpvar

import (
	"expvar"
	"fmt"
	"sync"

	"github.com/shmchan/shmchan"
)

// Channel is what is published: any handle of a channel.
type Channel interface {
	Stats() shmchan.Stats
}

// Publish publishes the Stats of a channel under that name, as a JSON object with the field names of shmchan.Stats; durations
// are in nanoseconds. They are taken each time somebody asks, also after the handle is detached, when only Name and Cap are set.
//
// A name can be published once in a process, whatever it is for: a second time is an error, and the first goes on. Unlike
// expvar.Publish it does not end the process. Many goroutines may call it.
func Publish(name string, ch Channel) (err error) {
	if name == "" || ch == nil {
		return fmt.Errorf("shmexpvar: cannot publish %q: give it a name and an open channel", name)
	}
	publishing.Lock()
	defer publishing.Unlock()
	if expvar.Get(name) != nil {
		return fmt.Errorf("shmexpvar: channel %q: cannot publish it as %q: that name is published already; use another one", ch.Stats().Name, name)
	}
	expvar.Publish(name, expvar.Func(func() any { return ch.Stats() }))
	return nil
}

// publishing is held between the look and the publishing, for expvar ends the process at a second one.
var publishing sync.Mutex
