package wire

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Aborted is an aborted transaction as a broker's answer lists it.
type Aborted struct {
	// Producer is the id of the producer. It may have several transactions, one after the other.
	Producer int64
	// First is the offset of its first record in the partition.
	First int64
}

// aborting goes through the batches of a partition in order and tells which of them are no data.
type aborting struct {
	ahead []Aborted // those that begin later, by their first offset
	// open are the producers inside an aborted transaction, each with the epoch in which it wrote
	// that, unknownEpoch before its first batch.
	open map[int64]int
}

const unknownEpoch = -1

func newAborting(list []Aborted) aborting {
	a := aborting{ahead: list}
	if len(list) > 0 {
		a.open = make(map[int64]int, len(list))
		a.ahead = slices.SortedFunc(slices.Values(list), func(x, y Aborted) int {
			return cmp.Compare(x.First, y.First)
		})
	}
	return a
}

// drop tells whether the batch, whose last offset is last, holds no data: it is a marker, or
// belongs to an aborted transaction.
func (a *aborting) drop(batch []byte, last int64) bool {
	attributes := binary.BigEndian.Uint16(batch[21:])
	if attributes&(attrControl|attrTxn) == 0 {
		return false
	}
	for len(a.ahead) > 0 && a.ahead[0].First <= last {
		a.open[a.ahead[0].Producer] = unknownEpoch
		a.ahead = a.ahead[1:]
	}
	producer := int64(binary.BigEndian.Uint64(batch[43:]))
	if attributes&attrControl != 0 {
		if isAbort(batch) {
			delete(a.open, producer)
		}
		return true
	}
	epoch, open := a.open[producer]
	if !open {
		return false
	}
	// A broker that was killed may end a transaction without a marker. What the producer writes in
	// a later epoch is another transaction.
	switch wrote := int(int16(binary.BigEndian.Uint16(batch[51:]))); epoch {
	case unknownEpoch:
		a.open[producer] = wrote
	case wrote:
	default:
		delete(a.open, producer)
		return false
	}
	return true
}

// isAbort tells whether a control batch is the marker that ends an aborted transaction. Its one
// record has the version and the type of the marker as its key; the type of an abort is 0.
func isAbort(batch []byte) bool {
	r := recordReader{b: batch[BatchHeader:]}
	r.varint() // length
	r.read(1)  // attributes
	r.varint() // time
	r.varint() // offset
	key := r.nullable()
	return !r.bad && len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0
}
