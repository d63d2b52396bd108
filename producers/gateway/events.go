package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// received is one event of a request on its way: read, or refused.
type received struct {
	kind    schemas.Kind
	id      string
	message record.Record
	refusal *EventProblem
}

// postEvents answers POST /v1/events: 202 when the log has every event, 207 when it has some, 400,
// 413 or 503 when it has none.
func (g *Gateway) postEvents(w http.ResponseWriter, r *http.Request) {
	media, p := mediaType(r)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	body, release, p := g.body(w, r)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	defer release()
	events, p := g.read(r, media, body)
	if p != nil {
		g.fail(w, r, p)
		return
	}
	g.emit(r.Context(), events)
	g.report(events)
	a := answerOf(events)
	switch {
	case len(a.Errors) == 0:
		g.answer(w, r, http.StatusAccepted, schemas.ContentTypeJSON, a)
	case a.Accepted > 0:
		g.answer(w, r, http.StatusMultiStatus, schemas.ContentTypeJSON, a)
	default:
		g.fail(w, r, refusedAll(a))
	}
}

// read splits the body into events as its media type says.
func (g *Gateway) read(r *http.Request, media string, body []byte) ([]received, *Problem) {
	trace := r.Header.Get(schemas.HeaderTrace)
	var values []json.RawMessage
	switch media {
	case "", schemas.ContentTypeJSON:
		env, binary, err := schemas.CloudEventFromHeaders(r.Header.Get)
		if binary {
			return []received{g.binary(env, err, body, trace)}, nil
		}
		if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || first[0] != '[' {
			return []received{g.one(body, trace)}, nil
		}
		if values, err = array(body); err != nil {
			return nil, problem(http.StatusBadRequest, "%v", err)
		}
	case schemas.ContentTypeCloudEvent:
		return []received{g.cloud(body, trace)}, nil
	case schemas.ContentTypeCloudEventBatch:
		var err error
		if values, err = array(body); err != nil {
			return nil, problem(http.StatusBadRequest, "%v", err)
		}
	case "application/x-ndjson",
		"application/ndjson",
		"application/jsonl",
		"application/x-jsonlines":
		values = lines(body)
	default:
		return nil, problem(http.StatusUnsupportedMediaType,
			"Content-Type %q is not understood: want application/json, application/x-ndjson, %s "+
				"or %s; with curl: -H 'Content-Type: application/json'",
			media, schemas.ContentTypeCloudEvent, schemas.ContentTypeCloudEventBatch)
	}
	switch n := len(values); {
	case n == 0:
		return nil, problem(http.StatusBadRequest, "the request holds no events")
	case n > g.cfg.MaxEvents:
		return nil, problem(
			http.StatusRequestEntityTooLarge,
			"the request holds %d events: send at most %d at a time", n, g.cfg.MaxEvents,
		)
	}
	events := make([]received, len(values))
	for i, v := range values {
		if media == schemas.ContentTypeCloudEventBatch {
			events[i] = g.cloud(v, trace)
		} else {
			events[i] = g.one(v, trace)
		}
	}
	return events, nil
}

func array(body []byte) ([]json.RawMessage, error) {
	var values []json.RawMessage
	err := json.Unmarshal(body, &values)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fault.Permanentf(
			"the body is not JSON: %v at byte %d; nothing was accepted", syntax, syntax.Offset,
		)
	case err != nil:
		return nil, fault.Permanentf("the body is not a JSON array; nothing was accepted")
	}
	return values, nil
}

func lines(body []byte) []json.RawMessage {
	var values []json.RawMessage
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			values = append(values, line)
		}
	}
	return values
}

// one reads a plain value, or a CloudEvent in structured mode.
func (g *Gateway) one(value []byte, trace string) received {
	event, own, err := g.validator.ReadJSON(value)
	if own != "" {
		trace = own
	}
	return g.accept(event, trace, err)
}

func (g *Gateway) cloud(value []byte, trace string) received {
	env, data, err := schemas.ParseCloudEvent(value)
	if env.Trace != "" {
		trace = env.Trace
	}
	return g.binary(env, err, data, trace)
}

func (g *Gateway) binary(env schemas.Envelope, err error, data []byte, trace string) received {
	if err != nil {
		return g.accept(nil, "", err)
	}
	if env.Trace != "" {
		trace = env.Trace
	}
	event, err := g.validator.Read(env, data)
	return g.accept(event, trace, err)
}

// accept completes an event that was read and makes its record, or returns the refusal.
func (g *Gateway) accept(event schemas.Event, trace string, err error) received {
	if err != nil {
		x := received{refusal: &EventProblem{Status: http.StatusBadRequest, Reason: err.Error()}}
		var invalid *schemas.Invalid
		if errors.As(err, &invalid) {
			x.kind = known(invalid.Kind)
			for _, p := range invalid.Problems {
				if p.Field != "" {
					x.refusal.Fields = append(x.refusal.Fields, p)
				}
			}
		}
		return x
	}
	id, source, at := event.Identity()
	if *id == "" {
		*id = newID()
	}
	if *source == "" {
		*source = g.cfg.Source
	}
	if at.IsZero() {
		*at = g.now().UTC()
	}
	x := received{kind: event.Kind(), id: *id, message: event.Record()}
	// A traceparent that cannot be one is left out, as W3C demands.
	if trace != "" && len(trace) <= 256 && schemas.CheckUTF8(trace) == nil {
		x.message.Headers = append(
			x.message.Headers, record.Header{Key: schemas.HeaderTrace, Value: []byte(trace)},
		)
	}
	if size := len(x.message.Value); size > g.cfg.MaxEventBytes {
		x.refusal = &EventProblem{
			ID: x.id, Status: http.StatusRequestEntityTooLarge,
			Reason: problem(
				0, "the event is %d bytes long, at most %d are accepted", size, g.cfg.MaxEventBytes,
			).Detail,
		}
	}
	return x
}

// known keeps what callers make up out of metrics.
func known(k schemas.Kind) schemas.Kind {
	for _, w := range schemas.WritableKinds() {
		if k == w {
			return k
		}
	}
	return ""
}

// newID returns a UUIDv7: ids in the order of time keep indexes small.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness left: the random fallback would fail as well
		panic(err)
	}
	return id.String()
}

// emit writes the events that were read and notes which of them the log has not taken.
func (g *Gateway) emit(ctx context.Context, events []received) {
	batch := make([]record.Record, 0, len(events))
	index := make([]int, 0, len(events))
	for i := range events {
		if events[i].refusal == nil {
			batch, index = append(batch, events[i].message), append(index, i)
		}
	}
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.EmitTimeout)
	defer cancel()
	for _, f := range producers.Rejections(g.emitter.Emit(ctx, batch), len(batch)) {
		events[index[f.Index]].fail(f.Err)
	}
}

func (x *received) fail(err error) {
	x.refusal = &EventProblem{
		ID: x.id, Status: http.StatusServiceUnavailable,
		Reason: "the log did not take the event: " + err.Error(),
	}
	if fault.ClassOf(err) == fault.Permanent {
		x.refusal.Status = http.StatusBadRequest
	}
}

func (g *Gateway) report(events []received) {
	if g.cfg.OnEvents == nil {
		return
	}
	counts := map[schemas.Kind][2]int{}
	for i := range events {
		c := counts[events[i].kind]
		if events[i].refusal == nil {
			c[0]++
		} else {
			c[1]++
		}
		counts[events[i].kind] = c
	}
	for kind, c := range counts {
		g.cfg.OnEvents(kind, c[0], c[1])
	}
}

func answerOf(events []received) *Answer {
	a := &Answer{IDs: make([]string, len(events))}
	for i := range events {
		a.IDs[i] = events[i].id
		if e := events[i].refusal; e != nil {
			e.Index = i
			a.Errors = append(a.Errors, *e)
			a.Refused++
		} else {
			a.Accepted++
		}
	}
	return a
}

// refusedAll answers a request of which nothing was accepted. 503 wins, since then sending again
// helps.
func refusedAll(a *Answer) *Problem {
	status := a.Errors[0].Status
	for _, e := range a.Errors {
		switch {
		case e.Status == http.StatusServiceUnavailable:
			status = e.Status
		case status != e.Status && status != http.StatusServiceUnavailable:
			status = http.StatusBadRequest
		}
	}
	var p *Problem
	switch {
	case status == http.StatusServiceUnavailable:
		p = problem(
			status,
			"the log did not take the events in time: wait as long as Retry-After says, then "+
				"send again with the ids below, so that each counts once",
		)
	case len(a.Errors) == 1:
		p = problem(status, "%s", a.Errors[0].Reason)
	default:
		p = problem(status, "none of the %d events was accepted; errors says why", a.Refused)
	}
	p.Answer = a
	return p
}
