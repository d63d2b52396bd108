// Package slipstream_test holds the rules that concern the whole module.
package slipstream_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/slipstream-rec/slipstream"

// arrows says, for each folder, which of our own packages it may import. The first folder that a
// package is in counts; a package may always import what is in the same folder. An entry ending in
// /... allows everything below it.
var arrows = []struct {
	folder string
	may    []string
	why    string
}{
	{
		"config", nil,
		"configuration is plain structs: app maps a section onto the package that it configures",
	},
	{"internal/apptest", []string{"..."}, "it runs the whole in tests"},
	{"internal/telemetry", nil, "metrics are called from hooks, so nobody needs to be known"},
	{"fault", nil, "the vocabulary of failure is below everything"},
	{
		"internal/emittest",
		[]string{"stream/record", "producers", "schemas"},
		"tests of producers use it",
	},
	{"internal", nil, "internal packages are tools that know nothing of the product"},
	{
		"schemas",
		[]string{"stream/record"},
		"the vocabulary is below everything: it decodes and declares, others decide what follows",
	},
	{"model", nil, "the mathematics are pure functions"},
	{"infra", nil, "deployment files only"},
	{
		"sinks/sinktest",
		[]string{"stream/record", "sinks", "schemas", "fault", "internal/..."},
		"a suite knows its contract and no engine",
	},
	{
		"sinks/qdrant",
		[]string{"stream/record", "sinks", "schemas", "fault", "internal/..."},
		"an engine knows the contracts, and no other engine",
	},
	{
		"sinks/neo4j",
		[]string{"stream/record", "sinks", "schemas", "fault", "internal/...", "infra/neo4j"},
		"an engine knows the contracts, and no other engine",
	},
	{
		"sinks/clickhouse",
		[]string{
			"stream/record", "sinks", "sinks/rowvalidate", "schemas", "fault", "internal/...",
			"infra/clickhouse",
		},
		"an engine knows the contracts, and no other engine",
	},
	{
		"sinks/sqlite",
		[]string{"stream/record", "sinks", "sinks/rowvalidate", "schemas", "fault", "internal/..."},
		"an engine knows the contracts, and no other engine",
	},
	{"sinks", []string{"stream/record", "schemas", "fault"}, "contracts name no engine"},
	{"stream/record", nil, "the words for the log are below everything"},
	{
		"stream/deadletter",
		[]string{"stream/record", "fault"},
		"what is known of dead letters needs no broker",
	},
	{
		"stream/forward",
		[]string{"stream/record", "fault"},
		"processors forward by the log that they are given",
	},
	{"stream/internal/wire", []string{"stream/record", "fault"}, "bytes know no groups"},
	{
		"stream",
		[]string{"fault", "internal/..."},
		"the stream carries records and knows no business words",
	},
	{
		"recommend",
		[]string{"stream/record", "schemas", "model", "sinks", "fault"},
		"the serving library knows contracts, and no processor",
	},
	{
		"processors",
		[]string{
			"stream/record", "stream/forward", "schemas", "model", "recommend", "sinks", "fault",
		},
		"processors are functions of events and of the stores' contents; metrics are hooks",
	},
	{
		"producers",
		[]string{"stream/record", "schemas", "fault", "internal/..."},
		"what comes in knows neither engines nor processors",
	},
	{
		"eval",
		[]string{
			"stream/record", "model", "schemas", "producers/...", "processors", "recommend",
			"sinks", "fault", "internal/...",
		},
		"evaluation runs what serves",
	},
	{
		"api",
		[]string{
			"stream/record", "stream/deadletter", "config", "schemas", "sinks", "recommend",
			"processors", "producers/...", "fault", "internal/...",
		},
		"the API speaks to contracts; cmd gives it what stands on the stream",
	},
	{"app", []string{"..."}, "every concrete type is chosen here"},
	{
		"rebuild",
		[]string{"app", "config", "processors", "schemas", "sinks/...", "stream/...", "fault"},
		"a rebuild uses what the app wires",
	},
	{"cmd", []string{"..."}, "commands and flags"},
	{
		"test/torture",
		[]string{
			"processors", "producers/datasets", "stream/...", "schemas", "model", "sinks/...",
			"fault", "internal/...",
		},
		"it breaks the built program from outside and reads its log and its stores; nobody " +
			"imports it",
	},
	{"test/mutants", nil, "it changes code as text and runs the go command"},
	{"", []string{"..."}, ""},
}

// libraries says which folders may name a library.
var libraries = []struct {
	prefix  string
	folders []string
	why     string
}{
	{
		"github.com/segmentio/kafka-go",
		[]string{"stream", "app"},
		"kafka-go is named in stream only",
	},
	{
		"github.com/twmb/franz-go",
		[]string{"stream/embedded", "stream/internal/streamtest", "app", "test/torture"},
		"franz-go is the embedded broker, and in the torture the producer of other people",
	},
	{
		"github.com/ThreeDotsLabs/watermill",
		[]string{"stream", "producers", "app"},
		"Watermill is the business of stream; producers know its Publisher",
	},
	{
		"github.com/qdrant/",
		[]string{"sinks/qdrant", "internal/apptest"},
		"nobody outside sinks/qdrant sees a Qdrant type",
	},
	{
		"github.com/neo4j/",
		[]string{"sinks/neo4j", "app"},
		"nobody outside sinks/neo4j sees a Neo4j type",
	},
	{
		"github.com/ClickHouse/",
		[]string{"sinks/clickhouse", "internal/apptest", "test/torture"},
		"nobody outside sinks/clickhouse sees a ClickHouse type",
	},
	{
		"modernc.org/sqlite",
		[]string{"sinks/sqlite", "app"},
		"nobody outside sinks/sqlite sees SQLite",
	},
	{
		"database/sql",
		[]string{"sinks", "internal/apptest", "test/torture"},
		"SQL is the business of the engines",
	},
	{
		"github.com/prometheus/",
		[]string{"internal/telemetry", "app"},
		"metrics are called from hooks",
	},
	{"github.com/spf13/cobra", []string{"cmd"}, "commands are in cmd"},
	{"github.com/knadh/koanf", []string{"config"}, "configuration is read in one place"},
	{"github.com/go-chi/", []string{"api", "app"}, "routing is the business of api"},
	{"github.com/danielgtaylor/huma", []string{"api", "app"}, "OpenAPI is the business of api"},
	{
		"github.com/stretchr/testify",
		[]string{"sinks/sinktest", "stream/internal/streamtest", "internal/apptest"},
		"tests only",
	},
	{
		"testing",
		[]string{"sinks/sinktest", "internal/enginetest", "internal/apptest", "stream"},
		"tests only",
	},
}

func TestImportsFollowTheDesign(t *testing.T) {
	t.Parallel()
	// -e: a package that does not build is checked too.
	cmd := exec.CommandContext(
		t.Context(), "go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...",
	)
	out, err := cmd.Output()
	require.NoError(t, err, "go list")
	packages := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from, ok := strings.CutPrefix(fields[0], module)
		require.True(t, ok, fields[0])
		packages++
		for _, to := range fields[1:] {
			if c := complaint(strings.TrimPrefix(from, "/"), to); c != "" {
				t.Error(c)
			}
		}
	}
	require.Greater(t, packages, 8, "go list has seen the module")
}

func TestForbiddenImportsAreNoticed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from, to  string
		forbidden bool
	}{
		{"processors", module + "/sinks", false},
		{"processors", module + "/sinks/qdrant", true},
		{"processors", module + "/stream", true},
		{"processors", "github.com/segmentio/kafka-go", true},
		{"processors", "github.com/ThreeDotsLabs/watermill/message", true},
		{"producers/datasets", module + "/schemas", false},
		{"producers", "github.com/ThreeDotsLabs/watermill/message", false},
		{"producers", "github.com/segmentio/kafka-go", true},
		{"model", module + "/fault", true},
		{"internal/telemetry", module + "/config", true},
		{"stream/embedded", module + "/stream", false},
		{"stream", module + "/schemas", true},
		{"schemas", module + "/stream/record", false},
		{"schemas", module + "/stream", true},
		{"stream/record", module + "/fault", true},
		{"processors", module + "/stream/record", false},
		{"api", module + "/stream/deadletter", false},
		{"sinks/sqlite", module + "/sinks/qdrant", true},
		{"sinks/new", module + "/sinks", false},
		{"api", module + "/stream", true},
		{"cmd/slipstream", module + "/stream", false},
		{"app", "github.com/segmentio/kafka-go", false},
	} {
		if got := complaint(tc.from, tc.to); (got != "") != tc.forbidden {
			t.Errorf("%s imports %s: got %q, want forbidden %v", tc.from, tc.to, got, tc.forbidden)
		}
	}
}

// complaint says why a package must not import another, or returns nothing.
func complaint(from, to string) string {
	if ours, ok := strings.CutPrefix(to, module+"/"); ok {
		for _, a := range arrows {
			if !within(from, a.folder) {
				continue
			}
			inside := within(ours, a.folder) && a.folder != "internal"
			if !inside && !allowed(ours, a.may) {
				return fmt.Sprintf(
					"%s imports %s: %s (it may import: %s)", from, ours, a.why,
					strings.Join(a.may, ", "),
				)
			}
			return ""
		}
	}
	for _, l := range libraries {
		if to != l.prefix && !strings.HasPrefix(to, strings.TrimSuffix(l.prefix, "/")+"/") {
			continue
		}
		if !slices.ContainsFunc(l.folders, func(f string) bool { return within(from, f) }) {
			return fmt.Sprintf("%s imports %s: %s", from, to, l.why)
		}
	}
	return ""
}

// within tells whether a package is the folder or below it.
func within(pkg, folder string) bool {
	return folder == "" || pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func allowed(pkg string, may []string) bool {
	for _, m := range may {
		if below, all := strings.CutSuffix(m, "..."); all {
			if within(pkg, strings.TrimSuffix(below, "/")) {
				return true
			}
		} else if pkg == m {
			return true
		}
	}
	return false
}
