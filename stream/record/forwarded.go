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
	// HeaderOriginTime is what the log wrote as its time at the origin, in milliseconds since 1970.
	HeaderOriginTime = "time_forwarded"
	// HeaderOriginShift is Record.Shift at the origin, in milliseconds. Absent is 0.
	HeaderOriginShift = "shift_forwarded"
	// HeaderOlder is there on a record that the group had handled before it began to forward: what
	// is counted once was counted where the record stood.
	HeaderOlder = "older_forwarded"

	// ForwardedSuffix ends the name of every header of this kind.
	ForwardedSuffix = "_forwarded"
)

// Origin is where a record stood before it was forwarded. Origins are equal (==) when they are of
// the same record of the same log.
type Origin struct {
	// Position is the logical topic, the partition and the offset.
	Position
	// Time is what the log wrote as the record's time at that position, in UTC, to the
	// millisecond: it is the same for whoever reads it.
	Time time.Time
}

// String returns topic/partition@offset and the time. Two records of one log never have the same.
func (o Origin) String() string {
	return fmt.Sprintf("%s %d", o.Position, o.Time.UnixMilli())
}

// Origin returns the origin that a record has when it is forwarded from where it was read. A time
// outside of 1970 to 9999 counts as the nearest within.
func (r *Record) Origin() Origin {
	ms := min(max(r.Time.Add(-r.Shift).UnixMilli(), 0), maxMillis)
	return Origin{Position: r.Position(), Time: time.UnixMilli(ms).UTC()}
}

// Forwarded returns a copy of a record that was read from the log, on its way to a partition of
// another topic, with its origin in the headers. It shares the value and its own headers with r.
func Forwarded(r *Record, to TopicPartition, key []byte) Record {
	headers := make([]Header, 0, len(r.Headers)+5)
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
	if r.Shift != 0 {
		headers = append(headers, Header{HeaderOriginShift, number(r.Shift.Milliseconds())})
	}
	return Record{
		Topic: to.Topic, Partition: to.Partition, Key: slices.Clone(key), Value: r.Value,
		Headers: headers,
	}
}

// ForwardedOlder is Forwarded for a record that the group had handled before it began to forward.
func ForwardedOlder(r *Record, to TopicPartition, key []byte) Record {
	out := Forwarded(r, to, key)
	out.Headers = append(out.Headers, Header{HeaderOlder, []byte("1")})
	return out
}

// IsOlder tells whether a forwarded record was written by ForwardedOlder.
func IsOlder(r *Record) bool { return r.Header(HeaderOlder) != "" }

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

// AtOrigin returns a forwarded record as it was read at its origin: its place and its log time
// there.
func AtOrigin(r *Record) (Record, error) {
	o, err := OriginOf(r)
	if err != nil {
		return Record{}, err
	}
	at := *r
	at.Topic, at.Partition, at.Offset = o.Topic, o.Partition, o.Offset
	at.Time, at.Shift = TimeOf(o.Time.UnixMilli()), 0
	if at.Time.IsZero() || r.Header(HeaderOriginShift) == "" {
		return at, nil
	}
	ms, err := strconv.ParseInt(r.Header(HeaderOriginShift), 10, 64)
	if err != nil || ms > maxShift || ms < -maxShift {
		return Record{}, fmt.Errorf("header %s: %q is out of bounds", HeaderOriginShift,
			r.Header(HeaderOriginShift))
	}
	at.Shift = time.Duration(ms) * time.Millisecond
	at.Time = at.Time.Add(at.Shift)
	return at, nil
}

// maxShift bounds the difference of two times of records, in milliseconds.
const maxShift = 100 * 365 * 24 * 3_600_000

// maxPartition is the highest number that a partition can have.
const maxPartition = 1<<31 - 1
