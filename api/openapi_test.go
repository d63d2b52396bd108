package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
)

// document is what these tests read of the OpenAPI document.
type document struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name, In string
			Required bool
			Schema   schema
		}
		RequestBody struct {
			Required bool
			Content  map[string]struct{ Schema schema }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Title      string
	Properties map[string]any
	Required   []string
	Examples   []map[string]any
	Pattern    string
	MinLength  int
	MaxLength  int
	Items      *schema
}

func documentOf(t *testing.T, f *fixture) document {
	t.Helper()
	return decode[document](t, f.do(t, http.MethodGet, "/openapi.json", ""))
}

// at returns the schema that another one refers to.
func (d *document) at(t *testing.T, s schema) schema {
	t.Helper()
	if s.Ref == "" {
		return s
	}
	name := strings.TrimPrefix(s.Ref, "#/components/schemas/")
	require.Contains(t, d.Components.Schemas, name)
	return d.Components.Schemas[name]
}

// Generators make the name of a class of the title, or of the name of the component.
func TestSchemasHaveDifferentNames(t *testing.T) {
	t.Parallel()
	doc := documentOf(t, setup(t))
	other := regexp.MustCompile(`[^a-z0-9]`)
	seen := make(map[string]string)
	for component, s := range doc.Components.Schemas {
		class := s.Title
		if class == "" {
			class = component
		}
		class = other.ReplaceAllString(strings.ToLower(class), "")
		require.NotContains(t, seen, class, "the name of %s and of %s", component, seen[class])
		seen[class] = component
	}
}

// Some generators know no type "null", nor OpenAPI 3.1.
func TestTheDocumentForOlderGenerators(t *testing.T) {
	t.Parallel()
	w := setup(t).do(t, http.MethodGet, "/openapi-3.0.yaml", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "openapi: 3.0.3")
	require.NotRegexp(t, `(?m)^ +- "null"$`, w.Body.String())
	// oapi-codegen cannot merge two formats.
	require.NotContains(t, w.Body.String(), "format: slipstream-time")
	require.NotContains(t, w.Body.String(), "format: slipstream-pair")
}

// What the path says is not asked for again in the body.
func TestBodiesLeaveOutWhatThePathSays(t *testing.T) {
	t.Parallel()
	f := setup(t)
	doc := documentOf(t, f)
	for path, body := range map[string]string{
		"/v1/items/{id}": `{"title":"Heat"}`, "/v1/users/{id}": `{}`,
		"/v1/users/{id}/friends/{friend}": `{}`,
	} {
		put := doc.Paths[path]["put"]
		s := doc.at(t, put.RequestBody.Content["application/json"].Schema)
		require.Equal(t, strings.Contains(body, "title"), put.RequestBody.Required, path)
		for _, field := range []string{"item_id", "user_id", "friend_id"} {
			require.NotContains(t, s.Required, field, path)
			require.NotContains(t, s.Properties, field, path)
		}
		require.Contains(t, s.Properties, "occurred_at", path)
		to := strings.NewReplacer("{id}", "one", "{friend}", "two").Replace(path)
		bodies := []string{body}
		for _, example := range s.Examples {
			text, err := json.Marshal(example)
			require.NoError(t, err)
			bodies = append(bodies, string(text))
		}
		for _, b := range bodies {
			w := f.do(t, http.MethodPut, to, b)
			require.Equal(t, http.StatusAccepted, w.Code, "%s %s: %s", to, b, w.Body)
		}
	}
	kind := doc.Components.Schemas[string(schemas.KindItemUpdated)]
	require.Contains(t, kind.Required, "item_id", "an event has no path")
}

// An id that is not there is a mistake of the client: it was a 500.
func TestUnknownDeadLettersAreNotFound(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.err = fault.As(
		fault.Permanent, fmt.Errorf("%w: id d9", deadletter.ErrNotFound),
	)
	doc := documentOf(t, f)
	for _, path := range []string{"/v1/poison/replay", "/v1/poison/drop"} {
		w := f.do(t, http.MethodPost, path, `{"ids":["d9"]}`)
		require.Equal(t, http.StatusNotFound, w.Code, w.Body.String())
		require.Contains(t, w.Body.String(), "d9")
		require.Contains(t, doc.Paths[path]["post"].Responses, "404", path)
	}
}

// An id with a control character is refused: the document says so wherever a request has one.
func TestIDsInPathsAreDescribed(t *testing.T) {
	t.Parallel()
	doc := documentOf(t, setup(t))
	for path, methods := range doc.Paths {
		if strings.HasPrefix(path, "/v1/poison") {
			continue // dead letters have ids of their own
		}
		for method, op := range methods {
			for _, p := range op.Parameters {
				id := p.Schema
				switch {
				case p.Name == "exclude":
					require.NotNil(t, id.Items)
					id = *id.Items
				case p.In != "path":
					continue
				}
				require.Equal(t, `^[^\x00-\x1f\x7f]*$`, id.Pattern, "%s %s", method, path)
				require.Equal(t, 1, id.MinLength, "%s %s", method, path)
				require.Equal(t, schemas.MaxIDLength, id.MaxLength, "%s %s", method, path)
			}
		}
	}
}

func TestAnEmptyTimeIsNoTime(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, name := range []string{"since", "until"} {
		w := f.do(t, http.MethodGet, "/v1/poison?"+name+"=", "")
		require.Equal(t, http.StatusUnprocessableEntity, w.Code, name)
		require.Contains(t, w.Body.String(), "query."+name)
	}
}

// Answers that come before any handler are documented for each operation.
func TestCommonAnswersAreDocumented(t *testing.T) {
	t.Parallel()
	doc := documentOf(t, setup(t))
	for path, methods := range doc.Paths {
		for method, op := range methods {
			want := []string{"400", "401", "403", "431", "500", "503"}
			if len(op.RequestBody.Content) > 0 {
				want = append(want, "413", "415")
			}
			for _, status := range want {
				require.Contains(t, op.Responses, status, "%s %s", method, path)
			}
		}
	}
	problem := doc.Components.Schemas["Problem"]
	require.ElementsMatch(t, []string{"type", "title", "status"}, problem.Required,
		"only an answer to events that were read has more")
}

// net/http itself answers headers that are too large, as it is documented.
func TestHeadersThatAreTooLarge(t *testing.T) {
	t.Parallel()
	f := setup(t)
	base, stop := serve(t, f)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/trending", nil)
	require.NoError(t, err)
	r.Header.Set("X-Large", strings.Repeat("x", 128<<10))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.StatusCode)
	require.Contains(t, documentOf(t, f).Paths["/v1/trending"]["get"].Responses, "431")
	require.NoError(t, stop())
}

// A method that a path does not have is answered by those that it has (RFC 9110, 15.5.6).
func TestOtherMethodsAreToldTheAllowedOnes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	doc := documentOf(t, f)
	want := map[string][]string{
		"/healthz": {"GET", "HEAD"}, "/readyz": {"GET", "HEAD"}, "/openapi.yaml": {"GET", "HEAD"},
		// "replay" and "drop" may be ids of dead letters, and "suggestions" a friend's.
		"/v1/poison/replay": {"GET", "HEAD"}, "/v1/poison/drop": {"GET", "HEAD"},
		"/v1/users/{id}/friends/suggestions": {"PUT", "DELETE"},
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			if want[path] = append(want[path], strings.ToUpper(method)); method == "get" {
				want[path] = append(want[path], http.MethodHead)
			}
		}
	}
	for path, methods := range want {
		to := strings.NewReplacer("{id}", "a%2Fb", "{friend}", "two").Replace(path)
		for _, method := range []string{
			"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
		} {
			if slices.Contains(methods, method) {
				continue
			}
			w := f.do(t, method, to, "")
			require.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, to)
			require.ElementsMatch(t, methods, strings.Split(w.Header().Get("Allow"), ", "),
				"%s %s", method, to)
		}
	}
}

func TestHeadIsAnsweredWhereGetIs(t *testing.T) {
	t.Parallel()
	f := setup(t, keyed)
	for _, path := range []string{
		"/healthz", "/readyz", "/openapi.yaml", "/v1/trending", "/v1/users/u1/recommendations",
		"/v1/items/nothing/similar",
	} {
		get := f.do(t, http.MethodGet, path, "", "X-API-Key", readKey)
		head := f.do(t, http.MethodHead, path, "", "X-API-Key", readKey)
		require.Equal(t, get.Code, head.Code, path)
		require.Equal(t, get.Header(), head.Header(), path)
	}
	require.Equal(t, http.StatusUnauthorized,
		f.do(t, http.MethodHead, "/v1/trending", "").Code)
	require.Equal(t, http.StatusMethodNotAllowed, f.do(t, http.MethodHead, "/v1/events", "").Code)
}

// The name of the scheme may be in any case (RFC 9110, 11.1).
func TestBearerInAnyCase(t *testing.T) {
	t.Parallel()
	f := setup(t, keyed)
	for header, want := range map[string]int{
		"Bearer " + readKey: 200, "bearer " + readKey: 200, "BEARER  " + readKey: 200,
		"Bearer" + readKey: 401, "Basic " + readKey: 401, readKey: 401, "bearer": 401,
	} {
		w := f.do(t, http.MethodGet, "/v1/trending", "", "Authorization", header)
		require.Equal(t, want, w.Code, "%q", header)
	}
}
