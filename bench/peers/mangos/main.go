// Command mangos is the bench's peer for nng in Go: the protocol pair over ipc. Its
// messages come from its own pool, and its queues are as long as the capacity.
package main

import (
	"errors"
	"path/filepath"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	_ "go.nanomsg.org/mangos/v3/transport/ipc" // what ipc:// is

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func main() { contract.Main(setup) }

func setup(a contract.Args) (func(*contract.Result) error, error) {
	s, err := pair.NewSocket()
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.SetOption(mangos.OptionWriteQLen, a.Cap/2), s.SetOption(mangos.OptionReadQLen, a.Cap/2))
	if err != nil {
		return nil, err
	}
	l := link{s}
	url := "ipc://" + filepath.Join(a.Dir, "socket")
	hello := make([]byte, 8)
	if a.Role == contract.Recv {
		err = errors.Join(s.Listen(url), l.Recv(hello))
	} else {
		contract.Retry(func() (any, error) { return nil, s.Dial(url) })
		err = l.Send(hello)
	}
	return func(r *contract.Result) error { return contract.WorkBytes(a, l, r) }, err
}

type link struct{ s mangos.Socket }

func (l link) Send(b []byte) error {
	m := mangos.NewMessage(len(b))
	m.Body = append(m.Body, b...)
	return l.s.SendMsg(m)
}

func (l link) Recv(b []byte) error {
	m, err := l.s.RecvMsg()
	if err != nil {
		return err
	}
	copy(b, m.Body)
	m.Free()
	return nil
}
