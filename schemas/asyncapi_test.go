package schemas_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/slipstream-rec/slipstream/schemas"
)

// TestAsyncAPIIsUpToDate compares docs/asyncapi.yaml with what the declarations say.
func TestAsyncAPIIsUpToDate(t *testing.T) {
	got, err := schemas.AsyncAPI(
		schemas.Topics(schemas.DefaultTopicsConfig()), "", schemas.DefaultActions(),
	)
	require.NoError(t, err)
	const path = "../docs/asyncapi.yaml"
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go test ./schemas -update")
}

func TestAsyncAPIHangsTogether(t *testing.T) {
	t.Parallel()
	raw, err := schemas.AsyncAPI(
		schemas.Topics(schemas.DefaultTopicsConfig()), "prod.", schemas.DefaultActions(),
	)
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &doc))
	find := func(ref string) any {
		var at any = doc
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			m, ok := at.(map[string]any)
			require.True(t, ok, ref)
			at = m[part]
		}
		return at
	}
	refs := 0
	var walk func(x any)
	walk = func(x any) {
		switch x := x.(type) {
		case map[string]any:
			if ref, ok := x["$ref"].(string); ok {
				refs++
				require.NotNil(t, find(ref), ref)
			}
			for _, v := range x {
				walk(v)
			}
		case []any:
			for _, v := range x {
				walk(v)
			}
		}
	}
	walk(doc)
	require.Greater(t, refs, 20)

	channels, ok := doc["channels"].(map[string]any)
	require.True(t, ok)
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		c, found := channels[strings.ReplaceAll(topic.Name, ".", "-")].(map[string]any)
		require.Equal(t, topic.In || topic.Out, found, "%s", topic.Name)
		if found {
			require.Equal(t, "prod."+topic.Name, c["address"])
			require.NotEmpty(t, c["messages"])
		}
	}
	require.Equal(t, "receive", find("#/operations/receive-interactions/action"))
	require.Equal(t, "send", find("#/operations/send-recommendations-current/action"))
	require.Equal(
		t, []any{"compact"},
		find("#/channels/items/bindings/kafka/topicConfiguration/cleanup.policy"),
	)
	require.Equal(t, "user_id", find("#/components/schemas/Interaction/required").([]any)[0])
}

// A generator calls the types of anonymous schemas AnonymousSchema1 and so on.
func TestAsyncAPISchemasHaveNames(t *testing.T) {
	t.Parallel()
	raw, err := schemas.AsyncAPI(
		schemas.Topics(schemas.DefaultTopicsConfig()), "", schemas.DefaultActions(),
	)
	require.NoError(t, err)
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Payload, Headers map[string]any
			}
			Schemas map[string]map[string]any
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &doc))
	used := make(map[string]bool)
	use := func(schema map[string]any) bool {
		ref, ok := schema["$ref"].(string)
		if ok {
			to := strings.TrimPrefix(ref, "#/components/schemas/")
			require.Contains(t, doc.Components.Schemas, to)
			used[to] = true
		}
		return ok
	}
	for name, m := range doc.Components.Messages {
		require.True(t, use(m.Payload), "the payload of %s is anonymous", name)
		require.True(t, use(m.Headers), "the headers of %s are anonymous", name)
	}
	require.Len(t, used, 2*len(schemas.PublicKinds()), "each kind has a name of its own")
	for name, schema := range doc.Components.Schemas {
		require.NotContains(t, schema, "schemaFormat", "%s: tools see no name below it", name)
		fields, _ := schema["properties"].(map[string]any)
		require.False(t, len(fields) == 0 && schema["enum"] == nil, "%s is no type", name)
		for field, x := range fields {
			part, ok := x.(map[string]any)
			require.True(t, ok, "%s.%s", name, field)
			items, _ := part["items"].(map[string]any)
			for _, p := range []map[string]any{part, items} {
				if !use(p) {
					require.NotContains(t, p, "properties", "%s.%s is anonymous", name, field)
					require.NotContains(t, p, "enum", "%s.%s is anonymous", name, field)
				}
			}
		}
	}
	require.Len(t, used, len(doc.Components.Schemas))
}

// A generator takes the fields of a condition for fields: a value was of type 'rate' or number.
func TestAsyncAPIHasNoConditions(t *testing.T) {
	t.Parallel()
	raw, err := schemas.AsyncAPI(
		schemas.Topics(schemas.DefaultTopicsConfig()), "", schemas.DefaultActions(),
	)
	require.NoError(t, err)
	require.NotRegexp(t, `(?m)^ +(- )?(if|then|else):`, string(raw))
}
