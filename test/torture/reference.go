//go:build linux

package torture

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Reference is the undisturbed run over the same log: its Recall@10, and how many users ended
// otherwise.
type Reference struct {
	Recall     float64
	WrongUsers finding
}

// undisturbed copies the log, record by record and partition by partition, into slipstream dev,
// which nobody disturbs, and compares what comes of it.
func (h *harness) undisturbed(
	ctx context.Context,
	binary string,
	log theLog,
	x *expected,
) (*Reference, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	events := inTime(
		x.asJudged(log.topics[schemas.TopicInteractions]), log.topics[schemas.TopicFriendships],
	)
	settings := append(
		h.settings(), "SLIPSTREAM_STREAM_SESSION_TIMEOUT=30s",
		"SLIPSTREAM_STREAM_REBALANCE_TIMEOUT=30s",
		fmt.Sprintf("SLIPSTREAM_STREAM_LEARN_INTERVAL=%dms", learnInterval(events).Milliseconds()),
	)
	dev, kafka, err := h.dev("undisturbed", binary, ports, settings)
	if err != nil {
		return nil, err
	}
	if err := dev.start(); err != nil {
		return nil, err
	}
	defer dev.kill()
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := dev.waitReady(starting); err != nil {
		return nil, err
	}
	conn, err := stream.Open(ctx, stream.DefaultConfig(kafka))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	if err != nil {
		return nil, err
	}
	defer pub.Close()
	if err := copyLog(ctx, pub, inTime(log.topics[schemas.TopicItems])); err != nil {
		return nil, err
	}
	if err := h.awaitIdle(ctx, conn, time.Minute); err != nil {
		return nil, err
	}
	if err := copyLog(ctx, pub, events); err != nil {
		return nil, err
	}
	if err := h.awaitIdle(ctx, conn, 10*time.Minute); err != nil {
		return nil, err
	}
	if _, err := dev.stop(stopLimit); err != nil {
		return nil, err
	}
	s, err := openEmbedded(ctx, filepath.Join(h.dir, "undisturbed"))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	points, err := s.points(ctx)
	if err != nil {
		return nil, err
	}
	out := &Reference{}
	for id, want := range x.users {
		if got := points[id]; got == nil {
			out.WrongUsers.add("%s is not there", id)
		} else if d := differs(&got.model, want, anyOrder); d != "" {
			out.WrongUsers.add("%s: %s", id, d)
		}
	}
	out.Recall, err = h.load.world.recall(ctx, s)
	return out, err
}

// asJudged returns interactions that say of their time what the log has made of it: a copy of them
// has another time on its log. An event that is erased because the log took it before the erasure
// says that it happened then.
func (x *expected) asJudged(records []record.Record) []record.Record {
	out := slices.Clone(records)
	for i := range out {
		r := &out[i]
		e, err := schemas.DecodeInteraction(r)
		if err != nil {
			continue
		}
		when, client := happened(r, e.OccurredAt)
		if x.covered(e.UserID, when, r.Time) && r.Time.Before(when) {
			when = r.Time
		} else if client.IsZero() {
			continue
		}
		e.OccurredAt = when
		m := e.Message()
		r.Value, r.Headers = m.Value, m.Headers
	}
	return out
}

// inTime merges partitions by time; within a partition the order stays, whatever the records' times
// say.
func inTime(topics ...[]record.Record) []record.Record {
	type timed struct {
		at     time.Time
		record record.Record
	}
	var all []timed
	for _, records := range topics {
		var newest time.Time
		for i := range records {
			if i == 0 || records[i].Partition != records[i-1].Partition ||
				records[i].Time.After(newest) {
				newest = records[i].Time
			}
			all = append(all, timed{newest, records[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return a.at.Compare(b.at) })
	out := make([]record.Record, len(all))
	for i := range all {
		out[i] = all[i].record
	}
	return out
}

// A copy is written in portions, one an interval.
const (
	copyPortion  = 20
	copyInterval = 100 * time.Millisecond
)

// learnInterval is how long gradients accumulate in the undisturbed run. The copy is written faster
// than the records came, and the interval is as much shorter: item factors are then as many events
// old as they were. In this world older ones give a higher Recall@10, by 5 % when they are 2,000
// events old.
func learnInterval(events []record.Record) time.Duration {
	if len(events) == 0 {
		return accumulation
	}
	newest := slices.MaxFunc(events, func(a, b record.Record) int { return a.Time.Compare(b.Time) })
	took := max(newest.Time.Sub(events[0].Time), time.Second)
	copied := copyInterval * time.Duration(len(events)/copyPortion+1)
	share := min(float64(copied)/float64(took), 1)
	return time.Duration(float64(accumulation) * share)
}

// copyLog writes records to the partitions they come from.
func copyLog(ctx context.Context, pub *stream.Publisher, records []record.Record) error {
	for chunk := range slices.Chunk(records, copyPortion) {
		var out []record.Record
		for i := range chunk {
			r := &chunk[i]
			if r.Header(plantedHeader) != "" {
				continue
			}
			out = append(
				out,
				record.Record{
					Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value,
					Headers: r.Headers,
				},
			)
		}
		if len(out) == 0 {
			continue
		}
		if err := pub.Emit(ctx, out); err != nil {
			return fmt.Errorf("copy the log: %w", err)
		}
		if !wait(ctx, copyInterval) {
			return ctx.Err()
		}
	}
	return nil
}
