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

// schemasOf returns what compiles the schemas of the document by their addresses in it.
func schemasOf(t *testing.T, f *fixture) func(ref string) *jsonschema.Schema {
	t.Helper()
	text := f.do(t, http.MethodGet, "/openapi.json", "").Body.Bytes()
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", whole))
	return func(ref string) *jsonschema.Schema {
		s, err := compiler.Compile("openapi.json" + ref)
		require.NoError(t, err)
		return s
	}
}

// Null is taken where the document allows it, and refused elsewhere. huma takes it for a field that
// is not given: with a variable that is missing, a script dropped more than it was to.
func TestNullIsTakenWhereTheDocumentSaysSo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.all = make([]deadletter.Letter, 1)
	compiled := schemasOf(t, f)
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
			s := compiled(content.Schema.Ref)
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
	events := compiled("#/components/schemas/Events")
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

// What was done is answered with a number, what would be done with more. The schema fits both.
func TestAnswersToReplaysAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.plan = deadletter.Plan{Count: 1, Changes: []deadletter.Change{{ID: "d1"}}}
	doc := documentOf(t, f)
	for _, path := range []string{"/v1/poison/replay", "/v1/poison/drop"} {
		s := schemasOf(t, f)(
			doc.Paths[path]["post"].Responses["200"].Content["application/json"].Schema.Ref,
		)
		for _, body := range []string{`{"all":true}`, `{"all":true,"dry_run":true}`} {
			w := f.do(t, http.MethodPost, path, body)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			value, err := jsonschema.UnmarshalJSON(w.Body)
			require.NoError(t, err)
			require.NoError(t, s.Validate(value), "%s %s", path, body)
		}
	}
}

// The document says how much of the id of a dead letter is needed.
func TestShortIDsOfDeadLettersAreDescribed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, p := range documentOf(t, f).Paths["/v1/poison/{id}"]["get"].Parameters {
		if p.In == "path" {
			require.Equal(t, 4, p.Schema.MinLength)
		}
	}
	w := f.do(t, http.MethodGet, "/v1/poison/ddd", "")
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
}

// Of several events some may be refused: the answer has a status of its own, which is documented.
func TestAnswersInPartAreDescribed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.do(t, http.MethodPost, "/v1/events", `[{},
		{"user_id":"ann","item_id":"film-1","action":"like"}]`)
	require.Equal(t, http.StatusMultiStatus, w.Code, w.Body)
	answer, ok := documentOf(t, f).Paths["/v1/events"]["post"].Responses["207"]
	require.True(t, ok)
	value, err := jsonschema.UnmarshalJSON(w.Body)
	require.NoError(t, err)
	require.NoError(
		t, schemasOf(t, f)(answer.Content["application/json"].Schema.Ref).Validate(value),
	)
}
