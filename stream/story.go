package stream

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
)

// Headers that tell the story of a record that could not be processed. The first four are Watermill's. They stand behind the record's own headers,
// on dead letters, on records that wait in a retry topic, and on replayed ones.
const (
	HeaderReason     = middleware.ReasonForPoisonedKey
	HeaderTopic      = middleware.PoisonedTopicKey
	HeaderHandler    = middleware.PoisonedHandlerKey
	HeaderSubscriber = middleware.PoisonedSubscriberKey
	// HeaderID is the dead letter's id: a function of group, topic, partition and offset, so that setting the same record aside again is harmless.
	HeaderID        = "id_poisoned"
	HeaderGroup     = "group_poisoned"
	HeaderPartition = "partition_poisoned"
	HeaderOffset    = "offset_poisoned"
	// HeaderTime is the time of the original record, RFC 3339: a dead letter's own time is that of setting it aside, by which it is kept.
	HeaderTime         = "time_poisoned"
	HeaderClass        = "class_poisoned"
	HeaderAttempts     = "attempts_poisoned"
	HeaderFirstFailure = "first_failure_poisoned"
	HeaderLastFailure  = "last_failure_poisoned"
	// HeaderUnnamed says how many records were set aside together because nobody could tell which of them was guilty.
	HeaderUnnamed = "unnamed_poisoned"
	// HeaderOmitted is the size of a value that was too large to be kept with its story; it is still in the original topic.
	HeaderOmitted = "omitted_bytes_poisoned"
)

const storySuffix = "_poisoned"

// maxReasonBytes bounds the reason in the headers: a stack trace may be longer than the record.
const maxReasonBytes = 8 << 10

// PoisonTopic returns the topic of a group's dead letters.
func PoisonTopic(group string) string { return group + ".poison" }

// ReplayTopic returns the topic to which a group's dead letters are replayed. The group has to read it.
func ReplayTopic(group string) string { return group + ".replay" }

// RetryTopic returns the topic in which records of a group wait for the delay: <group>.retry.30s.
func RetryTopic(group string, delay time.Duration) string {
	s := delay.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return group + ".retry." + s
}

// RetryGroup returns the consumer group that reads a group's retry topics.
func RetryGroup(group string) string { return group + ".retry" }

// Position is the place of a record in the log.
type Position struct {
	TopicPartition
	Offset int64
}

func (p Position) String() string { return fmt.Sprintf("%s@%d", p.TopicPartition, p.Offset) }

// Origin returns the group that set the record aside and the place where it was first read. ok is false for a record that was never set aside; the
// position is then its own. Ask it for records of a group's replay and retry topics: elsewhere the headers are whatever a producer has written.
func Origin(r *Record) (group string, at Position, ok bool) {
	if s, ok := readStory(r); ok {
		return s.group, s.origin, true
	}
	return "", Position{TopicPartition{r.Topic, r.Partition}, r.Offset}, false
}

// DeadLetterID returns the id of the dead letter for the record that group first read at the position.
func DeadLetterID(group string, at Position) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "dead-letter:%s/%s/%d/%d", group, at.Topic, at.Partition, at.Offset)).String()
}

// story is why a record is not where it belongs.
type story struct {
	group, handler, subscriber string
	origin                     Position
	time                       time.Time // of the original record
	class                      fault.Class
	reason                     string
	attempts                   int
	first, last                time.Time
	unnamed                    int
	omitted                    int
}

func (s *story) id() string { return DeadLetterID(s.group, s.origin) }

// headers returns own, freed of an older story, followed by this one.
func (s *story) headers(own []Header) []Header {
	out := ownHeaders(own)
	add := func(key, value string) { out = append(out, Header{key, []byte(value)}) }
	add(HeaderReason, clip(s.reason, maxReasonBytes))
	add(HeaderTopic, s.origin.Topic)
	add(HeaderHandler, s.handler)
	add(HeaderSubscriber, s.subscriber)
	add(HeaderID, s.id())
	add(HeaderGroup, s.group)
	add(HeaderPartition, strconv.Itoa(s.origin.Partition))
	add(HeaderOffset, strconv.FormatInt(s.origin.Offset, 10))
	add(HeaderTime, stamp(s.time))
	add(HeaderClass, s.class.String())
	add(HeaderAttempts, strconv.Itoa(s.attempts))
	add(HeaderFirstFailure, stamp(s.first))
	add(HeaderLastFailure, stamp(s.last))
	if s.unnamed > 0 {
		add(HeaderUnnamed, strconv.Itoa(s.unnamed))
	}
	if s.omitted > 0 {
		add(HeaderOmitted, strconv.Itoa(s.omitted))
	}
	return out
}

// ownHeaders returns the headers that are not part of a story, in a slice of its own.
func ownHeaders(all []Header) []Header {
	out := make([]Header, 0, len(all)+15)
	for _, h := range all {
		if !strings.HasSuffix(h.Key, storySuffix) {
			out = append(out, h)
		}
	}
	return out
}

func readStory(r *Record) (story, bool) {
	var s story
	found := 0
	for _, h := range r.Headers {
		v := string(h.Value)
		switch h.Key {
		case HeaderReason:
			s.reason = v
		case HeaderTopic:
			s.origin.Topic = v
			found++
		case HeaderHandler:
			s.handler = v
		case HeaderSubscriber:
			s.subscriber = v
		case HeaderGroup:
			s.group = v
			found++
		case HeaderPartition:
			if n, err := strconv.Atoi(v); err == nil {
				s.origin.Partition = n
				found++
			}
		case HeaderOffset:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				s.origin.Offset = n
				found++
			}
		case HeaderTime:
			s.time = parseStamp(v)
		case HeaderClass:
			s.class = parseClass(v)
		case HeaderAttempts:
			s.attempts, _ = strconv.Atoi(v)
		case HeaderFirstFailure:
			s.first = parseStamp(v)
		case HeaderLastFailure:
			s.last = parseStamp(v)
		case HeaderUnnamed:
			s.unnamed, _ = strconv.Atoi(v)
		case HeaderOmitted:
			s.omitted, _ = strconv.Atoi(v)
		}
	}
	return s, found == 4
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

// clip shortens s to at most n bytes, at a rune's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
