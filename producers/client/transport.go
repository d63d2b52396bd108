package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// HTTPOptions are the settings of HTTP; the zero value is the default.
type HTTPOptions struct {
	// APIKey is sent as a bearer token, unless empty.
	APIKey string
	// Client makes the requests. Default: one with a timeout of 15 s.
	Client *http.Client
	// Plain sends bodies as they are; otherwise those above 2 KiB are packed by gzip.
	Plain bool
}

// HTTP returns a transport to the HTTP API at address, such as http://127.0.0.1:8080. It retries
// when the API is busy (429), unavailable (503) or not reachable. Refused events are not retried.
func HTTP(address string, o HTTPOptions) Transport {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 15 * time.Second}
	}
	return &httpTransport{url: strings.TrimRight(address, "/") + "/v1/events", HTTPOptions: o}
}

type httpTransport struct {
	url string
	HTTPOptions
}

// Send posts the batch as CloudEvents.
func (t *httpTransport) Send(ctx context.Context, batch []record.Record) error {
	body, err := cloudEvents(batch)
	if err != nil {
		return failAll(len(batch), err, false)
	}
	r, err := t.request(ctx, body)
	if err != nil {
		return failAll(len(batch), err, false)
	}
	resp, err := t.Client.Do(r)
	if err != nil {
		return failAll(len(batch), err, true)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return failAll(len(batch), fmt.Errorf("read the answer: %w", err), true)
	}
	return read(resp, answer, len(batch))
}

func cloudEvents(batch []record.Record) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range batch {
		m := &batch[i]
		env, err := schemas.EnvelopeOf(&record.Record{Headers: m.Headers}, "")
		if err != nil {
			return nil, err
		}
		event, err := schemas.FormatCloudEvent(env, m.Value)
		if err != nil {
			return nil, fmt.Errorf("write event %s: %w", env.ID, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(event)
	}
	b.WriteByte(']')
	return b.Bytes(), nil
}

func (t *httpTransport) request(ctx context.Context, body []byte) (*http.Request, error) {
	packed := !t.Plain && len(body) > 2<<10
	if packed {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(body); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		body = b.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", schemas.ContentTypeCloudEventBatch)
	if packed {
		r.Header.Set("Content-Encoding", "gzip")
	}
	if t.APIKey != "" {
		r.Header.Set("Authorization", "Bearer "+t.APIKey)
	}
	return r, nil
}

// read turns an answer into what became of each event.
func read(resp *http.Response, body []byte, n int) error {
	if resp.StatusCode == http.StatusAccepted {
		return nil
	}
	var answer struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Index  int    `json:"index"`
			Status int    `json:"status"`
			Reason string `json:"reason"`
		} `json:"errors"`
	}
	readable := json.Unmarshal(body, &answer) == nil
	var e *SendError
	if readable && len(answer.Errors) > 0 {
		e = &SendError{Total: n}
		for _, x := range answer.Errors {
			e.Failed = append(
				e.Failed,
				Failure{Index: x.Index, Err: errors.New(x.Reason), Temporary: temporary(x.Status)},
			)
		}
	} else {
		detail := answer.Detail
		if detail == "" {
			detail = strings.TrimSpace(string(body[:min(len(body), 200)]))
		}
		e = failAll(n, fmt.Errorf("%s: %s", resp.Status, detail), temporary(resp.StatusCode))
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

func temporary(status int) bool {
	switch status {
	case http.StatusTooManyRequests,
		http.StatusRequestTimeout,
		http.StatusInternalServerError,
		http.StatusBadGateway,
		http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(h string) time.Duration {
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// PublisherOptions are the settings of Publisher; the zero value is the default.
type PublisherOptions struct {
	// Prefix stands before the names of topics, as configured for Slipstream.
	Prefix string
	// KeyMetadata is the name of the metadata under which the publisher expects the record's key.
	// It must decide the partition: events with one key must stay in order. Default "kafka_key".
	KeyMetadata string
}

// Publisher returns a transport through a Watermill publisher, straight to Kafka. Publish must
// return only after all in-sync replicas have the messages (acks=all), and must make metadata
// headers, as Watermill's own Kafka publisher does.
func Publisher(p message.Publisher, o PublisherOptions) Transport {
	if o.KeyMetadata == "" {
		o.KeyMetadata = "kafka_key"
	}
	return &publisherTransport{publisher: p, PublisherOptions: o}
}

type publisherTransport struct {
	publisher message.Publisher
	PublisherOptions
}

// Send publishes the batch, topic by topic, in order.
func (t *publisherTransport) Send(ctx context.Context, batch []record.Record) error {
	var topics []string
	byTopic := map[string][]int{}
	for i := range batch {
		topic := batch[i].Topic
		if byTopic[topic] == nil {
			topics = append(topics, topic)
		}
		byTopic[topic] = append(byTopic[topic], i)
	}
	failed := &SendError{Total: len(batch)}
	for _, topic := range topics {
		indexes := byTopic[topic]
		messages := make([]*message.Message, len(indexes))
		for n, i := range indexes {
			messages[n] = t.message(ctx, &batch[i])
		}
		err := t.publisher.Publish(t.Prefix+topic, messages...)
		var partly interface{ Rejections() []fault.Rejection }
		switch {
		case err == nil:
		case errors.As(err, &partly):
			for _, r := range partly.Rejections() {
				failed.Failed = append(
					failed.Failed,
					Failure{
						Index: indexes[r.Index], Err: r.Err,
						Temporary: fault.ClassOf(r.Err) != fault.Permanent,
					},
				)
			}
		default:
			for _, i := range indexes {
				failed.Failed = append(
					failed.Failed,
					Failure{Index: i, Err: err, Temporary: fault.ClassOf(err) != fault.Permanent},
				)
			}
		}
	}
	if len(failed.Failed) > 0 {
		return failed
	}
	return nil
}

func (t *publisherTransport) message(ctx context.Context, m *record.Record) *message.Message {
	var id string
	metadata := message.Metadata{t.KeyMetadata: string(m.Key)}
	for _, h := range m.Headers {
		metadata[h.Key] = string(h.Value)
		if h.Key == schemas.HeaderID {
			id = string(h.Value)
		}
	}
	out := message.NewMessage(id, m.Value)
	out.Metadata = metadata
	out.SetContext(ctx)
	return out
}
