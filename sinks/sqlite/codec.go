package sqlite

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/slipstream-rec/slipstream/sinks"
)

// never stands for the zero time, which lies outside what 64 bits of nanoseconds reach.
const never = math.MinInt64

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == never {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// floatBytes returns v as 32-bit floats, little endian; nil for nil.
func floatBytes(v []float32) []byte {
	if v == nil {
		return nil
	}
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func floatsOf(b []byte) []float32 {
	if len(b) == 0 {
		return nil
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// keyList returns keys as a JSON array for json_each, the way to hand a statement any number of
// values. Keys are stored as signed numbers of the same bits.
func keyList(keys []uint64) string {
	b := make([]byte, 0, 2+21*len(keys))
	b = append(b, '[')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(k), 10)
	}
	return string(append(b, ']'))
}

func encodePositions(p map[string]sinks.Position) (string, error) {
	if p == nil {
		return "{}", nil
	}
	b, err := json.Marshal(p)
	return string(b), err
}

// decodePositions also reads positions from before they had epochs, and so is all that the store
// has to do about these: it compares what comes out of here.
func decodePositions(s string) (map[string]sinks.Position, error) {
	var p map[string]sinks.Position
	err := json.Unmarshal([]byte(s), &p)
	for topic, stored := range p {
		p[topic] = sinks.StoredPosition(int64(stored))
	}
	return p, err
}
