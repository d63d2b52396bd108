package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/deadletter"
)

// bodiesOf are valid bodies, with the fields that the document's examples do not have.
var bodiesOf = map[string]string{
	"post /v1/poison/drop":   `{"group":"embed","all":true,"dry_run":false}`,
	"post /v1/poison/replay": `{"group":"embed","all":true,"dry_run":false}`,
	"post /v1/events": `{"user_id":"ann","item_id":"film-1","action":"watch","value":0.5,
		"session_id":"s","context":{"page":"home"},"recommendation_id":"r"}`,
	"put /v1/items/{id}":                  `{"title":"Heat"}`,
	"put /v1/users/{id}":                  `{}`,
	"put /v1/users/{id}/friends/{friend}": `{}`,
}

// Null is taken where the document allows it, and refused elsewhere. huma takes it for a field that
// is not given: with a variable that is missing, a script dropped more than it was to.
func TestNullIsTakenWhereTheDocumentSaysSo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.all = make([]deadletter.Letter, 1)
	text := f.do(t, http.MethodGet, "/openapi.json", "").Body.Bytes()
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", whole))
	taken, refused := 0, 0
	check := func(operation, body string, s *jsonschema.Schema) {
		method, path, _ := strings.Cut(operation, " ")
		path = strings.NewReplacer("{id}", "one", "{friend}", "two").Replace(path)
		w := f.do(t, strings.ToUpper(method), path, body)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		require.NoError(t, err)
		if err := s.Validate(value); err == nil {
			taken++
			require.Less(t, w.Code, 300, "%s %s: %s", operation, body, w.Body)
		} else {
			refused++
			require.Contains(
				t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, w.Code,
				"%s %s: %v", operation, body, err,
			)
		}
	}
	doc := documentOf(t, f)
	var withBodies []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			content, ok := op.RequestBody.Content["application/json"]
			if !ok {
				continue
			}
			operation := method + " " + path
			withBodies = append(withBodies, operation)
			s, err := compiler.Compile("openapi.json" + content.Schema.Ref)
			require.NoError(t, err)
			check(operation, bodiesOf[operation], s)
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(bodiesOf[operation]), &fields))
			names := slices.Collect(maps.Keys(doc.at(t, content.Schema).Properties))
			for _, name := range append(names, slices.Collect(maps.Keys(fields))...) {
				changed := maps.Clone(fields)
				changed[name] = nil
				body, err := json.Marshal(changed)
				require.NoError(t, err)
				check(operation, string(body), s)
			}
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(bodiesOf)), withBodies, "test each body")
	require.Greater(t, taken, 20)
	require.Greater(t, refused, 20)

	// Null is a value of a record, so it is not the same as no correction.
	w := f.do(t, http.MethodPost, "/v1/poison/replay", `{"ids":["abcd"],"value":null}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, deadletter.Correction{Value: []byte("null")}, f.letters.correction)

	// A CloudEvent may write an attribute that it does not have as null.
	events, err := compiler.Compile("openapi.json#/components/schemas/Events")
	require.NoError(t, err)
	for _, name := range []string{
		"specversion", "id", "source", "type", "time", "datacontenttype", "data",
	} {
		event := map[string]any{
			"specversion": "1.0", "id": "e", "source": "shop", "type": "interaction.recorded.v1",
			"time": "2026-11-28T10:00:00Z", "datacontenttype": "application/json",
			"data": map[string]any{"user_id": "ann", "item_id": "film-1", "action": "like"},
		}
		event[name] = nil
		body, err := json.Marshal(event)
		require.NoError(t, err)
		check("post /v1/events", string(body), events)
	}
}
