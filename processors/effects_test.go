package processors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// effects are the effects on the log and the stores, in order.
type effects struct {
	done []string
	// failAt is the effect that fails, once, counted from 1; 0 is none. With landed set it takes
	// place and only its answer is lost.
	failAt int
	landed bool
}

func (e *effects) happen(name string, effect func() error) error {
	fails := e.failAt > 0 && e.failAt == len(e.done)+1
	if fails {
		e.failAt = 0
	}
	if !fails || e.landed {
		if err := effect(); err != nil {
			return err
		}
		e.done = append(e.done, name)
	}
	if fails {
		return fault.Transientf("%s: the engine is away", name)
	}
	return nil
}

var errLeaseLost = fault.As(fault.Canceled, errors.New("the lease is lost"))

// leaseFor is a lease that is lost after n effects.
func (e *effects) leaseFor(n int) record.Lease {
	return record.LeaseFunc(func(context.Context) error {
		if len(e.done) >= n {
			return errLeaseLost
		}
		return nil
	})
}

// watchedLog notes what is written to the log.
type watchedLog struct {
	*memoryLog
	effects *effects
}

func (l *watchedLog) Emit(ctx context.Context, batch []record.Record) error {
	if len(batch) == 0 {
		return nil
	}
	var topics []string
	for i := range batch {
		if !slices.Contains(topics, batch[i].Topic) {
			topics = append(topics, batch[i].Topic)
		}
	}
	return l.effects.happen("emit "+strings.Join(topics, ", "), func() error {
		return l.memoryLog.Emit(ctx, batch)
	})
}

// watchedStore notes what is written to a store.
type watchedStore struct {
	*sqlite.Store
	effects *effects
	// away makes reads fail. reading is told which users are read, indexing that items are written.
	away     error
	reading  func(ids []string)
	indexing func()
}

func (s *watchedStore) GetUsers(ctx context.Context, ids []string) ([]sinks.User, error) {
	if s.reading != nil {
		s.reading(ids)
	}
	if s.away != nil {
		return nil, s.away
	}
	return s.Store.GetUsers(ctx, ids)
}

func (s *watchedStore) PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error {
	if len(batch) == 0 {
		return nil
	}
	return s.effects.happen(
		"put users", func() error { return s.Store.PutUsers(ctx, src, batch) },
	)
}

func (s *watchedStore) ForgetUsers(
	ctx context.Context, src sinks.Source, batch []sinks.UserErasure,
) error {
	if len(batch) == 0 {
		return nil
	}
	return s.effects.happen(
		"forget users", func() error { return s.Store.ForgetUsers(ctx, src, batch) },
	)
}

func (s *watchedStore) ExpireUsers(
	ctx context.Context, t time.Time, limit int,
) (n int, err error) {
	err = s.effects.happen("remove users", func() error {
		n, err = s.Store.ExpireUsers(ctx, t, limit)
		return err
	})
	return n, err
}

func (s *watchedStore) PutItems(ctx context.Context, batch []sinks.Item) error {
	if s.indexing != nil {
		s.indexing()
	}
	return s.effects.happen("index items", func() error { return s.Store.PutItems(ctx, batch) })
}

func (s *watchedStore) DeleteItems(ctx context.Context, batch []sinks.ItemVersion) error {
	return s.effects.happen(
		"remove items", func() error { return s.Store.DeleteItems(ctx, batch) },
	)
}

func (s *watchedStore) ItemVersions(
	ctx context.Context, f func(id string, version uint64) error,
) error {
	if s.away != nil {
		return s.away
	}
	return s.Store.ItemVersions(ctx, f)
}

func (s *watchedStore) ApplyEdges(ctx context.Context, batch []sinks.Edge) error {
	if len(batch) == 0 {
		return nil
	}
	return s.effects.happen("apply edges", func() error { return s.Store.ApplyEdges(ctx, batch) })
}

func (s *watchedStore) EraseFriends(ctx context.Context, batch []sinks.Erasure) error {
	if len(batch) == 0 {
		return nil
	}
	return s.effects.happen("erase friends", func() error {
		return s.Store.EraseFriends(ctx, batch)
	})
}

// watched are a log and a store whose effects are noted together.
type watched struct {
	*effects
	log   *memoryLog
	emit  *watchedLog
	store *watchedStore
}

func watch(t *testing.T) *watched {
	t.Helper()
	e, log := &effects{}, newMemoryLog()
	return &watched{e, log, &watchedLog{log, e}, &watchedStore{Store: openStore(t), effects: e}}
}

func (w *watched) streams() processors.Streams {
	return processors.Streams{Log: w.log, Emit: w.emit}
}

// add writes records without noting it, each a second after the one before, and returns the offset
// of the first.
func (w *watched) add(t *testing.T, batch ...record.Record) int64 {
	t.Helper()
	first := int64(len(w.log.records[batch[0].Topic]))
	for i := range batch {
		w.log.clock += time.Second
		require.NoError(t, w.log.Emit(t.Context(), batch[i:i+1]))
	}
	return first
}

// span is the batch of the records of a topic from first to last.
func (w *watched) span(topic string, first, last int64) *record.Batch {
	b := w.log.batch(topic, first)
	b.Records, b.Last = b.Records[:last-first+1], last
	return b
}

// assigned is partition 0 of topics from an offset on.
func assigned(next int64, topics ...string) []record.Assignment {
	var out []record.Assignment
	for _, topic := range topics {
		tp := record.TopicPartition{Topic: topic}
		out = append(out, record.Assignment{TopicPartition: tp, Next: next, Committed: -1})
	}
	return out
}

// erasedAt is the marker of an erasure in a topic.
func erasedAt(topic, user string, at time.Time) record.Record {
	m := schemas.User{
		EventID: "bye " + user, Source: "app", UserID: user, Erased: true, OccurredAt: at,
	}.Message()
	m.Topic = topic
	return m
}

// act is an event with an action.
func act(user string, n int, action schemas.Action, at time.Time) record.Record {
	return schemas.Interaction{
		EventID: fmt.Sprintf("%s-%s-%d", user, action, n), Source: "app", UserID: user,
		ItemID: fmt.Sprintf("i%d", n), Action: action, OccurredAt: at,
	}.Message()
}

// itemCounts returns the event count of each item that the gradients on the log touch, as the
// owner of the items applies them.
func itemCounts(t *testing.T, log *memoryLog) map[string]float64 {
	t.Helper()
	store := openStore(t)
	c := processors.NewCatalog(
		store, processors.Streams{Log: newMemoryLog(), Emit: newMemoryLog()},
		processors.NewItemFactors(model.Default()), processors.DefaultCatalogConfig(1),
		func() time.Time { return noon },
	)
	for n := range log.records[schemas.TopicItemGradients] {
		b := log.batch(schemas.TopicItemGradients, int64(n))
		b.Records, b.Last = b.Records[:1], b.First
		require.NoError(t, c.Handle(t.Context(), b))
	}
	require.NoError(t, c.IndexAll(t.Context()))
	out := make(map[string]float64)
	for id, x := range storedItems(t, store) { //nolint:gocritic // a few
		out[id] = x.Count
	}
	return out
}

// storedItems returns the items of a store.
func storedItems(t *testing.T, store *sqlite.Store) map[string]sinks.Item {
	t.Helper()
	var ids []string
	require.NoError(t, store.ItemVersions(t.Context(), func(id string, _ uint64) error {
		ids = append(ids, id)
		return nil
	}))
	found, err := store.GetItems(t.Context(), ids)
	require.NoError(t, err)
	out := make(map[string]sinks.Item, len(found))
	for i := range found {
		out[found[i].Content.ItemID] = found[i]
	}
	return out
}

// rejectedAt returns the indexes of the records that an error names, which must be permanent.
func rejectedAt(t *testing.T, err error) []int {
	t.Helper()
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	var out []int
	for _, x := range rejected.Records {
		require.Equal(t, fault.Permanent, fault.ClassOf(x.Err))
		out = append(out, x.Index)
	}
	return out
}

// keysOf returns the keys of the records of a topic, in order.
func keysOf(log *memoryLog, topic string) []string {
	var out []string
	for i := range log.records[topic] {
		out = append(out, string(log.records[topic][i].Key))
	}
	return out
}
