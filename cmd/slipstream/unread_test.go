package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
)

// unreadable is a batch of two records that says it is compressed with lz4, which it is not.
func unreadable() []byte {
	at := time.Now().UnixMilli()
	const lz4 = 3
	b := kmsg.RecordBatch{
		Magic: 2, PartitionLeaderEpoch: -1, Attributes: lz4, LastOffsetDelta: 1,
		FirstTimestamp: at, MaxTimestamp: at, ProducerID: -1, ProducerEpoch: -1,
		FirstSequence: -1, NumRecords: 2, Records: []byte("this is no lz4"),
	}
	raw := b.AppendTo(nil)
	be := binary.BigEndian
	be.PutUint32(raw[8:], uint32(len(raw)-12))
	be.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// produceUnreadable writes such a batch to every partition of a topic.
func produceUnreadable(t *testing.T, in *apptest.Installation, topic string, partitions int) {
	t.Helper()
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(in.Config().Kafka.Brokers...), kgo.MaxVersions(kversion.V3_0_0()),
	)
	require.NoError(t, err)
	defer cl.Close()
	to := kmsg.NewProduceRequestTopic()
	to.Topic = topic
	for p := range partitions {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = int32(p), unreadable()
		to.Partitions = append(to.Partitions, part)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = append(req.Topics, to)
	res, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	for _, part := range res.Topics[0].Partitions {
		require.Zero(t, part.ErrorCode)
	}
}

// TestTraceAndRebuildSkipBatchesThatCannotBeRead: they count them, and find what stands behind.
func TestTraceAndRebuildSkipBatchesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	likeDev := func(c *config.Config) { c.Topics.Partitions = 4 }
	in, stop := apptest.StartEmbedded(t, dir, likeDev)
	const users = 8
	like := func(film string) {
		t.Helper()
		for n := range users {
			code, body := in.Call(t, http.MethodPost, "/v1/events", schemas.Interaction{
				EventID: fmt.Sprint(film, "-", n), UserID: fmt.Sprint("user-", n), ItemID: film,
				Action: schemas.Like,
			})
			require.Equal(t, http.StatusAccepted, code, string(body))
		}
	}
	like("before")
	partitions := in.Config().Topics.Partitions
	produceUnreadable(t, in, schemas.TopicInteractions, partitions)
	like("behind")
	in.AwaitIdle(t, time.Minute)
	rows := func() (n int) {
		for u := range users {
			n += in.RowsOf(t, fmt.Sprint("user-", u))["interactions"]
		}
		return n
	}
	require.Equal(t, 2*users, rows())

	out, said, err := runLine(
		t, "trace", "behind-0", "--brokers", in.Config().Kafka.Brokers[0], "--since", "1h",
	)
	require.NoError(t, err)
	require.Contains(t, out, "key user-0")
	require.Contains(t, said, fmt.Sprint(partitions, " batches of the log cannot be read"))
	stop()

	out, _, err = runLine(t, "rebuild", "--store", "embedded", "--data", dir)
	require.NoError(t, err)
	require.Contains(t, out, fmt.Sprint(partitions, " batches of the log cannot be read"))
	in, stop = apptest.StartEmbedded(t, dir, likeDev)
	require.Equal(t, 2*users, rows())
	like("later")
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, 3*users, rows())
	stop()
}
