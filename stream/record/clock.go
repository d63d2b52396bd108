package record

import "time"

// Clock gives the records of one partition log times that never fall. The clock of a broker may
// step back, or another broker with a slower clock may take over. So a record counts as no earlier
// than the ones before it. Only records that have the broker's time take part (Record.Appended):
// what producers say of the time is in no order. The zero Clock has seen no record.
type Clock struct {
	latest time.Time
}

// ClockAt returns the clock behind records of which the latest has the log time t. Zero is none.
func ClockAt(t time.Time) Clock { return Clock{latest: t} }

// Raise raises the times of the next records to that of the latest before them, where they are
// earlier.
func (c *Clock) Raise(records []Record) {
	for i := range records {
		r := &records[i]
		switch {
		case !r.Appended || r.Time.IsZero():
		case r.Time.Before(c.latest):
			r.Shift += c.latest.Sub(r.Time)
			r.Time = c.latest
		default:
			c.latest = r.Time
		}
	}
}
