package deadletter

import (
	"cmp"
	"context"
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
	// Oldest returns the offset of the oldest record that the partition keeps, its end if there is
	// none.
	Oldest(ctx context.Context, tp record.TopicPartition) (int64, error)
	// Read calls fn for the records with from ≤ offset < to, in order. A negative to means the
	// end at the time of the call.
	Read(
		ctx context.Context, tp record.TopicPartition, from, to int64,
		fn func(*record.Record) error,
	) error
}

// Emitter writes records and returns when all replicas have them. A *stream.Publisher is one.
type Emitter interface {
	Emit(ctx context.Context, records []record.Record) error
}

// Store lists, replays and drops the dead letters of some groups. It keeps an index of them in
// memory, some 200 bytes for each, and reads the poison topics from their beginning once, when it
// is used first. Safe for concurrent use.
type Store struct {
	log     Log
	emitter Emitter
	names   record.Names
	groups  []string
	check   Check
	index   *index
}

// New returns the dead letters of the groups. names are those of the log's connection, for the
// names in their headers. check decodes corrected records; nil takes them as they are. A group
// whose poison topic does not exist has none.
func New(log Log, emitter Emitter, names record.Names, groups []string, check Check) *Store {
	if check == nil {
		check = func(string, *record.Record, *record.Record) ([]byte, error) { return nil, nil }
	}
	return &Store{
		log: log, emitter: emitter, names: names, groups: slices.Clone(groups), check: check,
		index: newIndex(log, names),
	}
}

// List returns the dead letters that match, newest first. A page ends after Filter.Limit of them;
// PageEnd of the last is the Filter.After of the next. A filter with a name that does not exist is
// ErrFilter: an empty list would say that all is well.
func (s *Store) List(ctx context.Context, f Filter) ([]Letter, error) {
	entries, err := s.find(ctx, &f)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(b.written.Compare(a.written), cmp.Compare(a.id.String(), b.id.String()))
	})
	if f.After != "" {
		written, id, err := pageEnd(f.After)
		if err != nil {
			return nil, err
		}
		entries = slices.DeleteFunc(entries, func(e *entry) bool {
			return cmp.Or(cmp.Compare(written, e.written.UnixMilli()),
				cmp.Compare(e.id.String(), id)) <= 0
		})
	}
	if f.Limit > 0 {
		entries = entries[:min(f.Limit, len(entries))]
	}
	var out []Letter
	for part := range slices.Chunk(entries, loadedAtOnce) {
		letters, err := s.load(ctx, part)
		if err != nil {
			return nil, err
		}
		for i := range letters {
			if f.WithoutValues {
				letters[i].Value, letters[i].Headers = nil, nil
			}
		}
		out = append(out, letters...)
	}
	return out, nil
}

// Open returns how many dead letters of each group are open. Groups without any are left out.
func (s *Store) Open(ctx context.Context) (map[string]int, error) {
	entries, err := s.find(ctx, &Filter{State: Open})
	if err != nil {
		return nil, err
	}
	out := make(map[string]int)
	for _, e := range entries {
		out[e.group.Value()]++
	}
	return out, nil
}

// find returns copies of the entries that match, in no order. Limit and After are not applied.
func (s *Store) find(ctx context.Context, f *Filter) ([]*entry, error) {
	if err := f.check(s.groups, s.names); err != nil {
		return nil, err
	}
	found, unsure, known, err := s.look(ctx, f)
	if err != nil {
		return nil, err
	}
	if !known {
		if err := s.checkTopic(ctx, f.Topic); err != nil {
			return nil, err
		}
	}
	for part := range slices.Chunk(unsure, loadedAtOnce) {
		letters, err := s.load(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, e := range part {
			if slices.ContainsFunc(letters, func(l Letter) bool {
				return l.At == e.standsAt() && hasWords(l.Reason, f.Reason)
			}) {
				found = append(found, e)
			}
		}
	}
	return found, nil
}

// look brings the index up to date and looks into it. known is false when it has no dead letter of
// the filter's topic.
func (s *Store) look(
	ctx context.Context, f *Filter,
) (found, unsure []*entry, known bool, err error) {
	if err := s.index.enter(ctx); err != nil {
		return nil, nil, false, err
	}
	defer s.index.leave()
	groups := s.groups
	if f.Group != "" {
		groups = []string{f.Group}
	}
	if err := s.index.update(ctx, groups); err != nil {
		return nil, nil, false, err
	}
	found, unsure, err = s.index.find(f)
	for _, list := range [][]*entry{found, unsure} {
		for i := range list {
			e := *list[i]
			list[i] = &e
		}
	}
	return found, unsure, f.Topic == "" || s.index.knows(f.Topic), err
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

// Get returns one dead letter, or an error that is ErrNotFound. The beginning of an id is enough
// where no other has it; an ambiguous or too short one is ErrFilter.
func (s *Store) Get(ctx context.Context, id string) (Letter, error) {
	found, err := s.find(ctx, &Filter{IDs: []string{id}})
	if err == nil && len(found) == 0 {
		return Letter{}, s.notFound(id, "")
	}
	if err != nil {
		return Letter{}, err
	}
	letters, err := s.load(ctx, found)
	if err == nil && len(letters) == 0 {
		err = s.notFound(id, "")
	}
	if err != nil {
		return Letter{}, err
	}
	return letters[0], s.complete(ctx, found[0], &letters[0])
}

func (s *Store) notFound(id, more string) error {
	return fault.As(fault.Permanent, fmt.Errorf("%w: id %q in groups %s%s",
		ErrNotFound, id, strings.Join(s.groups, ", "), more))
}

// Drop marks the dead letters that match as dropped, with a reason for whoever asks later. The
// records stay until the topic's retention. Without IDs and State in the filter it takes the open
// ones. One that was replayed is an error, and none is dropped; one that was dropped before does
// not count. It returns how many were dropped, also beside an error.
func (s *Store) Drop(ctx context.Context, f Filter, reason string) (int, error) {
	chosen, err := s.droppable(ctx, f)
	if err != nil {
		return 0, err
	}
	done := 0
	for part := range slices.Chunk(chosen, loadedAtOnce) {
		letters, err := s.load(ctx, part)
		if err == nil {
			err = s.resolve(ctx, letters, Dropped, reason)
		}
		if err != nil {
			return done, fmt.Errorf(
				"drop of %d dead letters stopped after %d: %w", len(chosen), done, err,
			)
		}
		done += len(letters)
	}
	return done, nil
}

// droppable returns the open ones of those that are chosen. A replayed one is an error: it has had
// its effects, and a resolution that says otherwise would be untrue.
func (s *Store) droppable(ctx context.Context, f Filter) ([]*entry, error) {
	chosen, err := s.chosen(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, e := range chosen {
		if e.state == Replayed {
			return nil, fault.Permanentf("none was dropped: dead letter %s was replayed at %s, "+
				"and its event counts: only open ones can be dropped", e.id,
				e.resolvedAt.UTC().Format(time.RFC3339))
		}
	}
	return slices.DeleteFunc(chosen, func(e *entry) bool { return e.state != Open }), nil
}

// chosen returns what an action applies to, in the order of the origins. An id that is not there is
// an error: nobody should believe that a mistyped one was done.
func (s *Store) chosen(ctx context.Context, f Filter) ([]*entry, error) {
	if len(f.IDs) == 0 && f.State == "" {
		f.State = Open
	}
	chosen, err := s.find(ctx, &f)
	if err != nil {
		return nil, err
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(chosen, func(e *entry) bool {
			return strings.HasPrefix(e.id.String(), plainID(id))
		}) {
			return nil, s.notFound(id, " (with the other conditions of the filter)")
		}
	}
	slices.SortFunc(chosen, func(a, b *entry) int {
		return cmp.Or(
			strings.Compare(a.topic.Value(), b.topic.Value()),
			cmp.Compare(a.partition, b.partition),
			cmp.Compare(a.offset, b.offset),
		)
	})
	return chosen, nil
}

// resolve writes what became of dead letters. Of corrected ones it keeps the new value.
func (s *Store) resolve(ctx context.Context, letters []Letter, state State, reason string) error {
	if len(letters) == 0 {
		return nil
	}
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
		if state == corrected {
			out[i].Value = l.Correction
		}
	}
	if err := s.emitter.Emit(ctx, out); err != nil {
		return fmt.Errorf("write what became of %d dead letters: %w", len(letters), err)
	}
	return nil
}
