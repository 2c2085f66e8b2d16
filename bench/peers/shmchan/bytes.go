package main

// The mode bytes: the same values, each a message of a channel of bytes.

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/bench/internal/contract"
)

// openBytes is open for a channel of bytes whose longest message is a value.
func openBytes[T contract.Value](a contract.Args) (func(*contract.Result) error, error) {
	out, in := names(a)
	opts := append(options(a), shmchan.WithMaxMessage(a.Size))
	var e bytesEnd[T]
	var err error
	if out != "" {
		if e.s, err = shmchan.OpenBytesSender(out, opts...); err != nil {
			return nil, err
		}
	}
	if in != "" {
		if e.r, err = shmchan.OpenBytesReceiver(in, opts...); err != nil {
			return nil, err
		}
	}
	return func(r *contract.Result) error { return contract.Work(a, &e, r) }, nil
}

// bytesEnd has the hot loops as end has them, with a buffer for the messages that come.
type bytesEnd[T contract.Value] struct {
	s *shmchan.BytesSender
	r *shmchan.BytesReceiver
}

func (e *bytesEnd[T]) Send(v *T) error { return e.s.Send(contract.Bytes(v)) }

func (e *bytesEnd[T]) Recv(v *T) error {
	got, err := e.r.Recv(contract.Bytes(v)[:0])
	if err != nil {
		return err
	}
	return whole[T](got)
}

// whole complains of a message that is not a value.
func whole[T contract.Value](msg []byte) error {
	var v T
	if len(msg) != int(unsafe.Sizeof(v)) {
		return fmt.Errorf("a message of %d bytes, not %d", len(msg), unsafe.Sizeof(v))
	}
	return nil
}

func (e *bytesEnd[T]) SendN(n uint64) error {
	v := new(T)
	for seq := range n {
		contract.Mark(v, 0, seq)
		if err := e.s.Send(contract.Bytes(v)); err != nil {
			return err
		}
	}
	return nil
}

func (e *bytesEnd[T]) RecvN(n uint64) error {
	v := new(T)
	for seq := range n {
		if err := e.Recv(v); err != nil {
			return err
		}
		if err := contract.Check(v, seq); err != nil {
			return err
		}
	}
	return nil
}

func (e *bytesEnd[T]) Round(seq uint64) error {
	v := new(T)
	contract.Mark(v, 0, seq)
	if err := e.s.Send(contract.Bytes(v)); err != nil {
		return err
	}
	if err := e.Recv(v); err != nil {
		return err
	}
	return contract.Check(v, seq)
}

func (e *bytesEnd[T]) Pong(n uint64) error {
	v := new(T)
	for seq := range n {
		if err := e.Recv(v); err != nil {
			return err
		}
		if err := contract.Check(v, seq); err != nil {
			return err
		}
		if err := e.s.Send(contract.Bytes(v)); err != nil {
			return err
		}
	}
	return nil
}

func (e *bytesEnd[T]) SendFunc(fill func(*T) error) error {
	size := int(unsafe.Sizeof(*new(T)))
	return e.s.SendFunc(context.Background(), size, func(buf []byte) (int, error) {
		return size, fill((*T)(unsafe.Pointer(&buf[0])))
	})
}

func (e *bytesEnd[T]) RecvFunc(use func(*T) error) error {
	return e.r.RecvFunc(context.Background(), func(msg []byte) error {
		if err := whole[T](msg); err != nil {
			return err
		}
		return use((*T)(unsafe.Pointer(&msg[0])))
	})
}
