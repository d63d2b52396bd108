package qdrant

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// openForTest opens a store of its own on the real engine, migrated and empty, and drops its collections afterwards.
func openForTest(t testing.TB, change ...func(*Config)) *Store {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Addr = enginetest.Addr(t, "QDRANT_ADDR")
	cfg.CollectionPrefix = "test_" + suffix(t) + "_"
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		dropAll(t, cfg)
		require.NoError(t, s.Close())
	})
	require.NoError(t, s.Migrate(context.Background()))
	return s
}

func suffix(t testing.TB) string {
	var b [6]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	return hex.EncodeToString(b[:])
}

// dropAll works on a connection of its own: the test may have closed the store's.
func dropAll(t testing.TB, cfg Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := Open(ctx, cfg)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	r, err := s.client().Collections().List(ctx, &pb.ListCollectionsRequest{})
	require.NoError(t, err)
	for _, c := range r.GetCollections() {
		_, user := s.users.versionOf(c.GetName())
		_, item := s.items.versionOf(c.GetName())
		if user || item {
			_, err := s.client().Collections().Delete(ctx, &pb.DeleteCollection{CollectionName: c.GetName()})
			require.NoError(t, err)
		}
	}
}
