package app_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestAPausedForwarderTeachesNothingTwice(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	pausedForwarder(t, in)
}

func TestRealAPausedForwarderTeachesNothingTwice(t *testing.T) {
	pausedForwarder(t, apptest.StartReal(t, nil))
}

// pausing is an emitter that stands still, behind the lease check, before it forwards.
type pausing struct {
	*app.Kafka
	reached, resume chan struct{}
}

func (p pausing) Emit(ctx context.Context, batch []record.Record) error {
	if len(batch) > 0 && batch[0].Topic == record.MisplacedTopic(schemas.GroupEmbed) {
		close(p.reached)
		<-p.resume
	}
	return p.Kafka.Emit(ctx, batch)
}

// pausedForwarder has a process go on, after its lease check, when its successor is done and the
// owner of the users has learned from what the successor has forwarded.
func pausedForwarder(t *testing.T, in *apptest.Installation) {
	const likes = 3
	belongs, stands := misplacedIn(in, "ann")
	in.Stop()
	k, err := app.OpenKafka(t.Context(), in.Config())
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	stores, err := app.OpenEmbedded(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, stores.Close()) }()
	require.NoError(t, stores.Migrate(t.Context()))
	partitions := in.Config().Topics.Partitions
	member := func(emit processors.Emitter, a ...record.Assignment) *processors.Embed {
		t.Helper()
		p := processors.NewEmbed(stores.Users, processors.Streams{Log: k, Emit: emit},
			processors.NewItemFactors(model.Default()), processors.NewErasures(),
			processors.DefaultEmbedConfig(partitions))
		require.NoError(t, p.Assign(t.Context(), a))
		return p
	}
	at := func(topic string, partition int, next int64) record.Assignment {
		return record.Assignment{TopicPartition: record.TopicPartition{
			Topic: topic, Partition: partition,
		}, Next: next, Committed: next}
	}
	// batch is what stands in a partition from an offset on.
	batch := func(topic string, partition int, first int64) *record.Batch {
		t.Helper()
		b := &record.Batch{
			Range: record.Range{Topic: topic, Partition: partition, First: first},
			Begun: time.Now(),
		}
		require.NoError(t, k.Read(t.Context(), topic, partition, first, -1,
			func(r *record.Record) error {
				b.Records, b.Last = append(b.Records, *r), r.Offset
				return nil
			}))
		return b
	}
	var out []record.Record
	for n := range likes {
		m := schemas.Interaction{
			UserID: "ann", ItemID: fmt.Sprint("film-", n), Action: schemas.Like,
		}.Message()
		m.Partition = stands
		out = append(out, m)
	}
	require.NoError(t, k.Emit(t.Context(), out))

	source, misplaced := schemas.TopicInteractions, record.MisplacedTopic(schemas.GroupEmbed)
	paused := pausing{k, make(chan struct{}), make(chan struct{})}
	first, b := member(paused, at(source, stands, 0)), batch(source, stands, 0)
	done := make(chan error, 1)
	go func() { done <- first.Handle(t.Context(), b) }()
	<-paused.reached
	again := *b
	again.Repeat = true
	require.NoError(t, member(k, at(source, stands, 0)).Handle(t.Context(), &again))
	owner := member(k, at(misplaced, belongs, 0))
	forwarded := batch(misplaced, belongs, 0)
	require.Len(t, forwarded.Records, likes)
	require.NoError(t, owner.Handle(t.Context(), forwarded))

	close(paused.resume)
	require.NoError(t, <-done)
	twice := batch(misplaced, belongs, likes)
	require.Len(t, twice.Records, likes, "the paused one has written them once more")
	for _, o := range []*processors.Embed{owner, member(k, at(misplaced, belongs, likes))} {
		require.NoError(t, o.Handle(t.Context(), twice))
		points, err := stores.Users.GetUsers(t.Context(), []string{"ann"})
		require.NoError(t, err)
		require.Len(t, points, 1)
		var m model.User
		require.NoError(t, m.Decode(points[0].State))
		require.EqualValues(t, likes, m.Events)
	}
}
