package schemas

import (
	"fmt"
	"time"
)

// The bounds of occurred_at. ClickHouse keeps whole seconds since 1970 in its partition key, up to
// 2106.
var (
	earliestOccurred = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	latestOccurred   = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC)
)

// occurred checks what an event says of its time, where it is to be written on. What is ahead is
// judged by the log, see eventTime, so that only what cannot be written is refused before.
func occurred(t time.Time) error {
	if t.UTC().Year() > lastYear {
		return fmt.Errorf(
			"\"occurred_at\" %s has no year of four digits in UTC", t.Format(time.RFC3339),
		)
	}
	return occurredSince(t)
}

// occurredSince checks the lower bound alone. The schemas do, since on the log every later time can
// be read.
func occurredSince(t time.Time) error {
	if !t.IsZero() && t.Before(earliestOccurred) {
		return fmt.Errorf("\"occurred_at\" %s is before 1970-01-02", t.Format(time.RFC3339))
	}
	return nil
}

// The bounds of published_at: any year that can be written in UTC, up to where ClickHouse's Date32
// ends.
var (
	earliestPublished = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
	latestPublished   = time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC)
)

func published(t time.Time) error {
	if !t.IsZero() && (t.Before(earliestPublished) || t.After(latestPublished)) {
		return fmt.Errorf("\"published_at\" %s is not between the years 1 and 2299",
			t.Format(time.RFC3339))
	}
	return nil
}

// CheckID returns an error that says why no event can carry v as the id of a user or item, or nil:
// an id has 1 to MaxIDLength bytes, is UTF-8 and holds no control character. field is its name in
// the error.
func CheckID(field, v string) error { return id(field, v, true) }

func id(field, v string, required bool) error {
	switch {
	case required && v == "":
		return fmt.Errorf("%q is missing", field)
	case len(v) > MaxIDLength:
		return fmt.Errorf("%q is %d bytes long, at most %d are kept", field, len(v), MaxIDLength)
	}
	if err := text(field, v); err != nil {
		return err
	}
	for i := range len(v) {
		if v[i] < 0x20 || v[i] == 0x7f {
			return fmt.Errorf("%q holds a control character", field)
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
