package nats

// Where a server is to be, or is said to be, and cannot: said at once, with what to do, and not waited for.

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

func TestServeSaysWhyItCannot(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("kept"), 0o600))
	store := filepath.Join(t.TempDir(), "store")
	for addr, says := range map[string]string{
		taken.Addr().String(): "address already in use; give a host:port of this machine that is free",
		"192.0.2.1:0":         "give a host:port of this machine",
		"127.0.0.1:99999":     "give a host:port of this machine",
		"127.0.0.1:-1":        "give a host:port of this machine",
		"127.0.0.1:x":         "the port is no number",
		"127.0.0.1":           "write host:port",
	} {
		_, err := Serve(addr, store)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, addr)
	}
	require.NoDirExists(t, store, "nothing was made for a server that cannot listen")
	stores := []string{file, filepath.Join(file, "below")}
	if runtime.GOOS == "linux" {
		stores = append(stores, "/proc/self") // A directory in which nobody makes a file, root neither.
	}
	for _, store := range stores {
		_, err = Serve("127.0.0.1:0", store)
		require.ErrorContains(t, err, "cannot keep streams in")
		require.ErrorContains(t, err, store)
		require.ErrorContains(t, err, "give a directory that can be written")
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "kept", string(b))
}

func TestConnectRefusesWhatIsNoURL(t *testing.T) {
	for _, servers := range []string{"", ",", "nats://", "nonsense://127.0.0.1:1", "http://127.0.0.1:1", "nats://127.0.0.1:x", "127.0.0.1:x", "nats://127.0.0.1:1,nonsense://x", "nats://user:secret@127.0.0.1:x", "nonsense://user:secret@host", ":4222"} {
		_, err := Connect(servers, Login{}, func(event string) { t.Error(event) })
		require.ErrorContains(t, err, "give it as nats://host:port", servers)
		require.NotContains(t, err.Error(), "secret")
	}
	s, err := Serve("127.0.0.1:0", t.TempDir())
	require.NoError(t, err)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	for _, servers := range []string{s.ClientURL(), s.Addr().String(), s.ClientURL() + ", " + s.ClientURL() + ","} {
		nc, err := Connect(servers, Login{}, nil)
		require.NoError(t, err)
		nc.Close()
	}
}

// A server without JetStream may be of a cluster that has it soon: the ends wait, and say for what.
func TestWithoutJetStream(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.True(t, s.ReadyForConnections(time.Minute))
	nc, err := Connect(s.ClientURL(), Login{}, nil)
	require.NoError(t, err)
	defer nc.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var said string
	_, err = Recv(ctx, nc, "ticks", Config{Report: func(event string) { said = event; cancel() }}, shmchan.WithDir(t.TempDir()))
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, said, "the server has no JetStream")
	require.Contains(t, said, "nats-server -js")
}
