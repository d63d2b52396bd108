package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// WithoutLogAppendTime names the specs with LogAppendTime whose topics exist and keep the times of
// their producers nevertheless: an older version made them. EnsureTopics alters them.
func WithoutLogAppendTime(
	ctx context.Context, conn *stream.Conn, specs []TopicSpec,
) ([]string, error) {
	var stamped []TopicSpec
	for _, s := range specs {
		if s.LogAppendTime {
			stamped = append(stamped, TopicSpec{Name: s.Name, LogAppendTime: true})
		}
	}
	found, err := layouts(ctx, conn, stamped)
	if err != nil {
		return nil, err
	}
	stamped = slices.DeleteFunc(stamped, func(s TopicSpec) bool {
		_, ok := found[s.Name]
		return !ok
	})
	is, err := describeConfigs(ctx, conn, stamped)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range stamped {
		for name, want := range s.configs() {
			if is[conn.Full(s.Name)][name] != want {
				names = append(names, s.Name)
			}
		}
	}
	return names, nil
}

// describeConfigs returns the configurations that the specs name, by the topic's name on the
// broker.
func describeConfigs(
	ctx context.Context, conn *stream.Conn, specs []TopicSpec,
) (map[string]map[string]string, error) {
	ask := &kafka.DescribeConfigsRequest{}
	for _, s := range specs {
		if names := slices.Sorted(maps.Keys(s.configs())); len(names) > 0 {
			ask.Resources = append(
				ask.Resources,
				kafka.DescribeConfigRequestResource{
					ResourceType: kafka.ResourceTypeTopic, ResourceName: conn.Full(s.Name),
					ConfigNames: names,
				},
			)
		}
	}
	is := map[string]map[string]string{}
	if len(ask.Resources) == 0 {
		return is, nil
	}
	res, err := conn.Client().DescribeConfigs(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("read topic configurations: %w", wire.Classify(err))
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf(
				"read configuration of topic %s: %w", r.ResourceName, wire.Classify(r.Error),
			)
		}
		is[r.ResourceName] = map[string]string{}
		for _, e := range r.ConfigEntries {
			is[r.ResourceName][e.ConfigName] = e.ConfigValue
		}
	}
	return is, nil
}

// alignConfigs changes the topic configurations that differ from the specs. What a spec does not
// name stays as it is.
func alignConfigs(ctx context.Context, conn *stream.Conn, specs []TopicSpec) error {
	is, err := describeConfigs(ctx, conn, specs)
	if err != nil {
		return err
	}
	change := &kafka.IncrementalAlterConfigsRequest{}
	for _, s := range specs {
		r := kafka.IncrementalAlterConfigsRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: conn.Full(s.Name),
		}
		for _, name := range slices.Sorted(maps.Keys(s.configs())) {
			want, found := s.configs()[name], is[conn.Full(s.Name)][name]
			if !sameConfig(found, want) && !s.keepsLonger(name, found) {
				r.Configs = append(
					r.Configs,
					kafka.IncrementalAlterConfigsRequestConfig{
						Name: name, Value: want, ConfigOperation: kafka.ConfigOperationSet,
					},
				)
			}
		}
		if len(r.Configs) > 0 {
			change.Resources = append(change.Resources, r)
		}
	}
	if len(change.Resources) == 0 {
		return nil
	}
	changed, err := conn.Client().IncrementalAlterConfigs(ctx, change)
	if err != nil {
		return fmt.Errorf("change topic configurations: %w", wire.Classify(err))
	}
	for _, r := range changed.Resources {
		if r.Error != nil {
			return fmt.Errorf(
				"change configuration of topic %s: %w", r.ResourceName, wire.Classify(r.Error),
			)
		}
	}
	return nil
}

// keepsLonger tells whether a configuration that was found is a longer retention, and may stay.
func (s TopicSpec) keepsLonger(name, found string) bool {
	if !s.RetentionAtLeast || name != "retention.ms" {
		return false
	}
	ms, err := strconv.ParseInt(found, 10, 64)
	return err == nil && (ms < 0 || ms > s.RetentionMs) && s.RetentionMs > 0
}

// sameConfig compares values, lists in any order.
func sameConfig(a, b string) bool {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
