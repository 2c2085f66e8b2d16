package shmprom

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir, name string) *shmchan.Chan[int64] {
	t.Helper()
	ch, err := shmchan.Open[int64](name, shmchan.WithDir(dir), shmchan.WithCapacity(4))
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	return ch
}

// scrape registers c, holds it against Prometheus's conventions, and asks for it by HTTP.
func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	require.Empty(t, problems)
	s := httptest.NewServer(promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	defer s.Close()
	resp, err := http.Get(s.URL)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestHandles(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, "a"), open(t, dir, "b")
	for range 3 {
		require.NoError(t, a.Send(1))
	}
	_, err := a.Recv()
	require.NoError(t, err)
	require.NoError(t, b.Close())
	c, err := New(a, b)
	require.NoError(t, err)
	text := scrape(t, c)
	for _, line := range []string{
		`shmchan_sent_total{channel="a"} 3`, `shmchan_received_total{channel="a"} 1`, `shmchan_length{channel="a"} 2`, `shmchan_high_water{channel="a"} 2`,
		`shmchan_capacity{channel="a"} 4`, `shmchan_closed{channel="a"} 0`, `shmchan_closed{channel="b"} 1`,
		`shmchan_handles{channel="a",side="send"} 1`, `shmchan_wakes_saved_total{channel="a",side="recv"} 3`, `shmchan_wakes_saved_total{channel="a",side="send"} 1`,
		`shmchan_blocked_seconds_total{channel="a",side="recv"} 0`, `shmchan_spins_total{channel="a",result="paid",side="send"} 0`,
		`shmchan_own_parks_total{channel="b",side="recv"} 0`, `shmchan_redelivered_total{channel="a"} 0`, `shmchan_recovered_total{channel="a"} 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.NotContains(t, text, "shmchan_own_wakes_saved")
	require.NoError(t, b.Detach())
	require.NotContains(t, scrape(t, c), `channel="b"`)

	_, err = New(a, open(t, dir, "a"))
	require.ErrorContains(t, err, `channel "a" is given twice`)
	_, err = New(nil)
	require.Error(t, err)
}

// given is a channel whose Stats a test makes up.
type given struct{ st shmchan.Stats }

func (g *given) Stats() shmchan.Stats { return g.st }

// Each figure is in the metric of its name, with its unit.
func TestEachFigure(t *testing.T) {
	w := func(n int) shmchan.Waits {
		return shmchan.Waits{Blocked: 1500e6 * 2, Parks: uint64(n + 1), SpinsPaid: uint64(n + 2), SpinsVain: uint64(n + 3), Wakes: uint64(n + 4), Saved: uint64(n + 5)}
	}
	c, err := New(&given{shmchan.Stats{Name: "x", Cap: 1, Len: 2, HighWater: 3, Closed: true, Sent: 4, Received: 5, Redelivered: 6, Abandoned: 7, Recovered: 8,
		Senders: 9, Receivers: 10, Waiting: 11, Send: w(100), Recv: w(200), OwnSend: w(300), OwnRecv: w(400)}})
	require.NoError(t, err)
	var got []string
	for line := range strings.Lines(scrape(t, c)) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(line), `channel="x",`, ""), "shmchan_"))
		}
	}
	require.Equal(t, strings.Fields(strings.ReplaceAll(`
abandoned_total{channel="x"}_7
blocked_seconds_total{side="recv"}_3
blocked_seconds_total{side="send"}_3
capacity{channel="x"}_1
closed{channel="x"}_1
handles{side="recv"}_10
handles{side="send"}_9
high_water{channel="x"}_3
length{channel="x"}_2
own_blocked_seconds_total{side="recv"}_3
own_blocked_seconds_total{side="send"}_3
own_parks_total{side="recv"}_401
own_parks_total{side="send"}_301
own_spins_total{result="paid",side="recv"}_402
own_spins_total{result="paid",side="send"}_302
own_spins_total{result="vain",side="recv"}_403
own_spins_total{result="vain",side="send"}_303
own_wakes_total{side="recv"}_404
own_wakes_total{side="send"}_304
parks_total{side="recv"}_201
parks_total{side="send"}_101
received_total{channel="x"}_5
recovered_total{channel="x"}_8
redelivered_total{channel="x"}_6
sent_total{channel="x"}_4
spins_total{result="paid",side="recv"}_202
spins_total{result="paid",side="send"}_102
spins_total{result="vain",side="recv"}_203
spins_total{result="vain",side="send"}_103
waiting_handles{channel="x"}_11
wakes_saved_total{side="recv"}_205
wakes_saved_total{side="send"}_105
wakes_total{side="recv"}_204
wakes_total{side="send"}_104`, "}_", "}+")), strings.Fields(strings.ReplaceAll(strings.Join(got, "\n"), "} ", "}+")))
}

func TestCountersNeverGoBack(t *testing.T) {
	g := &given{shmchan.Stats{Name: "x", Senders: 1, Sent: 10, Len: 5, Recv: shmchan.Waits{Saved: 9}}}
	c, err := New(g)
	require.NoError(t, err)
	scrape(t, c)
	g.st.Sent, g.st.Len, g.st.Recv.Saved = 11, 3, 8
	text := scrape(t, c)
	require.Contains(t, text, `shmchan_wakes_saved_total{channel="x",side="recv"} 9`)
	require.Contains(t, text, `shmchan_sent_total{channel="x"} 11`)
	require.Contains(t, text, `shmchan_length{channel="x"} 3`)
}

// Channels come, go and are made anew between scrapes, and some are none.
// Whoever may make channels cannot give two of them one label, which would make the whole scrape fail.
func TestNoTwoChannelsHaveOneLabel(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a\xff", `a\xff`, `"a\xff"`, `"\"a\\xff\""`, "\ufffd", "\xef\xbf", `"`, `\"`}
	labels := map[string]bool{}
	for _, name := range names {
		open(t, dir, name)
		labels[labelOf(name)] = true
	}
	require.Len(t, labels, len(names))
	require.Equal(t, len(names), strings.Count(scrape(t, NewDir(shmchan.WithDir(dir))), "\nshmchan_sent_total{"))
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	c := NewDir(shmchan.WithDir(dir))
	require.Contains(t, scrape(t, c), "shmchan_unreadable_channels 0\n")
	a := open(t, dir, "a")
	require.NoError(t, a.Send(1))
	require.NoError(t, a.Send(1))
	open(t, dir, "odd \xff\"name\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), []byte("junk"), 0o600))
	before, err := os.ReadFile(filepath.Join(dir, "shmchan.a"))
	require.NoError(t, err)
	text := scrape(t, c)
	after, err := os.ReadFile(filepath.Join(dir, "shmchan.a"))
	require.NoError(t, err)
	require.Equal(t, before, after, "nothing was written")
	require.Contains(t, text, `shmchan_sent_total{channel="a"} 2`)
	require.Contains(t, text, `shmchan_dead_handles{channel="a"} 0`)
	require.Contains(t, text, `shmchan_file_bytes{channel="a"} 2`)
	require.Contains(t, text, `channel="\"odd \\xff\\\"name\\n\""`)
	require.Contains(t, text, "shmchan_unreadable_channels 1\n")
	require.NotContains(t, text, "own_")

	require.NoError(t, a.Detach())
	require.NoError(t, shmchan.Remove("a", shmchan.WithDir(dir)))
	require.NotContains(t, scrape(t, c), `channel="a"`)
	require.Len(t, c.shown, 1)
	open(t, dir, "a")
	require.Contains(t, scrape(t, c), `shmchan_sent_total{channel="a"} 0`, "another channel of that name")

	// Also if no scrape came between, when its counters begin anew.
	b := open(t, dir, "b")
	require.NoError(t, b.Send(1))
	require.Contains(t, scrape(t, c), `shmchan_sent_total{channel="b"} 1`)
	require.NoError(t, b.Detach())
	require.NoError(t, shmchan.Remove("b", shmchan.WithDir(dir)))
	open(t, dir, "b")
	text = scrape(t, c)
	require.Contains(t, text, `shmchan_sent_total{channel="b"} 0`)
	info, err := shmchan.Inspect("b", shmchan.WithDir(dir))
	require.NoError(t, err)
	var made float64
	_, rest, ok := strings.Cut(text, `shmchan_created_timestamp_seconds{channel="b"} `)
	require.True(t, ok)
	_, err = fmt.Sscan(rest, &made)
	require.NoError(t, err)
	require.InDelta(t, float64(info.Created.Unix()), made, 1, "in seconds")

	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(NewDir(shmchan.WithDir(filepath.Join(dir, "none")))))
	_, err = r.Gather()
	require.ErrorContains(t, err, "cannot list channels")
}
