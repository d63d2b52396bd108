package sinktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// errPlanned is what every planned failure wraps.
var errPlanned = errors.New("planned failure")

// IsPlanned tells whether err comes from a Plan.
func IsPlanned(err error) bool { return errors.Is(err, errPlanned) }

// Fault is one planned failure.
type Fault struct {
	Class fault.Class
	// Lost lets the call take effect; only its answer is lost, as when a connection is cut.
	Lost bool
}

// Plan says which calls of a faulty store fail. Calls are counted per method, by its name ("PutUsers"), from 1; the empty name counts all
// methods together. A plan may be shared by several stores, and changed while they are in use.
type Plan struct {
	mu     sync.Mutex
	calls  map[string]int
	faults map[string]map[int]Fault
	outage *Fault
}

// NewPlan returns a plan without failures.
func NewPlan() *Plan {
	return &Plan{calls: map[string]int{}, faults: map[string]map[int]Fault{}}
}

// Fail plans that the n-th call of method, from 1, fails with f, and returns p.
func (p *Plan) Fail(method string, n int, f Fault) *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults[method] == nil {
		p.faults[method] = map[int]Fault{}
	}
	p.faults[method][n] = f
	return p
}

// Down makes every call fail with f until Up: an outage.
func (p *Plan) Down(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outage = &f
}

// Up ends an outage.
func (p *Plan) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outage = nil
}

// Calls returns how often method was called, failures included; "" counts all methods.
func (p *Plan) Calls(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[method]
}

// next counts a call and returns what is planned for it, nil for nothing. A plan for the method goes before one for all, and both before an outage.
func (p *Plan) next(method string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[method]++
	p.calls[""]++
	for _, name := range []string{method, ""} {
		if f, ok := p.faults[name][p.calls[name]]; ok {
			return &f
		}
	}
	return p.outage
}

// do makes the call unless the plan says otherwise.
func do(p *Plan, method string, call func() error) error {
	f := p.next(method)
	if f == nil {
		return call()
	}
	if f.Lost {
		if err := call(); err != nil {
			return err
		}
	}
	return &fault.Error{Class: f.Class, Err: fmt.Errorf("%s: %w", method, errPlanned)}
}

// get is do for calls with an answer, which is lost with the failure.
func get[T any](p *Plan, method string, call func() (T, error)) (T, error) {
	var answer T
	err := do(p, method, func() (err error) {
		answer, err = call()
		return err
	})
	if IsPlanned(err) {
		var none T
		return none, err
	}
	return answer, err
}

// faultyStore is what all wrappers share. Close never fails by plan: a test must be able to end.
type faultyStore struct {
	sinks.Store
	plan *Plan
}

func (s faultyStore) Migrate(ctx context.Context) error {
	return do(s.plan, "Migrate", func() error { return s.Store.Migrate(ctx) })
}

func (s faultyStore) LogID(ctx context.Context) (string, error) {
	return get(s.plan, "LogID", func() (string, error) { return s.Store.LogID(ctx) })
}

func (s faultyStore) SetLogID(ctx context.Context, id string) error {
	return do(s.plan, "SetLogID", func() error { return s.Store.SetLogID(ctx, id) })
}

func (s faultyStore) Ping(ctx context.Context) error {
	return do(s.plan, "Ping", func() error { return s.Store.Ping(ctx) })
}

// FaultyUsers returns inner with the failures of plan.
func FaultyUsers(inner sinks.Users, plan *Plan) sinks.Users {
	return faultyUsers{faultyStore{inner, plan}, inner}
}

type faultyUsers struct {
	faultyStore
	users sinks.Users
}

func (s faultyUsers) GetUsers(ctx context.Context, ids []string) ([]sinks.User, error) {
	return get(s.plan, "GetUsers", func() ([]sinks.User, error) { return s.users.GetUsers(ctx, ids) })
}

func (s faultyUsers) PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error {
	return do(s.plan, "PutUsers", func() error { return s.users.PutUsers(ctx, src, batch) })
}

func (s faultyUsers) SimilarUsers(ctx context.Context, queries []sinks.UserQuery) ([][]sinks.Neighbour, error) {
	return get(s.plan, "SimilarUsers", func() ([][]sinks.Neighbour, error) { return s.users.SimilarUsers(ctx, queries) })
}

func (s faultyUsers) DeleteUsers(ctx context.Context, ids []string) error {
	return do(s.plan, "DeleteUsers", func() error { return s.users.DeleteUsers(ctx, ids) })
}

func (s faultyUsers) ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error) {
	return get(s.plan, "ExpireUsers", func() (int, error) { return s.users.ExpireUsers(ctx, t, limit) })
}

func (s faultyUsers) EachUser(ctx context.Context, f func(sinks.User) error) error {
	return do(s.plan, "EachUser", func() error { return s.users.EachUser(ctx, f) })
}

func (s faultyUsers) CountUsers(ctx context.Context) (int64, error) {
	return get(s.plan, "CountUsers", func() (int64, error) { return s.users.CountUsers(ctx) })
}

// FaultyItems returns inner with the failures of plan.
func FaultyItems(inner sinks.Items, plan *Plan) sinks.Items {
	return faultyItems{faultyStore{inner, plan}, inner}
}

type faultyItems struct {
	faultyStore
	items sinks.Items
}

func (s faultyItems) GetItems(ctx context.Context, ids []string) ([]sinks.Item, error) {
	return get(s.plan, "GetItems", func() ([]sinks.Item, error) { return s.items.GetItems(ctx, ids) })
}

func (s faultyItems) GetItemKeys(ctx context.Context, keys []uint64) ([]sinks.Item, error) {
	return get(s.plan, "GetItemKeys", func() ([]sinks.Item, error) { return s.items.GetItemKeys(ctx, keys) })
}

func (s faultyItems) PutItems(ctx context.Context, batch []sinks.Item) error {
	return do(s.plan, "PutItems", func() error { return s.items.PutItems(ctx, batch) })
}

func (s faultyItems) SearchItems(ctx context.Context, queries []sinks.ItemQuery) ([][]sinks.ItemHit, error) {
	return get(s.plan, "SearchItems", func() ([][]sinks.ItemHit, error) { return s.items.SearchItems(ctx, queries) })
}

func (s faultyItems) ItemVersions(ctx context.Context, f func(id string, version uint64) error) error {
	return do(s.plan, "ItemVersions", func() error { return s.items.ItemVersions(ctx, f) })
}

func (s faultyItems) DeleteItems(ctx context.Context, versions map[string]uint64) error {
	return do(s.plan, "DeleteItems", func() error { return s.items.DeleteItems(ctx, versions) })
}

func (s faultyItems) CountItems(ctx context.Context) (int64, error) {
	return get(s.plan, "CountItems", func() (int64, error) { return s.items.CountItems(ctx) })
}

// FaultyGraph returns inner with the failures of plan.
func FaultyGraph(inner sinks.Graph, plan *Plan) sinks.Graph {
	return faultyGraph{faultyStore{inner, plan}, inner}
}

type faultyGraph struct {
	faultyStore
	graph sinks.Graph
}

func (s faultyGraph) ApplyEdges(ctx context.Context, batch []sinks.Edge) error {
	return do(s.plan, "ApplyEdges", func() error { return s.graph.ApplyEdges(ctx, batch) })
}

func (s faultyGraph) Friends(ctx context.Context, users []string, limit int) (map[string][]string, error) {
	return get(s.plan, "Friends", func() (map[string][]string, error) { return s.graph.Friends(ctx, users, limit) })
}

func (s faultyGraph) SuggestFriends(ctx context.Context, user string, n int) ([]sinks.Suggestion, error) {
	return get(s.plan, "SuggestFriends", func() ([]sinks.Suggestion, error) { return s.graph.SuggestFriends(ctx, user, n) })
}

func (s faultyGraph) EraseFriends(ctx context.Context, users []sinks.Erasure) error {
	return do(s.plan, "EraseFriends", func() error { return s.graph.EraseFriends(ctx, users) })
}

func (s faultyGraph) EachEdge(ctx context.Context, f func(sinks.Edge) error) error {
	return do(s.plan, "EachEdge", func() error { return s.graph.EachEdge(ctx, f) })
}

func (s faultyGraph) CountEdges(ctx context.Context) (int64, error) {
	return get(s.plan, "CountEdges", func() (int64, error) { return s.graph.CountEdges(ctx) })
}

// FaultyAnalytics returns inner with the failures of plan.
func FaultyAnalytics(inner sinks.Analytics, plan *Plan) sinks.Analytics {
	return faultyAnalytics{faultyStore{inner, plan}, inner}
}

type faultyAnalytics struct {
	faultyStore
	analytics sinks.Analytics
}

func (s faultyAnalytics) InsertInteractions(ctx context.Context, r schemas.Range, rows []sinks.InteractionRow) error {
	return do(s.plan, "InsertInteractions", func() error { return s.analytics.InsertInteractions(ctx, r, rows) })
}

func (s faultyAnalytics) InsertRecommendations(ctx context.Context, r schemas.Range, rows []sinks.RecommendationRow) error {
	return do(s.plan, "InsertRecommendations", func() error { return s.analytics.InsertRecommendations(ctx, r, rows) })
}

func (s faultyAnalytics) InsertItems(ctx context.Context, r schemas.Range, rows []sinks.ItemRow) error {
	return do(s.plan, "InsertItems", func() error { return s.analytics.InsertItems(ctx, r, rows) })
}

func (s faultyAnalytics) InsertUsers(ctx context.Context, r schemas.Range, rows []sinks.UserRow) error {
	return do(s.plan, "InsertUsers", func() error { return s.analytics.InsertUsers(ctx, r, rows) })
}

func (s faultyAnalytics) InsertDeadLetters(ctx context.Context, r schemas.Range, rows []sinks.DeadLetterRow) error {
	return do(s.plan, "InsertDeadLetters", func() error { return s.analytics.InsertDeadLetters(ctx, r, rows) })
}

func (s faultyAnalytics) SetProgress(ctx context.Context, p []sinks.Progress) error {
	return do(s.plan, "SetProgress", func() error { return s.analytics.SetProgress(ctx, p) })
}

func (s faultyAnalytics) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	return get(s.plan, "GetProgress", func() ([]sinks.Progress, error) { return s.analytics.GetProgress(ctx) })
}

func (s faultyAnalytics) EraseUsers(ctx context.Context, users []sinks.Erasure) error {
	return do(s.plan, "EraseUsers", func() error { return s.analytics.EraseUsers(ctx, users) })
}

func (s faultyAnalytics) TrendingItems(ctx context.Context, q sinks.TrendingQuery) ([]sinks.Scored, error) {
	return get(s.plan, "TrendingItems", func() ([]sinks.Scored, error) { return s.analytics.TrendingItems(ctx, q) })
}

func (s faultyAnalytics) FindEvent(ctx context.Context, eventID string) ([]sinks.EventPosition, error) {
	return get(s.plan, "FindEvent", func() ([]sinks.EventPosition, error) { return s.analytics.FindEvent(ctx, eventID) })
}

func (s faultyAnalytics) CountInteractions(ctx context.Context) (sinks.Counts, error) {
	return get(s.plan, "CountInteractions", func() (sinks.Counts, error) { return s.analytics.CountInteractions(ctx) })
}
