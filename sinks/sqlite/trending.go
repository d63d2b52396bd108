package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
)

const (
	addAudience = `
		INSERT OR IGNORE INTO item_audience_users (hour, item_id, meaning, user_id)
		VALUES (?, ?, ?, ?)`

	// firstAudience is the first hour of which the audience is kept.
	firstAudience = `(
		SELECT strftime('%Y-%m-%d %H:00:00', max(hour), '-35 days') FROM item_audience_users
	)`

	dropOldAudience = `DELETE FROM item_audience_users WHERE hour < ` + firstAudience
)

// addToAudience notes who said what of which item.
func addToAudience(tx *sql.Tx, rows []sinks.InteractionRow) error {
	stmt, err := tx.Prepare(addAudience)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for i := range rows {
		x := &rows[i]
		if x.Meaning == "" || x.Meaning == schemas.Nothing {
			continue
		}
		at := rowvalidate.OrElse(x.OccurredAt, x.RecordedAt).UTC()
		if _, err := stmt.Exec(
			at.Format(hourLayout), x.ItemID, string(x.Meaning), x.UserID,
		); err != nil {
			return err
		}
	}
	_, err = tx.Exec(dropOldAudience)
	return err
}

// TrendingItems counts people per item in the windows of q.
func (a *Analytics) TrendingItems(
	ctx context.Context, q sinks.TrendingQuery,
) ([]sinks.Scored, error) {
	const what = "count the people of trending items"
	steps := q.Steps()
	if q.N <= 0 || len(steps) == 0 {
		return nil, nil
	}
	if q.HalfLife <= 0 {
		return nil, fault.Permanentf(
			"the half-life of trending items is %s, want more than 0", q.HalfLife,
		)
	}
	until, last := q.Until, q.Until.Add(-time.Nanosecond)
	if until.IsZero() {
		var newest sql.NullString
		if err := a.reader.QueryRowContext(
			ctx,
			"SELECT max(last_at) FROM item_hours WHERE hour = (SELECT max(hour) FROM item_hours)",
		).Scan(&newest); err != nil {
			return nil, a.failed(ctx, what, err)
		}
		if !newest.Valid {
			return nil, nil
		}
		var err error
		if until, err = parseTime(microLayout, newest.String); err != nil {
			return nil, a.failed(ctx, what, err)
		}
		last = until
	}
	c := crowd{
		steps: steps, windows: q.Windows(), counted: make(map[person][]bool),
		scores: make(map[string]float64),
	}
	for _, hour := range q.Hours(until, last) {
		c.firsts = append(c.firsts, hour.Format(hourLayout))
	}
	args := []any{c.firsts[len(c.firsts)-1], last.UTC().Format(hourLayout)}
	for _, m := range steps[0].Meanings {
		args = append(args, string(m))
	}
	err := a.each(
		ctx,
		// In the order of the key, backwards: newest first, and nothing is sorted.
		`SELECT hour, item_id, meaning, user_id FROM item_audience_users
		WHERE hour BETWEEN ? AND ? AND meaning IN (?`+
			strings.Repeat(", ?", len(steps[0].Meanings)-1)+`)
		ORDER BY hour DESC, item_id DESC, meaning DESC, user_id DESC`,
		args, c.scan,
	)
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	out := make([]sinks.Scored, 0, len(c.scores))
	for item, score := range c.scores {
		out = append(out, sinks.Scored{ItemID: item, Score: score})
	}
	slices.SortFunc(out, func(x, y sinks.Scored) int {
		return cmp.Or(cmp.Compare(y.Score, x.Score), cmp.Compare(x.ItemID, y.ItemID))
	})
	return out[:min(q.N, len(out))], nil
}

// crowd adds up what people count.
type crowd struct {
	steps   []sinks.TrendingStep
	windows []sinks.TrendingWindow
	firsts  []string // the first hour of each window
	// counted are the steps in which a person has counted.
	counted map[person][]bool
	scores  map[string]float64 // by item
}

// person is someone who said something of an item.
type person struct{ item, user string }

// scan takes a row: an hour, an item, a meaning and a user, the newest first. A person counts in
// each step by the newest hour.
func (c *crowd) scan(scan func(...any) error) error {
	var (
		hour string
		said schemas.Meaning
		who  person
	)
	if err := scan(&hour, &who.item, (*string)(&said), &who.user); err != nil {
		return err
	}
	counted := c.counted[who]
	if counted == nil {
		counted = make([]bool, len(c.steps))
		c.counted[who] = counted
	}
	for i, step := range c.steps {
		if counted[i] || !slices.Contains(step.Meanings, said) {
			continue
		}
		counted[i] = true
		window := slices.IndexFunc(c.firsts, func(first string) bool { return hour >= first })
		c.scores[who.item] += step.Adds * c.windows[window].Decay
	}
	return nil
}
