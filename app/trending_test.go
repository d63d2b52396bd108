package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// answerOf asks the API for a list.
func answerOf(t *testing.T, in *apptest.Installation, path string) schemas.Recommendation {
	t.Helper()
	code, body := in.Call(t, http.MethodGet, path, nil)
	require.Equal(t, http.StatusOK, code, string(body))
	var list schemas.Recommendation
	require.NoError(t, json.Unmarshal(body, &list))
	return list
}

// act has a person do something with an item, so many times.
func act(t *testing.T, in *apptest.Installation, user, item, action string, times int) {
	t.Helper()
	for times > 0 {
		n := min(times, 100)
		times -= n
		events := make([]schemas.Interaction, n)
		for i := range events {
			events[i] = schemas.Interaction{
				UserID: user, ItemID: item, Action: schemas.Action(action),
			}
		}
		code, body := in.Call(t, http.MethodPost, "/v1/events", events)
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
}

// awaitTrending waits for a trending list that knows everything that has been done.
func awaitTrending(t *testing.T, in *apptest.Installation) {
	t.Helper()
	in.AwaitIdle(t, 90*time.Second)
	since := time.Now()
	apptest.Eventually(t, 30*time.Second, func() error {
		list, err := schemas.DecodeTrending(&record.Record{
			Value: in.Latest(t, schemas.TopicTrending)["all"],
		})
		if err == nil && list.ComputedAt.Before(since) {
			err = errors.New("no new trending list")
		}
		return err
	})
}

// A thousand likes of one person are one: three people are more.
func TestTrendingCannotBeBought(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	trendingCannotBeBought(t, in)
}

func TestRealTrendingCannotBeBought(t *testing.T) {
	trendingCannotBeBought(t, apptest.StartReal(t, nil))
}

func trendingCannotBeBought(t *testing.T, in *apptest.Installation) {
	for _, id := range []string{"bought", "liked", "viewed"} {
		code, body := in.Call(t, http.MethodPut, "/v1/items/"+id, map[string]string{"title": id})
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
	act(t, in, "buyer", "bought", "like", 1000)
	for n := range 3 {
		act(t, in, fmt.Sprint("user-", n), "liked", "like", 1)
		act(t, in, fmt.Sprint("user-", n), "viewed", "view", 1)
	}
	awaitTrending(t, in)
	// The list is on its way to the recommender.
	apptest.Eventually(t, 10*time.Second, func() error {
		if n := len(answerOf(t, in, "/v1/trending").Items); n != 3 {
			return fmt.Errorf("%d items are trending", n)
		}
		return nil
	})
	var items []string
	for _, x := range answerOf(t, in, "/v1/trending").Items {
		items = append(items, x.ItemID)
	}
	require.Equal(t, []string{"liked", "viewed", "bought"}, items)

	counts, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1006, counts.Rows, "the sums are exact")
	require.EqualValues(t, 1006, counts.ItemHours)
}

// TestLongListsOfGenresAreFull: after 50,000 ratings from the past and a view of today a newcomer
// gets a whole list, also of one genre. What is trending is not enough for that.
func TestLongListsOfGenresAreFull(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	set, err := datasets.Open(t.Context(), datasets.Config{
		Path: filepath.Join(sharedData(t, "ml-1m"), "ml-1m.zip"),
	})
	require.NoError(t, err)
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	_, err = datasets.Replay(t.Context(), set, in.Kafka(), datasets.ReplayOptions{Limit: 50_000})
	require.NoError(t, err)
	awaitTrending(t, in)
	genre := "/v1/trending?n=20&genre=Film-Noir"
	requireFull(t, answerOf(t, in, genre), 20, 3)

	act(t, in, "ann", "3", "view", 1) // Grumpier Old Men, a comedy
	awaitTrending(t, in)
	requireFull(t, answerOf(t, in, "/v1/users/newcomer/recommendations?n=20"), 20, 1)
	requireFull(t, answerOf(t, in, "/v1/users/newcomer/recommendations?n=50&genre=Comedy"), 50, 1)
	requireFull(t, answerOf(t, in, "/v1/trending?n=200"), 200, 1)
	requireFull(t, answerOf(t, in, genre), 20, 0)
}

// requireFull wants a list of n items, of which the first ones are trending, and at least so many.
func requireFull(t *testing.T, list schemas.Recommendation, n, trending int) {
	t.Helper()
	for i := range list.Items {
		x := &list.Items[i]
		if i < 20 {
			t.Logf("%3d %-40s %9.5f %s, %s", x.Rank, x.Title, x.Score, x.Source, x.Reason)
		}
	}
	require.Len(t, list.Items, n)
	seen := make(map[string]bool)
	source := recommend.SourceTrending
	for i, x := range list.Items {
		require.Equal(t, i+1, x.Rank)
		require.False(t, seen[x.ItemID], "%s stands twice", x.ItemID)
		seen[x.ItemID] = true
		require.Positive(t, x.Score)
		if i > 0 {
			require.LessOrEqual(t, x.Score, list.Items[i-1].Score)
		}
		if i < trending {
			require.Equal(t, recommend.SourceTrending, x.Source)
		}
		if x.Source != source {
			require.Equal(t, recommend.SourceVectors, x.Source)
			source = x.Source
		}
		reasons := map[string][]string{
			recommend.SourceTrending: {"popular right now"},
			recommend.SourceVectors:  {"often chosen", "from the catalog"},
		}
		require.Contains(t, reasons[x.Source], x.Reason)
	}
}
