package sqlite

import (
	"database/sql"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
)

// sumKey is a row of item_hours (hour, item, action) or of user_days (day, user, action).
type sumKey struct{ when, id, action string }

type eventSum struct {
	events, values int64
	total          float64
	last           string
}

type sumTable map[sumKey]*eventSum

func (t sumTable) add(key sumKey, value *float64, at string) {
	s := t[key]
	if s == nil {
		s = new(eventSum)
		t[key] = s
	}
	s.events++
	if value != nil {
		s.values++
		s.total += *value
	}
	s.last = max(s.last, at)
}

const (
	addItemHour = `
		INSERT INTO item_hours (
			hour, item_id, action, events, value_count, value_sum, last_at
		) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hour, item_id, action) DO UPDATE SET
			events = events + excluded.events,
			value_count = value_count + excluded.value_count,
			value_sum = value_sum + excluded.value_sum,
			last_at = max(last_at, excluded.last_at)`

	addUserDay = `
		INSERT INTO user_days (
			day, user_id, action, events, value_count, value_sum, last_at
		) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id, day, action) DO UPDATE SET
			events = events + excluded.events,
			value_count = value_count + excluded.value_count,
			value_sum = value_sum + excluded.value_sum,
			last_at = max(last_at, excluded.last_at)`

	addFeedback = `
		INSERT INTO recommendation_sums (
			recommendation_id, lists, strategy, variant, "trigger", served_at, items, degraded,
			feedback_at, impressions, clicks, conversions, refusals
		) VALUES (?, 0, '', '', '', '', 0, 0, ?, ?, ?, ?, ?)
		ON CONFLICT (recommendation_id) DO UPDATE SET
			feedback_at = max(feedback_at, excluded.feedback_at),
			impressions = impressions + excluded.impressions,
			clicks = clicks + excluded.clicks,
			conversions = conversions + excluded.conversions,
			refusals = refusals + excluded.refusals`

	addList = `
		INSERT INTO recommendation_sums (
			recommendation_id, lists, strategy, variant, "trigger", served_at, items, degraded,
			feedback_at, impressions, clicks, conversions, refusals
		) VALUES (?, 1, ?, ?, ?, ?, ?, ?, '', 0, 0, 0, 0)
		ON CONFLICT (recommendation_id) DO UPDATE SET
			lists = 1,
			strategy = max(strategy, excluded.strategy),
			variant = max(variant, excluded.variant),
			"trigger" = max("trigger", excluded."trigger"),
			served_at = max(served_at, excluded.served_at),
			items = max(items, excluded.items),
			degraded = max(degraded, excluded.degraded)`
)

// sumInteractions adds the rows to the sums made from interactions, with one statement per key.
func sumInteractions(tx *sql.Tx, rows []sinks.InteractionRow) error {
	hours, days := make(sumTable), make(sumTable)
	feedback := make(map[string]*[4]int64)
	feedbackAt := make(map[string]string)
	for i := range rows {
		x := &rows[i]
		at := rowvalidate.OrElse(x.OccurredAt, x.RecordedAt).UTC()
		text := micros(at)
		hours.add(sumKey{at.Format(hourLayout), x.ItemID, string(x.Action)}, x.Value, text)
		days.add(sumKey{at.Format(dayLayout), x.UserID, string(x.Action)}, x.Value, text)
		if id := x.RecommendationID; id != "" {
			f := feedback[id]
			if f == nil {
				f = new([4]int64)
				feedback[id] = f
			}
			if column := feedbackColumn(x.Outcome); column >= 0 {
				f[column]++
			}
			feedbackAt[id] = max(feedbackAt[id], text)
		}
	}
	if err := hours.write(tx, addItemHour); err != nil {
		return err
	}
	if err := days.write(tx, addUserDay); err != nil {
		return err
	}
	if err := addToAudience(tx, rows); err != nil {
		return err
	}
	if len(feedback) == 0 {
		return nil
	}
	stmt, err := tx.Prepare(addFeedback)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for id, f := range feedback {
		if _, err := stmt.Exec(id, feedbackAt[id], f[0], f[1], f[2], f[3]); err != nil {
			return err
		}
	}
	return nil
}

// feedbackColumn says which of impressions, clicks, conversions and refusals an outcome is, or -1.
func feedbackColumn(o schemas.Outcome) int {
	switch o {
	case schemas.OutcomeImpression:
		return 0
	case schemas.OutcomeClick:
		return 1
	case schemas.OutcomeConversion:
		return 2
	case schemas.OutcomeRefusal:
		return 3
	case schemas.OutcomeNone:
	}
	return -1
}

func (t sumTable) write(tx *sql.Tx, query string) error {
	stmt, err := tx.Prepare(query)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for k, s := range t {
		if _, err := stmt.Exec(
			k.when, k.id, k.action, s.events, s.values, s.total, s.last,
		); err != nil {
			return err
		}
	}
	return nil
}

func sumRecommendations(tx *sql.Tx, rows []sinks.RecommendationRow) error {
	stmt, err := tx.Prepare(addList)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for i := range rows {
		x := &rows[i]
		if _, err := stmt.Exec(
			x.RecommendationID, x.Strategy, x.Variant, x.CausedBy.Trigger,
			micros(rowvalidate.OrElse(x.GeneratedAt, x.RecordedAt)),
			len(x.Items), len(x.Degraded) > 0,
		); err != nil {
			return err
		}
	}
	return nil
}
