package schemas_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

// TestGuideIsUpToDate compares the table of kinds in the developers' guide with the registry. The
// required fields are those of the JSON Schema, the optional ones those of the golden file.
func TestGuideIsUpToDate(t *testing.T) {
	const path, begin = "../docs/guides/developers.md", "| kind | required | optional " +
		"|\n|---|---|---|\n"
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(b), begin)
	require.True(t, found)
	end := strings.Index(rest, "\n\n")
	var table strings.Builder
	for _, k := range schemas.WritableKinds() {
		required, optional := fields(t, k)
		fmt.Fprintf(&table, "| `%s` |%s |%s |\n", k, names(required), names(optional))
	}
	got := before + begin + table.String() + rest[end+1:]
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	require.Equal(t, string(b), got, "run make docs")
}

// TestActionsOfTheGuide compares the table of actions in the developers' guide with the built-in
// rules.
func TestActionsOfTheGuide(t *testing.T) {
	const path, begin = "../docs/guides/developers.md",
		"| action | value | meaning | weight | takes | refuses | verb | counts as |\n" +
			"|---|---|---|---|---|---|---|---|\n"
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(b), begin)
	require.True(t, found)
	_, after, found := strings.Cut("\n"+rest, "\n\n")
	require.True(t, found)
	var table strings.Builder
	yes := map[bool]string{true: "yes"}
	for _, r := range schemas.DefaultRules() {
		value := fmt.Sprintf("%v to %v", r.From, r.To)
		switch {
		case r.To == schemas.MaxValue:
			value = "any"
		case r.WithoutValue:
			value += ", or none"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %v | %s | %s | %s | %s |\n", r.Action, value,
			r.Meaning, r.Weight, yes[r.Takes], yes[r.Refuses], r.Verb, r.Outcome)
	}
	got := before + begin + table.String() + "\n" + after
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	require.Equal(t, string(b), got, "run make docs")
}

// fields returns what the table says of a kind. Every kind takes an id, a source and a time.
func fields(t *testing.T, k schemas.Kind) (required, optional []string) {
	t.Helper()
	raw, ok := schemas.JSONSchema(k)
	require.True(t, ok)
	var schema struct {
		Required []string `json:"required"`
	}
	require.NoError(t, json.Unmarshal(raw, &schema))
	d := json.NewDecoder(strings.NewReader(string(readGolden(t, goldenPath(k)).Value)))
	_, err := d.Token()
	require.NoError(t, err)
	for d.More() {
		name, err := d.Token()
		require.NoError(t, err)
		var value any
		require.NoError(t, d.Decode(&value))
		common := slices.Contains([]string{"event_id", "source", "occurred_at"}, name.(string))
		if !common && value != "" && !slices.Contains(schema.Required, name.(string)) {
			optional = append(optional, name.(string))
		}
	}
	return schema.Required, optional
}

func names(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return " `" + strings.Join(fields, "`, `") + "`"
}
