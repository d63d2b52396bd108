package schemas_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var update = flag.Bool("update", false, "write the golden files and the AsyncAPI document anew")

// golden is a record in testdata: bytes that were once written and must stay readable forever.
type golden struct {
	Topic   string            `json:"topic"`
	Key     string            `json:"key"`
	Headers map[string]string `json:"headers"`
	Value   json.RawMessage   `json:"value"`
}

// samples is one event of a kind, with every field set. A new kind has its sample in a test of its
// own, beside the kind.
func samples() map[string]record.Record {
	at := time.Date(2026, 3, 1, 20, 15, 0, 500_000_000, time.UTC)
	value, yes := 4.5, true

	return map[string]record.Record{
		"interaction.recorded.v1": schemas.Interaction{
			EventID: "e1", Source: "shop", UserID: "u42", ItemID: "m7", Action: schemas.Rate,
			Value: &value, OccurredAt: at, SessionID: "s1", RecommendationID: "r1",
			Context: map[string]string{"page": "home", "device": "tv"},
		}.Message(),
		"friendship.added.v1": schemas.Friendship{
			EventID: "e2", Source: "shop", UserID: "u7", FriendID: "u42", OccurredAt: at,
		}.Message(),
		"friendship.removed.v1": schemas.Friendship{
			EventID: "e3", Source: "shop", UserID: "u7", FriendID: "u42", Removed: true,
			OccurredAt: at,
		}.Message(),
		"item.updated.v1": schemas.Item{
			EventID: "e4", Source: "shop", ItemID: "m7", Title: "Lantern Street",
			Genres: []string{"Drama"}, Actors: []string{"Tom Oake", "Lena Fry"},
			Directors: []string{"Ida Marsh"},
			Tags:      []string{"night"}, Description: "A street.", PublishedAt: at,
			Available: &yes, Attributes: map[string]any{"minutes": 101.0}, OccurredAt: at,
		}.Message(),
		"item.withdrawn.v1": schemas.Item{
			EventID: "e5", Source: "shop", ItemID: "m7", Withdrawn: true, OccurredAt: at,
		}.Message(),
		"user.updated.v1": schemas.User{
			EventID: "e6", Source: "shop", UserID: "u42",
			Attributes: map[string]any{"country": "NL"}, OccurredAt: at,
		}.Message(),
		"user.erased.v1": schemas.User{
			EventID: "e7", Source: "shop", UserID: "u42", Erased: true, OccurredAt: at,
		}.Message(),
		"recommendation.served.v1": (&schemas.Recommendation{
			UserID: "u42", RecommendationID: "r1", Strategy: schemas.StrategyPersonal, Variant: "a",
			Version: 17, GeneratedAt: at, ExpiresAt: at.Add(time.Hour),
			CausedBy: schemas.CausedBy{
				Trigger: "event", Topic: schemas.TopicInteractions, Partition: 3, Offset: 991,
				EventID: "e1", OccurredAt: at, AcceptedAt: at,
			},
			Degraded: []string{"neo4j"},
			Items: []schemas.RecommendedItem{
				{
					ItemID: "m9", Rank: 1, Score: 0.93,
					Reason: "because you watched Lantern Street", Source: "vectors",
					Title: "Paper Moon Heist",
				},
			},
		}).Message(schemas.TopicRecommendations),
		"trending.computed.v1": (&schemas.Trending{
			ComputedAt: at, HalfLife: "6h0m0s",
			Items: []schemas.TrendingItem{{ItemID: "m9", Score: 12.5}},
		}).Message(),
		"profile.changed.v1": (&schemas.ProfileChanged{
			UserID: "u42", Topic: schemas.TopicInteractions, Partition: 3, Offset: 991,
			EventID: "e1", OccurredAt: at, AcceptedAt: at,
		}).Message(),
		"user_erasure.recorded.v1": schemas.Erasure{
			UserKey:  schemas.Key("u42"),
			ErasedAt: at,
		}.Message(),
	}
}

// decodeAny reads a record by its topic, with the decoder that processors use.
func decodeAny(r *record.Record) (any, error) {
	var decode func(*record.Record) (any, error)
	for _, d := range schemas.Registry() {
		if d.Decode == nil || !slices.Contains(d.Topics, r.Topic) {
			continue
		}
		if decode == nil || string(d.Kind) == r.Header(schemas.HeaderType) {
			decode = d.Decode // of the kind, else of the first kind of the topic
		}
	}
	if decode == nil {
		panic(r.Topic)
	}
	return decode(r)
}

func toRecord(m record.Record) *record.Record {
	return &record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
}

func goldenPath(k schemas.Kind) string { return filepath.Join("testdata", string(k)+".json") }

// TestGolden pins the bytes of the kinds above. Kinds with a test of their own call requireGolden.
func TestGolden(t *testing.T) {
	for name, m := range samples() {
		t.Run(name, func(t *testing.T) { requireGolden(t, m) })
	}
}

// requireGolden compares the bytes of a record with the golden file of its kind. A file is never
// changed: what must be written otherwise is a new version with a file of its own.
func requireGolden(t *testing.T, m record.Record) {
	t.Helper()
	g := golden{Topic: m.Topic, Key: string(m.Key), Headers: map[string]string{}, Value: m.Value}
	for _, h := range m.Headers {
		g.Headers[h.Key] = string(h.Value)
	}
	got, err := json.MarshalIndent(g, "", "  ")
	require.NoError(t, err)
	got = append(got, '\n')
	kind := schemas.Kind(m.Header(schemas.HeaderType))
	if *update {
		require.NoError(t, os.WriteFile(goldenPath(kind), got, 0o600))
	}
	want, err := os.ReadFile(goldenPath(kind))
	require.NoError(t, err, "a new kind: run go test ./schemas -update")
	require.Equal(t, string(want), string(got),
		"the bytes of %s have changed: that is a new version", kind)
}

// readGolden returns the record that a golden file holds.
func readGolden(t testing.TB, path string) *record.Record {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(b, &g))
	r := &record.Record{Topic: g.Topic, Key: []byte(g.Key), Value: g.Value}
	for k, v := range g.Headers {
		r.Headers = append(r.Headers, record.Header{Key: k, Value: []byte(v)})
	}
	return r
}

// TestOldVersionsDecodeForever reads every file in testdata, of whatever version, and writes it
// again: nothing may get lost.
func TestOldVersionsDecodeForever(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.v*.json")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), len(samples()))
	for _, path := range paths {
		g := readGolden(t, path)
		x, err := decodeAny(g)
		require.NoError(t, err, path)
		if m, ok := samples()[filepath.Base(path[:len(path)-len(".json")])]; ok {
			want, err := decodeAny(toRecord(m))
			require.NoError(t, err)
			require.Equal(t, want, x, path)
		}
		again := rewrite(t, x)
		require.Equal(t, g.Topic, again.Topic, path)
		require.Equal(t, g.Key, again.Key, path)
		require.JSONEq(t, string(g.Value), string(again.Value), path)
		require.ElementsMatch(t, g.Headers, again.Headers, path)
	}
}

// rewrite makes the record of what was decoded.
func rewrite(t testing.TB, x any) record.Record {
	t.Helper()
	switch x := x.(type) {
	case schemas.Event:
		return x.Record()
	case *schemas.Recommendation:
		return x.Message(schemas.TopicRecommendations)
	case interface{ Message() record.Record }:
		return x.Message()
	}
	t.Fatalf("%T has no Message", x)
	return record.Record{}
}

// FuzzDecoders throws records at every decoder. None may panic. What decodes is the same after it
// was written and read once more.
func FuzzDecoders(f *testing.F) {
	var topics []string
	for _, d := range schemas.Registry() {
		if d.Decode != nil && !slices.Contains(topics, d.Topics[0]) {
			topics = append(topics, d.Topics[0])
		}
	}
	for i, topic := range topics {
		for _, d := range schemas.Registry() {
			if d.Topics[0] != topic || d.Decode == nil {
				continue
			}
			r := readGolden(f, goldenPath(d.Kind))
			f.Add(
				i, r.Key, r.Value, string(d.Kind), r.Header(schemas.HeaderID),
				r.Header(schemas.HeaderTime),
			)
			f.Add(i, r.Key, r.Value, "", "", "")
		}
		f.Add(i, []byte("k"), []byte(nil), "", "", "")
	}
	f.Fuzz(func(t *testing.T, i int, key, value []byte, kind, id, at string) {
		r := &record.Record{
			Topic: topics[uint(i)%uint(len(topics))], Partition: 3, Offset: 42,
			Time: time.Unix(1.7e9, 0).UTC(), Key: key, Value: value,
		}
		for _, h := range []record.Header{
			{Key: schemas.HeaderType, Value: []byte(kind)},
			{Key: schemas.HeaderID, Value: []byte(id)},
			{Key: schemas.HeaderTime, Value: []byte(at)},
		} {
			if len(h.Value) > 0 {
				r.Headers = append(r.Headers, h)
			}
		}
		x, err := decodeAny(r)
		if err != nil {
			return
		}
		first := rewrite(t, x)
		again := toRecord(first)
		again.Partition, again.Offset, again.Time = r.Partition, r.Offset, r.Time
		y, err := decodeAny(again)
		require.NoError(t, err, "what was written can be read: %s", first.Value)
		second := rewrite(t, y)
		require.Equal(t, first, second)
	})
}
