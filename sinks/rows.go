package sinks

import (
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Rows are the rows of one insert, all of one kind. The set of kinds is closed: InteractionRows,
// RecommendationRows, ItemRows, UserRows and DeadLetterRows.
type Rows interface {
	// Len returns the number of rows.
	Len() int
	rows()
}

// InteractionRows are raw interactions.
type InteractionRows []InteractionRow

// RecommendationRows are served lists.
type RecommendationRows []RecommendationRow

// ItemRows are versions of catalog items. Of each item the row with the latest RecordedAt counts,
// of several the one with the highest partition, then the one with the highest offset.
type ItemRows []ItemRow

// UserRows are versions of users' attributes. Of each user the newest row counts, as of ItemRows.
type UserRows []UserRow

// DeadLetterRows are dead letters and their resolutions. Of each ID the newest row has the current
// state.
type DeadLetterRows []DeadLetterRow

// Len returns the number of rows.
func (r InteractionRows) Len() int { return len(r) }

// Len returns the number of rows.
func (r RecommendationRows) Len() int { return len(r) }

// Len returns the number of rows.
func (r ItemRows) Len() int { return len(r) }

// Len returns the number of rows.
func (r UserRows) Len() int { return len(r) }

// Len returns the number of rows.
func (r DeadLetterRows) Len() int { return len(r) }

func (InteractionRows) rows()    {}
func (RecommendationRows) rows() {}
func (ItemRows) rows()           {}
func (UserRows) rows()           {}
func (DeadLetterRows) rows()     {}

// InteractionRow is one raw interaction.
type InteractionRow struct {
	schemas.Interaction
	// Meaning and Outcome are what the table of actions says of it when the row is made.
	Meaning schemas.Meaning
	Outcome schemas.Outcome
	// Offset is the record's offset in the partition of the range.
	Offset int64
	// RecordedAt is the log's time of the record.
	RecordedAt time.Time
}

// RecommendationRow is one served list.
type RecommendationRow struct {
	schemas.Recommendation
	// Offset is the record's offset in the partition of the range.
	Offset int64
	// RecordedAt is the log's time of the record.
	RecordedAt time.Time
}

// ItemRow is one version of an item.
type ItemRow struct {
	schemas.Item
	// Offset is the record's offset in the partition of the range.
	Offset int64
	// RecordedAt is the log's time of the record.
	RecordedAt time.Time
	// Replayed is the id of the dead letter whose replay this is, "" for other records. Offsets of
	// replays are in no order with others: RecordedAt decides.
	Replayed string
}

// UserRow is one version of a user's attributes.
type UserRow struct {
	schemas.User
	// Offset is the record's offset in the partition of the range.
	Offset int64
	// RecordedAt is the log's time of the record.
	RecordedAt time.Time
	// Replayed is the id of the dead letter whose replay this is, "" for other records. Offsets of
	// replays are in no order with others: RecordedAt decides.
	Replayed string
}

// DeadLetterRow is one dead letter or its resolution.
type DeadLetterRow struct {
	// ID is group/topic/partition/offset of the original record.
	ID string
	// Group is the consumer group that could not handle the record.
	Group string
	// Topic, Partition and Offset say where the original record is.
	Topic     string
	Partition int
	Offset    int64
	// Class is the class of the last error; Reason is its text.
	Class  string
	Reason string
	// Attempts is how often the record was tried, at least 0.
	Attempts int
	// Key and Value are those of the original record. A key that is not UTF-8 is given by
	// record.Readable: in hexadecimal after 0x. A longer value is cut off.
	Key   string
	Value []byte
	// State is open, replayed or dropped.
	State string
	// Note is the reason given for a resolution.
	Note string
	// FirstFailedAt and LastFailedAt are the times of the first and the last attempt that failed.
	FirstFailedAt, LastFailedAt time.Time
	// PoisonOffset is the offset of the dead letter in its own topic.
	PoisonOffset int64
	// RecordedAt is the log's time of the dead letter.
	RecordedAt time.Time
}
