package clickhouse

import (
	"context"
	"fmt"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// maxErased bounds the users of one statement; its text holds their ids.
const maxErased = 500

// EraseUsers removes what the users did, or the log took, up to their times, in every table that
// names a user, and returns when the rows can no longer be read; the server removes the bytes with
// its next merges. Sums per item and strategy keep their anonymous counts. Dead letters go whatever
// their time: they are later than the events they hold.
func (s *Store) EraseUsers(ctx context.Context, users []sinks.Erasure) error {
	if len(users) == 0 {
		return nil
	}
	select {
	case s.erasing <- struct{}{}:
		defer func() { <-s.erasing }()
	case <-ctx.Done():
		return fmt.Errorf("erase %d users: %w", len(users), ctx.Err())
	}
	newest := make(map[string]int64, len(users))
	ids := make([]string, 0, len(users))
	for _, u := range users {
		at, ok := newest[u.UserID]
		if !ok {
			ids = append(ids, u.UserID)
		}
		if t := u.At.UnixMicro(); !ok || t > at {
			newest[u.UserID] = t
		}
	}
	for len(ids) > 0 {
		part := ids[:min(maxErased, len(ids))]
		ids = ids[len(part):]
		ats := make([]int64, len(part))
		for i, id := range part {
			ats[i] = newest[id]
		}
		if err := s.erase(ctx, part, ats); err != nil {
			return fmt.Errorf("erase %d users: %w", len(users), err)
		}
	}
	return nil
}

func (s *Store) erase(ctx context.Context, ids []string, ats []int64) error {
	// First, since it goes by the rows that are about to be deleted.
	if err := s.eraseDays(ctx, ids, ats); err != nil {
		return fmt.Errorf("from %s: %w", tableUserDays, err)
	}
	for _, d := range []struct{ table, where string }{
		{tableInteractions, upTo("occurred_at")},
		// Also a list that was made later but answers an event of before. accepted_at is when the
		// log took the first event of those it answers; lists for requests answer none.
		{tableRecommendations, upTo("generated_at", "caused_at", "accepted_at")},
		{tableUsers, upTo("occurred_at")},
		{tableDeadLetters, `key IN @ids OR JSONExtractString(value, 'user_id') IN @ids
			-- a CloudEvent in structured mode, see schemas.UsersNamed
			OR (value LIKE '%specversion%' AND arrayExists(v -> arrayExists(
				name -> has(@ids, JSONExtractString(v, name)),
				['user_id', 'friend_id', 'subject', 'partitionkey']
			), [value, JSONExtractRaw(value, 'data'),
				tryBase64Decode(JSONExtractString(value, 'data_base64'))]))
			OR ((topic LIKE '%friendships' OR topic LIKE '%.replay')
			AND (JSONExtractString(value, 'friend_id') IN @ids
				OR arrayExists(u -> startsWith(key, concat(u, '|'))
				OR endsWith(key, concat('|', u))
				-- a key that is not UTF-8, see DeadLetterRow
				OR startsWith(key, concat('0x', lower(hex(concat(u, '|')))))
				OR startsWith(key, '0x') AND endsWith(key, lower(hex(concat('|', u)))), @ids)))`},
	} {
		if err := s.deleteRows(ctx, d.table, d.where, ids, ats); err != nil {
			return fmt.Errorf("from %s: %w", d.table, err)
		}
	}
	return nil
}

// erasedAt is the time of the erasure of a row's user, in microseconds.
const erasedAt = "transform(user_id, @ids, @ats, toInt64(0))"

// upTo is the condition of rows that an erasure covers, by the columns with the times of the event.
// One that is NULL covers nothing.
func upTo(columns ...string) string {
	covered := []string{"toUnixTimestamp64Milli(recorded_at) * 1000 <= " + erasedAt}
	for _, column := range columns {
		covered = append(covered,
			"ifNull(toUnixTimestamp64Micro("+column+") <= "+erasedAt+", false)")
	}
	return "user_id IN @ids AND (" + strings.Join(covered, " OR ") + ")"
}

// deleteRows deletes and waits until no reader sees the rows. It looks first: most tables hold
// nothing of a user.
func (s *Store) deleteRows(
	ctx context.Context, table, where string, ids []string, ats []int64,
) error {
	var n uint64
	if err := s.queryRow(
		ctx, "SELECT count() FROM "+s.table(table)+" WHERE "+where, ch.Named("ids", ids),
		ch.Named("ats", ats),
	).Scan(&n); err != nil {
		return classify(ctx, err)
	}
	if n == 0 {
		return nil
	}
	// A patch where the table allows it (infra/clickhouse), else a mutation that is waited for.
	wait := ch.Context(
		ctx,
		ch.WithSettings(
			ch.Settings{
				"lightweight_delete_mode": "lightweight_update", "lightweight_deletes_sync": 2,
				"mutations_sync": 2,
			},
		),
	)
	return s.exec(
		wait, s.cfg.EraseTimeout, "DELETE FROM "+s.table(table)+" WHERE "+where,
		ch.Named("ids", ids), ch.Named("ats", ats),
	)
}

// maxSums bounds how often the day of an erasure is summed up.
const maxSums = 5

// erasedDays says which rows and sums the erasure of users concerns.
type erasedDays struct {
	ids []string
	ats []int64
	// left follows SELECT: the rows that stay, of those that have reached the sums. They go by the
	// arguments that compareDays returns.
	left string
	// sums is the condition of the sums of the days.
	sums string
	// stored is the offset after the stored progress, by "log:topic/partition".
	stored map[string]int64
}

// eraseDays removes the per-user sums of the days up to the erasure, and of later days of events
// that it covers, and restores those of the events that stay. It leaves out the rows of inserts
// that have not reached the sums, as their witness rows tell: those inserts, or their repeats, add
// them. Inserts of the same users and erasures by other instances may come between the steps, so it
// counts afterwards and starts again while the sums do not agree with the rows. Summing up again is
// never deduplicated: the sums of the last time have been deleted.
func (s *Store) eraseDays(ctx context.Context, ids []string, ats []int64) error {
	const lastDay = "toDate(fromUnixTimestamp64Micro(" + erasedAt + ", 'UTC'))"
	covered := upTo("occurred_at")
	days := func(day string) string {
		// Day 0 holds the witness rows of inserts.
		return "user_id IN @ids AND " + day + " > toDate(0) AND (" + day + " <= " + lastDay +
			" OR (user_id, " + day + ") IN (SELECT user_id, toDate(occurred_at) FROM " +
			s.table(tableInteractions) + " WHERE " + covered + "))"
	}
	d := erasedDays{
		ids: ids, ats: ats, sums: days("day"),
		left: " FROM " + s.table(tableInteractions) +
			" WHERE " + days("toDate(occurred_at)") + " AND NOT (" + covered + ")" +
			" AND log_offset < transform(concat('log:', log_topic, '/'," +
			" toString(log_partition)), @logs, @landed, toInt64(0))",
	}
	// Older versions left no witness rows. The stored progress is never ahead of the inserts.
	if err := s.queryRow(
		ctx, "SELECT maxMap(map(concat('log:', topic, '/', toString(partition)), offset + 1))"+
			" FROM "+s.table(tableProgress),
	).Scan(&d.stored); err != nil {
		return classify(ctx, err)
	}
	fresh := ch.Context(ctx, ch.WithSettings(ch.Settings{"insert_deduplicate": 0}))
	for range maxSums {
		// Analytics erases again for a while, mostly for nothing. Then the sums stay.
		_, agree, err := s.compareDays(ctx, &d)
		if err != nil || agree {
			return err
		}
		if err := s.deleteRows(ctx, tableUserDays, d.sums, ids, ats); err != nil {
			return err
		}
		args, agree, err := s.compareDays(ctx, &d)
		if err != nil || agree {
			return err
		}
		if err := s.exec(fresh, s.cfg.EraseTimeout, "INSERT INTO "+s.table(tableUserDays)+
			" SELECT user_id, toDate(occurred_at) AS day, action, count(), count(value),"+
			" sum(ifNull(value, 0)), max(occurred_at)"+d.left+" GROUP BY user_id, day, action",
			args...); err != nil {
			return fmt.Errorf("sum up the day of the erasure: %w", err)
		}
		_, agree, err = s.compareDays(ctx, &d)
		if err != nil || agree {
			return err
		}
	}
	return fault.Transientf(
		"the users go on acting while they are erased: their sums do not come to rest",
	)
}

// compareDays tells whether the sums agree with the rows that have reached them, and returns the
// arguments that d.left needs to find those rows again. Sums and witness rows are read by one
// SELECT of one table: an insert adds both at once.
func (s *Store) compareDays(
	ctx context.Context, d *erasedDays,
) (args []any, agree bool, err error) {
	var sums, rows uint64
	var next map[string]int64
	users := []any{ch.Named("ids", d.ids), ch.Named("ats", d.ats)}
	if err := s.queryRow(
		ctx,
		"SELECT sumIf(events, day > toDate(0)),"+
			" maxMapIf(map(user_id, toUnixTimestamp64Micro(last_at)), day = toDate(0)) FROM "+
			s.table(tableUserDays)+" WHERE ("+d.sums+
			") OR (day = toDate(0) AND startsWith(user_id, 'log:'))",
		users...,
	).Scan(&sums, &next); err != nil {
		return nil, false, classify(ctx, err)
	}
	logs, landed := []string{""}, []int64{0} // no partition has this name
	for log, offset := range d.stored {
		next[log] = max(next[log], offset)
	}
	for log, offset := range next {
		logs, landed = append(logs, log), append(landed, offset)
	}
	args = append(users, ch.Named("logs", logs), ch.Named("landed", landed))
	err = s.queryRow(ctx, "SELECT count()"+d.left, args...).Scan(&rows)
	return args, rows == sums, classify(ctx, err)
}
