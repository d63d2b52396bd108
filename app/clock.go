package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
)

// RequireLogTimes returns an error that says what to do when a topic whose records must have the
// broker's time keeps the producers' times: one wrong clock would decide what is trending.
func (k *Kafka) RequireLogTimes(ctx context.Context, cfg config.Config) error {
	names, err := admin.WithoutLogAppendTime(ctx, k.conn, topicSpecs(cfg))
	if err != nil || len(names) == 0 {
		return err
	}
	for i, name := range names {
		names[i] = k.conn.Full(name)
	}
	return fmt.Errorf("topics %s keep the time of their producers' clocks, not the broker's "+
		"(message.timestamp.type is not LogAppendTime): run \"slipstream migrate\", which "+
		"alters them", strings.Join(names, ", "))
}

// skew is max_clock_skew as it stands in the log.
func (k *Kafka) skew() *admin.Setting {
	return admin.NewSetting(k.conn, k.pub, schemas.TopicMeta, "max_clock_skew")
}

// SettleSkew makes sure that the configured max_clock_skew is the log's: it decides about the rows,
// which must be a function of the log. A log without one gets it.
func (k *Kafka) SettleSkew(ctx context.Context, cfg config.Config) error {
	configured := cfg.Stream.MaxClockSkew
	stored, err := k.skew().Get(ctx)
	switch {
	case err != nil:
		return err
	case stored == "":
		return k.skew().Set(ctx, configured.String())
	}
	if d, err := time.ParseDuration(stored); err == nil && d == configured {
		return nil
	}
	return fmt.Errorf("stream.max_clock_skew is %s, but what stands in the stores was made with "+
		"%s: set it back, or make the stores anew: stop all processors, run \"slipstream migrate "+
		"--change-clock-skew\" and then \"slipstream rebuild --store\" for qdrant, neo4j and "+
		"clickhouse (with dev: \"slipstream rebuild --store embedded\" alone)",
		configured, stored)
}

// AdoptSkew writes the configured max_clock_skew to the log: the stores have been made with it.
func (k *Kafka) AdoptSkew(ctx context.Context, cfg config.Config) error {
	configured := cfg.Stream.MaxClockSkew.String()
	if stored, err := k.skew().Get(ctx); err != nil || stored == configured {
		return err
	}
	return k.skew().Set(ctx, configured)
}

// ChangeSkew makes the configured max_clock_skew the log's, and the stores of another log, so that
// they have to be rebuilt before the next start. It is an error while a processor runs.
func (k *Kafka) ChangeSkew(ctx context.Context, cfg config.Config, e *Engines) error {
	if err := k.EnsureTopics(ctx, cfg); err != nil {
		return err
	}
	for _, group := range processors.Groups() {
		members, err := admin.Members(ctx, k.conn, group)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return fmt.Errorf("%s is running (%s): stop it before max_clock_skew is changed",
				group, strings.Join(slices.Compact(members), ", "))
		}
	}
	if err := e.disown(ctx); err != nil {
		return err
	}
	return k.AdoptSkew(ctx, cfg)
}
