package processors

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// insertion turns the records of a batch into rows and keeps track of each row's record.
type insertion struct {
	p     *Analytics
	batch *record.Batch

	// The rows by kind. A batch has one kind, but for one of the replay topic.
	interactions rowsOf[sinks.InteractionRow]
	lists        rowsOf[sinks.RecommendationRow]
	items        rowsOf[sinks.ItemRow]
	users        rowsOf[sinks.UserRow]
	letters      rowsOf[sinks.DeadLetterRow]
	// erased are the erasures in the batch.
	erased []sinks.Erasure
	// newest is the time of the newest event among the rows.
	newest  time.Time
	rejects fault.Reject
}

// rowsOf are rows of one kind. records holds, for each row, the index of its record in the batch.
type rowsOf[T any] struct {
	rows    []T
	records []int
}

// insertedRows are the rows of one insert. A range may have one insert of each kind of rows.
type insertedRows struct {
	rows    sinks.Rows
	records []int
}

// parts decodes the batch and returns its rows, one part for each kind that there is.
func (in *insertion) parts() ([]insertedRows, error) {
	n := len(in.batch.Records)
	var w *window
	if holdsInteractions(in.batch.Topic) {
		w = in.p.window(in.batch)
		w.rewind(in.batch.First)
	}
	if in.batch.Topic == analyticsReplay {
		for i := range n { // in order, since the window is
			r := &in.batch.Records[i]
			topic := firstTopic(r, schemas.GroupAnalytics, analyticsInputs())
			if err := in.decode(topic, w, i, i+1); err != nil {
				return nil, err
			}
		}
	} else if err := in.decode(in.batch.Topic, w, 0, n); err != nil {
		return nil, err
	}
	return slices.DeleteFunc([]insertedRows{
		{sinks.InteractionRows(in.interactions.rows), in.interactions.records},
		{sinks.RecommendationRows(in.lists.rows), in.lists.records},
		{sinks.ItemRows(in.items.rows), in.items.records},
		{sinks.UserRows(in.users.rows), in.users.records},
		{sinks.DeadLetterRows(in.letters.rows), in.letters.records},
	}, func(x insertedRows) bool { return x.records == nil }), nil
}

// decode decodes some records of the batch, which a group read first from the topic.
func (in *insertion) decode(topic string, w *window, from, to int) error {
	switch {
	case topic == schemas.TopicInteractions:
		collect(in, &in.interactions, from, to, func(
			r *record.Record,
		) (sinks.InteractionRow, time.Time, bool, error) {
			return in.interaction(w, r)
		})
	case topic == schemas.TopicRecommendations:
		collect(in, &in.lists, from, to, once(in, w, in.recommendation))
	case topic == schemas.TopicItems:
		collect(in, &in.items, from, to, once(in, w, in.item))
	case topic == schemas.TopicUsers:
		collect(in, &in.users, from, to, once(in, w, in.user))
	case strings.HasSuffix(topic, record.PoisonTopic("")):
		collect(in, &in.letters, from, to, in.deadLetter)
	default:
		return fmt.Errorf("analytics does not know the topic %q", topic)
	}
	return nil
}

// rowOf makes a row of a record. It also returns the event time and whether to keep the row. Its
// errors are rejections.
type rowOf[T any] func(r *record.Record) (x T, at time.Time, keep bool, err error)

// once drops a dead letter that was replayed before.
func once[T any](in *insertion, w *window, row rowOf[T]) rowOf[T] {
	if in.batch.Topic != analyticsReplay {
		return row
	}
	return func(r *record.Record) (x T, at time.Time, keep bool, err error) {
		x, at, keep, err = row(r)
		if err == nil && w.replayed(r) {
			keep = false
		}
		return x, at, keep, err
	}
}

// collect adds the rows of some records of the batch, in order. Erasure markers are collected in
// in.erased.
func collect[T any](in *insertion, into *rowsOf[T], from, to int, row rowOf[T]) {
	if into.records == nil {
		into.rows, into.records = make([]T, 0, to-from), make([]int, 0, to-from)
	}
	for i := from; i < to; i++ {
		r := &in.batch.Records[i]
		x, at, keep, err := row(r)
		if in.batch.IsDeadLetter(r) {
			continue
		}
		if errors.Is(err, schemas.ErrErasureMarker) {
			err, keep = in.marker(r), false
		}
		if err != nil {
			in.rejects.Add(i, fault.As(fault.Permanent, err))
			continue
		}
		if keep {
			into.records = append(into.records, i)
			in.newest = latest(in.newest, at)
			into.rows = append(into.rows, x)
		}
	}
}

// byRecord turns the row indexes of a rejection into record indexes.
func byRecord(err error, records []int) error {
	var rejected *fault.Rejected
	if !errors.As(err, &rejected) {
		return err
	}
	out := &fault.Rejected{
		Undone: rejected.Undone, Records: make([]fault.Rejection, 0, len(rejected.Records)),
	}
	for _, x := range rejected.Records {
		if x.Index >= 0 && x.Index < len(records) {
			out.Records = append(out.Records, fault.Rejection{Index: records[x.Index], Err: x.Err})
		}
	}
	return out
}

// marker applies an erasure marker.
func (in *insertion) marker(r *record.Record) error {
	if err := appendErasure(&in.erased, r); err != nil {
		return err
	}
	e := in.erased[len(in.erased)-1]
	in.p.erasures.Add(schemas.Erasure{UserKey: schemas.Key(e.UserID), ErasedAt: e.At})
	return nil
}

func (in *insertion) interaction(
	w *window, r *record.Record,
) (row sinks.InteractionRow, at time.Time, keep bool, err error) {
	x, err := decodeDeclared(r, in.p.actions)
	if err != nil {
		return row, at, false, err
	}
	keep = !w.seen(r.Offset, identity(r, &x)) &&
		!in.p.erasures.coversEvent(x.UserID, r, x.OccurredAt)
	rule := in.p.actions.Find(x.Action, x.Value) // there is one: decode has checked
	row = sinks.InteractionRow{
		Interaction: x, Meaning: rule.Meaning, Outcome: rule.Outcome,
		Offset: r.Offset, RecordedAt: recordedAt(r, x.OccurredAt),
	}
	return row, x.OccurredAt, keep, nil
}

func (in *insertion) recommendation(
	r *record.Record,
) (row sinks.RecommendationRow, at time.Time, keep bool, err error) {
	x, err := schemas.DecodeRecommendation(r)
	row = sinks.RecommendationRow{
		Recommendation: x, Offset: r.Offset, RecordedAt: recordedAt(r, x.GeneratedAt),
	}
	return row, x.GeneratedAt, !in.p.erasures.coversServed(&row), err
}

func (in *insertion) item(
	r *record.Record,
) (row sinks.ItemRow, at time.Time, keep bool, err error) {
	x, err := schemas.DecodeItem(r)
	row = sinks.ItemRow{
		Item: x, Offset: r.Offset, RecordedAt: recordedAt(r, x.OccurredAt),
		Replayed: replayedLetter(r, schemas.GroupAnalytics),
	}
	return row, x.OccurredAt, true, err
}

func (in *insertion) user(
	r *record.Record,
) (row sinks.UserRow, at time.Time, keep bool, err error) {
	if len(r.Value) == 0 {
		return row, at, false, nil // the tombstone after an erasure
	}
	x, err := schemas.DecodeUser(r)
	if err == nil && x.Erased {
		// This is the erasure itself. Markers in other topics carry its time.
		at := in.p.erasures.Of(&x, r).ErasedAt
		in.erased = append(in.erased, sinks.Erasure{UserID: x.UserID, At: at})
		return row, at, false, nil
	}
	row = sinks.UserRow{
		User: x, Offset: r.Offset, RecordedAt: recordedAt(r, x.OccurredAt),
		Replayed: replayedLetter(r, schemas.GroupAnalytics),
	}
	return row, x.OccurredAt, !in.p.erasures.Covers(x.UserID, x.OccurredAt, row.RecordedAt), err
}

// deadLetter makes the row of a dead letter or of its resolution, from any group.
func (in *insertion) deadLetter(
	r *record.Record,
) (row sinks.DeadLetterRow, at time.Time, keep bool, err error) {
	row, err = deadLetterRow(r)
	keep = err == nil && row.State != deadLetterCorrected && !in.p.namesErased(r)
	return row, row.LastFailedAt, keep, err
}
