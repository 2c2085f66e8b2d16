package main

// A channel as ls, stat and top show it, and as it is in JSON.
//
// Invariant: looking never attaches to a channel, changes it or takes a lock of it.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// counters are what a channel counts, in the order in which they are shown. A new one is a line. Those whose key ends in _ns
// are nanoseconds, and shown in words.
var counters = []struct {
	key, label, note string
	of               func(*shmchan.Stats) uint64
}{
	{"sent", "sent", "", func(s *shmchan.Stats) uint64 { return s.Sent }},
	{"received", "received", "", func(s *shmchan.Stats) uint64 { return s.Received }},
	{"redelivered", "redelivered", "(given back, or left by a receiver that died)", func(s *shmchan.Stats) uint64 { return s.Redelivered }},
	{"abandoned", "abandoned", "(places given up, or left by a sender that died)", func(s *shmchan.Stats) uint64 { return s.Abandoned }},
	{"recovered", "recovered", "(handles that died and were cleared away)", func(s *shmchan.Stats) uint64 { return s.Recovered }},
	{"high_water", "high water", "(the most values that were seen in the channel)", func(s *shmchan.Stats) uint64 { return uint64(s.HighWater) }},
	{"send_waits", "send waits", "(calls to send that parked)", func(s *shmchan.Stats) uint64 { return s.Send.Parks }},
	{"recv_waits", "recv waits", "(calls to receive that parked)", func(s *shmchan.Stats) uint64 { return s.Recv.Parks }},
	{"send_blocked_ns", "send blocked", "(time that calls have waited, summed over them)", func(s *shmchan.Stats) uint64 { return uint64(s.Send.Blocked) }},
	{"recv_blocked_ns", "recv blocked", "", func(s *shmchan.Stats) uint64 { return uint64(s.Recv.Blocked) }},
	{"spins_paid", "spins paid", "(waits that were over before the call parked, in both directions)", func(s *shmchan.Stats) uint64 { return s.Send.SpinsPaid + s.Recv.SpinsPaid }},
	{"spins_vain", "spins vain", "(spins that were given up)", func(s *shmchan.Stats) uint64 { return s.Send.SpinsVain + s.Recv.SpinsVain }},
	{"wakes", "wakes", "(sent, in both directions)", func(s *shmchan.Stats) uint64 { return s.Send.Wakes + s.Recv.Wakes }},
	{"wakes_saved", "wakes saved", "(not sent as nobody waited, or one was for many)", func(s *shmchan.Stats) uint64 { return s.Send.Saved + s.Recv.Saved }},
}

// view is a channel at a moment. Error says why the rest is missing.
type view struct {
	Name           string            `json:"name"`
	State          string            `json:"state"`
	Error          string            `json:"error,omitempty"`
	Path           string            `json:"path,omitempty"`
	At             time.Time         `json:"at"`
	Made           *time.Time        `json:"made,omitempty"`
	Maker          int               `json:"maker_pid,omitempty"`
	Type           string            `json:"type,omitempty"`
	ValueBytes     int               `json:"value_bytes"`
	MaxMessage     int               `json:"max_message,omitempty"`
	Capacity       int               `json:"capacity"`
	Length         int               `json:"length"`
	Senders        int               `json:"senders"`
	Receivers      int               `json:"receivers"`
	SingleSender   bool              `json:"single_sender"`
	SingleReceiver bool              `json:"single_receiver"`
	Checksum       bool              `json:"checksum"`
	HugePages      bool              `json:"huge_pages"`
	HugeBytes      int64             `json:"huge_page_bytes,omitempty"`
	Arena          int64             `json:"arena_bytes,omitempty"` // that messages share which do not fit in a slot
	ArenaUsed      int64             `json:"arena_used_bytes,omitempty"`
	Waiting        int               `json:"waiting"`
	Dead           int               `json:"dead"`
	Counters       map[string]uint64 `json:"counters,omitempty"`
	Rates          *rates            `json:"rates,omitempty"` // there is none before the second look
	FileBytes      int64             `json:"file_bytes"`
	MemoryBytes    int64             `json:"memory_bytes"` // that the file takes
	Mode           string            `json:"mode,omitempty"`
	Peers          []peerView        `json:"peers,omitempty"`
	Layout         []fieldView       `json:"layout,omitempty"`

	info shmchan.Info
}

// rates are values a second between two looks, so many seconds apart.
type rates struct {
	Sent     float64 `json:"sent"`
	Received float64 `json:"received"`
	Over     float64 `json:"over_seconds"`
}

type peerView struct {
	PID      int       `json:"pid"`
	Command  string    `json:"command,omitempty"`
	Sends    bool      `json:"sends"`
	Receives bool      `json:"receives"`
	Alive    bool      `json:"alive"`
	Blocked  string    `json:"blocked"` // no, sending, receiving or both
	Since    time.Time `json:"since"`
}

type fieldView struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Offset int    `json:"offset"`
	Size   int    `json:"size"`
	Align  int    `json:"align"`
}

// fieldsOf is a canonical layout, a field a line.
func fieldsOf(layout string) (all []fieldView) {
	for line := range strings.Lines(layout) {
		var f fieldView
		if n, _ := fmt.Sscan(line, &f.Path, &f.Kind, &f.Offset, &f.Size, &f.Align); n == 5 {
			all = append(all, f)
		}
	}
	return all
}

// showFields shows a layout as a table.
func showFields(t io.Writer, fields []fieldView) {
	fmt.Fprintf(t, "FIELD\tKIND\tOFFSET\tSIZE\tALIGN\n")
	for _, f := range fields {
		if f.Path == "." {
			f.Path = "(the value)"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\n", plain(f.Path), plain(f.Kind), f.Offset, f.Size, f.Align)
	}
}

// look looks at a channel. There is a view in any case; the error is why it says no more.
func look(name string, w *where) (*view, error) {
	at := time.Now()
	info, err := shmchan.Inspect(name, w.options()...)
	v := &view{Name: name, At: at, State: stateOf(info, err), info: info}
	if err != nil {
		v.Error = words(err)
		return v, err
	}
	v.Path, v.Made, v.Maker, v.Type = info.Path, &info.Created, info.PID, info.Type
	v.ValueBytes, v.MaxMessage, v.Capacity, v.Length = info.Size, info.MaxMessage, info.Cap, info.Len
	v.Senders, v.Receivers, v.Waiting = info.Senders, info.Receivers, info.Waiting
	v.SingleSender, v.SingleReceiver, v.Checksum, v.HugePages = info.SingleSender, info.SingleReceiver, info.Checksum, info.HugePages
	v.HugeBytes, v.Arena, v.ArenaUsed = info.HugeBytes, info.Arena, info.ArenaUsed
	v.FileBytes, v.MemoryBytes, v.Mode = info.Bytes, memoryOf(info), info.Mode.String()
	v.Counters = map[string]uint64{}
	for _, c := range counters {
		v.Counters[c.key] = c.of(&info.Stats)
	}
	for _, p := range info.Peers {
		v.Peers = append(v.Peers, peerView{p.PID, commandOf(p), p.Sends, p.Receives, p.Alive, blockedOf(p), p.Since})
		if !p.Alive {
			v.Dead++
		}
	}
	v.Layout = fieldsOf(info.Layout)
	return v, nil
}

// lookAll looks at all channels, in the order of their names.
func lookAll(w *where) ([]*view, error) {
	names, err := shmchan.List(w.options()...)
	if err != nil {
		return nil, err
	}
	views := []*view{}
	for _, name := range names {
		if v, err := look(name, w); !errors.Is(err, fs.ErrNotExist) { // Else: removed since it was listed.
			views = append(views, v)
		}
	}
	return views, nil
}

// since sets the rates from an earlier look at the same channel, if it is one.
func (v *view) since(before *view) {
	if before == nil || v.Made == nil || before.Made == nil || !v.Made.Equal(*before.Made) || v.Maker != before.Maker {
		return
	}
	over := v.At.Sub(before.At).Seconds()
	if over <= 0 {
		return
	}
	rate := func(now, was uint64) float64 { return float64(max(now, was)-was) / over } // A count may be off by what was under way.
	v.Rates = &rates{rate(v.info.Sent, before.info.Sent), rate(v.info.Received, before.info.Received), over}
}

// sinceAll is since for all of them, by name.
func sinceAll(now, before []*view) {
	was := map[string]*view{}
	for _, v := range before {
		was[v.Name] = v
	}
	for _, v := range now {
		v.since(was[v.Name])
	}
}

// memoryOf is how much memory a channel's file takes, in bytes.
func memoryOf(info shmchan.Info) int64 {
	st, err := os.Stat(info.Path)
	if err != nil {
		return 0
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return 0
}

// commandOf is what the process was started with, if that can be known: the number must mean it here, and it must be alive.
func commandOf(p shmchan.Peer) string {
	if !p.Here || !p.Alive {
		return ""
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

func blockedOf(p shmchan.Peer) string {
	switch {
	case p.WaitsToSend && p.WaitsToReceive:
		return "both"
	case p.WaitsToSend:
		return "sending"
	case p.WaitsToReceive:
		return "receiving"
	}
	return "no"
}

// shownCount is a counter in text.
func shownCount(key string, n uint64) string {
	if strings.HasSuffix(key, "_ns") {
		return inWords(time.Duration(min(n, math.MaxInt64)))
	}
	return fmt.Sprint(n)
}

// inWords is a time in a few digits.
func inWords(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// perSecond is a rate in a few digits.
func perSecond(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.1fM", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.1fk", f/1e3)
	}
	return fmt.Sprintf("%.0f", f)
}

func (r *rates) sent() string {
	if r == nil {
		return "-"
	}
	return perSecond(r.Sent)
}

func (r *rates) received() string {
	if r == nil {
		return "-"
	}
	return perSecond(r.Received)
}

// jsonFlag gives a command --json.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "write JSON")
}

// writeJSON writes v, indented, or in one line.
func writeJSON(out io.Writer, v any, indented bool) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if indented {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}
