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
	// ScenarioFriends is for items that friends were interested in.
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
	newest   *newest
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

// New returns a recommender over the stores. now is the clock. nil actions are the built-in ones.
func New(stores Stores, erasures Erasures, cfg Config, now func() time.Time) *Recommender {
	if cfg.Actions == nil {
		cfg.Actions = schemas.DefaultActions()
	}
	return &Recommender{
		users: stores.Users, items: newItemCache(stores.Items, cfg.ItemTTL), index: stores.Items,
		newest: new(newest), graph: stores.Graph,
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
	// Locale is that of the reasons, such as de or de-AT. Empty, or a locale that is not known, is
	// the configured one.
	Locale   string
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
	taste   taste
	turns   []uint64 // new items, in the order in which they get the places kept for these
	degrade map[string]bool
	holdout bool
	// catalogOnly is Config.CatalogOnly.
	catalogOnly bool
	// refused are the genres that the user refuses.
	refused []string
	// friendsOnly is set when the query is made of the friends' vectors alone.
	friendsOnly bool
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
			catalogOnly: r.cfg.CatalogOnly,
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
		list.Notes = r.notes(ctx, j, &list)
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
		for _, j := range jobs {
			j.findRefusals(&r.cfg)
		}
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
	r.tellDegraded(part, len(jobs), err)
	for _, j := range jobs {
		j.degrade[part] = true
	}
	return false
}

// tellDegraded tells that a part of lists is missing.
func (r *Recommender) tellDegraded(part string, lists int, err error) {
	level := slog.LevelWarn
	if errors.Is(err, errBackingOff) {
		level = slog.LevelDebug // told at the first failure
	} else if r.cfg.Degraded != nil {
		r.cfg.Degraded(part, err)
		return
	}
	r.cfg.Log.Log(
		context.Background(), level, "recommendations are degraded", "part", part, "lists", lists,
		"error", err,
	)
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
