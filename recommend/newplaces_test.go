package recommend_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
)

// An item stops being new; who made it says more than its genre.
func TestPlacesForNewItems(t *testing.T) {
	t.Parallel()
	c := newCinema(t, nil)
	carpenter := filmOf("The Ward", 0, schemas.Item{
		Genres: []string{"Horror"}, Directors: []string{"John Carpenter"},
	})
	curtis := filmOf("The Fog", 0, schemas.Item{
		Genres: []string{"Horror"}, Actors: []string{"Jamie Lee Curtis"},
	})
	c.adds(t, &carpenter, newYear)
	c.adds(t, &curtis, newYear)
	_, byID := c.listFor(t, 20)
	require.Equal(t, "same director as Halloween (John Carpenter)", byID["The Ward"].Reason)
	require.Equal(t, "with Jamie Lee Curtis, like Halloween", byID["The Fog"].Reason)

	// It was taken six times.
	carpenter.Count, carpenter.Version = 6, 2
	c.adds(t, &carpenter, newYear)
	_, byID = c.listFor(t, 20)
	require.NotContains(t, byID, "The Ward")
	require.Contains(t, byID, "The Fog")

	none := newCinema(t, func(cfg *recommend.Config) { cfg.Blend.NewShare = 0 })
	none.adds(t, &curtis, newYear)
	_, byID = none.listFor(t, 20)
	require.NotContains(t, byID, "The Fog")
}

// Hardly anything is known of a small catalog: then new items are those whose turn it is, and the
// one that fits best of those that came together.
func TestABrandNewItemIsOnListsOfASmallCatalog(t *testing.T) {
	t.Parallel()
	c := newCinema(t, nil)
	for n := range 60 {
		x := filmOf(fmt.Sprintf("rare-%02d", n), 900, schemas.Item{Genres: []string{"Horror"}})
		x.Count = 4
		c.adds(t, &x, newYear.Add(-48*time.Hour))
	}
	fits := filmOf("Fits", 0, schemas.Item{Genres: []string{"Horror"}})
	worse := filmOf("Hardly fits", 0, schemas.Item{Genres: []string{"Horror", "Drama", "War"}})
	c.adds(t, &fits, newYear)
	c.adds(t, &worse, newYear)
	_, byID := c.listFor(t, 20)
	require.Contains(t, byID, "Fits")
}
