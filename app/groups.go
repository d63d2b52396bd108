package app

import (
	"context"
	"maps"
	"slices"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// MoveGroups gives the offsets of groups that were renamed to their new names. While processors of
// the version before run it is a transient error.
func (k *Kafka) MoveGroups(ctx context.Context) error {
	renamed, topics := schemas.Renamed().Groups, k.GroupTopics()
	for _, old := range slices.Sorted(maps.Keys(renamed)) {
		now := renamed[old]
		for _, pair := range [][2]string{
			{old, now}, {record.RetryGroup(old), record.RetryGroup(now)},
		} {
			if len(topics[pair[1]]) == 0 {
				continue
			}
			if err := admin.MoveGroup(ctx, k.conn, pair[0], pair[1], topics[pair[1]]); err != nil {
				return err
			}
		}
	}
	return nil
}
