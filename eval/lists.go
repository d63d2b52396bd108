package eval

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
)

// Lists writes the lists that were judged as CSV, for an outside judge: user,item,timestamp,list
// with the header of these names. item is what the user took next; list holds ids in the order of
// rank, separated by spaces.
type Lists struct {
	data   *Data
	csv    *csv.Writer
	fields [4]string
	list   strings.Builder
}

// NewLists returns a writer of lists, and has written the header.
func NewLists(w io.Writer, d *Data) (*Lists, error) {
	l := &Lists{data: d, csv: csv.NewWriter(w)}
	return l, l.csv.Write([]string{"user", "item", "timestamp", "list"})
}

// Add writes one list; its signature is that of Options.OnList.
func (l *Lists) Add(e Event, list []int32) error {
	l.list.Reset()
	for n, i := range list {
		if n > 0 {
			l.list.WriteByte(' ')
		}
		l.list.WriteString(l.data.Items[i])
	}
	l.fields = [4]string{
		l.data.Users[e.User], l.data.Items[e.Item], strconv.FormatInt(e.At, 10), l.list.String(),
	}
	return l.csv.Write(l.fields[:])
}

// Flush writes what is buffered and returns the first error.
func (l *Lists) Flush() error {
	l.csv.Flush()
	return l.csv.Error()
}
