package recommend_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// With CatalogOnly no source recommends an id that only events name.
func TestCatalogOnlyLeavesOutWhatHasNoEntry(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprint(only), func(t *testing.T) {
			t.Parallel()
			store, cfg := openStore(t), recommend.DefaultConfig()
			cfg.CatalogOnly, cfg.Holdout = only, 0
			var items []sinks.Item
			for _, id := range []string{"listed", "invented"} {
				x := sinks.Item{
					Content: schemas.Item{ItemID: id}, Version: 1, Count: 9,
					Vector: make([]float32, cfg.Model.Dim+1),
				}
				x.Vector[0] = 1
				if id == "listed" {
					x.Content.Title = "Listed"
				}
				items = append(items, x)
			}
			require.NoError(t, store.PutItems(t.Context(), items))
			r := recommend.New(
				recommend.Stores{Users: store, Items: store, Graph: store},
				processors.NewErasures(), cfg, func() time.Time { return noon },
			)
			u := model.User{Events: 1}
			v := make([]float32, cfg.Model.Dim+1)
			v[0], v[cfg.Model.Dim] = 1, model.BiasScale
			require.NoError(t, store.PutUsers(
				t.Context(), sinks.Source{Topic: schemas.TopicInteractions}, []sinks.User{{
					ID: "ann", Vector: v, State: u.Append(nil), LastEventAt: noon, ChangedAt: noon,
					Positions: map[string]sinks.Position{
						schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, 1),
					},
				}},
			))
			want := []string{"listed", "invented"}
			if only {
				want = want[:1]
			}
			check := func(what string) {
				t.Helper()
				lists, err := r.Recommend(t.Context(), []recommend.Request{
					{UserID: "ann"}, {UserID: "nobody"},
				})
				require.NoError(t, err)
				for _, l := range lists {
					require.ElementsMatch(t, want, idsOf(l), "%s: %s", what, l.UserID)
				}
			}
			check("before trending is known")
			trending := schemas.Trending{ComputedAt: noon, Items: []schemas.TrendingItem{
				{ItemID: "invented", Score: 2}, {ItemID: "listed", Score: 1},
			}}
			m := trending.Message()
			require.NoError(t, r.ApplyTrending(&m))
			check("with trending")
			similar, err := r.Similar(t.Context(), "listed", 5, "")
			require.NoError(t, err)
			require.Len(t, similar.Items, len(want)-1)
		})
	}
}

func idsOf(list schemas.Recommendation) (ids []string) {
	for _, x := range list.Items {
		ids = append(ids, x.ItemID)
	}
	return ids
}
