//go:build linux

package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// foreign are the producers of other people: they choose partitions in their own way, write plain
// values, and have clocks that are wrong.
type foreign struct {
	brokers []string
	// prefix begins the names of topics on the broker.
	prefix     string
	partitions int
	client     *kgo.Client
}

func newForeign(brokers []string, prefix string, partitions int) (*foreign, error) {
	f := &foreign{brokers: brokers, prefix: prefix, partitions: partitions}
	var err error
	f.client, err = f.connect(kgo.DisableIdempotentWrite())
	return f, err
}

// connect returns a client that does not wait long for a broker that is away.
func (f *foreign) connect(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DialTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.ProduceRequestTimeout(5 * time.Second), kgo.RetryTimeout(15 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.ClientID("torture-foreign"),
	}, opts...)...)
}

// write returns when all in-sync replicas have the records, or with an error: then some may be
// there.
func (f *foreign) write(ctx context.Context, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return f.client.ProduceSync(ctx, copies(records)...).FirstErr()
}

// copies returns new records: the client writes into those that it is given.
func copies(records []*kgo.Record) []*kgo.Record {
	out := make([]*kgo.Record, len(records))
	for i, r := range records {
		out[i] = &kgo.Record{
			Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers,
			Timestamp: r.Timestamp,
		}
	}
	return out
}

// record returns an event as other people write it. One that strays goes to a partition that is not
// its own, mostly.
func (f *foreign) record(r *rand.Rand, x schemas.Event, strays bool) (*kgo.Record, error) {
	m := x.Record()
	out := &kgo.Record{
		Topic: f.prefix + m.Topic, Key: m.Key, Value: m.Value,
		Partition: int32(record.PartitionOf(m.Key, f.partitions)),
	}
	if strays {
		f.stray(r, x, out)
	}
	if r.IntN(2) == 0 {
		plain, err := json.Marshal(x)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", x, err)
		}
		out.Value = plain // all that it says stands in the value
	} else {
		for _, h := range m.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
	}
	switch r.IntN(4) {
	case 0:
		out.Timestamp = time.Now().Add(day)
	case 1:
		out.Timestamp = time.Now().Add(-day)
	}
	return out, nil
}

// day is how wrong a clock is.
const day = 24 * time.Hour

// stray chooses key and partition as other producers do: by librdkafka's default, CRC-32 of the
// key; with the item's key; or with none. Records of compacted topics need a key.
func (f *foreign) stray(r *rand.Rand, x schemas.Event, out *kgo.Record) {
	way := r.IntN(3)
	if i, ok := x.(*schemas.Interaction); ok && way == 0 {
		out.Key = []byte(i.ItemID)
		out.Partition = int32(record.PartitionOf(out.Key, f.partitions))
		return
	}
	if way == 1 {
		out.Partition = int32(r.IntN(f.partitions))
		if topic := x.Record().Topic; topic != schemas.TopicItems && topic != schemas.TopicUsers {
			out.Key = nil
		}
		return
	}
	out.Partition = int32(crc32.ChecksumIEEE(out.Key) % uint32(f.partitions))
}

func (f *foreign) close() { f.client.Close() }
