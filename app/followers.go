package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/stream"
)

// followerReport is the first interval of the log lines while a start waits for followers.
const followerReport = 5 * time.Second

// waitingForTopic is what a start logs about each topic that it waits for.
const waitingForTopic = "the start waits until a topic is read"

// damagedFollowers returns how many followed partitions cannot be read since the log is damaged,
// and an error that names the topics, or nil.
func (a *App) damagedFollowers() (partitions int, err error) {
	var all []error
	for _, f := range a.followers {
		if p := f.Progress(); stream.Damaged(p.Err) {
			partitions += len(p.Failing)
			all = append(all, fmt.Errorf("follow %s: %w", p.Topic, p.Err))
		}
	}
	return partitions, errors.Join(all...)
}

// catchUp returns when every follower has applied the records that its topic held at the start, or
// as soon as one has failed. Meanwhile it logs each topic that is not read yet, at the interval,
// which grows to a minute. It logs a warning because slipstream dev hides lower levels.
func catchUp(
	ctx context.Context, log *slog.Logger, interval time.Duration, followers []*stream.Follower,
) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, f := range followers {
		group.Go(func() error { return f.WaitCaughtUp(gctx) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	longest := max(interval, time.Minute)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			interval = min(2*interval, longest)
			ticker.Reset(interval)
		}
		for _, f := range followers {
			p := f.Progress()
			if p.CaughtUp {
				continue
			}
			args := []any{"topic", p.Topic, "read", p.Read, "of", p.Total}
			if len(p.Failing) > 0 {
				args = append(args, "failing_partitions", p.Failing)
			}
			if p.Err != nil {
				args = append(args, "error", p.Err)
			}
			log.Warn(waitingForTopic, args...)
		}
	}
}
