//go:build unix

package embedded

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker's clock is what records get, also where it goes back.
func TestClock(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(2_000_000_000_000)
	cfg := testConfig(t.TempDir())
	cfg.Clock = func() time.Time { return at }
	b := start(t, cfg)
	appendTimeTopic(t, b.Addr(), "events", nil)
	want := []time.Time{at, at.Add(time.Hour), at.Add(time.Hour - 10*time.Second)}
	for _, at = range want {
		produceAt(t, b.Addr(), "events", kgo.GzipCompression(), "a", "b")
	}
	for i, r := range read(t, b.Addr(), "events") {
		assert.True(t, r.Timestamp.Equal(want[i/2]), "record %d: %s", i, r.Timestamp)
	}
}

// One batch of a request asks for what a producer must not ask for. The other is not written, and
// its producer knows that it may repeat it.
func TestRefusedBatchBesideAnother(t *testing.T) {
	t.Parallel()
	b := start(t, testConfig(t.TempDir()))
	appendTimeTopic(t, b.Addr(), "good", nil)
	appendTimeTopic(t, b.Addr(), "bad", nil)
	for range 2 { // the guard stays
		got := produceRaw(t, b.Addr(), map[string][]byte{
			"good": rawBatch(0), "bad": rawBatch(attrAppended),
		})
		assert.Equal(t, kerr.InvalidTimestamp.Code, got["bad"].ErrorCode)
		assert.True(t, kerr.IsRetriable(kerr.ErrorForCode(got["good"].ErrorCode)))
	}
	assert.Empty(t, read(t, b.Addr(), "good"))
	got := produceRaw(t, b.Addr(), map[string][]byte{"good": rawBatch(0)})
	assert.Zero(t, got["good"].ErrorCode)
}

// A mark of our own that a producer sends means nothing.
func TestForeignMarkMeansNothing(t *testing.T) {
	t.Parallel()
	b := start(t, testConfig(t.TempDir()))
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	produceRaw(t, b.Addr(), map[string][]byte{"events": rawBatch(attrMarked)})
	for _, r := range read(t, b.Addr(), "events") {
		assert.EqualValues(t, 0, r.Attrs.TimestampType())
	}
}

// What cannot be inflated, or would get too large, has the broker's time all the same, and so has
// what says nearly one time.
func TestBatchThatKeepsItsRecords(t *testing.T) {
	t.Parallel()
	blanks := func(size int) []byte {
		var packed bytes.Buffer
		w := compress.Gzip.Codec().NewWriter(&packed)
		_, err := w.Write(bytes.Repeat([]byte(" "), size))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return packed.Bytes()
	}
	for _, tc := range []struct {
		name  string
		attrs uint16
		body  []byte
		limit int
	}{
		{"codec that it is not", 3, rawBatch(0)[batchHeader:], messageBytes},
		{"unknown codec", 7, rawBatch(0)[batchHeader:], messageBytes},
		{"not records", 1, blanks(100), messageBytes},
		{"a bomb", 1, blanks(maxInflated + 1), messageBytes},
		{"cut", 0, rawBatch(0)[batchHeader : len(rawBatch(0))-1], messageBytes},
		{"more than its records", 0, append(rawBatch(0)[batchHeader:], 0), messageBytes},
		{"too large", 0, rawBatch(0)[batchHeader:], batchHeader},
		{"times that are near", 0, rawBatchOver(0, near)[batchHeader:], messageBytes},
		{"earlier ones", 0, rawBatchOver(0, -near)[batchHeader:], messageBytes},
	} {
		raw := append(rawBatch(0)[:batchHeader], tc.body...)
		binary.BigEndian.PutUint16(raw[batchAttrsAt:], tc.attrs)
		stored := appendedBatch(raw, 1234, tc.limit)
		assert.True(t, intact(stored), tc.name)
		assert.Equal(t, tc.body, stored[batchHeader:], tc.name)
		unmark(stored)
		assert.True(t, intact(stored), tc.name)
		var b kmsg.RecordBatch
		require.NoError(t, b.ReadFrom(stored), tc.name)
		assert.EqualValues(t, tc.attrs|attrAppended, b.Attributes, tc.name)
		assert.EqualValues(t, 1234, b.MaxTimestamp, tc.name)
	}
}

// Of records whose times are far apart kfake would keep some longer than others.
func TestBatchThatLosesItsTimes(t *testing.T) {
	t.Parallel()
	for _, apart := range []int64{near + 1, -near - 1} {
		stored := appendedBatch(rawBatchOver(0, apart), 1234, messageBytes)
		assert.True(t, intact(stored))
		assert.Equal(t, rawBatchOver(0, 0)[batchHeader:], stored[batchHeader:])
	}
}

// Requests are followed whatever pieces they come in.
func TestRequestsAreFollowed(t *testing.T) {
	t.Parallel()
	frame := func(key int16, correlation int32, body int) []byte {
		f := binary.BigEndian.AppendUint32(nil, uint32(8+body))
		f = binary.BigEndian.AppendUint16(f, uint16(key))
		f = binary.BigEndian.AppendUint16(f, 9)
		return append(binary.BigEndian.AppendUint32(f, uint32(correlation)), make([]byte, body)...)
	}
	all := append(append(frame(0, 7, 0), frame(1, 8, 100)...), frame(18, 9, 3)...)
	for size := 1; size <= len(all); size++ {
		c := answering{Conn: nil}
		for rest := all; len(rest) > 0; {
			n := min(size, len(rest))
			c.follow(rest[:n])
			rest = rest[n:]
		}
		for i, key := range []int16{0, 1, 18} {
			r, ok := c.asked(int32(7 + i))
			require.True(t, ok, "pieces of %d bytes", size)
			require.Equal(t, request{key, 9, int32(7 + i)}, r)
		}
		_, ok := c.asked(10)
		require.False(t, ok)
	}
}

// An answer that is not understood is passed on as it is.
func TestStrangeAnswersPass(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &answering{Conn: here, appends: &appendTimes{}}
	for _, r := range []request{
		{int16(kmsg.Produce), 9, 1}, {int16(kmsg.Fetch), 13, 2}, {int16(kmsg.ShareFetch), 1, 3},
	} {
		c.recent[0], c.next = r, 1
		frame := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 12}, uint32(r.correlation))
		for n := range 12 {
			out := append(frame, bytes.Repeat([]byte{0xff}, n)...)
			assert.Equal(t, out, c.answer(out))
			assert.Equal(t, out[:min(n, len(frame))], c.answer(out[:min(n, len(frame))]))
		}
	}
}

// Answers of every version, to every request that is answered with batches or with times.
func TestAnswersOfEveryVersion(t *testing.T) {
	t.Parallel()
	marked := appendedBatch(rawBatch(0), 1234, messageBytes)
	plain := rawBatch(0)
	want := bytes.Clone(marked)
	unmark(want)
	require.NotEqual(t, want, marked)
	appends := &appendTimes{}
	appends.note(appendedTo{partition: 2}, 7, 1234)
	both := append(bytes.Clone(marked), plain...)
	try := func(key kmsg.Key, from int16, sent kmsg.Response, check func(got kmsg.Response)) {
		for v := from; v <= sent.MaxVersion(); v++ {
			sent.SetVersion(v)
			frame := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0}, 5)
			if sent.IsFlexible() {
				frame = append(frame, 0)
			}
			head := len(frame)
			frame = sent.AppendTo(frame)
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			before := bytes.Clone(frame)
			c := &answering{appends: appends, next: 1}
			c.recent[0] = request{int16(key), v, 5}
			out := c.answer(frame)
			require.Equal(t, before, frame, "the caller's bytes are its own")
			require.EqualValues(t, len(out)-4, binary.BigEndian.Uint32(out))
			got := kmsg.ResponseForKey(int16(key))
			got.SetVersion(v)
			require.NoError(t, got.ReadFrom(out[head:]), "version %d", v)
			check(got)
		}
	}
	served := append(bytes.Clone(want), plain...)

	fp := kmsg.NewFetchResponseTopicPartition()
	fp.RecordBatches = both
	ft := kmsg.NewFetchResponseTopic()
	ft.Partitions = append(ft.Partitions, fp)
	fetch := kmsg.NewPtrFetchResponse()
	fetch.Topics = append(fetch.Topics, ft)
	try(kmsg.Fetch, 4, fetch, func(got kmsg.Response) {
		require.Equal(t, served, got.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches)
	})

	sp := kmsg.NewShareFetchResponseTopicPartition()
	sp.Records = both
	st := kmsg.NewShareFetchResponseTopic()
	st.Partitions = append(st.Partitions, sp)
	share := kmsg.NewPtrShareFetchResponse()
	share.Topics = append(share.Topics, st)
	try(kmsg.ShareFetch, 1, share, func(got kmsg.Response) {
		require.Equal(t, served, got.(*kmsg.ShareFetchResponse).Topics[0].Partitions[0].Records)
	})

	pp := kmsg.NewProduceResponseTopicPartition()
	pp.Partition, pp.BaseOffset = 2, 7
	pt := kmsg.NewProduceResponseTopic()
	pt.Partitions = append(pt.Partitions, pp)
	produce := kmsg.NewPtrProduceResponse()
	produce.Topics = append(produce.Topics, pt)
	try(kmsg.Produce, 3, produce, func(got kmsg.Response) {
		p := got.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		require.EqualValues(t, 1234, p.LogAppendTime)
	})
}
