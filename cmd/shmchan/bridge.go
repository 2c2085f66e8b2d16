package main

// shmchan bridge: one end of a channel that goes past this machine.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
	bridge "github.com/shmchan/shmchan/bridge/nats"
	"github.com/spf13/cobra"
)

// bridgeOptions are the flags.
type bridgeOptions struct {
	bridge.Config
	send, recv, asJSON bool
	url, listen, store string
	login              bridge.Login
}

func newBridge(w *where) *cobra.Command {
	var o bridgeOptions
	cmd := &cobra.Command{
		Use:   "bridge NAME (--send | --recv) (--url URL | --listen HOST:PORT --store DIR)",
		Short: "Take a channel to the same channel on another machine, over NATS",
		Long: `Runs one end of a bridge until the channel is closed and drained. --send takes what is sent on the channel here, --recv sends
on the channel here what comes from there; a channel that is not there is made, with the far one's layout.

A value leaves the channel here when the JetStream stream SHMCHAN_NAME has acknowledged it, and the stream when it is in the channel
there: at least once. --core is plain NATS, at most once. When the stream has --limit values the channel fills, and then its senders wait.

--url is a NATS server or cluster that is there. --listen has this command run a server of its own, with its streams in --store: whoever
reaches that address may use it.

At the end it says what it has done, with --json as an object; what happens meanwhile goes to standard error. One that fails before it
has done anything says only why, there.`,
		Example: `  shmchan bridge ticks --recv --listen 10.0.0.2:4222 --store /var/lib/shmchan
  shmchan bridge ticks --send --url nats://10.0.0.2:4222
  shmchan bridge ticks --send --url tls://nats.example.com --creds ticks.creds --tls-ca ca.pem`,
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case o.send == o.recv:
				return errors.New("use one of --send and --recv")
			case (o.url == "") == (o.listen == ""):
				return errors.New("use one of --url and --listen")
			case o.url != "" && o.store != "":
				return errors.New("--store is for the server that --listen runs: leave it out with --url")
			case o.Core && o.Memory:
				return errors.New("--core and --memory exclude each other: plain NATS keeps no stream")
			case o.Duplicates <= 0:
				return fmt.Errorf("--duplicates %v: use a time above 0, as 2m", o.Duplicates)
			case o.listen != "" && o.store == "":
				return errors.New("--listen needs --store, the directory for the server's streams")
			case (o.login.Cert == "") != (o.login.Key == ""):
				return errors.New("--tls-cert and --tls-key go together")
			case o.Window < 1 || o.Limit < 1 || o.Replicas < 1:
				return errors.New("--window, --limit and --replicas are 1 or more")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			report, over := reporter(cmd.ErrOrStderr())
			o.Report = report
			n, err := o.run(ctx, w, args[0])
			over()
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			if err != nil && n == (bridge.Counts{}) { // It has not begun, or has nothing to count.
				return fail(err)
			}
			if wrong := o.show(cmd.OutOrStdout(), n, err); wrong != nil {
				return fail(errors.Join(err, fmt.Errorf("shmchan: cannot write: %w", wrong)))
			}
			if err != nil {
				return fail(err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.send, "send", false, "take what is sent on the channel here")
	f.BoolVar(&o.recv, "recv", false, "send on the channel here what comes from there")
	f.StringVar(&o.url, "url", "", "the NATS server, or several with commas between")
	f.StringVar(&o.listen, "listen", "", "run a server here, on this host:port")
	f.StringVar(&o.store, "store", "", "the directory for the streams of the server that --listen runs")
	f.StringVar(&o.login.Creds, "creds", "", "a file with the user's credentials")
	f.StringVar(&o.login.NKey, "nkey", "", "a file with the user's nkey seed")
	f.StringVar(&o.login.CA, "tls-ca", "", "a file with the authority that the server's certificate is from")
	f.StringVar(&o.login.Cert, "tls-cert", "", "a file with this end's certificate")
	f.StringVar(&o.login.Key, "tls-key", "", "a file with the certificate's key")
	f.StringVar(&o.Name, "stream", "", "the name of the stream, if it is not the channel's")
	f.BoolVar(&o.Core, "core", false, "plain NATS, at most once")
	f.BoolVar(&o.Memory, "memory", false, "the stream is kept in memory and does not outlive the server")
	f.IntVar(&o.Window, "window", 256, "values on their way at once")
	f.Int64Var(&o.Limit, "limit", 65536, "values that the stream holds at most")
	f.IntVar(&o.Replicas, "replicas", 1, "servers of the cluster that keep each value")
	jsonFlag(cmd, &o.asJSON)
	f.DurationVar(&o.Duplicates, "duplicates", 2*time.Minute, "for how long the stream knows a value again")
	return cmd
}

// reporter returns what writes events, a line each, until over is called: why a bridge ended is the last line, and the connection's goroutines may still have
// something to tell then.
func reporter(out io.Writer) (report func(event string), over func()) {
	var mu sync.Mutex // guards ended, and what is written
	ended := false
	report = func(event string) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			fmt.Fprintln(out, "shmchan bridge:", event)
		}
	}
	over = func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	}
	return report, over
}

// bridged is what --json says at the end.
type bridged struct {
	Values  uint64 `json:"values"`
	Known   uint64 `json:"known_already"`
	Resumed uint64 `json:"begun_anew"`
	Full    uint64 `json:"full"`
	Error   string `json:"error,omitempty"`
}

// show says what an end has done, and with --json why it ended.
func (o *bridgeOptions) show(out io.Writer, n bridge.Counts, err error) error {
	if o.asJSON {
		b := bridged{Values: n.Values, Known: n.Known, Resumed: n.Resumed, Full: n.Full}
		if err != nil {
			b.Error = words(err)
		}
		return writeJSON(out, b, false)
	}
	_, err = fmt.Fprintf(out, "values %d\nknown already %d\nbegun anew %d\nfull %d\n", n.Values, n.Known, n.Resumed, n.Full)
	return err
}

// newDemoBridge is newBridge for the demo. It ends when its standard input does, which is when the demo is gone, however that ended.
func newDemoBridge(w *where) *cobra.Command {
	cmd := newBridge(w)
	cmd.Use, cmd.Hidden = "demo-bridge NAME", true
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, gone := context.WithCancel(cmd.Context())
		defer gone()
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			gone()
		}()
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
	return cmd
}

func (o *bridgeOptions) run(ctx context.Context, w *where, name string) (n bridge.Counts, err error) {
	url := o.url
	if o.listen != "" {
		s, err := bridge.Serve(o.listen, o.store)
		if err != nil {
			return n, err
		}
		defer func() { s.Shutdown(); s.WaitForShutdown() }()
		url = s.ClientURL()
		o.Report("a server listens on " + url)
	}
	nc, err := bridge.Connect(url, o.login, o.Report)
	if err != nil {
		return n, err
	}
	defer nc.Close()
	if o.recv {
		return bridge.Recv(ctx, nc, name, o.Config, w.options()...)
	}
	from, err := shmchan.OpenRawReceiver(name, append(w.options(), shmchan.WithHold(), shmchan.WithWait(shmchan.Park))...)
	if err != nil {
		return n, err
	}
	n, err = bridge.Send(ctx, nc, from, o.Config)
	return n, errors.Join(err, from.Detach())
}
