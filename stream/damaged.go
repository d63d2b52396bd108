package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// decode returns what a broker has answered for one partition, from an offset on. An error says
// that the log is damaged there and what to do, and that nothing has been read.
func (c *Conn) decode(res *wire.Fetched, from int64) (wire.Decoded, error) {
	got, err := res.Decode(from, c.cfg.MaxDecompressedBytes, c.skipped(res.TP)...)
	return got, withRemedy(err)
}

// withRemedy adds to the error of damaged bytes what to do. The caller should wait.
func withRemedy(err error) error {
	var d *wire.Damaged
	if !errors.As(err, &d) {
		return err
	}
	return fault.Wait(fmt.Errorf(
		"%w: it is tried again. Make a replica that has them whole the leader of the "+
			"partition, or restore its segment. If no copy is whole, give them up, which "+
			"makes a dead letter: kafka.skip_damaged=%s:%d-%d",
		err, d.TopicPartition, d.First, d.Last,
	))
}

// passGap moves got.Next over the offsets at the end of the log that hold no records; see
// wire.EndGap. Only compaction leaves such. In another topic they are a batch whose length is
// damaged: Kafka answers with nothing then.
func (c *Conn) passGap(
	ctx context.Context, g *wire.EndGap, got *wire.Decoded, res *wire.Fetched, empty bool,
) error {
	at := got.Next
	next := g.Next(at, res.LastStable, empty)
	if next == at && !g.Lasts() {
		return nil
	}
	compacted, err := c.compacted(ctx, res.TP.Topic)
	if err != nil {
		return err
	}
	if compacted {
		got.Next = next
		return nil
	}
	const reason = "the broker returns nothing, although its log goes on"
	for _, r := range c.skipped(res.TP) {
		if r.First <= at && at <= r.Last {
			got.Next = min(r.Last+1, res.LastStable)
			got.Undecodable = append(got.Undecodable, record.Undecodable{
				TopicPartition: res.TP, First: at, Last: got.Next - 1,
				Reason: "damaged, and given up: " + reason,
			})
			return nil
		}
	}
	return withRemedy(&wire.Damaged{
		TopicPartition: res.TP, First: at, Last: res.LastStable - 1, Reason: reason,
	})
}

// compacted tells whether the broker compacts a topic. Where it may not be asked, it might.
func (c *Conn) compacted(ctx context.Context, topic string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	const policy = "cleanup.policy"
	res, err := c.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Full(topic),
			ConfigNames: []string{policy},
		}},
	})
	if err != nil {
		return false, fmt.Errorf("ask whether %s is compacted: %w", topic, wire.Classify(err))
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			if e.ConfigName == policy {
				return strings.Contains(e.ConfigValue, "compact"), nil
			}
		}
	}
	return true, nil
}

// skipped returns the offsets of a partition that an operator has given up.
func (c *Conn) skipped(tp record.TopicPartition) (out []record.Range) {
	for _, r := range c.cfg.SkipDamaged {
		if r.TopicPartition() == tp {
			out = append(out, r)
		}
	}
	return out
}

// Damaged tells whether err says that bytes of the log are not what a broker has taken.
func Damaged(err error) bool {
	var d *wire.Damaged
	return errors.As(err, &d)
}

// damaged puts off the next fetch after an error, and reports a partition as stopped that stays
// damaged. It is fetched on: an operator may make another replica its leader, or restore the
// segment.
func (f *fetcher) damaged(p *partition, err error) {
	if n := f.delay(p, err); Damaged(err) && fetchBackoff.Lasts(n) && p.setDamaged(true) {
		f.g.stopPartition(p.tp, err)
	}
}

// readable ends the time in which a partition was damaged.
func (f *fetcher) readable(p *partition) {
	if !p.setDamaged(false) {
		return
	}
	f.g.resumePartition(p.tp)
}

// resumePartition reports that a partition which had stopped is worked on again.
func (g *generation) resumePartition(tp record.TopicPartition) {
	g.log.Info("partition resumed", "topic", tp.Topic, "partition", tp.Partition)
	if g.cfg.Hooks.PartitionResumed != nil {
		g.cfg.Hooks.PartitionResumed(tp)
	}
}

// setDamaged notes whether the log is damaged where it is to be read, and returns whether that is
// new.
func (p *partition) setDamaged(is bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.damaged
	p.damaged = is
	return was != is
}
