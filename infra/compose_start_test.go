package infra_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// guideVariables are those that the operators' guide tells people to set.
var guideVariables = []string{
	"NEO4J_PASSWORD", "CLICKHOUSE_PASSWORD", "QDRANT_API_KEY", "QDRANT_READ_ONLY_API_KEY",
	"GRAFANA_PASSWORD",
}

// An image takes an empty key for a key: Qdrant 1.17 refuses everybody with one.
func TestComposeRendersNoEmptyValue(t *testing.T) {
	t.Parallel()
	set := []string{"SLIPSTREAM_HTTP_API_KEYS=shop:emit:0123456789abcdef"}
	guide, err := os.ReadFile("../docs/guides/operators.md")
	require.NoError(t, err)
	for _, name := range guideVariables {
		set = append(set, name+"=0123456789abcdef")
		require.Contains(t, string(guide), "`"+name+"`")
	}
	for name, env := range map[string][]string{"nothing is set": nil, "as the guide says": set} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := project(t, env...)
			for service, s := range p.Services {
				for variable, value := range s.Environment {
					if value != nil { // else it is absent
						require.NotEmpty(t, *value, "%s: %s", service, variable)
					}
				}
			}
			for config, c := range p.Configs {
				require.NotEmpty(t, c.Content, config)
			}
			keys := p.Services["app"].Environment["SLIPSTREAM_HTTP_API_KEYS"]
			require.Equal(t, env != nil, keys != nil, "callers need keys only if some are set")
			if env == nil {
				return
			}
			text, err := p.MarshalYAML()
			require.NoError(t, err)
			require.NotContains(t, string(text), "slipstream-metrics", "a default was left")
			require.NotRegexp(t, `(?i)(password|key|auth)\S*: (\S*/)?slipstream\n`, string(text))
		})
	}
}

func TestPrometheusHasTheKeyOfQdrant(t *testing.T) {
	t.Parallel()
	p := project(t, "QDRANT_READ_ONLY_API_KEY=readonly")
	text, err := os.ReadFile("prometheus/prometheus.yml")
	require.NoError(t, err)
	var settings struct {
		Jobs []struct {
			Name          string `yaml:"job_name"`
			Authorization struct {
				Type            string
				CredentialsFile string `yaml:"credentials_file"`
			}
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(text, &settings))
	key := *p.Services["qdrant"].Environment["QDRANT__SERVICE__READ_ONLY_API_KEY"]
	require.Equal(t, "readonly", key)
	require.NotEqual(t, key, *p.Services["qdrant"].Environment["QDRANT__SERVICE__API_KEY"])
	for _, job := range settings.Jobs {
		if job.Name != "qdrant" {
			continue
		}
		require.Empty(t, job.Authorization.Type, "Bearer is the default, and what Qdrant takes")
		for _, c := range p.Services["prometheus"].Configs {
			if c.Target == job.Authorization.CredentialsFile {
				require.Equal(t, key, p.Configs[c.Source].Content)
				return
			}
		}
	}
	t.Fatal("Prometheus asks Qdrant without a key")
}

func TestComposeTellsItsMemory(t *testing.T) {
	t.Parallel()
	sum := 0.0
	for _, s := range project(t).Services {
		sum += float64(s.Deploy.Resources.Limits.MemoryBytes) / (1 << 30)
	}
	want := fmt.Sprintf("%.2f GiB", sum)
	const machine = 12.0 // GB
	require.Less(t, sum*(1<<30), machine*1e9)
	for _, file := range []string{
		"../docker-compose.yml", "../README.md", "../docs/guides/operators.md",
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(text), want, file)
		require.Contains(t, string(text), fmt.Sprintf("%.0f GB", machine), file)
	}
}

// Two instances cannot have one port of the machine, and one name is one upstream for Caddy.
func TestComposeScalesTheApp(t *testing.T) {
	t.Parallel()
	p := project(t)
	app := p.Services["app"]
	require.Empty(t, app.ContainerName)
	for _, port := range app.Ports {
		require.Empty(t, port.Published, "docker compose up --scale app=2")
	}
	_, port, _ := strings.Cut(*app.Environment["SLIPSTREAM_HTTP_ADDR"], ":")
	text, err := os.ReadFile("proxy/app.caddy")
	require.NoError(t, err)
	require.NotContains(t, string(text), "health_uri", "it does nothing for such upstreams")
	require.Regexp(t, `(?s)dynamic a \{\s+name app\s+port `+port+`\s`, string(text))
	for service, file := range map[string]string{"front": "front.caddy", "proxy": "Caddyfile"} {
		text, err := os.ReadFile("proxy/" + file)
		require.NoError(t, err)
		require.Contains(t, string(text), "import app.caddy\n")
		require.Regexp(t, `(?m)^\timport app$`, string(text))
		require.NotContains(t, string(text), "reverse_proxy")
		require.Equal(t, "/etc/caddy", p.Services[service].Volumes[0].Target)
	}
}

// The image of Go does not fetch a newer toolchain, and one without the last number may be older.
func TestDockerfileHasTheToolchainOfTheModule(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(module)
	require.NotNil(t, version)
	docker, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	require.Contains(t, string(docker), "\nFROM golang:"+string(version[1])+"-bookworm AS build\n")
}

// Neo4j and Grafana keep the password of their first start. A health check that does not log in
// says that all is well.
func TestHealthChecksLogIn(t *testing.T) {
	t.Parallel()
	p := project(t)
	for service, variable := range map[string]string{
		"neo4j": "NEO4J_AUTH", "grafana": "GF_SECURITY_ADMIN_PASSWORD",
	} {
		check := strings.Join(p.Services[service].HealthCheck.Test, " ")
		require.Contains(t, check, "Authorization: Basic", service)
		require.Regexp(t, `\$\{?`+variable, check, service)
	}
}
