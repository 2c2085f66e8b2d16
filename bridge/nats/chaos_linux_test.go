package nats

// Everything is killed and cut at random, between two network namespaces: nothing is lost, and what is doubled is counted.

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

var chaosTime = flag.Duration("chaos", 15*time.Second, "how long TestChaos kills and cuts")

// TestMain is also each of the processes: the server and the two ends.
func TestMain(m *testing.M) {
	role, url, dir := os.Getenv("BRIDGE_ROLE"), os.Getenv("BRIDGE_URL"), os.Getenv("BRIDGE_DIR")
	if role == "" {
		os.Exit(m.Run())
	}
	if err := part(role, url, dir); err != nil {
		fmt.Fprintln(os.Stderr, role, err)
		os.Exit(1)
	}
}

func part(role, url, dir string) error {
	ctx := context.Background()
	if role == "server" {
		_, err := Serve(url, dir)
		if err == nil {
			select {}
		}
		return err
	}
	c := Config{Window: 64, Limit: 5000, Timeout: time.Second}
	ping := time.Second
	if os.Getenv("BRIDGE_PATIENT") != "" {
		c.Timeout, ping = time.Hour, time.Hour
	}
	nc, err := nats.Connect("nats://"+url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.PingInterval(ping), nats.MaxPingsOutstanding(2), nats.Timeout(c.Timeout))
	if err != nil {
		return err
	}
	name := "chaos"
	if s := os.Getenv("BRIDGE_NAME"); s != "" {
		name = s
	}
	if n, err := strconv.Atoi(os.Getenv("BRIDGE_WINDOW")); err == nil && n > 0 {
		c.Window, c.Limit = n, 0
	}
	if c.Duplicates, err = time.ParseDuration(os.Getenv("BRIDGE_DUPLICATES")); err != nil {
		return err
	}
	if role == "send" {
		from, err := shmchan.OpenRawReceiver(name, shmchan.WithDir(dir), shmchan.WithHold(), shmchan.WithWait(shmchan.Park))
		if err != nil {
			return err
		}
		_, err = Send(ctx, nc, from, c)
		return err
	}
	_, err = Recv(ctx, nc, name, c, shmchan.WithDir(dir))
	return err
}

type member struct {
	t         *testing.T
	role, dir string
	url, ns   string
	cmd       *exec.Cmd

	duplicates time.Duration // if not the default
	name       string        // of the channel, if not chaos
	window     int           // if not that of chaos
	patient    bool          // it does not hold what is late for lost
}

func (m *member) start() {
	args := []string{os.Args[0]}
	if m.ns != "" {
		args = append([]string{"ip", "netns", "exec", m.ns}, args...)
	}
	m.cmd = exec.Command(args[0], args[1:]...)
	m.cmd.Env = append(os.Environ(), "BRIDGE_ROLE="+m.role, "BRIDGE_URL="+m.url, "BRIDGE_DIR="+m.dir, "BRIDGE_DUPLICATES="+m.duplicates.String(), "BRIDGE_NAME="+m.name, "BRIDGE_WINDOW="+strconv.Itoa(m.window))
	if m.patient {
		m.cmd.Env = append(m.cmd.Env, "BRIDGE_PATIENT=1")
	}
	m.cmd.Stderr = os.Stderr
	require.NoError(m.t, m.cmd.Start())
}

func (m *member) kill() {
	_ = m.cmd.Process.Kill() // It may have ended.
	_ = m.cmd.Wait()
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func TestChaos(t *testing.T) {
	a, b := fmt.Sprintf("shma%d", os.Getpid()), fmt.Sprintf("shmb%d", os.Getpid())
	for _, ns := range []string{a, b} {
		if err := ip("netns", "add", ns); err != nil {
			t.Skipf("network namespaces are not to be had here: %v", err)
		}
		t.Cleanup(func() { _ = ip("netns", "del", ns) })
	}
	if err := ip("link", "add", "v0", "netns", a, "type", "veth", "peer", "name", "v0", "netns", b); err != nil {
		t.Skipf("a link between network namespaces is not to be had here: %v", err)
	}
	for ns, addr := range map[string]string{a: "10.99.0.1/24", b: "10.99.0.2/24"} {
		require.NoError(t, ip("-n", ns, "addr", "add", addr, "dev", "v0"))
		require.NoError(t, ip("-n", ns, "link", "set", "v0", "up"))
		require.NoError(t, ip("-n", ns, "link", "set", "lo", "up"))
	}
	const url = "10.99.0.2:4222"
	here, there := t.TempDir(), t.TempDir()
	out, err := shmchan.OpenSender[tick]("chaos", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[tick]("chaos", shmchan.WithDir(there))
	require.NoError(t, err)
	members := map[string]*member{
		"server": {t: t, role: "server", dir: t.TempDir(), url: url, ns: b},
		"send":   {t: t, role: "send", dir: here, url: url, ns: a},
		"recv":   {t: t, role: "recv", dir: there, url: url, ns: b},
	}
	for _, m := range members {
		m.start()
		defer m.kill()
	}
	stop := time.After(*chaosTime)
	total := make(chan uint64, 1)
	halt := make(chan struct{})
	go func() {
		n := uint64(0)
		for {
			select {
			case <-halt:
				total <- n
				_ = out.Close()
				return
			default:
				if out.Send(tick{Seq: n}) != nil {
					return
				}
				n++
			}
		}
	}()
	type tally struct {
		seen    []byte
		doubled uint64
		late    uint64 // below one that came before, other than a double
	}
	received := make(chan tally, 1)
	go func() {
		var y tally
		top := uint64(0)
		for v := range in.All() {
			for uint64(len(y.seen)) <= v.Seq {
				y.seen = append(y.seen, make([]byte, 1<<16)...)
			}
			if y.seen[v.Seq]++; y.seen[v.Seq] > 1 {
				y.doubled++
			} else if v.Seq < top {
				y.late++
			}
			top = max(top, v.Seq)
		}
		received <- y
	}()
	events := map[string]int{}
	for on := true; on; {
		select {
		case <-stop:
			on = false
			continue
		case <-time.After(time.Duration(500+rand.IntN(1500)) * time.Millisecond):
		}
		switch what := []string{"send", "recv", "server", "link"}[rand.IntN(4)]; what {
		case "link":
			require.NoError(t, ip("-n", a, "link", "set", "v0", "down"))
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond) // How long it is cut.
			require.NoError(t, ip("-n", a, "link", "set", "v0", "up"))
			events[what]++
		default:
			members[what].kill()
			members[what].start()
			events[what]++
		}
	}
	close(halt)
	var y tally
	n := uint64(0)
	for got := false; !got; { // The last of them may be killed no more.
		select {
		case n = <-total:
		case y = <-received:
			got = true
		case <-time.After(patience):
			require.Fail(t, "not all arrived", "sent %d, %+v, here %d, there %d", n, events, out.Len(), in.Len())
		}
	}
	if n == 0 {
		n = <-total
	}
	lost := uint64(0)
	for i := range n {
		if i >= uint64(len(y.seen)) || y.seen[i] == 0 {
			lost++
		}
	}
	t.Logf("sent %d, lost %d, doubled %d, out of order %d; killed and cut: %+v", n, lost, y.doubled, y.late, events)
	require.Zero(t, lost)
	require.Zero(t, y.late)
	require.LessOrEqual(t, y.doubled, uint64(64*(events["recv"]+events["server"]+events["link"]+1)), strconv.Itoa(64)+" for each time that the receiving end began anew")
	require.NoError(t, in.Err())
	require.NoError(t, out.Detach())
	require.NoError(t, in.Detach())
}
