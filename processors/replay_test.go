package processors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// pages is a log in memory. It uses the memory of its records again, as the contract allows.
type pages map[string][]record.Record

func (l pages) OffsetAt(context.Context, string, int, time.Time) (int64, error) { return 0, nil }

func (l pages) Read(
	_ context.Context,
	topic string,
	partition int,
	from, to int64,
	f func(*record.Record) error,
) error {
	var shared record.Record
	for _, r := range l[fmt.Sprintf("%s/%d", topic, partition)] {
		if r.Offset < from || to >= 0 && r.Offset >= to {
			continue
		}
		shared = r
		shared.Value = append([]byte(nil), r.Value...)
		err := f(&shared)
		clear(shared.Value)
		if err != nil {
			return err
		}
	}
	return nil
}

// page is a record with the offset, at a second of the log's time.
func page(topic string, offset int64, second int, value string) record.Record {
	return record.Record{
		Topic: topic, Offset: offset, Time: time.Unix(int64(second), 0), Value: []byte(value),
	}
}

// diary notes what it is given and answers as told.
type diary struct {
	stateless
	values []string
	calls  int
	answer func(b *record.Batch) error
}

func (d *diary) Handle(_ context.Context, b *record.Batch) error {
	d.calls++
	if d.answer != nil {
		if err := d.answer(b); err != nil {
			return err
		}
	}
	for i := range b.Records {
		d.values = append(d.values, string(b.Records[i].Value))
	}
	return nil
}

func TestReplayOrder(t *testing.T) {
	t.Parallel()
	log := pages{
		"a/0": {
			page("a", 0, 1, "a0"), page("a", 1, 2, "a1"), page("a", 5, 6, "a5"),
			page("a", 6, 9, "beyond"),
		},
		"b/0": {
			page("b", 0, 0, "before"), page("b", 1, 3, "b1"), page("b", 2, 4, "b2"),
			page("b", 3, 7, "b3"),
		},
	}
	for _, size := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			var d diary
			d.answer = func(b *record.Batch) error {
				require.Equal(t, "log", b.LogID)
				require.Equal(t, b.Records[0].Offset, b.First)
				require.Equal(t, b.Records[len(b.Records)-1].Offset, b.Last)
				require.LessOrEqual(t, len(b.Records), size)
				for i := range b.Records {
					require.Equal(t, b.Topic, b.Records[i].Topic)
				}
				return nil
			}
			cfg := DefaultReplayConfig()
			var told int64
			cfg.BatchRecords, cfg.Progress = size, func(n int64) { told += n }
			require.NoError(
				t,
				NewReplay(&d, log, "log", cfg).Run(
					t.Context(), []Span{{Topic: "a", To: 6}, {Topic: "b", From: 1, To: 4}},
				),
			)
			require.Equal(t, []string{"a0", "a1", "b1", "b2", "a5", "b3"}, d.values)
			require.EqualValues(t, 6+3, told, "offsets, gone ones included")
		})
	}
}

func TestReplayEndsWithTheHandler(t *testing.T) {
	t.Parallel()
	log := pages{"a/0": {page("a", 0, 0, "x"), page("a", 1, 1, "y")}}
	broken := errors.New("broken")
	d := diary{answer: func(b *record.Batch) error {
		if b.First == 1 {
			return broken
		}
		return nil
	}}
	cfg := DefaultReplayConfig()
	var told int64
	cfg.BatchRecords, cfg.Progress = 1, func(n int64) { told += n }
	err := NewReplay(&d, log, "log", cfg).Run(t.Context(), []Span{{Topic: "a", To: 2}})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "replay a/0, offsets 1 to 1")
	require.Equal(t, []string{"x"}, d.values)
	require.EqualValues(t, 1, told)
}

func TestMarked(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	marker := schemas.User{
		EventID:    "e",
		Source:     "t",
		UserID:     "ann",
		OccurredAt: at,
		Erased:     true,
	}.Message()
	record := record.Record{
		Topic: "a", Offset: 3, Key: marker.Key, Value: marker.Value, Headers: marker.Headers,
	}
	log := pages{"a/0": {page("a", 0, 0, "x"), record}}
	found, err := Marked(t.Context(), log, "a", 0, 0)
	require.NoError(t, err)
	require.Equal(t, map[uint64]struct{}{schemas.Key("ann"): {}}, found)

	known := NewErasures()
	known.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: at})
	known.Add(schemas.Erasure{UserKey: schemas.Key("bob"), ErasedAt: at})
	left := known.Without(found)
	require.False(t, left.Covers("ann", at, at))
	require.True(t, left.Covers("bob", at, at))
	require.Equal(t, 2, known.Len())
	require.Equal(t, 1, left.Len())
}
