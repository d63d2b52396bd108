//go:build linux

package torture

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

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
		if d := differs(&got.model, want, interleaved); d != "" {
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

// differs says how what is counted of a user differs. Vectors depend on the order in which
// partitions were learned, and so does the order of events where some were forwarded: there orderly
// tells whether a history may come of the two sequences.
func differs(
	got *model.User, want *person, orderly func(history, own, moved []model.Taken) bool,
) string {
	gotSeen, wantSeen := got.AppendSeen(nil), want.AppendSeen(nil)
	sameHistory := slices.Equal(got.History, want.History)
	if want.mixed {
		slices.Sort(gotSeen)
		slices.Sort(wantSeen)
		// Which word on an item is the newest depends on the order, too.
		sameHistory = orderly(
			unlabeled(got.History), unlabeled(want.own), unlabeled(want.moved),
		)
	}
	switch {
	case got.Events != want.Events:
		return fmt.Sprintf("%d events, want %d", got.Events, want.Events)
	case !slices.Equal(gotSeen, wantSeen):
		return fmt.Sprintf("seen %d items, want %d, or another order", len(gotSeen), len(wantSeen))
	case !sameHistory:
		return fmt.Sprintf(
			"history of %d items differs (want %d)", len(got.History), len(want.History),
		)
	}
	return ""
}

// unlabeled returns a history without the labels of its events.
func unlabeled(history []model.Taken) []model.Taken {
	out := slices.Clone(history)
	for i := range out {
		out[i].Label = 0
	}
	return out
}

// interleaved tells whether a history is the end of two sequences that were interleaved.
func interleaved(history, a, b []model.Taken) bool {
	if len(history) != min(len(a)+len(b), model.Default().LongItems) {
		return false
	}
	impossible := make(map[[2]int]bool) // how much is left of a and of b
	var match func(n, i, j int) bool
	match = func(n, i, j int) bool {
		if n == 0 {
			return true
		}
		if impossible[[2]int{i, j}] {
			return false
		}
		if i > 0 && history[n-1] == a[i-1] && match(n-1, i-1, j) ||
			j > 0 && history[n-1] == b[j-1] && match(n-1, i, j-1) {
			return true
		}
		impossible[[2]int{i, j}] = true
		return false
	}
	return match(len(history), len(a), len(b))
}

// anyOrder tells whether a history has events of two sequences, each once.
func anyOrder(history, a, b []model.Taken) bool {
	left := make(map[model.Taken]int)
	for _, x := range slices.Concat(a, b) {
		left[x]++
	}
	for _, x := range history {
		if left[x]--; left[x] < 0 {
			return false
		}
	}
	return len(history) == min(len(a)+len(b), model.Default().LongItems)
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
		if found, ok := got[pair]; !ok {
			v.WrongEdges.add("%v is missing", pair)
		} else if !found.At.Equal(e.at) {
			v.WrongEdges.add("%v is of %s, want %s", pair, found.At, e.at)
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
	titles, err := s.titles(ctx)
	if err != nil {
		return err
	}
	v.Items = len(x.items)
	for id, item := range x.items {
		if g, ok := got[id]; !ok {
			v.WrongItems.add("%s is missing", id)
		} else if g.Content.Title != item.title {
			v.WrongItems.add("%s is %q, want %q", id, g.Content.Title, item.title)
		} else if want := x.counts[id]; g.Count != float64(want) {
			v.WrongItems.add("%s has learned from %.0f events, want %d", id, g.Count, want)
		} else if titles[id] != item.title {
			v.WrongItems.add("%s is %q for analysts, want %q", id, titles[id], item.title)
		}
	}
	return nil
}

// verifyNames looks for what analysts see of people who were erased, and did not tell of themselves
// since.
func verifyNames(ctx context.Context, v *Verdict, log theLog, x *expected, s *stores) error {
	known, err := s.names(ctx)
	if err != nil {
		return err
	}
	for i := range log.topics[schemas.TopicUsers] {
		r := &log.topics[schemas.TopicUsers][i]
		u, err := schemas.DecodeUser(r)
		if err != nil || u.Erased {
			continue
		}
		if said, _ := happened(r, u.OccurredAt); !x.covered(u.UserID, said, r.Time) {
			delete(known, u.UserID)
		}
	}
	for user := range known {
		if _, gone := x.erased[user]; gone {
			v.ErasedLeft.add("attributes of %s", user)
		}
	}
	return nil
}

// verifyAnswered looks for people whose vector moved and who got no list since: each last event of
// theirs has caused a change of their profile, and the last change is answered by a list of its
// version.
func verifyAnswered(v *Verdict, log theLog, x *expected) {
	caused := make(map[string]map[position]bool)
	last := make(map[string]int64)
	for i := range log.topics[schemas.TopicProfileChanges] {
		r := &log.topics[schemas.TopicProfileChanges][i]
		c, err := schemas.DecodeProfileChanged(r)
		if err != nil || schemas.IsRecommendationExpired(r) ||
			x.covered(c.UserID, c.OccurredAt, c.RecordedAt) {
			continue
		}
		if caused[c.UserID] == nil {
			caused[c.UserID] = make(map[position]bool)
		}
		caused[c.UserID][position{c.Topic, c.Partition, c.Offset}] = true
		last[c.UserID] = max(last[c.UserID], r.Offset)
	}
	answered := make(map[string]int64)
	for i := range log.topics[schemas.TopicRecommendations] {
		list, err := schemas.DecodeRecommendation(&log.topics[schemas.TopicRecommendations][i])
		if err == nil {
			answered[list.UserID] = max(answered[list.UserID], list.Version)
		}
	}
	for id, p := range x.users {
		for _, due := range p.due {
			isCause := func(at position) bool {
				return caused[id][at] && (at == due || at.topic == due.topic &&
					at.partition == due.partition && at.offset > due.offset)
			}
			if !isCause(due) && !slices.ContainsFunc(p.markers, isCause) {
				v.Unanswered.add("%s at %s: no change of the profile", id, due)
			}
		}
		want := int64(sinks.PositionOf(sinks.FirstEpoch, last[id]))
		if len(p.due) > 0 && answered[id] < want {
			v.Unanswered.add("%s: the version is %d, want %d", id, answered[id], want)
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
