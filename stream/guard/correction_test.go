package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// checkLike accepts values that say "like". It keys them by what follows.
func checkLike(_ string, _, r *record.Record) ([]byte, error) {
	if _, key, ok := bytes.Cut(r.Value, []byte(`like":"`)); ok {
		return bytes.TrimRight(key, `"}`), nil
	}
	return nil, errors.New("it says nothing of like")
}

// correctable returns the dead letters of a group whose values are JSON, at offsets 0 to n-1 of
// partition 5 of "in".
func (e *engine) correctable(t *testing.T, n int) (*deadletter.Store, string) {
	t.Helper()
	group := e.newName()
	e.groupTopics(t, group)
	p := e.Publisher(t)
	for i := range n {
		h := letterAt(group, int64(i), fmt.Sprintf("reason of %d", i))
		require.NoError(t, p.Emit(t.Context(), []record.Record{{
			Topic: record.PoisonTopic(group), Partition: record.AnyPartition,
			Value: fmt.Appendf(nil, `{"lik":"u%d"}`, i), Headers: h.On(nil),
		}}))
	}
	return deadletter.New(e.Conn, p, e.Conn.Names(), []string{group}, checkLike), group
}

func letterAt(group string, offset int64, reason string) deadletter.Headers {
	return deadletter.Headers{
		Group: group, Handler: "work", Subscriber: group,
		Origin: record.Position{
			TopicPartition: record.TopicPartition{Topic: "in", Partition: 5}, Offset: offset,
		},
		Time: time.UnixMilli(offset + 1).UTC(), Class: fault.Permanent, Reason: reason, Attempts: 1,
		FirstFailure: time.Now().UTC(), LastFailure: time.Now().UTC(),
	}
}

// A correction is sent with the identity and to the partition of the original, and from then on
// it is what a replay sends: so the two never both count.
func TestCorrectedReplay(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group := e.correctable(t, 2)
	id := deadletter.ID(group, letterAt(group, 0, "").Origin)
	only := deadletter.Filter{IDs: []string{id[:8]}}
	good := deadletter.Correction{Value: []byte(`{"like":"ann"}`)}

	plan, err := d.PlanReplay(t.Context(), only, good)
	require.NoError(t, err)
	require.Equal(t, 1, plan.Count)
	require.Equal(t, []deadletter.Change{
		{ID: id, Before: []byte(`{"lik":"u0"}`), After: good.Value},
	}, plan.Changes)
	_, err = d.Replay(t.Context(), only, deadletter.ReplayOptions{
		Correction: deadletter.Correction{Value: []byte(`{"lik":"bob"}`)},
	})
	require.ErrorIs(t, err, deadletter.ErrCorrection)
	require.ErrorContains(t, err, "it says nothing of like")
	require.Empty(t, e.readAll(t, record.ReplayTopic(group)), "neither was sent")

	n, err := d.Replay(t.Context(), only, deadletter.ReplayOptions{Correction: good})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	// The original, the same correction again, and another one.
	n, err = d.Replay(t.Context(), only, deadletter.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = d.Replay(t.Context(), only, deadletter.ReplayOptions{Correction: good})
	require.NoError(t, err)
	_, err = d.Replay(t.Context(), only, deadletter.ReplayOptions{
		Correction: deadletter.Correction{Value: []byte(`{"like":"bob"}`)},
	})
	require.ErrorContains(t, err, "another correction")

	sent := e.readAll(t, record.ReplayTopic(group))
	require.Len(t, sent, 3)
	for _, r := range sent {
		assert.JSONEq(t, string(good.Value), string(r.Value))
		assert.Equal(t, "ann", string(r.Key))
		assert.Equal(t, 1, r.Partition, "the partition of the origin, of two")
		h, ok := deadletter.HeadersOf(&r)
		require.True(t, ok)
		assert.Equal(t, id, h.ID())
		assert.Equal(t, 1, h.Attempts, "it is the same event")
	}
	l, err := d.Get(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, deadletter.Replayed, l.State)
	assert.JSONEq(t, `{"lik":"u0"}`, string(l.Value), "the original stays readable")
	assert.Equal(t, string(good.Value), string(l.Correction))

	// It fails again: now another correction is another event.
	again := letterAt(group, 0, "no such user")
	again.Attempts = 2
	require.NoError(t, e.Publisher(t).Emit(t.Context(), []record.Record{{
		Topic: record.PoisonTopic(group), Partition: record.AnyPartition,
		Key: []byte("ann"), Value: good.Value, Headers: again.On(nil),
	}}))
	l, err = d.Get(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, deadletter.Open, l.State)
	assert.Equal(t, string(good.Value), string(l.Value))
	assert.JSONEq(t, `{"lik":"u0"}`, string(l.Original), "the original stays readable")
	assert.Nil(t, l.Correction)
	n, err = d.Replay(t.Context(), only, deadletter.ReplayOptions{
		Correction: deadletter.Correction{Value: []byte(`{"like":"bob"}`)},
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A patch corrects all that match, or none.
func TestPatchOfAllThatMatch(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group := e.correctable(t, 60)
	all := deadletter.Filter{Group: group}
	n, err := d.Replay(t.Context(), all, deadletter.ReplayOptions{
		Correction: deadletter.Correction{Patch: []byte(`{"lik":null,"like":"ann"}`)},
	})
	require.NoError(t, err)
	require.Equal(t, 60, n)
	for _, r := range e.readAll(t, record.ReplayTopic(group)) {
		assert.JSONEq(t, `{"like":"ann"}`, string(r.Value))
	}
	_, err = d.PlanReplay(t.Context(), deadletter.Filter{State: deadletter.Replayed},
		deadletter.Correction{Value: []byte("{}")})
	require.ErrorIs(t, err, deadletter.ErrCorrection, "one value does not fit all")
	_, err = d.PlanReplay(t.Context(), deadletter.Filter{State: deadletter.Replayed},
		deadletter.Correction{Patch: []byte("[1]")})
	require.EqualError(t, err, "none was replayed: the patch is not a JSON object")
}

// A dry run tells what would be done and does nothing. Part of a word is no word.
func TestDryRunOfADrop(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group := e.correctable(t, 12)
	for words, want := range map[string]int{"reaso": 0, "reason of 1": 1, "reason": 12, "1": 1} {
		plan, err := d.PlanDrop(t.Context(), deadletter.Filter{Reason: words})
		require.NoError(t, err)
		require.Equal(t, want, plan.Count, words)
		require.Len(t, plan.Reasons, want)
	}
	open, err := d.Open(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{group: 12}, open)
	n, err := d.Drop(t.Context(), deadletter.Filter{Reason: "reason of 1"}, "a test")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Whoever gives the beginning of an id means the one that begins so.
func TestShortIDs(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group := e.correctable(t, 3)
	id := deadletter.ID(group, letterAt(group, 1, "").Origin)
	for _, short := range []string{id, id[:8], id[:8] + "…", strings.ToUpper(id[:8]), id + " "} {
		l, err := d.Get(t.Context(), short)
		require.NoError(t, err, short)
		require.Equal(t, id, l.ID)
	}
	for _, f := range []deadletter.Filter{{IDs: []string{""}}, {IDs: []string{id[:3]}}} {
		_, err := d.Drop(t.Context(), f, "")
		require.ErrorIs(t, err, deadletter.ErrFilter)
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
	}
}

// countingLog counts the records that are read.
type countingLog struct {
	deadletter.Log
	read int
}

func (l *countingLog) Read(
	ctx context.Context, tp record.TopicPartition, from, to int64, fn func(*record.Record) error,
) error {
	return l.Log.Read(ctx, tp, from, to, func(r *record.Record) error {
		l.read++
		return fn(r)
	})
}

// The log is read once. After that a look reads what is new, and a page what it shows.
func TestDeadLettersAreReadOnce(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	_, group := e.correctable(t, 300)
	log := &countingLog{Log: e.Conn}
	d := deadletter.New(log, e.Publisher(t), e.Conn.Names(), []string{group}, nil)
	open, err := d.Open(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{group: 300}, open)
	require.Equal(t, 300, log.read)
	for range 3 {
		_, err = d.Open(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 300, log.read, "nothing is new")
	_, err = d.Get(t.Context(), deadletter.ID(group, letterAt(group, 7, "").Origin))
	require.NoError(t, err)
	require.Equal(t, 301, log.read, "one is shown")

	f := deadletter.Filter{Limit: 70, WithoutValues: true}
	seen := make(map[string]bool)
	for {
		page, err := d.List(t.Context(), f)
		require.NoError(t, err)
		for _, l := range page {
			require.False(t, seen[l.ID], "on two pages")
			require.Nil(t, l.Value)
			seen[l.ID] = true
		}
		if len(page) < f.Limit {
			break
		}
		f.After = deadletter.PageEnd(&page[len(page)-1])
	}
	require.Len(t, seen, 300)
	_, err = d.List(t.Context(), deadletter.Filter{After: "nothing"})
	require.ErrorIs(t, err, deadletter.ErrFilter)
}

// What was replayed has had its effects, so that it cannot be dropped any more: its row would say
// that it never counted. What was dropped may be replayed, by its id.
func TestOnlyOpenDeadLettersAreDropped(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group := e.correctable(t, 3)
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = deadletter.ID(group, letterAt(group, int64(i), "").Origin)
	}
	n, err := d.Replay(t.Context(), deadletter.Filter{IDs: ids[:1]}, deadletter.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for _, f := range []deadletter.Filter{
		{IDs: ids[:1]}, {IDs: ids}, {State: deadletter.Replayed},
	} {
		_, err = d.PlanDrop(t.Context(), f)
		require.ErrorContains(t, err, ids[0]+" was replayed")
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
		n, err = d.Drop(t.Context(), f, "test")
		require.ErrorContains(t, err, ids[0]+" was replayed")
		require.Zero(t, n)
	}
	open, err := d.Open(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{group: 2}, open, "none was dropped")
	l, err := d.Get(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, deadletter.Replayed, l.State)

	for _, want := range []int{1, 0} { // dropping one twice drops one
		n, err = d.Drop(t.Context(), deadletter.Filter{IDs: ids[1:2]}, "test")
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	n, err = d.Replay(t.Context(), deadletter.Filter{}, deadletter.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n, "the open one")
	n, err = d.Replay(t.Context(), deadletter.Filter{IDs: ids[1:2]}, deadletter.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
