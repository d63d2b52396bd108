package recommend_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Who refuses a genre is not shown it, however popular it is, and can still ask for it.
func TestRefusedGenresAreNotInLists(t *testing.T) {
	t.Parallel()
	c := newCinema(t, nil) // 300 horror films, known and popular
	for n := range 40 {
		c.put(filmOf(fmt.Sprintf("drama-%02d", n), 50, schemas.Item{Genres: []string{"Drama"}}))
	}
	for name, history := range map[string][]did{
		"nils": {
			{"Halloween", schemas.Rate, new(1.5)},
			{"The Shining", schemas.Rate, new(1.0)},
			{"The Exorcist", schemas.Dislike, nil},
		},
		"gave up, and took back": {
			{"drama-00", schemas.Like, nil},
			{"Halloween", schemas.Watch, new(0.02)},
			{"The Shining", schemas.Like, nil},
			{"The Exorcist", schemas.Hide, nil},
			{"The Shining", schemas.Rate, new(1.0)},
		},
	} {
		c.acts(t, name, history...)
		list := c.asks(t, recommend.Request{UserID: name})
		require.Len(t, list, 20, name)
		for id := range list {
			require.Contains(t, id, "drama", name)
		}
		asked := c.asks(t, recommend.Request{UserID: name, Genres: []string{"Horror"}})
		require.Len(t, asked, 20, "%s asks for it", name)
	}

	// One film that was liked says that the others were the wrong ones.
	c.acts(t, "picky", did{"Halloween", schemas.Hide, nil}, did{"The Shining", schemas.Hide, nil},
		did{"The Exorcist", schemas.Hide, nil}, did{"known-000", schemas.Like, nil})
	require.Contains(t, c.asks(t, recommend.Request{UserID: "picky"}), "known-299")
}
