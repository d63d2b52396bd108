package record

import "encoding/binary"

// PartitionOf returns the partition among n that a key belongs to, as Kafka's Java client chooses
// it by default: MurmurHash2 (Austin Appleby, 2008) with the seed 0x9747b28c, the sign bit cleared,
// modulo n. Whoever writes to a topic keyed by user or item must use the same partitioner, since
// one member owns all records of a key; librdkafka needs partitioner=murmur2_random. For n <= 0 it
// returns 0.
func PartitionOf(key []byte, n int) int {
	if n <= 0 {
		return 0
	}
	return int((murmur2(key) & 0x7fffffff) % uint32(n))
}

func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		h = h*m ^ (k^k>>24)*m
	}
	for i := len(data) - 1; i >= 0; i-- {
		h ^= uint32(data[i]) << (8 * i)
	}
	if len(data) > 0 {
		h *= m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
