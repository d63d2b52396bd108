package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
)

func TestSimulateRefusesAWorldBeforeItSaysAnything(t *testing.T) {
	t.Parallel()
	out, _, err := runLine(t, "simulate", "--users", "0")
	require.ErrorContains(t, err, "at least 2 users and 20 items, not 0 and")
	require.Empty(t, out)
	require.Equal(t, "as many events/s as the log accepts", pace(0))
	require.Equal(t, "0.5 events/s", pace(0.5))
}

func TestPoisonSaysTwiceWhich(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"poison replay 4c0e --all", "poison replay --group embed --all",
		"poison drop 4c0e --all --because x",
	} {
		_, _, err := runLine(t, strings.Fields(line)...)
		require.ErrorContains(t, err, "--all is every open dead letter", line)
	}
	_, _, err := runLine(t, "poison", "replay")
	require.ErrorContains(t, err, "say which")
	require.Equal(t, "1 dead letter", counted(1, "dead letter"))
	require.Equal(t, "0 dead letters", counted(0, "dead letter"))
	require.Equal(t, "2 dead letters", counted(2, "dead letter"))
}

// The error of the API is a sentence, not JSON.
func TestRecommendExplainsARefusal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintln(w, `{"title":"Unprocessable Entity","status":422,`+
			`"detail":"validation failed",`+
			`"errors":[{"message":"expected number >= 1","location":"query.n","value":0}]}`)
	}))
	defer s.Close()
	_, _, err := runLine(t, "recommend", "ann", "-n", "0", "--url", s.URL)
	require.EqualError(t, err, "the API answers 422 Unprocessable Entity: validation failed; "+
		"expected number >= 1 (query.n: 0)")
	require.Equal(t, "not ours", explain([]byte("not ours\n")))
}

// Where nobody watches there is no progress bar.
func TestNoProgressBarOutsideATerminal(t *testing.T) {
	t.Parallel()
	path := walk(t)
	_, errOut, err := runLine(t, "eval", "prequential", "--path", path, "--methods", "popularity")
	require.NoError(t, err)
	require.Empty(t, errOut)
	var out, progressOut bytes.Buffer
	say, progress, end := report(&out, &progressOut, "rebuilding x")
	progress(1, 2)
	say("half")
	progress(2, 2)
	end()
	require.Equal(t, "half\n", out.String())
	require.Empty(t, progressOut.String())
}

func TestReplayHelpNamesFormats(t *testing.T) {
	t.Parallel()
	out, _, err := runLine(t, "replay", "--help")
	require.NoError(t, err)
	require.Contains(t, out, "Detected formats: ml-100k")
}

// Libraries write to the default logger: a plain line between lines of JSON breaks who reads them.
func TestLibrariesLogAsTheCommandDoes(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	root := newRoot(&out, &errOut)
	root.SetArgs([]string{"config", "--log-format", "json"})
	var used *slog.Logger
	ctx := withLogger(t.Context(), func(l *slog.Logger) { used = l })
	require.NoError(t, root.ExecuteContext(ctx))
	require.NotNil(t, used)
	used.Warn("API key is being used without TLS")
	require.JSONEq(t, `"API key is being used without TLS"`, messageOf(t, errOut.Bytes()))
}

// messageOf returns the message of a line of JSON, as JSON.
func messageOf(t *testing.T, line []byte) string {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(line, &fields), string(line))
	return string(fields["msg"])
}

// The state of the process that runs here stands in the status: an operator asks there.
func TestStatusShowsWhichEnginesAreAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/readyz", r.URL.Path)
		_, _ = w.Write([]byte(`{"status":"degraded","checks":{"kafka":"ok","neo4j":"ok",` +
			`"qdrant items":"away since 2026-11-28T08:00:00Z: refused"},` +
			`"notes":{"kafka":"back since 2026-11-28T07:00:00Z, after 35s"}}`))
	}))
	defer server.Close()
	cfg := config.Default()
	cfg.HTTP.Addr = server.Listener.Addr().String()
	p := processAt(t.Context(), cfg)
	var b bytes.Buffer
	p.print(&b)
	require.Equal(t, "\nThe process at "+cfg.HTTP.Addr+" is degraded:\n"+
		"  kafka: back since 2026-11-28T07:00:00Z, after 35s\n"+
		"  qdrant items: away since 2026-11-28T08:00:00Z: refused\n", b.String())
	require.ErrorContains(t, p.trouble(), "qdrant items: away since")

	server.Close()
	require.Nil(t, processAt(t.Context(), cfg))
	require.NoError(t, (*process)(nil).trouble())
}
