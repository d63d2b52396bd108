package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"status":"x"}`))
	})
	plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	defer plain.Close()
	defer secure.Close()
	for _, s := range []*httptest.Server{plain, secure} {
		_, addr, _ := strings.Cut(s.URL, "://")
		var out bytes.Buffer
		status = http.StatusOK
		require.NoError(t, askReady(t.Context(), &out, addr, s == secure))
		require.JSONEq(t, `{"status":"x"}`, out.String())
		status = http.StatusServiceUnavailable
		require.ErrorContains(
			t, askReady(t.Context(), &out, addr, s == secure), `not ready: {"status":"x"}`,
		)
		// An address without a host is that of this machine.
		status = http.StatusOK
		require.NoError(
			t, askReady(t.Context(), &out, addr[strings.LastIndex(addr, ":"):], s == secure),
		)
	}
	addr := strings.TrimPrefix(plain.URL, "http://")
	plain.Close()
	require.ErrorContains(
		t, askReady(t.Context(), &bytes.Buffer{}, addr, false), "is it running there?",
	)
}
