package shmexpvar_test

import (
	"encoding/json"
	"expvar"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/shmexpvar"
	"github.com/stretchr/testify/require"
)

func TestPublish(t *testing.T) {
	ch, err := shmchan.Open[int64]("test", shmchan.WithDir(t.TempDir()), shmchan.WithCapacity(4))
	require.NoError(t, err)
	require.NoError(t, shmexpvar.Publish("shmchan.test", ch))
	require.NoError(t, ch.Send(1))
	require.NoError(t, ch.Send(1))

	served := func() (st shmchan.Stats) {
		w := httptest.NewRecorder()
		expvar.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/vars", nil))
		var all map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
		require.NoError(t, json.Unmarshal(all["shmchan.test"], &st))
		return st
	}
	require.Equal(t, ch.Stats(), served())
	require.Equal(t, uint64(2), served().Sent)

	err = shmexpvar.Publish("shmchan.test", ch)
	require.ErrorContains(t, err, `channel "test"`)
	require.ErrorContains(t, err, "use another one")
	require.Error(t, shmexpvar.Publish("", ch))
	require.Error(t, shmexpvar.Publish("nothing", nil))

	require.NoError(t, ch.Detach())
	require.Equal(t, shmchan.Stats{Name: "test", Cap: 4}, served())
}

func TestPublishAtOnce(t *testing.T) {
	ch, err := shmchan.Open[int64]("test", shmchan.WithDir(t.TempDir()))
	require.NoError(t, err)
	defer func() { _ = ch.Detach() }()
	var all sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		all.Go(func() { errs <- shmexpvar.Publish("at once", ch) })
	}
	all.Wait()
	close(errs)
	failed := 0
	for err := range errs {
		if err != nil {
			failed++
		}
	}
	require.Equal(t, cap(errs)-1, failed)
}
