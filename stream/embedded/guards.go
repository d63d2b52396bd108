package embedded

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrInUse says that another process has the folder.
var ErrInUse = errors.New("the folder is in use by another process")

// lockFile is held by the process that uses the folder.
const lockFile = "LOCK"

func errInUse(dir string) error {
	return fmt.Errorf(
		"embedded broker: %w: %s: stop the other process, or give this one a folder of its own",
		ErrInUse, dir,
	)
}

// Ten years: as good as never, and far from overflowing a time.Duration.
const (
	neverMs      = "315360000000"
	neverMinutes = "5256000"
)

func brokerConfigs(segmentBytes int64) map[string]string {
	return map[string]string{
		"log.retention.ms":          "-1",
		"log.cleaner.backoff.ms":    neverMs,
		"log.segment.bytes":         strconv.FormatInt(segmentBytes, 10),
		"offsets.retention.minutes": neverMinutes,
	}
}

// guardRequests changes or refuses the requests that would undo a guard.
func (b *Broker) guardRequests() {
	b.cluster.ControlKey(int16(kmsg.Produce), b.guardProduce)
	b.cluster.ControlKey(int16(kmsg.ListOffsets), b.guardListOffsets)
	b.cluster.ControlKey(
		int16(kmsg.CreateTopics),
		func(req kmsg.Request) (kmsg.Response, error, bool) {
			r := req.(*kmsg.CreateTopicsRequest)
			for i := range r.Topics {
				t := &r.Topics[i]
				t.Configs = slices.DeleteFunc(
					t.Configs,
					func(c kmsg.CreateTopicsRequestTopicConfig) bool {
						return b.drops(t.Topic, c.Name, c.Value)
					},
				)
				for j := range t.Configs {
					t.Configs[j].Value = b.bounded(t.Configs[j].Name, t.Configs[j].Value)
				}
			}
			return nil, nil, false
		},
	)
	b.cluster.ControlKey(
		int16(kmsg.AlterConfigs),
		func(req kmsg.Request) (kmsg.Response, error, bool) {
			r := req.(*kmsg.AlterConfigsRequest)
			for i := range r.Resources {
				t := &r.Resources[i]
				if t.ResourceType != kmsg.ConfigResourceTypeTopic {
					return refuse(b, r, "broker configurations are fixed")
				}
				t.Configs = slices.DeleteFunc(
					t.Configs,
					func(c kmsg.AlterConfigsRequestResourceConfig) bool {
						return b.drops(t.ResourceName, c.Name, c.Value)
					},
				)
				for j := range t.Configs {
					t.Configs[j].Value = b.bounded(t.Configs[j].Name, t.Configs[j].Value)
				}
			}
			return nil, nil, false
		},
	)
	b.cluster.ControlKey(
		int16(kmsg.IncrementalAlterConfigs),
		func(req kmsg.Request) (kmsg.Response, error, bool) {
			r := req.(*kmsg.IncrementalAlterConfigsRequest)
			for i := range r.Resources {
				t := &r.Resources[i]
				if t.ResourceType != kmsg.ConfigResourceTypeTopic {
					return refuseIncremental(b, r, "broker configurations are fixed")
				}
				t.Configs = slices.DeleteFunc(
					t.Configs,
					func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
						return b.drops(t.ResourceName, c.Name, c.Value)
					},
				)
				for j := range t.Configs {
					t.Configs[j].Value = b.bounded(t.Configs[j].Name, t.Configs[j].Value)
				}
			}
			return nil, nil, false
		},
	)
	// A request to delete records may empty a partition, and an empty one forgets its offsets at
	// the next start.
	b.cluster.ControlKey(
		int16(kmsg.DeleteRecords),
		func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.cluster.KeepControl()
			return refuseDeleteRecords(b, req.(*kmsg.DeleteRecordsRequest))
		},
	)
}

// drops reports whether a topic's configuration must not reach kfake: time never deletes a record
// here.
func (b *Broker) drops(topic, name string, value *string) bool {
	if name != "retention.ms" || value == nil || *value == "-1" {
		return false
	}
	b.log.Debug(
		"the embedded broker keeps records by bytes only: retention.ms is ignored", "topic", topic,
		"retention_ms", *value,
	)
	return true
}

// bounded raises a retention by bytes that could empty a partition, and lowers a segment that
// retention could not remove in small steps.
func (b *Broker) bounded(name string, value *string) *string {
	if value == nil {
		return nil
	}
	n, err := strconv.ParseInt(*value, 10, 64)
	if err != nil || n < 0 {
		return value
	}
	switch name {
	case "retention.bytes":
		n = max(n, minRetentionBytes)
	case "segment.bytes":
		n = min(n, b.cfg.segmentBytes())
	case "max.message.bytes":
		n = min(n, maxMessageBytes)
	default:
		return value
	}
	return kmsg.StringPtr(strconv.FormatInt(n, 10))
}

func refuse(b *Broker, r *kmsg.AlterConfigsRequest, why string) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	resp := r.ResponseKind().(*kmsg.AlterConfigsResponse)
	for _, t := range r.Resources {
		p := kmsg.NewAlterConfigsResponseResource()
		p.ResourceType, p.ResourceName = t.ResourceType, t.ResourceName
		p.ErrorCode, p.ErrorMessage = kerr.PolicyViolation.Code, kmsg.StringPtr(
			"embedded broker: "+why,
		)
		resp.Resources = append(resp.Resources, p)
	}
	return resp, nil, true
}

func refuseIncremental(
	b *Broker,
	r *kmsg.IncrementalAlterConfigsRequest,
	why string,
) (kmsg.Response, error, bool) {
	b.cluster.KeepControl()
	resp := r.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for _, t := range r.Resources {
		p := kmsg.NewIncrementalAlterConfigsResponseResource()
		p.ResourceType, p.ResourceName = t.ResourceType, t.ResourceName
		p.ErrorCode, p.ErrorMessage = kerr.PolicyViolation.Code, kmsg.StringPtr(
			"embedded broker: "+why,
		)
		resp.Resources = append(resp.Resources, p)
	}
	return resp, nil, true
}

func refuseDeleteRecords(b *Broker, r *kmsg.DeleteRecordsRequest) (kmsg.Response, error, bool) {
	resp := r.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.PolicyViolation.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	b.log.Warn(
		"the embedded broker deletes no records on request: they go by retention.bytes and " +
			"MaxLogBytes",
	)
	return resp, nil, true
}
