package neo4j

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// maxVia is how many common friends a suggestion names.
const maxVia = 3

// ApplyEdges implements sinktest.EdgeWriter. An edge of a user with themselves and ids that are not
// UTF-8 are permanent errors, and then nothing of the call is written.
func (s *Store) ApplyEdges(ctx context.Context, batch []sinks.Edge) error {
	edges, err := conflate(batch)
	if err != nil {
		return fmt.Errorf("neo4j apply edges: %w", err)
	}
	for chunk := range slices.Chunk(edges, s.cfg.WriteBatch) {
		rows := make([]any, len(chunk))
		for i, e := range chunk {
			var recorded any
			if !e.RecordedAt.IsZero() {
				recorded = nanos(e.RecordedAt)
			}
			rows[i] = map[string]any{
				"recorded_at": recorded,
				"a":           e.A, "b": e.B, "at": nanos(e.At), "event_id": asLatin1(e.EventID),
				"removed": e.Removed,
			}
		}
		if err := s.write(
			ctx, "apply edges", applyEdges, map[string]any{"edges": rows},
		); err != nil {
			return err
		}
	}
	return nil
}

// conflate returns the winning change of each pair, lower id first, in order of the pairs:
// transactions that lock in the same order seldom deadlock.
func conflate(batch []sinks.Edge) ([]sinks.Edge, error) {
	edges := make([]sinks.Edge, 0, len(batch))
	for _, e := range batch {
		if e.A > e.B {
			e.A, e.B = e.B, e.A
		}
		switch {
		case e.A == "":
			return nil, fault.Permanentf("an edge without a user")
		case e.A == e.B:
			return nil, fault.Permanentf("user %q with themselves", e.A)
		case !utf8.ValidString(e.A) || !utf8.ValidString(e.B):
			return nil, fault.Permanentf("edge %q, %q: an id is not UTF-8", e.A, e.B)
		}
		edges = append(edges, e)
	}
	slices.SortStableFunc(edges, func(x, y sinks.Edge) int {
		return cmp.Or(
			cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B), cmp.Compare(nanos(y.At), nanos(x.At)),
			cmp.Compare(y.EventID, x.EventID),
		)
	})
	return slices.CompactFunc(
		edges,
		func(x, y sinks.Edge) bool { return x.A == y.A && x.B == y.B },
	), nil
}

// asLatin1 reads each byte of an event id as one character. Neo4j compares text by UTF-16 units,
// which is another order than that of bytes; of these texts both are the same, and ids in ASCII
// stay as they are.
func asLatin1(id string) string {
	runes := make([]rune, len(id))
	for i := range len(id) {
		runes[i] = rune(id[i])
	}
	return string(runes)
}

func fromLatin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r)) //nolint:gosec // written by asLatin1
	}
	return string(b)
}

// nanos is a time as the graph keeps it: nanoseconds since 1970, exact from 1678 to 2262 and held
// at the ends beyond.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func timeOf(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// Friends implements sinktest.FriendReader.
func (s *Store) Friends(
	ctx context.Context, users []string, limit int,
) (map[string][]string, error) {
	found := map[string][]string{}
	if len(users) == 0 || limit <= 0 {
		return found, nil
	}
	users = slices.Clone(users)
	slices.Sort(users)
	rows, err := s.read(
		ctx, "friends", friends,
		map[string]any{"users": valid(slices.Compact(users)), "limit": limit},
	)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		user, list := text(row, "user"), texts(row, "friends")
		if len(list) > 0 {
			slices.Sort(list) // the server's order is by UTF-16 units
			found[user] = list
		}
	}
	return found, nil
}

// SuggestFriends implements sinktest.FriendReader.
func (s *Store) SuggestFriends(
	ctx context.Context, user string, n int,
) ([]sinks.Suggestion, error) {
	if n <= 0 || !utf8.ValidString(user) {
		return nil, nil
	}
	rows, err := s.read(
		ctx, "suggest friends", suggestFriends, map[string]any{"user": user, "n": n, "via": maxVia},
	)
	if err != nil {
		return nil, err
	}
	found := make([]sinks.Suggestion, len(rows))
	for i, row := range rows {
		via := texts(row, "via")
		slices.Sort(via) // the server's order is by UTF-16 units
		mutual, _, err := driver.GetRecordValue[int64](row, "mutual")
		if err != nil {
			return nil, fmt.Errorf("neo4j suggest friends: %w", err)
		}
		found[i] = sinks.Suggestion{UserID: text(row, "user"), Mutual: int(mutual), Via: via}
	}
	return found, nil
}

// EraseFriends implements sinktest.EdgeWriter.
func (s *Store) EraseFriends(ctx context.Context, users []sinks.Erasure) error {
	latest := map[string]int64{}
	for _, u := range users {
		// An id that is not UTF-8 has never been written.
		if old, ok := latest[u.UserID]; utf8.ValidString(u.UserID) && (!ok || old < nanos(u.At)) {
			latest[u.UserID] = nanos(u.At)
		}
	}
	rows := make([]any, 0, len(latest))
	for id, at := range latest {
		rows = append(rows, map[string]any{"id": id, "at": at})
	}
	for chunk := range slices.Chunk(rows, s.cfg.WriteBatch) {
		if err := s.write(
			ctx, "erase friends", eraseFriends, map[string]any{"users": chunk},
		); err != nil {
			return err
		}
	}
	return nil
}

// EachEdge implements sinktest.EdgeLister. It reads in one transaction without a time limit of its
// own and is not tried again: f would see edges twice.
func (s *Store) EachEdge(ctx context.Context, f func(sinks.Edge) error) (err error) {
	session := s.session(ctx, driver.AccessModeRead)
	var stopped error // f's own error passes as it is
	defer func() {
		closing := s.fail(ctx, "each edge", session.Close(ctx))
		if stopped != nil {
			err = stopped
		} else if err == nil {
			err = closing
		}
	}()
	result, err := session.Run(ctx, named(eachEdge, s.cfg.LabelPrefix), nil)
	if err != nil {
		return s.fail(ctx, "each edge", err)
	}
	for result.Next(ctx) {
		row := result.Record()
		at, _, err := driver.GetRecordValue[int64](row, "at")
		if err != nil {
			return fmt.Errorf("neo4j each edge: %w", err)
		}
		e := sinks.Edge{
			A: text(row, "a"), B: text(row, "b"), At: timeOf(at),
			EventID: fromLatin1(text(row, "event_id")),
		}
		if v, _ := row.Get("recorded_at"); v != nil {
			if n, ok := v.(int64); ok {
				e.RecordedAt = timeOf(n)
			}
		}
		if stopped = f(e); stopped != nil {
			return nil
		}
	}
	return s.fail(ctx, "each edge", result.Err())
}

// Clear removes every user and edge, tombstones included, in many small transactions: the first
// step of a rebuild. The log id stays. It has no time limit of its own; after an error, call it
// again.
func (s *Store) Clear(ctx context.Context) (err error) {
	session := s.session(ctx, driver.AccessModeWrite)
	defer func() { err = errors.Join(err, s.fail(ctx, "clear", session.Close(ctx))) }()
	result, err := session.Run(ctx, named(clearUsers, s.cfg.LabelPrefix), nil)
	if err == nil {
		_, err = result.Consume(ctx)
	}
	return s.fail(ctx, "clear", err)
}

// CountEdges implements sinktest.EdgeLister.
func (s *Store) CountEdges(ctx context.Context) (int64, error) {
	rows, err := s.read(ctx, "count edges", countEdges, nil)
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 {
		return 0, errors.New("neo4j count edges: no answer")
	}
	n, _, err := driver.GetRecordValue[int64](rows[0], "edges")
	return n, err
}

// valid leaves out what is not UTF-8: it has never been written, and the protocol cannot carry it.
func valid(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return !utf8.ValidString(id) })
}

func text(row *driver.Record, key string) string {
	v, _ := row.Get(key)
	s, _ := v.(string)
	return s
}

func texts(row *driver.Record, key string) []string {
	v, _ := row.Get(key)
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
