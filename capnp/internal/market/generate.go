// Package market is the schema of the tests, of the example and of the figures, and the code that was generated from it.
//
// To generate it anew: install the capnp compiler (Debian: apt-get install capnproto), and run go generate ./... in the
// directory capnp. capnpc-go comes with go.mod.
package market

//go:generate sh generate.sh
