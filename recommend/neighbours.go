package recommend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/sinks"
)

func (r *Recommender) readUsers(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	byID := make(map[string][]*job, len(jobs))
	ids := make([]string, 0, len(jobs))
	for _, j := range jobs {
		if _, ok := byID[j.UserID]; !ok {
			ids = append(ids, j.UserID)
		}
		byID[j.UserID] = append(byID[j.UserID], j)
	}
	points, err := r.users.GetUsers(ctx, ids)
	if err != nil {
		return err
	}
	for i := range points {
		point := &points[i]
		if r.forgotten(point) {
			continue
		}
		jobs := byID[point.ID]
		for _, j := range jobs {
			// Without the list of taken items, the vector would recommend them again. So the list
			// is made as if the vectors could not be read.
			if err := decodeState(&j.state, point); err != nil {
				j.unreadable = fmt.Errorf("state of user %q: %w", point.ID, err)
				continue
			}
			j.point = point
		}
		r.mark(jobs, DegradedVectors, jobs[0].unreadable)
	}
	return nil
}

// decodeState decodes a user's state. A damaged point is corrupt, unless a newer version wrote it.
func decodeState(state *model.User, point *sinks.User) error {
	err := state.Decode(point.State)
	if point.Damaged != nil && !errors.Is(err, model.ErrNewerFormat) {
		return fmt.Errorf("%w: %w", model.ErrCorrupt, point.Damaged)
	}
	return err
}

// forgotten tells whether the user was erased after the point was written.
func (r *Recommender) forgotten(point *sinks.User) bool {
	return point.Erased() || point.Damaged == nil &&
		r.erasures.Covers(point.ID, point.LastEventAt, point.ChangedAt)
}

// neighbour is a friend or a similar user.
type neighbour struct {
	vector  []float32
	history []model.Taken
}

// Lists can do without friends, so a graph that has just failed must not slow them down. It is not
// asked for friendsBackoff, and then with the shorter friendsProbeTimeout.
const (
	friendsBackoff      = 5 * time.Second
	friendsProbeTimeout = time.Second
)

var errBackingOff = errors.New("the graph failed a moment ago")

func (r *Recommender) readFriends(parent context.Context, jobs []*job) error {
	timeout := r.cfg.StoreTimeout
	if failed := r.friendsFailed.Load(); failed != 0 {
		if r.now().Sub(time.Unix(0, failed)) < friendsBackoff {
			return errBackingOff
		}
		timeout = min(timeout, friendsProbeTimeout)
	}
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	err := r.askFriends(ctx, jobs)
	switch {
	case err == nil:
		r.friendsFailed.Store(0)
	case parent.Err() == nil:
		r.friendsFailed.Store(r.now().UnixNano())
	}
	return err
}

func (r *Recommender) askFriends(ctx context.Context, jobs []*job) error {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.UserID
	}
	slices.Sort(ids)
	friends, err := r.graph.Friends(ctx, slices.Compact(ids), r.cfg.Friends)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		j.friends = friends[j.UserID]
	}
	return nil
}

// readNeighbours reads friends and similar users, and finishes the queries.
func (r *Recommender) readNeighbours(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	similar := make([][]string, len(jobs))
	want := make(map[string]struct{})
	var (
		queries []sinks.UserQuery
		askers  []int
	)
	for i, j := range jobs {
		if r.cfg.SimilarUsers <= 0 || j.point == nil || j.point.Vector == nil || j.holdout ||
			j.Scenario != ScenarioHome {
			continue
		}
		// it may hold fewer than N users: some were erased
		if ids, ok := r.similar.GetIfPresent(j.UserID); ok && j.state.Events >= similarCacheEvents {
			similar[i] = ids
			for _, id := range ids {
				want[id] = struct{}{}
			}
			continue
		}
		queries = append(
			queries,
			sinks.UserQuery{
				Vector: j.point.Vector, N: r.cfg.SimilarUsers, Exclude: []string{j.UserID},
			},
		)
		askers = append(askers, i)
	}
	near, err := r.users.SimilarUsers(ctx, queries)
	if err != nil {
		return err
	}
	for q, i := range askers {
		for _, n := range near[q] {
			similar[i] = append(similar[i], n.ID)
			want[n.ID] = struct{}{}
		}
		if jobs[i].state.Events >= similarCacheEvents {
			r.similar.Set(jobs[i].UserID, similar[i])
		}
	}
	for _, j := range jobs {
		for _, f := range j.friends {
			want[f] = struct{}{}
		}
	}
	ids := make([]string, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	points, err := r.users.GetUsers(ctx, ids)
	if err != nil {
		return err
	}
	known := make(map[string]neighbour, len(points))
	unreadable := make(map[string]error)
	for i := range points {
		p := &points[i]
		if r.forgotten(p) {
			continue
		}
		var state model.User
		if err := decodeState(&state, p); err != nil {
			unreadable[p.ID] = fmt.Errorf("state of user %q, a neighbour: %w", p.ID, err)
			continue
		}
		known[p.ID] = neighbour{p.Vector, state.History}
	}
	pick := func(j *job, part string, ids []string) (out []neighbour) {
		for _, id := range ids {
			if p, ok := known[id]; ok {
				out = append(out, p)
			}
			if err := unreadable[id]; err != nil {
				j.degrade[part] = true
				r.cfg.Log.Debug("a neighbour is left out", "user", j.UserID, "error", err)
			}
		}
		return out
	}
	for i, j := range jobs {
		if j.unreadable == nil {
			j.friendNeighbours = pick(j, DegradedFriends, j.friends)
			j.similar = pick(j, DegradedSimilar, similar[i])
		}
		j.finish(r.cfg)
		j.social = r.socialCandidates(j)
	}
	return nil
}
