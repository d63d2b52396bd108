package deadletter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The values are what every version has written: dead letters of old are still found, under the
// same id, also where the installation has a prefix.
func TestIDsAndHeadersStayWhatTheyWere(t *testing.T) {
	t.Parallel()
	at := record.Position{
		TopicPartition: record.TopicPartition{Topic: "shop.interactions", Partition: 3}, Offset: 11,
	}
	assert.Equal(t, "92338c82-1630-57d6-800f-adcfa8fdc791", ID("shop.embed", at))
	h := Headers{
		Group: "shop.embed", Handler: "embed", Subscriber: "shop.embed", Origin: at,
		Time: time.UnixMilli(1).UTC(), Class: fault.Unknown, Reason: "why", Attempts: 5,
		FirstFailure: time.UnixMilli(2).
			UTC(),
		LastFailure: time.UnixMilli(3).UTC(), Unnamed: 2, OmittedBytes: 9,
	}
	got := map[string]string{}
	for _, h := range h.On(nil) {
		got[h.Key] = string(h.Value)
	}
	assert.Equal(t, map[string]string{
		"reason_poisoned": "why", "topic_poisoned": "shop.interactions",
		"handler_poisoned":    "embed",
		"subscriber_poisoned": "shop.embed", "id_poisoned": "92338c82-1630-57d6-800f-adcfa8fdc791",
		"group_poisoned": "shop.embed", "partition_poisoned": "3", "offset_poisoned": "11",
		"time_poisoned":  "1970-01-01T00:00:00.001Z",
		"class_poisoned": "unknown", "attempts_poisoned": "5", "unnamed_poisoned": "2",
		"first_failure_poisoned": "1970-01-01T00:00:00.002Z",
		"last_failure_poisoned":  "1970-01-01T00:00:00.003Z", "omitted_bytes_poisoned": "9",
	}, got)

	l, ok := Parse(
		&record.Record{Topic: "embed.poison", Offset: 4, Headers: h.On(nil)},
		record.Names{Prefix: "shop."},
	)
	require.True(t, ok)
	assert.Equal(t, "92338c82-1630-57d6-800f-adcfa8fdc791", l.ID)
	assert.Equal(t, "embed", l.Group)
	assert.Equal(t, "interactions/3@11", l.Origin.String())
	assert.Equal(t, h.On(nil), l.written.On(l.Headers), "a replay writes what stood there")
}

func TestHeadersRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	s := Headers{
		Group: "g", Handler: "h", Subscriber: "s",
		Origin: record.Position{
			TopicPartition: record.TopicPartition{Topic: "t", Partition: 2}, Offset: 1 << 40,
		},
		Time: at, Class: fault.Transient, Reason: "why – 日本",
		Attempts: 3, FirstFailure: at.Add(time.Second), LastFailure: at.Add(time.Hour), Unnamed: 4,
		OmittedBytes: 5,
	}
	got, ok := HeadersOf(&record.Record{Headers: s.On([]record.Header{{Key: "a", Value: nil}})})
	require.True(t, ok)
	assert.Equal(t, s, got)
	_, ok = HeadersOf(
		&record.Record{Headers: []record.Header{{Key: record.HeaderTopic, Value: []byte("t")}}},
	)
	assert.False(t, ok)
	assert.Equal(t, "日本…", Clip("日本語", 7))
}

func FuzzParse(f *testing.F) {
	f.Add("in", "3", "7", "permanent", "2026-03-04T05:06:07Z", "1", "why", "g")
	f.Add("", "-1", "9223372036854775808", "Canceled", "yesterday", "many", "\xff", "")
	f.Fuzz(func(t *testing.T, topic, partition, offset, class, at, count, reason, group string) {
		r := record.Record{Headers: []record.Header{
			{Key: record.HeaderTopic, Value: []byte(topic)},
			{Key: record.HeaderPartition, Value: []byte(partition)},
			{Key: record.HeaderOffset, Value: []byte(offset)},
			{Key: record.HeaderClass, Value: []byte(class)},
			{Key: record.HeaderTime, Value: []byte(at)},
			{Key: record.HeaderAttempts, Value: []byte(count)},
			{Key: record.HeaderReason, Value: []byte(reason)},
			{Key: record.HeaderGroup, Value: []byte(group)},
			{Key: record.HeaderFirstFailure, Value: []byte(at)},
			{Key: record.HeaderUnnamed, Value: []byte(count)},
			{Key: record.HeaderResolves, Value: []byte(partition + "/" + offset)},
			{Key: "own", Value: []byte(reason)},
		}}
		parseResolution(&r)
		l, ok := Parse(&r, record.Names{})
		if !ok {
			return
		}
		again, ok := Parse(&record.Record{Headers: l.written.On(l.Headers)}, record.Names{})
		require.True(t, ok)
		assert.Equal(t, l.Origin, again.Origin)
		assert.Equal(t, l.ID, again.ID)
		assert.Equal(t, l.Headers, again.Headers)
		assert.Equal(t, l.Class, again.Class)
		assert.True(t, l.Time.Equal(again.Time))
	})
}
