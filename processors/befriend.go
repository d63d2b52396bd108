package processors

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/internal/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// Befriend keeps the friendship edges in the graph. Its effects are free of order and repetition: the last write by event time wins in the store.
type Befriend struct {
	stateless
	graph    sinks.Graph
	emit     Emitter
	erasures *Erasures
}

var _ Processor = (*Befriend)(nil)

// NewBefriend returns the processor of the topic friendships.
func NewBefriend(graph sinks.Graph, emit Emitter, erasures *Erasures) *Befriend {
	return &Befriend{graph: graph, emit: emit, erasures: erasures}
}

// Handle applies the edges of b, then the erasures, and makes new lists due for the people concerned. Erasures after edges is right in
// whatever order they stand: an erasure takes edges up to its time only.
func (p *Befriend) Handle(ctx context.Context, b *Batch) error {
	var (
		edges   []sinks.Edge
		erased  []sinks.Erasure
		due     []schemas.Message
		rejects fault.Reject
	)
	for i := range b.Records {
		r := &b.Records[i]
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
		if p.erasures.Covers(f.UserID, f.OccurredAt) || p.erasures.Covers(f.FriendID, f.OccurredAt) {
			continue
		}
		edges = append(edges, sinks.Edge{A: f.UserID, B: f.FriendID, Removed: f.Removed, At: f.OccurredAt, EventID: f.EventID})
		for _, u := range [2]string{f.UserID, f.FriendID} {
			due = append(due, (&schemas.ProfileChanged{UserID: u, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, EventID: f.EventID, OccurredAt: f.OccurredAt, AcceptedAt: r.Time}).Message())
		}
	}
	if err := b.checkLease(ctx); err != nil {
		return err
	}
	if err := p.graph.ApplyEdges(ctx, edges); err != nil {
		return fmt.Errorf("apply %d edges: %w", len(edges), err)
	}
	if err := p.graph.EraseFriends(ctx, erased); err != nil {
		return fmt.Errorf("erase %d users: %w", len(erased), err)
	}
	if err := p.emit.Emit(ctx, due); err != nil {
		return fmt.Errorf("emit %d changed profiles: %w", len(due), err)
	}
	return rejects.Err()
}

// appendErasure reads an erasure marker.
func appendErasure(list *[]sinks.Erasure, r *schemas.Record) error {
	u, err := schemas.DecodeUser(r)
	if err != nil {
		return err
	}
	*list = append(*list, sinks.Erasure{UserID: u.UserID, At: u.OccurredAt})
	return nil
}
