package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream"
)

// DeadLetters opens the dead letters of every group.
func (k *Kafka) DeadLetters() *stream.DeadLetters {
	groups := make([]string, 0, len(processors.Groups()))
	for _, g := range processors.Groups() {
		groups = append(groups, k.prefix+g)
	}
	return stream.NewDeadLetters(k.conn, k.pub, groups)
}

// letters are the dead letters in the vocabulary of the API: groups and topics without their prefix.
type letters struct {
	kafka *Kafka
	*stream.DeadLetters
}

var _ api.DeadLetters = letters{}

func (l letters) filter(f api.DeadLetterFilter) stream.DeadLetterFilter {
	out := stream.DeadLetterFilter{
		IDs: f.IDs, Reason: f.Reason, Class: f.Class, Since: f.Since, Until: f.Until, State: stream.DeadLetterState(f.State), Limit: f.Limit,
	}
	if f.Group != "" {
		out.Group = l.kafka.prefix + f.Group
	}
	if f.Topic != "" {
		out.Topic = l.kafka.prefix + f.Topic
	}
	return out
}

// List implements api.DeadLetters.
func (l letters) List(ctx context.Context, f api.DeadLetterFilter) ([]api.DeadLetter, error) {
	found, err := l.DeadLetters.List(ctx, l.filter(f))
	if err != nil {
		return nil, err
	}
	out := make([]api.DeadLetter, len(found))
	for i := range found {
		out[i] = l.view(&found[i])
	}
	return out, nil
}

// Get implements api.DeadLetters.
func (l letters) Get(ctx context.Context, id string) (api.DeadLetter, error) {
	found, err := l.DeadLetters.Get(ctx, id)
	if errors.Is(err, stream.ErrNoDeadLetter) {
		return api.DeadLetter{}, fmt.Errorf("%w: %s", api.ErrNoDeadLetter, id)
	}
	if err != nil {
		return api.DeadLetter{}, err
	}
	return l.view(&found), nil
}

// Replay implements api.DeadLetters.
func (l letters) Replay(ctx context.Context, f api.DeadLetterFilter, rate float64, reason string) (int, error) {
	return l.DeadLetters.Replay(ctx, l.filter(f), stream.ReplayOptions{Rate: rate, Reason: reason})
}

// Drop implements api.DeadLetters.
func (l letters) Drop(ctx context.Context, f api.DeadLetterFilter, reason string) (int, error) {
	return l.DeadLetters.Drop(ctx, l.filter(f), reason)
}

func (l letters) view(x *stream.DeadLetter) api.DeadLetter {
	trim := func(s string) string { return strings.TrimPrefix(s, l.kafka.prefix) }
	out := api.DeadLetter{
		ID: x.ID, Group: trim(x.Group), Topic: trim(x.Origin.Topic), Partition: x.Origin.Partition, Offset: x.Origin.Offset, RecordedAt: x.Time,
		Class: x.Class.String(), Reason: x.Reason, Attempts: x.Attempts, FirstFailure: x.FirstFailure, LastFailure: x.LastFailure,
		SetAside: x.SetAside, State: string(x.State), ResolvedAt: x.ResolvedAt, Resolution: x.Resolution, Key: x.Key, Value: x.Value,
	}
	for _, h := range x.Headers {
		out.Headers = append(out.Headers, api.Header{Name: h.Key, Value: slices.Clone(h.Value)})
	}
	return out
}
