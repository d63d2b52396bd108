//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// position is a place on the log.
type position struct {
	topic     string
	partition int
	offset    int64
}

func (p position) String() string { return fmt.Sprintf("%s/%d/%d", p.topic, p.partition, p.offset) }

// sumKey names a sum: an item and an hour, or a user and a day, as Unix seconds.
type sumKey struct {
	id, action string
	start      int64
}

type letter struct {
	group string
	at    position
}

type edge struct {
	removed bool
	at      time.Time
	id      string
}

// wantedRow is what a row of ours must say. client is what the event said of its time, where at is
// not.
type wantedRow struct {
	id         string
	at, client time.Time
}

// catalogItem is an item and where its newest record stands.
type catalogItem struct {
	title string
	time  time.Time
	at    position
}

// expected is what the stores must hold, computed from the log by the plainest means: no batches,
// no windows, no stores.
type expected struct {
	ids    map[string]int // records by event id of ours
	rows   map[position]wantedRow
	lists  map[position]string
	hours  map[sumKey]uint64 // of items that people who were erased never touched
	days   map[sumKey]uint64
	users  map[string]*person
	edges  map[[2]string]edge
	items  map[string]catalogItem
	counts map[string]uint32 // events that the learner has counted for an item
	dead   map[letter]string // to what was planted
	last   map[letter]int64  // the last offset of a batch that cannot be read
	erased map[string]time.Time
	// ahead counts the events that said they were later than the log allows.
	records, repeats, ahead int
	// misplaced are the records that a group has to forward, by group and origin. notForwarded are
	// those of them that stand in no topic of misplaced records, wronglyForwarded others that do.
	misplaced                      map[letter]bool
	notForwarded, wronglyForwarded finding
	forwardedTwice                 int
}

// theLog is everything that was on the log at the end.
type theLog struct {
	topics map[string][]record.Record
	// unreadable are the batches that a reader skips.
	unreadable []record.Undecodable
	// partitions is how many the topics keyed by user and by item have.
	partitions int
	// recentIDs is after how many offsets of a partition an id counts again.
	recentIDs int64
}

// readLog returns a topic's records, partition by partition, in order.
func readLog(ctx context.Context, conn *stream.Conn, topic string) ([]record.Record, error) {
	n, err := conn.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []record.Record
	for p := range n {
		err := conn.Read(
			ctx,
			record.TopicPartition{Topic: topic, Partition: p},
			0,
			-1,
			func(r *record.Record) error {
				out = append(out, *r)
				return nil
			},
		)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d: %w", topic, p, err)
		}
	}
	return out, nil
}

func at(r *record.Record) position { return position{r.Topic, r.Partition, r.Offset} }

func (h *harness) readAll(ctx context.Context) (log theLog, err error) {
	log.topics, log.recentIDs = make(map[string][]record.Record), recentIDs
	topics := []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
		schemas.TopicProfileChanges, schemas.TopicRecommendations, schemas.TopicErasures,
		record.MisplacedTopic(schemas.GroupEmbed), record.MisplacedTopic(schemas.GroupCatalog),
	}
	for _, g := range processors.Groups() {
		topics = append(topics, record.PoisonTopic(g))
	}
	if log.partitions, err = h.direct.Partitions(ctx, schemas.TopicInteractions); err != nil {
		return log, err
	}
	h.skipped.reset()
	for _, t := range topics {
		if log.topics[t], err = readLog(ctx, h.direct, t); err != nil {
			return log, err
		}
	}
	log.unreadable = h.skipped.found()
	return log, nil
}

// expect replays the log.
func expect(log theLog) (*expected, error) {
	x := &expected{
		ids: make(map[string]int), rows: make(map[position]wantedRow),
		lists: make(map[position]string), hours: make(map[sumKey]uint64),
		days:  make(map[sumKey]uint64),
		users: make(map[string]*person), edges: make(map[[2]string]edge),
		items: make(map[string]catalogItem), counts: make(map[string]uint32),
		dead: make(map[letter]string), last: make(map[letter]int64),
		erased: make(map[string]time.Time), misplaced: make(map[letter]bool),
	}
	x.plants(log)
	if err := x.erasures(log); err != nil {
		return nil, err
	}
	if err := x.replayInteractions(log); err != nil {
		return nil, err
	}
	x.replayFriendships(log.topics[schemas.TopicFriendships])
	if err := x.replayItems(log); err != nil {
		return nil, err
	}
	for i := range log.topics[schemas.TopicRecommendations] {
		r := &log.topics[schemas.TopicRecommendations][i]
		list, err := schemas.DecodeRecommendation(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("a published list at %s: %w", at(r), err)
		}
		c := &list.CausedBy
		if !x.covered(list.UserID, list.GeneratedAt, r.Time) &&
			!x.answersErased(list.UserID, c.OccurredAt, c.RecordedAt, c.AcceptedAt) {
			x.lists[at(r)] = list.UserID
		}
	}
	return x, nil
}

// plants finds what must become a dead letter: records and batches, for each group that reads them.
func (x *expected) plants(log theLog) {
	groups := make(map[string][]string)
	for _, p := range plants() {
		groups[p.name] = processors.Readers(p.topic)
	}
	for topic, records := range log.topics {
		if strings.HasSuffix(topic, record.PoisonTopic("")) {
			continue
		}
		for i := range records {
			if name := records[i].Header(plantedHeader); name != "" {
				for _, g := range groups[name] {
					x.dead[letter{g, at(&records[i])}] = name
				}
			}
		}
	}
	for _, u := range log.unreadable {
		for _, g := range processors.Readers(u.Topic) {
			key := letter{g, position{u.Topic, u.Partition, u.First}}
			x.dead[key], x.last[key] = "a batch that cannot be read", u.Last
		}
	}
}

// erasures collects who was erased and when: the time at which the log took the event of the
// erasure first. Markers stand in line in several topics; to collect the erasures first must come
// to the same.
func (x *expected) erasures(log theLog) error {
	type erasure struct{ user, source, id string }
	first := make(map[erasure]time.Time)
	for i := range log.topics[schemas.TopicUsers] {
		r := &log.topics[schemas.TopicUsers][i]
		if len(r.Value) == 0 || r.Header(plantedHeader) != "" {
			continue
		}
		u, err := schemas.DecodeUser(r)
		if err != nil {
			return fmt.Errorf("a record that was not planted at %s: %w", at(r), err)
		}
		x.seen(u.Source, u.EventID)
		key := erasure{u.UserID, u.Source, u.EventID}
		if at, known := first[key]; u.Erased && (!known || r.Time.Before(at)) {
			first[key] = r.Time
		}
	}
	for key, at := range first {
		if at.After(x.erased[key.user]) {
			x.erased[key.user] = at
		}
	}
	return nil
}

// seen counts a record of an event of ours.
func (x *expected) seen(from, id string) {
	if from == source {
		x.ids[id]++
	}
}

// covered tells whether an event of a user is erased: it happened, or the log took it,
// not later.
func (x *expected) covered(user string, occurred, recorded time.Time) bool {
	erased, ok := x.erased[user]
	return ok && (!occurred.After(erased) || !recorded.After(erased))
}

// answersErased tells whether a list goes with an event that it answers, by the times known of
// such events.
func (x *expected) answersErased(user string, times ...time.Time) bool {
	erased, ok := x.erased[user]
	return ok && slices.ContainsFunc(times, func(t time.Time) bool {
		return !t.IsZero() && !t.After(erased)
	})
}

// person is what must be known of a user who was not erased, or came back.
type person struct {
	*model.User
	// own are the positive events of the partition that the user's key chooses, moved those that
	// were forwarded to it, in the order of the log. How the two were interleaved nobody can tell.
	own, moved []model.Taken
	// mixed says that events of both kinds, or forwarded ones only, were learned.
	mixed bool
	// due are the records of the last event of both that moved the vector. markers are those of
	// erasures behind the first of them: who comes back in front of a marker and in its batch gets
	// the list at the marker.
	due, markers []position
}
