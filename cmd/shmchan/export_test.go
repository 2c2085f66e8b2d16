package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// startExport starts the program as a user would, and says where it serves.
func startExport(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "export", "--dir", dir, "--listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var url string
	_, err = fmt.Sscanf(line, "serving %s\n", &url)
	require.NoError(t, err, line)
	return cmd, url
}

func get(t *testing.T, url string) (status int, text string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func TestExport(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := t.TempDir()
		cmd, url := startExport(t, dir)
		status, text := get(t, url)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, text, "shmchan_unreadable_channels 0\n")

		ch, err := shmchan.Open[int64]("orders", shmchan.WithDir(dir), shmchan.WithCapacity(4))
		require.NoError(t, err)
		require.NoError(t, ch.Send(1))
		path := filepath.Join(dir, "shmchan.orders")
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, text = get(t, url)
		require.Contains(t, text, `shmchan_sent_total{channel="orders"} 1`)
		require.Contains(t, text, `shmchan_handles{channel="orders",side="send"} 1`)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after)

		require.NoError(t, os.WriteFile(filepath.Join(dir, "shmchan.junk"), nil, 0o600))
		require.NoError(t, ch.Detach())
		require.NoError(t, shmchan.Remove("orders", shmchan.WithDir(dir)))
		status, text = get(t, url)
		require.Equal(t, http.StatusOK, status)
		require.NotContains(t, text, "orders")
		require.Contains(t, text, "shmchan_unreadable_channels 1\n")

		_, text = get(t, strings.TrimSuffix(url, "metrics"))
		require.Contains(t, text, "/metrics")
		status, _ = get(t, url+"/no")
		require.Equal(t, http.StatusNotFound, status)
		resp, err := http.Post(url, "text/plain", nil)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)

		require.NoError(t, cmd.Process.Signal(sig))
		require.NoError(t, cmd.Wait(), "it ends with 0")
	}
}

func TestExportSaysWhyItCannot(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	for _, addr := range []string{"nonsense", "127.0.0.1", "127.0.0.1:99999", taken.Addr().String(), "192.0.2.1:0"} {
		status, stdout, stderr := shmchanRun("export", "--dir", dir, "--listen", addr)
		require.Equal(t, 1, status, addr)
		require.Empty(t, stdout)
		require.Contains(t, stderr, fmt.Sprintf("cannot listen at %q", addr))
		require.Contains(t, stderr, "--listen")
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	status, _, stderr := shmchanRun("export", "--dir", filepath.Join(dir, "none"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "cannot list channels")
	status, _, _ = shmchanRun("export", "more")
	require.Equal(t, 2, status)
}
