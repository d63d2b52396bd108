package qdrant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	pb "github.com/qdrant/go-client/qdrant"

	"github.com/slipstream-rec/slipstream/fault"
)

// Versions returns the versions of the collections that exist, ascending, and the live one (0 when
// there is none).
func (s *Store) Versions(ctx context.Context) (all []int, live int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	list, err := s.client().Collections().List(ctx, &pb.ListCollectionsRequest{})
	if err != nil {
		return nil, 0, s.fail(ctx, "list collections", err)
	}
	aliases, err := s.client().Collections().ListAliases(ctx, &pb.ListAliasesRequest{})
	if err != nil {
		return nil, 0, s.fail(ctx, "list aliases", err)
	}
	found := map[int]bool{}
	for _, c := range list.GetCollections() {
		for _, kind := range s.both() {
			if v, ok := kind.versionOf(c.GetName()); ok {
				found[v] = true
			}
		}
	}
	for _, a := range aliases.GetAliases() {
		if a.GetAliasName() == s.users.alias() {
			live, _ = s.users.versionOf(a.GetCollectionName())
		}
	}
	return slices.Sorted(maps.Keys(found)), live, nil
}

// Beside returns a store on the collections of another version, over the same connection: what it
// writes is not seen by the live store until Switch. A rebuild takes one version above all that
// exist, migrates, fills and switches. Its Close does nothing. version is at least 1.
func (s *Store) Beside(version int) *Store { return newStore(s.cfg, s.conn, max(version, 1)) }

// Switch makes the collections of a store that Beside returned the live ones, both at once: calls
// that arrive later go to them. The old ones stay, for a way back, until Drop.
func (s *Store) Switch(ctx context.Context) error {
	if s.version == 0 {
		return errors.New("qdrant switch: the store is the live one")
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, live, err := s.Versions(ctx)
	if err != nil {
		return err
	}
	var actions []*pb.AliasOperations
	for _, c := range s.both() {
		if live > 0 {
			actions = append(actions, pb.NewAliasDelete(c.alias()))
		}
		actions = append(actions, pb.NewAliasCreate(c.alias(), c.ref()))
	}
	_, err = s.client().Collections().UpdateAliases(ctx, &pb.ChangeAliases{Actions: actions})
	return s.fail(ctx, fmt.Sprintf("switch to version %d", s.version), err)
}

// Drop deletes the collections of a store that Beside returned. The live ones are refused.
func (s *Store) Drop(ctx context.Context) error {
	_, live, err := s.Versions(ctx)
	if err != nil {
		return err
	}
	if s.version == 0 || s.version == live {
		return fault.Permanentf("qdrant drop: version %d is the live one", live)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for _, c := range s.both() {
		if _, err := s.client().Collections().Delete(
			ctx, &pb.DeleteCollection{CollectionName: c.ref()},
		); err != nil {
			return c.fail(ctx, "drop", err)
		}
	}
	return nil
}

func (s *Store) both() []*collection {
	return []*collection{&s.users.collection, &s.items.collection}
}
