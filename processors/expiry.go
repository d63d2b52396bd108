package processors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// UserExpirer is what an ExpiryJob needs of the store of users. sinktest.Users says what its method
// promises.
type UserExpirer interface {
	ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error)
}

// ExpiryJob deletes users without recent events, and asks recommend to withdraw current lists whose
// expires_at has passed. Lists of erased users count as expired: their marker may be lost to
// recommend.
type ExpiryJob struct {
	users    UserExpirer
	log      Log
	emit     Emitter
	erasures *Erasures
	cfg      ExpiryConfig
	now      func() time.Time
}

// ExpiryConfig holds the settings of ExpiryJob.
type ExpiryConfig struct {
	// Partitions is the number of partitions of recommendations.current.
	Partitions int
	// UserTTL is the time after their latest change that users are deleted; 0 is never.
	UserTTL time.Duration
}

// NewExpiryJob returns the job.
func NewExpiryJob(
	users UserExpirer, streams Streams, erasures *Erasures, cfg ExpiryConfig,
	now func() time.Time,
) *ExpiryJob {
	return &ExpiryJob{
		users: users, log: streams.Log, emit: streams.Emit, erasures: erasures, cfg: cfg, now: now,
	}
}

// Run does both. If one part fails, the other is still done.
func (j *ExpiryJob) Run(ctx context.Context) error {
	return errors.Join(j.expireUsers(ctx), j.expireLists(ctx))
}

// expiredAtOnce bounds one call to the store or to the log.
const expiredAtOnce = 1000

func (j *ExpiryJob) expireUsers(ctx context.Context) error {
	if j.cfg.UserTTL <= 0 {
		return nil
	}
	for {
		n, err := j.users.ExpireUsers(ctx, j.now().Add(-j.cfg.UserTTL), expiredAtOnce)
		if err != nil {
			return fmt.Errorf("expire users: %w", err)
		}
		if n < expiredAtOnce {
			return nil
		}
	}
}

// expireLists asks for the tombstones of expired lists, so that compaction removes them. It does
// not write them: a list may be replaced while the partition is read, and recommend alone knows.
func (j *ExpiryJob) expireLists(ctx context.Context) error {
	for n := range j.cfg.Partitions {
		expired, err := j.expiredLists(ctx, n)
		if err != nil {
			return fmt.Errorf("read current lists of partition %d: %w", n, err)
		}
		for some := range slices.Chunk(expired, expiredAtOnce) {
			if err := j.emit.Emit(ctx, some); err != nil {
				return fmt.Errorf("ask to withdraw %d lists: %w", len(some), err)
			}
		}
	}
	return nil
}

// expiredLists returns a request for each expired list of a partition.
func (j *ExpiryJob) expiredLists(ctx context.Context, partition int) ([]record.Record, error) {
	type place struct{ version, offset int64 }
	var (
		now     = j.now()
		expired = make(map[string]place)
		end     int64
	)
	err := j.log.Read(ctx, schemas.TopicRecommendationsCurrent, partition, 0, -1,
		func(r *record.Record) error {
			end = r.Offset + 1
			delete(expired, string(r.Key))
			if len(r.Value) == 0 {
				return nil
			}
			list, err := schemas.DecodeRecommendation(r)
			if err == nil && (list.ExpiresAt.Before(now) ||
				j.erasures.coversList(list.UserID, &list.CausedBy)) {
				expired[string(r.Key)] = place{list.Version, r.Offset}
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	requests := make([]record.Record, 0, len(expired))
	for user, at := range expired {
		requests = append(requests, (&schemas.RecommendationExpired{
			UserID: user, Version: at.version, Partition: partition, Offset: at.offset, End: end,
			AskedAt: now,
		}).Message())
	}
	return requests, nil
}
