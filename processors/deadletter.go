package processors

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// maxDeadValue bounds the value kept for analysts. The dead letter on its topic is complete.
const maxDeadValue = 64 << 10

// deadLetterCorrected is the state in a record that keeps the corrected value of a dead letter. It
// is for the replay alone and makes no row: the replay changes the state.
const deadLetterCorrected = "corrected"

// deadLetterRow makes a row from the headers of a dead letter or of its resolution.
func deadLetterRow(r *record.Record) (sinks.DeadLetterRow, error) {
	row := sinks.DeadLetterRow{
		ID: r.Header(record.HeaderID), Group: r.Header(record.HeaderGroup),
		Topic: r.Header(record.HeaderTopic),
		Class: r.Header(record.HeaderClass), Reason: r.Header(record.HeaderReason),
		Key: record.Readable(r.Key), Value: r.Value[:min(len(r.Value), maxDeadValue)],
		PoisonOffset: r.Offset,
		State:        "open",
	}
	if row.ID == "" {
		return row, fmt.Errorf("the record has no header %s: it is no dead letter", record.HeaderID)
	}
	row.Partition = int(headerInt(r, record.HeaderPartition))
	row.Offset = headerInt(r, record.HeaderOffset)
	row.Attempts = int(headerInt(r, record.HeaderAttempts))
	row.FirstFailedAt = headerTime(r, record.HeaderFirstFailure)
	row.LastFailedAt = headerTime(r, record.HeaderLastFailure)
	row.RecordedAt = recordedAt(r, row.LastFailedAt)
	if state := r.Header(record.HeaderResolution); state != "" {
		row.State, row.Note = state, r.Header(record.HeaderResolutionReason)
	}
	return row, nil
}

// namesErased tells whether a dead letter names a user who was erased after the letter, or the
// record in it, was written. Then it must not be stored again.
func (p *Analytics) namesErased(r *record.Record) bool {
	key := string(r.Key)
	users := append(schemas.UsersNamed(r.Value), key)
	if a, b, pair := strings.Cut(key, "|"); pair {
		users = append(users, a, b)
	}
	origin := headerTime(r, record.HeaderTime)
	if origin.IsZero() { // a resolution has none
		origin = r.Time
	}
	for _, u := range users {
		if p.erasures.Covers(u, origin, r.Time) {
			return true
		}
	}
	return false
}

func headerInt(r *record.Record, key string) int64 {
	n, err := strconv.ParseInt(r.Header(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func headerTime(r *record.Record, key string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, r.Header(key))
	if err != nil {
		return time.Time{}
	}
	return t
}
