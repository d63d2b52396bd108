package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// trimOnDisk brings the log under the cap before it is loaded, since loading takes as much memory
// as the log has bytes. What it leaves behind in logs is what there is.
func (b *Broker) trimOnDisk(logs []partitionLog) error {
	keep := allowance(logs, b.cfg.MaxLogBytes)
	for i := range logs {
		l := &logs[i]
		if l.compacted {
			continue
		}
		n := l.excess(max(keep, 0))
		if n == 0 {
			continue
		}
		for _, s := range l.segments[:n] {
			// Index first: a segment without its index is read, an index without its segment is
			// ignored.
			for _, suffix := range []string{".idx", ".dat"} {
				name := filepath.Join(l.dir, strconv.FormatInt(s.base, 10)+suffix)
				if err := os.Remove(name); err != nil &&
					!errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("embedded broker: trim %s/%d: %w", l.topic, l.partition, err)
				}
			}
			l.bytes -= s.bytes
		}
		b.warnTrimmed(l, n)
		l.segments = l.segments[n:]
	}
	if all, compacted := totals(logs); all > b.cfg.MaxLogBytes+b.slack(logs) {
		return fmt.Errorf(
			"embedded broker: the log in %s holds %d bytes (%d in compacted topics), more than "+
				"MaxLogBytes = %d, and loading takes as much memory: raise MaxLogBytes, or start "+
				"with another folder",
			b.cfg.Dir,
			all,
			compacted,
			b.cfg.MaxLogBytes,
		)
	}
	return nil
}

// slack is what may exceed the cap: the newest segment of each partition, which always stays, and
// what one interval has written.
func (b *Broker) slack(logs []partitionLog) int64 {
	return int64(len(logs))*(b.cfg.segmentBytes()+maxMessageBytes) + b.cfg.MaxLogBytes/4
}

// trimLive does the same while clients are served.
func (b *Broker) trimLive() {
	logs, err := scan(b.logDir())
	if err != nil {
		b.log.Error("embedded broker: measure the log", "err", err)
		return
	}
	keep := allowance(logs, b.cfg.MaxLogBytes)
	if keep < 0 {
		all, compacted := totals(logs)
		b.log.Error(
			"embedded broker: compacted topics alone exceed MaxLogBytes: restart, so that they "+
				"are compacted, or raise it",
			"max_log_bytes",
			b.cfg.MaxLogBytes,
			"log_bytes",
			all,
			"compacted_bytes",
			compacted,
		)
	}
	for i := range logs {
		l := &logs[i]
		if l.compacted {
			continue
		}
		n := l.excess(max(keep, 0))
		if n == 0 {
			continue
		}
		err := b.cluster.DeleteRecords(l.topic, int32(l.partition), l.segments[n].base)
		if err != nil {
			b.log.Error(
				"embedded broker: trim", "topic", l.topic, "partition", l.partition, "err", err,
			)
			continue
		}
		b.warnTrimmed(l, n)
	}
}

func (b *Broker) warnTrimmed(l *partitionLog, n int) {
	b.log.Warn(
		"embedded broker: the log reached its cap: the oldest records are gone, read or not. "+
			"Raise MaxLogBytes to keep more",
		"topic",
		l.topic,
		"partition",
		l.partition,
		"first_offset_before",
		l.segments[0].base,
		"first_offset",
		l.segments[n].base,
		"max_log_bytes",
		b.cfg.MaxLogBytes,
	)
}

// Partition is a partition of a topic, and the bytes that lie on disk of it.
type Partition struct {
	Topic     string
	Partition int
	Bytes     int64
}

// Compacted returns the partitions of the compacted topics.
func (b *Broker) Compacted() ([]Partition, error) {
	logs, err := scan(b.logDir())
	if err != nil {
		return nil, fmt.Errorf("embedded broker: measure the log: %w", err)
	}
	var out []Partition
	for i := range logs {
		if l := &logs[i]; l.compacted {
			out = append(out, Partition{Topic: l.topic, Partition: l.partition, Bytes: l.bytes})
		}
	}
	return out, nil
}

// Forget removes the records of a partition before an offset. At least one record must be left: an
// emptied partition forgets its offsets. Nobody checks that what goes is not needed.
func (b *Broker) Forget(topic string, partition int, before int64) error {
	info := b.cluster.PartitionInfo(topic, int32(partition))
	if info == nil {
		return fmt.Errorf("embedded broker: no partition %s/%d", topic, partition)
	}
	if before >= info.HighWatermark {
		return fmt.Errorf(
			"embedded broker: forget %s/%d before %d: nothing would be left of it, its end is %d",
			topic, partition, before, info.HighWatermark,
		)
	}
	if err := b.cluster.DeleteRecords(topic, int32(partition), before); err != nil {
		return fmt.Errorf(
			"embedded broker: forget %s/%d before %d: %w", topic, partition, before, err,
		)
	}
	return nil
}
