package main

// shmchan export: all channels of a directory as metrics for Prometheus.
//
// Invariant: nothing here attaches to a channel or changes it. A channel may come and go at any time.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/shmprom"
	"github.com/spf13/cobra"
)

// endTime is how long scrapes that are under way may take after a signal.
const endTime = 3 * time.Second

func newExport(w *where) *cobra.Command {
	var listen string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Serve metrics of all channels to Prometheus",
		Long: "Serves metrics of all channels of the directory at /metrics, in Prometheus's format, until SIGINT or\n" +
			"SIGTERM. The programs that use the channels need not know of it: it looks from outside, at each scrape,\n" +
			"and changes nothing. Who may connect may read, so listen where only those can whom you trust.",
		Example:           "  shmchan export --listen 127.0.0.1:9464\n  curl -s 127.0.0.1:9464/metrics | grep shmchan_sent_total",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return export(ctx, w, listen, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9464", "address to listen at, HOST:PORT; port 0 takes a free one")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// export serves until ctx ends.
func export(ctx context.Context, w *where, listen string, asJSON bool, out io.Writer) error {
	if _, err := shmchan.List(w.options()...); err != nil {
		return fail(err)
	}
	r := prometheus.NewRegistry()
	if err := r.Register(shmprom.NewDir(w.options()...)); err != nil {
		return fail(fmt.Errorf("shmchan: cannot make the metrics: %w", err))
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fail(fmt.Errorf("shmchan: cannot listen at %q: %w; give --listen a HOST:PORT of this machine that is free, port 0 takes any", listen, err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "shmchan: see /metrics") })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	if url := fmt.Sprintf("http://%s/metrics", l.Addr()); asJSON {
		err = writeJSON(out, map[string]string{"serving": url}, false)
	} else {
		_, err = fmt.Fprintf(out, "serving %s\n", url)
	}
	if err != nil {
		return fail(fmt.Errorf("shmchan: cannot say where it serves: %w", err))
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fail(fmt.Errorf("shmchan: cannot go on serving at %s: %w", l.Addr(), err))
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fail(fmt.Errorf("shmchan: cannot stop serving: %w", err))
	}
	return nil
}
