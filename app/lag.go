package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// lagTasks measure the lag of all groups. One instance runs them, so that a sum over instances
// counts each event once.
func (a *App) lagTasks() []processors.Task {
	return []processors.Task{
		{
			Name: "measure lag", Interval: 5 * time.Second, Run: a.measureLag,
			AtEnd: func(context.Context) error { a.metrics.SetLag(nil); return nil },
		},
		{
			Name: "measure age", Interval: time.Minute, Run: a.measureAge,
			AtEnd: func(context.Context) error { a.metrics.SetAges(nil); return nil },
		},
	}
}

// measureLag measures how many events the groups are behind. What is not known any more is not
// shown any more.
func (a *App) measureLag(ctx context.Context) error {
	lags, err := admin.Lag(ctx, a.kafka.conn, a.kafka.GroupTopics())
	if err != nil {
		a.metrics.SetLag(nil)
		return err
	}
	out := make([]telemetry.Lag, len(lags))
	for i, l := range lags {
		out[i] = telemetry.Lag{
			Group: l.Group, Topic: l.Topic, Partition: l.Partition, Events: l.Lag,
			Undecided: l.Undecided, End: l.End,
		}
	}
	a.metrics.SetLag(out)
	return nil
}

var errRead = errors.New("one record is enough")

// measureAge measures for how long the oldest record that a group has not read could have been
// read: how long people wait for its effects, and, where records are deleted by time, how near it
// is to losing some.
func (a *App) measureAge(ctx context.Context) error {
	lags, err := admin.Lag(ctx, a.kafka.conn, a.kafka.GroupTopics())
	if err != nil {
		a.metrics.SetAges(nil)
		return err
	}
	type series struct{ group, topic string }
	ages := make(map[series]time.Duration)
	var failed []error
	for _, l := range lags {
		key := series{l.Group, l.Topic}
		ages[key] = max(ages[key], 0)
		if l.Lag == 0 {
			continue
		}
		err := a.kafka.Read(ctx, l.Topic, l.Partition, max(l.Committed, 0), -1,
			func(r *record.Record) error {
				due := r.Time.Add(a.kafka.delays[l.Topic])
				ages[key] = max(ages[key], now().Sub(due))
				return errRead
			})
		if err != nil && !errors.Is(err, errRead) {
			// The ages of the others are true all the same.
			failed = append(
				failed, fmt.Errorf("age of the records that %s has not read: %w", l.Group, err),
			)
		}
	}
	out := make([]telemetry.Age, 0, len(ages))
	for key, age := range ages {
		out = append(out, telemetry.Age{
			Group: key.group, Topic: key.topic, Age: age, Retention: a.kafka.retentions[key.topic],
		})
	}
	a.metrics.SetAges(out)
	return errors.Join(failed...)
}
