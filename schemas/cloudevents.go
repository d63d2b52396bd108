package schemas

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"time"
)

// Media types of CloudEvents in structured mode.
const (
	ContentTypeCloudEvent      = "application/cloudevents+json"
	ContentTypeCloudEventBatch = "application/cloudevents-batch+json"
)

// ParseCloudEvent reads a CloudEvent 1.0 in structured mode (JSON): its envelope and its data,
// which may alias body. Extension attributes but traceparent are left out. The error says which
// attribute is wrong.
func ParseCloudEvent(body []byte) (Envelope, []byte, error) {
	var (
		version, id, source, kind, at, contentType, trace string
		data                                              []byte
		encoded                                           *string
	)
	s := scan(body)
	for s.next() {
		switch string(s.key) {
		case "specversion":
			s.text(&version)
		case "id":
			s.text(&id)
		case "source":
			s.text(&source)
		case "type":
			s.text(&kind)
		case "time":
			s.text(&at)
		case "datacontenttype":
			s.text(&contentType)
		case "traceparent":
			s.text(&trace)
		case "data":
			data = s.raw()
		case "data_base64":
			if s.is('"', "string") {
				encoded = new(string(s.bytes()))
			}
		default:
			s.skip()
		}
	}
	if s.err != nil {
		return Envelope{}, nil, fmt.Errorf("cloudevent: %w", s.err)
	}
	env, err := cloudEnvelope(version, id, source, Kind(kind), at, contentType)
	if err != nil {
		return env, nil, err
	}
	env.Trace = trace
	switch {
	case encoded != nil && data != nil && string(data) != "null":
		return env, nil, errors.New(`cloudevent: has both "data" and "data_base64"`)
	case encoded != nil:
		if data, err = base64.StdEncoding.DecodeString(*encoded); err != nil {
			return env, nil, fmt.Errorf("cloudevent: %q cannot be read: %w", "data_base64", err)
		}
	case data == nil:
		return env, nil, errors.New(`cloudevent: "data" is missing`)
	}
	return env, data, nil
}

// FormatCloudEvent writes a CloudEvent in structured mode; data must be JSON.
func FormatCloudEvent(e Envelope, data []byte) ([]byte, error) {
	s := struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            Kind            `json:"type"`
		Time            string          `json:"time,omitempty"`
		DataContentType string          `json:"datacontenttype,omitempty"`
		Data            json.RawMessage `json:"data,omitempty"`
		TraceParent     string          `json:"traceparent,omitempty"`
	}{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Kind,
		DataContentType: ContentTypeJSON, Data: data, TraceParent: e.Trace,
	}
	if !e.Time.IsZero() {
		s.Time = e.Time.UTC().Format(time.RFC3339Nano)
	}
	return json.Marshal(s)
}

// CloudEventFromHeaders reads the envelope of a CloudEvent in HTTP binary mode: attributes are ce-
// headers, the body is the data. get returns a header's value, or "". ok is false when there is no
// ce- header, and the request is something else.
func CloudEventFromHeaders(get func(name string) string) (env Envelope, ok bool, err error) {
	values := map[string]string{}
	for _, name := range []string{"specversion", "id", "source", "type", "time", "traceparent"} {
		raw := get("ce-" + name)
		if raw == "" {
			continue
		}
		ok = true
		// The HTTP binding percent-encodes what a header cannot hold; what does not decode was not
		// encoded.
		if v, err := url.PathUnescape(raw); err == nil {
			raw = v
		}
		values[name] = raw
	}
	if !ok {
		return Envelope{}, false, nil
	}
	env, err = cloudEnvelope(
		values["specversion"], values["id"], values["source"], Kind(values["type"]), values["time"],
		get("Content-Type"),
	)
	env.Trace = values["traceparent"]
	return env, true, err
}

func cloudEnvelope(
	version, id, source string,
	kind Kind,
	at, contentType string,
) (Envelope, error) {
	env := Envelope{ID: id, Source: source, Kind: kind}
	err := firstError(text("id", id), text("source", source), text("type", string(kind)))
	if err != nil {
		return env, fmt.Errorf("cloudevent: %w", err)
	}
	missing := func(name string) error { return fmt.Errorf("cloudevent: %q is missing", name) }
	switch {
	case version == "":
		return env, missing("specversion")
	case version != "1.0":
		return env, fmt.Errorf(
			"cloudevent: %q is %q, want \"1.0\"", "specversion", truncate(version, 16),
		)
	case id == "":
		return env, missing("id")
	case source == "":
		return env, missing("source")
	case kind == "":
		return env, missing("type")
	}
	if at != "" {
		t, err := parseTime([]byte(at))
		if err != nil {
			return env, fmt.Errorf("cloudevent: %q %w", "time", err)
		}
		env.Time = t.UTC()
	}
	if contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || media != ContentTypeJSON && !strings.HasSuffix(media, "+json") {
			return env, fmt.Errorf(
				"cloudevent: data is %q, want %s", truncate(contentType, 64), ContentTypeJSON,
			)
		}
	}
	return env, nil
}
