package qdrant

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// openForTest opens a store of its own on the real engine, migrated and empty, and drops its
// collections afterwards.
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
			_, err := s.client().Collections().Delete(
				ctx, &pb.DeleteCollection{CollectionName: c.GetName()},
			)
			require.NoError(t, err)
		}
	}
}

func putUser(t *testing.T, s *Store, id string, position int64) {
	t.Helper()
	src := sinks.Source{Topic: schemas.TopicInteractions}
	require.NoError(
		t,
		s.Users().PutUsers(
			t.Context(), src,
			[]sinks.User{
				{
					ID: id, Vector: make([]float32, s.cfg.Dim),
					Positions: map[string]sinks.Position{
						src.Topic: sinks.PositionOf(sinks.FirstEpoch, position),
					},
				},
			},
		),
	)
}

func countUsers(t *testing.T, s *Store) int64 {
	t.Helper()
	n, err := s.Users().CountUsers(t.Context())
	require.NoError(t, err)
	return n
}

// TestRealRebuild fills collections beside the live ones, switches, and goes on writing through the
// same store.
func TestRealRebuild(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	ctx := t.Context()
	putUser(t, s, "old", 1)
	require.NoError(t, s.Users().SetLogID(ctx, "log-1"))

	next := s.Beside(2)
	require.NoError(t, next.Migrate(ctx))
	require.NoError(t, next.Migrate(ctx))
	require.NoError(t, next.Close())
	putUser(t, next, "new-1", 1)
	putUser(t, next, "new-2", 2)
	require.EqualValues(t, 1, countUsers(t, s))
	all, live, err := s.Versions(ctx)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, all)
	require.Equal(t, 1, live)
	id, err := next.Users().LogID(ctx)
	require.NoError(t, err)
	require.Empty(t, id, "a new collection holds nothing of the old log")

	require.ErrorContains(t, s.Switch(ctx), "live")
	require.ErrorContains(t, s.Beside(1).Drop(ctx), "live")
	require.NoError(t, next.Switch(ctx))
	require.EqualValues(t, 2, countUsers(t, s))
	putUser(t, s, "new-3", 3)
	require.EqualValues(t, 3, countUsers(t, next))
	_, live, err = s.Versions(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, live)

	require.NoError(t, s.Beside(1).Drop(ctx))
	require.NoError(t, s.Migrate(ctx), "migrate works on what is live")
	all, live, err = s.Versions(ctx)
	require.NoError(t, err)
	require.Equal(t, []int{2}, all)
	require.Equal(t, 2, live)
	require.EqualValues(t, 3, countUsers(t, s))
}

// TestRealMismatch holds that collections that are missing or of another make hold everything up,
// with an error that says what to do.
func TestRealMismatch(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	other := func(prefix string, dim int) *Store {
		cfg := s.cfg
		cfg.CollectionPrefix, cfg.Dim = prefix, dim
		o, err := Open(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(func() { _ = o.Close() })
		return o
	}
	src := sinks.Source{Topic: schemas.TopicInteractions}
	put := func(o *Store) error {
		return o.Users().PutUsers(
			t.Context(), src,
			[]sinks.User{
				{
					ID: "u", Vector: make([]float32, o.cfg.Dim),
					Positions: map[string]sinks.Position{
						src.Topic: sinks.PositionOf(sinks.FirstEpoch, 1),
					},
				},
			},
		)
	}

	missing := other("test_none_"+suffix(t)+"_", s.cfg.Dim)
	err := put(missing)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "slipstream migrate")
	id, err := missing.Users().LogID(t.Context())
	require.NoError(t, err)
	require.Empty(t, id)
	err = missing.Users().SetLogID(t.Context(), "log-1")
	require.ErrorContains(t, err, "slipstream migrate")

	longer := other(s.cfg.CollectionPrefix, s.cfg.Dim+1)
	err = longer.Migrate(t.Context())
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "slipstream rebuild")
	require.ErrorContains(t, err, "69 dimensions")
	err = put(longer)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "slipstream rebuild")
	require.Zero(t, countUsers(t, s))
}

// TestRealLayout holds what Migrate makes of the configuration, and that changed graph settings
// reach a collection that exists.
func TestRealLayout(t *testing.T) {
	t.Parallel()
	s := openForTest(t, func(c *Config) { c.Items.Quantise = true })
	items, err := s.items.info(t.Context(), s.items.alias())
	require.NoError(t, err)
	vectors := items.GetConfig().GetParams().GetVectorsConfig().GetParamsMap().GetMap()
	require.Equal(t, pb.Distance_Dot, vectors[vectorLearned].GetDistance())
	require.EqualValues(t, 65+extraNumbers, vectors[vectorLearned].GetSize())
	require.NotNil(t, vectors[vectorLearned].GetQuantizationConfig().GetScalar())
	require.True(t, vectors[vectorLearned].GetOnDisk(), "else int8 takes more memory, not less")
	require.False(t, vectors[vectorContent].GetOnDisk())
	require.Equal(t, pb.Distance_Cosine, vectors[vectorContent].GetDistance())
	require.EqualValues(t, 64, vectors[vectorContent].GetSize())
	require.Nil(t, vectors[vectorContent].GetQuantizationConfig())
	for field := range itemsLayout(&s.cfg).indexes {
		require.Contains(t, items.GetPayloadSchema(), field)
	}
	users, err := s.users.info(t.Context(), s.users.alias())
	require.NoError(t, err)
	require.True(t, users.GetConfig().GetParams().GetOnDiskPayload())
	require.False(t, items.GetConfig().GetParams().GetOnDiskPayload())
	for field := range usersLayout(&s.cfg).indexes {
		require.Contains(t, users.GetPayloadSchema(), field)
	}

	cfg := s.cfg
	cfg.Users.M, cfg.Users.EfConstruct, cfg.Users.IndexingThreshold = 24, 200, 5000
	tuned, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { _ = tuned.Close() }()
	require.NoError(t, tuned.Migrate(t.Context()))
	users, err = s.users.info(t.Context(), s.users.alias())
	require.NoError(t, err)
	require.EqualValues(t, 24, users.GetConfig().GetHnswConfig().GetM())
	require.EqualValues(t, 200, users.GetConfig().GetHnswConfig().GetEfConstruct())
	require.EqualValues(t, 5000, users.GetConfig().GetOptimizerConfig().GetIndexingThreshold())
}
