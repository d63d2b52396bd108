package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A list whose user no processor accepts became a dead letter, and every dead letter is an alert:
// whoever may read could page the operator.
func TestReadersCauseNoDeadLetters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for what, id := range map[string]string{
		"is not text":   "%00",
		"has lines":     "a%0Ab",
		"is a tab":      "%09",
		"is DEL":        "a%7F",
		"has 800 bytes": strings.Repeat("%F0%9F%98%80", 200), // 200 characters
		"has 258 bytes": strings.Repeat("%C3%BC", 129),
		"has 257 bytes": strings.Repeat("x", 257),
	} {
		for _, path := range []string{
			"/v1/users/" + id + "/recommendations",
			"/v1/users/" + id + "/friends/suggestions",
			"/v1/items/" + id + "/similar",
			"/v1/users/u/recommendations?exclude=heat&exclude=" + id,
		} {
			w := f.do(t, "GET", path, "")
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, "%s: %s", what, path)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		}
	}
	long := strings.Repeat("%F0%9F%98%80", 200)
	for _, path := range []string{
		"/v1/users/u/recommendations?genre=" + long, "/v1/trending?genre=" + long,
	} {
		require.Equal(t, http.StatusUnprocessableEntity, f.do(t, "GET", path, "").Code, path)
	}
	w := f.do(t, "GET", "/v1/users/%00/recommendations", "")
	require.Contains(t, w.Body.String(), "holds a control character")
	require.Contains(t, w.Body.String(), `"location":"path.id"`)

	// The longest ids that are accepted make lists that are.
	good := []string{strings.Repeat("x", 256), strings.Repeat("ü", 128), "a/b c", "😀", "\u2028"}
	for _, id := range good {
		path := "/v1/users/" + strings.NewReplacer("/", "%2F", " ", "%20").Replace(id)
		w := f.do(t, "GET", path+"/recommendations", "")
		require.Equal(t, 200, w.Code, w.Body.String())
	}
	_, stop := serve(t, f)
	for range good {
		<-f.emitter.arrived
	}
	require.NoError(t, stop())
	written := f.emitter.messages(schemas.TopicRecommendations)
	require.Len(t, written, len(good), "nothing of what was refused is written")
	for i, m := range written {
		list, err := schemas.DecodeRecommendation(
			&record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers},
		)
		require.NoError(t, err)
		require.Equal(t, good[i], list.UserID)
	}
}

// emit is an emitter made of a function.
type emit func(batch []record.Record) error

func (e emit) Emit(_ context.Context, batch []record.Record) error { return e(batch) }

// One list that the log refuses for good was tried without end, and the lists of all readers behind
// it were dropped.
func TestAListThatTheLogRefusesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	var (
		mu      sync.Mutex
		lost    int
		written []string
		tries   int
		all     = make(chan struct{})
	)
	f := setup(t, func(_ *config.HTTP, d *api.Deps) {
		d.Hooks.Unlogged = func(n int) { lost += n }
		d.Emitter = emit(func(batch []record.Record) error {
			mu.Lock()
			defer mu.Unlock()
			tries++
			e := &producers.EmitError{Total: len(batch)}
			for i := range batch {
				switch key := string(batch[i].Key); {
				case key == "large":
					e.Failed = append(
						e.Failed, fault.Rejection{Index: i, Err: fault.Permanentf("too large")},
					)
				case key == "late" && tries == 1:
					e.Failed = append(
						e.Failed, fault.Rejection{Index: i, Err: fault.Transientf("no leader")},
					)
				default:
					written = append(written, key)
				}
			}
			if len(written) == 3 {
				close(all)
			}
			if len(e.Failed) > 0 {
				return e
			}
			return nil
		})
	})
	for _, user := range []string{"a", "large", "late", "b"} {
		require.Equal(t, 200, f.do(t, "GET", "/v1/users/"+user+"/recommendations", "").Code)
	}
	_, stop := serve(t, f)
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		t.Error("the others are not written")
	}
	require.NoError(t, stop())
	require.Equal(t, []string{"a", "b", "late"}, written, "each once")
	require.Equal(t, 1, lost)
}

// Requests that are given up, and methods that do not exist, are the caller's doing: they neither
// count as errors of the server nor make label values.
func TestReadersShapeNoMetrics(t *testing.T) {
	t.Parallel()
	type answered struct {
		method string
		status int
	}
	var seen []answered
	f := setup(t, func(_ *config.HTTP, d *api.Deps) {
		d.Recommender = panicking{} // it answers suggestions when the request ends
		d.Hooks.Answered = func(method, _ string, status int, _ time.Duration) {
			seen = append(seen, answered{method, status})
		}
	})
	gone, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(gone, "GET", "/v1/users/u/friends/suggestions", nil)
	f.Handler().ServeHTTP(httptest.NewRecorder(), r)
	f.do(t, "BREW", "/v1/trending", "")
	f.do(t, "GET", "/healthz", "")
	require.Equal(t, []answered{{"GET", 499}, {"other", 405}, {"GET", 200}}, seen)
	require.NotContains(t, f.logs.String(), "could not be answered")
}
