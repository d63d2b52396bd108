// Package rowvalidate checks which rows an engine of sinktest.Analytics can store, so that all
// engines reject the same ones before anything is sent.
package rowvalidate

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Bounds of the times in rows: ClickHouse names a table partition by the month of one of them, and
// keeps the hours of sums in 32 bits.
var (
	earliest = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC)
)

// maxPartition is the highest partition number that fits the column.
const maxPartition = 1<<16 - 1

// Range rejects a range whose token could equal that of another range.
func Range(r record.Range) error {
	switch {
	case r.LogID == "":
		return errors.New("the range has no log id: run `slipstream migrate`")
	case r.Topic == "", r.Partition < 0, r.Partition > maxPartition, r.First < 0, r.Last < r.First:
		return fault.As(fault.Unknown, errors.New("the range is incomplete"))
	}
	return nil
}

// Rows returns *fault.Rejected with Undone set, naming every row that an engine cannot hold, or
// nil.
func Rows(rows sinks.Rows) error {
	switch rows := rows.(type) {
	case sinks.InteractionRows:
		return each(rows, interaction)
	case sinks.RecommendationRows:
		return each(rows, recommendation)
	case sinks.ItemRows:
		return each(rows, item)
	case sinks.UserRows:
		return each(rows, user)
	case sinks.DeadLetterRows:
		return each(rows, deadLetter)
	}
	return nil
}

func each[R any](rows []R, check func(*R) error) error {
	var refused fault.Reject
	for i := range rows {
		if err := check(&rows[i]); err != nil {
			refused.Add(i, fault.As(fault.Permanent, err))
		}
	}
	return Undone(refused.Err())
}

// Undone marks a *fault.Rejected as one whose insert had no effect.
func Undone(err error) error {
	var r *fault.Rejected
	if errors.As(err, &r) {
		r.Undone = true
	}
	return err
}

// Time refuses times out of bounds.
func Time(name string, t time.Time) error {
	if t.Before(earliest) || t.After(latest) {
		return fault.Permanentf(
			"%s %s is not between 1970-01-02 and 2105-01-01", name, t.UTC().Format(time.RFC3339),
		)
	}
	return nil
}

// OrElse returns t, or u when t is zero.
func OrElse(t, u time.Time) time.Time {
	if t.IsZero() {
		return u
	}
	return t
}

// OrNil returns nil for a time that is zero or out of bounds: a row is not rejected for an optional
// column.
func OrNil(t time.Time) *time.Time {
	if t.IsZero() || Time("", t) != nil {
		return nil
	}
	return &t
}

func interaction(x *sinks.InteractionRow) error {
	if x.Action == "" {
		return fault.Permanentf("an interaction has no action")
	}
	return times("occurred_at", OrElse(x.OccurredAt, x.RecordedAt), x.RecordedAt)
}

func recommendation(x *sinks.RecommendationRow) error {
	if p := x.CausedBy.Partition; p < 0 || p > maxPartition {
		return fault.Permanentf("caused_by.partition %d is not between 0 and %d", p, maxPartition)
	}
	for _, it := range x.Items {
		if it.Rank < 0 || it.Rank > maxPartition {
			return fault.Permanentf(
				"rank %d of item %q is not between 0 and %d", it.Rank, it.ItemID, maxPartition,
			)
		}
	}
	return times("generated_at", OrElse(x.GeneratedAt, x.RecordedAt), x.RecordedAt)
}

func item(x *sinks.ItemRow) error {
	if _, err := json.Marshal(x.Attributes); err != nil {
		return fault.Permanentf("attributes of item %q: %w", x.ItemID, err)
	}
	return times("occurred_at", OrElse(x.OccurredAt, x.RecordedAt), x.RecordedAt)
}

func user(x *sinks.UserRow) error {
	if _, err := json.Marshal(x.Attributes); err != nil {
		return fault.Permanentf("attributes of user %q: %w", x.UserID, err)
	}
	return times("occurred_at", OrElse(x.OccurredAt, x.RecordedAt), x.RecordedAt)
}

func deadLetter(x *sinks.DeadLetterRow) error {
	switch {
	case x.Partition < 0 || x.Partition > maxPartition:
		return fault.Permanentf("partition %d is not between 0 and %d", x.Partition, maxPartition)
	case x.Attempts < 0 || x.Attempts > 1<<31:
		return fault.Permanentf("attempts %d is out of bounds", x.Attempts)
	}
	if err := times(
		"first failure", OrElse(x.FirstFailedAt, x.RecordedAt), x.RecordedAt,
	); err != nil {
		return err
	}
	return Time("last failure", OrElse(x.LastFailedAt, x.RecordedAt))
}

// Progress checks an entry.
func Progress(p *sinks.Progress) error {
	if p.Topic == "" || p.Partition < 0 || p.Partition > maxPartition || p.Offset < 0 {
		return fault.Permanentf(
			"progress of %q/%d at offset %d is out of bounds", p.Topic, p.Partition, p.Offset,
		)
	}
	return nil
}

func times(name string, at, recorded time.Time) error {
	if err := Time(name, at); err != nil {
		return err
	}
	return Time("recorded_at", recorded)
}

// JSONObject encodes attributes as a JSON object with sorted keys, "{}" when there are none. Rows
// has checked that it can.
func JSONObject[V any](m map[string]V) string {
	if len(m) == 0 {
		return "{}"
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "{}"
	}
	return string(b)
}
