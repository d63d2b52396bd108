package processors_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func repairRequest(user string) record.Record {
	return processors.RepairRequest(&schemas.ProfileChanged{
		UserID: user, OccurredAt: noon.Add(time.Second), AcceptedAt: noon,
	})
}

// A batch of dead letters may meet another corrupt state than the one that it repairs.
func TestARepairConcernsTheRequestedUsersOnly(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.begin(t)
	for _, user := range []string{"ann", "bob"} {
		spoil(t, s.store, user, corrupt)
	}
	s.restart(t)
	s.emit(t, repairRequest("ann"), replayed(like("bob", 7, noon), "embed/interactions/0/9"))
	requests := len(s.log.records[embedReplay])
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, 3, s.events(t, "ann"))
	require.Equal(t, corrupt, point(t, s.store, "bob").State)
	require.Equal(t, []string{"bob"}, keysOf(s.log, embedReplay)[requests:])
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, 2, s.events(t, "bob"), "with the dead letter")
	require.Equal(t, []string{"corrupt bob", "repaired ann: 3", "repaired bob: 2"}, s.told)
	require.InDelta(t, 1, s.counts(t)["i7"], 0)
}

// The history that was read belongs to the point that was corrupt then.
func TestARepairOfAPointThatMovedBeginsAnew(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	s.goOn(t)
	s.log.refuse[schemas.TopicItemGradients] = true
	require.Error(t, s.handle(t, embedReplay))
	s.log.refuse[schemas.TopicItemGradients] = false
	spoil(t, s.store, "ann", corrupt)
	requests := len(s.log.records[embedReplay])
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, corrupt, point(t, s.store, "ann").State)
	require.Len(t, s.log.records[embedReplay], requests+1)
	s.end(t)
	for s.next[embedReplay] < int64(len(s.log.records[embedReplay])) {
		require.NoError(t, s.handle(t, embedReplay))
	}
	s.requireSame(t, want)
}

func TestARepairIsDoneOnce(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	first := int64(len(s.log.records[embedReplay]))
	s.emit(t, repairRequest("ann"), repairRequest("ann"))
	require.NoError(t, s.handle(t, embedReplay))
	was := point(t, s.store, "ann")
	require.Equal(t, at(first+1), was.Positions[embedReplay])
	counts := s.counts(t)
	again := s.log.batch(embedReplay, first)
	require.NoError(t, s.Handle(t.Context(), again))
	s.restart(t)
	require.NoError(t, s.Handle(t.Context(), again))
	require.Equal(t, was, point(t, s.store, "ann"))
	require.Equal(t, counts, s.count(t))
}

func TestARepairNeedsThePartitionOfInteractions(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	s.Revoke([]record.TopicPartition{{Topic: schemas.TopicInteractions}})
	s.emit(t, repairRequest("ann"))
	err := s.handle(t, embedReplay)
	require.True(t, fault.Waits(err), "%v", err)
	require.ErrorContains(t, err, "not assigned yet")
	require.NoError(t, s.Assign(t.Context(), s.assignments()))
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, 3, s.events(t, "ann"))
}

func TestErasedUsersAreNotRepaired(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "bob", corrupt)
	s.restart(t)
	s.erasures.Add(schemas.Erasure{
		UserKey: schemas.Key("bob"), ErasedAt: noon.Add(time.Hour),
	})
	s.emit(t, repairRequest("bob"))
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, corrupt, point(t, s.store, "bob").State, "what erases bob is on its way")
	require.Empty(t, s.told)
}

// The history of a user is read up to what the batches of interactions have handled, and not an
// event further: the next batch brings it.
func TestARepairLeavesTheNextEventsToTheirBatch(t *testing.T) {
	t.Parallel()
	for name, handled := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t)
			s.begin(t)
			spoil(t, s.store, "ann", corrupt)
			s.restart(t)
			s.emit(t, repairRequest("ann"))
			s.emit(t, like("ann", 5, noon.Add(time.Hour)), like("bob", 2, noon))
			if handled {
				require.NoError(t, s.handle(t, schemas.TopicInteractions))
			}
			next := s.next[schemas.TopicInteractions]
			require.NoError(t, s.handle(t, embedReplay))
			absorbed := point(t, s.store, "ann").Positions[schemas.TopicInteractions]
			require.Less(t, absorbed, sinks.PositionOf(sinks.FirstEpoch, next))
			require.NoError(t, s.handle(t, schemas.TopicInteractions))
			require.NoError(t, s.handle(t, embedReplay))
			require.Equal(t, 4, s.events(t, "ann"))
			require.Equal(t, 2, s.events(t, "bob"))
		})
	}
}
