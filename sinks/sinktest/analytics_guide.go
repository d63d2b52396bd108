package sinktest

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// analystsGuide is seen from the folders of the engines.
const analystsGuide = "../../docs/guides/analysts.md"

// guideQuery returns the first query of a numbered section of the analysts' guide.
func guideQuery(t *testing.T, n int) string {
	t.Helper()
	text, err := os.ReadFile(analystsGuide)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), fmt.Sprintf("\n**%d. ", n))
	require.True(t, found, "query %d", n)
	_, query, found := strings.Cut(section, "```sql\n")
	require.True(t, found, "query %d", n)
	query, _, found = strings.Cut(query, "```")
	require.True(t, found, "query %d", n)
	return query
}

// audience makes lists and the feedback to them.
type audience struct {
	lists    sinks.RecommendationRows
	feedback sinks.InteractionRows
	// clicked is for each variant and person the share of the lists shown that were clicked.
	clicked map[string][]float64
}

// person is served lists, is shown so many of them and clicks some of these.
func (a *audience) person(variant, strategy string, made, shown, clicked int) {
	user := fmt.Sprintf("%s %s %d", variant, strategy, len(a.lists))
	for n := range made {
		offset := int64(len(a.lists))
		id := fmt.Sprintf("r%d", offset)
		a.lists = append(a.lists, served(offset, id, user, strategy, variant, analyticsDay, "i"))
		say := func(action schemas.Action) {
			x := did(int64(len(a.feedback)), user, "i", action, analyticsDay)
			x.RecommendationID = id
			a.feedback = append(a.feedback, x)
		}
		if n < shown {
			say(schemas.Impression)
		}
		if n < clicked {
			say(schemas.Click)
			say(schemas.Click)
		}
	}
	if shown > 0 {
		a.clicked[variant] = append(a.clicked[variant], float64(clicked)/float64(shown))
	}
}

// spread returns the mean of what people did and the variance of that mean.
func spread(people []float64) (mean, variance float64) {
	n := float64(len(people))
	for _, x := range people {
		mean += x / n
	}
	for _, x := range people {
		variance += (x - mean) * (x - mean) / (n - 1) / n
	}
	return mean, variance
}

// analyticsComparison asks the guide's query 1 of an audience on which the recommender has no
// effect at all: those with a history click half of what they see, newcomers a tenth, whatever they
// are shown. Newcomers are served trending lists, so that they are missing among those with
// personal ones, but not in the hold-out. Most lists are never shown.
func analyticsComparison(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	a := audience{clicked: make(map[string][]float64)}
	for variant, people := range map[string]int{"default": 60, "holdout": 30} {
		strategy := "trending"
		if variant == "default" {
			strategy = "personal"
		}
		for i := range people {
			a.person(variant, strategy, 9, 4, 1+i%2*2)
			a.person(variant, "trending", 3, 2, (i%5)/4)
			a.person(variant, strategy, 5, 0, 0) // sees none
		}
	}
	a.person("default", "personal", 50, 50, 50) // counts as one person
	last := int64(len(a.lists)) - 1
	require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, last), a.lists))
	again := a.lists[:20:20] // lists that stand on the log twice
	require.NoError(t, e.Store.Insert(ctx, span("recommendations", 1, 0, last), again))
	require.NoError(t, e.Store.Insert(
		ctx, span("interactions", 0, 0, int64(len(a.feedback))-1), a.feedback,
	))

	rows := e.Query(t, guideQuery(t, 1))
	require.Len(t, rows, 2, "a row for each variant, whatever the strategies: %v", rows)
	base, baseVariance := spread(a.clicked["holdout"])
	for i, variant := range []string{"default", "holdout"} {
		require.Len(t, rows[i], 8)
		require.Equal(t, variant, rows[i][0])
		require.Equal(t, strconv.Itoa(len(a.clicked[variant])), rows[i][1], "people of %s", variant)
		mean, variance := spread(a.clicked[variant])
		want := around(mean, variance)
		if variant != "holdout" {
			want = append(want, around(mean-base, variance+baseVariance)...)
		}
		for n, x := range want {
			got, err := strconv.ParseFloat(rows[i][2+n], 64)
			require.NoError(t, err)
			require.InDelta(t, x, got, 1e-4, "%s, column %d of %v", variant, 2+n, rows[i])
		}
		if variant == "holdout" {
			require.Equal(t, []string{"NULL", "NULL", "NULL"}, rows[i][5:])
			continue
		}
		require.Less(t, want[4], 0.0, "no uplift")
		require.Greater(t, want[5], 0.0, "no uplift")
	}
}

// around is a value with its interval of 95 %.
func around(x, variance float64) []float64 {
	return []float64{x, x - 1.96*math.Sqrt(variance), x + 1.96*math.Sqrt(variance)}
}
