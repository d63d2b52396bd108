package deadletter

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// State says what became of a dead letter.
type State string

// The states. A replayed record that fails again is open again.
const (
	Open     State = "open"
	Replayed State = "replayed"
	Dropped  State = "dropped"
)

// ErrNotFound says that there is no dead letter with the id.
var ErrNotFound = errors.New("no such dead letter")

// ErrFilter says that a filter names something that does not exist: a group, class, state or topic.
// Its text has the names that do.
var ErrFilter = errors.New("no dead letter can match")

// States returns the states that a dead letter may have.
func States() []State { return []State{Open, Replayed, Dropped} }

// Classes returns the classes of failure that a dead letter may have.
func Classes() []string {
	return []string{
		fault.Permanent.String(), fault.Unknown.String(), fault.Transient.String(),
	}
}

// Letter is a dead letter: a record that a group could not process, and why. Names of topics and
// groups are logical.
type Letter struct {
	// ID is a function of group and origin.
	ID                         string
	Group, Handler, Subscriber string
	// Origin is where the group first read the record, Time the record's own time there.
	Origin record.Position
	Time   time.Time
	Class  fault.Class
	Reason string
	// Attempts are the charged ones, over all visits.
	Attempts                  int
	FirstFailure, LastFailure time.Time
	// WrittenAt is when the dead letter was written.
	WrittenAt time.Time
	// Unnamed is 0, or the number of records that became dead letters together because nobody could
	// tell which one was offending.
	Unnamed int
	// OmittedBytes is 0, or the size of what was too large to be kept here: the value, then the
	// headers, then the key. They are at Origin only, and the dead letter cannot be replayed.
	OmittedBytes int
	// Undecodable says that this is a whole batch of the log whose records could not be read, from
	// Origin to LastOffset. Value are its bytes, and it cannot be replayed.
	Undecodable bool
	LastOffset  int64
	// Key, Value and Headers are the record's own, byte for byte, as they failed last.
	Key, Value []byte
	Headers    []record.Header
	// Original is the value that failed first, where a corrected one has failed since. Correction
	// is the value that was sent in place of Value, nil if none was. Only Get fills them.
	Original, Correction []byte
	// At is the dead letter's place in the poison topic.
	At    record.Position
	State State
	// ResolvedAt and Resolution tell when and why it was replayed or dropped.
	ResolvedAt time.Time
	Resolution string

	// written is what its headers say, with the names on the broker.
	written Headers
}

// Parse reads a record of a poison topic. ok is false for a resolution, and for what is neither.
// The headers carry the names on the broker, the letter logical ones. Its State is open.
func Parse(r *record.Record, names record.Names) (l Letter, ok bool) {
	if r.Header(record.HeaderResolution) != "" {
		return Letter{}, false
	}
	h, ok := HeadersOf(r)
	if !ok {
		return Letter{}, false
	}
	origin := h.Origin
	origin.Topic = names.TopicOfHeader(origin.Topic)
	return Letter{
		ID: h.ID(), Group: names.GroupOfHeader(h.Group), Handler: h.Handler,
		Subscriber: names.GroupOfHeader(h.Subscriber), Origin: origin, Time: h.Time,
		Class: h.Class, Reason: h.Reason, Attempts: h.Attempts,
		FirstFailure: h.FirstFailure, LastFailure: h.LastFailure, WrittenAt: r.Time,
		Unnamed: h.Unnamed, OmittedBytes: h.OmittedBytes,
		Undecodable: h.Undecodable, LastOffset: h.LastOffset,
		Key: r.Key, Value: r.Value, Headers: Own(r.Headers),
		At: r.Position(), State: Open, written: h,
	}, true
}

// corrected stands in place of a State in the record that keeps the corrected value of a dead
// letter, before the value is sent: from then on every replay of the dead letter sends it, so that
// the original and the correction never both take effect.
const corrected State = "corrected"

// resolution is the record that says what became of a dead letter.
type resolution struct {
	id     string
	state  State
	reason string
	at     time.Time
	// resolves is the record in the poison topic that was resolved.
	resolves record.Position
}

// parseResolution reads a record of a poison topic. ok is false for a dead letter.
func parseResolution(r *record.Record) (res resolution, ok bool) {
	res = resolution{
		id: r.Header(record.HeaderID), state: State(r.Header(record.HeaderResolution)),
		reason: r.Header(
			record.HeaderResolutionReason,
		), at: parseStamp(r.Header(record.HeaderResolvedAt)),
	}
	res.resolves.Topic = r.Topic
	_, err := fmt.Sscanf(
		r.Header(record.HeaderResolves), "%d/%d", &res.resolves.Partition, &res.resolves.Offset,
	)
	return res, err == nil && res.id != "" &&
		(res.state == Replayed || res.state == Dropped || res.state == corrected)
}
