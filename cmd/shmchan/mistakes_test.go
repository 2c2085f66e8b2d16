package main

// Mistakes that a user makes, each with what the command says about it: what is wrong, what to do, and nothing changed.

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// mistaken is a directory with channels of each kind, and files that are none.
func mistaken(t *testing.T) string {
	dir := t.TempDir()
	someChannels(t, dir)
	type tick struct {
		Sym [2]uint8
		Qty int64
	}
	ch, err := shmchan.Open[tick]("trades", shmchan.WithDir(dir), shmchan.WithCapacity(2))
	require.NoError(t, err)
	require.NoError(t, ch.Detach())
	b, err := os.ReadFile(filepath.Join(dir, "shmchan.ticks"))
	require.NoError(t, err)
	newer := append([]byte(nil), b...)
	binary.NativeEndian.PutUint32(newer[12:], layoutVersion+1)
	for name, text := range map[string][]byte{"newer": newer, "short": b[:100], "cut": b[:len(b)-4096], "empty": nil} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan."+name), text, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "shmchan.folder"), 0o700))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "shmchan.pipe"), 0o600))
	require.NoError(t, os.Symlink("shmchan.ticks", filepath.Join(dir, "shmchan.link")))
	return dir
}

// contents are all bytes of a directory's files.
func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text := e.Type().String()
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			text = string(b)
		}
		all[e.Name()] = text
	}
	return all
}

func TestMistakes(t *testing.T) {
	dir := mistaken(t)
	for _, c := range []struct {
		status int
		args   string // with words that have no blanks; {} is the directory
		in     string
		says   string
	}{
		{1, "stat tick", "", "check the name and --dir: shmchan ls shows which there are"},
		{1, "stat a/b", "", "a name has 1 to 200 bytes and no slash"},
		{1, "stat " + strings.Repeat("x", 201), "", "a name has 1 to 200 bytes and no slash"},
		{1, "stat newer", "", fmt.Sprintf("layout version is %d here, %d in the channel; use the same on both sides", layoutVersion, layoutVersion+1)},
		{1, "tail cut", "", "its header says"},
		{1, "recv short", "", "it does not begin like a channel"},
		{1, "schema empty", "", "it does not begin like a channel (0 bytes)"},
		{1, "stat folder", "", "is a directory and no channel"},
		{1, "recv folder", "", "a directory has its name: remove it, or choose another name"},
		{1, "recv pipe", "", "is a FIFO and no channel"},
		{1, "tail link", "", "its file is a symbolic link, which is not followed: remove it"},
		{1, "stat ticks --dir {}/none", "", "check the name and --dir"},
		{1, "stat ticks --dir {}/shmchan.ticks", "", "a part of that path is no directory: check --dir and $SHMCHAN_DIR"},
		{1, "rm ticks --dir {}/shmchan.ticks", "", "a part of that path is no directory: check --dir and $SHMCHAN_DIR"},
		{1, "ls --dir {}/shmchan.ticks", "", "not a directory; check --dir"},
		{1, "demo --values 10 --dir {}/none", "", "make the directory and let this user write there, or use another --dir"},
		{1, "demo --values 10 --capacity 100000000000", "", "use a smaller --capacity (at most"},
		{1, "demo --values 10 --input {}", "", "is a directory; give --input a CSV file"},
		{1, "send trades", "{}", "line 1: Sym is missing; 0 values were sent before it"},
		{1, "send trades", "[]", "an object should stand here"},
		{1, "send trades", `{"Sym":[1],"Qty":1}`, "Sym: the array has 1 elements and not 2"},
		{1, "send trades", `{"Sym":[1,256],"Qty":1}`, "Sym[1]: 256 is out of the range of a uint8"},
		{1, "send trades", `{"Sym":[1,2],"Qty":1,"More":1}`, `no field "More"`},
		{1, "send ticks", "-1", "is no uint64"},
		{1, "send ticks", "18446744073709551616", "out of the range"},
		{1, "send --raw ticks", "1", "--raw is for channels of bytes; leave it out"},
		{1, "send --raw bytes", "12345678901", "line 1: too large: a message of 11 bytes, and it takes at most 10; send it in parts, or have whoever makes the channel allow longer ones"},
		{1, "send bytes", "hello", "use --raw for lines of text"},
		{2, "sta ticks", "", `unknown command "sta" for "shmchan", did you mean stat; see shmchan --help`},
		{2, "stat --nme ticks", "", "unknown flag: --nme; see shmchan stat --help"},
		{2, "stat ticks --over -1s", "", "--over -1s: a time is 0 or more"},
		{2, "ls --over -1s", "", "--over -1s: a time is 0 or more"},
		{2, "recv ticks --timeout -1s", "", "--timeout -1s: a time is 0 or more"},
		{2, "stat ticks --every 2s", "", "--every goes with --watch"},
		{2, "stat ticks --watch --over 2s", "", "--over and --watch exclude each other"},
		{2, "recv ticks --json --format csv", "", "--json and --format csv exclude each other"},
		{2, "recv ticks --count -1", "", "--count -1: use a whole number, 0 or more"},
		{2, "recv ticks --timeout 5", "", "use a time, as 500ms, 2s or 1m"},
		{2, "schema ticks --go --json", "", "--go and --json exclude each other"},
		{2, "demo --machines 2 --capacity 3", "", "--capacity and --machines 2 exclude each other"},
		{2, "demo --machines 2 --input x", "", "--input and --machines 2 exclude each other"},
		{2, "bridge ticks --send --url nats://h:1 --store x", "", "--store is for the server that --listen runs"},
		{2, "bridge ticks --send --url nats://h:1 --core --memory", "", "--core and --memory exclude each other"},
		{2, "bridge ticks --send --url nats://h:1 --duplicates -1s", "", "--duplicates -1s: use a time above 0"},
	} {
		before := contents(t, dir)
		args := strings.Fields(strings.ReplaceAll(c.args, "{}", dir))
		if !strings.Contains(c.args, "--dir") {
			args = append(args, "--dir", dir)
		}
		if c.in != "" {
			c.in += "\n"
		}
		status, stdout, stderr := ownProcess(t, c.in, args...)
		require.Equal(t, c.status, status, "%s: %s", c.args, stderr)
		require.Contains(t, stderr, c.says, c.args)
		require.Equal(t, 1, strings.Count(stderr, "shmchan: "), stderr)
		require.NotRegexp(t, `With[A-Z]`, stderr, c.args)
		require.Empty(t, stdout, c.args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		after := contents(t, dir)
		for name := range after { // Who has attached and left has written who it was, nothing else.
			require.Contains(t, before, name, c.args)
			if !strings.HasPrefix(c.args, "send ") {
				require.True(t, before[name] == after[name], "%s changed %s", c.args, name)
			}
		}
		require.Len(t, after, len(before), c.args)
	}
	for name, n := range map[string]int{"ticks": 1, "trades": 0, "bytes": 0} {
		info, err := shmchan.Inspect(name, shmchan.WithDir(dir))
		require.NoError(t, err)
		require.Equal(t, n, info.Len, name)
	}
}

// Another user's channel, and directory.
func TestAnotherUsersChannel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := mistaken(t)
	program := os.Args[0]
	for p := filepath.Dir(dir); p != "/"; p = filepath.Dir(p) { // Else the test's own directories stand in the way.
		if st, err := os.Stat(p); err != nil || st.Mode()&0o001 == 0 {
			if p == os.TempDir() {
				t.Skipf("another user may not go to %s", p)
			}
			require.NoError(t, os.Chmod(p, 0o755))
		}
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	before := contents(t, dir)
	own := filepath.Join(t.TempDir(), "program") // Where the other user may start it.
	b, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(own, b, 0o755))
	for p := filepath.Dir(own); p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		require.NoError(t, os.Chmod(p, 0o755))
	}
	for _, c := range []struct {
		args, says string
	}{
		{"stat ticks", "permission denied; its owner must allow this user"},
		{"tail ticks", "permission denied; its owner must allow this user"},
		{"recv ticks", "permission denied; its owner must allow this user"},
		{"send ticks", "permission denied; its owner must allow this user"},
		{"schema ticks", "permission denied; its owner must allow this user"},
		{"rm ticks", "permission denied; its owner must allow this user"},
		{"demo --values 10", "permission denied; make the directory and let this user write there, or use another --dir"},
	} {
		cmd := command(t, append(strings.Fields(c.args), "--dir", dir)...)
		cmd.Path, cmd.Dir = own, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Stdin = strings.NewReader("1\n")
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s: %s", c.args, &errs)
		require.Empty(t, out.String())
		require.Contains(t, errs.String(), c.says)
		require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
	}
	require.Equal(t, before, contents(t, dir))
}
