package eval

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// ReadNCF reads the file format of the neural collaborative filtering benchmark, plain or gzipped:
// train and test hold user, item, rating and timestamp, separated by tabs; negatives holds
// "(user,item)" and item numbers, and may be "".
func ReadNCF(train, test, negatives string) (*Data, []HeldOut, error) {
	d := &Data{}
	err := lines(train, func(f []string) error {
		e, err := d.ncfEvent(f)
		d.Events = append(d.Events, e)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	d.Sort()
	var held []HeldOut
	place := map[[2]int32]int{}
	err = lines(test, func(f []string) error {
		e, err := d.ncfEvent(f)
		if err != nil {
			return err
		}
		place[[2]int32{e.User, e.Item}] = len(held)
		held = append(held, HeldOut{User: e.User, Item: e.Item})
		return nil
	})
	if err != nil || negatives == "" {
		return d, held, err
	}
	err = lines(negatives, func(f []string) error {
		user, item, ok := strings.Cut(strings.Trim(f[0], "()"), ",")
		if !ok {
			return fmt.Errorf("%q is not (user,item)", f[0])
		}
		n, ok := place[[2]int32{d.User(user), d.Item(item)}]
		if !ok {
			return fmt.Errorf("%s is not in %s", f[0], test)
		}
		for _, id := range f[1:] {
			if id = strings.TrimSpace(id); id != "" {
				held[n].Negatives = append(held[n].Negatives, d.Item(id))
			}
		}
		return nil
	})
	return d, held, err
}

func (d *Data) ncfEvent(f []string) (Event, error) {
	if len(f) < 2 {
		return Event{}, fmt.Errorf("%d fields, want user, item, rating and timestamp", len(f))
	}
	if strings.HasPrefix(f[0], "(") {
		return Event{}, fmt.Errorf(
			"%q looks like a file of negatives, want user, item, rating and timestamp", f[0],
		)
	}
	e := Event{User: d.User(f[0]), Item: d.Item(f[1]), Action: "rate"}
	if len(f) > 2 {
		v, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			return e, fmt.Errorf("rating %q is not a number", f[2])
		}
		e.Value, e.Valued = v, true
	}
	if len(f) > 3 {
		at, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			return e, fmt.Errorf("timestamp %q is not a number", f[3])
		}
		e.At = int64(at)
	}
	return e, nil
}

// lines calls each with the tab-separated fields of every line that is not empty.
func lines(path string, each func(fields []string) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimRight(s.Text(), "\r\n")
		if line == "" {
			continue
		}
		if err := each(strings.Split(line, "\t")); err != nil {
			return fmt.Errorf("%s line %d: %w", path, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
