package processors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// pages is a log in memory. It lends its records, as the contract allows.
type pages map[string][]record.Record

func (l pages) Read(
	_ context.Context,
	topic string,
	partition int,
	from, to int64,
	f func(*record.Record) error,
) error {
	var lent record.Record
	for _, r := range l[fmt.Sprintf("%s/%d", topic, partition)] {
		if r.Offset < from || to >= 0 && r.Offset >= to {
			continue
		}
		lent = r
		lent.Value = append([]byte(nil), r.Value...)
		err := f(&lent)
		clear(lent.Value)
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

func TestFoldOrder(t *testing.T) {
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
			cfg := DefaultFoldConfig()
			var told int64
			cfg.BatchRecords, cfg.Progress = size, func(n int64) { told += n }
			require.NoError(
				t,
				NewFold(&d, log, "log", cfg).Take(
					t.Context(), []Span{{Topic: "a", To: 6}, {Topic: "b", From: 1, To: 4}},
				),
			)
			require.Equal(t, []string{"a0", "a1", "b1", "b2", "a5", "b3"}, d.values)
			require.EqualValues(t, 6+3, told, "offsets, gone ones included")
		})
	}
}

func TestFoldFailures(t *testing.T) {
	t.Parallel()
	var records []record.Record
	for i := range 8 {
		records = append(records, page("a", int64(i), i, fmt.Sprint(i)))
	}
	log := pages{"a/0": records}
	bad := func(b *record.Batch) (at []int) {
		for i := range b.Records {
			if v := string(b.Records[i].Value); v == "2" || v == "7" {
				at = append(at, i)
			}
		}
		return at
	}
	good, all := []string{"0", "1", "3", "4", "5", "6"}, []string{
		"0", "1", "2", "3", "4", "5", "6", "7",
	}
	failures := 0
	cases := []struct {
		name       string
		splittable bool
		answer     func(b *record.Batch) error
		values     []string
		skipped    int
		fails      bool
	}{
		{name: "a store that refuses rows", values: good, skipped: 2,
			answer: func(b *record.Batch) error {
				var r fault.Reject
				for _, i := range bad(b) {
					r.Add(i, errors.New("unwell"))
				}
				err := r.Err()
				var rejected *fault.Rejected
				if errors.As(err, &rejected) {
					rejected.Undone = true
				}
				return err
			}},
		{name: "a failure without a name is found by halving", splittable: true, values: good,
			skipped: 2, answer: func(b *record.Batch) error {
				if len(bad(b)) > 0 {
					return fault.Permanentf("unwell")
				}
				return nil
			}},
		{
			name: "where batches are whole it ends the rebuild", fails: true,
			answer: func(*record.Batch) error { return fault.Permanentf("unwell") },
		},
		{
			name: "nobody knows why", splittable: true, fails: true,
			answer: func(*record.Batch) error { return errors.New("odd") },
		},
		{
			name: "a panic", splittable: true, fails: true,
			answer: func(*record.Batch) error { panic("odd") },
		},
		{name: "an outage is waited out", values: all, answer: func(*record.Batch) error {
			if failures++; failures < 20 {
				return fault.Transientf("refused")
			}
			return nil
		}},
		{
			name: "but not for ever", fails: true,
			answer: func(*record.Batch) error { return fault.Transientf("refused") },
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d, skipped := diary{answer: c.answer}, 0
				cfg := DefaultFoldConfig()
				cfg.Splittable, cfg.Skipped = c.splittable, func(*record.Record, error) {
					skipped++
				}
				err := NewFold(&d, log, "log", cfg).Take(t.Context(), []Span{{Topic: "a", To: 8}})
				require.Equal(t, c.fails, err != nil, "%v", err)
				require.Equal(t, c.values, d.values)
				require.Equal(t, c.skipped, skipped)
			})
		})
	}
}

func TestFoldNamedRecords(t *testing.T) {
	t.Parallel()
	log := pages{"a/0": {page("a", 0, 0, "x"), page("a", 1, 1, "y")}}
	d := diary{}
	d.answer = func(*record.Batch) error {
		return &fault.Rejected{Records: []fault.Rejection{{Index: 1, Err: errors.New("unwell")}}}
	}
	var skipped []int64
	cfg := DefaultFoldConfig()
	cfg.Skipped = func(r *record.Record, _ error) { skipped = append(skipped, r.Offset) }
	require.NoError(t, NewFold(&d, log, "log", cfg).Take(t.Context(), []Span{{Topic: "a", To: 2}}))
	require.Equal(t, []int64{1}, skipped)
	require.Equal(t, 1, d.calls, "the others have had their effects")
}

func TestFoldStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	d := diary{answer: func(*record.Batch) error { cancel(); return fault.Transientf("refused") }}
	err := NewFold(&d, pages{"a/0": {page("a", 0, 0, "x")}}, "log", DefaultFoldConfig()).Take(
		ctx, []Span{{Topic: "a", To: 1}},
	)
	require.ErrorIs(t, err, context.Canceled)
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
	require.False(t, left.Covers("ann", at))
	require.True(t, left.Covers("bob", at))
	require.Equal(t, 2, known.Len())
	require.Equal(t, 1, left.Len())
}
