package slipstream_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestContinuousIntegrationRunsWhatIsQuick: what takes minutes has make targets of its own.
func TestContinuousIntegrationRunsWhatIsQuick(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(".ci/run")
	require.NoError(t, err)
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	var called []string
	step := regexp.MustCompile(`step [a-z-]+ make ([a-z-]+)`)
	for _, m := range step.FindAllStringSubmatch(string(script), -1) {
		require.Regexp(t, "(?m)^"+m[1]+":", string(makefile))
		called = append(called, m[1])
	}
	require.ElementsMatch(t, []string{"test", "lint", "seams", "test-real", "bench-smoke"}, called)
	require.Contains(t, string(script), "step clients clients")

	text, err := os.ReadFile(".github/workflows/ci.yml")
	require.NoError(t, err)
	var workflow struct {
		Jobs map[string]struct {
			Timeout int `yaml:"timeout-minutes"`
			Steps   []struct{ Run string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &workflow))
	for job, limit := range map[string]int{"unit": 15, "real": 25} {
		require.Equal(t, limit, workflow.Jobs[job].Timeout, job)
		require.Contains(t, workflow.Jobs[job].Steps, struct{ Run string }{".ci/run " + job})
	}
}
