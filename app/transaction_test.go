package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestEventsOfTransactions: one of them is open for a minute.
func TestEventsOfTransactions(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
		eventsOfTransactions(t, in, time.Minute)
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		eventsOfTransactions(t, apptest.StartReal(t, nil), time.Minute)
	})
}

// TestLongOpenTransaction: a transaction is open for ten minutes. Nothing behind it is skipped, and
// the status says all the time that it is waited for.
func TestLongOpenTransaction(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
		eventsOfTransactions(t, in, 10*time.Minute)
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		eventsOfTransactions(t, apptest.StartReal(t, nil), 10*time.Minute)
	})
}

// eventsOfTransactions writes events in transactions, one of which is open for so long and commits,
// and one that is aborted.
func eventsOfTransactions(t *testing.T, in *apptest.Installation, open time.Duration) {
	t.Helper()
	const ann = "ann"
	conn := in.Kafka().Conn()
	topic := schemas.TopicInteractions
	partition := record.PartitionOf([]byte(ann), in.Config().Topics.Partitions)
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(in.Config().Kafka.Brokers...), kgo.TransactionalID(uuid.NewString()),
		kgo.TransactionTimeout(14*time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	require.NoError(t, err)
	defer producer.Close()
	transaction := func(id, item string) {
		t.Helper()
		require.NoError(t, producer.BeginTransaction())
		value := fmt.Sprintf(
			`{"event_id":%q,"user_id":"ann","item_id":%q,"action":"like"}`, id, item,
		)
		require.NoError(t, producer.ProduceSync(t.Context(), &kgo.Record{
			Topic: conn.Full(topic), Partition: int32(partition),
			Key: []byte(ann), Value: []byte(value),
		}).FirstErr())
	}
	sent := 0
	like := func(user string) {
		t.Helper()
		event := schemas.Interaction{
			UserID: user, ItemID: fmt.Sprint("film-", sent), Action: schemas.Like,
		}
		code, body := in.Call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
		sent++
	}
	traced := func(id string) int {
		t.Helper()
		found, err := in.Kafka().Trace(t.Context(), id, time.Time{})
		require.NoError(t, err)
		return len(found)
	}
	// undecided returns how many offsets wait, as the API and the command say.
	undecided := func() int64 {
		t.Helper()
		code, body := in.Call(t, http.MethodGet, "/v1/status", nil)
		require.Equal(t, http.StatusOK, code)
		var st api.Status
		require.NoError(t, json.Unmarshal(body, &st))
		var n int64
		for _, g := range st.Groups {
			for _, p := range g.Partitions {
				if g.Group == schemas.GroupEmbed && p.Topic == topic {
					n += p.Undecided
				}
			}
		}
		look, err := in.Kafka().Look(t.Context(), time.Millisecond)
		require.NoError(t, err)
		for _, g := range look.Groups {
			if g.Group == schemas.GroupEmbed {
				require.Equal(t, n, g.Undecided)
				require.Equal(t, n > 0, len(g.UndecidedIn) == 1)
			}
		}
		return n
	}

	like(ann)
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, 1, in.RowsOf(t, ann)["interactions"])
	require.Zero(t, undecided())

	transaction("e-open", "film-open")
	for end := time.Now().Add(open); ; {
		like(ann) // stands behind the transaction
		in.AwaitIdle(t, time.Minute)
		require.EqualValues(t, sent, undecided(), "one of the transaction, and all but the first")
		require.Equal(t, 1, in.RowsOf(t, ann)["interactions"])
		require.Zero(t, traced("e-open"))
		if time.Now().After(end) {
			break
		}
	}
	require.NoError(t, producer.EndTransaction(t.Context(), kgo.TryCommit))
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, sent+1, in.RowsOf(t, ann)["interactions"])
	require.Equal(t, 1, traced("e-open"))
	require.Zero(t, undecided())

	transaction("e-aborted", "film-aborted")
	like(ann)
	require.NoError(t, producer.EndTransaction(t.Context(), kgo.TryAbort))
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, sent+1, in.RowsOf(t, ann)["interactions"])
	require.Zero(t, traced("e-aborted"))

	// The newest event has been learned, and with it all before.
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{ann})
	require.NoError(t, err)
	require.Len(t, points, 1)
	b, err := conn.Offsets(t.Context(), topic)
	require.NoError(t, err)
	end := b[record.TopicPartition{Topic: topic, Partition: partition}]
	require.Equal(t, end.HighWatermark, end.End)
	newest := sinks.PositionOf(sinks.FirstEpoch, end.End-2) // behind it stands the marker
	require.Equal(t, newest, points[0].Positions[topic])
}
