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
	const message = "#/components/messages/interactions.interaction.recorded.v1"
	require.Equal(t, "user_id", find(message + "/payload/schema/required").([]any)[0])
}
