package main

// A bridge that cannot begin has done nothing, and prints nothing but why.

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shmchan/shmchan"
	bridge "github.com/shmchan/shmchan/bridge/nats"
	"github.com/stretchr/testify/require"
)

// serve runs a server; with streams if there is a store.
func serve(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	if o.JetStream {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(&o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(time.Minute))
	return s.ClientURL()
}

func TestBridgeThatCannotBegin(t *testing.T) {
	url := serve(t, server.Options{JetStream: true})
	closed := serve(t, server.Options{JetStream: true, Username: "somebody", Password: "secret"})
	nc, err := nats.Connect(url)
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "SHMCHAN_foreign", Subjects: []string{"shmchan.foreign"}})
	require.NoError(t, err)

	// A stream of other values than those of ticks here.
	there := t.TempDir()
	other, err := shmchan.Open[float32]("other", shmchan.WithDir(there))
	require.NoError(t, err)
	require.NoError(t, other.Close())
	_, err = bridge.Send(context.Background(), nc, other.Receiver.Raw(), bridge.Config{})
	require.NoError(t, err)
	require.NoError(t, other.Detach())

	dir := t.TempDir()
	someChannels(t, dir)
	mine, err := shmchan.Open[uint64]("mine", shmchan.WithDir(dir), shmchan.WithSingleReceiver(), shmchan.WithSingleSender())
	require.NoError(t, err)
	defer func() { _ = mine.Detach() }()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	store := filepath.Join(t.TempDir(), "store")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"give it as nats://host:port", []string{"ticks", "--send", "--url", "nonsense://x"}},
		{"a user whom the server knows", []string{"ticks", "--send", "--url", closed}},
		{"a user whom the server knows", []string{"ticks", "--recv", "--url", strings.Replace(closed, "//", "//somebody:else@", 1)}},
		{"nowhere", []string{"ticks", "--send", "--url", url, "--creds", "nowhere"}},
		{"nowhere", []string{"ticks", "--recv", "--url", url, "--nkey", "nowhere"}},
		{"give another name", []string{"ticks", "--send", "--stream", "foreign", "--url", url}},
		{"give another name", []string{"ticks", "--recv", "--stream", "foreign", "--url", url}},
		{`channel "ticks": the value is uint64 at 0 here, float32`, []string{"ticks", "--send", "--stream", "other", "--url", url}},
		{`channel "ticks": the value is float32 at 0 here, uint64`, []string{"ticks", "--recv", "--stream", "other", "--url", url}},
		{`channel "none"`, []string{"none", "--send", "--url", url}},
		{`channel "junk"`, []string{"junk", "--send", "--url", url}},
		{`channel "mine"`, []string{"mine", "--send", "--url", url}},
		{"that is free", []string{"ticks", "--recv", "--listen", taken.Addr().String(), "--store", store}},
	} {
		for _, asJSON := range []bool{false, true} {
			args := append([]string{"bridge", "--dir", dir}, c.args...)
			if asJSON {
				args = append(args, "--json")
			}
			status, stdout, stderr := ownProcess(t, "", args...) // What it reports comes from other goroutines.
			require.Equal(t, 1, status, "%v: %s", args, stderr)
			require.Empty(t, stdout, "%v", args)
			require.Contains(t, stderr, c.says, "%v", args)
			require.NotContains(t, stderr, "somebody:else")
			last := strings.TrimSuffix(stderr[strings.LastIndex("\n"+strings.TrimSuffix(stderr, "\n"), "\n"):], "\n")
			require.Contains(t, last, c.says, "the error is the last line: %v", args)
		}
	}
	require.NoDirExists(t, store)
	ch, err := shmchan.Open[uint64]("ticks", shmchan.WithDir(dir))
	require.NoError(t, err)
	require.Equal(t, 1, ch.Len(), "nothing was taken")
	require.NoError(t, ch.Detach())
}

// What a connection's goroutines tell once the bridge has ended is not written below why.
func TestNothingIsReportedAfterTheEnd(t *testing.T) {
	var out strings.Builder
	report, over := reporter(&out)
	report("connected")
	over()
	report("connected again")
	require.Equal(t, "shmchan bridge: connected\n", out.String())
}
