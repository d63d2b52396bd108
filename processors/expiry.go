package processors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// UserExpirer is what an ExpiryJob needs of the store of users. sinktest.Users says what its method
// promises.
type UserExpirer interface {
	ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error)
}

// ExpiryJob deletes users without recent events, and current lists whose expires_at has passed.
type ExpiryJob struct {
	users      UserExpirer
	log        Log
	emit       Emitter
	partitions int
	userTTL    time.Duration
	now        func() time.Time
}

// NewExpiryJob returns the job. partitions is the number of partitions of recommendations.current.
// Users are deleted userTTL after their latest change, never if it is 0.
func NewExpiryJob(
	users UserExpirer,
	streams Streams,
	partitions int,
	userTTL time.Duration,
	now func() time.Time,
) *ExpiryJob {
	return &ExpiryJob{
		users: users, log: streams.Log, emit: streams.Emit, partitions: partitions,
		userTTL: userTTL, now: now,
	}
}

// Run does both. If one part fails, the other is still done.
func (j *ExpiryJob) Run(ctx context.Context) error {
	return errors.Join(j.expireUsers(ctx), j.expireLists(ctx))
}

// expiredAtOnce bounds one call to the store.
const expiredAtOnce = 1000

func (j *ExpiryJob) expireUsers(ctx context.Context) error {
	if j.userTTL <= 0 {
		return nil
	}
	for {
		n, err := j.users.ExpireUsers(ctx, j.now().Add(-j.userTTL), expiredAtOnce)
		if err != nil {
			return fmt.Errorf("expire users: %w", err)
		}
		if n < expiredAtOnce {
			return nil
		}
	}
}

// expireLists writes tombstones for expired lists, so that compaction removes them.
func (j *ExpiryJob) expireLists(ctx context.Context) error {
	now := j.now()
	for p := range j.partitions {
		expired := make(map[string]struct{})
		err := j.log.Read(
			ctx,
			schemas.TopicRecommendationsCurrent,
			p,
			0,
			-1,
			func(r *record.Record) error {
				delete(expired, string(r.Key))
				if len(r.Value) == 0 {
					return nil
				}
				if list, err := schemas.DecodeRecommendation(r); err == nil &&
					list.ExpiresAt.Before(now) {
					expired[string(r.Key)] = struct{}{}
				}
				return nil
			},
		)
		if err != nil {
			return fmt.Errorf("read current lists of partition %d: %w", p, err)
		}
		batch := make([]record.Record, 0, len(expired))
		for key := range expired {
			batch = append(
				batch,
				record.Record{
					Topic: schemas.TopicRecommendationsCurrent, Partition: p, Key: []byte(key),
				},
			)
		}
		if err := j.emit.Emit(ctx, batch); err != nil {
			return fmt.Errorf("expire %d lists: %w", len(batch), err)
		}
	}
	return nil
}
