package processors

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// EdgeStore is what Graph needs of the graph. sinktest.Graph says what its methods promise.
type EdgeStore interface {
	ApplyEdges(ctx context.Context, batch []sinks.Edge) error
	EraseFriends(ctx context.Context, users []sinks.Erasure) error
}

// GraphDeclaration declares the processor of friendships.
func GraphDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupGraph, Inputs: []string{schemas.TopicFriendships},
		Splittable: true, RetryTopics: true,
		Writes: []Store{StoreGraph}, Fills: "friendships",
		New: func(d Deps) Instance {
			p := NewGraph(d.Graph, d.Streams, d.Erasures)
			return Instance{Processor: p, Tasks: []Task{
				{Name: "recheck erased friends", Interval: erasureInterval, Run: p.RecheckErasures},
			}}
		},
	}
}

// Graph writes friendship edges to the graph. Its effects do not depend on order or repetition: in
// the store the last write by event time wins.
type Graph struct {
	stateless
	graph    EdgeStore
	emit     Emitter
	erasures *Erasures
	log      Log

	// erased are erased again for a while: a friendship is keyed by its pair, so an older one may
	// be in another partition than the erasure marker, and a member may handle it before it knows
	// of the erasure.
	erased recentErasures
}

var _ Processor = (*Graph)(nil)

// NewGraph returns the processor of the topic friendships.
func NewGraph(graph EdgeStore, streams Streams, erasures *Erasures) *Graph {
	return &Graph{
		graph: graph, emit: streams.Emit, log: streams.Log, erasures: erasures,
	}
}

// recentFriendships is the number of offsets before an assigned position that are searched for
// erasures.
const recentFriendships = 10_000

// Assign finds recent erasures for RecheckErasures.
func (p *Graph) Assign(ctx context.Context, parts []record.Assignment) error {
	for _, a := range parts {
		if a.Topic != schemas.TopicFriendships {
			continue
		}
		err := p.log.Read(
			ctx,
			a.Topic,
			a.Partition,
			max(0, a.Next-recentFriendships),
			a.Next,
			func(r *record.Record) error {
				var erased []sinks.Erasure
				if _, err := schemas.DecodeFriendship(r); errors.Is(
					err,
					schemas.ErrErasureMarker,
				) &&
					appendErasure(&erased, r) == nil {
					p.erased.remember(erased)
				}
				return nil
			},
		)
		if err != nil {
			return fmt.Errorf("look for erasures in %s/%d: %w", a.Topic, a.Partition, err)
		}
	}
	return nil
}

// RecheckErasures erases recently erased users again. Call it every ten seconds.
func (p *Graph) RecheckErasures(ctx context.Context) error {
	return p.erased.again(ctx, p.graph.EraseFriends)
}

// Handle applies the edges of b, then the erasures, and emits profile changes for the users
// concerned. Applying erasures last is right in any order of records: an erasure removes only edges
// up to its time.
func (p *Graph) Handle(ctx context.Context, b *record.Batch) error {
	var (
		edges   []sinks.Edge
		erased  []sinks.Erasure
		due     []record.Record
		rejects fault.Reject
	)
	for i := range b.Records {
		r := &b.Records[i]
		if b.IsDeadLetter(r) {
			continue
		}
		f, err := schemas.DecodeFriendship(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			err = appendErasure(&erased, r)
			if err == nil {
				e := erased[len(erased)-1]
				p.erasures.Add(schemas.Erasure{UserKey: schemas.Key(e.UserID), ErasedAt: e.At})
				continue
			}
		}
		if err != nil {
			rejects.Add(i, fault.As(fault.Permanent, err))
			continue
		}
		if p.erasures.coversEvent(f.UserID, r, f.OccurredAt) ||
			p.erasures.coversEvent(f.FriendID, r, f.OccurredAt) {
			continue
		}
		edges = append(
			edges,
			sinks.Edge{
				A: f.UserID, B: f.FriendID, Removed: f.Removed, At: f.OccurredAt,
				EventID: f.EventID, RecordedAt: recordedAt(r, f.OccurredAt),
			},
		)
		for _, u := range [2]string{f.UserID, f.FriendID} {
			due = append(
				due,
				(&schemas.ProfileChanged{
					UserID: u, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
					EventID: f.EventID, OccurredAt: f.OccurredAt,
					RecordedAt: recordedAt(r, f.OccurredAt), AcceptedAt: r.Time,
				}).Message(),
			)
		}
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	if err := p.graph.ApplyEdges(ctx, edges); err != nil {
		return fmt.Errorf("apply %d edges: %w", len(edges), err)
	}
	if err := p.graph.EraseFriends(ctx, erased); err != nil {
		return fmt.Errorf("erase %d users: %w", len(erased), err)
	}
	p.erased.remember(erased)
	if err := p.emit.Emit(ctx, due); err != nil {
		return fmt.Errorf("emit %d changed profiles: %w", len(due), err)
	}
	return rejects.Err()
}

// appendErasure decodes an erasure marker and appends it to list.
func appendErasure(list *[]sinks.Erasure, r *record.Record) error {
	u, err := schemas.DecodeUser(r)
	if err != nil {
		return err
	}
	*list = append(*list, sinks.Erasure{UserID: u.UserID, At: u.OccurredAt})
	return nil
}
