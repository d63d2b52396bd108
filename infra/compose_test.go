package infra_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
)

// project loads docker-compose.yml as docker compose would, with every profile and nothing in the
// environment but env.
func project(t *testing.T, env ...string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions(
		[]string{"../docker-compose.yml"},
		cli.WithEnv(
			env,
		),
		cli.WithProfiles([]string{"*"}), cli.WithConsistency(true), cli.WithInterpolation(true),
	)
	require.NoError(t, err)
	p, err := o.LoadProject(t.Context())
	require.NoError(t, err)
	return p
}

func TestComposeServicesAreFitToRun(t *testing.T) {
	t.Parallel()
	p := project(t)
	require.Equal(t, "slipstream", p.Name)
	require.ElementsMatch(
		t,
		[]string{
			"kafka", "qdrant", "neo4j", "clickhouse", "app", "prometheus", "grafana", "front",
			"proxy",
		},
		p.ServiceNames(),
	)
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+(\.\d+)*(-[a-z]+)?$`)
	for name, s := range p.Services {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "app" { // which is built here
				require.Regexp(t, pinned, s.Image)
			}
			require.NotNil(t, s.HealthCheck)
			require.NotEmpty(t, s.HealthCheck.Test)
			require.NotNil(t, s.Deploy)
			require.NotNil(t, s.Deploy.Resources.Limits)
			require.GreaterOrEqual(t, int64(s.Deploy.Resources.Limits.MemoryBytes), int64(128<<20))
			require.Equal(t, "unless-stopped", s.Restart)
			require.Equal(t, "local", s.Logging.Driver)
			for _, port := range s.Ports {
				if name != "proxy" {
					require.Equal(
						t, "127.0.0.1", port.HostIP, "only the proxy listens to the outside",
					)
				}
			}
			for _, v := range s.Volumes {
				switch v.Type {
				case types.VolumeTypeVolume:
					require.Contains(t, p.Volumes, v.Source)
				case types.VolumeTypeBind:
					require.True(t, v.ReadOnly, v.Source)
					require.FileExists(t, firstFile(t, v.Source))
				default:
					t.Errorf("%s is of type %s", v.Target, v.Type)
				}
			}
		})
	}
}

// firstFile returns the file itself, or some file below a folder.
func firstFile(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	if !info.IsDir() {
		return path
	}
	var found string
	require.NoError(t, filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && found == "" {
			found = p
		}
		return err
	}))
	return found
}

func TestComposeStoresKeepTheirData(t *testing.T) {
	t.Parallel()
	p := project(t)
	for service, folder := range map[string]string{
		"kafka": "/var/lib/kafka/data", "qdrant": "/qdrant/storage", "neo4j": "/data",
		"clickhouse": "/var/lib/clickhouse",
		"prometheus": "/prometheus", "grafana": "/var/lib/grafana", "proxy": "/data",
	} {
		at := slices.IndexFunc(p.Services[service].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Target == folder
		})
		require.GreaterOrEqual(t, at, 0, "%s keeps %s in a named volume", service, folder)
	}
	require.Equal(t, "/var/lib/kafka/data", *p.Services["kafka"].Environment["KAFKA_LOG_DIRS"])
}

// appConfig loads the app's configuration from the environment that compose gives it.
func appConfig(t *testing.T, p *types.Project) config.Config {
	t.Helper()
	var pairs []string
	for name, value := range p.Services["app"].Environment {
		if value != nil { // else it is not set outside, and absent
			pairs = append(pairs, name+"="+*value)
		}
	}
	c, err := config.Load(config.Options{Environ: func() []string { return pairs }})
	require.NoError(t, err)
	return c
}

func TestComposeConfiguresTheApp(t *testing.T) {
	t.Parallel()
	p := project(
		t, "NEO4J_PASSWORD=n30p4ssw0rd", "CLICKHOUSE_PASSWORD=ch", "QDRANT_API_KEY=qd",
		"CLICKHOUSE_DATABASE=other", "SLIPSTREAM_HTTP_API_KEYS=shop:emit:0123456789abcdef",
	)
	c := appConfig(t, p)
	require.Equal(t, "n30p4ssw0rd", c.Neo4j.Password)
	require.Equal(t, "neo4j/n30p4ssw0rd", *p.Services["neo4j"].Environment["NEO4J_AUTH"])
	require.Equal(t, "ch", c.ClickHouse.Password)
	require.Equal(
		t, *p.Services["clickhouse"].Environment["CLICKHOUSE_PASSWORD"], c.ClickHouse.Password,
	)
	require.Equal(
		t, *p.Services["clickhouse"].Environment["CLICKHOUSE_USER"], c.ClickHouse.Username,
	)
	require.Equal(t, "other", c.ClickHouse.Database)
	require.Equal(t, "qd", c.Qdrant.APIKey)
	require.Equal(t, "qd", *p.Services["qdrant"].Environment["QDRANT__SERVICE__API_KEY"])
	require.Equal(
		t, []config.APIKey{{Name: "shop", Key: "0123456789abcdef", Roles: []string{"emit"}}},
		c.HTTP.APIKeys,
	)
	require.Equal(t, ":8080", c.HTTP.Addr)

	// Each address is that of a service that the app waits for, and the broker announces the one
	// that the app uses.
	app := p.Services["app"]
	for _, addr := range []string{
		c.Kafka.Brokers[0], c.Qdrant.Addr, strings.TrimPrefix(c.Neo4j.URI, "bolt://"),
		c.ClickHouse.Addr,
	} {
		host, _, _ := strings.Cut(addr, ":")
		require.Equal(t, types.ServiceConditionHealthy, app.DependsOn[host].Condition, addr)
	}
	require.Contains(
		t, *p.Services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"], c.Kafka.Brokers[0],
	)

	// Without anything set, the app still starts.
	require.Empty(t, appConfig(t, project(t)).HTTP.APIKeys)
	grace, limits := app.StopGracePeriod, appConfig(t, project(t))
	require.Greater(t, grace.String(), "")
	require.Greater(
		t, int64(*grace), int64(
			limits.HTTP.DrainDelay+limits.HTTP.ShutdownTimeout+limits.Stream.StopTimeout,
		),
		"time to stop",
	)
}

func TestComposeSettingsOfTheAppExist(t *testing.T) {
	t.Parallel()
	reference := config.Reference()
	for name := range project(t).Services["app"].Environment {
		if name == "GOMEMLIMIT" {
			continue
		}
		key := strings.ToLower(strings.TrimPrefix(name, "SLIPSTREAM_"))
		section, rest, _ := strings.Cut(key, "_")
		known := strings.Contains(reference, "`"+name+"`") ||
			strings.Contains(reference, "`"+section+"."+rest+"`")
		require.True(t, known, "%s is no setting", name)
	}
}

// families returns the names of the metrics of the process, with the suffixes of histograms.
func families(t *testing.T) []string {
	t.Helper()
	m := telemetry.NewMetrics("test")
	m.Produced("t", "k", 1)
	m.Consumed("g", "t", 1)
	m.Batch("g", "t", 1, 1)
	m.Stage("s", "g", 1)
	m.Freshness(1)
	m.Served("event", "s", "v", false)
	m.Poisoned("g", "t", "c", 1)
	m.Retried("g", "c", 1)
	m.SetBreaker("g", telemetry.BreakerOpen)
	m.SetAssigned("g", 1)
	m.SetStopped("g", 1)
	m.SetWaiting("g", 1)
	m.SetReady(true)
	m.SetCheck("c", true)
	m.Request("GET", "/", 200, 1)
	m.Refused("c", 1)
	m.SetLag([]telemetry.Lag{{Group: "g", Topic: "t", Undecided: 1}})
	m.SetAges([]telemetry.Age{{Group: "g", Topic: "t", Retention: 1}})
	m.Lost("g", "t", 1)
	m.SkippedBatches("t", 1)
	m.GapLists(1)
	m.Misplaced("g", "t", 1)
	gathered, err := m.Registry().Gather()
	require.NoError(t, err)
	var names []string
	for _, f := range gathered {
		names = append(
			names, f.GetName(), f.GetName()+"_bucket", f.GetName()+"_sum", f.GetName()+"_count",
		)
	}
	return names
}

var metricName = regexp.MustCompile(`\b(slipstream|process|go)_[a-z_]+\b`)

func requireKnownMetrics(t *testing.T, expr string, known []string) {
	t.Helper()
	found := metricName.FindAllString(expr, -1)
	for _, name := range found {
		require.Contains(t, known, name, expr)
	}
	require.True(t, len(found) > 0 || strings.Contains(expr, "up{"), expr)
	require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), expr)
}

func TestDashboardShowsMetricsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana/dashboards/slipstream.json")
	require.NoError(t, err)
	var dashboard struct {
		UID    string
		Panels []struct {
			Type, Title string
			Datasource  struct{ UID string }
			Targets     []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	known, shown := families(t), map[string]bool{}
	for _, p := range dashboard.Panels {
		if p.Type == "row" {
			continue
		}
		require.Equal(t, "prometheus", p.Datasource.UID, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			requireKnownMetrics(t, target.Expr, known)
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				shown[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")] = true
			}
		}
	}
	for _, name := range known {
		if strings.HasPrefix(name, "slipstream_") &&
			!regexp.MustCompile(`_(bucket|sum|count|info|bytes)$`).MatchString(name) {
			require.True(t, shown[name], "%s has a panel", name)
		}
	}
}

func TestClickHouseConfigurationIsWellFormed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("compose/clickhouse/server.xml")
	require.NoError(t, err)
	var c struct {
		XMLName xml.Name `xml:"clickhouse"`
		Pool    int      `xml:"background_pool_size"`
		Ratio   int      `xml:"background_merges_mutations_concurrency_ratio"`
		Merge   struct {
			Entries []struct {
				XMLName xml.Name
				Value   int `xml:",chardata"`
			} `xml:",any"`
		} `xml:"merge_tree"`
	}
	require.NoError(t, xml.Unmarshal(text, &c))
	require.Len(t, c.Merge.Entries, 3)
	for _, e := range c.Merge.Entries {
		require.LessOrEqual(
			t, e.Value, c.Pool*c.Ratio, "the server does not start when %s is above the pool",
			e.XMLName.Local,
		)
	}
}
