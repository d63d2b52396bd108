package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/client"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is an emitter, and a transport, that keeps what it is given.
type log struct {
	mu      sync.Mutex
	batches [][]record.Record
	plan    func(batch []record.Record) error // nil: take everything
}

func (l *log) Emit(_ context.Context, batch []record.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plan != nil {
		if err := l.plan(batch); err != nil {
			return err
		}
	}
	l.batches = append(l.batches, batch)
	return nil
}

func (l *log) Send(ctx context.Context, batch []record.Record) error { return l.Emit(ctx, batch) }

func (l *log) items() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		for _, m := range b {
			x, err := schemas.DecodeInteraction(
				&record.Record{Topic: m.Topic, Value: m.Value, Headers: m.Headers},
			)
			if err != nil {
				panic(err)
			}
			ids = append(ids, x.ItemID)
		}
	}
	return ids
}

// serve starts a real gateway in front of l.
func serve(t testing.TB, l *log) string {
	t.Helper()
	v, err := schemas.NewValidator(schemas.DefaultActions())
	require.NoError(t, err)
	g, err := gateway.New(l, v, gateway.DefaultConfig(), nil)
	require.NoError(t, err)
	s := httptest.NewServer(g.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

func start(t testing.TB, tr client.Transport, cfg client.Config) *client.Client {
	t.Helper()
	cfg.Source = "test"
	c, err := client.New(tr, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c
}

func overHTTP(t testing.TB, l *log) client.Transport {
	hc := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(hc.CloseIdleConnections)
	return client.HTTP(serve(t, l)+"/", client.HTTPOptions{Client: hc})
}

func viewOf(item string) *schemas.Interaction {
	return &schemas.Interaction{UserID: "u", ItemID: item, Action: schemas.View}
}

func TestSendOverHTTP(t *testing.T) {
	t.Parallel()
	l := &log{}
	c := start(t, overHTTP(t, l), client.Config{})
	view := viewOf("i1")
	require.NoError(t, c.Send(t.Context(), view,
		&schemas.Friendship{UserID: "b", FriendID: "a", EventID: "mine"}, &schemas.Item{
			ItemID: "i1", Title: "T",
		}, &schemas.User{UserID: "u", Erased: true}))
	require.Len(t, view.EventID, 36, "the caller sees the id")
	require.Equal(t, "test", view.Source)
	require.Len(t, l.batches, 1, "one request for all")
	ms := l.batches[0]
	require.Equal(
		t, []string{"interactions", "friendships", "items", "users"},
		[]string{ms[0].Topic, ms[1].Topic, ms[2].Topic, ms[3].Topic},
	)
	x, err := schemas.DecodeInteraction(&record.Record{Value: ms[0].Value, Headers: ms[0].Headers})
	require.NoError(t, err)
	require.Equal(t, *view, x, "what arrives is what was sent")
	u, err := schemas.DecodeUser(&record.Record{Value: ms[3].Value, Headers: ms[3].Headers})
	require.NoError(t, err)
	require.True(t, u.Erased)

	// Large batches are packed; the order stays.
	var events []schemas.Event
	var want []string
	for i := range 1200 {
		want = append(want, fmt.Sprint("x", i))
		events = append(events, viewOf(want[i]))
	}
	l.batches = nil
	require.NoError(t, c.Send(t.Context(), events...))
	require.Equal(t, want, l.items())
}

func TestManySendersShareRequests(t *testing.T) {
	t.Parallel()
	l := &log{}
	c := start(t, overHTTP(t, l), client.Config{Linger: 20 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			if err := c.Send(context.Background(), viewOf(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, l.items(), 300)
	require.Less(t, len(l.batches), 60)
}

func TestErrorsNameTheEvents(t *testing.T) {
	t.Parallel()
	l := &log{plan: func(b []record.Record) error {
		return &producers.EmitError{
			Total:  len(b),
			Failed: []fault.Rejection{{Index: 1, Err: fault.Permanentf("too large")}},
		}
	}}
	c := start(t, overHTTP(t, l), client.Config{})
	err := c.Send(t.Context(), viewOf("a"), &schemas.Interaction{UserID: "u"}, viewOf("c"))
	var failed *client.SendError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 2)
	byIndex := map[int]client.Failure{}
	for _, f := range failed.Failed {
		byIndex[f.Index] = f
		require.False(t, f.Temporary)
		require.NotEmpty(t, f.ID)
	}
	require.ErrorContains(t, byIndex[1].Err, `"item_id" is missing`)
	require.ErrorContains(
		t, byIndex[2].Err, "too large",
		"the second of those that were sent is the third of the call",
	)
}

func TestRetriesUntilTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Duration
		began := time.Now()
		l := &log{}
		l.plan = func(b []record.Record) error {
			calls = append(calls, time.Since(began).Round(time.Second))
			switch len(calls) {
			case 1:
				return &client.SendError{
					Total: len(b), RetryAfter: 7 * time.Second,
					Failed: []client.Failure{
						{Index: 0, Err: errors.New("busy"), Temporary: true},
						{Index: 1, Err: errors.New("busy"), Temporary: true},
					},
				}
			case 2:
				return errors.New("connection refused")
			}
			return nil
		}
		c := start(t, l, client.Config{})
		require.NoError(t, c.Send(t.Context(), viewOf("a"), viewOf("b")))
		require.Equal(t, []string{"a", "b"}, l.items())
		require.Len(t, calls, 3)
		require.Equal(t, 7*time.Second, calls[1], "Retry-After is honoured")
	})
}

func TestGivesUpAfterRetryFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{plan: func([]record.Record) error { return errors.New("connection refused") }}
		c := start(t, l, client.Config{RetryFor: 20 * time.Second})
		began := time.Now()
		err := c.Send(t.Context(), viewOf("a"))
		var failed *client.SendError
		require.ErrorAs(t, err, &failed)
		require.True(t, failed.Failed[0].Temporary)
		require.ErrorContains(t, err, "given up: connection refused")
		require.InDelta(t, 20, time.Since(began).Seconds(), 0.1)
	})
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{plan: func([]record.Record) error { return errors.New("connection refused") }}
		c := start(t, l, client.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, c.Send(ctx, viewOf("a")), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		// The event that nobody waits for is not retried forever.
		l.mu.Lock()
		l.plan = nil
		l.mu.Unlock()
		require.NoError(t, c.Send(t.Context(), viewOf("b")))
		require.Equal(t, []string{"b"}, l.items())
	})
}

func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	l := &log{}
	c, err := client.New(l, client.Config{Source: "test", Linger: time.Hour, BatchEvents: 7})
	require.NoError(t, err)
	var mu sync.Mutex
	done := 0
	for i := range 100 {
		require.NoError(
			t,
			c.Enqueue(t.Context(), viewOf(fmt.Sprint(i)), func(id string, err error) {
				mu.Lock()
				defer mu.Unlock()
				if id != "" && err == nil {
					done++
				}
			}),
		)
	}
	require.NoError(t, c.Close(t.Context()))
	require.NoError(t, c.Close(t.Context()), "closing twice is fine")
	require.Equal(t, 100, done)
	require.Len(t, l.items(), 100)
	require.ErrorIs(t, c.Send(t.Context(), viewOf("x")), client.ErrClosed)
}

func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{plan: func([]record.Record) error { return errors.New("connection refused") }}
		c, err := client.New(l, client.Config{Source: "test", Buffer: 1, BatchEvents: 1})
		require.NoError(t, err)
		var failed []error
		for range 2 {
			require.NoError(
				t,
				c.Enqueue(
					t.Context(), viewOf("a"),
					func(_ string, err error) { failed = append(failed, err) },
				),
			)
			synctest.Wait()
		}
		blocked := make(chan error)
		go func() { blocked <- c.Enqueue(context.Background(), viewOf("c"), nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = c.Close(ctx)
		require.ErrorContains(t, err, "before everything was sent")
		require.ErrorIs(t, <-blocked, client.ErrClosed, "whoever waited for room is told")
		require.Len(t, failed, 2)
		require.Error(t, failed[0])
		require.Error(t, failed[1])
	})
}

func TestAnswersOfOtherServers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body, retryAfter string
		status                 int
		temporary              bool
		wait                   time.Duration
		want                   string
	}{
		{
			"key refused", `{"title":"Forbidden","detail":"the key may not emit"}`, "", 403, false,
			0, "403 Forbidden: the key may not emit",
		},
		{"busy", `{"detail":"too many"}`, "3", 429, true, 3 * time.Second, "too many"},
		{"proxy", "<html>bad gateway</html>", "", 502, true, 0, "bad gateway"},
		{"wrong address", "404 page not found", "", 404, false, 0, "404 Not Found"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Error("no key")
				}
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(s.Close)
			err := client.HTTP(s.URL, client.HTTPOptions{APIKey: "secret", Client: s.Client()}).
				Send(
					t.Context(), []record.Record{viewOf("a").Record()},
				)
			var e *client.SendError
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Failed, 1)
			require.Equal(t, c.temporary, e.Failed[0].Temporary)
			require.Equal(t, c.wait, e.RetryAfter)
			require.ErrorContains(t, err, c.want)
		})
	}
	err := client.HTTP("http://127.0.0.1:1", client.HTTPOptions{}).
		Send(t.Context(), []record.Record{viewOf("a").Record()})
	var e *client.SendError
	require.ErrorAs(t, err, &e)
	require.True(t, e.Failed[0].Temporary)
}

// publisher is a Watermill publisher that keeps what it is given.
type publisher struct {
	got  map[string][]*message.Message
	fail map[string]error
}

func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if err := p.fail[topic]; err != nil {
		return err
	}
	p.got[topic] = append(p.got[topic], messages...)
	return nil
}

func (p *publisher) Close() error { return nil }

func TestPublisher(t *testing.T) {
	t.Parallel()
	p := &publisher{
		got:  map[string][]*message.Message{},
		fail: map[string]error{"x.friendships": fault.Permanentf("no such topic")},
	}
	c := start(t, client.Publisher(p, client.PublisherOptions{Prefix: "x."}), client.Config{})
	err := c.Send(
		t.Context(), viewOf("a"), &schemas.Friendship{UserID: "b", FriendID: "a"}, viewOf("b"),
	)
	var failed *client.SendError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Failed, 1)
	require.Equal(t, 1, failed.Failed[0].Index)
	got := p.got["x.interactions"]
	require.Len(t, got, 2)
	require.Equal(t, "u", got[0].Metadata["kafka_key"])
	require.Equal(t, "interaction.recorded.v1", got[0].Metadata["ce_type"])
	require.Equal(t, got[0].UUID, got[0].Metadata["ce_id"])
	require.Contains(t, string(got[1].Payload), `"b"`)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := client.New(&log{}, client.Config{})
	require.ErrorContains(t, err, "Source is empty")
	_, err = client.New(&log{}, client.Config{Source: "s", Linger: -1})
	require.ErrorContains(t, err, "must not be negative")
}
