package api_test

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

// film is a film of which so many events were learned, at an angle to The Exorcist of which near is
// the cosine.
func film(title string, count, near float64, director string, genres ...string) sinks.Item {
	x := schemas.Item{ItemID: title, Title: title, Genres: genres}
	if director != "" {
		x.Directors = []string{director}
	}
	v := make([]float32, model.Default().Dim+1)
	// Two films with the same cosine have little else in common, and the popular have long vectors.
	v[0], v[1+len(title)%32] = float32(near), float32(1-near*near)
	long := float32(1 + count/20)
	for i := range v {
		v[i] *= long
	}
	v[len(v)-1] = float32(count / 100)
	return sinks.Item{
		Content: x, Vector: v, Count: count, Version: 1, ChangedAt: time.Now(),
		ContentVector: model.ContentVector(x.Features(), model.DefaultContentDim),
	}
}

// horror is a catalog in which much is known of some films and nothing of others.
func horror() []sinks.Item {
	return []sinks.Item{
		film("The Exorcist", 290, 1, "William Friedkin", "Horror"),
		film("Halloween", 184, 0.8, "John Carpenter", "Horror"),
		film("Carrie", 215, 0.7, "Brian De Palma", "Horror"),
		film("Alien", 858, 0.6, "Ridley Scott", "Horror", "Science Fiction"),
		film("Casablanca", 300, -0.4, "Michael Curtiz", "Romance"),
		film("Autopsy", 0, 0.9, "", "Horror"),
		film("Torso", 1, 0.2, "", "Horror"),
		film("The Exorcist III", 2, 0.1, "William Friedkin", "Horror"),
		film("Pastry", 0, 0.1, "", "Documentary"),
	}
}

// What was learned of well-known films comes first; content fills up, on the same scale.
func TestSimilarItemsAreOnOneScale(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "horror.db"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.PutItems(t.Context(), horror()))
	f := setup(t, func(_ *config.HTTP, d *api.Deps) {
		d.Recommender = recommend.New(
			recommend.Stores{Users: store, Items: store, Graph: store},
			processors.NewErasures(), recommend.DefaultConfig(), time.Now,
		)
	})
	like := func(title, locale string) (titles []string, list schemas.Recommendation) {
		t.Helper()
		w := f.do(
			t, "GET", "/v1/items/"+url.PathEscape(title)+"/similar?locale="+locale, "",
		)
		require.Equal(t, 200, w.Code, w.Body.String())
		list = decode[schemas.Recommendation](t, w)
		for i, x := range list.Items {
			titles = append(titles, x.ItemID)
			require.Equal(t, i+1, x.Rank)
			require.Greater(t, x.Score, 0.0, x.ItemID)
			require.LessOrEqual(t, x.Score, 1.0, x.ItemID)
			if i > 0 {
				require.LessOrEqual(t, x.Score, list.Items[i-1].Score, x.ItemID)
			}
		}
		return titles, list
	}
	reasons := func(list schemas.Recommendation) map[string]string {
		out := make(map[string]string)
		for _, x := range list.Items {
			out[x.ItemID] = x.Reason
		}
		return out
	}

	titles, list := like("The Exorcist", "en")
	require.Equal(t, []string{"Halloween", "Carrie", "Alien"}, titles[:3])
	require.ElementsMatch(t, []string{"The Exorcist III", "Autopsy", "Torso"}, titles[3:],
		"no film is listed that has nothing in common with this one")
	together := "people who choose The Exorcist often choose this too"
	require.Equal(t, map[string]string{
		"Halloween": together, "Carrie": together, "Alien": together,
		"The Exorcist III": "same director as The Exorcist (William Friedkin)",
		"Autopsy":          "also Horror", "Torso": "also Horror",
	}, reasons(list))

	_, list = like("The Exorcist", "de")
	require.Equal(t, "wer The Exorcist wählt, wählt oft auch das", list.Items[0].Reason)
	require.Equal(t, "dieselbe Regie wie The Exorcist (William Friedkin)",
		reasons(list)["The Exorcist III"])
	require.Equal(t, "auch Horror", reasons(list)["Torso"])

	// Nothing was learned of this one: its content says what it is like.
	titles, list = like("Autopsy", "en")
	require.True(t, slices.Contains(titles, "The Exorcist"), titles)
	require.NotContains(t, titles, "Casablanca")
	for _, x := range list.Items {
		require.Equal(t, recommend.SourceContent, x.Source)
		require.True(t, strings.HasPrefix(x.Reason, "also Horror"), x.Reason)
	}
}
