//go:build unix

package embedded

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// windowSize is how many batches of a producer a broker knows again.
const windowSize = 5

// producer is an idempotent producer that says which batch it sends.
type producer struct {
	pid   int64
	epoch int16
}

func newProducer(t *testing.T, addr string) producer {
	t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	res, err := req.RequestWith(t.Context(), client(t, addr))
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(res.ErrorCode))
	return producer{res.ProducerID, res.ProducerEpoch}
}

// batch is n records from a sequence number on; its value is the number of the record.
func (p producer) batch(sequence, n int32) []byte {
	var records []byte
	for i := range n {
		r := kmsg.Record{
			OffsetDelta: i, Key: fmt.Append(nil, "k", i%3), Value: fmt.Append(nil, sequence+i),
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		Magic: 2, PartitionLeaderEpoch: -1, LastOffsetDelta: n - 1, FirstTimestamp: now,
		MaxTimestamp: now, ProducerID: p.pid, ProducerEpoch: p.epoch, FirstSequence: sequence,
		NumRecords: n, Records: records,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(
		raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)),
	)
	return raw
}

// send writes a batch and returns its first offset.
func (p producer) send(t *testing.T, addr, topic string, sequence, n int32) int64 {
	t.Helper()
	got := produceRaw(t, addr, map[string][]byte{topic: p.batch(sequence, n)})[topic]
	require.NoError(t, kerr.ErrorForCode(got.ErrorCode), "sequence %d", sequence)
	return got.BaseOffset
}

// A producer goes on over clean stops and kills in any order. What it repeats, since the answer was
// lost in a kill, is known again.
func TestProducersGoOnAfterAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir, "")
	createTopic(t, client(t, c.addr), "events", 1, nil)
	first, second := newProducer(t, c.addr), newProducer(t, c.addr)
	var next int32
	for _, end := range []syscall.Signal{
		syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGTERM,
		syscall.SIGKILL,
	} {
		var offsets []int64
		for range 7 {
			offsets = append(offsets, first.send(t, c.addr, "events", next, 2))
			next += 2
		}
		second.send(t, c.addr, "events", 0, 1)
		c.stop(t, end)
		c = startChild(t, dir, "")
		for i, offset := range offsets[len(offsets)-windowSize:] {
			repeated := next - int32(2*(windowSize-i))
			require.Equal(t, offset, first.send(t, c.addr, "events", repeated, 2), "repeated")
		}
		second = newProducer(t, c.addr)
	}
	first.send(t, c.addr, "events", next, 2)
	got := produceRaw(t, c.addr, map[string][]byte{"events": first.batch(next+4, 1)})["events"]
	assert.Equal(t, kerr.OutOfOrderSequenceNumber.Code, got.ErrorCode, "a gap is still refused")
	assert.Len(t, read(t, c.addr, "events"), int(next)+2+6)
}
