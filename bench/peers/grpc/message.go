package main

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// message is what a call carries, in either encoding.
type message interface {
	set(b []byte)
	get() []byte
	any() any // what gRPC is given
}

func newMessage(m mode) message {
	if m.is("proto") {
		return &protoMessage{}
	}
	return &bareMessage{}
}

// protoMessage is protobuf's message of one field of bytes.
type protoMessage struct{ v wrapperspb.BytesValue }

func (m *protoMessage) set(b []byte) { m.v.Value = b }
func (m *protoMessage) get() []byte  { return m.v.Value }
func (m *protoMessage) any() any     { return &m.v }

// bareMessage is bytes as they are, for bareCodec.
type bareMessage struct{ b []byte }

func (m *bareMessage) set(b []byte) { m.b = b }
func (m *bareMessage) get() []byte  { return m.b }
func (m *bareMessage) any() any     { return m }

const bareName = "bare"

func init() { encoding.RegisterCodecV2(bareCodec{}) }

// bareCodec copies bytes into gRPC's buffers and out of them.
type bareCodec struct{}

func (bareCodec) Name() string { return bareName }

func (bareCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*bareMessage)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{mem.Copy(m.b, mem.DefaultBufferPool())}, nil
}

func (bareCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*bareMessage)
	if !ok {
		return fmt.Errorf("cannot receive a %T", v)
	}
	m.b = slices.Grow(m.b[:0], data.Len())[:data.Len()]
	data.CopyTo(m.b)
	return nil
}
