package main

// The command in a real terminal, tmux's: stat --watch, and completion in the shells that have it.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// patience is when something is held not to come. It takes a second, or some on a machine that has much to do.
const patience = 5 * time.Minute

// pane is a terminal of 80 by 24.
type pane struct {
	t            *testing.T
	tmux, socket string
}

// newPane starts a shell in a terminal. The command's name there is shmchan.
func newPane(t *testing.T, env []string, shell ...string) *pane {
	t.Helper()
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("there is no tmux, whose terminal this needs")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "shmchan")))
	p := &pane{t, tmux, filepath.Join(dir, "tmux")}
	// Started by env, for tmux starts a single word by a login shell, which may set another PATH.
	p.do(slices.Concat([]string{"new-session", "-d", "-x", "80", "-y", "24", "env", programEnv + "=1", "PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir}, env, shell)...)
	t.Cleanup(func() { _ = exec.Command(tmux, "-S", p.socket, "kill-server").Run() })
	return p
}

func (p *pane) do(args ...string) string {
	p.t.Helper()
	out, err := exec.Command(p.tmux, append([]string{"-S", p.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	require.NoError(p.t, err, "%v: %s", args, out)
	return string(out)
}

// types types text, and then the keys of those names.
func (p *pane) types(text string, keys ...string) {
	p.t.Helper()
	p.do("send-keys", "-l", text)
	for _, k := range keys {
		p.do("send-keys", k)
	}
}

// shows waits until all that stands on the screen.
func (p *pane) shows(what ...string) (screen string) {
	p.t.Helper()
	for began := time.Now(); ; runtime.Gosched() {
		screen = p.do("capture-pane", "-p")
		if !slices.ContainsFunc(what, func(s string) bool { return !strings.Contains(screen, s) }) {
			return screen
		}
		require.Less(p.t, time.Since(began), patience, "%v in\n%s", what, screen)
	}
}

var prompt = regexp.MustCompile(`(?m)[#$%>] ?$`)

// prompts waits until the shell does.
func (p *pane) prompts() {
	p.t.Helper()
	for began := time.Now(); ; runtime.Gosched() {
		screen := p.do("capture-pane", "-p")
		if prompt.MatchString(screen) {
			return
		}
		require.Less(p.t, time.Since(began), patience, screen)
	}
}

const bashCompletion = "/usr/share/bash-completion/bash_completion"

// Each shell completes the name of a channel when the user presses tab, as that is typed.
func TestShellsComplete(t *testing.T) {
	for _, shell := range []struct {
		name  string
		start []string
		setUp string
	}{
		{"bash", []string{"bash", "--norc", "--noprofile"}, "source " + bashCompletion + "; source <(shmchan completion bash); PS1='rea''dy> '"},
		{"zsh", []string{"zsh", "-f"}, "autoload -U compinit; compinit -D; source <(shmchan completion zsh); PS1='rea''dy> '"},
		// What fish suggests unasked would look as if the key had done it.
		{"fish", []string{"fish", "--no-config"}, "set -g fish_autosuggestion_enabled 0; shmchan completion fish | source; function fish_prompt; echo 'rea''dy> '; end"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := exec.LookPath(shell.name); err != nil {
				t.Skipf("there is no %s here", shell.name)
			}
			if _, err := os.Stat(bashCompletion); err != nil && shell.name == "bash" {
				t.Skip("there is no bash-completion here, which this needs")
			}
			dir := t.TempDir()
			for _, name := range []string{"trades", "quotes", "a b"} {
				open(t, dir, name)
			}
			p := newPane(t, []string{shmchan.EnvDir + "=" + dir}, shell.start...)
			p.prompts()
			p.types(shell.setUp, "Enter")
			p.shows("ready>") // Only then it reads keys itself: before, some of what is typed is the terminal's to understand.
			for typed, completed := range map[string]string{
				"shmchan tail tr": "shmchan tail trades", "shmchan rm quotes tr": "shmchan rm quotes trades", "shmchan vers": "shmchan version",
				"shmchan recv --format c": "shmchan recv --format csv", "shmchan schema a": `shmchan schema a\ b`,
			} {
				p.types(typed, "Tab")
				p.shows(completed)
				p.do("send-keys", "C-u")
			}
		})
	}
}

// On a terminal of 24 lines stat --watch shows what changes, in place, and who is attached.
func TestStatWatchesInATerminal(t *testing.T) {
	dir := t.TempDir()
	ch := open(t, dir, "trades")
	p := newPane(t, nil, "sh")
	p.types(fmt.Sprintf("shmchan stat --dir '%s' trades --watch --every 50ms; echo ended $?", dir), "Enter")
	screen := p.shows("trades", "open", "3 of 10", "recv blocked", "COMMAND", fmt.Sprintf("\n%d ", os.Getpid()))
	require.NotContains(t, screen, "more than the terminal has room for")
	for range 4 {
		require.NoError(t, ch.Send(trade{}))
	}
	screen = p.shows("7 of 10")
	require.Equal(t, 1, strings.Count(screen, "in channel"), "in place:\n%s", screen)
	for line := range strings.Lines(screen) {
		require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80)
	}
	p.do("resize-window", "-x", "60", "-y", "8")
	p.shows("more than the terminal has room for")
	p.do("send-keys", "C-c")
	p.shows("ended 0")
}

// Who types at send, and sees that it was wrong, ends it with ^C.
func TestSendInATerminal(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "trades")
	p := newPane(t, nil, "sh")
	p.types(fmt.Sprintf("shmchan send --dir '%s' trades; echo ended $?", dir), "Enter")
	for senders := 1; senders < 2; { // The test's handle is one.
		info, err := shmchan.Inspect("trades", shmchan.WithDir(dir))
		require.NoError(t, err)
		senders = info.Senders
	}
	p.types("{", "C-c")
	p.shows("interrupted; 0 values were sent", "ended 1")
}
