package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
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

// producerTimesKey is the key, in the meta topic, of the times until which topics had the times of
// their producers: a JSON object by topic.
const producerTimesKey = "producer_times_until"

// noteProducerTimes notes the topics that keep the times of their producers, right before they get
// the broker's. Whatever a producer's clock says, the log had their records by then.
func (k *Kafka) noteProducerTimes(ctx context.Context, cfg config.Config) error {
	specs := topicSpecs(cfg)
	names, err := admin.WithoutLogAppendTime(ctx, k.conn, specs)
	if err != nil || len(names) == 0 {
		return err
	}
	specs = slices.DeleteFunc(specs, func(s admin.TopicSpec) bool {
		return s.Name != schemas.TopicMeta
	})
	if err := admin.EnsureTopics(ctx, k.conn, specs); err != nil {
		return fmt.Errorf("create topic %s: %w", schemas.TopicMeta, err)
	}
	until, err := k.producerTimes(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		until[name] = now().UTC().Truncate(time.Millisecond)
	}
	text, err := json.Marshal(until)
	if err != nil {
		return err
	}
	if err := k.meta().Set(ctx, producerTimesKey, string(text)); err != nil {
		return err
	}
	k.conn.SetProducerTimes(until)
	return nil
}

// producerTimes returns what noteProducerTimes has noted.
func (k *Kafka) producerTimes(ctx context.Context) (map[string]time.Time, error) {
	until := make(map[string]time.Time)
	text, err := k.meta().Setting(ctx, producerTimesKey)
	if err != nil || text == "" {
		return until, err
	}
	if err := json.Unmarshal([]byte(text), &until); err != nil {
		return nil, fault.Permanentf("%s in %s: %w", producerTimesKey, schemas.TopicMeta, err)
	}
	return until, nil
}

// readProducerTimes has the connection go by what was noted.
func (k *Kafka) readProducerTimes(ctx context.Context) error {
	ok, err := k.conn.Exists(ctx, schemas.TopicMeta)
	if err != nil || !ok {
		return err
	}
	until, err := k.producerTimes(ctx)
	if err == nil {
		k.conn.SetProducerTimes(until)
	}
	return err
}

// skewKey is the key of max_clock_skew in the meta topic.
const skewKey = "max_clock_skew"

// EstablishSkew makes sure that the configured max_clock_skew is the log's: it decides about the
// rows, which must be a function of the log. A log without one gets it.
func (k *Kafka) EstablishSkew(ctx context.Context, cfg config.Config) error {
	configured := cfg.Stream.MaxClockSkew
	stored, err := k.meta().Setting(ctx, skewKey)
	switch {
	case err != nil:
		return err
	case stored == "":
		return k.meta().Set(ctx, skewKey, configured.String())
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
	if stored, err := k.meta().Setting(ctx, skewKey); err != nil || stored == configured {
		return err
	}
	return k.meta().Set(ctx, skewKey, configured)
}

// ChangeSkew makes the configured max_clock_skew the log's, and the stores of another log, so that
// they have to be rebuilt before the next start. It is an error while a processor runs.
func (k *Kafka) ChangeSkew(ctx context.Context, cfg config.Config, e *Engines) error {
	if err := k.EnsureTopics(ctx, cfg); err != nil {
		return err
	}
	err := k.requireStopped(ctx, "max_clock_skew is changed", processors.Groups()...)
	if err != nil {
		return err
	}
	if err := e.disown(ctx); err != nil {
		return err
	}
	return k.AdoptSkew(ctx, cfg)
}
