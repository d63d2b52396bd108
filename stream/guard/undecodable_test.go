package guard

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// bomb is a batch of so many records with more blanks than a reader takes, in some kilobytes.
func bomb(t *testing.T, records int) []byte {
	t.Helper()
	in := make([]*record.Record, records)
	for i := range in {
		in[i] = &record.Record{Value: bytes.Repeat([]byte{' '}, 5<<20/records)}
	}
	b, err := wire.AppendBatch(nil, in, &compress.GzipCodec, time.Now())
	require.NoError(t, err)
	return b
}

// misnamed is a batch whose codec is not the one that it names.
func misnamed(t *testing.T) []byte {
	t.Helper()
	const attributes, from = 21, 21
	b := bomb(t, 2)
	binary.BigEndian.PutUint16(b[attributes:], uint16(compress.Lz4))
	sum := crc32.Checksum(b[from:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[17:], sum)
	return b
}

// watchedEmitter calls before with every dead letter.
type watchedEmitter struct {
	Emitter
	before func(ctx context.Context, r *record.Record) error
}

func (e watchedEmitter) Emit(ctx context.Context, records []record.Record) error {
	for i := range records {
		if err := e.before(ctx, &records[i]); err != nil {
			return err
		}
	}
	return e.Emitter.Emit(ctx, records)
}

// TestBatchesThatCannotBeReadBecomeDeadLetters: one for each. What stands around them is handled,
// and the intent covers their offsets before the dead letter is written.
func TestBatchesThatCannotBeReadBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg, p := e.Topic(t, 1), e.Group(t), e.Publisher(t)
		cfg.Intents = true
		e.groupTopics(t, cfg.Group)
		tp := record.TopicPartition{Topic: topic}
		streamtest.Emit(t, p, topic, 0, 0, 3)
		large := bomb(t, 4)
		e.ProduceRaw(t, topic, 0, large) // offsets 3 to 6
		streamtest.Emit(t, p, topic, 0, 3, 2)
		if e.Fake != nil { // Kafka refuses to take such a one
			e.ProduceRaw(t, topic, 0, misnamed(t)) // offsets 9 and 10
		}
		streamtest.Emit(t, p, topic, 0, 5, 1)
		want := []string{"0", "1", "2", "3", "4", "5"}

		var mu sync.Mutex
		var intents, got []string
		blocked, done := make(chan struct{}), make(chan struct{})
		member := func(emit func(ctx context.Context, r *record.Record) error) (stop func()) {
			return e.runRouter(t, Options{
				Name: "work", Group: cfg.Group, Topics: []string{topic},
				Subscriber: e.newSubscriber(t, cfg), Emitter: watchedEmitter{p, emit},
				Handler: func(_ context.Context, b *record.Batch) error {
					mu.Lock()
					defer mu.Unlock()
					for i := range b.Records {
						got = append(got, string(b.Records[i].Value))
					}
					if len(got) == len(want) {
						close(done)
					}
					return nil
				},
			})
		}
		// The first member ends before the dead letter is written.
		stop := member(func(ctx context.Context, _ *record.Record) error {
			close(blocked)
			<-ctx.Done()
			return ctx.Err()
		})
		reached(t, blocked)
		offset, metadata := e.Committed(t, cfg.Group, topic, 0)
		require.EqualValues(t, 3, offset)
		require.Equal(t, "3-6", boundsOf(t, metadata))
		stop()
		member(func(_ context.Context, _ *record.Record) error {
			_, metadata := e.Committed(t, cfg.Group, topic, 0)
			mu.Lock()
			defer mu.Unlock()
			intents = append(intents, boundsOf(t, metadata))
			return nil
		})
		reached(t, done)
		bounds, err := e.Conn.Offsets(t.Context(), topic)
		require.NoError(t, err)
		streamtest.Eventually(t, "the group is at the end", func() bool {
			offset, metadata := e.Committed(t, cfg.Group, topic, 0)
			return offset == bounds[tp].End && metadata == ""
		})
		mu.Lock()
		require.Equal(t, want, got)
		covered := []string{"3-6"}
		if e.Fake != nil {
			covered = append(covered, "9-10")
		}
		require.Equal(t, covered, intents)
		mu.Unlock()

		store := deadletter.New(e.Conn, p, e.Conn.Names(), []string{cfg.Group}, nil)
		letters, err := store.List(t.Context(), deadletter.Filter{})
		require.NoError(t, err)
		require.Len(t, letters, len(covered))
		slices.SortFunc(letters, func(a, b deadletter.Letter) int {
			return int(a.Origin.Offset - b.Origin.Offset)
		})
		l := letters[0]
		require.Equal(t, record.Position{TopicPartition: tp, Offset: 3}, l.Origin)
		require.True(t, l.Undecodable)
		require.EqualValues(t, 6, l.LastOffset)
		require.Equal(t, fault.Permanent, l.Class)
		require.Contains(t, l.Reason, "larger than a reader takes")
		require.Equal(t, large[wire.BatchHeader:], l.Value[wire.BatchHeader:])
		n, err := store.Replay(t.Context(), deadletter.Filter{IDs: []string{l.ID}}, replayAll)
		require.Zero(t, n)
		require.ErrorContains(t, err, "cannot be replayed")

		// Readers without a group skip them, and tell.
		require.Equal(t, want, valuesOf(e.readAll(t, topic)))
		var followed []string
		f := stream.NewFollower(e.Conn, topic, streamtest.Logger(t), func(r *record.Record) error {
			followed = append(followed, string(r.Value))
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		require.NoError(t, f.WaitCaughtUp(t.Context()))
		cancel()
		require.NoError(t, <-ended)
		require.Equal(t, want, followed)
	})
}

// reached waits until the channel is closed.
func reached(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("the partition has stopped")
	}
}

var replayAll = deadletter.ReplayOptions{Reason: "a test"}

func valuesOf(records []record.Record) []string {
	out := make([]string, len(records))
	for i := range records {
		out[i] = string(records[i].Value)
	}
	return out
}

// TestABatchTooLargeForADeadLetterLeavesItsBytesBehind: the dead letter says where they are.
func TestABatchTooLargeForADeadLetterLeavesItsBytesBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(context.Context, *record.Batch) error {
		t.Error("there is nothing to handle")
		return nil
	}, nil)
	b.out.fail = func(records []record.Record) error {
		if len(records[0].Value) > 0 {
			return fault.Permanentf("too large")
		}
		return nil
	}
	tp := record.TopicPartition{Topic: "in", Partition: 3}
	batch := &record.Batch{
		Group: "g", Lease: b.lease, Range: record.Range{
			Topic: tp.Topic, Partition: tp.Partition, First: 10, Last: 19,
		},
		Undecodable: []record.Undecodable{{
			TopicPartition: tp, First: 10, Last: 19, Raw: make([]byte, 5000),
			Reason: strings.Repeat("no codec ", 100),
		}},
	}
	require.True(t, b.run(t.Context(), batch))
	require.Len(t, b.out.records, 1)
	l, ok := deadletter.Parse(&b.out.records[0], record.Names{})
	require.True(t, ok)
	require.True(t, l.Undecodable)
	require.EqualValues(t, 19, l.LastOffset)
	require.Equal(t, 5000, l.OmittedBytes)
	require.Len(t, b.told, 1)
	require.True(t, b.told[0].DeadLetter)
	require.Equal(t, OutcomeMoved, b.done[0].Outcome)
}

// boundsOf returns the bounds of the intent in a commit's metadata, without its time.
func boundsOf(t *testing.T, metadata string) string {
	t.Helper()
	in, err := record.ParseIntent(metadata)
	if err != nil || in == nil { // called from a handler too, where the test must not end
		t.Errorf("no batch intent: %q, %v", metadata, err)
		return metadata
	}
	return fmt.Sprintf("%d-%d", in.First, in.Last)
}
