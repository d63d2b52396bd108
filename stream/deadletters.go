package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
)

// Headers of the records that say what became of a dead letter. They stand in the poison topic beside it, with its key and its id.
const (
	HeaderResolution       = "resolution_poisoned"
	HeaderResolutionReason = "resolution_reason_poisoned"
	HeaderResolvedAt       = "resolved_at_poisoned"
	// HeaderResolves is the partition and offset, in the poison topic, of the very record that is resolved: a replayed record that fails again at once may
	// be set aside before its resolution is written.
	HeaderResolves = "resolves_poisoned"
)

// DeadLetterState says what became of a dead letter.
type DeadLetterState string

// The states. A replayed record that fails again is open again.
const (
	DeadLetterOpen     DeadLetterState = "open"
	DeadLetterReplayed DeadLetterState = "replayed"
	DeadLetterDropped  DeadLetterState = "dropped"
)

// ErrNoDeadLetter says that there is none with the id.
var ErrNoDeadLetter = errors.New("no such dead letter")

// DeadLetter is a record that was set aside for a person, with its story.
type DeadLetter struct {
	// ID is a function of Group and Origin.
	ID                         string
	Group, Handler, Subscriber string
	// Origin is where the group first read the record, Time the record's own time there.
	Origin Position
	Time   time.Time
	Class  fault.Class
	Reason string
	// Attempts are the charged ones, over all visits.
	Attempts                  int
	FirstFailure, LastFailure time.Time
	// SetAside is when the dead letter was written.
	SetAside time.Time
	// Unnamed is 0, or the number of records that were set aside together because nobody could tell which one was guilty.
	Unnamed int
	// OmittedBytes is 0, or the size of a value that was too large to be kept here: it is at Origin only, and cannot be replayed.
	OmittedBytes int
	// Key, Value and Headers are the record's own, byte for byte.
	Key, Value []byte
	Headers    []Header
	// At is the dead letter's place in the poison topic.
	At    Position
	State DeadLetterState
	// ResolvedAt and Resolution tell when and why it was replayed or dropped.
	ResolvedAt time.Time
	Resolution string
}

// Resolution is the record that says what became of a dead letter.
type Resolution struct {
	ID, Group string
	State     DeadLetterState
	Reason    string
	At        time.Time
	// Resolves is the record in the poison topic that was resolved.
	Resolves Position
}

// ParseDeadLetter reads a record of a poison topic. ok is false for a Resolution, and for what is neither. Its State is open.
func ParseDeadLetter(r *Record) (l DeadLetter, ok bool) {
	if r.Header(HeaderResolution) != "" {
		return DeadLetter{}, false
	}
	s, ok := readStory(r)
	if !ok {
		return DeadLetter{}, false
	}
	return DeadLetter{
		ID: s.id(), Group: s.group, Handler: s.handler, Subscriber: s.subscriber, Origin: s.origin, Time: s.time, Class: s.class, Reason: s.reason,
		Attempts: s.attempts, FirstFailure: s.first, LastFailure: s.last, SetAside: r.Time, Unnamed: s.unnamed, OmittedBytes: s.omitted,
		Key: r.Key, Value: r.Value, Headers: ownHeaders(r.Headers),
		At: Position{TopicPartition{r.Topic, r.Partition}, r.Offset}, State: DeadLetterOpen,
	}, true
}

// ParseResolution reads a record of a poison topic. ok is false for a dead letter.
func ParseResolution(r *Record) (res Resolution, ok bool) {
	res = Resolution{
		ID: r.Header(HeaderID), Group: r.Header(HeaderGroup), State: DeadLetterState(r.Header(HeaderResolution)),
		Reason: r.Header(HeaderResolutionReason), At: parseStamp(r.Header(HeaderResolvedAt)), Resolves: Position{TopicPartition: TopicPartition{Topic: r.Topic}},
	}
	if _, err := fmt.Sscanf(r.Header(HeaderResolves), "%d/%d", &res.Resolves.Partition, &res.Resolves.Offset); err != nil {
		return Resolution{}, false
	}
	return res, res.ID != "" && (res.State == DeadLetterReplayed || res.State == DeadLetterDropped)
}

// DeadLetterFilter chooses dead letters. A zero field does not restrict.
type DeadLetterFilter struct {
	IDs   []string
	Group string
	// Reason is a part of the reason, upper and lower case alike.
	Reason string
	// Class is permanent, unknown or transient.
	Class string
	// Topic is the original one.
	Topic string
	// Since and Until bound the time of setting aside: from Since, before Until.
	Since, Until time.Time
	State        DeadLetterState
	// Limit keeps the newest so many.
	Limit int
}

func (f *DeadLetterFilter) matches(l *DeadLetter) bool {
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, l.ID),
		f.Group != "" && f.Group != l.Group,
		f.Reason != "" && !strings.Contains(strings.ToLower(l.Reason), strings.ToLower(f.Reason)),
		f.Class != "" && f.Class != l.Class.String(),
		f.Topic != "" && f.Topic != l.Origin.Topic,
		!f.Since.IsZero() && l.SetAside.Before(f.Since),
		!f.Until.IsZero() && !l.SetAside.Before(f.Until),
		f.State != "" && f.State != l.State:
		return false
	}
	return true
}

// DeadLetters browses, replays and drops the dead letters of some groups. Safe for concurrent use.
type DeadLetters struct {
	conn    *Conn
	emitter Emitter
	groups  []string
}

// NewDeadLetters returns the dead letters of the groups. A group whose poison topic does not exist has none.
func NewDeadLetters(conn *Conn, emitter Emitter, groups []string) *DeadLetters {
	return &DeadLetters{conn: conn, emitter: emitter, groups: slices.Clone(groups)}
}

// List returns the dead letters that match, newest first. It reads the poison topics from their beginning.
func (d *DeadLetters) List(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error) {
	var out []DeadLetter
	for _, group := range d.groups {
		if f.Group != "" && f.Group != group {
			continue
		}
		letters, err := d.read(ctx, group)
		if err != nil {
			return nil, err
		}
		for _, l := range letters {
			if f.matches(l) {
				out = append(out, *l)
			}
		}
	}
	slices.SortFunc(out, func(a, b DeadLetter) int {
		if c := b.SetAside.Compare(a.SetAside); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// Get returns one dead letter, or an error that is ErrNoDeadLetter.
func (d *DeadLetters) Get(ctx context.Context, id string) (DeadLetter, error) {
	found, err := d.List(ctx, DeadLetterFilter{IDs: []string{id}})
	if err != nil {
		return DeadLetter{}, err
	}
	if len(found) == 0 {
		return DeadLetter{}, fault.As(fault.Permanent, fmt.Errorf("%w: id %s in groups %s", ErrNoDeadLetter, id, strings.Join(d.groups, ", ")))
	}
	return found[0], nil
}

// read returns a group's dead letters by id, the last of each with its state.
func (d *DeadLetters) read(ctx context.Context, group string) (map[string]*DeadLetter, error) {
	topic := PoisonTopic(group)
	n, err := d.conn.Partitions(ctx, topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dead letters of %s: %w", group, err)
	}
	letters := map[string]*DeadLetter{}
	resolutions := map[Position]Resolution{}
	for p := range n {
		err := ReadPartition(ctx, d.conn, TopicPartition{topic, p}, 0, -1, func(r *Record) error {
			if res, ok := ParseResolution(r); ok {
				resolutions[res.Resolves] = res
			} else if l, ok := ParseDeadLetter(r); ok {
				// A record without a key may be set aside into another partition the second time: the later one counts.
				if old, ok := letters[l.ID]; !ok || !l.SetAside.Before(old.SetAside) {
					letters[l.ID] = &l
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("dead letters of %s: %w", group, err)
		}
	}
	for _, l := range letters {
		if res, ok := resolutions[l.At]; ok && res.ID == l.ID {
			l.State, l.ResolvedAt, l.Resolution = res.State, res.At, res.Reason
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

// Replay gives the dead letters that match back to their groups' replay topics: same key, value and headers, and the story behind them, so that the consumer can
// tell where the record was first read (Origin) and count it once however often it is replayed. Without IDs and State in the filter it takes the open ones. They are
// replayed in the order of their original positions. It returns how many were; one whose value was not kept is an error, after the others.
func (d *DeadLetters) Replay(ctx context.Context, f DeadLetterFilter, o ReplayOptions) (int, error) {
	letters, err := d.chosen(ctx, f)
	if err != nil {
		return 0, err
	}
	var errs []error
	letters = slices.DeleteFunc(letters, func(l DeadLetter) bool {
		if l.OmittedBytes > 0 {
			errs = append(errs, fault.Permanentf("dead letter %s cannot be replayed: its value of %d bytes was too large to be kept: read it at %s, and drop the dead letter", l.ID, l.OmittedBytes, l.Origin))
		}
		return l.OmittedBytes > 0
	})
	began, total := time.Now(), len(letters)
	step := 100
	if o.Rate > 0 {
		step = max(min(int(o.Rate/4), step), 1) // four steps a second, so that the rate is even
	}
	for start := 0; start < total; start += step {
		part := letters[start:min(start+step, total)]
		if o.Rate > 0 {
			pause(ctx, time.Until(began.Add(time.Duration(float64(start)/o.Rate*float64(time.Second)))))
		}
		err := ctx.Err()
		if err == nil {
			err = d.replay(ctx, part, o.Reason)
		}
		if err != nil {
			return start, errors.Join(append(errs, fmt.Errorf("replay of %d dead letters stopped after %d: %w", total, start, err))...)
		}
		if o.Progress != nil {
			o.Progress(start+len(part), total)
		}
	}
	return total, errors.Join(errs...)
}

func (d *DeadLetters) replay(ctx context.Context, letters []DeadLetter, reason string) error {
	out := make([]Record, len(letters))
	for i, l := range letters {
		s := l.story()
		out[i] = Record{Topic: ReplayTopic(l.Group), Partition: AnyPartition, Key: l.Key, Value: l.Value, Headers: s.headers(l.Headers)}
	}
	if err := d.emitter.Emit(ctx, out); err != nil {
		return err
	}
	// A crash before this leaves them open: replayed again they count once.
	return d.resolve(ctx, letters, DeadLetterReplayed, reason)
}

func (l *DeadLetter) story() story {
	return story{
		group: l.Group, handler: l.Handler, subscriber: l.Subscriber, origin: l.Origin, time: l.Time, class: l.Class, reason: l.Reason,
		attempts: l.Attempts, first: l.FirstFailure, last: l.LastFailure, unnamed: l.Unnamed, omitted: l.OmittedBytes,
	}
}

// Drop marks the dead letters that match as dropped, with a reason for whoever asks later. The records stay until the topic's retention. Without IDs and State in the
// filter it takes the open ones. It returns how many were dropped.
func (d *DeadLetters) Drop(ctx context.Context, f DeadLetterFilter, reason string) (int, error) {
	letters, err := d.chosen(ctx, f)
	if err != nil || len(letters) == 0 {
		return 0, err
	}
	if err := d.resolve(ctx, letters, DeadLetterDropped, reason); err != nil {
		return 0, fmt.Errorf("drop %d dead letters: %w", len(letters), err)
	}
	return len(letters), nil
}

// chosen returns what an action is to be done to, in the order of the original positions. An id that is not there is an error: nobody should believe
// that a mistyped one was done.
func (d *DeadLetters) chosen(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error) {
	if len(f.IDs) == 0 && f.State == "" {
		f.State = DeadLetterOpen
	}
	letters, err := d.List(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, id := range f.IDs {
		if !slices.ContainsFunc(letters, func(l DeadLetter) bool { return l.ID == id }) {
			return nil, fault.As(fault.Permanent, fmt.Errorf("%w: id %s in groups %s (with the other conditions of the filter)", ErrNoDeadLetter, id, strings.Join(d.groups, ", ")))
		}
	}
	slices.SortFunc(letters, func(a, b DeadLetter) int {
		if c := strings.Compare(a.Origin.Topic, b.Origin.Topic); c != 0 {
			return c
		}
		if c := a.Origin.Partition - b.Origin.Partition; c != 0 {
			return c
		}
		return cmp.Compare(a.Origin.Offset, b.Origin.Offset)
	})
	return letters, nil
}

func (d *DeadLetters) resolve(ctx context.Context, letters []DeadLetter, state DeadLetterState, reason string) error {
	out := make([]Record, len(letters))
	at := stamp(time.Now())
	for i, l := range letters {
		out[i] = Record{Topic: l.At.Topic, Partition: l.At.Partition, Key: l.Key, Headers: []Header{
			{HeaderID, []byte(l.ID)},
			{HeaderGroup, []byte(l.Group)},
			{HeaderResolution, []byte(state)},
			{HeaderResolutionReason, []byte(clip(reason, maxReasonBytes))},
			{HeaderResolvedAt, []byte(at)},
			{HeaderResolves, fmt.Appendf(nil, "%d/%d", l.At.Partition, l.At.Offset)},
		}}
	}
	if err := d.emitter.Emit(ctx, out); err != nil {
		return fmt.Errorf("write down what became of %d dead letters: %w", len(letters), err)
	}
	return nil
}
