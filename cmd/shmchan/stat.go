package main

// shmchan stat: all that can be known of a channel from outside.
//
// Invariant: nothing here attaches to the channel or changes it.

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

func newStat(w *where) *cobra.Command {
	return &cobra.Command{
		Use:   "stat NAME",
		Short: "Show a channel, who holds it, and what its values look like",
		Args:  exactlyOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := shmchan.Inspect(args[0], w.options()...)
			if err != nil {
				return fail(err)
			}
			return show(cmd.OutOrStdout(), info)
		},
	}
}

func exactlyOneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one channel, not %d", len(args))
	}
	return nil
}

func show(out io.Writer, info shmchan.Info) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range [][2]any{
		{"name", plain(info.Name)},
		{"path", plain(info.Path)},
		{"state", stateOf(info, nil)},
		{"made", fmt.Sprintf("%s by pid %d", moment(info.Created), info.PID)},
		{"file", fmt.Sprintf("%s (%d bytes), mode %v", byteCount(info.Bytes), info.Bytes, info.Mode)},
		{"type", fmt.Sprintf("%s, %s", typeOf(info), sizeOf(info))},
		{"capacity", capacityOf(info)},
		{"senders", roleOf(info.Senders, info.SingleSender)},
		{"receivers", roleOf(info.Receivers, info.SingleReceiver)},
		{"checksum", checksumOf(info)},
		{"huge pages", hugePagesOf(info)},
		{"arena", arenaOf(info)},
		{"waiting", info.Waiting},
		{"in channel", info.Len},
		{"sent", info.Sent},
		{"received", info.Received},
		{"redelivered", fmt.Sprintf("%d (given back, or left by a receiver that died)", info.Redelivered)},
		{"abandoned", fmt.Sprintf("%d (places given up, or left by a sender that died)", info.Abandoned)},
		{"recovered", fmt.Sprintf("%d (handles that died and were cleared away)", info.Recovered)},
	} {
		fmt.Fprintf(t, "%v\t%v\n", f[0], f[1])
	}
	fmt.Fprintf(t, "\nPID\tROLES\tALIVE\tWAITING\tSINCE\n")
	for _, p := range info.Peers {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", p.PID, rolesOf(p), yesNo(p.Alive), yesNo(p.Waiting), moment(p.Since))
	}
	if len(info.Peers) == 0 {
		fmt.Fprintln(t, "nobody holds it")
	}
	fmt.Fprintf(t, "\nFIELD\tKIND\tOFFSET\tSIZE\tALIGN\n")
	for line := range strings.Lines(info.Layout) {
		fields := strings.Fields(line)
		for i := range fields {
			fields[i] = plain(fields[i])
		}
		if len(fields) > 0 && fields[0] == "." {
			fields[0] = "(the value)"
		}
		fmt.Fprintln(t, strings.Join(fields, "\t"))
	}
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
