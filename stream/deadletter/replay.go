package deadletter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Check decodes a corrected record of a group's replay topic as the group does, and returns the key
// that a record with its value has. original is the same record before the correction. The error
// says what is wrong with the corrected one.
type Check func(group string, original, corrected *record.Record) (key []byte, err error)

// Correction changes the value of dead letters on their way to their group. At most one field is
// set; the zero value changes nothing. It changes neither headers nor origin, so the corrected
// record is the same event as the original, of which one counts.
type Correction struct {
	// Value replaces the value of the dead letter, which must be the only one.
	Value []byte
	// Patch is a JSON merge patch (RFC 7396) for the value of each.
	Patch []byte
}

func (c *Correction) isZero() bool { return c.Value == nil && c.Patch == nil }

// check refuses a correction that cannot be meant.
func (c *Correction) check(letters int) error {
	switch {
	case c.Value != nil && c.Patch != nil:
		return badCorrection("a correction is a value or a patch, not both")
	case c.Value != nil && letters > 1:
		return badCorrection("a value corrects one dead letter, and %d match: choose one by its "+
			"id, or correct them with a patch", letters)
	case c.Patch != nil && !isObject(c.Patch):
		return badCorrection("the patch is not a JSON object")
	}
	return nil
}

func badCorrection(format string, args ...any) error {
	return fault.As(
		fault.Permanent, fmt.Errorf("%w: %s", ErrCorrection, fmt.Sprintf(format, args...)),
	)
}

// applyTo returns the corrected value.
func (c *Correction) applyTo(value []byte) ([]byte, error) {
	if c.Patch == nil {
		return c.Value, nil
	}
	if !utf8.Valid(value) { // decoding would replace what is not
		return nil, errors.New("the value is not UTF-8: correct it as a whole")
	}
	if !isObject(value) {
		return nil, errors.New("the value is not a JSON object: correct it as a whole")
	}
	return mergePatch(value, c.Patch)
}

func isObject(b []byte) bool {
	return json.Valid(b) && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}

// mergePatch is MergePatch of RFC 7396, section 2. What the patch leaves alone keeps its bytes.
func mergePatch(target, patch json.RawMessage) (json.RawMessage, error) {
	if !isObject(patch) {
		return patch, nil
	}
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, err
	}
	merged := make(map[string]json.RawMessage)
	if isObject(target) {
		if err := json.Unmarshal(target, &merged); err != nil {
			return nil, err
		}
	}
	for name, change := range changes {
		if string(change) == "null" {
			delete(merged, name)
			continue
		}
		var err error
		if merged[name], err = mergePatch(merged[name], change); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(merged)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// ReplayOptions say how to replay.
type ReplayOptions struct {
	// Rate is the most records per second; 0 is without bound.
	Rate float64
	// Reason is kept with the dead letters.
	Reason string
	// Correction changes their values. If one of them cannot be corrected, or decoded then, none is
	// replayed.
	Correction Correction
	// Progress is told after each step; nil is nobody.
	Progress func(done, total int)
}

// Replay writes the dead letters that match to their groups' replay topics: the same key, value and
// headers, followed by the headers of the failure, so that the consumer can tell where the record
// was first read and count it once however often it is replayed. Without IDs and State in the
// filter it takes the open ones. They are replayed in the order of their origins. It returns how
// many were replayed, also beside an error. One that is not whole, or cannot be read, is an error,
// after the others.
//
// A corrected value is kept in the poison topic before it is sent. From then on it is what a replay
// of the dead letter sends, until it fails again.
func (s *Store) Replay(ctx context.Context, f Filter, o ReplayOptions) (int, error) {
	chosen, err := s.chosen(ctx, f)
	if err != nil {
		return 0, err
	}
	if !o.Correction.isZero() {
		plan, err := s.plan(ctx, chosen, o.Correction)
		if err == nil {
			err = plan.refused()
		}
		if err != nil {
			return 0, err
		}
	}
	var errs []error
	began, total, done := time.Now(), len(chosen), 0
	step := loadedAtOnce
	if o.Rate > 0 {
		step = max(min(int(o.Rate/4), step), 1) // four steps a second, so that the rate is even
	}
	for start := 0; start < total; start += step {
		if o.Rate > 0 {
			due := began.Add(time.Duration(float64(start) / o.Rate * float64(time.Second)))
			fault.Sleep(ctx, time.Until(due))
		}
		n, unfit, err := s.replayPart(ctx, chosen[start:min(start+step, total)], o)
		done, errs = done+n, append(errs, unfit...)
		if err != nil {
			err = fmt.Errorf("replay of %d dead letters stopped after %d: %w", total, done, err)
			return done, errors.Join(append(errs, err)...)
		}
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	return done, errors.Join(errs...)
}

// replayPart replays some dead letters, and returns how many, and what is wrong with the others.
func (s *Store) replayPart(
	ctx context.Context, chosen []*entry, o ReplayOptions,
) (n int, unfit []error, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	outgoing, err := s.outgoing(ctx, chosen, o.Correction)
	if err != nil {
		return 0, nil, err
	}
	var letters, noted []Letter
	var records []record.Record
	for i := range outgoing {
		x := &outgoing[i]
		if x.err != nil {
			unfit = append(unfit, x.err)
			continue
		}
		letters, records = append(letters, x.letter), append(records, x.record)
		if !o.Correction.isZero() && x.letter.Correction == nil {
			x.letter.Correction = x.record.Value
			noted = append(noted, x.letter)
		}
	}
	if len(letters) == 0 {
		return 0, unfit, nil
	}
	if err := s.resolve(ctx, noted, corrected, o.Reason); err != nil {
		return 0, unfit, err
	}
	if err := s.emitter.Emit(ctx, records); err != nil {
		return 0, unfit, err
	}
	// A crash before this leaves them open: replayed again they count once.
	if err := s.resolve(ctx, letters, Replayed, o.Reason); err != nil {
		return 0, unfit, err
	}
	return len(letters), unfit, nil
}

// outgoing is a dead letter on its way to its group, or the reason why it cannot go.
type outgoing struct {
	letter Letter
	record record.Record
	err    error
}

// outgoing makes the records of dead letters.
func (s *Store) outgoing(
	ctx context.Context, chosen []*entry, c Correction,
) ([]outgoing, error) {
	letters, err := s.load(ctx, chosen)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*entry, len(chosen))
	for _, e := range chosen {
		byID[e.id.String()] = e
	}
	out := make([]outgoing, len(letters))
	for i := range letters {
		l := &letters[i]
		if e := byID[l.ID]; e.hasCorrection {
			if err := s.complete(ctx, e, l); err != nil {
				return nil, err
			}
		}
		partitions, err := s.log.Partitions(ctx, record.ReplayTopic(l.Group))
		if err != nil {
			return nil, err
		}
		out[i].letter = *l
		out[i].record, out[i].err = s.outgoingRecord(l, partitions, c)
	}
	return out, nil
}

// outgoingRecord makes the record of a dead letter. It goes to the partition with the number of its
// origin, also without a key, or with another one: there the group tells that it has seen it.
func (s *Store) outgoingRecord(
	l *Letter, partitions int, c Correction,
) (r record.Record, err error) {
	r = record.Record{
		Topic: record.ReplayTopic(l.Group), Partition: l.Origin.Partition % max(partitions, 1),
		Key: l.Key, Value: l.Value, Headers: l.written.On(l.Headers),
	}
	if err := l.unfit(); err != nil {
		return r, err
	}
	if c.isZero() && l.Correction == nil {
		return r, nil
	}
	original := r
	if !c.isZero() {
		if r.Value, err = c.applyTo(l.Value); err != nil {
			return r, fault.Permanentf("dead letter %s cannot be corrected: %w", l.ID, err)
		}
	}
	if l.Correction != nil && !c.isZero() && !bytes.Equal(r.Value, l.Correction) {
		return r, fault.Permanentf("dead letter %s has been sent with another correction: "+
			"replay it without one, or correct it when it has failed again", l.ID)
	}
	if l.Correction != nil {
		r.Value = l.Correction
	}
	decoded := r
	decoded.Time = time.Now().UTC()
	key, err := s.check(l.Group, &original, &decoded)
	if err != nil {
		return r, fault.Permanentf(
			"dead letter %s cannot be processed with its correction: %w", l.ID, err,
		)
	}
	if key != nil {
		r.Key = key
	}
	return r, nil
}

// unfit says why a dead letter cannot be replayed, nil if it can.
func (l *Letter) unfit() error {
	switch {
	case l.Undecodable:
		return fault.Permanentf("dead letter %s cannot be replayed: the records of %s to %d "+
			"cannot be read: have its producer send them again, and drop the dead letter",
			l.ID, l.Origin, l.LastOffset)
	case l.OmittedBytes > 0:
		return fault.Permanentf("dead letter %s cannot be replayed: %d bytes of the record were "+
			"too large to be kept: read it at %s, and drop the dead letter",
			l.ID, l.OmittedBytes, l.Origin)
	case strings.HasSuffix(l.Origin.Topic, record.PoisonTopic("")):
		return fault.Permanentf("dead letter %s cannot be replayed: it is itself a dead letter, "+
			"at %s: replay that one, and drop this", l.ID, l.Origin)
	}
	return nil
}
