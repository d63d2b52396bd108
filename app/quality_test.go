package app_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/eval"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// qualityK is the length of the lists judged.
const qualityK = 10

// qualityStream is the start of MovieLens 100k, paced: in a wave no user appears twice, and each
// user's events stand in the data's order. In the data people rarely meet (9,208 such waves in the
// first 10,000 events, for one rates for an hour what the next one rates the day after), so those
// of the prefix are brought together: a wave takes the next event of those who have waited longest.
// The times are those of the data, given out in the new order.
type qualityStream struct {
	events []schemas.Interaction
	waves  [][]schemas.Interaction // parts of events
	// unhurried says that a wave also waits until what the one before taught can be found.
	unhurried bool
}

// largestWave bounds how many events are under way at once.
const largestWave = 50

func newQualityStream(t *testing.T) *qualityStream {
	t.Helper()
	limit := 20_000
	if text := os.Getenv("SLIPSTREAM_QUALITY_EVENTS"); text != "" {
		var err error
		limit, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	set, err := datasets.Open(t.Context(), datasets.Config{Path: sharedData(t, "ml-100k")})
	require.NoError(t, err)
	var (
		times  []time.Time
		users  []string // with events left
		queues = make(map[string][]schemas.Interaction)
	)
	for x := range set.Interactions() {
		if len(times) == limit {
			break
		}
		if queues[x.UserID] == nil {
			users = append(users, x.UserID)
		}
		queues[x.UserID] = append(queues[x.UserID], x)
		times = append(times, x.OccurredAt)
	}
	s := &qualityStream{unhurried: os.Getenv("SLIPSTREAM_QUALITY_HURRY") == ""}
	if os.Getenv("SLIPSTREAM_QUALITY_ORDER") == "data" {
		s.inOrder(set, limit)
		return s
	}
	for len(users) > 0 {
		slices.SortStableFunc(
			users,
			func(a, b string) int {
				return queues[a][0].OccurredAt.Compare(queues[b][0].OccurredAt)
			},
		)
		from := len(s.events)
		for _, u := range users[:min(largestWave, len(users))] {
			x := queues[u][0]
			queues[u] = queues[u][1:]
			x.OccurredAt = times[len(s.events)]
			s.events = append(s.events, x)
		}
		s.waves = append(s.waves, s.events[from:len(s.events):len(s.events)])
		users = slices.DeleteFunc(users, func(u string) bool { return len(queues[u]) == 0 })
	}
	return s
}

// inOrder takes the data as they are.
func (s *qualityStream) inOrder(set *datasets.Dataset, limit int) {
	for x := range set.Interactions() {
		if len(s.events) == limit {
			break
		}
		s.events = append(s.events, x)
	}
	from := 0
	there := make(map[string]bool)
	for n := range s.events {
		if u := s.events[n].UserID; there[u] || n-from == largestWave {
			s.waves = append(s.waves, s.events[from:n])
			from = n
			clear(there)
		}
		there[s.events[n].UserID] = true
	}
	s.waves = append(s.waves, s.events[from:])
}

// hits tells for each event judged whether a list of k made before it held its item. Judged is what
// comes after the first tenth, but for people's first events, for which nothing has been published.
type hits map[string]bool

func (h hits) recall() float64 {
	n := 0
	for _, hit := range h {
		if hit {
			n++
		}
	}
	return float64(n) / float64(max(len(h), 1))
}

// judged tells whether the n-th event counts; it is asked for each in order.
func (s *qualityStream) judged() func(n int) bool {
	known := make(map[string]bool)
	return func(n int) bool {
		u := s.events[n].UserID
		first := !known[u]
		known[u] = true
		return !first && n >= len(s.events)/10
	}
}

// measure is what eval makes of the stream.
func (s *qualityStream) measure(t *testing.T, method func(*eval.Data) eval.Method) hits {
	t.Helper()
	d := &eval.Data{}
	for i := range s.events {
		x := &s.events[i]
		e := eval.Event{
			User: d.User(x.UserID), Item: d.Item(x.ItemID), At: x.OccurredAt.Unix(),
			Action: string(x.Action),
		}
		if x.Value != nil {
			e.Value, e.Valued = *x.Value, true
		}
		d.Events = append(d.Events, e)
	}
	out, judged, n := make(hits), s.judged(), 0
	_, err := eval.Prequential(t.Context(), d, method(d), eval.Options{
		K: qualityK,
		OnList: func(e eval.Event, list []int32) error {
			if judged(n) {
				out[s.events[n].EventID] = slices.Contains(list[:min(qualityK, len(list))], e.Item)
			}
			n++
			return nil
		},
	})
	require.NoError(t, err)
	require.Equal(
		t, len(s.events), n,
		"an event on an item taken before is not judged: the data set has none",
	)
	return out
}

// publishedLists follows the topic recommendations.
type publishedLists struct {
	mu     sync.Mutex
	latest map[string]*schemas.Recommendation // by user
	caused map[string]schemas.CausedBy        // by event id
	moved  chan struct{}
}

func (p *publishedLists) apply(r *record.Record) error {
	list, err := schemas.DecodeRecommendation(r)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.latest[list.UserID]; old == nil || old.Version <= list.Version {
		p.latest[list.UserID] = &list
	}
	p.caused[list.CausedBy.EventID] = list.CausedBy
	select {
	case p.moved <- struct{}{}:
	default:
	}
	return nil
}

// await returns when a list stands on the topic that each of the events has caused.
func (p *publishedLists) await(t *testing.T, wave []schemas.Interaction) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		p.mu.Lock()
		missing := slices.IndexFunc(
			wave,
			func(x schemas.Interaction) bool { _, ok := p.caused[x.EventID]; return !ok },
		)
		p.mu.Unlock()
		if missing < 0 {
			return
		}
		select {
		case <-p.moved:
		case <-limit.C:
			t.Fatalf(
				"no list was caused by event %s of user %s within a minute", wave[missing].EventID,
				wave[missing].UserID,
			)
		}
	}
}

// serve sends the stream wave by wave, each after the lists that the one before has caused, and
// judges the lists published. With again set every event is sent a second time, together with the
// next wave.
func (s *qualityStream) serve(t *testing.T, in *apptest.Installation, again bool) hits {
	t.Helper()
	p := &publishedLists{
		latest: make(map[string]*schemas.Recommendation), caused: make(map[string]schemas.CausedBy),
		moved: make(chan struct{}, 1),
	}
	follower := in.Kafka().Follower(schemas.TopicRecommendations, apptest.Quiet(t), p.apply)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	defer func() { stop(); require.NoError(t, <-done) }()

	var (
		out, judged = make(hits), s.judged()
		n           int
		offsets     = make([]int64, in.Config().Topics.Partitions)
		begun       = time.Now()
		previous    []schemas.Interaction
		counts      = make(map[string]float64)
	)
	for _, wave := range s.waves {
		var batch []record.Record
		positions := make(map[string]schemas.CausedBy)
		for i := range wave {
			x := &wave[i]
			p.mu.Lock()
			list := p.latest[x.UserID]
			p.mu.Unlock()
			if judged(n) {
				out[x.EventID] = holds(list, x.ItemID)
			}
			n++
			partition := record.PartitionOf([]byte(x.UserID), len(offsets))
			positions[x.EventID] = schemas.CausedBy{
				Topic: schemas.TopicInteractions, Partition: partition, Offset: offsets[partition],
			}
			offsets[partition]++
			batch = append(batch, x.Message())
		}
		if again {
			for i := range previous {
				offsets[record.PartitionOf([]byte(previous[i].UserID), len(offsets))]++
				batch = append(batch, previous[i].Message())
			}
			previous = wave
		}
		require.NoError(t, in.Kafka().Emit(t.Context(), batch))
		p.await(t, wave)
		p.mu.Lock()
		for id, want := range positions {
			got := p.caused[id]
			require.Equal(
				t, []any{want.Topic, want.Partition, want.Offset},
				[]any{got.Topic, got.Partition, got.Offset}, "the cause of the list for event %s",
				id,
			)
		}
		p.mu.Unlock()
		if s.unhurried {
			s.learned(t, in, wave, counts)
		}
	}
	took := time.Since(begun)
	t.Logf(
		"%d events in %d waves, %v a wave", len(s.events), len(s.waves),
		(took / time.Duration(len(s.waves))).Round(time.Millisecond),
	)
	return out
}

// learned returns when the index shows what the events of a wave have taught: the items' owners
// collect it for a moment, and people are slower than that.
func (s *qualityStream) learned(
	t *testing.T,
	in *apptest.Installation,
	wave []schemas.Interaction,
	counts map[string]float64,
) {
	t.Helper()
	var ids []string
	for i := range wave {
		counts[wave[i].ItemID]++
		ids = append(ids, wave[i].ItemID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C {
		found, err := in.Engines().Items.GetItems(t.Context(), ids)
		require.NoError(t, err)
		behind := len(ids)
		for i := range found {
			if x := &found[i]; x.Count >= counts[x.Content.ItemID] {
				behind--
			}
		}
		if behind == 0 {
			return
		}
		require.Less(
			t, time.Since(begun), time.Minute, "%d of %d items are not in the index", behind,
			len(ids),
		)
	}
}

// holds tells whether an item stands among the first of a list.
func holds(list *schemas.Recommendation, item string) bool {
	return slices.ContainsFunc(
		list.Items[:min(qualityK, len(list.Items))],
		func(x schemas.RecommendedItem) bool { return x.ItemID == item },
	)
}

// counted checks that histories, counts and rows are those of each event once.
func (s *qualityStream) counted(t *testing.T, in *apptest.Installation) {
	t.Helper()
	in.AwaitIdle(t, 2*time.Minute)
	n := int64(len(s.events))
	got, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: n, ItemHours: n, UserDays: n}, got)

	histories, items := make(map[string][]model.Key), make(map[string]float64)
	for i := range s.events {
		x := &s.events[i]
		histories[x.UserID] = append(histories[x.UserID], model.KeyOf(x.ItemID))
		items[x.ItemID]++
	}
	points := 0
	require.NoError(
		t,
		in.Engines().Users.(sinktest.UserLister).EachUser(t.Context(), func(p sinks.User) error {
			points++
			var u model.User
			require.NoError(t, u.Decode(p.State))
			want := histories[p.ID]
			require.EqualValues(t, len(want), u.Events, p.ID)
			require.Equal(t, want, u.AppendSeen(nil), p.ID)
			var have []model.Key
			for _, h := range u.History {
				have = append(have, h.Key)
			}
			require.Equal(
				t, want[max(0, len(want)-app.ModelConfig(in.Config()).LongItems):], have, p.ID,
			)
			return nil
		}),
	)
	require.Equal(t, len(histories), points)

	var ids []string
	for id := range items {
		ids = append(ids, id)
	}
	found, err := in.Engines().Items.GetItems(t.Context(), ids)
	require.NoError(t, err)
	have := make(map[string]float64, len(found))
	for _, x := range found {
		have[x.Content.ItemID] = x.Count
	}
	require.Equal(t, items, have)
}

// servedConfig is the default configuration, but that everybody gets personal lists, in a world
// that turns faster.
func servedConfig(partitions int) func(*config.Config) {
	return func(cfg *config.Config) {
		cfg.Topics.Partitions = partitions
		cfg.Recommend.HoldoutShare = 0
		// People act every few seconds, here every tenth of a second: what is collected for two
		// seconds there is collected for as much less here.
		cfg.Stream.LearnInterval = 50 * time.Millisecond
		cfg.Recommend.TrendingInterval = config.Default().Recommend.TrendingInterval
	}
}

// compare holds what was served against what eval measures on the same events: the recommender as a
// whole. It allows 2 %.
func (s *qualityStream) compare(t *testing.T, cfg config.Config, served hits) {
	t.Helper()
	m := app.ModelConfig(cfg)
	blend := app.RecommendConfig(cfg, m, apptest.Quiet(t)).Blend
	full := s.measure(t, func(d *eval.Data) eval.Method { return eval.NewFull(d, m, blend) })
	bare := s.measure(t, func(d *eval.Data) eval.Method { return eval.NewBare(d, m) })
	require.Len(t, served, len(full), "the same events are judged")
	var only [2]int
	for id, hit := range served {
		want, ok := full[id]
		require.True(t, ok, id)
		switch {
		case hit && !want:
			only[0]++
		case want && !hit:
			only[1]++
		}
	}
	ratio := served.recall() / full.recall()
	// standard error of ratio
	chance := math.Sqrt(float64(only[0]+only[1])) / (full.recall() * float64(len(full)))
	t.Logf(
		"Recall@%d of %d events: served %.4f, eval's full %.4f (%+.2f ± %.2f %%), bare model "+
			"%.4f; hits of the served lists only %d, of eval's only %d",
		qualityK,
		len(served),
		served.recall(),
		full.recall(),
		100*(ratio-1),
		100*chance,
		bare.recall(),
		only[0],
		only[1],
	)
	require.GreaterOrEqual(t, ratio, 0.98, "lists served are worse than lists measured")
}

func TestLongServedQualityIsAsMeasured(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_QUALITY", "quality")
	s := newQualityStream(t)
	for _, x := range []struct {
		partitions int
		again      bool
	}{{1, false}, {4, false}, {4, true}} {
		t.Run(
			fmt.Sprintf("partitions %d, sent again %t", x.partitions, x.again),
			func(t *testing.T) {
				in, stop := apptest.StartEmbedded(t, t.TempDir(), servedConfig(x.partitions))
				served := s.serve(t, in, x.again)
				s.counted(t, in)
				stop()
				s.compare(t, in.Config(), served)
			},
		)
	}
}

// Two instances share the partitions, each with rows and recent positives of its own.
func TestRealServedQualityOfTwoInstances(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_QUALITY", "quality")
	s := newQualityStream(t)
	in := apptest.StartReal(t, servedConfig(4))
	apptest.Start(t, in.Config(), false)
	served := s.serve(t, in, true)
	s.counted(t, in)
	s.compare(t, in.Config(), served)
}
