package processors

import (
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The value of a gradient message is a marker followed by the model's form of gradient sums. One
// additional section holds the source and the position. The first version had no marker:
//
//	source (oldSource, uvarint), offset (varint), sums
//
// There the marker would be a source out of bounds, so the versions cannot be confused.
const (
	gradientsMarker  = "\xff\xff\xff\xff\x0f"
	gradientsVersion = 2
	tagSource        = model.FirstCallerTag
)

// gradientMessages packs the sums, one message per item partition. The position is that of the
// range's last offset. A repeated range has the same position, so the owner applies it once.
func (p *Embed) gradientMessages(part *embedPart, b *record.Batch) ([]record.Record, error) {
	src, err := sourceOf(b.Topic, b.Partition)
	if err != nil {
		return nil, err
	}
	at := p.position(b.Last)
	if !at.IsValid() {
		return nil, fmt.Errorf(
			"offset %d of epoch %d is beyond what positions hold", b.Last, p.cfg.Epoch,
		)
	}
	frame := model.Frame{
		Prefix:   []byte(gradientsMarker),
		Sections: model.Sections{{Tag: tagSource, Body: appendPosition(nil, src, at)}},
	}
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	owner := func(id string) int { return record.PartitionOf([]byte(id), p.cfg.ItemPartitions) }
	var out []record.Record
	for n, value := range part.sums.PackEach(model.Half, p.cfg.ItemPartitions, owner, frame) {
		if value == nil {
			continue
		}
		envelope := schemas.Envelope{
			ID:     fmt.Sprintf("%s/%d/%d-%d", b.Topic, b.Partition, b.First, b.Last),
			Source: "slipstream", Kind: schemas.KindGradientsSummed,
		}
		out = append(out, record.Record{
			Topic: schemas.TopicItemGradients, Partition: n,
			Key:   strconv.AppendInt(nil, int64(n), 10),
			Value: value, Headers: envelope.Headers(schemas.ContentTypeBinary),
		})
	}
	return out, nil
}

// decodeGradients reads the source and position of a gradient message, and returns the sums for
// model.Sums.Merge. The error is model.ErrNewerFormat when a newer version of the program wrote the
// message, else permanent.
func decodeGradients(value []byte) (src source, at sinks.Position, sums []byte, err error) {
	if len(value) < len(gradientsMarker) ||
		string(value[:len(gradientsMarker)]) != gradientsMarker {
		return decodeOldGradients(value)
	}
	sums = value[len(gradientsMarker):]
	_, body, err := model.CheckVersion(sums, gradientsVersion)
	if err != nil {
		return src, 0, nil, fmt.Errorf("gradient sums: %w", err)
	}
	var room [4]model.Section
	sections, err := model.AppendSections(room[:0], body)
	if err != nil {
		return src, 0, nil, fault.Permanentf("gradient sums: %w", err)
	}
	head, err := sections.Need(tagSource)
	if err != nil {
		return src, 0, nil, fault.Permanentf("gradient sums: %w", err)
	}
	r := varints{data: head}
	src.input = r.count(maxNumber)
	epoch := r.count(sinks.LastEpoch)
	if n := r.count(1); r.err == nil && n != 1 {
		r.fail(errBounds)
	}
	src.partition = r.count(maxNumber)
	at = r.position(epoch)
	if r.err != nil {
		return src, 0, nil, fault.Permanentf("gradient sums: source: %w", r.err)
	}
	return src, at, sums, nil
}

func decodeOldGradients(value []byte) (src source, at sinks.Position, sums []byte, err error) {
	r := varints{data: value}
	code := r.uint()
	if at = r.oldPosition(); r.err != nil || code>>1 > maxNumber {
		return src, 0, nil, fault.Permanentf("gradient sums: unreadable source or position")
	}
	if len(r.data) == 0 || r.data[0] != 1 {
		// Later versions have the marker. This value is corrupt and must not be reported as a newer
		// version, for which the partition would wait.
		return src, 0, nil, fault.Permanentf(
			"gradient sums: neither the first version nor a later one",
		)
	}
	return oldSource(code), at, r.data, nil
}
