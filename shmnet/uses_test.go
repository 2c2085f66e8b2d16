package shmnet

// What people put on top of connections: HTTP with all that it does to a connection, proxies, copies both ways; and many connections at once.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clientOf is a client whose connections end before the test does, those that it dials and has no use for any more too.
func clientOf(t *testing.T, name, dir string) *http.Client {
	var dials sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			defer dials.Done()
			return DialContext(ctx, name, in(dir))
		},
	}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		dials.Wait()
	})
	return client
}

// A request that is cancelled ends at both ends, a connection is kept and used again, a large body goes both ways, and Shutdown waits for
// who is answered and leaves nothing.
func TestHTTPServer(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir)
	var kept, reused, fresh int // connections that the client could keep, used again, and made
	trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused {
				reused++
			} else {
				fresh++
			}
		},
		PutIdleConn: func(err error) {
			if err == nil {
				kept++
			}
		},
	})
	hanging, hung := make(chan struct{}), make(chan error, 1)
	slow := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		close(hanging)
		<-r.Context().Done()
		hung <- context.Cause(r.Context())
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		slow <- struct{}{}
		<-slow
		_, _ = io.WriteString(w, "at last")
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, err := io.Copy(h, r.Body)
		assert.NoError(t, err)
		_, _ = w.Write(h.Sum(nil))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, 32<<20) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client := clientOf(t, "test", dir)

	body := bytes.Repeat([]byte("0123456789abcde"), 1<<20)
	do := func(method, path string, body []byte) *http.Response {
		req, err := http.NewRequestWithContext(trace, method, "http://x"+path, bytes.NewReader(body))
		require.NoError(t, err)
		r, err := client.Do(req)
		require.NoError(t, err)
		return r
	}
	for i := 0; i < 3 || kept == 0; i++ { // It keeps none on which it is not known within 50 ms that all is written.
		r := do(http.MethodPost, "/sum", body)
		got, err := io.ReadAll(r.Body)
		require.NoError(t, errors.Join(err, r.Body.Close()))
		sum := sha256.Sum256(body)
		require.Equal(t, sum[:], got)
		r = do(http.MethodGet, "/large", nil)
		n, err := io.Copy(io.Discard, r.Body)
		require.NoError(t, errors.Join(err, r.Body.Close()))
		require.EqualValues(t, 32<<20, n)
	}
	before := kept
	r := do(http.MethodGet, "/none", nil)
	require.NoError(t, r.Body.Close())
	require.Equal(t, before, reused, "one that was kept is used again")
	require.Positive(t, fresh)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-hanging; cancel() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/hang", nil)
	require.NoError(t, err)
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-hung, context.Canceled)

	answer := make(chan string, 1)
	go func() {
		r, err := client.Get("http://x/slow")
		if !assert.NoError(t, err) {
			answer <- ""
			return
		}
		got, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		answer <- string(got)
	}()
	<-slow
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	slow <- struct{}{}
	require.Equal(t, "at last", <-answer)
	require.NoError(t, <-down)
	_, err = client.Get("http://x/sum")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	client.CloseIdleConnections()
	emptyAtLast(t, dir)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A proxy whose backend is on shared memory, with an upgrade to another protocol, which copies both ways, through it.
func TestReverseProxy(t *testing.T) {
	dir := t.TempDir()
	back := listen(t, dir)
	front, err := Listen("front", in(dir))
	require.NoError(t, err)
	backend := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			body, _ := io.ReadAll(r.Body) // As in TestHTTP.
			_, _ = w.Write(body)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "back"})
	inner := clientOf(t, "test", dir)
	proxy.Transport = inner.Transport
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the server closes the request's body with the first byte of the answer, and the proxy's transport, which may just be looking whether
		// there is more of that body, gives its connection up in the middle of the answer. Over TCP they do so too.
		assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = backend.Serve(back) }()
	go func() { _ = server.Serve(front) }()
	client := clientOf(t, "front", dir)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 20 {
				body := strings.Repeat(fmt.Sprint(i, k, ";"), 3000*k+1)
				r, err := client.Post("http://x/", "text/plain", strings.NewReader(body))
				if !assert.NoError(t, err) {
					return
				}
				got, err := io.ReadAll(r.Body)
				assert.NoError(t, errors.Join(err, r.Body.Close()))
				assert.True(t, body == string(got))
			}
		})
	}
	wg.Wait()

	c, err := Dial("front", in(dir))
	require.NoError(t, err)
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(t, err)
	b := make([]byte, 12)
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 101", string(b))
	_, err = io.WriteString(c, "there and back")
	require.NoError(t, err)
	var all []byte
	for !bytes.HasSuffix(all, []byte("there and back")) {
		n, err := c.Read(b)
		require.NoError(t, err)
		all = append(all, b[:n]...)
	}
	require.NoError(t, c.Close())
	client.CloseIdleConnections()
	require.NoError(t, server.Shutdown(t.Context()))
	inner.CloseIdleConnections()
	require.NoError(t, backend.Shutdown(t.Context()))
	emptyAtLast(t, dir)
}

// Two streams at once, in opposite directions, of more than the connection holds, each with its end before the other's.
func TestCopyBothWays(t *testing.T) {
	c1, c2, l := pipe(t, t.TempDir())
	defer func() { _ = l.Close() }()
	const n = 8 << 20
	var wg sync.WaitGroup
	for _, c := range []*Conn{c1.(*Conn), c2.(*Conn)} {
		wg.Go(func() {
			_, err := io.CopyN(c, zeros{}, n)
			assert.NoError(t, err)
			assert.NoError(t, c.CloseWrite())
		})
		wg.Go(func() {
			got, err := io.Copy(io.Discard, c)
			assert.NoError(t, err)
			assert.EqualValues(t, n, got)
		})
	}
	wg.Wait()
	require.NoError(t, c1.Close())
	require.NoError(t, c2.Close())
}

// A deadline is put off, brought forward and taken away under a call that waits, by another goroutine.
func TestDeadlineUnderCall(t *testing.T) {
	c1, c2, l := pipe(t, t.TempDir())
	defer func() { _ = l.Close() }()
	defer func() { _ = c2.Close() }()
	defer func() { _ = c1.Close() }()
	for i := range 50 {
		require.NoError(t, c1.SetReadDeadline(time.Now().Add(time.Hour)))
		got := make(chan error)
		go func() {
			_, err := c1.Read(make([]byte, 1))
			got <- err
		}()
		require.NoError(t, c1.SetReadDeadline(time.Now().Add(2*time.Hour)))
		require.NoError(t, c1.SetReadDeadline(time.Time{}))
		if i%2 == 0 {
			require.NoError(t, c1.SetReadDeadline(time.Unix(1, 0)))
			require.ErrorIs(t, <-got, os.ErrDeadlineExceeded)
			_, err := c1.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		} else {
			_, err := c2.Write([]byte{1})
			require.NoError(t, err)
			require.NoError(t, <-got)
		}
	}
}

// Close in the middle of everything, by anybody.
func TestCloseUnderCalls(t *testing.T) {
	dir := t.TempDir()
	for range 30 {
		c1, c2, l := pipe(t, dir)
		var wg sync.WaitGroup
		for _, c := range []net.Conn{c1, c2} {
			for range 4 {
				wg.Go(func() {
					b := make([]byte, 5000)
					for err := error(nil); err == nil; {
						_, err = c.Write(b)
					}
				})
				wg.Go(func() {
					b := make([]byte, 3000)
					for err := error(nil); err == nil; {
						_, err = c.Read(b)
					}
				})
				wg.Go(func() {
					time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
					_ = c.SetDeadline(time.Now().Add(time.Hour))
				})
			}
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
				_ = c.Close()
			})
		}
		wg.Wait()
		require.NoError(t, l.Close())
	}
	emptyAtLast(t, dir)
}
