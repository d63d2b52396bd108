package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml anew")

// shared is a store that tests read and none changes: opening one takes half a second under the
// race detector.
var shared *sqlite.Store

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if shared, err = sqlite.Open(
		context.Background(), sqlite.Config{Path: filepath.Join(dir, "x.db")},
	); err != nil {
		panic(err)
	}
	defer func() {
		if err := shared.Close(); err != nil {
			panic(err)
		}
	}()
	if err := fill(context.Background(), shared); err != nil {
		panic(err)
	}
	code := m.Run()
	if code == 0 {
		code = leaks()
	}
	return code
}

func leaks() int {
	// The recommender's cache sweeps until it is collected; it has nothing to close.
	err := goleak.Find(
		goleak.IgnoreTopFunction("github.com/maypok86/otter/v2.periodicCleanUp[...]"),
		goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"), // of the shared store
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// validators are slow to compile under the race detector, and may be shared.
var validators = sync.OnceValues(func() (*schemas.Validator, error) {
	return schemas.NewValidator(schemas.DefaultActions())
})

const (
	emitKey    = "emit-0123456789abcdef"
	readKey    = "read-0123456789abcdef"
	operateKey = "operate-0123456789abcdef"
)

// emitter keeps what it is given; while err is set it takes nothing.
type emitter struct {
	mu      sync.Mutex
	err     error
	taken   []record.Record
	arrived chan struct{}
}

func newEmitter() *emitter { return &emitter{arrived: make(chan struct{}, 10_000)} }

func (e *emitter) Emit(_ context.Context, batch []record.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	e.taken = append(e.taken, batch...)
	for range batch {
		e.arrived <- struct{}{}
	}
	return nil
}

func (e *emitter) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

func (e *emitter) messages(topic string) []record.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(
		slices.Clone(e.taken), func(m record.Record) bool { return m.Topic != topic },
	)
}

// letters is a small set of dead letters in memory.
type letters struct {
	all    []deadletter.Letter
	filter deadletter.Filter
	rate   float64
	note   string
	err    error

	correction deadletter.Correction
	plan       deadletter.Plan
}

func (l *letters) PlanReplay(
	_ context.Context, f deadletter.Filter, c deadletter.Correction,
) (deadletter.Plan, error) {
	l.filter, l.correction = f, c
	return l.plan, l.err
}

func (l *letters) PlanDrop(_ context.Context, f deadletter.Filter) (deadletter.Plan, error) {
	l.filter = f
	return l.plan, l.err
}

func (l *letters) List(_ context.Context, f deadletter.Filter) ([]deadletter.Letter, error) {
	l.filter = f
	return l.all, l.err
}

func (l *letters) Get(_ context.Context, id string) (deadletter.Letter, error) {
	for _, x := range l.all {
		if x.ID == id {
			return x, l.err
		}
	}
	return deadletter.Letter{}, errors.Join(l.err, deadletter.ErrNotFound)
}

func (l *letters) Replay(
	_ context.Context,
	f deadletter.Filter,
	o deadletter.ReplayOptions,
) (int, error) {
	l.filter, l.rate, l.note, l.correction = f, o.Rate, o.Reason, o.Correction
	return len(l.all), l.err
}

func (l *letters) Drop(_ context.Context, f deadletter.Filter, reason string) (int, error) {
	l.filter, l.note = f, reason
	return len(l.all), l.err
}

// fixture is a server over the embedded store.
type fixture struct {
	*api.Server
	emitter *emitter
	letters *letters
	logs    *bytes.Buffer
}

type change func(*config.HTTP, *api.Deps)

func setup(t *testing.T, changes ...change) *fixture {
	t.Helper()
	rc := recommend.DefaultConfig()
	rc.Holdout = 0
	f := &fixture{emitter: newEmitter(), letters: &letters{}, logs: &bytes.Buffer{}}
	rc.Log = slog.New(slog.NewTextHandler(f.logs, nil))
	recommender := recommend.New(
		recommend.Stores{Users: shared, Items: shared, Graph: shared}, processors.NewErasures(), rc,
		time.Now,
	)
	m := trending().Message()
	require.NoError(
		t,
		recommender.ApplyTrending(
			&record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers},
		),
	)

	validator, err := validators()
	require.NoError(t, err)
	gateway, err := gateway.New(f.emitter, validator, gateway.DefaultConfig(), nil)
	require.NoError(t, err)
	cfg := config.Default().HTTP
	cfg.Addr, cfg.DrainDelay = "127.0.0.1:0", 0
	deps := api.Deps{
		Recommender: recommender, Gateway: gateway, Emitter: f.emitter,
		DeadLetters: f.letters, Plans: f.letters,
		Version: "v1.2.3",
		Log:     slog.New(slog.NewTextHandler(f.logs, nil)),
		Status: func(context.Context) (api.Status, error) {
			return api.Status{
				Version: "v1.2.3", Engines: []api.EngineStatus{{Name: "qdrant", Up: true}},
				Groups: []api.GroupStatus{{Group: "embed", Lag: 7}},
			}, nil
		},
	}
	for _, c := range changes {
		c(&cfg, &deps)
	}
	f.Server, err = api.New(cfg, deps)
	require.NoError(t, err)
	return f
}

// catalog is what the store holds, most popular first.
var catalog = []struct{ id, title, genre string }{
	{"alien", "Alien", "Horror"}, {"heat", "Heat", "Crime"}, {"a/b c", "Slash", "Crime"},
}

// fill puts the catalog and some friends into the store.
func fill(ctx context.Context, store *sqlite.Store) error {
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	for i, x := range catalog {
		content := make([]float32, 64)
		content[0], content[i+1] = 0.8, 0.6
		vector := make([]float32, 65)
		vector[i] = 1
		err := store.PutItems(ctx, []sinks.Item{{
			Content: schemas.Item{ItemID: x.id, Title: x.title, Genres: []string{x.genre}},
			Vector:  vector, ContentVector: content, Version: 1, Count: 100,
		}})
		if err != nil {
			return err
		}
	}
	now := time.Now()
	return store.ApplyEdges(
		ctx,
		[]sinks.Edge{
			{A: "u1", B: "u2", At: now, EventID: "1"}, {A: "u2", B: "u3", At: now, EventID: "2"},
		},
	)
}

func trending() *schemas.Trending {
	t := &schemas.Trending{ComputedAt: time.Now(), HalfLife: "24h"}
	for i, x := range catalog {
		t.Items = append(t.Items, schemas.TrendingItem{ItemID: x.id, Score: float64(10 - i)})
	}
	return t
}

func keyed(cfg *config.HTTP, _ *api.Deps) {
	cfg.APIKeys = []config.APIKey{
		{Name: "shop", Key: emitKey, Roles: []string{config.RoleEmit}},
		{Name: "site", Key: readKey, Roles: []string{config.RoleRead}},
		{Name: "ops", Key: "sha256:" + operateHash(), Roles: []string{config.RoleOperate}},
	}
}

func (f *fixture) do(
	t *testing.T,
	method, target, body string,
	headers ...string,
) *httptest.ResponseRecorder {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var x T
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &x), w.Body.String())
	return x
}

func TestRecommendationsOfAnUnknownUserAreTrendingAndFitTheSchema(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.do(t, "GET", "/v1/users/nobody/recommendations?n=2", "")
	require.Equal(t, 200, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "private, no-store", w.Header().Get("Cache-Control"))
	list := decode[schemas.Recommendation](t, w)
	require.Equal(t, schemas.StrategyTrending, list.Strategy)
	require.Equal(t, "nobody", list.UserID)
	require.Equal(t, "request", list.CausedBy.Trigger)
	require.Equal(
		t, []string{"alien", "heat"}, []string{list.Items[0].ItemID, list.Items[1].ItemID},
	)
	v, err := validators()
	require.NoError(t, err)
	require.NoError(
		t, v.Validate(schemas.KindRecommendation, w.Body.Bytes()),
		"the answer is what the topic holds",
	)
	require.Empty(t, w.Header().Values("Content-Encoding"))
}

func TestRecommendationParameters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, tc := range []struct {
		name, query string
		want        []string
	}{
		{"exclude", "?exclude=alien&exclude=a/b%20c", []string{"heat"}},
		{"genre", "?genre=Horror", []string{"alien"}},
		{"genres", "?genre=Horror&genre=Crime&n=1", []string{"alien"}},
		{"scenario", "?scenario=home&n=1", []string{"alien"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := f.do(t, "GET", "/v1/users/nobody/recommendations"+tc.query, "")
			require.Equal(t, 200, w.Code, w.Body.String())
			var got []string
			for _, x := range decode[schemas.Recommendation](t, w).Items {
				got = append(got, x.ItemID)
			}
			require.Equal(t, tc.want, got)
		})
	}
	for _, query := range []string{"?n=0", "?n=201", "?n=many", "?scenario=bedroom"} {
		w := f.do(t, "GET", "/v1/users/u/recommendations"+query, "")
		require.Equal(t, 422, w.Code, query)
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	}
	w := f.do(t, "GET", "/v1/users/"+strings.Repeat("x", 257)+"/recommendations", "")
	require.Equal(t, 422, w.Code)
}

func TestSimilarItems(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.do(t, "GET", "/v1/items/a%2Fb%20c/similar?n=1", "")
	require.Equal(t, 200, w.Code, w.Body.String())
	list := decode[schemas.Recommendation](t, w)
	require.Len(t, list.Items, 1)
	require.NotEqual(t, "a/b c", list.Items[0].ItemID)

	w = f.do(t, "GET", "/v1/items/unheard/similar", "")
	require.Equal(t, 404, w.Code)
	require.Contains(t, w.Body.String(), "PUT /v1/items/{id}")
}

func TestTrendingAndSuggestions(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.do(t, "GET", "/v1/trending?genre=Crime", "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "heat", decode[schemas.Recommendation](t, w).Items[0].ItemID)

	w = f.do(t, "GET", "/v1/users/u1/friends/suggestions", "")
	require.JSONEq(
		t, `{"user_id":"u1","suggestions":[{"user_id":"u3","mutual":1,"via":["u2"]}]}`,
		w.Body.String(),
	)
	w = f.do(t, "GET", "/v1/users/nobody/friends/suggestions", "")
	require.JSONEq(t, `{"user_id":"nobody","suggestions":[]}`, w.Body.String())
}

func TestGatewayIsMounted(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.do(t, "POST", "/v1/events", `{"user_id":"u1","item_id":"heat","action":"like"}`)
	require.Equal(t, 202, w.Code, w.Body.String())
	require.Len(t, f.emitter.messages(schemas.TopicInteractions), 1)
	for _, tc := range []struct{ method, path, body, topic string }{
		{"PUT", "/v1/items/x%2Fy", `{"title":"X"}`, schemas.TopicItems},
		{"DELETE", "/v1/items/x", "", schemas.TopicItems},
		{"PUT", "/v1/users/u1", `{"attributes":{"age":"old"}}`, schemas.TopicUsers},
		{"DELETE", "/v1/users/u1", "", schemas.TopicUsers},
		{"PUT", "/v1/users/u1/friends/u2", "", schemas.TopicFriendships},
		{"DELETE", "/v1/users/u1/friends/u2", "", schemas.TopicFriendships},
	} {
		before := len(f.emitter.messages(tc.topic))
		w := f.do(t, tc.method, tc.path, tc.body)
		require.Equal(t, 202, w.Code, tc.method+" "+tc.path+": "+w.Body.String())
		require.Len(t, f.emitter.messages(tc.topic), before+1)
	}
	require.Equal(t, "x/y", string(f.emitter.messages(schemas.TopicItems)[0].Key))
}

func TestRoles(t *testing.T) {
	t.Parallel()
	f := setup(t, keyed)
	requests := []struct{ method, path, body, role string }{
		{"POST", "/v1/events", `{"user_id":"u1","item_id":"heat","action":"like"}`, "emit"},
		{"DELETE", "/v1/users/u1", "", "emit"},
		{"GET", "/v1/users/u1/recommendations", "", "read"},
		{"GET", "/v1/items/heat/similar", "", "read"},
		{"GET", "/v1/trending", "", "read"},
		{"GET", "/v1/users/u1/friends/suggestions", "", "read"},
		{"GET", "/v1/status", "", "operate"},
		{"GET", "/v1/poison", "", "operate"},
		{"POST", "/v1/poison/replay", `{"all":true}`, "operate"},
		{"POST", "/v1/poison/drop", `{"all":true}`, "operate"},
		{"GET", "/healthz", "", ""},
		{"GET", "/readyz", "", ""},
		{"GET", "/openapi.yaml", "", ""},
	}
	keys := map[string]string{"emit": emitKey, "read": readKey, "operate": operateKey}
	for _, r := range requests {
		if r.role == "" {
			require.Equal(t, 200, f.do(t, r.method, r.path, r.body).Code, r.path)
			continue
		}
		w := f.do(t, r.method, r.path, r.body)
		require.Equal(t, 401, w.Code, r.path)
		require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
		require.Equal(
			t, 401, f.do(t, r.method, r.path, r.body, "X-API-Key", "wrong-0123456789abcdef").Code,
			r.path,
		)
		for role, key := range keys {
			for _, headers := range [][]string{
				{"X-API-Key", key}, {"Authorization", "Bearer " + key},
			} {
				w := f.do(t, r.method, r.path, r.body, headers...)
				if role == r.role {
					require.Less(t, w.Code, 300, r.path+": "+w.Body.String())
				} else {
					require.Equal(t, 403, w.Code, r.path)
					require.Contains(t, w.Body.String(), "lacks the role "+r.role)
				}
			}
		}
	}
	require.NotContains(t, f.logs.String(), "0123456789abcdef", "keys are not logged")
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f.letters.all = []deadletter.Letter{
		{
			ID: "d1d1", Group: "embed",
			Origin: record.Position{
				TopicPartition: record.TopicPartition{Topic: "interactions", Partition: 3},
				Offset:         7,
			},
			Class: fault.Permanent, Reason: "no user_id", State: "open", WrittenAt: at,
			Key: []byte("u1"), Value: []byte(`{"item_id":"x"}`),
			Headers: []record.Header{{Key: "ce_id", Value: []byte("e1")}},
		},
		{
			ID: "d2d2", Group: "embed", State: "dropped", ResolvedAt: at, Resolution: "junk",
			Key: []byte{0xff, 0x00}, Value: []byte{0xff, 0xfe},
		},
	}
	w := f.do(
		t,
		"GET",
		"/v1/poison?group=embed&class=permanent&topic=interactions&reason=user&state=open"+
			"&since=2026-11-22T09:00:00Z&limit=5",
		"",
	)
	require.Equal(t, 200, w.Code, w.Body.String())
	require.Equal(t, deadletter.Filter{
		Group: "embed", Class: "permanent", Topic: "interactions", Reason: "user", State: "open",
		Since: at.Add(-time.Hour), Limit: 6, WithoutValues: true,
	}, f.letters.filter)
	require.Contains(t, w.Body.String(), `"reason":"no user_id"`)
	require.NotContains(t, w.Body.String(), "item_id", "values are for whoever shows one")

	w = f.do(t, "GET", "/v1/poison/d1d1", "")
	require.Equal(t, 200, w.Code)
	shown := decode[map[string]any](t, w)
	require.Equal(t, map[string]any{"item_id": "x"}, shown["value"])
	require.Equal(t, []any{map[string]any{"name": "ce_id", "value": "e1"}}, shown["headers"])
	require.Equal(t, "u1", shown["key"])
	require.NotContains(t, shown, "resolved_at")

	shown = decode[map[string]any](t, f.do(t, "GET", "/v1/poison/d2d2", ""))
	require.Equal(t, "0xff00", shown["key"])
	require.Equal(t, "fffe", shown["value_hex"])
	require.Equal(t, "junk", shown["resolution"])
	require.Equal(t, 404, f.do(t, "GET", "/v1/poison/d3d3", "").Code)

	w = f.do(t, "POST", "/v1/poison/replay", `{"ids":["d1d1"],"rate":50,"note":"fixed"}`)
	require.JSONEq(t, `{"count":2}`, w.Body.String())
	require.Equal(t, deadletter.Filter{IDs: []string{"d1d1"}}, f.letters.filter)
	require.InDelta(t, 50, f.letters.rate, 0)
	require.Equal(t, "fixed", f.letters.note)

	w = f.do(t, "POST", "/v1/poison/drop", `{"group":"embed","note":"junk"}`)
	require.Equal(t, 200, w.Code, w.Body.String())
	require.Equal(t, "junk", f.letters.note)

	f.letters.note = ""
	for _, path := range []string{"/v1/poison/replay", "/v1/poison/drop"} {
		w = f.do(t, "POST", path, `{"note":"everything by mistake"}`)
		require.Equal(t, 422, w.Code)
		require.Contains(t, w.Body.String(), `\"all\": true`)
		require.Empty(t, f.letters.note, "nothing was touched")
		require.Equal(t, 200, f.do(t, "POST", path, `{"all":true}`).Code)
	}

	f.letters.err = fmt.Errorf("%w: there is no group \"nope\", only embed", deadletter.ErrFilter)
	for _, w := range []*httptest.ResponseRecorder{
		f.do(t, "GET", "/v1/poison?group=nope", ""),
		f.do(t, "POST", "/v1/poison/replay", `{"group":"nope"}`),
		f.do(t, "POST", "/v1/poison/drop", `{"group":"nope"}`),
	} {
		require.Equal(t, 422, w.Code)
		require.Contains(t, w.Body.String(), `no group \"nope\", only embed`)
	}

	f.letters.err = fault.As(fault.Transient, errors.New("broker 10.0.0.7 refused"))
	w = f.do(t, "GET", "/v1/poison", "")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.NotContains(t, w.Body.String(), "10.0.0.7", "what is inside stays inside")
	require.Contains(t, f.logs.String(), "10.0.0.7")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	f := setup(t)
	st := decode[api.Status](t, f.do(t, "GET", "/v1/status", ""))
	require.Equal(t, int64(7), st.Groups[0].Lag)
	require.True(t, st.Engines[0].Up)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	down := errors.New("refused")
	for _, tc := range []struct {
		name            string
		kafka, qdrant   error
		status          int
		state, contains string
	}{
		{"all well", nil, nil, 200, "ready", `"kafka":"ok"`},
		{"a store is down", nil, down, 200, "degraded", `"qdrant":"refused"`},
		{"the log is down", down, down, 503, "not ready", `"kafka":"refused"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			f := setup(t, func(_ *config.HTTP, d *api.Deps) {
				d.Checks = []api.Check{
					{
						Name: "kafka", Required: true,
						Ping: func(context.Context) error { asked++; return tc.kafka },
					},
					{Name: "qdrant", Ping: func(context.Context) error { return tc.qdrant }},
				}
			})
			for range 3 {
				w := f.do(t, "GET", "/readyz", "")
				require.Equal(t, tc.status, w.Code)
				require.Contains(t, w.Body.String(), `"status":"`+tc.state+`"`)
				require.Contains(t, w.Body.String(), tc.contains)
			}
			require.Equal(t, 1, asked, "a result is used again")
			require.Equal(t, 200, f.do(t, "GET", "/healthz", "").Code)
		})
	}
}

type panicking struct{ api.Recommender }

func (panicking) Trending(context.Context, int, []string, string) (schemas.Recommendation, error) {
	panic("boom")
}

func (panicking) SuggestFriends(ctx context.Context, _ string, _ int) ([]sinks.Suggestion, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestBadRequestsAndBadHandlers(t *testing.T) {
	t.Parallel()
	type answered struct {
		method, route string
		status        int
	}
	var seen []answered
	f := setup(t, func(c *config.HTTP, d *api.Deps) {
		d.Recommender = panicking{}
		d.Metrics = http.NotFoundHandler()
		c.RequestTimeout = 20 * time.Millisecond
		c.MaxBodyBytes = 1000
		validator, err := validators()
		require.NoError(t, err)
		g := gateway.DefaultConfig()
		g.MaxRequestBytes = int64(c.MaxBodyBytes)
		d.Gateway, err = gateway.New(newEmitter(), validator, g, nil)
		require.NoError(t, err)
		d.Hooks.Answered = func(method, route string, status int, _ time.Duration) {
			seen = append(seen, answered{method, route, status})
		}
	})
	for _, tc := range []struct {
		method, path, body string
		want               answered
		contains           string
	}{
		{"GET", "/v2/nothing", "", answered{"GET", "other", 404}, "/openapi.yaml"},
		{"PATCH", "/v1/events", "", answered{"PATCH", "other", 405}, "not possible"},
		{"GET", "/v1/trending", "", answered{"GET", "/v1/trending", 500}, "server's log"},
		{
			"GET", "/v1/users/u/friends/suggestions", "",
			answered{"GET", "/v1/users/{id}/friends/suggestions", 503},
			"try again",
		},
		{
			"POST", "/v1/poison/drop", `{"note":"` + strings.Repeat("x", 2000) + `"}`,
			answered{"POST", "/v1/poison/drop", 413},
			"",
		},
		{
			"POST", "/v1/events", `{"user_id":"` + strings.Repeat("x", 2000) + `"}`,
			answered{"POST", "/v1/events", 413},
			"",
		},
		{"POST", "/v1/poison/drop", `{`, answered{"POST", "/v1/poison/drop", 400}, ""},
	} {
		seen = nil
		w := f.do(t, tc.method, tc.path, tc.body)
		require.Equal(t, tc.want.status, w.Code, tc.path+": "+w.Body.String())
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), tc.path)
		require.Contains(t, w.Body.String(), tc.contains)
		require.NotContains(t, w.Body.String(), "boom")
		require.Equal(t, []answered{{tc.want.method, seen[0].route, tc.want.status}}, seen)
		if tc.want.route != "other" {
			require.Equal(t, tc.want.route, seen[0].route)
		}
	}
	require.Contains(t, f.logs.String(), "boom")
}

func TestNewWantsItsParts(t *testing.T) {
	t.Parallel()
	_, err := api.New(config.Default().HTTP, api.Deps{})
	require.ErrorContains(t, err, "required")
}

func TestOpenAPIIsUpToDate(t *testing.T) {
	t.Parallel()
	const path = "../docs/openapi.yaml"
	f := setup(t, func(_ *config.HTTP, d *api.Deps) { d.Version = "v1" })
	want, err := f.OpenAPI()
	require.NoError(t, err)
	again, err := f.OpenAPI()
	require.NoError(t, err)
	require.Equal(t, string(want), string(again), "the document is the same each time")
	if *update {
		require.NoError(t, os.WriteFile(path, want, 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go test ./api -update")

	require.Equal(t, string(want), f.do(t, "GET", "/openapi.yaml", "").Body.String())
	doc := decode[map[string]any](t, f.do(t, "GET", "/openapi.json", ""))
	require.Equal(t, "3.1.0", doc["openapi"])
	checkRefs(t, doc, doc)
}

// checkRefs fails on references that lead nowhere.
func checkRefs(t *testing.T, doc, at any) {
	t.Helper()
	switch x := at.(type) {
	case map[string]any:
		if to, ok := x["$ref"].(string); ok {
			found := doc
			for _, part := range strings.Split(strings.TrimPrefix(to, "#/"), "/") {
				m, ok := found.(map[string]any)
				require.True(t, ok, to)
				found, ok = m[part]
				require.True(t, ok, to)
			}
		}
		for _, v := range x {
			checkRefs(t, doc, v)
		}
	case []any:
		for _, v := range x {
			checkRefs(t, doc, v)
		}
	}
}

// Every route that the server has is in the document.
func TestOpenAPIIsComplete(t *testing.T) {
	t.Parallel()
	f := setup(t)
	doc := decode[struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
			Responses   map[string]any
		}
	}](t, f.do(t, "GET", "/openapi.json", ""))
	var got []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			require.NotEmpty(t, op.OperationID)
			require.Len(t, op.Security, 2, path)
			require.Contains(t, op.Responses, "401", path)
			require.Contains(t, op.Responses, "503", path)
		}
	}
	slices.Sort(got)
	require.Equal(t, []string{
		"DELETE /v1/items/{id}", "DELETE /v1/users/{id}", "DELETE /v1/users/{id}/friends/{friend}",
		"GET /v1/items/{id}/similar", "GET /v1/poison", "GET /v1/poison/{id}", "GET /v1/status",
		"GET /v1/trending",
		"GET /v1/users/{id}/friends/suggestions", "GET /v1/users/{id}/recommendations",
		"POST /v1/events", "POST /v1/poison/drop", "POST /v1/poison/replay",
		"PUT /v1/items/{id}", "PUT /v1/users/{id}", "PUT /v1/users/{id}/friends/{friend}",
	}, got)
}

// What is wrong with a request is told to whoever sent it, and is no failure of the server.
func TestMistakesWithDeadLettersAreTold(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		err  error
		code int
	}{
		{"an empty id", fmt.Errorf("%w: the id \"\" is too short", deadletter.ErrFilter), 422},
		{"an unknown id", fmt.Errorf("%w: id \"dddd\"", deadletter.ErrNotFound), 404},
		{"one that is not whole", fault.Permanentf("it cannot be replayed"), 422},
		{"a store that is away", fault.Transientf("connection refused"), 503},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.letters.err = x.err
			for _, path := range []string{"/v1/poison/replay", "/v1/poison/drop"} {
				for _, body := range []string{`{"ids":[""]}`, `{"ids":[""],"dry_run":true}`} {
					w := f.do(t, "POST", path, body)
					require.Equal(t, x.code, w.Code, w.Body.String())
				}
			}
		})
	}
}

func TestDeadLettersComeInPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 3 {
		f.letters.all = append(f.letters.all, deadletter.Letter{
			ID: fmt.Sprint("d", i), Group: "embed", State: "open", WrittenAt: time.UnixMilli(5),
		})
	}
	type page struct {
		Next string `json:"next_after"`
		Rows []any  `json:"dead_letters"`
	}
	p := decode[page](t, f.do(t, "GET", "/v1/poison?limit=2&after=7_d9", ""))
	require.Equal(t, "7_d9", f.letters.filter.After)
	require.Len(t, p.Rows, 2)
	require.Equal(t, "5_d1", p.Next)
	p = decode[page](t, f.do(t, "GET", "/v1/poison?limit=3", ""))
	require.Len(t, p.Rows, 3)
	require.Empty(t, p.Next, "the last")
}

func TestCorrectionsAndDryRuns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.all = make([]deadletter.Letter, 1)
	w := f.do(t, "POST", "/v1/poison/replay",
		`{"ids":["abcd"],"value":{"value":12345678901234567890,"x":null}}`)
	require.JSONEq(t, `{"count":1}`, w.Body.String())
	require.Equal(t, deadletter.Correction{
		Value: []byte(`{"value":12345678901234567890,"x":null}`),
	}, f.letters.correction, "byte for byte")
	f.letters.plan = deadletter.Plan{
		Count: 1, Refused: 1, Problems: []error{errors.New("no action")},
		Reasons: []deadletter.Reasons{{
			Group: "embed", Class: "permanent", Reason: "why", Count: 2, Example: "d1",
		}},
		Changes: []deadletter.Change{{ID: "d1", Before: []byte("{"), After: []byte(`{"a":1}`)}},
	}
	f.letters.all = nil
	w = f.do(t, "POST", "/v1/poison/replay",
		`{"reason":"why","patch":{"action":"like","value":null},"dry_run":true}`)
	require.Equal(t, 200, w.Code, w.Body.String())
	require.JSONEq(t, `{"action":"like","value":null}`, string(f.letters.correction.Patch))
	require.JSONEq(t, `{"count":1,"dry_run":true,"refused":1,"problems":["no action"],
		"reasons":[
			{"group":"embed","class":"permanent","reason":"why","count":2,"example":"d1"}],
		"changes":[{"id":"d1","before_hex":"7b","after":{"a":1}}]}`, w.Body.String())
	w = f.do(t, "POST", "/v1/poison/replay", `{"reason":"why","patch":[1]}`)
	require.Equal(t, 422, w.Code)
	f.letters.note = "untouched"
	w = f.do(t, "POST", "/v1/poison/drop", `{"reason":"why","note":"junk","dry_run":true}`)
	require.Contains(t, w.Body.String(), `"dry_run":true`)
	require.Equal(t, "untouched", f.letters.note)
}
