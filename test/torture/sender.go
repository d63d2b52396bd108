//go:build linux

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// sender writes events and keeps at it until they are acknowledged: sending the same event again is
// safe, that is one of the promises.
type sender struct {
	name string
	rand *rand.Rand
	n    int
	pub  *stream.Publisher
	// foreign are the producers of other people, through which a half of what goes straight to
	// Kafka is written.
	foreign *foreign
	// strays tells of which events the foreign producers may choose a wrong partition.
	strays func(schemas.Event) bool
	// clocks says that some of the events come from clocks that are wrong, most of them by a day.
	clocks bool
	// target returns the address of an instance's API, or "".
	target func(*rand.Rand) string
	ledger *ledger
}

const source = "torture"

// id gives an event an id of its own, and sometimes the time of a wrong clock.
func (s *sender) id(x schemas.Event) {
	id, src, at := x.Identity()
	s.n++
	*id, *src = fmt.Sprintf("%s-%d", s.name, s.n), source
	if s.clocks {
		switch s.rand.IntN(30) {
		case 0:
			*at = at.Add(day)
		case 1:
			*at = at.Add(-day)
		case 2:
			*at = at.Add(90 * time.Second) // not too far for the rule
		}
	}
}

// write gives the events ids and returns them as foreign producers write them.
func (s *sender) write(events []schemas.Event) (records []*kgo.Record, ids []string, err error) {
	for _, x := range events {
		s.id(x)
		id, _, _ := x.Identity()
		ids = append(ids, *id)
		s.ledger.sent(x.Record().Topic, *id)
	}
	records, err = s.abroad(events)
	return records, ids, err
}

// abroad returns events as foreign producers write them.
func (s *sender) abroad(events []schemas.Event) ([]*kgo.Record, error) {
	records := make([]*kgo.Record, len(events))
	for i, x := range events {
		r, err := s.foreign.record(s.rand, x, s.strays(x))
		if err != nil {
			return nil, err
		}
		records[i] = r
	}
	return records, nil
}

// send gives the events ids, writes them in order, and returns when all are acknowledged or ctx has
// ended.
func (s *sender) send(ctx context.Context, events ...schemas.Event) bool {
	for _, x := range events {
		s.id(x)
	}
	return s.again(ctx, events...)
}

// again is send for events that have ids already.
func (s *sender) again(ctx context.Context, events ...schemas.Event) bool {
	ids := make([]string, len(events))
	for i, x := range events {
		id, _, _ := x.Identity()
		ids[i] = *id
		s.ledger.sent(x.Record().Topic, *id)
	}
	via := s.way()
	records, err := s.abroad(events)
	if err != nil {
		panic(err) // events of ours are JSON
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		if attempt > 2 {
			via = s.way()
		}
		switch via {
		case overHTTP:
			err = s.post(ctx, events)
		case overKafka:
			err = s.emit(ctx, events)
		case overOthers, inTransactions:
			err = s.foreign.write(ctx, records)
		}
		if err == nil {
			s.ledger.acked(via, ids...)
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+s.rand.IntN(250)) * time.Millisecond):
		}
	}
	return false
}

// way draws how events are sent: half of them over HTTP, a quarter by a producer of ours, and a
// quarter by one that is not.
func (s *sender) way() route {
	switch s.rand.IntN(4) {
	case 0, 1:
		return overHTTP
	case 2:
		return overKafka
	default:
		return overOthers
	}
}

func (s *sender) emit(ctx context.Context, events []schemas.Event) error {
	records := make([]record.Record, len(events))
	for i, x := range events {
		records[i] = x.Record()
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return s.pub.Emit(ctx, records)
}

// structured is a CloudEvent in structured mode, which carries every kind.
type structured struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        schemas.Kind    `json:"type"`
	Time        time.Time       `json:"time"`
	Data        json.RawMessage `json:"data"`
}

func (s *sender) post(ctx context.Context, events []schemas.Event) error {
	batch := make([]structured, len(events))
	for i, x := range events {
		id, src, at := x.Identity()
		batch[i] = structured{"1.0", *id, *src, x.Kind(), *at, x.Record().Value}
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	status, err := s.request(
		ctx, http.MethodPost, "/v1/events", schemas.ContentTypeCloudEventBatch, body,
	)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("answer %d", status)
	}
	return err
}

func (s *sender) request(
	ctx context.Context,
	method, path, media string,
	body []byte,
) (int, error) {
	to := s.target(s.rand)
	if to == "" {
		return 0, errors.New("no instance runs")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+to+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// plant writes a record that nobody can digest straight to Kafka.
func (s *sender) plant(ctx context.Context, p plant) error {
	s.n++
	m := record.Record{
		Topic: p.topic, Partition: record.AnyPartition, Key: fmt.Appendf(nil, "%s-%d", s.name, s.n),
		Value:   []byte(p.value),
		Headers: []record.Header{{Key: plantedHeader, Value: []byte(p.name)}},
	}
	if p.kind != "" {
		m.Headers = append(m.Headers, schemas.Envelope{
			ID: fmt.Sprintf("%s-%d", s.name, s.n), Source: source, Kind: p.kind,
		}.Headers(schemas.ContentTypeJSON)...)
	}
	for {
		short, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := s.pub.Emit(short, []record.Record{m})
		cancel()
		if err == nil {
			s.ledger.count(func(l *ledger) { l.planted++ })
			return nil
		}
		if !wait(ctx, 300*time.Millisecond) {
			return err
		}
	}
}
