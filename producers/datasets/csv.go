package datasets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
)

// interactionsCSV returns the name of the CSV that holds the interactions: the one that was named,
// else the only one with the right header. The error says what each CSV file lacks.
func (f *files) interactionsCSV() (string, error) {
	if f.main != "" {
		return f.main, nil
	}
	var names []string
	var lacking []error
	for _, name := range slices.Sorted(maps.Keys(f.byName)) {
		if !strings.HasSuffix(strings.TrimSuffix(strings.ToLower(name), ".gz"), ".csv") {
			continue
		}
		t, err := f.openCSV(name)
		if err == nil {
			_, err = t.interactionColumns()
			_ = t.Close()
		}
		if err != nil {
			lacking = append(lacking, err)
			continue
		}
		names = append(names, name)
	}
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", fmt.Errorf(
			"several CSV files with the header user,item,timestamp: %q; give the path of one",
			names,
		)
	case len(lacking) > 0:
		return "", errors.Join(lacking[:min(len(lacking), 10)]...)
	}
	return "", errors.New("no CSV file with the header user,item,timestamp")
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
// none is below 0.5); else they are counts or ones, and only tell that it happened. A negative
// value is none: data sets write -1 for "not rated".
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
			if v >= 0 {
				scale.include(v)
				value = float32(v)
			}
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
	case s.low == s.high || s.high > 10:
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

// mergeItems adds what the CSV at path says to the items.
func (d *Dataset) mergeItems(ctx context.Context, path string) error {
	r, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open items: %w", err)
	}
	u, err := content(path, r)
	if err != nil {
		return err
	}
	t, err := newTable(filepath.Base(path), u)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	t.prose = t.column("description")
	id := t.column("item_id", "item", "id")
	if id < 0 {
		return fmt.Errorf("%s: the header is %q, column item_id is missing", path, t.header)
	}
	places := map[string]int{}
	for i := range d.items {
		places[d.items[i].ItemID] = i
	}
	return t.each(ctx, id+1, func(s []string) error {
		name := strings.TrimSpace(s[id])
		i, ok := places[name]
		if !ok {
			i = len(d.items)
			d.items = append(d.items, schemas.Item{ItemID: strings.Clone(name)})
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
