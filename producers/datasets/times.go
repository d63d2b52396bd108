package datasets

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// noTime is the time of a row that tells none.
const noTime = math.MinInt64

// latestSeconds bounds times on either side: what lies further from 1970 was not meant as seconds,
// and would not be accepted as occurred_at.
const latestSeconds = 4_260_000_000 // in the year 2104

// Bounds that tell times from what stands in their place, in microseconds.
const (
	day = 24 * int64(time.Hour/time.Microsecond)
	// firstReal is 1980-01-01: no data set is older, and none counts that far.
	firstReal = 315_532_800 * int64(time.Second/time.Microsecond)
)

// parseTime returns microseconds since 1970, or noTime for what data sets write where they know no
// time.
func parseTime(s string) (int64, error) {
	s = strings.TrimSpace(s)
	switch strings.ToLower(s) {
	case "", "null", "nan", "nat", "none", "na", "n/a", `\n`, "0000-00-00", "0000-00-00 00:00:00":
		return noTime, nil
	}
	micros, ok := int64(0), false
	if v, err := strconv.ParseInt(s, 10, 64); err == nil && v > math.MinInt64 {
		switch abs := max(v, -v); {
		case abs >= 1e17:
			micros = v / 1000
		case abs >= 1e14:
			micros = v
		case abs >= 1e11:
			micros = v * 1000
		default:
			micros = v * 1e6
		}
		ok = true
	} else if v, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(v) < 1e11 {
		micros, ok = int64(math.Round(v*1e6)), true
	}
	layouts := [...]string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02"}
	for i := 0; !ok && i < len(layouts); i++ {
		if t, err := time.Parse(layouts[i], s); err == nil {
			micros, ok = t.UnixMicro(), true
		}
	}
	if !ok || micros/1e6 > latestSeconds || micros/1e6 < -latestSeconds {
		return 0, fmt.Errorf(
			"timestamp %q is neither a number of seconds since 1970 nor an RFC 3339 time", s,
		)
	}
	return micros, nil
}

// order gives every row a time, sorts the rows by it, equal times as in the file, and completes
// items and users.
func (d *Dataset) order(timedOnly bool) error {
	if err := d.settleTimes(timedOnly); err != nil {
		return err
	}
	inOrder := func(a, b row) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
	}
	if !slices.IsSortedFunc(d.rows, inOrder) {
		slices.SortFunc(d.rows, inOrder)
	}
	if last := d.End(); last.Unix() > latestSeconds {
		return fmt.Errorf(
			"the times span from %s to %s: want seconds since 1970",
			d.Start().Format(time.DateOnly), last.Format(time.DateOnly),
		)
	}
	start := d.Start()
	for i := range d.items {
		x := &d.items[i]
		x.OccurredAt, x.Source = start, d.source
		if err := x.Validate(); err != nil {
			return fmt.Errorf("item %q: %w", x.ItemID, err)
		}
		x.EventID = stateID("item", x.ItemID, x.Message().Value)
	}
	for i := range d.users {
		x := &d.users[i]
		x.OccurredAt, x.Source = start, d.source
		if err := x.Validate(); err != nil {
			return fmt.Errorf("user %q: %w", x.UserID, err)
		}
		x.EventID = stateID("user", x.UserID, x.Message().Value)
	}
	return nil
}

// settleTimes moves the clock of data whose times are mere ordinals, and gives a time to rows that
// have none.
func (d *Dataset) settleTimes(timedOnly bool) error {
	dated, others := 0, 0
	for i := range d.rows {
		switch at := d.rows[i].at; {
		case at == noTime || at >= -day && at <= day:
			// None, or 0 or -1 in its place, or the first ordinals: the others decide.
		case at >= firstReal:
			dated++
		default:
			others++
		}
	}
	// Where most rows have a time, one before 1970-01-02 is none: data sets write 0 or -1 for a
	// time that they do not know, and nobody listened to Last.fm in 1956.
	isTime := func(at int64) bool { return at != noTime && (dated <= others || at >= day) }
	first := int64(math.MaxInt64)
	timeless := 0
	for i := range d.rows {
		if at := d.rows[i].at; isTime(at) {
			first = min(first, at)
		} else {
			timeless++
		}
	}
	if timeless == len(d.rows) {
		return errors.New("no row has a time, so nothing can be put in order")
	}
	if timeless > 0 {
		d.impute(isTime, timedOnly)
	}
	if first < day {
		base := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		d.shift = time.Duration(base-first) * time.Microsecond
		for i := range d.rows {
			d.rows[i].at += base - first
		}
	}
	return nil
}

// impute spreads the rows without a time evenly over their user's period, in an order that the ids
// alone decide, and over everybody's period where the user has none. With timedOnly it leaves them
// out.
func (d *Dataset) impute(isTime func(at int64) bool, timedOnly bool) {
	if timedOnly {
		d.rows = slices.DeleteFunc(d.rows, func(r row) bool { return !isTime(r.at) })
		users, items := d.userIDs.ids, d.itemIDs.ids
		d.userIDs, d.itemIDs = interner{}, interner{}
		for i := range d.rows {
			r := &d.rows[i]
			r.user, r.item = d.userIDs.idOf(users[r.user]), d.itemIDs.idOf(items[r.item])
		}
		return
	}
	spans := make([]span, len(d.userIDs.ids))
	all := span{}
	for i := range d.rows {
		if r := &d.rows[i]; isTime(r.at) {
			spans[r.user].include(r.at / 1000)
			all.include(r.at / 1000)
		}
	}
	d.imputed = map[uint32]struct{}{}
	for i := range d.rows {
		r := &d.rows[i]
		if isTime(r.at) {
			continue
		}
		s := spans[r.user]
		if !s.known {
			s = all
		}
		// The top 53 bits of the hash are a fair number in [0, 1).
		key := schemas.Key(d.userIDs.ids[r.user] + "/" + d.itemIDs.ids[r.item])
		share := float64(key>>11) / (1 << 53)
		r.at = (s.first + int64(share*float64(s.last-s.first))) * 1000
		d.imputed[r.seq] = struct{}{}
	}
}

// span is a time with a beginning and an end, in milliseconds.
type span struct {
	first, last int64
	known       bool
}

func (s *span) include(at int64) {
	if !s.known {
		*s = span{at, at, true}
	}
	s.first, s.last = min(s.first, at), max(s.last, at)
}
