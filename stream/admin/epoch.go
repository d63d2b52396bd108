package admin

import (
	"context"
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// epochKey is the key of the log's epoch in the meta topic, beside its id.
const epochKey = "epoch"

// A log starts with FirstEpoch. RaiseEpoch does not go beyond LastEpoch: stores hold positions as
// epoch · 2^44 + offset, which above it would not be exact in a float64.
const (
	FirstEpoch = 128
	LastEpoch  = 511
)

// Epoch returns the log's epoch, from FirstEpoch to LastEpoch: what stands in the compacted
// metaTopic, or FirstEpoch when nothing does. A process reads it at its start.
func Epoch(ctx context.Context, conn *stream.Conn, metaTopic string) (int, error) {
	highest, _, err := readEpochs(ctx, conn, metaTopic)
	return highest, err
}

// RaiseEpoch makes the log's epoch one higher and returns it. Call it when the topics were restored
// from a copy or made anew with another number of partitions, so that offsets start anew: positions
// in stores are then lower than those of new records, whatever the offsets. Nothing that writes
// positions may run meanwhile, since a process knows the epoch it was started with. At LastEpoch it
// is a permanent error. When it fails the epoch may have been raised.
func RaiseEpoch(
	ctx context.Context,
	conn *stream.Conn,
	emitter Emitter,
	metaTopic string,
) (int, error) {
	epoch, _, err := readEpochs(ctx, conn, metaTopic)
	if err != nil {
		return 0, err
	}
	if epoch >= LastEpoch {
		return 0, fault.Permanentf(
			"the log is in epoch %d, the last one: copy it to new topics under "+
				"another prefix and rebuild the stores",
			epoch,
		)
	}
	if err := writeEpoch(ctx, emitter, metaTopic, epoch+1); err != nil {
		return 0, err
	}
	raised, last, err := readEpochs(ctx, conn, metaTopic)
	if err != nil {
		return 0, err
	}
	if raised <= epoch {
		return 0, fault.Transientf("the epoch was written to %s but cannot be read back", metaTopic)
	}
	if last != raised {
		// Another one raised it too. Compaction keeps the last, which must be the highest.
		if err := writeEpoch(ctx, emitter, metaTopic, raised); err != nil {
			return 0, err
		}
	}
	return raised, nil
}

func writeEpoch(ctx context.Context, emitter Emitter, metaTopic string, epoch int) error {
	r := record.Record{
		Topic: metaTopic, Key: []byte(epochKey), Value: strconv.AppendInt(nil, int64(epoch), 10),
	}
	if err := emitter.Emit(ctx, []record.Record{r}); err != nil {
		return fmt.Errorf("write the log's epoch: %w", err)
	}
	return nil
}

// readEpochs returns the highest epoch in the topic and the last.
func readEpochs(
	ctx context.Context,
	conn *stream.Conn,
	metaTopic string,
) (highest, last int, err error) {
	highest, last = FirstEpoch, FirstEpoch
	err = conn.Read(
		ctx,
		record.TopicPartition{Topic: metaTopic},
		0,
		-1,
		func(r *record.Record) error {
			if string(r.Key) != epochKey || len(r.Value) == 0 {
				return nil
			}
			epoch, err := strconv.Atoi(string(r.Value))
			if err != nil || epoch < FirstEpoch || epoch > LastEpoch {
				return fault.Permanentf("offset %d of %s: epoch %q: want %d to %d",
					r.Offset, metaTopic, r.Value, FirstEpoch, LastEpoch)
			}
			highest, last = max(highest, epoch), epoch
			return nil
		},
	)
	if err != nil {
		return 0, 0, fmt.Errorf("read the log's epoch: %w", err)
	}
	return highest, last, nil
}
