package schemas_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A correction may change everything but id and source: else it would be another event, and both
// would count, or the change would have no effect.
func TestCorrectionsKeepTheIdentity(t *testing.T) {
	t.Parallel()
	const (
		plain      = `{"event_id":"e-1","source":"shop","user_id":"ann"}`
		structured = `{"specversion":"1.0","id":"e-1","source":"shop","data":{}}`
	)
	for _, x := range []struct {
		name, header, was, is, refused string
	}{
		{"another user", "", plain, `{"event_id":"e-1","source":"shop","user_id":"bob"}`, ""},
		{"another id", "", plain, `{"event_id":"e-2","source":"shop"}`, `"e-2" instead of "e-1"`},
		{"no id", "", plain, `{"source":"shop"}`, `"event_id" would be "" instead of "e-1"`},
		{"another source", "", plain, `{"event_id":"e-1","source":"a"}`, `"source" would be "a"`},
		{"an id where none was", "", `{}`, `{"event_id":"e-1"}`, `"e-1" instead of ""`},
		{"an id that is null", "", `{}`, `{"event_id":null}`, ""},
		{"an id that was none", "", `{"event_id":7}`, `{"event_id":"7"}`, ""},
		{"an id that was too strange", "", `{"event_id":"a\u0000"}`, `{"event_id":"a"}`, ""},
		{"a value that was none", "", `{`, plain, ""},
		{"an id beside the header", "e-1", `{}`, `{"event_id":"e-2"}`, `header ce_id says "e-1"`},
		{
			"an id beside that of the header", "e-1", `{"event_id":"e-3"}`, `{"event_id":"e-2"}`,
			`header ce_id says "e-1"`,
		},
		{"that of the header", "e-1", `{"event_id":"e-3"}`, `{"event_id":"e-1"}`, ""},
		{"one without effect is left out", "e-1", `{"event_id":"e-3"}`, `{}`, ""},
		{"structured", "", structured, `{"specversion":"1.0","id":"e-1","source":"shop"}`, ""},
		{
			"structured, another id", "", structured,
			`{"specversion":"1.0","id":"e-2","source":"shop"}`, `"id" would be "e-2"`,
		},
		{
			"structured, another source", "e-1", structured,
			`{"specversion":"1.0","id":"e-1","source":"a"}`, `"source" would be "a"`,
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			was := record.Record{Topic: schemas.TopicInteractions, Value: []byte(x.was)}
			if x.header != "" {
				was.Headers = []record.Header{
					{Key: schemas.HeaderID, Value: []byte(x.header)},
				}
			}
			is := was
			is.Value = []byte(x.is)
			err := schemas.KeepsIdentity(&was, &is)
			if x.refused == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, x.refused)
		})
	}
}
