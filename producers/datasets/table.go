package datasets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
)

// table is a CSV file with a header.
type table struct {
	*csv.Reader
	io.Closer
	name   string
	header []string
	prose  int // the column whose fields may hold line breaks, or -1
}

func (f *files) openCSV(name string) (*table, error) {
	r, err := f.openFile(name)
	if err != nil {
		return nil, err
	}
	return newTable(name, r)
}

// newTable reads the header. Columns are separated by commas, or by semicolons or tabs where the
// header has no comma, as spreadsheets write them. It closes r when it fails.
func newTable(name string, r io.ReadCloser) (*table, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	c := csv.NewReader(b)
	c.ReuseRecord, c.FieldsPerRecord, c.LazyQuotes = true, -1, true
	head, _ := b.Peek(1 << 12)
	first, _, _ := bytes.Cut(head, []byte("\n"))
	for _, comma := range ";\t" {
		if !bytes.ContainsRune(first, ',') && bytes.ContainsRune(first, comma) {
			c.Comma = comma
			break
		}
	}
	t := &table{Reader: c, Closer: r, name: name, prose: -1}
	header, err := c.Read()
	if err == nil {
		err = t.check(header)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the header of %s: %w", name, err), r.Close())
	}
	t.header = slices.Clone(header)
	for i := range t.header {
		t.header[i] = strings.TrimSpace(t.header[i])
	}
	return t, nil
}

// check refuses what is not UTF-8, and a line break where none belongs: a quote that is not closed
// would swallow the rows behind it.
func (t *table) check(fields []string) error {
	for i, s := range fields {
		if err := schemas.CheckUTF8(s); err != nil {
			return fmt.Errorf(
				"field %d, %q, %w; convert the file, as by iconv -f latin1 -t utf-8", i+1, s, err,
			)
		}
		if i != t.prose && strings.ContainsAny(s, "\r\n") {
			return fmt.Errorf("field %d holds a line break: is a quote not closed?", i+1)
		}
	}
	return nil
}

// columns returns the place of each wanted column; an error names those that are not there.
func (t *table) columns(want ...string) ([]int, error) {
	at := make([]int, len(want))
	var missing []string
	for i, w := range want {
		if at[i] = t.column(w); at[i] < 0 {
			missing = append(missing, w)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf(
			"%s: the header is %q, columns %q are missing", t.name, t.header, missing,
		)
	}
	return at, nil
}

// column returns the place of the first of the names that is in the header, or -1.
func (t *table) column(names ...string) int {
	for _, n := range names {
		if i := slices.IndexFunc(t.header, func(h string) bool {
			return strings.EqualFold(h, n)
		}); i >= 0 {
			return i
		}
	}
	return -1
}

// each calls f for every row with at least width fields; its fields are valid during the call only.
func (t *table) each(ctx context.Context, width int, f func(fields []string) error) error {
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		fields, err := t.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		line, _ := t.FieldPos(0)
		err = t.check(fields)
		if err == nil && len(fields) < width {
			err = fmt.Errorf("%d fields, want at least %d", len(fields), width)
		}
		if err == nil {
			err = f(fields)
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", t.name, line, err)
		}
	}
}
