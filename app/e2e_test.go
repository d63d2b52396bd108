package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestEndToEndEmbedded(t *testing.T) {
	in, _ := apptest.StartEmbedded(
		t, t.TempDir(), func(c *config.Config) { c.Kafka.TopicPrefix = "shop." },
	)
	everything(t, in)
}

func TestRealEndToEnd(t *testing.T) {
	everything(t, apptest.StartReal(t, nil))
}

// everything walks through what users of the whole product do.
func everything(t *testing.T, in *apptest.Installation) {
	in.World(t, 1500)
	t.Run(
		"bad records go to the poison topic and the rest flows",
		func(t *testing.T) { badRecords(t, in) },
	)
	in.AwaitIdle(t, 90*time.Second)
	t.Run("rows and rollups are exact", func(t *testing.T) { exactRows(t, in) })
	t.Run("lists on the topic and over REST", func(t *testing.T) { lists(t, in) })
	t.Run("an event sent twice counts once", func(t *testing.T) { twice(t, in) })
	t.Run("friendships are last write wins", func(t *testing.T) { friendships(t, in) })
	t.Run("a new user is served after the first event", func(t *testing.T) { newUser(t, in) })
	t.Run("a new item can be recommended within a second", func(t *testing.T) { newItem(t, in) })
	t.Run("an erased user is gone and stays gone", func(t *testing.T) { erased(t, in) })
}

// countOnLog returns how many interactions of declared actions stand on the log, each id once.
func countOnLog(t *testing.T, in *apptest.Installation) int64 {
	t.Helper()
	ids, actions := make(map[string]struct{}), schemas.DefaultActions()
	for p := range in.Config().Topics.Partitions {
		require.NoError(
			t,
			in.Kafka().Read(
				t.Context(), schemas.TopicInteractions, p, 0, -1, func(r *record.Record) error {
					x, err := schemas.DecodeInteraction(r)
					if err == nil && actions.Check(&x) == nil {
						ids[x.Source+"\x00"+x.EventID] = struct{}{}
					}
					return nil
				}),
		)
	}
	return int64(len(ids))
}

func exactRows(t *testing.T, in *apptest.Installation) {
	want := countOnLog(t, in)
	require.Positive(t, want)
	got, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: want, ItemHours: want, UserDays: want}, got)
}

func lists(t *testing.T, in *apptest.Installation) {
	current := in.Latest(t, schemas.TopicRecommendationsCurrent)
	var users []string
	require.NoError(
		t,
		in.Engines().Users.(sinktest.UserLister).EachUser(
			t.Context(),
			func(u sinks.User) error { users = append(users, u.ID); return nil },
		),
	)
	require.NotEmpty(t, users)
	empty := 0
	for _, u := range users {
		require.Contains(t, current, u, "every user has a list")
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(current[u], &list))
		if len(list.Items) == 0 {
			// The last event came before the first trending list, and there was nothing else: in
			// the hold-out, or before any item of the catalog had factors. Now there is.
			require.Equal(t, []string{recommend.DegradedTrending}, list.Degraded)
			code, body := in.Call(t, http.MethodGet, "/v1/users/"+u+"/recommendations", nil)
			require.Equal(t, http.StatusOK, code, string(body))
			var now schemas.Recommendation
			require.NoError(t, json.Unmarshal(body, &now))
			require.NotEmpty(t, now.Items, string(body))
			empty++
		}
		require.Equal(t, u, list.UserID)
		require.Equal(t, "event", list.CausedBy.Trigger)
		for i, x := range list.Items {
			require.Equal(t, i+1, x.Rank)
			require.NotEmpty(t, x.Reason)
			require.NotEmpty(t, x.Title)
		}
	}
	require.Less(t, empty, len(users)/4)
	code, body := in.Call(t, http.MethodGet, "/v1/users/nobody-yet/recommendations?n=5", nil)
	require.Equal(t, http.StatusOK, code, string(body))
	var list schemas.Recommendation
	require.NoError(t, json.Unmarshal(body, &list))
	require.Equal(t, schemas.StrategyTrending, list.Strategy)
	require.Len(t, list.Items, 5)
}

func twice(t *testing.T, in *apptest.Installation) {
	before, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	event := `{"event_id":"twice-1","source":"test","user_id":"twin","item_id":"film-1",` +
		`"action":"like"}`
	for range 3 {
		code, body := in.Call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
	in.AwaitIdle(t, 30*time.Second)
	after, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Rows+1, after.Rows)
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"twin"})
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.Equal(t, []model.Key{model.KeyOf("film-1")}, history(t, in, "twin"))
}

func friendships(t *testing.T, in *apptest.Installation) {
	rng := rand.New(rand.NewPCG(7, 7))
	people := []string{"fa", "fb", "fc", "fd", "fe", "ff"}
	type last struct {
		at      time.Time
		id      string
		removed bool
	}
	want := make(map[[2]string]last)
	var batch []record.Record
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 300 {
		a, b := people[rng.IntN(len(people))], people[rng.IntN(len(people))]
		if a == b {
			continue
		}
		f := schemas.Friendship{
			EventID: fmt.Sprintf("f%03d", i), Source: "test", UserID: a, FriendID: b,
			Removed:    rng.IntN(3) == 0,
			OccurredAt: base.Add(time.Duration(rng.IntN(50)) * time.Minute),
		}
		low, high := f.Pair()
		x := last{f.OccurredAt, f.EventID, f.Removed}
		if old, ok := want[[2]string{low, high}]; !ok || x.at.After(old.at) ||
			x.at.Equal(old.at) && x.id > old.id {
			want[[2]string{low, high}] = x
		}
		batch = append(batch, f.Message())
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	in.AwaitIdle(t, 30*time.Second)
	got := make(map[[2]string]bool)
	require.NoError(
		t,
		in.Engines().Graph.(sinktest.EdgeLister).EachEdge(t.Context(), func(e sinks.Edge) error {
			if slices.Contains(people, e.A) {
				got[[2]string{e.A, e.B}] = true
			}
			return nil
		}),
	)
	for pair, x := range want {
		require.Equal(t, !x.removed, got[pair], "%v", pair)
	}
}

func newUser(t *testing.T, in *apptest.Installation) {
	code, body := in.Call(
		t, http.MethodPost, "/v1/events",
		`{"user_id":"newcomer","item_id":"film-3","action":"like"}`,
	)
	require.Equal(t, http.StatusAccepted, code, string(body))
	apptest.Eventually(t, 10*time.Second, func() error {
		value := in.Latest(t, schemas.TopicRecommendationsCurrent)["newcomer"]
		if value == nil {
			return errors.New("no list yet")
		}
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(value, &list))
		if list.Strategy != schemas.StrategyPersonal {
			return fmt.Errorf("the list is %s", list.Strategy)
		}
		return nil
	})
}

func newItem(t *testing.T, in *apptest.Installation) {
	fastest := time.Hour
	for i := range 3 { // a busy machine may be slow once
		genre := fmt.Sprintf("Brand New Genre %d", i)
		sent := time.Now()
		code, body := in.Call(
			t, http.MethodPut, fmt.Sprintf("/v1/items/brand-new-%d", i),
			map[string]any{"title": "A brand new film", "genres": []string{genre}},
		)
		require.Less(t, code, 300, string(body))
		apptest.Eventually(t, 10*time.Second, func() error {
			hits, err := in.Engines().Items.SearchItems(
				t.Context(),
				[]sinks.ItemQuery{
					{
						Vector: make([]float32, in.Config().Model.Dim+1), N: 10,
						Genres: []string{genre},
					},
				},
			)
			if err != nil {
				return err
			}
			if len(hits[0]) != 1 {
				return errors.New("not found yet")
			}
			return nil
		})
		fastest = min(fastest, time.Since(sent))
	}
	t.Logf("found by search after %v", fastest.Round(time.Millisecond))
	require.Less(t, fastest, time.Second)
}

func badRecords(t *testing.T, in *apptest.Installation) {
	bad := map[string]string{
		"undecodable": "{not json", "schema": `{"user_id":"u","item_id":"i","action":"teleport"}`,
		"type": `{"user_id":7,"item_id":"i","action":"like"}`,
		// Two people in Latin-1, and one whose name is cut in half: none becomes M\ufffdller.
		"M\xfcller": `{"user_id":"M` + "\xfc" + `ller","item_id":"i","action":"like"}`,
		"M\xf6ller": `{"user_id":"M` + "\xf6" + `ller","item_id":"i","action":"like"}`,
		"surrogate": `{"user_id":"M\ud83dller","item_id":"i","action":"like"}`,
	}
	var batch []record.Record
	for key, value := range bad {
		batch = append(
			batch,
			record.Record{
				Topic: schemas.TopicInteractions, Partition: record.AnyPartition, Key: []byte(key),
				Value: []byte(value),
			},
		)
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	code, body := in.Call(
		t, http.MethodPost, "/v1/events", `{"user_id":"u","item_id":"i","action":"teleport"}`,
	)
	require.Equal(t, http.StatusBadRequest, code, string(body))
	code, body = in.Call(
		t, http.MethodPost, "/v1/events",
		`{"user_id":"u","item_id":"i","action":"view","note":"`+strings.Repeat("x", 9<<20)+`"}`,
	)
	require.Equal(t, http.StatusRequestEntityTooLarge, code, string(body[:min(len(body), 300)]))
	in.AwaitIdle(t, 60*time.Second)
	open := func() []deadletter.Letter {
		found, err := in.Kafka().DeadLetters().List(
			t.Context(), deadletter.Filter{State: deadletter.Open},
		)
		require.NoError(t, err)
		return found
	}
	letters := open()
	each := len(processors.Readers(schemas.TopicInteractions))
	require.Len(t, letters, each*len(bad), "a dead letter of each processor that reads the topic")
	for _, l := range letters {
		require.Equal(t, bad[string(l.Key)], string(l.Value))
		require.Equal(t, "permanent", l.Class.String())
	}
	merged, err := in.Engines().Users.GetUsers(t.Context(), []string{"M\ufffdller"})
	require.NoError(t, err)
	require.Empty(t, merged, "people whose names are not UTF-8 do not become one")
	n, err := in.Kafka().DeadLetters().Drop(
		t.Context(), deadletter.Filter{IDs: []string{letters[0].ID}}, "test",
	)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = in.Kafka().DeadLetters().Replay(
		t.Context(), deadletter.Filter{IDs: []string{letters[1].ID}}, deadletter.ReplayOptions{},
	)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	in.AwaitIdle(t, 30*time.Second)
	require.Len(
		t, open(), each*len(bad)-1,
		"the dropped one is not open any more, the replayed one failed again",
	)
}

// history returns the keys of a user's latest items, latest last.
func history(t *testing.T, in *apptest.Installation, user string) (keys []model.Key) {
	t.Helper()
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{user})
	require.NoError(t, err)
	require.Len(t, points, 1)
	var u model.User
	require.NoError(t, u.Decode(points[0].State))
	for _, h := range u.History {
		keys = append(keys, h.Key)
	}
	return keys
}

func erased(t *testing.T, in *apptest.Installation) {
	const who = "user-1"
	addFriend := func(friend string) {
		code, body := in.Call(t, http.MethodPut, "/v1/users/"+who+"/friends/"+friend, nil)
		require.Less(t, code, 300, string(body))
	}
	addFriend("user-2")
	code, body := in.Call(
		t, http.MethodPut, "/v1/users/"+who,
		map[string]any{"attributes": map[string]any{"country": "FR"}},
	)
	require.Less(t, code, 300, string(body))
	in.AwaitIdle(t, 30*time.Second)
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{who})
	require.NoError(t, err)
	require.Len(t, points, 1)
	for table, n := range in.RowsOf(t, who) {
		require.Positive(t, n, table)
	}
	code, body = in.Call(t, http.MethodDelete, "/v1/users/"+who, nil)
	require.Less(t, code, 300, string(body))
	in.AwaitIdle(t, 30*time.Second)
	// What happened before and comes late must not bring the person back.
	past := time.Now().Add(-24 * time.Hour).UTC()
	late := []record.Record{
		schemas.Interaction{
			EventID: "late-1", Source: "test", UserID: who, ItemID: "film-1", Action: schemas.Like,
			OccurredAt: past,
		}.Message(),
		schemas.Friendship{
			EventID: "late-2", Source: "test", UserID: who, FriendID: "user-3", OccurredAt: past,
		}.Message(),
		schemas.User{
			EventID: "late-3", Source: "test", UserID: who, OccurredAt: past,
			Attributes: map[string]any{"country": "FR"},
		}.Message(),
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), late))
	in.AwaitIdle(t, 30*time.Second)
	points, err = in.Engines().Users.GetUsers(t.Context(), []string{who})
	require.NoError(t, err)
	require.Empty(t, points)
	require.NoError(
		t,
		in.Engines().Graph.(sinktest.EdgeLister).EachEdge(t.Context(), func(e sinks.Edge) error {
			require.NotContains(t, []string{e.A, e.B}, who)
			return nil
		}),
	)
	require.Equal(
		t, map[string]int{"interactions": 0, "recommendations": 0, "user_days": 0, "users": 0},
		in.RowsOf(t, who),
	)
	require.Nil(t, in.Latest(t, schemas.TopicRecommendationsCurrent)[who])
	for key := range in.Latest(t, schemas.TopicErasures) {
		require.NotContains(t, key, who)
	}
}

// sharedData is the path of a data set beside the repository, or skips.
func sharedData(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no data set at %s: the public data sets are not part of the repository", path)
	}
	return path
}

// movieLens replays MovieLens 100k and checks what every store holds.
func movieLens(t *testing.T, in *apptest.Installation) {
	path := sharedData(t, "ml-100k")
	set, err := datasets.Open(t.Context(), datasets.Config{Path: path})
	require.NoError(t, err)
	for range 2 { // the second time must change nothing
		_, err = datasets.Replay(t.Context(), set, in.Kafka(), datasets.ReplayOptions{})
		require.NoError(t, err)
	}
	in.AwaitIdle(t, 8*time.Minute)
	got, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: 100_000, ItemHours: 100_000, UserDays: 100_000}, got)
	users, err := in.Engines().Users.CountUsers(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 943, users)
	items, err := in.Engines().Items.CountItems(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1682, items)
	require.Len(t, in.Latest(t, schemas.TopicRecommendationsCurrent), 943)
}

func TestLongMovieLensEmbedded(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	movieLens(t, in)
}

func TestRealMovieLens(t *testing.T) {
	movieLens(t, apptest.StartReal(t, nil))
}
