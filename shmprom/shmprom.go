// Package shmprom shows channels to Prometheus: those that a program has handles of, or all that lie in a directory,
// whose programs then need not know of it.
//
//	collector, err := shmprom.New(orders, trades)
//	prometheus.MustRegister(collector)
//
// Every metric has the label channel. What waiting costs has the label side too: send or recv. See docs/metrics.md.
package shmprom

// Invariants:
//   - A counter that was shown is never shown lower, as long as the channel is the same: a scraper would take it for one that
//     began anew. What can go back by a little is Saved; see shmchan.Stats.
//   - What the collectors know of a channel is forgotten when it is not there any more.

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shmchan/shmchan"
)

// Channel is any handle of a channel.
type Channel interface {
	Stats() shmchan.Stats
}

// metric is one that is made of a channel's Stats, or of what Inspect says.
type metric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // values, after the channel's name
	of     func(*shmchan.Info) float64
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("shmchan_"+name, help, append([]string{"channel"}, labels...), nil)
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ofStats are the metrics of every channel.
var ofStats = append([]metric{
	counter("sent_total", "Values sent.", func(i *shmchan.Info) float64 { return float64(i.Sent) }),
	counter("received_total", "Values received.", func(i *shmchan.Info) float64 { return float64(i.Received) }),
	counter("redelivered_total", "Values given back by a receiver, or left by one that died.", func(i *shmchan.Info) float64 { return float64(i.Redelivered) }),
	counter("abandoned_total", "Sends given up, or left by a sender that died.", func(i *shmchan.Info) float64 { return float64(i.Abandoned) }),
	counter("recovered_total", "Handles that died and were cleared away.", func(i *shmchan.Info) float64 { return float64(i.Recovered) }),
	gauge("length", "Values in the channel.", func(i *shmchan.Info) float64 { return float64(i.Len) }),
	gauge("high_water", "The most values that anybody has seen in the channel.", func(i *shmchan.Info) float64 { return float64(i.HighWater) }),
	gauge("capacity", "Values that the channel can hold.", func(i *shmchan.Info) float64 { return float64(i.Cap) }),
	gauge("closed", "1 if the channel is closed.", func(i *shmchan.Info) float64 { return truth(i.Closed) }),
	gauge("waiting_handles", "Handles that wait now.", func(i *shmchan.Info) float64 { return float64(i.Waiting) }),
}, append(
	bySide(desc("handles", "Handles attached, by what they may do.", "side"), prometheus.GaugeValue,
		func(i *shmchan.Info) float64 { return float64(i.Senders) }, func(i *shmchan.Info) float64 { return float64(i.Receivers) }),
	waits("", "all handles", true, func(i *shmchan.Info) *shmchan.Waits { return &i.Send }, func(i *shmchan.Info) *shmchan.Waits { return &i.Recv })...)...)

// ofHandle are those of a handle that the program has.
var ofHandle = waits("own_", "this process's handle", false, func(i *shmchan.Info) *shmchan.Waits { return &i.OwnSend }, func(i *shmchan.Info) *shmchan.Waits { return &i.OwnRecv })

// ofInfo are those that only Inspect knows.
var ofInfo = []metric{
	gauge("dead_handles", "Handles whose process has died, not cleared away yet.", func(i *shmchan.Info) (n float64) {
		for _, p := range i.Peers {
			n += truth(!p.Alive)
		}
		return n
	}),
	gauge("file_bytes", "Size of the channel's file.", func(i *shmchan.Info) float64 { return float64(i.Bytes) }),
	gauge("created_timestamp_seconds", "When the channel was made, since the epoch.", func(i *shmchan.Info) float64 { return float64(i.Created.UnixNano()) / 1e9 }),
}

var unreadable = prometheus.NewDesc("shmchan_unreadable_channels", "Files with a channel's name that could not be looked at in this scrape.", nil, nil)

func counter(name, help string, of func(*shmchan.Info) float64) metric {
	return metric{desc(name, help), prometheus.CounterValue, nil, of}
}

func gauge(name, help string, of func(*shmchan.Info) float64) metric {
	return metric{desc(name, help), prometheus.GaugeValue, nil, of}
}

func bySide(d *prometheus.Desc, kind prometheus.ValueType, send, recv func(*shmchan.Info) float64) []metric {
	return []metric{{d, kind, []string{"send"}, send}, {d, kind, []string{"recv"}, recv}}
}

// waits are the metrics of how calls waited.
func waits(prefix, whose string, saved bool, send, recv func(*shmchan.Info) *shmchan.Waits) (all []metric) {
	add := func(name, help string, of func(*shmchan.Waits) float64) {
		all = append(all, bySide(desc(prefix+name, help+", of "+whose+".", "side"), prometheus.CounterValue,
			func(i *shmchan.Info) float64 { return of(send(i)) }, func(i *shmchan.Info) float64 { return of(recv(i)) })...)
	}
	add("blocked_seconds_total", "Time that calls have waited, summed over them", func(w *shmchan.Waits) float64 { return seconds(w.Blocked) })
	add("parks_total", "Calls that went to sleep", func(w *shmchan.Waits) float64 { return float64(w.Parks) })
	add("wakes_total", "Wakes sent to who waits on that side", func(w *shmchan.Waits) float64 { return float64(w.Wakes) })
	if saved {
		add("wakes_saved_total", "Values that woke nobody on that side", func(w *shmchan.Waits) float64 { return float64(w.Saved) })
	}
	d := desc(prefix+"spins_total", "Waits by looking actively, paid if that ended them, of "+whose+".", "side", "result")
	for _, side := range []struct {
		name string
		of   func(*shmchan.Info) *shmchan.Waits
	}{{"send", send}, {"recv", recv}} {
		all = append(all,
			metric{d, prometheus.CounterValue, []string{side.name, "paid"}, func(i *shmchan.Info) float64 { return float64(side.of(i).SpinsPaid) }},
			metric{d, prometheus.CounterValue, []string{side.name, "vain"}, func(i *shmchan.Info) float64 { return float64(side.of(i).SpinsVain) }})
	}
	return all
}

// channelKey is a channel that is still the same when it has the same key.
type channelKey struct {
	name    string
	created int64
}

// shown is what has been shown of each channel's counters.
type shown map[channelKey]map[int]float64

// show sends the metrics of a channel, all of which are at their places in ms.
func (s shown) show(out chan<- prometheus.Metric, key channelKey, info *shmchan.Info, ms []metric) {
	last := s[key]
	if last == nil {
		last = map[int]float64{}
		s[key] = last
	}
	name := labelOf(info.Name)
	for i, m := range ms {
		v := m.of(info)
		if m.kind == prometheus.CounterValue {
			v = max(v, last[i])
			last[i] = v
		}
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, append([]string{name}, m.labels...)...)
	}
}

// labelOf is a channel's name as a label. What is no UTF-8 is quoted, and so is what might be taken for that: two channels with one label
// would make the whole scrape fail, for whoever may make a channel.
func labelOf(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, `"`) {
		return name
	}
	return strconv.Quote(name)
}

func describe(out chan<- *prometheus.Desc, ms []metric) {
	seen := map[*prometheus.Desc]bool{}
	for _, m := range ms {
		if !seen[m.desc] {
			out <- m.desc
		}
		seen[m.desc] = true
	}
}

// Collector shows channels that the program has handles of.
type Collector struct {
	mu       sync.Mutex
	channels []Channel
	shown    shown
}

// New makes a collector for these channels: one handle of each, whose own counts are shown beside those of the whole
// channel. Two of the same name are an error, as their metrics would be the same. A handle that is detached is not shown any more.
func New(channels ...Channel) (*Collector, error) {
	names := map[string]bool{}
	for _, ch := range channels {
		if ch == nil {
			return nil, errors.New("shmprom: one of the channels is nil; open it first")
		}
		name := labelOf(ch.Stats().Name)
		if names[name] {
			return nil, fmt.Errorf("shmprom: channel %q is given twice; give one handle of it, or rename one of two channels of different directories", name)
		}
		names[name] = true
	}
	return &Collector{channels: channels, shown: shown{}}, nil
}

var ofOwn = append(ofStats[:len(ofStats):len(ofStats)], ofHandle...)

// Describe is prometheus.Collector's.
func (c *Collector) Describe(out chan<- *prometheus.Desc) { describe(out, ofOwn) }

// Collect is prometheus.Collector's.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, ch := range c.channels {
		st := ch.Stats()
		if st.Senders+st.Receivers == 0 { // Not even this handle.
			continue
		}
		c.shown.show(out, channelKey{st.Name, int64(i)}, &shmchan.Info{Stats: st}, ofOwn)
	}
}

// DirCollector shows all channels of a directory, by looking at them from outside.
type DirCollector struct {
	mu    sync.Mutex
	opts  []shmchan.Option
	shown shown
}

// NewDir makes a collector for all channels of a directory: WithDir names it, as for shmchan.List. It looks at each scrape which there
// are. It attaches to none, and writes to none. If the directory cannot be read, the scrape fails; what cannot be looked at in
// it is counted by shmchan_unreadable_channels.
func NewDir(opts ...shmchan.Option) *DirCollector { return &DirCollector{opts: opts, shown: shown{}} }

var ofLook = append(ofStats[:len(ofStats):len(ofStats)], ofInfo...)

// Describe is prometheus.Collector's.
func (c *DirCollector) Describe(out chan<- *prometheus.Desc) {
	describe(out, ofLook)
	out <- unreadable
}

// Collect is prometheus.Collector's.
func (c *DirCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, err := shmchan.List(c.opts...)
	if err != nil {
		out <- prometheus.NewInvalidMetric(unreadable, err)
		return
	}
	failed, there := 0, map[channelKey]bool{}
	for _, name := range names {
		info, err := shmchan.Inspect(name, c.opts...)
		if errors.Is(err, fs.ErrNotExist) { // It has gone since.
			continue
		}
		if err != nil {
			failed++
			continue
		}
		key := channelKey{name, info.Created.UnixNano()}
		there[key] = true
		c.shown.show(out, key, &info, ofLook)
	}
	for key := range c.shown {
		if !there[key] {
			delete(c.shown, key)
		}
	}
	out <- prometheus.MustNewConstMetric(unreadable, prometheus.GaugeValue, float64(failed))
}
