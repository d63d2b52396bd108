package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/emittest"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openGateway(t testing.TB, log *emittest.Log, change func(*gateway.Config)) *gateway.Gateway {
	t.Helper()
	v, err := schemas.NewValidator(schemas.DefaultActions())
	require.NoError(t, err)
	cfg := gateway.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(log, v, cfg, func() time.Time { return received })
	require.NoError(t, err)
	return g
}

type call struct {
	method, path, body string
	headers            map[string]string
}

func (c call) do(h http.Handler) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	for k, v := range c.headers {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func post(contentType, body string) call {
	return call{http.MethodPost, "/v1/events", body, map[string]string{"Content-Type": contentType}}
}

func answer(t *testing.T, w *httptest.ResponseRecorder) gateway.Problem {
	t.Helper()
	p := gateway.Problem{Answer: &gateway.Answer{}}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p), w.Body.String())
	return p
}

// written returns a record as a reader of the log finds it.
func written(m record.Record) *record.Record {
	return &record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
}

const viewed = `{"user_id":"u1","item_id":"i1","action":"view"}`

func TestPostEventsAcceptsEveryFormat(t *testing.T) {
	t.Parallel()
	cloud := `{"specversion":"1.0","id":"e1","source":"shop","type":"interaction.recorded.v1",` +
		`"time":"2026-02-01T10:00:00Z","traceparent":"00-1-2-01","data":` + viewed + `}`
	cases := []struct {
		name string
		call call
		ids  []string // "" for a made-up one
	}{
		{"one", post("application/json", viewed), []string{""}},
		{"one with charset", post("application/json; charset=UTF-8", viewed), []string{""}},
		{"no content type", call{http.MethodPost, "/v1/events", viewed, nil}, []string{""}},
		{
			"own id",
			post(
				"application/json",
				`{"event_id":"mine","user_id":"u1","item_id":"i1","action":"view"}`,
			),
			[]string{"mine"},
		},
		{"array", post("application/json", " [\n"+viewed+","+viewed+"]"), []string{"", ""}},
		{"ndjson", post("application/x-ndjson", viewed+"\n\n"+viewed+"\r\n"), []string{"", ""}},
		{"structured", post("application/cloudevents+json", cloud), []string{"e1"}},
		{"structured as plain json", post("application/json", cloud), []string{"e1"}},
		{
			"structured in an array", post("application/json", "["+cloud+","+viewed+"]"),
			[]string{"e1", ""},
		},
		{
			"structured batch", post("application/cloudevents-batch+json", "["+cloud+"]"),
			[]string{"e1"},
		},
		{"binary", call{http.MethodPost, "/v1/events", viewed, map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "e%201",
			"ce-source": "shop", "ce-type": "interaction.recorded.v1",
		}}, []string{"e 1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := &emittest.Log{}
			w := c.call.do(openGateway(t, log, nil).Handler())
			require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
			a := answer(t, w)
			require.Equal(t, len(c.ids), a.Accepted)
			require.Len(t, a.IDs, len(c.ids))
			ms := log.Messages()
			require.Len(t, ms, len(c.ids))
			for i, id := range c.ids {
				x, err := schemas.DecodeInteraction(written(ms[i]))
				require.NoError(t, err)
				require.Equal(t, "u1", string(ms[i].Key))
				require.Equal(t, a.IDs[i], x.EventID, "the id in the answer is the id on the log")
				if id == "" {
					require.Len(t, x.EventID, 36)
					require.Equal(t, "http", x.Source)
					require.Equal(t, received, x.OccurredAt, "occurred_at is the receipt")
				} else {
					require.Equal(t, id, x.EventID)
				}
				if id == "e1" {
					require.Equal(t, "shop", x.Source)
					require.Equal(t, "00-1-2-01", written(ms[i]).Header(schemas.HeaderTrace))
					require.Equal(t, time.Date(2026, 2, 1, 10, 0, 0, 0, time.UTC), x.OccurredAt)
				}
			}
		})
	}
}

func TestPostEventsOfOtherKinds(t *testing.T) {
	t.Parallel()
	log := &emittest.Log{}
	w := post("application/json", `[
		{"kind":"friendship.added.v1","user_id":"b","friend_id":"a"},
		{"kind":"item.updated.v1","item_id":"i","title":"T"},
		{"kind":"user.erased.v1","user_id":"u"}]`).do(openGateway(t, log, nil).Handler())
	require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
	ms := log.Messages()
	require.Len(t, ms, 3)
	require.Equal(
		t, []string{"friendships a|b", "items i", "users u"},
		[]string{
			ms[0].Topic + " " + string(ms[0].Key), ms[1].Topic + " " + string(ms[1].Key),
			ms[2].Topic + " " + string(ms[2].Key),
		},
	)
	u, err := schemas.DecodeUser(written(ms[2]))
	require.NoError(t, err)
	require.True(t, u.Erased)
}

// Every kind that applications write comes in as a CloudEvent, whoever wrote its definition.
func TestPostEventsOfEveryKind(t *testing.T) {
	t.Parallel()
	topics := schemas.Topics(schemas.DefaultTopicsConfig())
	for _, kind := range schemas.WritableKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			raw, ok := schemas.JSONSchema(kind)
			require.True(t, ok)
			var schema struct {
				Examples []json.RawMessage `json:"examples"`
			}
			require.NoError(t, json.Unmarshal(raw, &schema))
			require.NotEmpty(t, schema.Examples)
			for _, example := range schema.Examples {
				log := &emittest.Log{}
				event, err := schemas.FormatCloudEvent(
					schemas.Envelope{ID: "e1", Source: "shop", Kind: kind}, example)
				require.NoError(t, err)
				w := post(
					schemas.ContentTypeCloudEvent,
					string(event),
				).do(openGateway(t, log, nil).Handler())
				require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
				require.Len(t, log.Messages(), 1)
				m := log.Messages()[0]
				require.Equal(t, string(kind), m.Header(schemas.HeaderType))
				require.Equal(t, "e1", m.Header(schemas.HeaderID))
				require.Equal(t, "shop", m.Header(schemas.HeaderSource))
				require.NotEmpty(t, m.Key)
				i := slices.IndexFunc(
					topics, func(t schemas.Topic) bool { return t.Name == m.Topic },
				)
				require.GreaterOrEqual(t, i, 0, m.Topic)
				require.Contains(t, topics[i].Kinds, kind)
			}
		})
	}
}

func TestPostEventsSaysWhatWasRefused(t *testing.T) {
	t.Parallel()
	log := &emittest.Log{}
	counts := map[schemas.Kind][2]int{}
	g := openGateway(t, log, func(c *gateway.Config) {
		c.MaxEventBytes = 300
		c.OnEvents = func(k schemas.Kind, accepted, refused int) {
			counts[k] = [2]int{accepted, refused}
		}
	})
	w := post("application/x-ndjson", strings.Join([]string{
		viewed,
		`{"user_id":"u1","item_id":"i1","action":"rate","value":7}`,
		`{"user_id":"u1"`,
		`{"kind":"no.such.v1"}`,
		`{"user_id":5,"item_id":"i1","action":"stare"}`,
		`{"event_id":"big","user_id":"u1","item_id":"i1","action":"view","context":{"k":"` +
			strings.Repeat("x", 300) + `"}}`,
		`null`,
		viewed,
	}, "\n")).do(g.Handler())
	require.Equal(t, http.StatusMultiStatus, w.Code)
	a := answer(t, w)
	require.Equal(t, 2, a.Accepted)
	require.Equal(t, 6, a.Refused)
	require.Len(t, a.IDs, 8)
	require.Equal(
		t, []int{1, 2, 3, 4, 5, 6},
		[]int{
			a.Errors[0].Index, a.Errors[1].Index, a.Errors[2].Index, a.Errors[3].Index,
			a.Errors[4].Index, a.Errors[5].Index,
		},
	)
	require.Equal(
		t, []schemas.Problem{{Field: "value", Message: "is 7, want at most 5"}}, a.Errors[0].Fields,
	)
	require.Contains(t, a.Errors[1].Reason, "not JSON")
	require.Contains(t, a.Errors[2].Reason, `"no.such.v1"`)
	require.ElementsMatch(
		t, []string{"user_id", "action"},
		[]string{a.Errors[3].Fields[0].Field, a.Errors[3].Fields[1].Field},
	)
	require.Equal(t, http.StatusRequestEntityTooLarge, a.Errors[4].Status)
	require.Equal(t, "big", a.Errors[4].ID)
	require.Len(t, log.Messages(), 2)
	require.Equal(t, map[schemas.Kind][2]int{schemas.KindInteraction: {2, 3}, "": {0, 3}}, counts)
}

func TestRequestsThatAreRefusedWhole(t *testing.T) {
	t.Parallel()
	packed := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
		return b.String()
	}
	zipped := map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}
	cases := []struct {
		name   string
		call   call
		status int
		detail string
	}{
		{
			"form", post("application/x-www-form-urlencoded", viewed), 415,
			"-H 'Content-Type: application/json'",
		},
		{"charset", post("application/json; charset=latin-1", viewed), 415, "UTF-8"},
		{"empty", post("application/json", ""), 400, "empty"},
		{"empty array", post("application/json", "[]"), 400, "no events"},
		{"broken array", post("application/json", "["+viewed+",]"), 400, "at byte"},
		{
			"batch is no array", post("application/cloudevents-batch+json", "{}"), 400,
			"not a JSON array",
		},
		{
			"too many", post("application/json", "["+viewed+","+viewed+","+viewed+","+viewed+"]"),
			413, "at most 3",
		},
		{"too large", post("application/json", strings.Repeat(" ", 2000)), 413, "larger than 1000"},
		{
			"zipped too large",
			call{"POST", "/v1/events", packed(strings.Repeat(" ", 2000)), zipped},
			413,
			"larger than 1000",
		},
		{"not zipped", call{"POST", "/v1/events", viewed, zipped}, 400, "not gzip"},
		{"cut off", call{"POST", "/v1/events", packed(viewed)[:30], zipped}, 400, "ends early"},
		{
			"unknown packing",
			call{"POST", "/v1/events", viewed, map[string]string{"Content-Encoding": "br"}},
			415,
			"send gzip",
		},
		{"one bad event", post("application/json", `{"user_id":"u"}`), 400, `"item_id" is missing`},
		{
			"cloudevent without id", post("application/cloudevents+json", `{"specversion":"1.0"}`),
			400, `"id" is missing`,
		},
		{
			"cloudevent without data",
			post(
				"application/cloudevents+json",
				`{"specversion":"1.0","id":"1","source":"s","type":"user.updated.v1"}`,
			),
			400, `"data" is missing`,
		},
		{
			"cloudevent of other content",
			post(
				"application/cloudevents+json",
				`{"specversion":"1.0","id":"1","source":"s","type":"user.updated.v1",`+
					`"datacontenttype":"text/xml","data":"x"}`,
			),
			400, "text/xml",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := &emittest.Log{}
			g := openGateway(
				t, log,
				func(c *gateway.Config) { c.MaxRequestBytes, c.MaxEvents = 1000, 3 },
			)
			w := c.call.do(g.Handler())
			require.Equal(t, c.status, w.Code, w.Body.String())
			require.Equal(t, gateway.ContentTypeProblem, w.Header().Get("Content-Type"))
			p := answer(t, w)
			require.Equal(t, c.status, p.Status)
			require.Contains(t, p.Detail, c.detail)
			require.Empty(t, log.Messages())
		})
	}
	log := &emittest.Log{}
	w := call{"POST", "/v1/events", packed(viewed), zipped}.do(openGateway(t, log, nil).Handler())
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Len(t, log.Messages(), 1)
}

func TestPostEventsWhenTheLogDoesNotTakeThem(t *testing.T) {
	t.Parallel()
	own := func(id string) string {
		return strings.Replace(viewed, "{", `{"event_id":"`+id+`",`, 1)
	}
	two := post("application/json", "["+own("a")+","+own("b")+"]")

	t.Run("at all", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{
			Plan: func(context.Context, []record.Record) error {
				return fault.Transientf("no leader")
			},
		}
		w := two.do(
			openGateway(t, log, func(c *gateway.Config) {
				c.RetryAfter = 1500 * time.Millisecond
			}).Handler(),
		)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "2", w.Header().Get("Retry-After"))
		p := answer(t, w)
		require.Equal(t, []string{"a", "b"}, p.IDs)
		require.Contains(t, p.Errors[0].Reason, "no leader")
	})
	t.Run("in part", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{Plan: func(_ context.Context, b []record.Record) error {
			return &producers.EmitError{
				Total:  len(b),
				Failed: []fault.Rejection{{Index: 1, Err: fault.Transientf("no leader")}},
			}
		}}
		w := two.do(openGateway(t, log, nil).Handler())
		require.Equal(t, http.StatusMultiStatus, w.Code)
		p := answer(t, w)
		require.Equal(t, 1, p.Accepted)
		require.Equal(
			t,
			gateway.EventProblem{
				Index: 1, ID: "b", Status: 503, Reason: "the log did not take the event: no leader",
			},
			p.Errors[0],
		)
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{
			Plan: func(context.Context, []record.Record) error {
				return fault.Permanentf("too large")
			},
		}
		w := two.do(openGateway(t, log, nil).Handler())
		require.Equal(t, http.StatusBadRequest, w.Code)
	})
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{
			Plan: func(ctx context.Context, _ []record.Record) error {
				<-ctx.Done()
				return ctx.Err()
			},
		}
		w := two.do(
			openGateway(t, log, func(c *gateway.Config) {
				c.EmitTimeout = time.Millisecond
			}).Handler(),
		)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

func TestBackPressure(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	log := &emittest.Log{Plan: func(context.Context, []record.Record) error {
		entered <- struct{}{}
		<-leave
		return nil
	}}
	start := func(g *gateway.Gateway) (http.Handler, chan int) {
		h := g.Handler()
		first := make(chan int)
		go func() { first <- post("application/json", viewed).do(h).Code }()
		<-entered
		return h, first
	}
	finish := func(first chan int) {
		leave <- struct{}{}
		require.Equal(t, http.StatusAccepted, <-first)
	}

	h, first := start(openGateway(t, log, func(c *gateway.Config) { c.MaxInFlightRequests = 1 }))
	w := post("application/json", viewed).do(h)
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	finish(first)

	g := openGateway(
		t, log,
		func(c *gateway.Config) { c.MaxRequestBytes, c.MaxInFlightBytes = 100, 110 },
	)
	h, first = start(g)
	require.Equal(
		t, http.StatusTooManyRequests,
		post("application/json", viewed+strings.Repeat(" ", 40)).do(h).Code,
	)
	finish(first)
	// What was in flight is free again.
	h, first = start(g)
	finish(first)
	require.Equal(
		t, http.StatusBadRequest, post("application/json", strings.Repeat("x", 100)).do(h).Code,
	)
}

func TestEntities(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		call call
		want string // topic, key, kind; or the detail of a problem
		code int
	}{
		{
			"item",
			call{"PUT", "/v1/items/i%2F1", `{"title":"T","genres":["g"]}`, nil},
			"items i/1 item.updated.v1", 202,
		},
		{
			"item with its id",
			call{"PUT", "/v1/items/i1", `{"item_id":"i1","title":"T"}`, nil},
			"items i1 item.updated.v1", 202,
		},
		{
			"item with another id",
			call{"PUT", "/v1/items/i1", `{"item_id":"i2","title":"T"}`, nil},
			"the path says", 400,
		},
		{"item without title", call{"PUT", "/v1/items/i1", `{}`, nil}, `"title" is missing`, 400},
		{"item is a list", call{"PUT", "/v1/items/i1", `[]`, nil}, "not a JSON object", 400},
		{
			"item as xml",
			call{"PUT", "/v1/items/i1", `<x/>`, map[string]string{"Content-Type": "text/xml"}},
			"text/xml", 415,
		},
		{"withdrawal", call{"DELETE", "/v1/items/i1", "", nil}, "items i1 item.withdrawn.v1", 202},
		{
			"user",
			call{"PUT", "/v1/users/ü%20x", `{"attributes":{"a":1}}`, nil},
			"users ü x user.updated.v1", 202,
		},
		{"erasure", call{"DELETE", "/v1/users/u1", "", nil}, "users u1 user.erased.v1", 202},
		{
			"friends",
			call{"PUT", "/v1/users/u2/friends/u1", "", nil},
			"friendships u1|u2 friendship.added.v1", 202,
		},
		{
			"no friends",
			call{"DELETE", "/v1/users/u2/friends/u1", "", nil},
			"friendships u1|u2 friendship.removed.v1", 202,
		},
		{"own friend", call{"PUT", "/v1/users/u2/friends/u2", "", nil}, "same person", 400},
	}
	for _, c := range cases {
		for router, mount := range map[string]func(*gateway.Gateway) http.Handler{
			"mux": func(g *gateway.Gateway) http.Handler { return g.Handler() },
			"chi": func(g *gateway.Gateway) http.Handler {
				r := chi.NewRouter()
				g.Register(r)
				return r
			},
		} {
			t.Run(c.name+" "+router, func(t *testing.T) {
				t.Parallel()
				log := &emittest.Log{}
				w := c.call.do(mount(openGateway(t, log, nil)))
				require.Equal(t, c.code, w.Code, w.Body.String())
				if c.code != http.StatusAccepted {
					require.Contains(t, answer(t, w).Detail, c.want)
					require.Empty(t, log.Messages())
					return
				}
				m := log.Messages()[0]
				require.Equal(
					t, c.want, m.Topic+" "+string(m.Key)+" "+written(m).Header(schemas.HeaderType),
				)
				var taken gateway.Taken
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &taken))
				require.Equal(t, written(m).Header(schemas.HeaderID), taken.ID)
				require.Equal(t, "slipstream trace "+taken.ID, taken.Follow)
			})
		}
	}
	log := &emittest.Log{}
	w := call{
		"DELETE",
		"/v1/users/u1",
		"",
		map[string]string{"Idempotency-Key": "once"},
	}.do(
		openGateway(t, log, nil).Handler(),
	)
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Equal(t, "once", written(log.Messages()[0]).Header(schemas.HeaderID))
}

func TestHTTPConfigSaysWhatToChange(t *testing.T) {
	t.Parallel()
	require.NoError(t, gateway.DefaultConfig().Validate())
	require.ErrorContains(t, gateway.Config{}.Validate(), "MaxRequestBytes must be positive")
	c := gateway.DefaultConfig()
	c.MaxInFlightBytes = 1
	require.ErrorContains(t, c.Validate(), "MaxInFlightBytes (1) must be at least")
}

func BenchmarkPostEvents(b *testing.B) {
	log := &emittest.Log{Plan: func(context.Context, []record.Record) error { return nil }}
	h := openGateway(b, log, nil).Handler()
	body := strings.Repeat(
		`{"user_id":"user-123456","item_id":"item-98765","action":"rate","value":4.5,`+
			`"occurred_at":"2026-03-01T20:15:00Z","session_id":"s-1"}`+"\n",
		100,
	)
	b.ReportAllocs()
	for b.Loop() {
		log.Batches = nil
		if w := post("application/x-ndjson", body).do(h); w.Code != http.StatusAccepted {
			b.Fatal(w.Body.String())
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}
