package admin

import (
	"context"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
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
	meta := Meta{Conn: conn, Emitter: emitter, Topic: metaTopic}
	if create {
		return meta.Establish(ctx, logIDKey, uuid.NewString())
	}
	id, err := meta.Fact(ctx, logIDKey)
	if err == nil && id == "" {
		err = fault.Permanentf(
			"the log has no id in topic %s: run migrate once before starting", metaTopic,
		)
	}
	return id, err
}
