package sinktest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// TestItems holds an engine to the contract Items. open returns a migrated, empty store that is
// closed at the end of the test.
func TestItems(t *testing.T, open func(t *testing.T) Items) {
	runAll(t, open, slices.Concat(itemPutCases(), itemSearchCases(), itemVersionCases(),
		itemLeaveCases()))
}

// item returns an available item; v is the first number of both vectors, to tell versions apart and
// to order search results.
func item(id string, version uint64, v float32) sinks.Item {
	learned, content := make([]float32, VectorDim), make([]float32, ContentDim)
	learned[0], learned[VectorDim-1] = v, 1
	content[0], content[1] = float32(math.Cos(float64(v))), float32(math.Sin(float64(v)))
	return sinks.Item{
		Content: schemas.Item{
			ItemID: id, Title: fmt.Sprintf("Item %s at %d", id, version), OccurredAt: noon,
		},
		Vector: learned, ContentVector: content, Version: version, Count: float64(version),
		ChangedAt: noon.Add(time.Duration(version)),
	}
}

func putItems(t *testing.T, s Items, items ...sinks.Item) {
	t.Helper()
	require.NoError(t, s.PutItems(t.Context(), items))
}

func getItem(t *testing.T, s Items, id string) sinks.Item {
	t.Helper()
	found, err := s.GetItems(t.Context(), []string{id})
	require.NoError(t, err)
	require.Len(t, found, 1, "item %q", id)
	return found[0]
}

func requireContent(t *testing.T, want, got schemas.Item) {
	t.Helper()
	w, err := json.Marshal(want)
	require.NoError(t, err)
	g, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(w), string(g))
}

// requireItem compares whole items. The content vector may have been normalised again.
func requireItem(t *testing.T, want, got sinks.Item) {
	t.Helper()
	id := want.Content.ItemID
	requireContent(t, want.Content, got.Content)
	require.Equal(t, want.Vector, got.Vector, "vector of %q", id)
	require.Len(t, got.ContentVector, len(want.ContentVector), "content vector of %q", id)
	for i := range want.ContentVector {
		require.InDelta(
			t, want.ContentVector[i], got.ContentVector[i], 1e-5, "content vector of %q", id,
		)
	}
	require.Equal(t, want.Version, got.Version, "version of %q", id)
	require.InDelta(t, want.Count, got.Count, 1e-9, "count of %q", id)
	require.Truef(
		t, want.ChangedAt.Equal(got.ChangedAt), "change of %q: want %s, got %s", id, want.ChangedAt,
		got.ChangedAt,
	)
}

func requireItemCount(t *testing.T, s Items, want int) {
	t.Helper()
	n, err := s.CountItems(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, want, n)
}

func itemPutCases() []testCase[Items] {
	return []testCase[Items]{
		{"an empty store has no items", func(t *testing.T, s Items) {
			found, err := s.GetItems(t.Context(), []string{"nothing"})
			require.NoError(t, err)
			require.Empty(t, found)
			requireItemCount(t, s, 0)
		}},
		{"empty batches are no-ops", func(t *testing.T, s Items) {
			found, err := s.GetItems(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, found)
			found, err = s.GetItemKeys(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, found)
			answers, err := s.SearchItems(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, answers)
			require.NoError(t, s.PutItems(t.Context(), nil))
		}},
		{"every field comes back", func(t *testing.T, s Items) {
			available := true
			x := item("i1", 1<<53+1, 0.5) // not a float64
			x.Count = 12.25
			x.Vector = vector(random(t), VectorDim)
			x.Content = schemas.Item{
				EventID: "e1", Source: "shop", ItemID: "i1", Title: "Alien \"1979\" 日本",
				Genres: []string{"Horror", "Sci-Fi"}, Actors: []string{"Sigourney Weaver"},
				Directors: []string{
					"Ridley Scott",
				},
				Tags: []string{"space"}, Description: "In space\nno one can hear you.",
				PublishedAt: noon, Available: &available,
				Attributes: map[string]any{
					"nested": map[string]any{"list": []any{"a", json.Number("1.0"), nil, true}},
					// Numbers that a float64 does not keep.
					"steam": json.Number("76561197980428154"), "price": json.Number("9.50"),
					"big": json.Number("123456789012345678901234567890"),
				},
				OccurredAt: noon.Add(1),
			}
			putItems(t, s, x)
			requireItem(t, x, getItem(t, s, "i1"))
			hits, err := s.SearchItems(
				t.Context(), []sinks.ItemQuery{{Vector: x.Vector, N: 1}},
			)
			require.NoError(t, err)
			require.Len(t, hits[0], 1)
			require.Equal(t, x.Content.Attributes, hits[0][0].Item.Content.Attributes)
		}},
		{"unknown ids and keys are absent", func(t *testing.T, s Items) {
			putItems(t, s, item("i1", 1, 1), item("i2", 1, 2))
			found, err := s.GetItems(t.Context(), []string{"i2", "nothing", "I1"})
			require.NoError(t, err)
			require.Len(t, found, 1)
			requireItem(t, item("i2", 1, 2), found[0])
			found, err = s.GetItemKeys(t.Context(), []uint64{0, schemas.Key("i1"), math.MaxUint64})
			require.NoError(t, err)
			require.Len(t, found, 1)
			requireItem(t, item("i1", 1, 1), found[0])
		}},
		{"withdrawn and unavailable items are returned", func(t *testing.T, s Items) {
			gone, away := item("gone", 1, 1), item("away", 1, 1)
			gone.Content.Withdrawn, away.Content.Available = true, new(bool)
			putItems(t, s, gone, away)
			requireItem(t, gone, getItem(t, s, "gone"))
			requireItem(t, away, getItem(t, s, "away"))
			requireItemCount(t, s, 2)
		}},
		{"version 0 lands, once", func(t *testing.T, s Items) {
			putItems(t, s, item("i1", 0, 1))
			putItems(t, s, item("i1", 0, 2))
			requireItem(t, item("i1", 0, 1), getItem(t, s, "i1"))
		}},
		{"an equal or higher version stays", func(t *testing.T, s Items) {
			putItems(t, s, item("i1", 10, 1))
			putItems(t, s, item("i1", 10, 2))
			putItems(t, s, item("i1", 9, 3))
			requireItem(t, item("i1", 10, 1), getItem(t, s, "i1"))
			putItems(t, s, item("i1", 11, 4))
			requireItem(t, item("i1", 11, 4), getItem(t, s, "i1"))
			requireItemCount(t, s, 1)
		}},
		{"a newer item replaces the older one whole", func(t *testing.T, s Items) {
			old := item("i1", 1, 1)
			old.Content.Genres, old.Content.Attributes, old.Content.Description = []string{
				"Drama",
			}, map[string]any{
				"a": "b",
			}, "long"
			putItems(t, s, old)
			bare := item("i1", 2, 2)
			bare.ContentVector = nil
			putItems(t, s, bare)
			requireItem(t, bare, getItem(t, s, "i1"))
		}},
		{"each item of a batch is judged alone", func(t *testing.T, s Items) {
			putItems(t, s, item("a", 5, 1), item("b", 15, 1))
			putItems(t, s, item("a", 10, 2), item("b", 10, 2), item("c", 10, 2))
			requireItem(t, item("a", 10, 2), getItem(t, s, "a"))
			requireItem(t, item("b", 15, 1), getItem(t, s, "b"))
			requireItem(t, item("c", 10, 2), getItem(t, s, "c"))
		}},
		{"an id twice in a batch ends at the higher version", func(t *testing.T, s Items) {
			putItems(
				t, s, item("up", 1, 1), item("down", 2, 2), item("up", 2, 2), item("down", 1, 1),
			)
			requireItem(t, item("up", 2, 2), getItem(t, s, "up"))
			requireItem(t, item("down", 2, 2), getItem(t, s, "down"))
		}},
		{"arguments and answers are neither kept nor changed", func(t *testing.T, s Items) {
			fresh := func() sinks.Item {
				x := item("i1", 1, 1)
				x.Content.Genres, x.Content.Attributes = []string{
					"Drama",
				}, map[string]any{
					"tags": []any{"a"},
				}
				return x
			}
			spoil := func(x *sinks.Item) {
				x.Content.Genres[0] = "Spoiled"
				x.Content.Attributes["tags"].([]any)[0] = "spoiled"
				if len(x.Vector) > 0 {
					x.Vector[0], x.ContentVector[0] = 9, 9
				}
			}
			batch := []sinks.Item{fresh()}
			putItems(t, s, batch...)
			requireItem(t, fresh(), batch[0])
			spoil(&batch[0])
			for range 2 {
				got := getItem(t, s, "i1")
				requireItem(t, fresh(), got)
				spoil(&got)
				hits := search(
					t, s,
					sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 1, Genres: []string{"Drama"}},
				)
				require.Len(t, hits, 1)
				requireContent(t, fresh().Content, hits[0].Item.Content)
				spoil(&hits[0].Item)
			}
		}},
		{"ids may be any text", func(t *testing.T, s Items) {
			batch := make([]sinks.Item, len(oddIDs))
			for i, id := range oddIDs {
				batch[i] = item(id, uint64(i), float32(i))
			}
			putItems(t, s, batch...)
			requireItemCount(t, s, len(oddIDs))
			for _, want := range batch {
				requireItem(t, want, getItem(t, s, want.Content.ItemID))
			}
		}},
		{"batches may be large", func(t *testing.T, s Items) {
			ids := numbered("i", 2000)
			batch := make([]sinks.Item, len(ids))
			for i, id := range ids {
				batch[i] = item(id, uint64(i), float32(i))
			}
			putItems(t, s, batch...)
			requireItemCount(t, s, len(ids))
			found, err := s.GetItems(t.Context(), ids)
			require.NoError(t, err)
			require.Len(t, found, len(ids))
			slices.SortFunc(
				found,
				func(a, b sinks.Item) int {
					return cmp.Compare(a.Content.ItemID, b.Content.ItemID)
				},
			)
			for i := range batch {
				requireItem(t, batch[i], found[i])
			}
		}},
		{"of concurrent puts the highest version stays", func(t *testing.T, s Items) {
			const writers = 16
			require.NoError(t, concurrently(writers, func(i int) error {
				own := item(fmt.Sprintf("own-%d", i), 1, float32(i))
				return retryTransient(func() error {
					return s.PutItems(
						t.Context(), []sinks.Item{item("shared", uint64(i), float32(i)), own},
					)
				})
			}))
			requireItem(t, item("shared", writers-1, writers-1), getItem(t, s, "shared"))
			requireItemCount(t, s, writers+1)
		}},
		{"a canceled context ends calls", func(t *testing.T, s Items) {
			putItems(t, s, item("i1", 1, 1))
			requireCanceled(t, map[string]func(context.Context) error{
				"get": func(ctx context.Context) error {
					_, err := s.GetItems(ctx, []string{"i1"})
					return err
				},
				"get keys": func(ctx context.Context) error {
					_, err := s.GetItemKeys(ctx, []uint64{1})
					return err
				},
				"put": func(ctx context.Context) error {
					return s.PutItems(ctx, []sinks.Item{item("i1", 2, 2)})
				},
				"search": func(ctx context.Context) error {
					_, err := s.SearchItems(
						ctx, []sinks.ItemQuery{{Vector: item("", 0, 1).Vector, N: 1}},
					)
					return err
				},
				"count": func(ctx context.Context) error {
					_, err := s.CountItems(ctx)
					return err
				},
				"versions": func(ctx context.Context) error {
					return s.ItemVersions(ctx, func(string, uint64) error { return nil })
				},
			})
			putItems(t, s, item("i1", 3, 3))
			requireItem(t, item("i1", 3, 3), getItem(t, s, "i1"))
		}},
	}
}

func itemVersionCases() []testCase[Items] {
	return []testCase[Items]{
		{"versions of all items are listed", func(t *testing.T, s Items) {
			want := map[string]uint64{}
			var batch []sinks.Item
			for i, id := range append(numbered("i", 1500), oddIDs...) {
				x := item(id, 1<<53+uint64(i), 1)
				x.Content.Withdrawn = i%3 == 0
				batch = append(batch, x)
				want[id] = x.Version
			}
			putItems(t, s, batch...)
			got := map[string]uint64{}
			require.NoError(t, s.ItemVersions(t.Context(), func(id string, version uint64) error {
				require.NotContains(t, got, id)
				got[id] = version
				return nil
			}))
			require.Equal(t, want, got)
		}},
		{"the list of versions ends at the first failure", func(t *testing.T, s Items) {
			putItems(t, s, item("i1", 1, 1), item("i2", 1, 2))
			stop := errors.New("enough")
			calls := 0
			err := s.ItemVersions(t.Context(), func(string, uint64) error { calls++; return stop })
			require.ErrorIs(t, err, stop)
			require.Equal(t, 1, calls)
		}},
	}
}

func hitIDs(hits []sinks.ItemHit) []string {
	ids := make([]string, len(hits))
	for i := range hits {
		ids[i] = hits[i].Item.Content.ItemID
	}
	return ids
}

// search asks one question.
func search(t *testing.T, s Items, q sinks.ItemQuery) []sinks.ItemHit {
	t.Helper()
	answers, err := s.SearchItems(t.Context(), []sinks.ItemQuery{q})
	require.NoError(t, err)
	require.Len(t, answers, 1)
	return answers[0]
}
