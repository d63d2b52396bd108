package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Log reads poison topics. A *stream.Conn is one.
type Log interface {
	// Exists reports whether the topic exists.
	Exists(ctx context.Context, topic string) (bool, error)
	// Partitions returns the number of partitions of a topic.
	Partitions(ctx context.Context, topic string) (int, error)
	// Read calls fn for the records with from ≤ offset < to, in order. A negative to means the end
	// at the time of the call.
	Read(
		ctx context.Context, tp record.TopicPartition, from, to int64,
		fn func(*record.Record) error,
	) error
}

// Emitter writes records and returns when all replicas have them. A *stream.Publisher is one.
type Emitter interface {
	Emit(ctx context.Context, records []record.Record) error
}

// Store lists, replays and drops the dead letters of some groups. Safe for concurrent use.
type Store struct {
	log     Log
	emitter Emitter
	names   record.Names
	groups  []string
}

// New returns the dead letters of the groups. names are those of the log's connection, for the
// names in their headers. A group whose poison topic does not exist has none.
func New(log Log, emitter Emitter, names record.Names, groups []string) *Store {
	return &Store{log: log, emitter: emitter, names: names, groups: slices.Clone(groups)}
}

// List returns the dead letters that match, newest first. It reads the poison topics from their
// beginning. A filter with a name that does not exist is ErrFilter: an empty list would say that
// all is well.
func (s *Store) List(ctx context.Context, f Filter) ([]Letter, error) {
	if err := f.check(s.groups, s.names); err != nil {
		return nil, err
	}
	var out []Letter
	var known bool // the filter's topic
	for _, group := range s.groups {
		if f.Group != "" && f.Group != group {
			continue
		}
		letters, err := s.read(ctx, group)
		if err != nil {
			return nil, fmt.Errorf("dead letters of %s: %w", group, err)
		}
		for _, l := range letters {
			known = known || l.Origin.Topic == f.Topic
			if f.matches(l) {
				out = append(out, *l)
			}
		}
	}
	if f.Topic != "" && !known {
		if err := s.checkTopic(ctx, f.Topic); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Letter) int {
		return cmp.Or(b.WrittenAt.Compare(a.WrittenAt), strings.Compare(a.ID, b.ID))
	})
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// checkTopic refuses the name of a topic that does not exist.
func (s *Store) checkTopic(ctx context.Context, topic string) error {
	if now := s.names.TopicOfHeader(topic); now != topic {
		return badFilter("the topic %q is %q here", topic, now)
	}
	if ok, err := s.log.Exists(ctx, topic); err != nil || ok {
		return err
	}
	return badFilter("there is no topic %q", topic)
}

// Get returns one dead letter, or an error that is ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Letter, error) {
	found, err := s.List(ctx, Filter{IDs: []string{id}})
	if err != nil {
		return Letter{}, err
	}
	if len(found) == 0 {
		return Letter{}, s.notFound(id, "")
	}
	return found[0], nil
}

func (s *Store) notFound(id, more string) error {
	return fault.As(fault.Permanent, fmt.Errorf("%w: id %s in groups %s%s",
		ErrNotFound, id, strings.Join(s.groups, ", "), more))
}

// read returns a group's dead letters by id, the last of each with its state.
func (s *Store) read(ctx context.Context, group string) (map[string]*Letter, error) {
	topic := record.PoisonTopic(group)
	if ok, err := s.log.Exists(ctx, topic); err != nil || !ok {
		return nil, err
	}
	n, err := s.log.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	letters := map[string]*Letter{}
	resolutions := map[record.Position]resolution{}
	for p := range n {
		tp := record.TopicPartition{Topic: topic, Partition: p}
		err := s.log.Read(ctx, tp, 0, -1, func(r *record.Record) error {
			if res, ok := parseResolution(r); ok {
				resolutions[res.resolves] = res
			} else if l, ok := Parse(r, s.names); ok {
				// A record without a key may be written to another partition the second time: the
				// later one counts.
				if old, ok := letters[l.ID]; !ok || !l.WrittenAt.Before(old.WrittenAt) {
					letters[l.ID] = &l
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, l := range letters {
		if res, ok := resolutions[l.At]; ok && res.id == l.ID {
			l.State, l.ResolvedAt, l.Resolution = res.state, res.at, res.reason
		}
	}
	return letters, nil
}

// ReplayOptions say how to replay.
type ReplayOptions struct {
	// Rate is the most records per second; 0 is without bound.
	Rate float64
	// Reason is kept with the dead letters.
	Reason string
	// Progress is told after each step; nil is nobody.
	Progress func(done, total int)
}

// Replay writes the dead letters that match to their groups' replay topics: the same key, value and
// headers, followed by the headers of the failure, so that the consumer can tell where the record
// was first read and count it once however often it is replayed. Without IDs and State in the
// filter it takes the open ones. They are replayed in the order of their origins. It returns how
// many were replayed, also beside an error. One that is not whole, or cannot be read, is an error,
// after the others.
func (s *Store) Replay(ctx context.Context, f Filter, o ReplayOptions) (int, error) {
	letters, err := s.chosen(ctx, f)
	if err != nil {
		return 0, err
	}
	var errs []error
	letters = slices.DeleteFunc(letters, func(l Letter) bool {
		err := l.unfit()
		if err != nil {
			errs = append(errs, err)
		}
		return err != nil
	})
	began, total := time.Now(), len(letters)
	step := 100
	if o.Rate > 0 {
		step = max(min(int(o.Rate/4), step), 1) // four steps a second, so that the rate is even
	}
	for start := 0; start < total; start += step {
		part := letters[start:min(start+step, total)]
		if o.Rate > 0 {
			due := began.Add(time.Duration(float64(start) / o.Rate * float64(time.Second)))
			fault.Sleep(ctx, time.Until(due))
		}
		err := ctx.Err()
		if err == nil {
			err = s.replay(ctx, part, o.Reason)
		}
		if err != nil {
			err = fmt.Errorf("replay of %d dead letters stopped after %d: %w", total, start, err)
			return start, errors.Join(append(errs, err)...)
		}
		if o.Progress != nil {
			o.Progress(start+len(part), total)
		}
	}
	return total, errors.Join(errs...)
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
	}
	return nil
}

func (s *Store) replay(ctx context.Context, letters []Letter, reason string) error {
	out := make([]record.Record, len(letters))
	for i, l := range letters {
		out[i] = record.Record{
			Topic: record.ReplayTopic(l.Group), Partition: record.AnyPartition,
			Key: l.Key, Value: l.Value, Headers: l.written.On(l.Headers),
		}
	}
	if err := s.emitter.Emit(ctx, out); err != nil {
		return err
	}
	// A crash before this leaves them open: replayed again they count once.
	return s.resolve(ctx, letters, Replayed, reason)
}

// Drop marks the dead letters that match as dropped, with a reason for whoever asks later. The
// records stay until the topic's retention. Without IDs and State in the filter it takes the open
// ones. It returns how many were dropped.
func (s *Store) Drop(ctx context.Context, f Filter, reason string) (int, error) {
	letters, err := s.chosen(ctx, f)
	if err != nil || len(letters) == 0 {
		return 0, err
	}
	if err := s.resolve(ctx, letters, Dropped, reason); err != nil {
		return 0, fmt.Errorf("drop %d dead letters: %w", len(letters), err)
	}
	return len(letters), nil
}

// chosen returns what an action applies to, in the order of the origins. An id that is not there is
// an error: nobody should believe that a mistyped one was done.
func (s *Store) chosen(ctx context.Context, f Filter) ([]Letter, error) {
	if len(f.IDs) == 0 && f.State == "" {
		f.State = Open
	}
	letters, err := s.List(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(letters, func(l Letter) bool { return l.ID == id }) {
			return nil, s.notFound(id, " (with the other conditions of the filter)")
		}
	}
	slices.SortFunc(letters, func(a, b Letter) int {
		return cmp.Or(
			strings.Compare(a.Origin.Topic, b.Origin.Topic),
			cmp.Compare(a.Origin.Partition, b.Origin.Partition),
			cmp.Compare(a.Origin.Offset, b.Origin.Offset),
		)
	})
	return letters, nil
}

func (s *Store) resolve(ctx context.Context, letters []Letter, state State, reason string) error {
	out := make([]record.Record, len(letters))
	at := stamp(time.Now())
	for i, l := range letters {
		out[i] = record.Record{
			Topic: l.At.Topic, Partition: l.At.Partition, Key: l.Key, Headers: []record.Header{
				{Key: record.HeaderID, Value: []byte(l.ID)},
				{Key: record.HeaderGroup, Value: []byte(l.written.Group)},
				{Key: record.HeaderResolution, Value: []byte(state)},
				{Key: record.HeaderResolutionReason, Value: []byte(Clip(reason, MaxReasonBytes))},
				{Key: record.HeaderResolvedAt, Value: []byte(at)},
				{
					Key:   record.HeaderResolves,
					Value: fmt.Appendf(nil, "%d/%d", l.At.Partition, l.At.Offset),
				},
			},
		}
	}
	if err := s.emitter.Emit(ctx, out); err != nil {
		return fmt.Errorf("write what became of %d dead letters: %w", len(letters), err)
	}
	return nil
}
