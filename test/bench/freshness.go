package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// watcher reads the recommendations topic from its end and notes how old the event behind each list
// is.
type watcher struct {
	client *kgo.Client
	cancel context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	arrivals []time.Duration  // accepted → read from the topic by a consumer
	written  []time.Duration  // accepted → the list's own record time
	answered map[string]int64 // user → the newest event of theirs that a list reflects
}

// watch is ready when it returns: it starts at the ends as they are now.
func (in *installation) watch(ctx context.Context) (*watcher, error) {
	bounds, err := in.conn.Offsets(ctx, schemas.TopicRecommendations)
	if err != nil {
		return nil, err
	}
	at := make(map[int32]kgo.Offset, len(bounds))
	for tp, x := range bounds {
		at[int32(tp.Partition)] = kgo.NewOffset().At(x.HighWatermark)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(in.brokers),
		kgo.ConsumePartitions(
			map[string]map[int32]kgo.Offset{in.prefix + schemas.TopicRecommendations: at},
		),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{
		client: client, cancel: cancel, ended: make(chan struct{}),
		answered: make(map[string]int64),
	}
	go w.run(ctx)
	return w, nil
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.ended)
	for ctx.Err() == nil {
		fetches := w.client.PollFetches(ctx)
		now := time.Now()
		w.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { w.receive(r, now) })
		w.mu.Unlock()
	}
}

func (w *watcher) receive(r *kgo.Record, now time.Time) {
	var list struct {
		UserID   string           `json:"user_id"`
		CausedBy schemas.CausedBy `json:"caused_by"`
	}
	if json.Unmarshal(r.Value, &list) != nil || list.CausedBy.Trigger != "event" {
		return
	}
	w.arrivals = append(w.arrivals, now.Sub(list.CausedBy.AcceptedAt))
	w.written = append(w.written, r.Timestamp.Sub(list.CausedBy.AcceptedAt))
	w.answered[list.UserID] = max(w.answered[list.UserID], list.CausedBy.Offset)
}

// stop returns the ages, sorted.
func (w *watcher) stop() (arrivals, written []time.Duration) {
	w.cancel()
	<-w.ended
	w.client.Close()
	slices.Sort(w.arrivals)
	slices.Sort(w.written)
	return w.arrivals, w.written
}

// freshness measures how old the event behind a list is when the list can be read from the topic.
func (b *bench) freshness(ctx context.Context) (*section, error) {
	s := &section{Title: "Freshness: from an accepted event to the recommendation on the topic"}
	s.Notes = append(s.Notes, fmt.Sprintf("All processors on; users %s, items %s, one event in "+
		"twenty a friendship; %d s at each rate after a warm-up. The age of a list is counted "+
		"from the log's time of the oldest event of the user that no list answered before "+
		"(events of one user in one batch are answered by one list) to the moment at which a "+
		"consumer of the topic has it.",
		number(baseUsers, 0), number(baseItems, 0), b.o.liveSeconds))
	t := table{
		Title: "Age of the oldest event behind a list",
		Columns: []string{
			"engines, events/s", "lists/s", "p50", "p95", "p99", "longest",
			"p99 at the list's record time", "lag flat", "ours, CPU µs per event",
		},
	}
	c := chart{Title: "Event accepted → list read from the topic, p99", Unit: "ms"}
	for _, real := range []bool{true, false} {
		if real && !b.engines.stores {
			s.Notes = append(s.Notes, "No real engines were named.")
			continue
		}
		if !strings.Contains(engineKind(real), b.o.match) {
			continue
		}
		if err := b.freshnessOn(ctx, real, &t, &c); err != nil {
			return nil, err
		}
	}
	s.Tables, s.Charts = []table{t}, []chart{c}
	return s, nil
}

func (b *bench) freshnessOn(ctx context.Context, real bool, t *table, c *chart) error {
	kind := engineKind(real)
	in, err := b.start(ctx, "freshness "+kind, real, nil)
	if err != nil {
		return err
	}
	defer in.stop()
	w := newWorld(3, baseUsers, baseItems)
	if err := in.ready(ctx); err != nil {
		return err
	}
	if err := in.warm(ctx, w, b.o.backlog/5); err != nil {
		return err
	}
	for _, rate := range b.o.rates {
		lists, err := in.watch(ctx)
		if err != nil {
			return err
		}
		newest := make(map[string]bool)
		st, err := in.steady(
			ctx,
			rate,
			time.Duration(b.o.liveSeconds)*time.Second,
			func() record.Record {
				m := w.mixed()
				if m.Topic == schemas.TopicInteractions {
					newest[string(m.Key)] = true
				}
				return m
			},
		)
		if err != nil {
			lists.stop()
			return err
		}
		err = in.answered(ctx, lists, newest)
		arrivals, written := lists.stop()
		if err != nil {
			return err
		}
		label := fmt.Sprintf("%s, %s", kind, number(float64(rate), 0))
		b.say(
			"  %-16s %6d lists  p50 %v  p99 %v  longest %v  lag %v", label, len(arrivals),
			quantile(arrivals, 0.5), quantile(arrivals, 0.99), quantile(arrivals, 1), st.lags,
		)
		t.add(
			label,
			number(float64(len(arrivals))/float64(b.o.liveSeconds), 0),
			milliseconds(quantile(arrivals, 0.5)),
			milliseconds(quantile(arrivals, 0.95)),
			milliseconds(quantile(arrivals, 0.99)),
			milliseconds(
				quantile(arrivals, 1),
			),
			milliseconds(quantile(written, 0.99)),
			map[bool]string{
				true: "yes", false: "no",
			}[st.flat()],
			number(st.perEvent(st.ours), 0),
		)
		c.add(label+" events/s", float64(quantile(arrivals, 0.99))/1e6)
	}
	return in.check(ctx, w)
}

// answered waits until every user who did something has had a list.
func (in *installation) answered(ctx context.Context, lists *watcher, users map[string]bool) error {
	missing := 0
	err := in.until(ctx, 20*time.Second, "a list for every user", func() (bool, error) {
		lists.mu.Lock()
		defer lists.mu.Unlock()
		missing = 0
		for u := range users {
			if _, ok := lists.answered[u]; !ok {
				missing++
			}
		}
		return missing == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d users have no list: %w", missing, len(users), err)
	}
	return nil
}
