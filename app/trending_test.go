package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/apptest"
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
