package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// index holds what dead letters are chosen by, but not their keys, values and headers: some 200
// bytes for each that is still on the log. It goes on where it has read up to. Whoever uses it has
// locked it.
type index struct {
	log   Log
	names record.Names
	lock  chan struct{} // holds one element while the index is locked

	entries map[uuid.UUID]*entry
	// next is where reading goes on, oldest the first offset that the log had then.
	next, oldest map[record.TopicPartition]int64
}

// entry is a dead letter in the index.
type entry struct {
	id            uuid.UUID
	group, topic  unique.Handle[string] // topic is that of the origin
	partition     int
	offset        int64
	class         fault.Class
	state         State
	written       time.Time
	at, first     place // in the poison topic: where it stands now, and where it stood first
	reason, note  unique.Handle[string]
	cut           bool // the reason is longer
	resolvedAt    time.Time
	correction    place // of the record with the corrected value
	hasCorrection bool
}

// place is a position in the poison topic of a group.
type place struct {
	partition int
	offset    int64
}

// indexedReason bounds what the index keeps of a reason, in bytes.
const indexedReason = 512

func newIndex(log Log, names record.Names) *index {
	return &index{
		log: log, names: names, lock: make(chan struct{}, 1),
		entries: make(map[uuid.UUID]*entry),
		next:    make(map[record.TopicPartition]int64),
		oldest:  make(map[record.TopicPartition]int64),
	}
}

// enter locks the index, until leave or the end of ctx.
func (x *index) enter(ctx context.Context) error {
	select {
	case x.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *index) leave() { <-x.lock }

// update reads what has been added to the poison topics of the groups, and forgets what the log no
// longer has.
func (x *index) update(ctx context.Context, groups []string) error {
	for _, group := range groups {
		if err := x.updateGroup(ctx, group); err != nil {
			return fmt.Errorf("dead letters of %s: %w", group, err)
		}
	}
	return nil
}

func (x *index) updateGroup(ctx context.Context, group string) error {
	topic := record.PoisonTopic(group)
	if ok, err := x.log.Exists(ctx, topic); err != nil || !ok {
		return err
	}
	n, err := x.log.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	for p := range n {
		tp := record.TopicPartition{Topic: topic, Partition: p}
		oldest, err := x.log.Oldest(ctx, tp)
		if err != nil {
			return err
		}
		if oldest > x.oldest[tp] {
			x.forget(tp, oldest)
		}
		x.oldest[tp] = oldest
		err = x.log.Read(ctx, tp, x.next[tp], -1, func(r *record.Record) error {
			x.add(r)
			x.next[tp] = r.Offset + 1
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget drops the dead letters that stood before an offset of a partition.
func (x *index) forget(tp record.TopicPartition, oldest int64) {
	for id, e := range x.entries {
		if record.PoisonTopic(e.group.Value()) == tp.Topic && e.at.partition == tp.Partition &&
			e.at.offset < oldest {
			delete(x.entries, id)
		}
	}
}

// add adds a record of a poison topic.
func (x *index) add(r *record.Record) {
	here := place{r.Partition, r.Offset}
	if res, ok := parseResolution(r); ok {
		id, err := uuid.Parse(res.id)
		e := x.entries[id]
		// A replayed record that fails again at once may be a dead letter again before what became
		// of the first is written.
		if err != nil || e == nil || e.at != (place{res.resolves.Partition, res.resolves.Offset}) {
			return
		}
		if res.state == corrected {
			e.correction, e.hasCorrection = here, true
			return
		}
		e.state, e.resolvedAt, e.note = res.state, res.at, unique.Make(res.reason)
		return
	}
	l, ok := Parse(r, x.names)
	if !ok {
		return
	}
	id := uuid.MustParse(l.ID)
	old := x.entries[id]
	// A record without a key may be written to another partition the second time: the later one
	// counts.
	if old != nil && l.WrittenAt.Before(old.written) {
		return
	}
	reason := cutAt(l.Reason, indexedReason)
	e := &entry{
		id: id, group: unique.Make(l.Group), topic: unique.Make(l.Origin.Topic),
		partition: l.Origin.Partition, offset: l.Origin.Offset, class: l.Class, state: Open,
		written: l.WrittenAt, at: here, first: here, reason: unique.Make(reason),
		cut: len(reason) < len(l.Reason), note: unique.Make(""),
	}
	if old != nil {
		e.first = old.first
	}
	x.entries[id] = e
}

// cutAt returns s without what is beyond n bytes, and a copy if that is much.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(strings.TrimSuffix(Clip(s, n), "…"))
}

// find returns the dead letters that may match, in no order. Those whose reason has to be read from
// the log are in unsure.
func (x *index) find(f *Filter) (found, unsure []*entry, err error) {
	wanted, err := x.wanted(f.IDs)
	if err != nil {
		return nil, nil, err
	}
	origins := make(map[record.Position]bool, len(f.Origins))
	for _, at := range f.Origins {
		origins[at] = true
	}
	for _, e := range x.entries {
		switch {
		case wanted != nil && !wanted[e.id],
			f.Group != "" && f.Group != e.group.Value(),
			f.Class != "" && f.Class != e.class.String(),
			f.Topic != "" && f.Topic != e.topic.Value(),
			!f.Since.IsZero() && e.written.Before(f.Since),
			!f.Until.IsZero() && !e.written.Before(f.Until),
			f.State != "" && f.State != e.state,
			len(origins) > 0 && !origins[e.origin()]:
			continue
		}
		switch {
		case f.Reason == "" || hasWords(e.reason.Value(), f.Reason):
			found = append(found, e)
		case e.cut:
			unsure = append(unsure, e)
		}
	}
	return found, unsure, nil
}

// wanted resolves ids and beginnings of ids, nil for none. One that does not exist is left out.
func (x *index) wanted(ids []string) (map[uuid.UUID]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		id = plainID(id)
		if whole, err := uuid.Parse(id); err == nil && len(id) == len(whole.String()) {
			out[whole] = true
			continue
		}
		var all []string
		for known := range x.entries {
			if strings.HasPrefix(known.String(), id) {
				all = append(all, known.String())
				out[known] = true
			}
		}
		if len(all) > 1 {
			slices.Sort(all)
			return nil, badFilter("the id %q could be any of %s", id,
				strings.Join(all[:min(len(all), 10)], ", "))
		}
	}
	return out, nil
}

func (e *entry) origin() record.Position {
	return record.Position{
		TopicPartition: record.TopicPartition{Topic: e.topic.Value(), Partition: e.partition},
		Offset:         e.offset,
	}
}

// knows reports whether a dead letter comes from the topic.
func (x *index) knows(topic string) bool {
	for _, e := range x.entries {
		if e.topic.Value() == topic {
			return true
		}
	}
	return false
}
