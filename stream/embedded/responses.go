package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answering is a client's connection that gives the broker's answers the last touch: batches of
// topics with LogAppendTime get Kafka's attribute for it, and producers are told the time.
type answering struct {
	net.Conn
	appends *appendTimes

	mu     sync.Mutex
	head   []byte // of the request being read: at most requestHead bytes
	left   int    // bytes of it that have not been read, once its size is known
	recent [recentRequests]request
	next   int
}

type request struct {
	key, version int16
	correlation  int32
}

const (
	requestHead = 12 // size, key, version, correlation id
	// recentRequests is how many requests of a connection can be without an answer. kfake reads at
	// most one ahead of the one that it handles.
	recentRequests = 4
)

// Read notes what the client asks for.
func (c *answering) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(p[:n])
	return n, err
}

func (c *answering) follow(p []byte) {
	for len(p) > 0 {
		if len(c.head) < requestHead {
			n := min(requestHead-len(c.head), len(p))
			c.head, p = append(c.head, p[:n]...), p[n:]
			if len(c.head) < requestHead {
				return
			}
			be := binary.BigEndian
			c.recent[c.next%recentRequests] = request{
				key: int16(be.Uint16(c.head[4:])), version: int16(be.Uint16(c.head[6:])),
				correlation: int32(be.Uint32(c.head[8:])),
			}
			c.next++
			c.left = max(int(be.Uint32(c.head))+4-requestHead, 0)
		}
		n := min(c.left, len(p))
		c.left, p = c.left-n, p[n:]
		if c.left == 0 {
			c.head = c.head[:0]
		}
	}
}

// Write sends one answer: kfake writes each with one call.
func (c *answering) Write(p []byte) (int, error) {
	out := c.answer(p)
	if n, err := c.Conn.Write(out); err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

// answer returns the answer as the client is to get it.
func (c *answering) answer(frame []byte) []byte {
	if len(frame) < 8 {
		return frame
	}
	r, ok := c.asked(int32(binary.BigEndian.Uint32(frame[4:])))
	if !ok {
		return frame
	}
	switch kmsg.Key(r.key) {
	case kmsg.Produce:
		return c.produced(frame, r.version)
	case kmsg.Fetch, kmsg.ShareFetch:
		if !slices.ContainsFunc(batchesOf(frame, r), hasMarked) {
			return frame
		}
		out := slices.Clone(frame)
		for _, batches := range batchesOf(out, r) {
			unmark(batches)
		}
		return out
	default:
		return frame
	}
}

func (c *answering) asked(correlation int32) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range min(c.next, recentRequests) {
		if r := c.recent[(c.next-1-i)%recentRequests]; r.correlation == correlation {
			return r, true
		}
	}
	return request{}, false
}

// decode reads an answer's body into resp and reports whether that succeeds.
func decode(frame []byte, version int16, resp kmsg.Response) (head int, ok bool) {
	resp.SetVersion(version)
	head = 8 // size and correlation id
	if resp.IsFlexible() {
		head++ // no tags
	}
	return head, len(frame) >= head && resp.ReadFrom(frame[head:]) == nil
}

// batchesOf returns the partitions' batches in an answer to a fetch. They are parts of frame.
func batchesOf(frame []byte, r request) (out [][]byte) {
	if kmsg.Key(r.key) == kmsg.ShareFetch {
		resp := kmsg.NewPtrShareFetchResponse()
		if _, ok := decode(frame, r.version, resp); !ok {
			return nil
		}
		for _, t := range resp.Topics {
			for i := range t.Partitions {
				out = append(out, t.Partitions[i].Records)
			}
		}
		return out
	}
	resp := kmsg.NewPtrFetchResponse()
	if _, ok := decode(frame, r.version, resp); !ok {
		return nil
	}
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			out = append(out, t.Partitions[i].RecordBatches)
		}
	}
	return out
}

// eachBatch calls f with each whole batch until f returns false.
func eachBatch(batches []byte, f func(raw []byte) bool) {
	for len(batches) >= batchHeader {
		n := int(int32(binary.BigEndian.Uint32(batches[batchLengthAt:]))) + batchPrefix
		if n < batchHeader || n > len(batches) || !f(batches[:n]) {
			return
		}
		batches = batches[n:]
	}
}

func isMarked(raw []byte) bool {
	return binary.BigEndian.Uint16(raw[batchAttrsAt:])&attrMarked != 0
}

func hasMarked(batches []byte) (found bool) {
	eachBatch(batches, func(raw []byte) bool {
		found = isMarked(raw)
		return !found
	})
	return found
}

// unmark turns marked batches into what Kafka serves: its attribute, and the broker's time as the
// newest one. The first time has it too, and unlike the newest one it survives compaction.
func unmark(batches []byte) {
	be := binary.BigEndian
	eachBatch(batches, func(raw []byte) bool {
		if isMarked(raw) {
			attrs := be.Uint16(raw[batchAttrsAt:])
			be.PutUint16(raw[batchAttrsAt:], attrs&^attrMarked|attrAppended)
			copy(raw[batchNewestAt:batchNewestAt+8], raw[batchFirstAt:batchFirstAt+8])
			be.PutUint32(raw[batchCRCAt:], crc32.Checksum(raw[batchAttrsAt:], castagnoli))
		}
		return true
	})
}

// produced adds the times that the broker gave to the batches of a request.
func (c *answering) produced(frame []byte, version int16) []byte {
	resp := kmsg.NewPtrProduceResponse()
	head, ok := decode(frame, version, resp)
	if !ok {
		return frame
	}
	changed := false
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode != 0 {
				continue
			}
			at := appendedTo{t.Topic, t.TopicID, p.Partition}
			if ms, ok := c.appends.timeOf(at, p.BaseOffset); ok {
				p.LogAppendTime, changed = ms, true
			}
		}
	}
	if !changed {
		return frame
	}
	out := resp.AppendTo(slices.Clone(frame[:head]))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// appendedTo names a partition as a request does: by the topic's name or by its id.
type appendedTo struct {
	topic     string
	id        [16]byte
	partition int32
}

// appendTimes holds the times that the newest batches of each partition were given. Safe for
// concurrent use.
type appendTimes struct {
	mu     sync.Mutex
	newest map[appendedTo][]appendedAt
}

type appendedAt struct{ base, ms int64 }

// keptTimes is how many batches of a partition a producer may have sent without an answer, and may
// repeat: with idempotence five.
const keptTimes = 8

func (a *appendTimes) note(at appendedTo, base, ms int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.newest == nil {
		a.newest = map[appendedTo][]appendedAt{}
	}
	kept := a.newest[at]
	if len(kept) == keptTimes {
		kept = slices.Delete(kept, 0, 1)
	}
	a.newest[at] = append(kept, appendedAt{base, ms})
}

// timeOf returns the time of the batch that begins at base. Of two notes the later counts: the
// batch of the earlier one was refused.
func (a *appendTimes) timeOf(at appendedTo, base int64) (int64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range slices.Backward(a.newest[at]) {
		if t.base == base {
			return t.ms, true
		}
	}
	return 0, false
}
