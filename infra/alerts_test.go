package infra_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// alert is an alert of alerts.yml.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	text, err := os.ReadFile("prometheus/alerts.yml")
	require.NoError(t, err)
	var file struct{ Groups []struct{ Rules []alert } }
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.Len(t, file.Groups, 1)
	return file.Groups[0].Rules
}

func TestAlertsWatchMetricsThatExist(t *testing.T) {
	t.Parallel()
	known := families(t)
	for _, r := range alerts(t) {
		requireKnownMetrics(t, r.Expr, known)
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
	}
	var scrape struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	text, err := os.ReadFile("prometheus/prometheus.yml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &scrape))
	require.Equal(t, []string{"alerts.yml"}, scrape.RuleFiles)
}

// promtool, which .ci/run calls, runs the tests of alerts_test.yml. An alert without a test in
// which it fires may be one that cannot.
func TestEachAlertHasATestInWhichItFiresAndOneInWhichItMustNot(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("prometheus/alerts_test.yml")
	require.NoError(t, err)
	var file struct {
		Tests []struct {
			Rules []struct {
				Alertname string
				Expected  []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, r := range test.Rules {
			fires[r.Alertname] = fires[r.Alertname] || len(r.Expected) > 0
			silent[r.Alertname] = silent[r.Alertname] || len(r.Expected) == 0
		}
	}
	for _, r := range alerts(t) {
		require.True(t, fires[r.Alert], "no test in which %s fires", r.Alert)
		require.True(t, silent[r.Alert], "no test in which %s is silent", r.Alert)
	}
}

func TestEachAlertLinksItsRunbook(t *testing.T) {
	t.Parallel()
	const page = "https://github.com/slipstream-rec/slipstream/blob/main/docs/guides/runbooks.md#"
	text, err := os.ReadFile("../docs/guides/runbooks.md")
	require.NoError(t, err)
	named := map[string]bool{}
	for _, r := range alerts(t) {
		named[r.Alert] = true
		require.Equal(t, page+strings.ToLower(r.Alert), r.Annotations["runbook_url"], r.Alert)
		require.Contains(t, string(text), "\n## "+r.Alert+"\n")
	}
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			require.True(t, named[name], "%s is no alert", name)
		}
	}
}

// An alert about a counter sees only its growth: what a process counted before the first scrape
// must raise it, too.
func TestAlertsSeeWhatWasCountedBeforeTheFirstScrape(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, r := range alerts(t) {
		at := strings.Index(r.Expr, "increase(")
		if at < 0 || r.Alert == "SlipstreamListsStopped" || r.Alert == "SlipstreamErrors" {
			continue // these are about rates of what goes on
		}
		seen++
		counter, _, _ := strings.Cut(r.Expr[at+len("increase("):], "[")
		require.Contains(t, r.Expr,
			counter+" > 0 and on (job, instance) time() - process_start_time_seconds", r.Alert)
	}
	require.Equal(t, 5, seen)
}
