package deadletter

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Loading reads the records of a part of the dead letters at a time.
const (
	loadedAtOnce = 50
	// passedOver is how many records between two wanted ones are rather read than jumped over.
	passedOver = 200
)

// load reads dead letters from the log, in the order of the entries. Those that the log has deleted
// meanwhile are left out.
func (s *Store) load(ctx context.Context, entries []*entry) ([]Letter, error) {
	places := make(map[string][]place)
	for _, e := range entries {
		group := e.group.Value()
		places[group] = append(places[group], e.at)
	}
	found := make(map[record.Position]Letter, len(entries))
	for group, wanted := range places {
		err := s.readPlaces(ctx, group, wanted, func(r *record.Record) {
			if l, ok := Parse(r, s.names); ok {
				found[r.Position()] = l
			}
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]Letter, 0, len(entries))
	for _, e := range entries {
		l, ok := found[e.standsAt()]
		if !ok {
			continue
		}
		l.State, l.ResolvedAt, l.Resolution = e.state, e.resolvedAt, e.note.Value()
		out = append(out, l)
	}
	return out, nil
}

func (e *entry) standsAt() record.Position { return e.inPoison(e.at) }

func (e *entry) inPoison(p place) record.Position {
	return record.Position{
		TopicPartition: record.TopicPartition{
			Topic: record.PoisonTopic(e.group.Value()), Partition: p.partition,
		},
		Offset: p.offset,
	}
}

// readPlaces calls f for the records at places of a group's poison topic.
func (s *Store) readPlaces(
	ctx context.Context, group string, places []place, f func(*record.Record),
) error {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	wanted := make(map[place]bool, len(places))
	for _, p := range places {
		wanted[p] = true
	}
	for i := 0; i < len(places); {
		j := i + 1
		for j < len(places) && places[j].partition == places[i].partition &&
			places[j].offset-places[j-1].offset <= passedOver {
			j++
		}
		tp := record.TopicPartition{
			Topic: record.PoisonTopic(group), Partition: places[i].partition,
		}
		err := s.log.Read(ctx, tp, places[i].offset, places[j-1].offset+1,
			func(r *record.Record) error {
				if wanted[place{r.Partition, r.Offset}] {
					f(r)
				}
				return nil
			})
		if err != nil {
			return fmt.Errorf("dead letters of %s: %w", group, err)
		}
		i = j
	}
	return nil
}

// complete adds what stands beside a dead letter: the value that failed first, and its correction.
func (s *Store) complete(ctx context.Context, e *entry, l *Letter) error {
	if e.first == e.at && !e.hasCorrection {
		return nil
	}
	wanted := []place{e.first}
	if e.hasCorrection {
		wanted = append(wanted, e.correction)
	}
	return s.readPlaces(ctx, e.group.Value(), wanted, func(r *record.Record) {
		switch here := (place{r.Partition, r.Offset}); {
		case e.hasCorrection && here == e.correction:
			l.Correction = r.Value
		case here == e.first && here != e.at && !bytes.Equal(r.Value, l.Value):
			l.Original = r.Value
		}
	})
}
