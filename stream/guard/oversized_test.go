package guard

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A record whose value, headers or key fill the message size becomes a dead letter without them,
// and what is behind it is worked on.
func TestOversizedDeadLetters(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		const limit = 32 << 10
		small := kafka.ConfigEntry{
			ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(limit),
		}
		topic := e.Topic(t, 1, small)
		cfg := e.Group(t)
		// It has the limit from its beginning: an altered one is not in force at once.
		require.NoError(t, admin.EnsureTopics(t.Context(), e.Conn, []admin.TopicSpec{{
			Name: record.PoisonTopic(cfg.Group), Partitions: 2,
			Config: map[string]string{small.ConfigName: small.ConfigValue},
		}}))
		e.groupTopics(t, cfg.Group)
		p := e.Publisher(t)
		full := make([]byte, limit-300) // nothing that gets smaller when it is compressed
		_, _ = rand.Read(full)
		headers := func(value []byte) []record.Header {
			return []record.Header{{Key: "h", Value: value}}
		}
		in := []record.Record{
			{Key: []byte("a"), Value: full, Headers: headers([]byte("small"))},
			{Key: []byte("b"), Value: []byte("v"), Headers: headers(full)},
			{Key: []byte("c"), Headers: headers(full)},
			{Key: full, Value: []byte("v"), Headers: headers([]byte("small"))},
			{Key: full[:len(full)/2], Headers: headers(full[len(full)/2:])},
			{Key: []byte("last"), Value: []byte("good")},
		}
		for i := range in {
			in[i].Topic, in[i].Partition = topic, 0
			require.NoError(t, p.Emit(t.Context(), in[i:i+1]))
		}
		var store ledger
		e.runRouter(t, Options{
			Name: "work", Group: cfg.Group, Topics: []string{topic},
			Subscriber: e.newSubscriber(t, cfg), Emitter: p,
			Backoff: fault.Backoff{First: time.Millisecond, Max: 5 * time.Millisecond},
			Handler: func(_ context.Context, b *record.Batch) error {
				var no fault.Reject
				for i := range b.Records {
					if string(b.Records[i].Value) == "good" {
						store.add(&b.Records[i])
						continue
					}
					no.Add(i, fault.Permanentf("%s", strings.Repeat("bad ", 1000)))
				}
				return no.Err()
			},
		})
		streamtest.Eventually(
			t, "the record behind them", func() bool { return len(store.values()) == 1 },
		)
		d := deadletter.New(e.Conn, p, e.Conn.Names(), []string{cfg.Group}, nil)
		var letters []deadletter.Letter
		streamtest.Eventually(t, "the dead letters", func() bool {
			var err error
			letters, err = d.List(t.Context(), deadletter.Filter{})
			require.NoError(t, err)
			return len(letters) == 5
		})
		byOffset := map[int64]deadletter.Letter{}
		for _, l := range letters {
			byOffset[l.Origin.Offset] = l
			assert.Equal(t, topic, l.Origin.Topic)
			assert.Contains(t, l.Reason, "bad")
			assert.Equal(t, fault.Permanent, l.Class)
		}
		for offset, want := range []struct {
			key     string
			headers int
			omitted int
		}{
			{"a", 1, len(full)},
			{"b", 0, len(full) + len("hv")},
			{"c", 0, len(full) + len("h")},
			{"", 0, len(full) + len("hsmallv")},
			{string(in[4].Key), 0, len(full)/2 + len("h")},
		} {
			l := byOffset[int64(offset)]
			assert.Equal(t, []byte(want.key), append([]byte{}, l.Key...), "offset %d", offset)
			assert.Empty(t, l.Value, "offset %d", offset)
			assert.Len(t, l.Headers, want.headers, "offset %d", offset)
			assert.Equal(t, want.omitted, l.OmittedBytes, "offset %d", offset)
		}
		n, err := d.Replay(t.Context(), deadletter.Filter{}, deadletter.ReplayOptions{})
		require.Zero(t, n)
		require.ErrorContains(t, err, "too large to be kept")
	})
}
