package main

// The scenario original: its slots, its goals, and that the peers in Python look at what they
// receive. That the tuned ones are the best that Python can do is not shown; the scenario
// tuning says what each piece of it brings.

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/bench/internal/contract"
)

// A ring of a given capacity in values of the scenario takes 128 bytes for each.
func TestSlotsOfTheOriginal(t *testing.T) {
	bytes := func(capacity int) int64 {
		dir := shmchan.WithDir(t.TempDir())
		c, err := shmchan.Open[[originalSize / 8]uint64]("ring", dir, shmchan.WithCapacity(capacity))
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Detach()) }()
		info, err := shmchan.Inspect("ring", dir)
		require.NoError(t, err)
		return info.Bytes
	}
	assert.EqualValues(t, 1<<20, bytes(2*originalCap)-bytes(originalCap))
	for _, w := range originalRows() {
		assert.Equal(t, originalSize, w.Size, w.Name)
		assert.Equal(t, originalCap, w.Cap, w.Name)
	}
}

func TestGoals(t *testing.T) {
	rate := row{Name: "rate", Kind: contract.OneWay}
	wait := row{Name: "wait", Kind: contract.PingPong, Wait: own}
	m := func(w row, peer string, round int, at placement, figure float64) measurement {
		return measurement{Row: w.Name, Peer: peer, Round: round, Placement: at, PerSecond: figure, P50: figure}
	}
	r := &report{
		Rows: []row{rate, wait},
		All: []measurement{
			m(rate, "us", 1, near, 800), m(rate, "them", 1, near, 10), // 80, 100 and 120 times
			m(rate, "us", 2, near, 500), m(rate, "them", 2, near, 5),
			m(rate, "us", 3, near, 1200), m(rate, "them", 3, near, 10),
			m(rate, "us", 4, far, 99), m(rate, "them", 4, far, 1),
			m(rate, "us", 5, near, 9), m(rate, "them", 5, far, 1), // not to be compared
			m(rate, "us", 6, unsteady, 9), m(rate, "them", 6, unsteady, 1),
			{Row: "rate", Peer: "them", Round: 7, Error: "it died"},
			m(wait, "us", 1, near, 2), m(wait, "them", 1, near, 500),
		},
		scenario: scenario{goals: []goal{
			{Text: "faster", Row: "rate", Peers: []string{"us", "nobody"}, Against: "them", Want: 100},
			{Text: "sooner", Row: "wait", Peers: []string{"us"}, Against: "them", Want: 200},
			{Text: "sooner still", Row: "wait", Peers: []string{"us"}, Against: "them", Want: 251},
			{Text: "elsewhere", Row: "a row that was not chosen", Peers: []string{"us"}, Against: "them", Want: 1},
		}},
	}
	r.Goals = r.reach()
	type short struct {
		text string
		at   placement
		got  float64
		n    int
		met  bool
	}
	var got []short
	for _, g := range r.Goals {
		assert.Equal(t, "us", g.Peer)
		got = append(got, short{g.Text, g.Placement, g.Got, g.Rounds, g.Met})
	}
	assert.Equal(t, []short{
		{"faster", near, 100, 3, true}, {"faster", far, 99, 1, false},
		{"sooner", near, 250, 1, true}, {"sooner still", near, 250, 1, false},
	}, got)
	cells := r.goalCells()
	require.Len(t, cells, 5)
	assert.Equal(t, []string{"faster", "them", "100 times", "us", "near", "100", "80 to 120", "3", "met"}, cells[1])
	assert.Equal(t, "missed", cells[2][8])
}

func TestChosenScenarios(t *testing.T) {
	names := func(args ...string) (names []string, err error) {
		f, err := parse(args)
		if err != nil {
			return nil, err
		}
		all, err := f.chosenScenarios()
		for _, c := range all {
			names = append(names, c.name)
			for _, r := range c.rows {
				assert.True(t, r.quick || !f.quick, "%s is not quick", r.Name)
			}
		}
		return names, err
	}
	for want, args := range map[string][]string{
		"peers":                 nil,
		"original":              {"-scenario", "original"},
		"peers original tuning": {"-quick"},
		"tuning":                {"-quick", "-rows", "^tuning/"},
	} {
		got, err := names(args...)
		require.NoError(t, err)
		assert.Equal(t, want, strings.Join(got, " "))
	}
	_, err := names("-scenario", "another")
	require.ErrorContains(t, err, `no scenario "another"`)
	_, err = names("-scenario", "original", "-rows", "^oneway/")
	require.ErrorContains(t, err, "no peer has such a row")
}

// python starts a peer of peers/python that receives, and connects to it.
func python(t *testing.T, p *peer, r row, count uint64) (*exec.Cmd, net.Conn, *bufio.Reader) {
	t.Helper()
	dir := t.TempDir()
	command, err := p.program.build(t.Context(), &builder{src: "."})
	require.NoError(t, err)
	part := r.parts(p, []int{0, 0}, count, 1, 0)[0]
	require.Equal(t, contract.Recv, part.args.Role)
	part.args.Dir = dir
	cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], part.args.List()...)...)
	cmd.Stdin = strings.NewReader("go\n")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })

	path := filepath.Join(dir, "socket")
	c := contract.Retry(func() (net.Conn, error) {
		if !strings.HasPrefix(p.Mode, "tcp") {
			return net.Dial("unix", path)
		}
		port, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		return net.Dial("tcp", "127.0.0.1:"+string(port))
	})
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	return cmd, c, bufio.NewReader(out)
}

// Each tuned peer in Python, in each way to receive, takes the values that should come, however they
// are cut, and says which one was wrong.
func TestPythonLooksAtWhatItReceives(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	const count = 256
	for _, s := range []scenario{original(), tuning()} {
		for _, p := range s.peers() {
			if p.program.name != "tuned" || s.name == "tuning" && p.Mode != "tcp" && p.Mode != "unix,single" {
				continue
			}
			for _, r := range s.rows() {
				if !p.can(r) || !r.quick {
					continue
				}
				for _, how := range []string{"right", "a number", "a last word"} {
					t.Run(r.Name+"/"+p.Name+"/"+how, func(t *testing.T) {
						t.Parallel()
						cmd, c, out := python(t, p, r, count)
						go talk(c, r, count, how)
						line, err := out.ReadString('\n')
						require.NoError(t, err)
						require.Equal(t, "ready\n", line)
						var result contract.Result
						require.NoError(t, json.NewDecoder(out).Decode(&result))
						if how == "right" {
							assert.Empty(t, result.Wrong)
							assert.EqualValues(t, count, result.Count)
							require.NoError(t, cmd.Wait())
							return
						}
						assert.Contains(t, result.Wrong, "where 0xc8 was next")
					})
				}
			}
		}
	}
}

// read waits until the other side of a Unix stream has read all. TCP does not tell.
func read(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	for left := 1; left > 0 && err == nil; runtime.Gosched() {
		ctl := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
		err = errors.Join(err, ctl)
	}
	return err
}

// talk sends values of which number 200 is wrong, in pieces that are no whole values; in there
// and back each when the last one has come back.
func talk(c net.Conn, r row, count int, how string) {
	all := make([]byte, count*r.Size)
	for i := range count {
		v := all[i*r.Size : (i+1)*r.Size]
		binary.LittleEndian.PutUint64(v, uint64(i))
		binary.LittleEndian.PutUint64(v[r.Size-8:], uint64(i))
		switch {
		case i == 200 && how == "a number":
			binary.LittleEndian.PutUint64(v, uint64(i+1))
			binary.LittleEndian.PutUint64(v[r.Size-8:], uint64(i+1))
		case i == 200 && how == "a last word":
			v[r.Size-8]++
		}
	}
	piece := 1000
	if r.Kind == contract.PingPong {
		piece = r.Size
	}
	back := make([]byte, r.Size)
	for len(all) > 0 {
		n := min(piece, len(all))
		if _, err := c.Write(all[:n]); err != nil {
			return // It has seen the wrong one, and is gone.
		}
		if err := read(c); err != nil {
			return
		}
		all = all[n:]
		if r.Kind == contract.PingPong {
			if _, err := c.Read(back); err != nil {
				return
			}
		}
	}
}
