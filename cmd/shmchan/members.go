package main

// The processes that the demo starts: senders and receivers, each this program with
// a hidden command. They get the shared file as descriptor 3.
//
// Invariant: a member ends when its standard input does, which is when the process
// that started it is gone, however that ended; then it also removes the channel.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
)

// member is what a sender or a receiver is told.
type member struct {
	channel string
	number  int
	stopAt  uint64 // the first number to stop at, in the middle, so as to be killed there; 0: none
	where   *where
	shared  *sharedFile
}

func newDemoSender(w *where) *cobra.Command {
	return newMember(w, "demo-sender", (*member).send)
}

func newDemoReceiver(w *where) *cobra.Command {
	return newMember(w, "demo-receiver", (*member).receive)
}

func newMember(w *where, use string, work func(*member, context.Context) error) *cobra.Command {
	m := &member{where: w}
	cmd := &cobra.Command{
		Use:    use,
		Hidden: true,
		Short:  "One of the processes of shmchan demo",
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := m.run(work); err != nil {
				return fail(err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.channel, "channel", "", "the channel's name")
	f.IntVar(&m.number, "number", 0, "which sender or receiver it is")
	f.Uint64Var(&m.stopAt, "stop-at", 0, "stop in the middle of this value")
	return cmd
}

func (m *member) run(work func(*member, context.Context) error) (err error) {
	// A terminal sends these to all; what to do about them the demo decides.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if m.number < 0 || m.number >= maxProcesses {
		return fmt.Errorf("shmchan: there is no demo process %d; start shmchan demo", m.number)
	}
	if m.shared, err = openSharedFile(os.NewFile(3, "shared file")); err != nil {
		return err
	}
	defer m.shared.close()
	parent := os.Getppid()
	ctx, gone := context.WithCancel(context.Background())
	defer gone()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		gone()
	}()
	err = work(m, ctx)
	if ctx.Err() == nil {
		return err
	}
	// The pipe may end a moment before the parent has let go of the channel, and what a
	// live process holds is not swept away. Once it is quite gone we have another parent.
	for n := 0; os.Getppid() == parent && n < 60_000; n++ {
		time.Sleep(time.Millisecond)
	}
	if err := shmchan.Remove(m.channel, m.where.options()...); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.New("shmchan: the demo that started this process is gone")
}

func (m *member) options() []shmchan.Option {
	return append(m.where.options(), shmchan.WithAttach())
}

// send sends the quota.
func (m *member) send(ctx context.Context) error {
	ch, err := shmchan.OpenSender[trade](m.channel, m.options()...)
	if err != nil {
		return err
	}
	defer func() { _ = ch.Detach() }()
	me := &m.shared.head.senders[m.number]
	me.firstAt.Store(now())
	quota, from, rows := me.quota.Load(), me.firstRow.Load(), m.shared.rows
	for seq := uint64(1); seq <= quota; seq++ {
		n := (from + seq - 1) % uint64(len(rows))
		r := &rows[n]
		t := trade{
			Seq: seq, SentAt: now(), Price: r.Price, Quantity: r.Quantity,
			Sender: uint32(m.number), Side: r.Side, Symbol: r.Symbol, Row: n,
		}
		t.Sum = t.sum()
		me.attempted.Store(seq)
		if seq == m.stopAt {
			return m.stopHalfWritten(ctx, ch, &t)
		}
		if err := ch.SendContext(ctx, t); err != nil {
			return err
		}
		me.acked.Store(seq)
	}
	return nil
}

// stopHalfWritten writes half a value into the channel's memory and waits there to be killed.
func (m *member) stopHalfWritten(ctx context.Context, ch *shmchan.Sender[trade], t *trade) error {
	return ch.SendFunc(ctx, func(slot *trade) error {
		slot.Seq, slot.SentAt, slot.Price, slot.Sender = t.Seq, t.SentAt, t.Price, t.Sender
		m.shared.head.senders[m.number].stopped.Store(t.Seq)
		<-ctx.Done()
		return ctx.Err()
	})
}

// receive receives until the channel is closed and drained.
func (m *member) receive(ctx context.Context) error {
	ch, err := shmchan.OpenReceiver[trade](m.channel, m.options()...)
	if err != nil {
		return err
	}
	defer func() { _ = ch.Detach() }()
	r := recorder{shared: m.shared, number: m.number}
	use := func(slot *trade) error {
		t := *slot
		if m.stopAt != 0 && t.Seq >= m.stopAt {
			me := &m.shared.head.receivers[m.number]
			me.heldSender.Store(uint64(t.Sender))
			me.stopped.Store(t.Seq)
			<-ctx.Done()
			return ctx.Err()
		}
		r.record(&t, now())
		return nil
	}
	for {
		if err := ch.RecvFunc(ctx, use); errors.Is(err, shmchan.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// recorder notes what one receiver receives.
type recorder struct {
	shared *sharedFile
	number int
	last   [maxProcesses]uint64 // the highest number from each sender
}

func (r *recorder) record(t *trade, at int64) {
	me := &r.shared.head.receivers[r.number]
	word := r.shared.word(t.Sender, t.Seq)
	if word == nil || t.Sum != t.sum() {
		me.torn.Add(1)
		return
	}
	mark(word, r.number, at-t.SentAt)
	if t.Seq <= r.last[t.Sender] {
		me.late.Add(1)
	} else {
		r.last[t.Sender] = t.Seq
	}
	me.lastAt.Store(at)
	me.received.Add(1)
}
