package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Headers of a forwarded record: one that stood in a partition that its key does not choose, and
// was written again to the group's topic of misplaced records. They follow the record's own
// headers and tell where it stood first. Believe them on a group's own topics only: elsewhere they
// are whatever a producer has written.
const (
	HeaderOriginTopic     = "topic_forwarded"
	HeaderOriginPartition = "partition_forwarded"
	HeaderOriginOffset    = "offset_forwarded"
	// HeaderOriginTime is the log time at the origin, in milliseconds since 1970.
	HeaderOriginTime = "time_forwarded"

	// ForwardedSuffix ends the name of every header of this kind.
	ForwardedSuffix = "_forwarded"
)

// Origin is where a record stood before it was forwarded. Origins are equal (==) when they are of
// the same record of the same log.
type Origin struct {
	// Position is the logical topic, the partition and the offset.
	Position
	// Time is the log time of the record at that position, in UTC, to the millisecond.
	Time time.Time
}

// String returns topic/partition@offset and the time. Two records of one log never have the same.
func (o Origin) String() string {
	return fmt.Sprintf("%s %d", o.Position, o.Time.UnixMilli())
}

// Origin returns the origin that a record has when it is forwarded from where it was read. A time
// outside of 1970 to 9999 counts as the nearest within.
func (r *Record) Origin() Origin {
	ms := min(max(r.Time.UnixMilli(), 0), maxMillis)
	return Origin{Position: r.Position(), Time: time.UnixMilli(ms).UTC()}
}

// Forwarded returns a copy of a record that was read from the log, on its way to a partition of
// another topic, with its origin in the headers. It shares the value and its own headers with r.
func Forwarded(r *Record, to TopicPartition, key []byte) Record {
	headers := make([]Header, 0, len(r.Headers)+4)
	for _, h := range r.Headers {
		if !strings.HasSuffix(h.Key, ForwardedSuffix) {
			headers = append(headers, h)
		}
	}
	o := r.Origin()
	number := func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
	headers = append(headers,
		Header{HeaderOriginTopic, []byte(o.Topic)},
		Header{HeaderOriginPartition, number(int64(o.Partition))},
		Header{HeaderOriginOffset, number(o.Offset)},
		Header{HeaderOriginTime, number(o.Time.UnixMilli())},
	)
	return Record{
		Topic: to.Topic, Partition: to.Partition, Key: slices.Clone(key), Value: r.Value,
		Headers: headers,
	}
}

// OriginOf reads what Forwarded has written. An error says which header is missing or wrong.
func OriginOf(r *Record) (Origin, error) {
	o := Origin{Position: Position{TopicPartition: TopicPartition{
		Topic: r.Header(HeaderOriginTopic),
	}}}
	if o.Topic == "" {
		return Origin{}, fmt.Errorf("header %s is missing: the record was not forwarded",
			HeaderOriginTopic)
	}
	var partition, ms int64
	for _, x := range []struct {
		name string
		to   *int64
	}{
		{HeaderOriginPartition, &partition},
		{HeaderOriginOffset, &o.Offset},
		{HeaderOriginTime, &ms},
	} {
		n, err := parseOffset(r.Header(x.name))
		if err != nil {
			return Origin{}, fmt.Errorf("header %s: %w", x.name, err)
		}
		*x.to = n
	}
	if partition > maxPartition || ms > maxMillis {
		return Origin{}, fmt.Errorf("headers %s and %s: out of bounds",
			HeaderOriginPartition, HeaderOriginTime)
	}
	o.Partition, o.Time = int(partition), time.UnixMilli(ms).UTC()
	return o, nil
}

// maxPartition is the highest number that a partition can have.
const maxPartition = 1<<31 - 1
