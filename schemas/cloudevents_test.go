package schemas_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

func TestCloudEventsThereAndBack(t *testing.T) {
	t.Parallel()
	env := schemas.Envelope{
		ID: "e 1", Source: "/shop", Kind: schemas.KindUserUpdated,
		Time: time.Date(2026, 3, 1, 1, 2, 3, 4, time.UTC), Trace: "00-a-b-01",
	}
	body, err := schemas.FormatCloudEvent(env, []byte(`{"user_id":"u"}`))
	require.NoError(t, err)
	got, data, err := schemas.ParseCloudEvent(body)
	require.NoError(t, err)
	require.Equal(t, env, got)
	require.JSONEq(t, `{"user_id":"u"}`, string(data))

	headers := map[string]string{
		"ce-specversion": "1.0", "ce-id": "e%201", "ce-source": "/shop",
		"ce-type": "user.updated.v1", "ce-time": "2026-03-01T01:02:03.000000004Z",
		"ce-traceparent": "00-a-b-01", "Content-Type": "application/json; charset=utf-8",
	}
	got, ok, err := schemas.CloudEventFromHeaders(func(n string) string { return headers[n] })
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, env, got)
	_, ok, err = schemas.CloudEventFromHeaders(func(string) string { return "" })
	require.NoError(t, err)
	require.False(t, ok)
}

func TestCloudEventsThatAreWrong(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, body, want string }{
		{"not json", `{`, "not JSON"},
		{"no version", `{"id":"1"}`, `"specversion" is missing`},
		{
			"old version", `{"specversion":"0.3","id":"1","source":"s","type":"t","data":{}}`,
			`"0.3", want "1.0"`,
		},
		{"no source", `{"specversion":"1.0","id":"1","type":"t","data":{}}`, `"source" is missing`},
		{"no type", `{"specversion":"1.0","id":"1","source":"s","data":{}}`, `"type" is missing`},
		{
			"bad time",
			`{"specversion":"1.0","id":"1","source":"s","type":"t","time":"now","data":{}}`,
			`"time" is "now", want an RFC 3339 time`,
		},
		{
			"two data",
			`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{},"data_base64":"e30="}`,
			"both",
		},
		{
			"bad base64",
			`{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"%"}`,
			`"data_base64" cannot be read`,
		},
		{
			"type of a field", `{"specversion":1,"id":"1"}`,
			`field "specversion" is a JSON number, want a string`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := schemas.ParseCloudEvent([]byte(c.body))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, data, err := schemas.ParseCloudEvent(
		[]byte(
			`{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"eyJhIjoxfQ=="}`,
		),
	)
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(data))
}

func FuzzCloudEvents(f *testing.F) {
	f.Add(
		[]byte(
			`{"specversion":"1.0","id":"1","source":"s","type":"interaction.recorded.v1",` +
				`"time":"2026-03-01T01:02:03Z",` +
				`"data":{"user_id":"u","item_id":"i","action":"view"}}`,
		),
	)
	f.Add([]byte(`{"kind":"user.erased.v1","user_id":"u"}`))
	v := validator(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		event, _, err := v.ReadJSON(body)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.NoError(t, event.Validate())
		require.NotEmpty(t, event.Record().Key)
	})
}
