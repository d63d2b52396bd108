package model_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
)

func TestPlacesAreKeptForNewItems(t *testing.T) {
	t.Parallel()
	var pool []model.Candidate
	for n := range 40 {
		pool = append(pool, model.Candidate{
			ID: fmt.Sprintf("k%02d", n), Score: float32(100 - n), Scored: true,
		})
	}
	pool = append(pool,
		model.Candidate{ID: "second", Scored: true, Score: 2, Content: 0.1, New: 2},
		model.Candidate{ID: "first", Scored: true, Score: 1, Content: 0.1, New: 1},
		model.Candidate{ID: "third", Scored: true, Score: 3, Content: 0.1, New: 3},
		model.Candidate{ID: "unfit", Scored: true, Score: 4, Content: 0.1},
	)
	ids := func(n int, share float64) (out []string, sources []model.Source) {
		for _, r := range model.Rank(pool, n, model.Blend{Content: 0.5, NewShare: share}) {
			out, sources = append(out, pool[r.Candidate].ID), append(sources, r.Source)
		}
		require.Len(t, out, n)
		return out, sources
	}
	got, sources := ids(20, 0.1)
	require.Equal(t, []string{"k17", "second", "first"}, got[17:], "in order of score")
	require.Equal(t, []model.Source{
		model.FromModel, model.FromContent, model.FromContent,
	}, sources[17:])
	got, _ = ids(10, 0.1)
	require.Equal(t, []string{"k08", "first"}, got[8:])
	got, _ = ids(4, 0.1)
	require.Equal(t, []string{"k00", "k01", "k02", "k03"}, got)
	got, _ = ids(20, 0)
	require.Equal(t, "k19", got[19])
	got, _ = ids(20, 1)
	require.Equal(t, []string{"k16", "third", "second", "first"}, got[16:], "there are no more")

	// One that is good enough without it has one of the places.
	pool[40].Score = 1000
	got, _ = ids(20, 0.1)
	require.Equal(t, "second", got[0])
	require.Equal(t, []string{"k17", "first"}, got[18:])
}

func TestNewItemsTakeTurns(t *testing.T) {
	t.Parallel()
	newest := []model.NewItem{{Key: 1, Fit: 0.7}, {Key: 2, Fit: 0.29}, {Key: 3, Fit: 0.8}}
	var others []model.NewItem
	for k := range 50 {
		others = append(others, model.NewItem{Key: model.Key(100 + k), Fit: 1})
	}
	others = append(others, newest[2], model.NewItem{Key: 999, Fit: 0.29})
	even, odd := model.TakeTurns(newest, others, 2), model.TakeTurns(newest, others, 3)
	for _, turns := range [][]model.Key{even, odd} {
		require.Len(t, turns, 52)
		require.NotContains(t, turns, model.Key(2), "it does not fit")
		require.NotContains(t, turns, model.Key(999), "others fit better")
	}
	require.EqualValues(t, 1, even[0])
	require.EqualValues(t, 3, even[2])
	require.EqualValues(t, 1, odd[1])
	require.EqualValues(t, 3, odd[3])
	require.Equal(t, even, model.TakeTurns(newest, others, 2))

	// Each of the others is soon the first of somebody.
	first := map[model.Key]bool{}
	for turn := range uint64(1000) {
		turns := model.TakeTurns(nil, others, turn)
		first[turns[0]] = true
	}
	require.Len(t, first, 51)
	slices.Reverse(others)
	require.Equal(t, even, model.TakeTurns(newest, others, 2), "their order does not matter")
	require.Empty(t, model.TakeTurns([]model.NewItem{{Key: 1, Fit: 0.09}}, nil, 1), "by chance")
}

func TestRefusedItems(t *testing.T) {
	t.Parallel()
	cfg := model.Default()
	cfg.LongItems, cfg.ShortItems = 3, 2
	l := model.NewLearner(model.NewTable(cfg))
	var u model.User
	does := func(id string, strength float32) {
		l.Step(&u, model.Event{Item: l.Table().Intern(id), Strength: strength, Takes: true})
	}
	keys := func(ids ...string) (out []model.Key) {
		for _, id := range ids {
			out = append(out, model.KeyOf(id))
		}
		return out
	}
	require.Empty(t, u.Refused(cfg.LongItems, 9))
	does("refused early", -1)
	does("taken", 1)
	does("given up", 0)
	does("taken too", 1)
	does("refused", -1)
	require.Equal(t, keys("refused", "given up", "refused early"), u.Refused(cfg.LongItems, 9))
	require.Equal(t, keys("refused"), u.Refused(cfg.LongItems, 1))
	// From here on the history is full: what was met before "taken too" may have left it.
	does("third", 1)
	does("fourth", 1)
	require.Equal(t, keys("refused"), u.Refused(cfg.LongItems, 9))

	require.True(t, model.Refuses(0, 3))
	require.False(t, model.Refuses(0, 2), "too few")
	require.False(t, model.Refuses(1, 9), "one was liked")
}
