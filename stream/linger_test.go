package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestBatchesGrowWithTheLoad pins the rule by which the size of a batch adapts, in fake time.
func TestBatchesGrowWithTheLoad(t *testing.T) {
	t.Parallel()
	const every = time.Millisecond // a record a millisecond
	for _, c := range []struct {
		name    string
		linger  time.Duration
		least   time.Duration
		worked  time.Duration // how long the batch before took
		backlog int           // records that are there at once
		want    int
		after   time.Duration
	}{
		{
			"quick handling: next to no wait", 50 * time.Millisecond, 0, 2 * time.Millisecond, 1, 3,
			2 * time.Millisecond,
		},
		{"the first batch does not wait", 50 * time.Millisecond, 0, 0, 1, 1, 0},
		{
			"slow handling: as long as it took", 50 * time.Millisecond, 0, 30 * time.Millisecond, 1,
			31, 30 * time.Millisecond,
		},
		{
			"slower still: not longer than Linger", 50 * time.Millisecond, 0, time.Minute, 1, 51,
			50 * time.Millisecond,
		},
		{
			"not shorter than LingerMin", 50 * time.Millisecond, 20 * time.Millisecond,
			time.Millisecond, 1, 21, 20 * time.Millisecond,
		},
		{
			"a backlog fills the batch at once", 50 * time.Millisecond, 20 * time.Millisecond,
			time.Minute, 100, 100, 0,
		},
		{
			"a batch that fills up goes", 500 * time.Millisecond, 0, time.Minute, 60, 100,
			40 * time.Millisecond,
		},
		{
			"a topic with a wait of its own", 50 * time.Millisecond, 0, 2 * time.Millisecond, 1, 81,
			80 * time.Millisecond,
		},
		{"without Linger a batch is what there is", 0, 0, time.Minute, 7, 7, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := DefaultSubscriberConfig("group")
				cfg.MaxRecords, cfg.Linger, cfg.LingerMin = 100, c.linger, c.least
				if c.after == 80*time.Millisecond {
					cfg.TopicLinger = map[string]time.Duration{"": c.after}
				}
				require.NoError(t, cfg.Validate())
				g := &generation{
					subscription: &subscription{Subscriber: &Subscriber{cfg: cfg}},
					live:         t.Context(),
				}
				g.fetch = newFetcher(g)
				p := newPartition(g, record.Assignment{})
				p.worked = c.worked
				offset := int64(0)
				add := func(n int) {
					records := make([]record.Record, n)
					for i := range records {
						records[i].Offset = offset
						offset++
					}
					p.add(wire.Decoded{Records: records, Next: offset}, offset)
				}
				add(c.backlog)
				stop := make(chan struct{})
				go func() {
					ticker := time.NewTicker(every)
					defer ticker.Stop()
					for {
						select {
						case <-ticker.C:
							add(1)
						case <-stop:
							return
						}
					}
				}()
				start := time.Now()
				records := p.nextBatch().Records
				close(stop)
				require.Equal(t, c.after, time.Since(start))
				// A record that comes at the very moment at which the wait ends may be in or not.
				require.InDelta(t, c.want, len(records), 1)
			})
		})
	}
}
