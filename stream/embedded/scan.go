package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// partitionLog is what lies on disk of one partition.
type partitionLog struct {
	topic     string
	partition int
	dir       string
	compacted bool
	segments  []segment // by base offset
	bytes     int64
}

type segment struct {
	base  int64
	bytes int64
}

// scan lists the partitions of kfake's folder; none if it is new. It reads the two things of
// kfake's format that the guards need: the names in topics.json and the segments' names. A test
// holds them.
func scan(logDir string) ([]partitionLog, error) {
	raw, err := os.ReadFile(filepath.Join(logDir, "topics.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of topics: %w", err)
	}
	var list struct {
		Topics []struct {
			Name       string            `json:"name"`
			Partitions int               `json:"partitions"`
			Configs    map[string]string `json:"configs"`
		} `json:"topics"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("read the list of topics: %w", err)
	}
	var logs []partitionLog
	for _, t := range list.Topics {
		for p := range t.Partitions {
			l := logOf(logDir, t.Name, p)
			l.compacted = strings.Contains(t.Configs["cleanup.policy"], "compact")
			if err := l.readSegments(); err != nil {
				return nil, err
			}
			logs = append(logs, l)
		}
	}
	return logs, nil
}

// logOf returns a partition without what lies on disk of it.
func logOf(logDir, topic string, partition int) partitionLog {
	return partitionLog{
		topic: topic, partition: partition, dir: filepath.Join(
			logDir, "partitions", fmt.Sprintf("%s-%d", url.PathEscape(topic), partition),
		),
	}
}

// readSegments lists the segments.
func (l *partitionLog) readSegments() error {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the segments of %s/%d: %w", l.topic, l.partition, err)
	}
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), ".dat")
		base, err := strconv.ParseInt(name, 10, 64)
		if !isSegment || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // removed by retention meanwhile
		}
		if err != nil {
			return fmt.Errorf("measure segment %d of %s/%d: %w", base, l.topic, l.partition, err)
		}
		l.segments = append(l.segments, segment{base, info.Size()})
		l.bytes += info.Size()
	}
	slices.SortFunc(l.segments, func(a, b segment) int { return int(a.base - b.base) })
	return nil
}

// totals returns the bytes of all partitions, and of those that are compacted.
func totals(logs []partitionLog) (all, compacted int64) {
	for i := range logs {
		all += logs[i].bytes
		if logs[i].compacted {
			compacted += logs[i].bytes
		}
	}
	return all, compacted
}

// allowance returns how many bytes each partition that is not compacted may keep so that everything
// fits into maxBytes: large ones shrink to a common size, small ones are left alone. It is MaxInt64
// when everything fits, negative when the compacted ones alone do not.
func allowance(logs []partitionLog, maxBytes int64) int64 {
	all, compacted := totals(logs)
	if all <= maxBytes {
		return math.MaxInt64
	}
	budget := maxBytes - compacted
	var sizes []int64
	for i := range logs {
		if !logs[i].compacted {
			sizes = append(sizes, logs[i].bytes)
		}
	}
	if budget <= 0 || len(sizes) == 0 {
		return -1
	}
	slices.Sort(sizes)
	for i, size := range sizes {
		share := budget / int64(len(sizes)-i)
		if size > share {
			return share
		}
		budget -= size
	}
	return math.MaxInt64
}

// excess returns how many of the oldest segments must go for the partition to keep at most
// keepBytes. The newest one always stays: an emptied partition forgets its offsets.
func (l *partitionLog) excess(keepBytes int64) int {
	n, bytes := 0, l.bytes
	for n < len(l.segments)-1 && bytes > keepBytes {
		bytes -= l.segments[n].bytes
		n++
	}
	return n
}
