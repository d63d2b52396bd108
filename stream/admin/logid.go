package admin

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// logIDKey is the key of the log's id in the meta topic.
const logIDKey = "log_id"

// LogID returns the random id of this log, which stands in the compacted metaTopic and in every
// store, so that a log wiped beside kept stores, or the reverse, is noticed. With create a log
// without an id gets one; otherwise that is a permanent error that says what to do.
func LogID(
	ctx context.Context,
	conn *stream.Conn,
	emitter Emitter,
	metaTopic string,
	create bool,
) (string, error) {
	ids, err := readLogIDs(ctx, conn, metaTopic)
	if err != nil {
		return "", err
	}
	if len(ids) == 0 {
		if !create {
			return "", fault.Permanentf(
				"the log has no id in topic %s: run migrate once before starting", metaTopic,
			)
		}
		if err := writeLogID(ctx, emitter, metaTopic, uuid.NewString()); err != nil {
			return "", err
		}
		if ids, err = readLogIDs(ctx, conn, metaTopic); err != nil {
			return "", err
		}
		if len(ids) == 0 {
			return "", fault.Transientf(
				"the log's id was written to %s but cannot be read back", metaTopic,
			)
		}
	}
	// Two that write at once both take the first; writing it again makes sure that compaction,
	// which keeps the last, agrees.
	if first := ids[0]; ids[len(ids)-1] != first {
		if err := writeLogID(ctx, emitter, metaTopic, first); err != nil {
			return "", err
		}
	}
	return ids[0], nil
}

func writeLogID(ctx context.Context, emitter Emitter, metaTopic, id string) error {
	written := record.Record{Topic: metaTopic, Key: []byte(logIDKey), Value: []byte(id)}
	if err := emitter.Emit(ctx, []record.Record{written}); err != nil {
		return fmt.Errorf("write the log's id: %w", err)
	}
	return nil
}

func readLogIDs(ctx context.Context, conn *stream.Conn, metaTopic string) ([]string, error) {
	var ids []string
	err := conn.Read(
		ctx,
		record.TopicPartition{Topic: metaTopic, Partition: 0},
		0,
		-1,
		func(r *record.Record) error {
			if string(r.Key) == logIDKey && len(r.Value) > 0 {
				ids = append(ids, string(r.Value))
			}
			return nil
		},
	)
	if err != nil {
		return nil, fmt.Errorf("read the log's id: %w", err)
	}
	return ids, nil
}
