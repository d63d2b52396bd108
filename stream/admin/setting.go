package admin

import (
	"context"
	"fmt"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Setting is a value that all readers of a log must have in common. It stands in the compacted meta
// topic under its name. Names are lower case with underscores, and none of log_id and epoch.
type Setting struct {
	conn      *stream.Conn
	emitter   Emitter
	metaTopic string
	name      string
}

// NewSetting returns the setting of a name in the log of the connection.
func NewSetting(conn *stream.Conn, emitter Emitter, metaTopic, name string) *Setting {
	return &Setting{conn: conn, emitter: emitter, metaTopic: metaTopic, name: name}
}

// Get returns the value, "" where none was set. The last one that was written counts.
func (s *Setting) Get(ctx context.Context) (string, error) {
	value := ""
	err := s.conn.Read(
		ctx, record.TopicPartition{Topic: s.metaTopic}, 0, -1,
		func(r *record.Record) error {
			if string(r.Key) == s.name {
				value = string(r.Value)
			}
			return nil
		},
	)
	if err != nil {
		return "", fmt.Errorf("read %s of the log: %w", s.name, err)
	}
	return value, nil
}

// Set writes the value. Of several that set at once the last to be written wins: it is an error for
// the others, of class transient.
func (s *Setting) Set(ctx context.Context, value string) error {
	r := record.Record{Topic: s.metaTopic, Key: []byte(s.name), Value: []byte(value)}
	if err := s.emitter.Emit(ctx, []record.Record{r}); err != nil {
		return fmt.Errorf("write %s of the log: %w", s.name, err)
	}
	got, err := s.Get(ctx)
	if err == nil && got != value {
		err = fault.Transientf("%s was written to %s as %q, and %q stands there now",
			s.name, s.metaTopic, value, got)
	}
	return err
}
