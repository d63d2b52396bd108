package infra_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/slipstream-rec/slipstream/config"
)

// probe is a probe of a container.
type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifest is what the tests look at, of any kind of object.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Selector yaml.Node
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []struct {
					Image                                       string
					Args                                        []string
					StartupProbe, LivenessProbe, ReadinessProbe probe
					Resources                                   struct{ Limits map[string]string }
				}
			}
		}
	}
}

func manifests(t *testing.T) []manifest {
	t.Helper()
	text, err := os.ReadFile("kubernetes/slipstream.yaml")
	require.NoError(t, err)
	// The decoder knows lower-case keys only.
	for _, key := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		text = bytes.ReplaceAll(text, []byte(key), []byte(strings.ToLower(key)))
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var all []manifest
	for {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, m)
	}
}

func TestKubernetesConfiguresTheApp(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	kinds := make([]string, len(all))
	for i, m := range all {
		kinds[i] = m.Kind
	}
	require.Equal(
		t, []string{"ConfigMap", "Deployment", "Deployment", "Service", "PodDisruptionBudget"},
		kinds,
	)
	var pairs []string
	for name, value := range all[0].Data {
		pairs = append(pairs, name+"="+value)
	}
	c, err := config.Load(config.Options{Environ: func() []string { return pairs }})
	require.NoError(t, err)
	require.Equal(t, 3, c.Topics.ReplicationFactor)
	require.Equal(t, ":8080", c.HTTP.Addr)
	require.NotEqual(t, config.Default().Kafka.Brokers, c.Kafka.Brokers)
	require.NotEqual(t, config.Default().Qdrant.Addr, c.Qdrant.Addr)
	require.NotEqual(t, config.Default().Neo4j.URI, c.Neo4j.URI)
	require.NotEqual(t, config.Default().ClickHouse.Addr, c.ClickHouse.Addr)

	for _, m := range all[1:3] {
		spec := m.Spec.Template.Spec
		require.Greater(
			t, time.Duration(spec.TerminationGracePeriodSeconds)*time.Second,
			c.HTTP.DrainDelay+c.Stream.StopTimeout+c.HTTP.ShutdownTimeout,
		)
		require.Len(t, spec.Containers, 1)
		k := spec.Containers[0]
		require.Equal(t, "run", k.Args[0])
		require.Equal(t, "/readyz", k.StartupProbe.HTTPGet.Path)
		require.Equal(t, "/healthz", k.LivenessProbe.HTTPGet.Path)
		require.Equal(t, "/readyz", k.ReadinessProbe.HTTPGet.Path)
		require.NotEmpty(t, k.Resources.Limits["memory"])
		require.NotContains(t, k.Image, "latest")
	}
}
