package stream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// all reads a whole topic, by partition.
func (e *engine) allRecords(t testing.TB, topic string) map[int][]record.Record {
	t.Helper()
	bounds, err := e.conn.Offsets(t.Context(), topic)
	require.NoError(t, err)
	out := map[int][]record.Record{}
	for tp := range bounds {
		require.NoError(t, e.conn.Read(t.Context(), tp, 0, -1, func(r *record.Record) error {
			out[tp.Partition] = append(out[tp.Partition], *r)
			return nil
		}))
	}
	return out
}

func TestEmitKeepsRecordsAsTheyAre(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			topic := e.topic(t, 2)
			cfg := DefaultPublisherConfig()
			cfg.Compression = compression
			p, err := NewPublisher(e.conn, cfg)
			require.NoError(t, err)
			at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
			in := []record.Record{
				{
					Topic:     topic,
					Partition: 1,
					Key:       []byte("k"),
					Value:     []byte(strings.Repeat("compressible ", 100)),
					Time:      at,
					Headers: []record.Header{
						{Key: "a", Value: []byte("1")},
						{Key: "a", Value: []byte("2")},
						{Key: "nil", Value: nil},
					},
				},
				{Topic: topic, Partition: 1, Key: []byte("k"), Value: nil},
				{Topic: topic, Partition: 1, Key: nil, Value: []byte{}},
			}
			before := time.Now().Truncate(time.Millisecond)
			require.NoError(t, p.Emit(t.Context(), in))
			got := e.allRecords(t, topic)
			require.Empty(t, got[0])
			require.Len(t, got[1], 3, compression)
			require.Equal(t, in[0].Value, got[1][0].Value)
			require.Equal(t, in[0].Headers, got[1][0].Headers)
			require.True(t, at.Equal(got[1][0].Time))
			require.Nil(t, got[1][1].Value, "a tombstone stays one")
			require.NotNil(t, got[1][2].Value, "empty is not a tombstone")
			require.Nil(t, got[1][2].Key)
			require.False(t, got[1][1].Time.Before(before), "no time means now")
			require.NoError(t, p.Close())
		}
	})
}

func TestEmitSpreadsByKeyAsTheJavaClientDoes(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 12), e.publisher(t)
	var in []record.Record
	for i := range 500 {
		in = append(
			in,
			record.Record{
				Topic: topic, Partition: record.AnyPartition, Key: fmt.Appendf(nil, "user-%d", i),
			},
		)
	}
	require.NoError(t, p.Emit(t.Context(), in))
	total := 0
	for partition, records := range e.allRecords(t, topic) {
		for _, r := range records {
			total++
			require.Equal(t, record.PartitionOf(r.Key, 12), partition)
		}
	}
	require.Equal(t, 500, total)
}

// TestPartitionersOfOtherClients: the clients that the developers' guide names choose partitions as
// we do. librdkafka is in test/torture.
func TestPartitionersOfOtherClients(t *testing.T) {
	t.Parallel()
	keys := []string{"u42", "Zoë", "用户", "ann|bob", "a b", "\x00", strings.Repeat("x", 256)}
	for i := range 200 {
		keys = append(keys, strings.Repeat(fmt.Sprint(i), 1+i%7))
	}
	for n := 1; n < 40; n += 3 {
		ids := make([]int, n)
		for i := range ids {
			ids[i] = i
		}
		franz := kgo.StickyKeyPartitioner(nil).ForTopic("interactions")
		for _, key := range keys {
			want := record.PartitionOf([]byte(key), n)
			for _, b := range []kafka.Murmur2Balancer{{}, {Consistent: true}} {
				got := b.Balance(kafka.Message{Key: []byte(key)}, ids...)
				require.Equal(t, want, got, "kafka-go: %q of %d", key, n)
			}
			got := franz.Partition(&kgo.Record{Key: []byte(key)}, n)
			require.Equal(t, want, got, "franz-go: %q of %d", key, n)
		}
	}
}

func TestEmitNamesTheRecordsThatFailed(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.topic(
			t, 1, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "20000"},
		)
		cfg := DefaultPublisherConfig()
		cfg.Compression = "none"
		p, err := NewPublisher(e.conn, cfg)
		require.NoError(t, err)
		t.Cleanup(func() { p.Close() })
		in := make([]record.Record, 50)
		for i := range in {
			in[i] = record.Record{
				Topic: topic, Partition: record.AnyPartition, Value: make([]byte, 1000),
			}
		}
		in[7].Value = make([]byte, 30000)
		in[20].Partition = 3
		err = p.Emit(t.Context(), in)
		var failed *EmitError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 50, failed.Total)
		require.Len(t, failed.Failed, 2)
		require.Equal(t, []int{7, 20}, []int{failed.Failed[0].Index, failed.Failed[1].Index})
		require.Equal(t, fault.Permanent, fault.ClassOf(failed.Failed[0].Err))
		require.Equal(t, fault.Permanent, fault.ClassOf(err))
		require.ErrorContains(t, failed.Failed[1].Err, "there is no partition 3")
		require.Len(t, e.allRecords(t, topic)[0], 48, "the others are there, once")
	})
}

func TestEmitTriesTransientErrorsAgain(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 3), e.publisher(t)
	h := e.fake.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1},
			Err: kerr.NotLeaderForPartition, Count: 2,
		},
	)
	in := make([]record.Record, 300)
	for i := range in {
		in[i] = record.Record{Topic: topic, Partition: i % 3, Value: fmt.Appendf(nil, "%03d", i)}
	}
	require.NoError(t, p.Emit(t.Context(), in))
	require.Equal(t, 2, h.Hits())
	for partition, records := range e.allRecords(t, topic) {
		require.Len(t, records, 100)
		for i, r := range records {
			require.Equal(
				t, fmt.Sprintf("%03d", 3*i+partition), string(r.Value), "in the order of the call",
			)
		}
	}
}

func TestEmitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 1), e.publisher(t)
	h := e.fake.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1,
		},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := p.Emit(ctx, []record.Record{{Topic: topic, Value: []byte("x")}})
	require.Equal(t, fault.Transient, fault.ClassOf(err), err)
	var partial *EmitError
	require.ErrorAs(t, err, &partial)
	require.ErrorIs(t, partial.Failed[0].Err, kafka.NotEnoughReplicas, "the last answer is told")
	canceled, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	require.Equal(
		t, fault.Canceled,
		fault.ClassOf(p.Emit(canceled, []record.Record{{Topic: topic, Value: []byte("y")}})),
	)
	eventually(t, "the request under way is over: that one may still land", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.queues[record.TopicPartition{Topic: topic, Partition: 0}].busy
	})
	h.Remove()
	emit(t, p, topic, 0, 0, 1)
	require.Equal(
		t, "0", string(e.allRecords(t, topic)[0][0].Value), "what was given up is not sent later",
	)
}

func TestEmitToAMissingTopicIsNobodysFault(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	p := e.publisher(t)
	err := p.Emit(t.Context(), []record.Record{{Topic: "nowhere", Value: []byte("x")}})
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.ErrorContains(t, err, "slipstream migrate")
}

func TestEmitSharesRequestsAndKeepsOrder(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 4), e.publisher(t)
		var callers sync.WaitGroup
		for c := range 16 {
			callers.Go(func() {
				for i := range 50 {
					r := record.Record{
						Topic: topic, Partition: record.AnyPartition,
						Key: fmt.Appendf(nil, "%d", c), Value: fmt.Appendf(nil, "%d", i),
					}
					if err := p.Emit(t.Context(), []record.Record{r}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		callers.Wait()
		next := map[string]int{}
		for _, records := range e.allRecords(t, topic) {
			for _, r := range records {
				require.Equal(t, fmt.Sprint(next[string(r.Key)]), string(r.Value))
				next[string(r.Key)]++
			}
		}
		require.Len(t, next, 16)
		for _, n := range next {
			require.Equal(t, 50, n)
		}
	})
}

func TestEmitSurvivesALeaderThatMoves(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t, kfake.NumBrokers(3))
	topic, p := e.topic(t, 6), e.publisher(t)
	for round := range 5 {
		for partition := range int32(6) {
			require.NoError(
				t,
				e.fake.MoveTopicPartition(
					topic, partition, (e.fake.LeaderFor(topic, partition)+1)%3,
				),
			)
		}
		for partition := range 6 {
			emit(t, p, topic, partition, round*10, 10)
		}
	}
	for _, records := range e.allRecords(t, topic) {
		require.Len(t, records, 50)
	}
}

func TestPublishCarriesMetadata(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 1), e.publisher(t)
	m := message.NewMessage("id-1", []byte("payload"))
	m.Metadata.Set(MetadataKey, "the-key")
	m.Metadata.Set("ce_type", "x")
	m.Metadata.Set("kafka_other", "kept")
	require.NoError(t, p.Publish(topic, m))
	r := e.allRecords(t, topic)[0][0]
	require.Equal(t, "the-key", string(r.Key))
	require.Equal(t, "x", r.Header("ce_type"))
	require.Equal(t, "kept", r.Header("kafka_other"))
	require.Equal(t, "id-1", r.Header(HeaderUUID))
	require.Empty(t, r.Header(MetadataKey))

	cfg := e.group(t)
	cfg.MaxRecords = 1
	out, stop := e.subscribe(t, cfg, topic)
	got := receive(t, out)
	require.Equal(t, "id-1", got.UUID)
	require.Equal(t, "payload", string(got.Payload))
	require.Equal(t, "the-key", got.Metadata.Get(MetadataKey))
	require.Equal(t, "0", got.Metadata.Get(MetadataFirst))
	require.Equal(t, topic, got.Metadata.Get(MetadataTopic))
	got.Ack()
	stop()
}

func TestPublisherClose(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 1)
	p, err := NewPublisher(e.conn, DefaultPublisherConfig())
	require.NoError(t, err)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			err := p.Emit(t.Context(), []record.Record{{Topic: topic, Value: []byte("x")}})
			if err != nil && fault.ClassOf(err) != fault.Canceled {
				t.Error(err)
			}
		})
	}
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	calls.Wait()
	require.Equal(
		t, fault.Canceled, fault.ClassOf(p.Emit(t.Context(), []record.Record{{Topic: topic}})),
	)
}

// A record that is refused does not make its neighbours' outage look permanent.
func TestTheClassOfAPartialFailure(t *testing.T) {
	t.Parallel()
	outage, refused := wire.Classify(kafka.NotLeaderForPartition), wire.Classify(
		kafka.MessageSizeTooLarge,
	)
	failed := []fault.Rejection{{Index: 1, Err: refused}, {Index: 3, Err: outage}}
	err := (&EmitError{Total: 4, Failed: failed}).orNil()
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	var partial *EmitError
	require.ErrorAs(t, err, &partial)
	require.Equal(t, 1, partial.Rejections()[0].Index)
	err = (&EmitError{Total: 4, Failed: []fault.Rejection{{Index: 1, Err: refused}}}).orNil()
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.NoError(t, (&EmitError{Total: 2}).orNil())
}
