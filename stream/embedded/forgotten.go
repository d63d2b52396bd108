package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Transactions that were open when the broker was killed. kfake aborts them when it starts, but in
// its memory only. The producer's next commit would, after another kill, be read as the end of
// these records too, and who asks for the end that a kill has cut off would be told of a commit. So
// before the first client comes, each gets the marker that Kafka's coordinator would write, and its
// producer a new epoch, on disk.

// forgotten holds the transactions without an end: by producer id, the partitions and the epoch
// of their newest batches.
type forgotten map[int64]map[partitionName]int16

type partitionName struct {
	topic     string
	partition int
}

// note follows a batch of the log.
func (f forgotten) note(l *partitionLog, raw []byte) {
	be := binary.BigEndian
	attrs, pid := be.Uint16(raw[batchAttrsAt:]), int64(be.Uint64(raw[batchPIDAt:]))
	if attrs&attrTransactional == 0 {
		return
	}
	at := partitionName{l.topic, l.partition}
	if attrs&attrControl != 0 {
		if delete(f[pid], at); len(f[pid]) == 0 {
			delete(f, pid)
		}
		return
	}
	if f[pid] == nil {
		f[pid] = make(map[partitionName]int16)
	}
	f[pid][at] = int16(be.Uint16(raw[batchEpochAt:]))
}

// leaveOut removes those that a clean stop has saved: kfake knows them.
func (f forgotten) leaveOut(open openTransactions) {
	for pid, partitions := range f {
		maps.DeleteFunc(partitions, func(at partitionName, _ int16) bool {
			return open[at.topic][at.partition]
		})
		if len(partitions) == 0 {
			delete(f, pid)
		}
	}
}

// endForgotten fences the producers, then writes the markers: a transaction without a marker is
// found again at the next start.
func (b *Broker) endForgotten(ctx context.Context) error {
	if len(b.forgotten) == 0 {
		return nil
	}
	c, err := b.ln.connect(ctx)
	if err != nil {
		return err
	}
	client := &insider{conn: c}
	if err = client.fence(b.forgotten); err == nil {
		err = client.abort(b.forgotten)
	}
	return errors.Join(err, c.Close())
}

// insider is a client inside the process.
type insider struct {
	conn  net.Conn
	asked int32
}

// request sends a request and fills resp with the answer.
func (c *insider) request(req kmsg.Request, resp kmsg.Response) error {
	c.asked++
	resp.SetVersion(req.GetVersion())
	raw := kmsg.NewRequestFormatter().AppendRequest(nil, req, c.asked)
	if _, err := c.conn.Write(raw); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.conn, answer); err != nil {
		return err
	}
	header := 4 // the number of the request
	if resp.IsFlexible() {
		header++ // no tags
	}
	if len(answer) < header {
		return io.ErrUnexpectedEOF
	}
	return resp.ReadFrom(answer[header:])
}

// fence gives the producers new epochs.
func (c *insider) fence(all forgotten) error {
	list := kmsg.NewPtrListTransactionsRequest()
	known := kmsg.NewPtrListTransactionsResponse()
	if err := c.request(list, known); err != nil {
		return err
	}
	for _, t := range known.TransactionStates {
		if all[t.ProducerID] == nil {
			continue
		}
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID = 4, &t.TransactionalID
		req.TransactionTimeoutMillis = 1000 // kfake keeps that of the producer
		req.ProducerID = t.ProducerID
		for _, epoch := range all[t.ProducerID] {
			req.ProducerEpoch = max(req.ProducerEpoch, epoch)
		}
		resp := kmsg.NewPtrInitProducerIDResponse()
		if err := c.request(req, resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return fmt.Errorf("fence the producer of %q: %w", t.TransactionalID, err)
		}
	}
	return nil
}

// abort writes a marker into every partition of every transaction.
func (c *insider) abort(all forgotten) error {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	for pid, partitions := range all {
		for at, epoch := range partitions {
			t := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
			t.Topic, t.Partitions = at.topic, []int32{int32(at.partition)}
			m := kmsg.NewWriteTxnMarkersRequestMarker()
			m.ProducerID, m.ProducerEpoch = pid, epoch
			m.Topics = append(m.Topics, t)
			req.Markers = append(req.Markers, m)
		}
	}
	req.Version = 1
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	if err := c.request(req, resp); err != nil {
		return err
	}
	for _, m := range resp.Markers {
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("mark %s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	}
	return nil
}
