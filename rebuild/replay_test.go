package rebuild

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// diary notes the offsets it is given and answers as told.
type diary struct {
	processors.Processor
	offsets []int64
	answer  func(b *record.Batch) error
}

func (d *diary) Handle(_ context.Context, b *record.Batch) error {
	if err := d.answer(b); err != nil {
		return err
	}
	for i := range b.Records {
		d.offsets = append(d.offsets, b.Records[i].Offset)
	}
	return nil
}

// A rebuild judges failures by the guard's policy, and gives up where the guard would give up on
// records that may have been healthy.
func TestReplayUsesTheGuard(t *testing.T) {
	t.Parallel()
	offending := func(b *record.Batch) (at []int) {
		for i := range b.Records {
			if o := b.Records[i].Offset; o == 2 || o == 7 {
				at = append(at, i)
			}
		}
		return at
	}
	healthy, all := []int64{0, 1, 3, 4, 5, 6}, []int64{0, 1, 2, 3, 4, 5, 6, 7}
	failures := 0
	for _, tc := range []struct {
		name    string
		group   string
		answer  func(b *record.Batch) error
		offsets []int64
		skipped int64
		err     string
	}{
		{
			name: "a store that refuses rows", group: schemas.GroupAnalytics, offsets: healthy,
			skipped: 2,
			answer: func(b *record.Batch) error {
				var r fault.Reject
				for _, i := range offending(b) {
					r.Add(i, fault.Permanentf("refused"))
				}
				err := r.Err()
				var rejected *fault.Rejected
				if errors.As(err, &rejected) {
					rejected.Undone = true
				}
				return err
			},
		},
		{
			name: "a failure without a name is found by halving", group: schemas.GroupEmbed,
			offsets: healthy, skipped: 2,
			answer: func(b *record.Batch) error {
				if len(offending(b)) > 0 {
					return fault.Permanentf("refused")
				}
				return nil
			},
		},
		{
			name: "where batches are whole it ends the rebuild", group: schemas.GroupAnalytics,
			answer: func(*record.Batch) error { return fault.Permanentf("refused") },
			err:    "interactions/0/0: refused",
		},
		{
			name: "a failure that nobody has classified", group: schemas.GroupEmbed,
			answer: func(*record.Batch) error { return errors.New("odd") }, err: "odd",
		},
		{
			name: "a panic", group: schemas.GroupEmbed,
			answer: func(*record.Batch) error { panic("odd") }, err: "odd",
		},
		{
			name: "an outage is waited out", group: schemas.GroupEmbed, offsets: all,
			answer: func(*record.Batch) error {
				if failures++; failures < 12 {
					return fault.Transientf("connection refused")
				}
				return nil
			},
		},
		{
			name: "but not forever", group: schemas.GroupEmbed,
			answer: func(*record.Batch) error { return fault.Transientf("connection refused") },
			err:    "nothing worked for 5m0s: connection refused",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &rebuild{cfg: config.Default()}
				r.Log = slog.New(slog.DiscardHandler)
				d := &diary{answer: tc.answer}
				g, err := r.guarded(tc.group, d)
				require.NoError(t, err)
				b := &record.Batch{End: 8}
				b.Topic, b.Last = schemas.TopicInteractions, 7
				for i := range int64(8) {
					b.Records = append(b.Records, record.Record{Topic: b.Topic, Offset: i})
				}
				err = g.Handle(t.Context(), b)
				if tc.err != "" {
					require.ErrorContains(t, err, tc.err)
				} else {
					require.NoError(t, err)
				}
				slices.Sort(d.offsets)
				require.Equal(t, tc.offsets, d.offsets)
				require.Equal(t, tc.skipped, r.skipped.Load())
			})
		})
	}
}

func TestReplayStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rebuild{cfg: config.Default()}
	r.Log = slog.New(slog.DiscardHandler)
	g, err := r.guarded(schemas.GroupEmbed, &diary{answer: func(*record.Batch) error {
		cancel()
		return fault.Transientf("connection refused")
	}})
	require.NoError(t, err)
	b := &record.Batch{Records: []record.Record{{Topic: schemas.TopicInteractions}}}
	err = g.Handle(ctx, b)
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
}
