package datasets

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// interactionsCSV returns the name of the CSV that holds the interactions: the one that was named,
// else the only one with the right header.
func (f *files) interactionsCSV() (string, error) {
	if f.main != "" {
		return f.main, nil
	}
	var names []string
	for name := range f.byName {
		if !strings.HasSuffix(strings.TrimSuffix(strings.ToLower(name), ".gz"), ".csv") {
			continue
		}
		t, err := f.openCSV(name)
		if err != nil {
			continue
		}
		if _, err := t.interactionColumns(); err == nil {
			names = append(names, name)
		}
		_ = t.Close()
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return "", errors.New("no CSV file with the header user,item,timestamp")
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf(
		"several CSV files with the header user,item,timestamp: %q; give the path of one", names,
	)
}

// csvColumns are the places of the columns; value is -1 when there is none.
type csvColumns struct{ user, item, at, value int }

func (t *table) interactionColumns() (csvColumns, error) {
	c := csvColumns{
		user: t.column("user", "user_id", "userId"),
		item: t.column("item", "item_id", "itemId", "movieId"),
		at:   t.column("timestamp", "time", "occurred_at"), value: t.column("value", "rating"),
	}
	if c.user < 0 || c.item < 0 || c.at < 0 {
		return c, fmt.Errorf(
			"%s: the header is %q, want user,item,timestamp[,value]", t.name, t.header,
		)
	}
	return c, nil
}

// readCSV reads user,item,timestamp[,value]. A timestamp is a number of seconds, milliseconds or
// microseconds since 1970, told apart by its size, or an RFC 3339 time. Values are ratings when
// they differ from each other and lie in [0.5, 5], or in [0, 10] (then those above 5 halve all, and
// none is below 0.5); else they are counts or ones, and only tell that it happened.
func (d *Dataset) readCSV(ctx context.Context, f *files, _ Config) error {
	name, err := f.interactionsCSV()
	if err != nil {
		return err
	}
	d.source += "/" + strings.TrimSuffix(
		strings.TrimSuffix(name, ".gz"), filepath.Ext(strings.TrimSuffix(name, ".gz")),
	)
	t, err := f.openCSV(name)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	c, err := t.interactionColumns()
	if err != nil {
		return err
	}
	scale := valueScale{low: math.Inf(1), high: math.Inf(-1)}
	err = t.each(ctx, max(c.user, c.item, c.at)+1, func(s []string) error {
		at, err := parseTime(s[c.at])
		if err != nil {
			return err
		}
		value := unrated
		if c.value >= 0 && c.value < len(s) && strings.TrimSpace(s[c.value]) != "" {
			v, err := strconv.ParseFloat(strings.TrimSpace(s[c.value]), 32)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("value %q is not a number", s[c.value])
			}
			scale.include(v)
			value = float32(max(v, 0))
		}
		user, item := strings.TrimSpace(s[c.user]), strings.TrimSpace(s[c.item])
		if err := checkIDs(user, item); err != nil {
			return err
		}
		d.add(user, item, at, value)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range d.rows {
		if d.rows[i].value != unrated {
			d.rows[i].value = scale.rating(d.rows[i].value)
		}
	}
	return nil
}

// valueScale tells what the values of a file mean.
type valueScale struct{ low, high float64 }

func (s *valueScale) include(v float64) { s.low, s.high = min(s.low, v), max(s.high, v) }

func (s *valueScale) rating(v float32) float32 {
	switch {
	case s.low == s.high || s.low < 0 || s.high > 10:
		return unrated
	case s.low >= 0.5 && s.high <= 5:
		return v
	case s.high > 1 && s.high <= 5:
		return max(v, 0.5)
	case s.high > 5:
		return max(v/2, 0.5)
	}
	return unrated
}

// parseTime returns microseconds since 1970.
func parseTime(s string) (int64, error) {
	s = strings.TrimSpace(s)
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
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); !ok && err == nil {
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

// mergeItems adds what the CSV at path says to the items.
func (d *Dataset) mergeItems(path string) error {
	r, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open items: %w", err)
	}
	u, err := unpacked(path, r)
	if err != nil {
		return err
	}
	t, err := newTable(filepath.Base(path), u)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	id := t.column("item_id", "item", "id")
	if id < 0 {
		return fmt.Errorf("%s: the header is %q, column item_id is missing", path, t.header)
	}
	places := map[string]int{}
	for i := range d.items {
		places[d.items[i].ItemID] = i
	}
	return t.each(context.Background(), id+1, func(s []string) error {
		i, ok := places[s[id]]
		if !ok {
			i = len(d.items)
			d.items = append(d.items, schemas.Item{ItemID: strings.Clone(s[id])})
			places[d.items[i].ItemID] = i
		}
		x := &d.items[i]
		set := func(into *string, names ...string) {
			if c := t.column(names...); c >= 0 && c < len(s) && s[c] != "" {
				*into = strings.Clone(s[c])
			}
		}
		setList := func(into *[]string, names ...string) {
			if c := t.column(names...); c >= 0 && c < len(s) && s[c] != "" {
				*into = list(s[c])
			}
		}
		set(&x.Title, "title", "name")
		set(&x.Description, "description")
		setList(&x.Genres, "genres", "genre")
		setList(&x.Directors, "directors", "director")
		setList(&x.Actors, "actors")
		setList(&x.Tags, "tags")
		*x = withTitle(*x)
		return x.Validate()
	})
}
