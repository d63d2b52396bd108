package qdrant

import (
	"encoding/base64"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/qdrant/go-client/qdrant"

	"github.com/slipstream-rec/slipstream/fault"
)

// readBatch is how many points one read carries; a user with a long history is some ten kilobytes.
const readBatch = 500

// vectorParams describes a vector of n numbers.
func vectorParams(n int, d pb.Distance, cfg *CollectionConfig, quantise bool) *pb.VectorParams {
	p := &pb.VectorParams{
		Size: uint64(n), Distance: d, // validated to be positive
		// A copy in memory beside the exact vectors would take more memory, not less.
		OnDisk: pb.PtrOf(cfg.VectorsOnDisk || quantise),
	}
	if quantise {
		// The quantile leaves out the outermost percent, so that a few large biases do not cost
		// every other number its precision.
		p.QuantizationConfig = pb.NewQuantizationScalar(
			&pb.ScalarQuantization{
				Type: pb.QuantizationType_Int8, Quantile: pb.PtrOf(float32(0.99)),
				AlwaysRam: pb.PtrOf(true),
			},
		)
	}
	return p
}

func num(
	n int,
) *uint64 {
	return pb.PtrOf(uint64(n))
} // callers validate that n is positive

func pointIDs(keys []uint64) []*pb.PointId {
	ids := make([]*pb.PointId, len(keys))
	for i, k := range keys {
		ids[i] = pb.NewIDNum(k)
	}
	return ids
}

// chunks yields s in parts of at most n.
func chunks[T any](s []T, n int) iter.Seq[[]T] { return slices.Chunk(s, n) }

// unique returns keys in order, each once.
func unique(keys []uint64) []uint64 {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return slices.Compact(keys)
}

func checkID(what, id string) error {
	if id == "" {
		return fault.Permanentf("%s without an id", what)
	}
	// A key of the log may be any bytes; the engine's protocol and payload take UTF-8 only.
	if !utf8.ValidString(id) {
		return fault.Permanentf("%s id %q is not UTF-8", what, id)
	}
	return nil
}

// checkVector rejects vectors that the engine would store but not find again.
func checkVector(what string, v []float32, dim int) error {
	if len(v) != dim {
		return fault.Permanentf("%s: the vector has %d numbers, want %d", what, len(v), dim)
	}
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fault.Permanentf("%s: number %d of the vector is %v", what, i, x)
		}
	}
	return nil
}

func checkN(n int) error {
	if n < 1 || n > 1000 {
		return fault.Permanentf("search for %d points: want 1 to 1000", n)
	}
	return nil
}

// putTime writes a time in a form that Qdrant indexes (to the microsecond) and that keeps
// nanoseconds; the zero time is left out.
func putTime(payload map[string]*pb.Value, field string, t time.Time) {
	if !t.IsZero() {
		payload[field] = pb.NewValueString(t.UTC().Format(time.RFC3339Nano))
	}
}

func getTime(v *pb.Value) (time.Time, error) {
	if v == nil {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, v.GetStringValue())
}

func bytesValue(b []byte) *pb.Value {
	return pb.NewValueString(base64.StdEncoding.EncodeToString(b))
}

func getBytes(v *pb.Value) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(v.GetStringValue())
}

// extraNumbers is how many numbers lengthen adds: the length that is missing is spread over them,
// so that none is so much larger than those of the vector itself that int8 quantisation, which has
// one scale for all, would lose these (one number: recall@10 of 0.77 in place of 0.97).
const extraNumbers = 4

// lengthen adds the numbers that make the vector's length bound, or zeros when it is longer. A
// query gets zeros there, so scores are the same; and among vectors of one length the highest inner
// product is the shortest distance, which a proximity graph is made to find. Without it a graph
// over vectors of very different lengths leads to the longest ones (recall@10 of 0.36 in place of
// 0.98).
//
// Source: Bachrach et al., "Speeding Up the Xbox Recommender System Using a Euclidean
// Transformation for Inner-Product Spaces", 2014.
func lengthen(v []float32, bound float64) []float32 {
	square := 0.0
	for _, x := range v {
		square += float64(x) * float64(x)
	}
	out := make([]float32, len(v)+extraNumbers)
	extra := float32(math.Sqrt(max(0, bound*bound-square) / extraNumbers))
	for i := copy(out, v); i < len(out); i++ {
		out[i] = extra
	}
	return out
}

// shorten undoes lengthen.
func shorten(v []float32) []float32 {
	n := len(v) - extraNumbers
	if n < 0 {
		return nil
	}
	return v[:n:n]
}

// lengthenQuery makes a query for lengthened vectors.
func lengthenQuery(q []float32) []float32 {
	out := make([]float32, len(q)+extraNumbers)
	copy(out, q)
	return out
}

func vectorOf(v *pb.VectorsOutput, name string) []float32 {
	return v.GetVectors().GetVectors()[name].GetDenseVector().GetData()
}

// fieldOf is the payload field that holds the position of a topic. Dots would be a path for Qdrant,
// so all but letters and digits of the topic is escaped: embed.replay is pos_embed_2ereplay.
func fieldOf(topic string) string {
	var b strings.Builder
	b.WriteString(positionPrefix)
	for i := range len(topic) {
		if c := topic[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// topicOf is the inverse of fieldOf.
func topicOf(field string) (string, bool) {
	rest, ok := strings.CutPrefix(field, positionPrefix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		if isPlain(rest[i]) {
			b.WriteByte(rest[i])
			continue
		}
		if rest[i] != '_' || i+2 >= len(rest) {
			return "", false
		}
		c, err := strconv.ParseUint(rest[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

const positionPrefix = "pos_"

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
