package main

// The dashboard: it is of Grafana's schema, and each of its queries gets an answer from a real Prometheus that scrapes a real shmchan export.
// Not shown: what Grafana draws of it.

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

const dashboardFile = "../../docs/grafana/shmchan.json"

// dashboardQueries are the queries of all panels, and the variables'.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	b, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Type, Definition string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &d))
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "%s has the number of another panel", p.Title)
		ids[p.ID] = true
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Less(t, at[0], 24, p.Title)
				require.Empty(t, places[at], "%s lies over it", p.Title)
				places[at] = p.Title
			}
		}
		for _, q := range p.Targets {
			queries = append(queries, q.Expr)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition)
			require.NotNil(t, m, v.Definition)
			queries = append(queries, "group by ("+m[2]+") ("+m[1]+")")
		}
	}
	return queries
}

// Nothing is misspelt or left out, in the panels' options and queries either: what Grafana does not know it drops without a word.
func TestDashboardIsOfGrafanasSchema(t *testing.T) {
	b, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	plugins.RegisterDefaultPlugins()
	d := dashboard.NewDashboard() // Of the schema that every Grafana imports; the library would rather have the next.
	err = d.UnmarshalJSONStrict(b)
	var wrong cog.BuildErrors
	if !errors.As(err, &wrong) {
		require.NoError(t, err)
	}
	require.Empty(t, wrong, "%v", err) // It returns a list without an error in it, too.
	require.NoError(t, d.Validate())
}

// Whatever is exported is on the dashboard, and nothing else.
func TestDashboardShowsAllMetrics(t *testing.T) {
	dir := t.TempDir()
	ch, err := shmchan.Open[int64]("orders", shmchan.WithDir(dir))
	require.NoError(t, err)
	defer func() { _ = ch.Detach() }()
	_, at := startExport(t, dir)
	_, text := get(t, at)
	exported, shown := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (shmchan_\w+)`).FindAllStringSubmatch(text, -1) {
		exported[m[1]] = true
	}
	for _, q := range dashboardQueries(t) {
		for _, m := range regexp.MustCompile(`shmchan_\w+`).FindAllString(q, -1) {
			shown[m] = true
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(exported)), slices.Sorted(maps.Keys(shown)))
}

// A dashboard of one machine does not add to it what channels of the same names do on others: only the variable that chooses
// among the machines asks all of them.
func TestDashboardOfOneInstance(t *testing.T) {
	for _, q := range dashboardQueries(t) {
		if q == "group by (instance) (shmchan_capacity)" {
			continue
		}
		for _, m := range regexp.MustCompile(`shmchan_\w+(\{[^}]*\})?`).FindAllStringSubmatch(q, -1) {
			require.Contains(t, m[1], `instance="$instance"`, q)
		}
	}
}

type answer struct {
	Metric map[string]string
	Value  [2]any
}

// ask asks Prometheus.
func ask(t *testing.T, base, query string) []answer {
	t.Helper()
	resp, err := http.Get(base + "/api/v1/query?query=" + url.QueryEscape(query))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var a struct {
		Status, Error string
		Data          struct{ Result []answer }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
	require.Equal(t, "success", a.Status, "%s: %s", query, a.Error)
	return a.Data.Result
}

func TestDashboardQueries(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("needs the program prometheus (Debian's package of that name)")
	}
	dir, data := t.TempDir(), t.TempDir()
	ends := make([]*shmchan.Chan[int64], 2)
	for i := range ends {
		ends[i], err = shmchan.Open[int64]("orders", shmchan.WithDir(dir), shmchan.WithCapacity(4), shmchan.WithWait([]shmchan.Wait{shmchan.Park, shmchan.Adaptive}[i]))
		require.NoError(t, err)
	}
	done := make(chan error, 2)
	defer func() {
		for range ends {
			require.NoError(t, <-done)
		}
	}()
	go func() {
		for {
			if err := ends[0].Send(1); err != nil {
				done <- ends[0].Detach()
				return
			}
		}
	}()
	go func() {
		for range ends[1].All() {
		}
		done <- ends[1].Detach()
	}()
	defer func() { _ = ends[0].Close() }()

	_, at := startExport(t, dir)
	target, err := url.Parse(at)
	require.NoError(t, err)
	config := filepath.Join(data, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n- job_name: shmchan\n  static_configs: [{targets: [%q]}]\n", target.Host), 0o600))
	log, err := os.Create(filepath.Join(data, "log"))
	require.NoError(t, err)
	defer log.Close()
	p := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(data, "tsdb"), "--web.listen-address=127.0.0.1:0")
	p.Stdout, p.Stderr = log, log
	require.NoError(t, p.Start())
	ended := make(chan struct{})
	go func() { _ = p.Wait(); close(ended) }()
	defer func() { _ = p.Process.Kill(); <-ended }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	next := func(why string) {
		select {
		case <-tick.C:
		case <-ended:
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("prometheus has ended: %s", b)
		case <-t.Context().Done():
			t.Fatal(why)
		}
	}
	base := ""
	for ; base == ""; next("it does not listen") {
		b, err := os.ReadFile(log.Name())
		require.NoError(t, err)
		if m := regexp.MustCompile(`"Listening on" address=(\S+)\s`).FindSubmatch(b); m != nil {
			base = "http://" + string(m[1])
		}
	}
	for ready := false; !ready; next("it is not ready") {
		if resp, err := http.Get(base + "/-/ready"); err == nil {
			ready = resp.StatusCode == http.StatusOK
			_ = resp.Body.Close()
		}
	}
	// A scrape that takes too long leaves a gap in all that was scraped: then there is no answer, but will be.
	answered := func(q string) (all []answer) {
		for all = ask(t, base, q); len(all) == 0; all = ask(t, base, q) {
			next("no answer to " + q)
		}
		return all
	}
	fill := strings.NewReplacer("$channel", ".*", "$__rate_interval", "30s", "$__range", "1m", "$instance", target.Host)
	for _, q := range dashboardQueries(t) {
		q = fill.Replace(q)
		require.NotContains(t, q, "$")
		for _, a := range answered(q) {
			t.Logf("%s = %v %v", q, a.Metric, a.Value[1])
			require.True(t, !strings.HasPrefix(q, "group") || len(a.Metric) == 1, "%s: there is no such label", q)
		}
	}
	value := func(q string) float64 {
		all := answered(fill.Replace(q))
		require.Len(t, all, 1, q)
		v, err := strconv.ParseFloat(all[0].Value[1].(string), 64)
		require.NoError(t, err)
		return v
	}
	for value(`sum(rate(shmchan_received_total[30s]))`) == 0 || value(`sum(shmchan_parks_total)`) == 0 {
		next("nothing moves")
	}
	saved := 0.0
	for ; !(saved > 0); next("no wake is saved") { // Nor is there a part of nothing.
		saved = value(`sum(rate(shmchan_wakes_saved_total[30s])) / (sum(rate(shmchan_sent_total[30s])) + sum(rate(shmchan_received_total[30s])))`)
	}
	require.LessOrEqual(t, saved, 1.0)
	for value(`shmchan_high_water{channel="orders"}`) != 4 {
		next("it was never full")
	}
	require.Equal(t, "orders", answered("shmchan_capacity")[0].Metric["channel"])
}
