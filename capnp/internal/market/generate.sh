#!/bin/sh
# Generates market.capnp.go. Go's annotations (go.capnp) lie in the module of Cap'n Proto for Go.
set -eu
export GOWORK=off
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -buildvcs=false -o "$bin/capnpc-go" capnproto.org/go/capnp/v3/capnpc-go
PATH="$bin:$PATH" capnp compile -I "$(go list -m -f '{{.Dir}}' capnproto.org/go/capnp/v3)/std" -o go market.capnp
gofmt -w market.capnp.go
