// Package recommend makes lists: candidate sources, ranking and reasons, on what the stores hold.
package recommend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// Config holds the settings of Recommender.
type Config struct {
	Model model.Config
	Blend model.Blend
	// Length is the length of a list when the request does not give one. Default 20.
	Length int
	// Candidates is the number of nearest items that are ranked, at least three times the length of
	// the list. Default 60.
	Candidates int
	// NewItems is the number of cold-start candidates found by content. An item is cold while it
	// has at most NewItemCount interactions. Defaults 10 and 5.
	NewItems     int
	NewItemCount float64
	// SimilarUsers is the number of similar users whose latest items become candidates; 0 is none.
	// Default 5.
	SimilarUsers int
	// Friends is the maximum number of friends considered per user. Default 50.
	Friends int
	// FriendHalfLife is the half-life of a friend's interaction as a signal. Default 14 days.
	FriendHalfLife time.Duration
	// TakenReturn allows recommending items that the user has already taken (music, groceries).
	// Refused items never return. Default false (films).
	TakenReturn bool
	// Holdout is the share of users, 0 to 1, who get the baseline (trending), so that the lift of
	// the recommender can be measured. Default 0.05.
	Holdout float64
	// Variant names this configuration in lists, so that click-through can be compared. Default
	// "default".
	Variant string
	// TTL is the time until a list expires. Default 24 h.
	TTL time.Duration
	// ItemTTL is how long items (for reasons and diversity) and similar users are cached. An item
	// is evicted at once when ApplyItem sees a change of its content. Default 30 s.
	ItemTTL time.Duration
	// StoreTimeout bounds each call to a store. After it the list is made without that store.
	// Default 1 s.
	StoreTimeout time.Duration
	// Log gets a line for each store that does not answer.
	Log *slog.Logger
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Model: model.Default(), Blend: model.DefaultBlend(), Length: 20, Candidates: 60,
		NewItems: 10, NewItemCount: 5, SimilarUsers: 5,
		Friends: 50, FriendHalfLife: 14 * 24 * time.Hour, Holdout: 0.05, Variant: "default",
		TTL: 24 * time.Hour, ItemTTL: 30 * time.Second, StoreTimeout: time.Second,
		Log: slog.Default(),
	}
}

const (
	// maxCachedSimilar bounds the cache of similar users: about 200 bytes per user.
	maxCachedSimilar = 50_000
	// similarCacheEvents is the number of events from which a user's similar users are cached.
	// Before that, each event changes them a lot.
	similarCacheEvents = 10
)

// longCandidates is enough candidates for a long list.
const longCandidates = 300

// Names of the stores in Recommendation.Degraded.
const (
	DegradedVectors  = "vectors"
	DegradedFriends  = "friends"
	DegradedSimilar  = "similar_users"
	DegradedTrending = "trending"
)

// Scenarios say what a list is for.
const (
	// ScenarioHome is the default: everything blended.
	ScenarioHome = ""
	// ScenarioNew is for new items: cold-start candidates only.
	ScenarioNew = "new"
	// ScenarioFriends is for items that friends took.
	ScenarioFriends = "friends"
)

// ErrUnknownItem is returned for an item that is not in the catalog.
var ErrUnknownItem = errors.New("unknown item")

// UserFinder is what a Recommender needs of the store of users. sinktest.Users says what its
// methods promise.
type UserFinder interface {
	GetUsers(ctx context.Context, ids []string) ([]sinks.User, error)
	SimilarUsers(ctx context.Context, queries []sinks.UserQuery) ([][]sinks.Neighbour, error)
}

// ItemFinder is what a Recommender needs of the store of items. sinktest.Items says what its
// methods promise.
type ItemFinder interface {
	GetItems(ctx context.Context, ids []string) ([]sinks.Item, error)
	GetItemKeys(ctx context.Context, keys []uint64) ([]sinks.Item, error)
	SearchItems(ctx context.Context, queries []sinks.ItemQuery) ([][]sinks.ItemHit, error)
}

// FriendFinder is what a Recommender needs of the graph. sinktest.Graph says what its methods
// promise.
type FriendFinder interface {
	Friends(ctx context.Context, users []string, limit int) (map[string][]string, error)
	SuggestFriends(ctx context.Context, user string, n int) ([]sinks.Suggestion, error)
}

// Recommender makes lists. The processor Recommend and the REST API use the same one. Safe for
// concurrent use.
type Recommender struct {
	users    UserFinder
	items    *itemCache
	index    ItemFinder
	graph    FriendFinder
	erasures Erasures
	cfg      Config
	now      func() time.Time
	trending *atomic.Pointer[trendingList]
	// similar caches the ids of similar users: tastes change more slowly than users act.
	similar *otter.Cache[string, []string]
	// friendsFailed is the time of the graph's last failure, in Unix nanoseconds; 0 after a
	// success.
	friendsFailed *atomic.Int64
}

// Erasures tells what of a user was erased. It must not be shown. Safe for
// concurrent use.
type Erasures interface {
	// Covers tells whether what a user did at occurred, and the log took at recorded, is erased.
	Covers(userID string, occurred, recorded time.Time) bool
}

// Stores are what a Recommender reads.
type Stores struct {
	Users UserFinder
	Items ItemFinder
	Graph FriendFinder
}

// New returns a recommender over the stores. now is the clock.
func New(stores Stores, erasures Erasures, cfg Config, now func() time.Time) *Recommender {
	return &Recommender{
		users: stores.Users, items: newItemCache(stores.Items, cfg.ItemTTL), index: stores.Items,
		graph:    stores.Graph,
		erasures: erasures, cfg: cfg, now: now,
		similar: otter.Must(
			&otter.Options[string, []string]{
				MaximumSize:      maxCachedSimilar,
				ExpiryCalculator: otter.ExpiryWriting[string, []string](cfg.ItemTTL),
			},
		),
		trending: new(atomic.Pointer[trendingList]), friendsFailed: new(atomic.Int64),
	}
}

// WithStoreTimeout returns a recommender over the same stores with another StoreTimeout.
func (r *Recommender) WithStoreTimeout(d time.Duration) *Recommender {
	other := *r
	other.cfg.StoreTimeout = d
	return &other
}

// Request asks for one list.
type Request struct {
	UserID string
	// N is the length of the list, 1 to 200; 0 is the configured one.
	N        int
	Exclude  []string
	Genres   []string
	Scenario string
	CausedBy schemas.CausedBy
	// Version is the version of the list: the position of the profile change that it answers. 0 is
	// for lists made on request, which replace no other list.
	Version int64
}

// job is the state of one request while its list is made.
type job struct {
	Request
	point   *sinks.User
	state   model.User
	query   []float32
	exclude []uint64
	friends []string
	// friendNeighbours are the friends who have a vector, similar the similar users.
	friendNeighbours []neighbour
	similar          []neighbour
	// unreadable says why the user's own state cannot be decoded; nil when it can.
	unreadable error
	// social are the latest items of both, as candidates.
	social  []socialCandidate
	items   *itemSet        // shared by the jobs of one call
	found   []sinks.ItemHit // nearest by vector
	fresh   []sinks.ItemHit // new items that fit by content
	degrade map[string]bool
	holdout bool
}

// Answer is the list for a request.
type Answer struct {
	List schemas.Recommendation
	// StateErr is not nil when the user's own state cannot be decoded: model.ErrNewerFormat or
	// model.ErrCorrupt. Then the list is the trending one, degraded by vectors.
	StateErr error
}

// Recommend is Answers for callers that need only the lists.
func (r *Recommender) Recommend(
	ctx context.Context,
	requests []Request,
) ([]schemas.Recommendation, error) {
	answers, err := r.Answers(ctx, requests)
	if err != nil {
		return nil, err
	}
	lists := make([]schemas.Recommendation, len(answers))
	for i := range answers {
		lists[i] = answers[i].List
	}
	return lists, nil
}

// Answers makes a list for each request, in order. When a store does not answer, lists are made
// without it and marked degraded; that is no error. A user state that cannot be decoded is no error
// either: the user gets the trending list, and lists that have this user as a neighbour are made
// without that neighbour. Only a canceled context is an error.
func (r *Recommender) Answers(ctx context.Context, requests []Request) ([]Answer, error) {
	jobs := make([]*job, len(requests))
	items := r.items.newItemSet()
	for i, q := range requests {
		if q.N <= 0 {
			q.N = r.cfg.Length
		}
		q.N = min(q.N, 200)
		jobs[i] = &job{
			Request: q, items: items, degrade: make(map[string]bool), holdout: r.heldOut(q.UserID),
		}
	}
	if err := r.gather(ctx, jobs); err != nil {
		return nil, err
	}
	out := make([]Answer, len(jobs))
	for i, j := range jobs {
		list, err := r.list(ctx, j)
		if err != nil {
			return nil, err
		}
		out[i] = Answer{list, j.unreadable}
	}
	return out, nil
}

// heldOut tells whether the user is in the hold-out, by a hash of the id.
func (r *Recommender) heldOut(userID string) bool {
	return float64(schemas.Key("holdout:"+userID)%10_000) < r.cfg.Holdout*10_000
}

// gather reads the stores, each once for all jobs. A failure marks the jobs as degraded.
func (r *Recommender) gather(ctx context.Context, jobs []*job) error {
	var (
		wg                 sync.WaitGroup
		usersErr, graphErr error
	)
	wg.Go(func() { usersErr = r.readUsers(ctx, jobs) })
	wg.Go(func() { graphErr = r.readFriends(ctx, jobs) })
	wg.Wait()
	r.mark(jobs, DegradedFriends, graphErr)
	if r.mark(jobs, DegradedVectors, usersErr) {
		r.mark(jobs, DegradedVectors, r.readNeighbours(ctx, jobs))
		r.mark(jobs, DegradedVectors, r.readItems(ctx, jobs, r.neededItems(jobs)))
		r.mark(jobs, DegradedVectors, r.search(ctx, jobs))
	} else {
		// cached items still have titles
		r.mark(jobs, DegradedVectors, r.readItems(ctx, jobs, r.neededItems(jobs)))
	}
	if ctx.Err() != nil {
		return fault.As(fault.Canceled, ctx.Err())
	}
	return nil
}

// mark marks the jobs as degraded by a part when err is not nil. It returns whether err is nil.
func (r *Recommender) mark(jobs []*job, part string, err error) bool {
	if err == nil {
		return true
	}
	level := slog.LevelWarn
	if errors.Is(err, errBackingOff) {
		level = slog.LevelDebug // logged at the first failure
	}
	r.cfg.Log.Log(
		context.Background(), level, "recommendations are degraded", "part", part, "lists",
		len(jobs), "error", err,
	)
	for _, j := range jobs {
		j.degrade[part] = true
	}
	return false
}

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

// finish computes the query and the excluded items.
func (j *job) finish(cfg Config) {
	dim := cfg.Model.Dim
	if j.point != nil && len(j.point.Vector) == dim+1 {
		j.query = slices.Clone(j.point.Vector)
	}
	var friends [][]float32
	for _, f := range j.friendNeighbours {
		friends = append(friends, f.vector)
	}
	if j.query == nil && len(friends) > 0 {
		j.query = make([]float32, dim+1)
		j.query[dim] = model.BiasScale
	}
	if j.query != nil {
		model.AddFriends(cfg.Model, j.query, j.state.Events, friends)
	}
	for _, id := range j.Exclude {
		j.exclude = append(j.exclude, schemas.Key(id))
	}
	taken := make(map[model.Key]bool)
	if cfg.TakenReturn {
		for _, h := range j.state.History {
			taken[h.Key] = true
		}
	}
	for _, key := range j.state.AppendSeen(nil) {
		if !taken[key] {
			j.exclude = append(j.exclude, uint64(key))
		}
	}
}

// search queries the index once for all jobs: nearest items by vector, and cold-start candidates by
// content.
func (r *Recommender) search(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	var (
		queries []sinks.ItemQuery
		owners  []*job
	)
	for _, j := range jobs {
		if j.query == nil || j.holdout || j.Scenario == ScenarioFriends {
			continue
		}
		if j.Scenario != ScenarioNew {
			queries = append(
				queries,
				sinks.ItemQuery{
					Vector: j.query, N: max(r.cfg.Candidates, min(3*j.N, longCandidates)),
					Exclude: j.exclude, Genres: j.Genres, KeysOnly: true,
				},
			)
			owners = append(owners, j)
		}
		taste := j.taste()
		if n := r.cfg.NewItems; taste != nil && n > 0 {
			if j.Scenario == ScenarioNew {
				n = max(n, j.N)
			}
			queries = append(
				queries,
				sinks.ItemQuery{
					Vector: taste, Content: true, N: n, Exclude: j.exclude, Genres: j.Genres,
					MaxCount: r.cfg.NewItemCount, KeysOnly: true,
				},
			)
			owners = append(owners, j)
		}
	}
	if len(queries) == 0 {
		return nil
	}
	hits, err := r.index.SearchItems(ctx, queries)
	if err != nil {
		return err
	}
	var keys []uint64
	for i, j := range owners {
		for _, h := range hits[i] {
			keys = append(keys, h.Key)
		}
		if queries[i].Content {
			j.fresh = hits[i]
		} else {
			j.found = hits[i]
		}
	}
	return r.readItems(ctx, jobs, keys)
}

// readItems loads items into the item set that the jobs share.
func (r *Recommender) readItems(ctx context.Context, jobs []*job, keys []uint64) error {
	if len(jobs) == 0 || len(keys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	return jobs[0].items.load(ctx, keys)
}

// neededItems returns the keys of the items that the lists need besides the search results:
// histories, social candidates and trending items.
func (r *Recommender) neededItems(jobs []*job) []uint64 {
	keys := slices.Clone(r.trending.Load().top(0))
	for _, j := range jobs {
		for i, h := range slices.Backward(j.state.History) {
			if len(j.state.History)-i > explainedItems {
				break
			}
			keys = append(keys, uint64(h.Key))
		}
		for _, x := range j.social {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// tasteItems is the number of latest items that make up a user's content profile.
const tasteItems = 10

// taste returns the sum of the content vectors of the user's latest items, or nil.
func (j *job) taste() []float32 {
	var sum []float32
	for i, h := range slices.Backward(j.state.History) {
		if len(j.state.History)-i > tasteItems {
			break
		}
		item := j.items.items[uint64(h.Key)]
		if item == nil || len(item.ContentVector) == 0 {
			continue
		}
		v := item.ContentVector
		if sum == nil {
			sum = make([]float32, len(v))
		}
		if len(sum) == len(v) {
			for i := range v {
				sum[i] += v[i]
			}
		}
	}
	return sum
}

// head returns a list without items.
func (r *Recommender) head(j *job, strategy string) schemas.Recommendation {
	now := r.now().UTC()
	variant := r.cfg.Variant
	if j.holdout {
		variant = "holdout"
	}
	list := schemas.Recommendation{
		UserID: j.UserID, Strategy: strategy, Variant: variant, Version: j.Version,
		GeneratedAt: now, ExpiresAt: now.Add(r.cfg.TTL),
		CausedBy: j.CausedBy, Degraded: j.degraded(),
	}
	list.RecommendationID = uuid.NewSHA1(
		uuid.NameSpaceOID,
		fmt.Appendf(
			nil,
			"%s/%d/%d",
			j.UserID,
			list.Version,
			now.UnixNano(), // a list that is made again is another list
		),
	).String()
	if list.CausedBy.Trigger == "" {
		list.CausedBy.Trigger = "request"
	}
	return list
}

// degraded names the parts that failed so far.
func (j *job) degraded() []string {
	parts := make([]string, 0, len(j.degrade))
	for part := range j.degrade {
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return parts
}
