package schemas_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Every kind of the registry is complete: it has topics, and whoever must know it does.
func TestKindsAreComplete(t *testing.T) {
	t.Parallel()
	topics := make(map[string]schemas.Topic)
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		require.NotContains(t, topics, topic.Name, "declared twice")
		topics[topic.Name] = topic
	}
	name := regexp.MustCompile(`^[a-z_]+\.[a-z]+\.v[1-9][0-9]*$`)
	var seen []schemas.Kind
	for _, d := range schemas.Registry() {
		require.Regexp(t, name, d.Kind, "<noun>.<past verb>.v<N>")
		require.NotContains(t, seen, d.Kind)
		seen = append(seen, d.Kind)
		require.NotEmpty(t, d.Topics, d.Kind)
		for _, topic := range d.Topics {
			require.Contains(t, topics[topic].Kinds, d.Kind, "%s stands on %s", d.Kind, topic)
		}
		writable := slices.Contains(schemas.WritableKinds(), d.Kind)
		require.Equal(
			t, writable, topics[d.Topics[0]].In, "%s is on a topic for applications", d.Kind,
		)
		_, public := schemas.JSONSchema(d.Kind)
		if writable || topics[d.Topics[0]].Out {
			require.True(t, public, "%s has no JSON Schema", d.Kind)
		}
		require.Equal(t, public, slices.Contains(schemas.PublicKinds(), d.Kind))
		if d.Decode != nil {
			require.FileExists(t, goldenPath(d.Kind), "a new kind: run go test ./schemas -update")
		}
	}
	for _, topic := range topics {
		for _, k := range topic.Kinds {
			require.Contains(t, seen, k, topic.Name)
		}
		if topic.Name != schemas.TopicMeta {
			require.NotEmpty(t, topic.Kinds, topic.Name)
		}
		marked := slices.Contains(schemas.MarkedTopics(), topic.Name)
		require.Equal(t, topic.ErasureMarkers, marked)
		if marked {
			require.Equal(t, schemas.KindUserErased, topic.Kinds[len(topic.Kinds)-1])
		}
	}
	for _, pattern := range []string{"jsonschema/*.json", "testdata/*.v*.json"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			k := schemas.Kind(strings.TrimSuffix(filepath.Base(file), ".json"))
			require.Contains(
				t, seen, k, "%s belongs to no kind: old versions stay registered", file,
			)
		}
	}
}

// The first kind of a topic is what a plain value is taken for, so it must not change.
func TestPlainValuesKeepTheirKind(t *testing.T) {
	t.Parallel()
	first := make(map[string]schemas.Kind)
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		if len(topic.Kinds) > 0 {
			first[topic.Name] = topic.Kinds[0]
		}
	}
	for topic, want := range map[string]schemas.Kind{
		schemas.TopicInteractions:    schemas.KindInteraction,
		schemas.TopicFriendships:     schemas.KindFriendshipAdded,
		schemas.TopicItems:           schemas.KindItemUpdated,
		schemas.TopicUsers:           schemas.KindUserUpdated,
		schemas.TopicProfileChanges:  schemas.KindProfileChanged,
		schemas.TopicRecommendations: schemas.KindRecommendation,
	} {
		require.Equal(t, want, first[topic], topic)
	}
}

// properties names what the JSON Schema of a kind describes.
func properties(t testing.TB, k schemas.Kind) []string {
	t.Helper()
	raw, ok := schemas.JSONSchema(k)
	require.True(t, ok, k)
	var doc struct {
		Properties map[string]any `json:"properties"`
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	var names []string
	for name := range doc.Properties {
		names = append(names, name)
	}
	return names
}

// base is a valid value of a writable kind with every field set: by hand, or of the golden file.
func base(t testing.TB, k schemas.Kind) map[string]any {
	t.Helper()
	value, ok := bases()[k]
	if !ok {
		require.NoError(t, json.Unmarshal(readGolden(t, goldenPath(k)).Value, &value))
		value["event_id"], value["source"] = "e", "s"
	}
	for _, name := range properties(t, k) {
		require.Contains(t, value, name, "the base of %s lacks a field", k)
	}
	return value
}
