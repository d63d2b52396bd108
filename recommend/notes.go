package recommend

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// notes says what one may wonder about a list: that it is the baseline, or why it is empty.
func (r *Recommender) notes(
	ctx context.Context, j *job, list *schemas.Recommendation,
) (notes []schemas.Note) {
	if j.holdout {
		notes = append(notes, schemas.Note{
			Code: schemas.NoteHoldout,
			Message: "this user is in the hold-out (recommend.holdout_share) and gets what is " +
				"popular: what the user does changes nothing",
		})
	}
	if len(list.Items) == 0 && !j.degrade[DegradedVectors] {
		notes = append(notes, r.emptiness(ctx, j)...)
	}
	return notes
}

// emptiness says why a list is empty. It asks the index, which takes a moment, but such a list took
// none. When the index does not answer, it says nothing.
func (r *Recommender) emptiness(ctx context.Context, j *job) []schemas.Note {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	popular := make([]float32, r.cfg.Model.Dim+1)
	popular[r.cfg.Model.Dim] = model.BiasScale
	queries := []sinks.ItemQuery{{Vector: popular, N: 1, KeysOnly: true}}
	for _, g := range j.Genres {
		queries = append(
			queries,
			sinks.ItemQuery{Vector: popular, N: 1, KeysOnly: true, Genres: []string{g}},
		)
	}
	hits, err := r.index.SearchItems(ctx, queries)
	if !r.mark([]*job{j}, DegradedVectors, err) || len(hits) != len(queries) {
		return nil
	}
	if len(hits[0]) == 0 {
		return []schemas.Note{{
			Code: schemas.NoteEmptyCatalog,
			Message: "the catalog has no item that can be recommended: PUT /v1/items/{id} adds " +
				"one, and it is known within a second",
		}}
	}
	var unknown []string
	for i, g := range j.Genres {
		if len(hits[i+1]) == 0 {
			unknown = append(unknown, fmt.Sprintf("%q", g))
		}
	}
	if len(unknown) > 0 {
		return []schemas.Note{{
			Code: schemas.NoteUnknownGenre,
			Message: "no item that can be recommended has the genre " +
				strings.Join(unknown, " or ") + ": genres are compared letter by letter",
		}}
	}
	return []schemas.Note{{
		Code: schemas.NoteNothingLeft,
		Message: "the user has taken or refused all items that the request allows, or it " +
			"excludes them",
	}}
}
