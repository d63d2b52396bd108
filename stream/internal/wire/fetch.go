package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Kafka's Fetch in version 11 (brokers since 2.3), encoded here rather than by kafka-go: one
// exchange asks for many partitions, and records are slices of the response, at a third of the
// cost. It travels on kafka-go's Transport.
const (
	fetchVersion = 11
	// maxFetchResponse is beyond any sensible message.max.bytes: a broken length, not a response.
	maxFetchResponse = 1 << 29
)

// Ask is one partition in a fetch.
type Ask struct {
	TP     record.TopicPartition
	Offset int64
}

// Fetched is one partition's part of a response.
type Fetched struct {
	TP            record.TopicPartition
	Code          int16
	HighWatermark int64
	// LastStable is the offset before which every transaction has ended: a reader that reads
	// committed records only gets no further. It is HighWatermark while no transaction is open.
	LastStable int64
	LogStart   int64
	// Aborted are the aborted transactions with records in Batches.
	Aborted []Aborted
	Batches []byte
}

// Decode returns what stands at or after from, as far as the memory limit allows; see Decoder.
// What is damaged in one of the skipped ranges is undecodable.
func (f *Fetched) Decode(from int64, limit int, skip ...record.Range) (Decoded, error) {
	d := Decoder{TP: f.TP, From: from, Aborted: f.Aborted, Limit: limit, Skip: skip}
	return d.Decode(f.Batches)
}

// Fetch is a protocol.Message that performs the exchange itself.
type Fetch struct {
	Leader                                int32
	ClientID                              string
	Names                                 record.Names
	MaxWaitMillis, MaxBytes, PartitionMax int32
	MinBytes                              int32 // 0 is 1
	Asks                                  []Ask // those of one topic stand together
	offered                               int16 // the version that the broker offers

	Bytes   int
	Results []Fetched
	// empty is true when there was nothing to return for any partition, and the broker was not
	// holding back.
	Empty bool
}

var (
	_ protocol.BrokerMessage = (*Fetch)(nil)
	_ protocol.RawExchanger  = (*Fetch)(nil)
)

// ApiKey names the request's kind; see protocol.Message.
func (f *Fetch) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Broker routes the request to the leader; see protocol.BrokerMessage.
func (f *Fetch) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: f.Leader}, nil
}

// Required reports that the exchange is always done here; see protocol.RawExchanger.
func (f *Fetch) Required(versions map[protocol.ApiKey]int16) bool {
	f.offered = versions[protocol.Fetch]
	return true
}

// RawExchange writes the request and reads the response. The connection has a deadline.
func (f *Fetch) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if f.offered < fetchVersion {
		return nil, fmt.Errorf(
			"the broker speaks Fetch up to version %d, %d is needed: Kafka 2.3 or later", f.offered,
			fetchVersion,
		)
	}
	if _, err := rw.Write(f.encode()); err != nil {
		return nil, err
	}
	var prefix [4]byte
	if _, err := io.ReadFull(rw, prefix[:]); err != nil {
		return nil, unexpected(err)
	}
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	if size < 4 || size > maxFetchResponse {
		return nil, fmt.Errorf("fetch response of impossible length %d", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, unexpected(err)
	}
	f.Bytes = int(size)
	return f, f.decode(body)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readCommitted is the isolation level of every reader: records of transactions that were aborted,
// or have not ended, are not there.
const readCommitted = 1

// fetchCorrelation identifies the only request under way on its connection.
const fetchCorrelation = 0x51

func (f *Fetch) encode() []byte {
	be := binary.BigEndian
	b := make([]byte, 4, 128+64*len(f.Asks))
	b = be.AppendUint16(b, uint16(protocol.Fetch))
	b = be.AppendUint16(b, fetchVersion)
	b = be.AppendUint32(b, fetchCorrelation)
	b = appendString(b, f.ClientID)
	b = be.AppendUint32(b, ^uint32(0)) // replica id: a consumer
	b = be.AppendUint32(b, uint32(f.MaxWaitMillis))
	b = be.AppendUint32(b, uint32(max(f.MinBytes, 1)))
	b = be.AppendUint32(b, uint32(f.MaxBytes))
	b = append(b, readCommitted)
	b = be.AppendUint32(b, 0)          // session id: none
	b = be.AppendUint32(b, ^uint32(0)) // session epoch: none
	topicsAt, topics := len(b), 0
	b = be.AppendUint32(b, 0)
	for i := 0; i < len(f.Asks); topics++ {
		topic := f.Asks[i].TP.Topic
		b = appendString(b, f.Names.Topic(topic))
		countAt, count := len(b), 0
		b = be.AppendUint32(b, 0)
		for ; i < len(f.Asks) && f.Asks[i].TP.Topic == topic; i++ {
			b = be.AppendUint32(b, uint32(f.Asks[i].TP.Partition))
			b = be.AppendUint32(b, ^uint32(0)) // leader epoch: unknown
			b = be.AppendUint64(b, uint64(f.Asks[i].Offset))
			b = be.AppendUint64(b, ^uint64(0)) // log start offset: for replicas
			b = be.AppendUint32(b, uint32(f.PartitionMax))
			count++
		}
		be.PutUint32(b[countAt:], uint32(count))
	}
	be.PutUint32(b[topicsAt:], uint32(topics))
	b = be.AppendUint32(b, 0) // forgotten topics
	b = appendString(b, "")   // rack
	be.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func (f *Fetch) decode(body []byte) error {
	r := wireReader{b: body}
	if id := r.int32(); id != fetchCorrelation && r.err == nil {
		return fmt.Errorf("fetch response to another request (%d)", id)
	}
	throttle := r.int32()
	code := r.int16()
	r.int32() // session
	if r.err == nil && code != 0 {
		return Code(code)
	}
	names := map[string]string{} // by the name on the broker: the strings of the request are shared
	for _, a := range f.Asks {
		names[f.Names.Topic(a.TP.Topic)] = a.TP.Topic
	}
	for range r.count(6) {
		topic := r.string()
		if known, ok := names[topic]; ok {
			topic = known
		}
		for range r.count(38) {
			p := Fetched{TP: record.TopicPartition{Topic: topic, Partition: int(r.int32())}}
			p.Code = r.int16()
			p.HighWatermark = r.int64()
			p.LastStable = r.int64()
			p.LogStart = r.int64()
			for range r.count(16) {
				p.Aborted = append(p.Aborted, Aborted{Producer: r.int64(), First: r.int64()})
			}
			r.int32() // preferred read replica
			p.Batches = r.bytes()
			f.Results = append(f.Results, p)
		}
	}
	f.Empty = throttle == 0
	for i := range f.Results {
		f.Empty = f.Empty && len(f.Results[i].Batches) == 0
	}
	return r.err
}

// EndGap notices that no records are left between an offset and the end of the log: compaction may
// remove the newest ones too, when they are tombstones. A broker then answers with nothing although
// the last stable offset is further on. An answer that is empty because others have filled it, or
// because of a quota, does not count, and it takes two in a row. Behind the last stable offset
// nothing is a gap: records may stand there whose transaction has not ended.
type EndGap struct {
	at, stable int64
	answers    int // in a row with nothing
}

// Lasts tells whether nothing was answered many times in a row, however the log grew meanwhile.
func (g *EndGap) Lasts() bool { return g.answers >= 5 }

// Next returns the offset to go on at. stable is the last stable offset of the answer.
func (g *EndGap) Next(at, stable int64, empty bool) int64 {
	if !empty || stable <= at {
		*g = EndGap{}
		return at
	}
	before := *g
	*g = EndGap{at, stable, 1}
	if before.at == at {
		g.answers += before.answers
	}
	if before.at == at && before.stable == stable {
		return stable
	}
	return at
}

// wireReader reads Kafka's fixed-size types; after the first error everything is zero.
type wireReader struct {
	b   []byte
	err error
}

var errShort = errors.New("message ends too early")

func (r *wireReader) read(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *wireReader) int16() int16 {
	if b := r.read(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *wireReader) int32() int32 {
	if b := r.read(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *wireReader) int64() int64 {
	if b := r.read(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *wireReader) string() string { return string(r.read(max(0, int(r.int16())))) }

func (r *wireReader) bytes() []byte { return r.read(max(0, int(r.int32()))) }

// count reads an array's length; each element takes at least size bytes, so that a broken length
// cannot make us loop.
func (r *wireReader) count(size int) int {
	n := int(r.int32())
	if n <= 0 || r.err != nil {
		return 0
	}
	if n > len(r.b)/size+1 {
		r.err = errShort
		return 0
	}
	return n
}
