//go:build linux

package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// finding collects what is wrong, with the first few examples.
type finding struct {
	Count    int
	Examples []string
}

func (f *finding) add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < 8 {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Verdict is the comparison of the stores with the log and of the log with the ledger. Everything
// but the totals must be zero.
type Verdict struct {
	Records, Repeats, Rows, Lists, Users, Edges, Items, DeadLetters, Erased int

	Lost, Doubled, Undead, WronglyPoisoned, NotPoisoned, DeadLetterRows finding
	ListsLost, ListsDoubled, HourSums, DaySums, WrongEdges              finding
	WrongUsers, ErasedLeft, WrongItems, Unanswered                      finding
}

// Problems lists what is not zero.
func (v *Verdict) Problems() []string {
	var out []string
	for _, f := range []struct {
		name string
		*finding
	}{
		{"events lost", &v.Lost},
		{"events doubled", &v.Doubled},
		{"rows that should not be there", &v.Undead},
		{"wrongly poisoned", &v.WronglyPoisoned},
		{"planted but not poisoned", &v.NotPoisoned},
		{"rows of dead letters that differ from the poison topics", &v.DeadLetterRows},
		{"lists lost", &v.ListsLost},
		{"lists doubled", &v.ListsDoubled},
		{"sums per item and hour that differ from a recount", &v.HourSums},
		{"sums per user and day that differ from a recount", &v.DaySums},
		{"edges that differ", &v.WrongEdges},
		{"users whose history, seen set or count differs", &v.WrongUsers},
		{"traces of erased people", &v.ErasedLeft},
		{"items that differ", &v.WrongItems},
		{"changes of a user that no list answers", &v.Unanswered},
	} {
		if f.Count > 0 {
			out = append(
				out,
				fmt.Sprintf("%s: %d, such as %s", f.name, f.Count, strings.Join(f.Examples, "; ")),
			)
		}
	}
	return out
}

// verify compares. log is the log as it is after everything has come to rest.
func verify(ctx context.Context, l *ledger, log theLog, x *expected, s *stores) (*Verdict, error) {
	v := &Verdict{
		Records: x.records, Repeats: x.repeats, Rows: len(x.rows), Lists: len(x.lists),
		Users: len(x.users), Erased: len(x.erased),
	}
	l.mu.Lock()
	for id, e := range l.events {
		// those are compacted
		if e.acked && x.ids[id] == 0 && e.topic != schemas.TopicItems &&
			e.topic != schemas.TopicUsers {
			v.Lost.add("%s was acknowledged and is not on the log of %s", id, e.topic)
		}
	}
	l.mu.Unlock()
	for _, step := range []func(context.Context, *Verdict, theLog, *expected, *stores) error{
		verifyRows, verifyLists, verifySums, verifyLetters, verifyUsers, verifyEdges, verifyItems,
	} {
		if err := step(ctx, v, log, x, s); err != nil {
			return v, err
		}
	}
	verifyAnswered(v, log, x)
	return v, nil
}

func verifyRows(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	rows, doubled, err := s.rows(ctx, "interactions", "event_id")
	if err != nil {
		return err
	}
	for _, d := range doubled {
		v.Doubled.add("%s is there twice", d)
	}
	for p, id := range x.rows {
		if got, ok := rows[p]; !ok {
			v.Lost.add("%s (%s) has no row", id, p)
		} else if got.id != id {
			v.Doubled.add("%s: the row is of %s, want %s", p, got.id, id)
		}
	}
	for p, got := range rows {
		if _, ok := x.rows[p]; ok {
			continue
		}
		if _, gone := x.erased[got.user]; gone {
			v.ErasedLeft.add("interaction %s of %s at %s", got.id, got.user, p)
		} else {
			v.Undead.add("%s at %s: a repeated event, or none of the log", got.id, p)
		}
	}
	return nil
}

func verifyLists(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	rows, doubled, err := s.rows(ctx, "recommendations", "recommendation_id")
	if err != nil {
		return err
	}
	for _, d := range doubled {
		v.ListsDoubled.add("%s is there twice", d)
	}
	for p, user := range x.lists {
		if _, ok := rows[p]; !ok {
			// a list made while its person was being erased may go
			if _, gone := x.erased[user]; !gone {
				v.ListsLost.add("%s of %s", p, user)
			}
		}
	}
	for p, got := range rows {
		if _, ok := x.lists[p]; !ok {
			if _, gone := x.erased[got.user]; gone {
				v.ErasedLeft.add("list %s of %s at %s", got.id, got.user, p)
			} else {
				v.ListsDoubled.add("%s at %s is not on the log", got.id, p)
			}
		}
	}
	return nil
}

func verifySums(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	hours, err := s.sums(ctx, "item_hours", "item_id", "hour")
	if err != nil {
		return err
	}
	for k := range hours {
		if strings.HasPrefix(k.id, leaversItems) {
			delete(hours, k)
		}
	}
	compareSums(&v.HourSums, hours, x.hours)
	days, err := s.sums(ctx, "user_days", "user_id", "day")
	if err != nil {
		return err
	}
	compareSums(&v.DaySums, days, x.days)
	return nil
}

func compareSums(f *finding, got, want map[sumKey]uint64) {
	for k, n := range want {
		if got[k] != n {
			f.add(
				"%s %s %s: %d, want %d", k.id, k.action,
				time.Unix(k.start, 0).UTC().Format(time.RFC3339), got[k], n,
			)
		}
	}
	for k, n := range got {
		if _, ok := want[k]; !ok && n > 0 {
			f.add(
				"%s %s %s: %d, want none", k.id, k.action,
				time.Unix(k.start, 0).UTC().Format(time.RFC3339), n,
			)
		}
	}
}

func verifyLetters(ctx context.Context, v *Verdict, log theLog, x *expected, s *stores) error {
	found := make(map[letter]bool)
	ids := make(map[string]bool)
	for _, g := range processors.Groups() {
		for _, r := range log[record.PoisonTopic(g)] {
			l, ok := deadletter.Parse(&r, record.Names{Prefix: topicPrefix})
			if !ok {
				v.WronglyPoisoned.add("%s is no dead letter", at(&r))
				continue
			}
			key := letter{g, position{l.Origin.Topic, l.Origin.Partition, l.Origin.Offset}}
			if _, planted := x.dead[key]; !planted && !found[key] {
				v.WronglyPoisoned.add("%s by %s (%s): %s", key.at, g, l.Class, l.Reason)
			}
			found[key] = true
			ids[l.ID] = true
		}
	}
	v.DeadLetters = len(found)
	for key, name := range x.dead {
		if !found[key] {
			v.NotPoisoned.add("%s at %s by %s", name, key.at, key.group)
		}
	}
	rows, err := s.letters(ctx)
	if err != nil {
		return err
	}
	if len(rows) != len(ids) {
		v.DeadLetterRows.add("%d rows, %d dead letters", len(rows), len(ids))
	}
	return nil
}

func verifyUsers(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	points, err := s.points(ctx)
	if err != nil {
		return err
	}
	for id, want := range x.users {
		got := points[id]
		if got == nil {
			v.WrongUsers.add("%s is not there", id)
			continue
		}
		if d := differs(&got.model, want); d != "" {
			v.WrongUsers.add("%s: %s", id, d)
		}
	}
	for id := range points {
		if x.users[id] == nil {
			v.ErasedLeft.add("point of %s", id)
		}
	}
	return nil
}

// differs says how what is counted of two users differs; their vectors depend on the order in which
// partitions were learned.
func differs(got, want *model.User) string {
	switch gotSeen, wantSeen := got.AppendSeen(nil), want.AppendSeen(nil); {
	case got.Events != want.Events:
		return fmt.Sprintf("%d events, want %d", got.Events, want.Events)
	case !slices.Equal(gotSeen, wantSeen):
		return fmt.Sprintf("seen %d items, want %d, or another order", len(gotSeen), len(wantSeen))
	case !slices.Equal(got.History, want.History):
		return fmt.Sprintf(
			"history of %d items differs (want %d)", len(got.History), len(want.History),
		)
	}
	return ""
}

func verifyEdges(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	got, err := s.friendships(ctx)
	if err != nil {
		return err
	}
	for pair, e := range x.edges {
		if e.removed {
			continue
		}
		v.Edges++
		if _, ok := got[pair]; !ok {
			v.WrongEdges.add("%v is missing", pair)
		}
	}
	for pair, found := range got {
		if x.covered(pair[0], found.At, found.RecordedAt) ||
			x.covered(pair[1], found.At, found.RecordedAt) {
			v.ErasedLeft.add("edge %v", pair)
		} else if e, ok := x.edges[pair]; !ok || e.removed {
			v.WrongEdges.add("%v should not be there", pair)
		}
	}
	return nil
}

func verifyItems(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	got, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	v.Items = len(x.items)
	for id, title := range x.items {
		if g, ok := got[id]; !ok {
			v.WrongItems.add("%s is missing", id)
		} else if g.Content.Title != title {
			v.WrongItems.add("%s is %q, want %q", id, g.Content.Title, title)
		} else if want := x.counts[id]; g.Count != float64(want) {
			v.WrongItems.add("%s has learned from %.0f events, want %d", id, g.Count, want)
		}
	}
	return nil
}

// verifyAnswered looks for people whose vector moved and who got no list since.
func verifyAnswered(v *Verdict, log theLog, x *expected) {
	answered := make(map[string]bool)
	for i := range log[schemas.TopicRecommendations] {
		r := &log[schemas.TopicRecommendations][i]
		list, err := schemas.DecodeRecommendation(r)
		if errors.Is(err, schemas.ErrErasureMarker) || err != nil ||
			list.CausedBy.Trigger != "event" {
			continue
		}
		due, ok := x.due[list.UserID]
		if !ok {
			continue
		}
		if c := list.CausedBy; c.Topic == schemas.TopicInteractions && c.Offset >= due.Offset ||
			c.Topic == schemas.TopicFriendships && !r.Time.Before(due.Time) {
			answered[list.UserID] = true
		}
	}
	for id, due := range x.due {
		if !answered[id] {
			v.Unanswered.add("%s at %s", id, at(&due))
		}
	}
}

// recall is the share of the items of their genre that people never touched and that are among
// their ten best.
func (w world) recall(ctx context.Context, s *stores) (float64, error) {
	points, err := s.points(ctx)
	if err != nil {
		return 0, err
	}
	items, err := s.catalog(ctx)
	if err != nil {
		return 0, err
	}
	hits, of := 0, 0
	for u := range w.users {
		p := points[w.user(u)]
		if p == nil || p.vector == nil {
			continue
		}
		held := w.heldOutOf(u)
		type scored struct {
			id    string
			score float32
		}
		var all []scored
		for id, x := range items {
			if p.model.Seen(model.KeyOf(id)) || len(x.Vector) != len(p.vector) ||
				!strings.HasPrefix(id, "i") {
				continue
			}
			var sum float32
			for i, a := range p.vector {
				sum += a * x.Vector[i]
			}
			all = append(all, scored{id, sum})
		}
		slices.SortFunc(
			all,
			func(a, b scored) int {
				return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.id, b.id))
			},
		)
		for _, x := range all[:min(10, len(all))] {
			if held[x.id] {
				hits++
			}
		}
		of += len(held)
	}
	return float64(hits) / float64(max(of, 1)), nil
}
