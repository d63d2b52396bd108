package schemas_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// structuredSamples are what producers of CloudEvents write in structured mode. Those of the Python
// SDK are what its to_structured returned for the same event.
var structuredSamples = []struct{ name, contentType, value string }{
	{
		"Python SDK 2.2", "application/cloudevents+json", `{"id": "e-1", "source": "/shop", ` +
			`"type": "interaction.recorded.v1", "time": "2026-03-01T20:15:00Z", ` +
			`"datacontenttype": "application/json", "partitionkey": "u43", ` +
			`"specversion": "1.0", ` +
			`"data": {"user_id": "u43", "item_id": "m7", "action": "like"}}`,
	},
	{
		"Python SDK 2.2 with bytes", "application/cloudevents+json", `{"id": "e-1", ` +
			`"source": "/shop", "type": "interaction.recorded.v1", "specversion": "1.0", ` +
			`"time": "2026-03-01T20:15:00Z", "data_base64": ` +
			`"eyJ1c2VyX2lkIjoidTQzIiwiaXRlbV9pZCI6Im03IiwiYWN0aW9uIjoibGlrZSJ9"}`,
	},
	{
		"Python SDK 1.12", "", `{"id": "e-1", "source": "/shop", ` +
			`"type": "interaction.recorded.v1", "specversion": "1.0", ` +
			`"time": "2026-03-01T20:15:00+00:00", ` +
			`"data": {"user_id": "u43", "item_id": "m7", "action": "like"}}`,
	},
	{
		"Python SDK 1.12 with a type of data", "application/json", `{"id": "e-1", ` +
			`"source": "/shop", "type": "interaction.recorded.v1", "partitionkey": "u43", ` +
			`"specversion": "1.0", "time": "2026-03-01T20:15:00+00:00", ` +
			`"data": {"user_id": "u43", "item_id": "m7", "action": "like"}}`,
	},
	{
		"Knative", "application/cloudevents+json; charset=utf-8", `{"specversion":"1.0",` +
			`"id":"e-1","source":"/shop","type":"interaction.recorded.v1","subject":"u43",` +
			`"datacontenttype":"application/json","time":"2026-03-01T20:15:00Z",` +
			`"knativearrivaltime":"2026-03-01T20:15:01Z",` +
			`"data":{"user_id":"u43","item_id":"m7","action":"like"}}`,
	},
	{
		"upper case, and an attribute with a name of ours", "Application/CloudEvents+JSON",
		`{"specversion":"1.0","id":"e-1","source":"/shop","type":"interaction.recorded.v1",` +
			`"user_id":"x","time":"2026-03-01T20:15:00Z","data":` +
			`{"user_id":"u43","item_id":"m7","action":"like","event_id":"other"}}`,
	},
}

// onLog is a record as it stands on the log.
func onLog(topic, contentType, value string, headers ...record.Header) *record.Record {
	r := &record.Record{
		Topic: topic, Partition: 2, Offset: 7, Key: []byte("u43"), Value: []byte(value),
		Time: time.Date(2026, 3, 1, 20, 15, 2, 0, time.UTC), Headers: headers,
	}
	if contentType != "" {
		r.Headers = append(r.Headers, record.Header{
			Key: schemas.HeaderContentType, Value: []byte(contentType),
		})
	}
	return r
}

func TestStructuredModeOnTheLog(t *testing.T) {
	t.Parallel()
	want := schemas.Interaction{
		EventID: "e-1", Source: "/shop", UserID: "u43", ItemID: "m7", Action: schemas.Like,
		OccurredAt: time.Date(2026, 3, 1, 20, 15, 0, 0, time.UTC),
	}
	for _, c := range structuredSamples {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := onLog(schemas.TopicInteractions, c.contentType, c.value)
			got, err := schemas.DecodeInteraction(r)
			require.NoError(t, err)
			require.Equal(t, want, got)
			env, err := schemas.EnvelopeOf(r, "")
			require.NoError(t, err)
			require.Equal(t, schemas.Envelope{
				ID: "e-1", Source: "/shop", Kind: schemas.KindInteraction, Time: want.OccurredAt,
			}, env)
			said := schemas.ContentOf(r)
			require.Equal(t, "e-1", said.ID)
			require.Equal(t, schemas.KindInteraction, said.Kind)
			require.Contains(t, schemas.UsersNamed(r.Value), "u43")
		})
	}
}

// Every kind that applications write decodes alike in both modes, also with the headers of both.
func TestStructuredModeOfEveryKind(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 20, 15, 0, 0, time.UTC)
	for _, d := range schemas.Registry() {
		if !slices.Contains(schemas.WritableKinds(), d.Kind) {
			continue
		}
		raw, ok := schemas.JSONSchema(d.Kind)
		require.True(t, ok)
		var schema struct{ Examples []json.RawMessage }
		require.NoError(t, json.Unmarshal(raw, &schema))
		require.NotEmpty(t, schema.Examples, "%s", d.Kind)
		env := schemas.Envelope{ID: "e-1", Source: "/shop", Kind: d.Kind, Time: at}
		binary := onLog(d.Topics[0], "", string(schema.Examples[0]),
			env.Headers(schemas.ContentTypeJSON)...)
		want, err := d.Decode(binary)
		require.NoError(t, err, "%s", d.Kind)
		value, err := schemas.FormatCloudEvent(env, binary.Value)
		require.NoError(t, err)
		for _, r := range []*record.Record{
			onLog(d.Topics[0], schemas.ContentTypeCloudEvent, string(value)),
			onLog(d.Topics[0], "", string(value)),
			onLog(d.Topics[0], "", string(value), env.Headers(schemas.ContentTypeCloudEvent)...),
		} {
			got, err := d.Decode(r)
			require.NoError(t, err, "%s %v", d.Kind, r.Headers)
			require.Equal(t, want, got, "%s %v", d.Kind, r.Headers)
		}
	}
}

// The reason of a dead letter names what is wrong with the CloudEvent.
func TestStructuredModeThatIsWrong(t *testing.T) {
	t.Parallel()
	const structured = schemas.ContentTypeCloudEvent
	head := `{"specversion":"1.0","id":"e-1","source":"/shop",`
	event := head + `"type":"interaction.recorded.v1",`
	for _, c := range []struct{ name, contentType, value, want string }{
		{"no id", structured, `{"specversion":"1.0"}`, `cloudevent: "id" is missing`},
		{"no id, undeclared", "", `{"specversion":"1.0"}`, `cloudevent: "id" is missing`},
		{"no version", structured, `{"id":"1"}`, `cloudevent: "specversion" is missing`},
		{"not JSON", structured, `hello`, `cloudevent: the value is not JSON`},
		{"no data", structured, event + `"subject":"x"}`, `cloudevent: "data" is missing`},
		{"a batch", schemas.ContentTypeCloudEventBatch, `[]`, "a record holds one event"},
		{"Avro", "application/cloudevents+avro", "\x00", "a record holds one event, as JSON"},
		{
			"another kind", structured, head + `"type":"x.v1","data":{}}`,
			`kind "x.v1" does not belong`,
		},
		{
			"an erasure elsewhere", structured,
			head + `"type":"user.erased.v1","data":{"user_id":"a"}}`, "want the topic users",
		},
		{
			"two kinds", structured, event + `"data":{"kind":"item.updated.v1","user_id":"u"}}`,
			`"kind" is "item.updated.v1", want "interaction.recorded.v1"`,
		},
		{
			"XML", structured, event + `"datacontenttype":"text/xml","data":"<a/>"}`,
			`cloudevent: data is "text/xml", want application/json`,
		},
		{"twice", structured, event + `"id":"e-2","data":{}}`, `field "id" stands twice`},
		{"a field", structured, event + `"data":{"user_id":"u"}}`, `"item_id" is missing`},
		{"text", structured, event + `"data":"{}"}`, "the value is a JSON string, want an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := schemas.DecodeInteraction(
				onLog(schemas.TopicInteractions, c.contentType, c.value),
			)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := schemas.DecodeInteraction(onLog(
		schemas.TopicInteractions, structured, event+`"data":{}}`,
		record.Header{Key: schemas.HeaderType, Value: []byte("item.updated.v1")},
	))
	require.ErrorContains(t, err,
		`"type" is "interaction.recorded.v1", but the header ce_type is "item.updated.v1"`)
}

// What could be read before is read as before, whatever its producer says of it.
func TestPlainValuesAreNoCloudEvents(t *testing.T) {
	t.Parallel()
	like := `"user_id":"u43","item_id":"m7","action":"like"`
	typed := record.Header{Key: schemas.HeaderType, Value: []byte(schemas.KindInteraction)}
	for _, r := range []*record.Record{
		onLog(schemas.TopicInteractions, "", `{"specversion":"1.0",`+like+`}`),
		onLog(schemas.TopicInteractions, schemas.ContentTypeCloudEvent, `{`+like+`}`),
		onLog(schemas.TopicInteractions, schemas.ContentTypeCloudEvent, `{`+like+`}`, typed),
		onLog(schemas.TopicInteractions, schemas.ContentTypeJSON,
			`{"specversion":"1.0",`+like+`}`, typed),
	} {
		got, err := schemas.DecodeInteraction(r)
		require.NoError(t, err)
		require.Equal(t, "m7", got.ItemID)
		require.Equal(t, "interactions/2/7", got.EventID)
	}
	gone := onLog(schemas.TopicItems, schemas.ContentTypeCloudEvent, "")
	gone.Value = nil
	item, err := schemas.DecodeItem(gone)
	require.NoError(t, err)
	require.True(t, item.Withdrawn, "a tombstone")
}

func TestContentOfRecordsThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	data := base64.StdEncoding.EncodeToString([]byte(`{"friend_id":"bob"}`))
	for _, c := range []struct {
		value, id string
		users     []string
	}{
		{`{"specversion":"1.0","id":"e-1","subject":"ann"}`, "e-1", []string{"ann"}},
		{`{"specversion":"0.3","id":"e-1","data_base64":"` + data + `"}`, "e-1", []string{"bob"}},
		{`{"event_id":"e\/1","user_id":"ann"}`, "e/1", []string{"ann"}},
		{`{"event\u005fid":"e-1"}`, "e-1", nil},
		{`{"event_id":3,"user_id":4,"friend_id":"bob"}`, "", []string{"bob"}},
		{`{"user_id":"ann"`, "", nil},
		{``, "", nil},
	} {
		r := onLog(schemas.TopicInteractions, "", c.value)
		require.Equal(t, c.id, schemas.ContentOf(r).ID, c.value)
		require.Equal(t, c.users, schemas.UsersNamed(r.Value), c.value)
	}
}

func BenchmarkDecodeStructured(b *testing.B) {
	for _, c := range structuredSamples[:1] {
		r := onLog(schemas.TopicInteractions, c.contentType, c.value)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := schemas.DecodeInteraction(r); err != nil {
				b.Fatal(fmt.Errorf("decode: %w", err))
			}
		}
	}
}
