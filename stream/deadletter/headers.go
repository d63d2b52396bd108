// Package deadletter holds what is known of records that a consumer group could not process: the
// headers that they carry, and a Store to list, replay and drop them. It knows neither Kafka nor
// Watermill.
package deadletter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// MaxReasonBytes bounds the reason in the headers: a stack trace may be longer than the record.
const MaxReasonBytes = 8 << 10

// ID returns the id of the dead letter for the record that group first read at the position. Both
// are the names on the broker, with the prefix of the installation.
func ID(group string, at record.Position) string {
	name := fmt.Appendf(nil, "dead-letter:%s/%s/%d/%d", group, at.Topic, at.Partition, at.Offset)
	return uuid.NewSHA1(uuid.NameSpaceURL, name).String()
}

// Headers is why a record is not where it belongs. It travels in the headers of dead letters, of
// records that wait in a retry topic, and of replayed ones. Group, Subscriber and Origin.Topic are
// the names on the broker, with the prefix of the installation.
type Headers struct {
	Group, Handler, Subscriber string
	// Origin is where the group first read the record, Time the record's own time there.
	Origin record.Position
	Time   time.Time
	Class  fault.Class
	Reason string
	// Attempts are the charged ones, over all visits.
	Attempts                  int
	FirstFailure, LastFailure time.Time
	// Unnamed is 0, or the number of records that became dead letters together because nobody could
	// tell which one was offending.
	Unnamed int
	// OmittedBytes is 0, or the size of the parts of the record that were too large to be kept.
	OmittedBytes int
	// Undecodable says that the dead letter is a whole batch of the log whose records could not be
	// read, from Origin to LastOffset. Its value are the bytes of the batch.
	Undecodable bool
	LastOffset  int64
}

// ID returns the dead letter's id.
func (h *Headers) ID() string { return ID(h.Group, h.Origin) }

// On returns own without the headers of an earlier failure, followed by h.
func (h *Headers) On(own []record.Header) []record.Header {
	out := Own(own)
	add := func(key, value string) {
		out = append(out, record.Header{Key: key, Value: []byte(value)})
	}
	add(record.HeaderReason, Clip(h.Reason, MaxReasonBytes))
	add(record.HeaderTopic, h.Origin.Topic)
	add(record.HeaderHandler, h.Handler)
	add(record.HeaderSubscriber, h.Subscriber)
	add(record.HeaderID, h.ID())
	add(record.HeaderGroup, h.Group)
	add(record.HeaderPartition, strconv.Itoa(h.Origin.Partition))
	add(record.HeaderOffset, strconv.FormatInt(h.Origin.Offset, 10))
	add(record.HeaderTime, stamp(h.Time))
	add(record.HeaderClass, h.Class.String())
	add(record.HeaderAttempts, strconv.Itoa(h.Attempts))
	add(record.HeaderFirstFailure, stamp(h.FirstFailure))
	add(record.HeaderLastFailure, stamp(h.LastFailure))
	if h.Unnamed > 0 {
		add(record.HeaderUnnamed, strconv.Itoa(h.Unnamed))
	}
	if h.OmittedBytes > 0 {
		add(record.HeaderOmitted, strconv.Itoa(h.OmittedBytes))
	}
	if h.Undecodable {
		add(record.HeaderLastOffset, strconv.FormatInt(h.LastOffset, 10))
	}
	return out
}

// Own returns the headers that tell of no failure, in a slice of its own.
func Own(all []record.Header) []record.Header {
	out := make([]record.Header, 0, len(all)+16)
	for _, h := range all {
		if !strings.HasSuffix(h.Key, record.DeadLetterSuffix) {
			out = append(out, h)
		}
	}
	return out
}

// HeadersOf reads the headers of a record. ok is false when they do not name group and origin.
// Believe them on a group's own topics only: elsewhere they are whatever a producer has written.
func HeadersOf(r *record.Record) (out Headers, ok bool) {
	found := 0
	for _, h := range r.Headers {
		v := string(h.Value)
		switch h.Key {
		case record.HeaderReason:
			out.Reason = v
		case record.HeaderTopic:
			out.Origin.Topic = v
			found++
		case record.HeaderHandler:
			out.Handler = v
		case record.HeaderSubscriber:
			out.Subscriber = v
		case record.HeaderGroup:
			out.Group = v
			found++
		case record.HeaderPartition:
			if n, err := strconv.Atoi(v); err == nil {
				out.Origin.Partition = n
				found++
			}
		case record.HeaderOffset:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				out.Origin.Offset = n
				found++
			}
		case record.HeaderTime:
			out.Time = parseStamp(v)
		case record.HeaderClass:
			out.Class = parseClass(v)
		case record.HeaderAttempts:
			out.Attempts, _ = strconv.Atoi(v)
		case record.HeaderFirstFailure:
			out.FirstFailure = parseStamp(v)
		case record.HeaderLastFailure:
			out.LastFailure = parseStamp(v)
		case record.HeaderUnnamed:
			out.Unnamed, _ = strconv.Atoi(v)
		case record.HeaderOmitted:
			out.OmittedBytes, _ = strconv.Atoi(v)
		case record.HeaderLastOffset:
			n, err := strconv.ParseInt(v, 10, 64)
			out.LastOffset, out.Undecodable = n, err == nil
		}
	}
	return out, found == 4
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func parseStamp(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

func parseClass(s string) fault.Class {
	for _, c := range []fault.Class{fault.Permanent, fault.Transient, fault.Canceled} {
		if c.String() == s {
			return c
		}
	}
	return fault.Unknown
}

// Clip shortens s to at most n bytes, at a rune's border.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
