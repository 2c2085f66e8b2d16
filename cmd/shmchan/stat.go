package main

// shmchan stat: all that can be known of a channel from outside.
//
// Invariant: nothing here attaches to the channel or changes it.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newStat(w *where) *cobra.Command {
	var over, every time.Duration
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "stat NAME",
		Short: "Show a channel, who holds it, and what its values look like",
		Long: `Shows all that can be known of a channel from outside: what it is, how full, what it has counted, values a
second from two looks, who is attached and what these processes are, and the layout of its values.

With --watch it looks again and again until it is interrupted, or the channel is gone: on a terminal what changes, in place, else a line for
each look, which --json makes an object.`,
		Example:           "  shmchan stat trades\n  shmchan stat trades --watch --every 2s\n  shmchan stat trades --watch --json | jq .rates",
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case watch && cmd.Flags().Changed("over"):
				return errors.New("--over and --watch exclude each other: rates are those since the look before")
			case !watch && cmd.Flags().Changed("every"):
				return errors.New("--every goes with --watch")
			}
			return errors.Join(notNegative("over", over), checkEvery(every))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if watch {
				return watchOne(cmd.Context(), out, args[0], w, every, asJSON)
			}
			v, err := look(args[0], w)
			if before := v; err == nil && over > 0 {
				time.Sleep(over)
				if v, err = look(args[0], w); err == nil {
					v.since(before)
				}
			}
			if err != nil {
				return fail(err)
			}
			if asJSON {
				return writeJSON(out, v, true)
			}
			return show(out, v)
		},
	}
	overFlag(cmd, &over)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&watch, "watch", false, "look again and again")
	cmd.Flags().DurationVar(&every, "every", time.Second, "with --watch: how often")
	return cmd
}

// watchOne is stat --watch.
func watchOne(ctx context.Context, out io.Writer, name string, w *where, every time.Duration, asJSON bool) error {
	terminal := screen(out)
	var before *view
	return again(ctx, every, func() error {
		v, err := look(name, w)
		if err != nil {
			return fail(err)
		}
		v.since(before)
		before = v
		switch {
		case asJSON:
			return writeJSON(out, v, false)
		case terminal != nil:
			var text strings.Builder
			if err := showLive(&text, v); err != nil {
				return err
			}
			return redraw(out, text.String())
		}
		_, err = fmt.Fprintf(out, "%s  %s  length %d of %d  sent %d  received %d  sent/s %s  received/s %s  senders %d  receivers %d  waiting %d  dead %d\n",
			v.At.Format("15:04:05.000"), v.State, v.Length, v.Capacity, v.info.Sent, v.info.Received, v.Rates.sent(), v.Rates.received(), v.Senders, v.Receivers, v.Waiting, v.Dead)
		return err
	})
}

func show(out io.Writer, v *view) error {
	info := v.info
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range [][2]any{
		{"name", plain(info.Name)},
		{"path", plain(info.Path)},
		{"state", stateOf(info, nil)},
		{"made", fmt.Sprintf("%s by pid %d", moment(info.Created), info.PID)},
		{"file", fmt.Sprintf("%s (%d bytes), mode %v", byteCount(info.Bytes), info.Bytes, info.Mode)},
		{"memory", byteCount(v.MemoryBytes) + " that the file takes"},
		{"type", fmt.Sprintf("%s, %s", typeOf(info), sizeOf(info))},
		{"capacity", capacityOf(info)},
		{"senders", roleOf(info.Senders, info.SingleSender)},
		{"receivers", roleOf(info.Receivers, info.SingleReceiver)},
		{"checksum", checksumOf(info)},
		{"huge pages", hugePagesOf(info)},
		{"arena", arenaOf(info)},
		{"waiting", info.Waiting},
		{"in channel", info.Len},
	} {
		fmt.Fprintf(t, "%v\t%v\n", f[0], f[1])
	}
	for _, c := range counters {
		fmt.Fprintf(t, "%s\t%s\n", c.label, strings.TrimSpace(shownCount(c.key, v.Counters[c.key])+" "+c.note))
	}
	if r := v.Rates; r != nil {
		fmt.Fprintf(t, "sent/s\t%s\nreceived/s\t%s (over %.1f s)\n", r.sent(), r.received(), r.Over)
	}
	fmt.Fprintln(t)
	showPeers(t, v)
	fmt.Fprintln(t)
	showFields(t, v.Layout)
	return t.Flush()
}

// showPeers shows who is attached.
func showPeers(t io.Writer, v *view) {
	if len(v.Peers) == 0 {
		fmt.Fprintln(t, "nobody holds it")
		return
	}
	fmt.Fprintf(t, "PID\tROLES\tALIVE\tBLOCKED\tSINCE\tCOMMAND\n")
	for i, p := range v.info.Peers {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", p.PID, rolesOf(p), yesNo(p.Alive), v.Peers[i].Blocked, moment(p.Since), commandShown(v.Peers[i]))
	}
}

// showLive shows what changes, in so few lines that a terminal of 24 has room for those who are attached.
func showLive(out io.Writer, v *view) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s  %s  %s  %s\n\n", plain(v.Name), v.At.Format("15:04:05"), v.State, typeOf(v.info))
	cells := [][2]string{
		{"in channel", fmt.Sprintf("%d of %d", v.Length, v.Capacity)}, {"memory", byteCount(v.MemoryBytes)},
		{"sent/s", v.Rates.sent()}, {"received/s", v.Rates.received()},
		{"waiting", fmt.Sprint(v.Waiting)}, {"dead", fmt.Sprint(v.Dead)},
	}
	for _, c := range counters {
		cells = append(cells, [2]string{c.label, shownCount(c.key, v.Counters[c.key])})
	}
	for pair := range slices.Chunk(cells, 2) {
		for _, c := range pair {
			fmt.Fprintf(t, "%s\t%s\t", c[0], c[1])
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t)
	showPeers(t, v)
	return t.Flush()
}

func capacityOf(info shmchan.Info) string {
	if info.Cap == 0 {
		return "0 (a rendezvous)"
	}
	return fmt.Sprint(info.Cap)
}

func roleOf(n int, single bool) string {
	if single {
		return fmt.Sprintf("%d (single)", n)
	}
	return fmt.Sprint(n)
}

func rolesOf(p shmchan.Peer) string {
	switch {
	case p.Sends && p.Receives:
		return "sends, receives"
	case p.Sends:
		return "sends"
	case p.Receives:
		return "receives"
	}
	return "none"
}

func commandShown(p peerView) string {
	switch {
	case !p.Alive:
		return "(died; whoever goes on with the channel clears it away)"
	case p.Command == "":
		return "(not known here)"
	}
	return plain(p.Command)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") }

func hugePagesOf(info shmchan.Info) string {
	if !info.HugePages {
		return "not asked for"
	}
	return fmt.Sprintf("%s of %s", byteCount(info.HugeBytes), byteCount(info.Bytes))
}

// typeOf is the type of a channel's values.
func typeOf(info shmchan.Info) string {
	if info.MaxMessage > 0 {
		return fmt.Sprintf("%s, at most %d", plain(info.Type), info.MaxMessage)
	}
	return plain(info.Type)
}

// sizeOf says how much room each value has in its slot.
func sizeOf(info shmchan.Info) string {
	switch {
	case info.Arena > 0:
		return fmt.Sprintf("%d bytes a slot, larger ones in the arena", info.Size)
	case info.MaxMessage > 0:
		return fmt.Sprintf("%d bytes a slot", info.Size)
	}
	return fmt.Sprintf("%d bytes", info.Size)
}

func arenaOf(info shmchan.Info) string {
	if info.Arena == 0 {
		return "none"
	}
	return fmt.Sprintf("%s (%d bytes), %d of them used", byteCount(info.Arena), info.Arena, info.ArenaUsed)
}

func checksumOf(info shmchan.Info) string {
	if info.Checksum {
		return "CRC-32C"
	}
	return "none"
}
