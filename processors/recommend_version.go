package processors

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// versions returns the version of each record's list: the position of the profile change on
// profile-changes. It depends on the log alone, so lists are in order whatever the clocks of the
// processes say. A change that comes back in a retry or replay topic keeps the position where it
// was first read: a newer list may have been published since.
func (p *Recommend) versions(ctx context.Context, b *record.Batch) ([]sinks.Position, error) {
	offsets := make([]int64, len(b.Records))
	var last int64
	for i := range b.Records {
		offsets[i] = changeOffset(&b.Records[i])
		last = max(last, offsets[i])
	}
	known := func(int64) (bool, error) { return true, nil }
	if b.Topic != schemas.TopicProfileChanges {
		all, err := p.reaches(ctx, b.Partition, last)
		if err != nil {
			return nil, err
		}
		if !all {
			known = func(offset int64) (bool, error) { return p.reaches(ctx, b.Partition, offset) }
		}
	}
	versions := make([]sinks.Position, len(offsets))
	for i, offset := range offsets {
		ok, err := known(offset)
		if err != nil {
			return nil, err
		}
		if !ok {
			offset = 0 // of an earlier epoch: this one has not come as far
		}
		versions[i] = sinks.PositionOf(p.cfg.Epoch, offset)
	}
	return versions, nil
}

// changeOffset returns the offset on profile-changes where the change was first read.
func changeOffset(r *record.Record) int64 {
	if r.Topic == schemas.TopicProfileChanges {
		return r.Offset
	}
	offset, err := strconv.ParseInt(r.Header(record.HeaderOffset), 10, 64)
	if err != nil {
		return 0 // nobody knows: older than everything
	}
	return max(offset, 0)
}

// errReached ends a reading at its first record.
var errReached = errors.New("the log reaches the offset")

// reaches tells whether a partition of profile-changes holds a record at the offset or after it.
func (p *Recommend) reaches(ctx context.Context, partition int, offset int64) (bool, error) {
	err := p.log.Read(ctx, schemas.TopicProfileChanges, partition, offset, -1,
		func(*record.Record) error { return errReached })
	if errors.Is(err, errReached) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the first position of a change: %w", err)
	}
	return false, nil
}
