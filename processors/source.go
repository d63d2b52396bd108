package processors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// embedInputs are the topics that embed learns from. A topic's index in this list is its input
// number. Gradient messages and item factors on the log hold these numbers: append to the list, and
// never reorder it.
var embedInputs = []string{
	0: schemas.TopicInteractions,
	1: record.ReplayTopic(schemas.GroupEmbed),
	2: misplacedInteractions,
}

// misplacedInteractions is the topic that embed forwards to.
var misplacedInteractions = record.MisplacedTopic(schemas.GroupEmbed)

// source is the origin of gradient sums: one partition of one input of embed.
type source struct{ input, partition int }

// sourceOf returns the source for a partition of a topic. A topic that is not an input of embed is
// a programming error.
func sourceOf(topic string, partition int) (source, error) {
	input := slices.Index(embedInputs, topic)
	if input < 0 {
		return source{}, fmt.Errorf("topic %q is no input of embed", topic)
	}
	return source{input, partition}, nil
}

// oldSource decodes a source of the first version of the formats: one number, the partition with
// the input number in the lowest bit.
func oldSource(code uint64) source { return source{int(code & 1), int(code >> 1)} }

func (s source) compare(other source) int {
	return cmp.Or(cmp.Compare(s.input, other.input), cmp.Compare(s.partition, other.partition))
}

// applied holds, per source, the position of the last gradient message applied to an item's
// factors. It is sorted by source.
type applied []appliedPosition

type appliedPosition struct {
	source   source
	position sinks.Position
}

func (a applied) find(s source) (int, bool) {
	return slices.BinarySearchFunc(a, s, func(x appliedPosition, s source) int {
		return x.source.compare(s)
	})
}

// has reports whether the message of a source at a position, or a later one, was applied.
func (a applied) has(s source, p sinks.Position) bool {
	i, ok := a.find(s)
	return ok && p <= a[i].position
}

// set sets the position of a source.
func (a *applied) set(s source, p sinks.Position) {
	i, ok := a.find(s)
	if !ok {
		*a = slices.Insert(*a, i, appliedPosition{source: s})
	}
	(*a)[i].position = p
}

// append writes the positions in runs of the same input and epoch, usually one or two: input,
// epoch, length, and then partition and offset of each.
func (a applied) append(b []byte) []byte {
	for len(a) > 0 {
		input, epoch, n := a[0].source.input, a[0].position.Epoch(), 1
		for n < len(a) && a[n].source.input == input && a[n].position.Epoch() == epoch {
			n++
		}
		b = binary.AppendUvarint(b, uint64(input)) //nolint:gosec // inputs are not negative
		b = binary.AppendUvarint(b, uint64(epoch)) //nolint:gosec // epochs are positive
		b = binary.AppendUvarint(b, uint64(n))     //nolint:gosec // a length
		for _, x := range a[:n] {
			b = binary.AppendUvarint(b, uint64(x.source.partition)) //nolint:gosec // not negative
			b = binary.AppendUvarint(b, uint64(x.position.Offset()))
		}
		a = a[n:]
	}
	return b
}

// read reads what append wrote, to the end of r.
func (a *applied) read(r *varints) {
	for len(r.data) > 0 && r.err == nil {
		input, epoch := r.count(maxNumber), r.count(sinks.LastEpoch)
		n := r.count(len(r.data) / 2)
		*a = slices.Grow(*a, n)
		for range n {
			s := source{input, r.count(maxNumber)}
			if p := r.position(epoch); r.err == nil {
				a.set(s, p)
			}
		}
	}
}

// appendPosition writes the source and position of a gradient message.
func appendPosition(b []byte, s source, p sinks.Position) []byte {
	return applied{{s, p}}.append(b)
}

// maxNumber bounds numbers of inputs and partitions.
const maxNumber = 1 << 30

var (
	errCutShort = errors.New("it is cut short")
	errBounds   = errors.New("a number is out of bounds")
)

// varints reads numbers from the front of data. The first error is kept.
type varints struct {
	data []byte
	err  error
}

func (r *varints) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.data = nil
}

func (r *varints) uint() uint64 {
	x, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail(errCutShort)
		return 0
	}
	r.data = r.data[n:]
	return x
}

func (r *varints) int() int64 {
	x, n := binary.Varint(r.data)
	if n <= 0 {
		r.fail(errCutShort)
		return 0
	}
	r.data = r.data[n:]
	return x
}

// count reads a number of at most limit.
func (r *varints) count(limit int) int {
	x := r.uint()
	if x > uint64(limit) { //nolint:gosec // limits are not negative
		r.fail(errBounds)
		return 0
	}
	return int(x) //nolint:gosec // bounded
}

// position reads an offset of an epoch.
func (r *varints) position(epoch int) sinks.Position {
	p := sinks.PositionOf(epoch, int64(min(r.uint(), 1<<62))) //nolint:gosec // bounded
	if r.err == nil && !p.IsValid() {
		r.fail(errBounds)
	}
	return p
}

// oldPosition reads a position of the first version of the formats: an offset without an epoch.
func (r *varints) oldPosition() sinks.Position {
	p := sinks.StoredPosition(r.int())
	if r.err == nil && !p.IsValid() {
		r.fail(errBounds)
	}
	return p
}
