package app

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

// A store is away for 35 seconds. Its processors and tasks fail meanwhile, and some of them
// succeed in turns, where there is nothing to do.
func TestAnOutageHasTwoLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logLines
		a := &App{log: l.logger(), outages: &outages{}}
		began, refused := time.Now(), errors.New("connection refused")
		behind := func(string) (int64, error) { return 1204, nil }
		for i := range 60 {
			since := time.Since(began)
			var err error
			if since >= 10*time.Second && since < 45*time.Second {
				err = refused
				a.troubles.fails("embed", err)
				a.tellTask("index items", err)
			}
			if i%2 == 0 || err == nil {
				a.tellTask("index items", nil)
			}
			if since > time.Minute {
				a.troubles.works("embed") // it has waited before it tried again
			}
			a.outages.tellOutage(a.log, "qdrant", err, outagePatience, behind)
			a.troubles.report(a.log, a.outages.explains())
			fault.Sleep(t.Context(), lookInterval)
		}
		since := began.Add(10 * time.Second).UTC().Format(time.RFC3339)
		require.Equal(t, []map[string]any{
			{
				"level": "WARN", "msg": "an engine is away", "engine": "qdrant",
				"since": since, "error": "connection refused",
			},
			{
				"level": "WARN", "msg": "an engine is back", "engine": "qdrant",
				"after": "35s", "changes_behind": 1204.0,
			},
		}, l.lines(t))
		x, ok := a.outages.last("qdrant")
		require.True(t, ok)
		require.Equal(t, "back since "+began.Add(45*time.Second).UTC().Format(time.RFC3339)+
			", after 35s, 1,204 changes behind then", x.note())
	})
}

// Brokers that have just come back may not know the groups yet: the line waits for that, and is
// told without it when it takes too long, or when the engine goes away again.
func TestWhatIsBackIsToldWithTheChangesBehind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		counts, away time.Duration // since it is back
		want         string
	}{
		"at the third look": {counts: 10 * time.Second, want: "10s"},
		"too late":          {counts: time.Hour, want: "30s"},
		"away again":        {counts: time.Hour, away: 15 * time.Second, want: "20s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var l logLines
				o := &outages{}
				away := errors.New("refused")
				o.tellOutage(l.logger(), "kafka", away, 0, nil)
				fault.Sleep(t.Context(), time.Minute)
				back := time.Now()
				for len(l.with(t, "an engine is back")) == 0 {
					since := time.Since(back)
					var err error
					if c.away > 0 && since >= c.away {
						err = away
					}
					o.tellOutage(l.logger(), "kafka", err, outagePatience,
						func(string) (int64, error) {
							if since < c.counts {
								return 0, errors.New("not coordinator")
							}
							return 7, nil
						})
					fault.Sleep(t.Context(), lookInterval)
				}
				line := l.with(t, "an engine is back")[0]
				require.Equal(t, "1m0s", line["after"])
				require.Equal(t, c.counts < time.Minute, line["changes_behind"] == 7.0)
				require.Equal(t, c.want, (time.Since(back) - lookInterval).String())
				require.Equal(t, c.away > 0, len(o.away()) > 0)
			})
		})
	}
}

// /readyz asks, too: a busy engine that does not answer it once is not away, and that it was away
// before is still known.
func TestAMissedLookKeepsTheOutageBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logLines
		o := &outages{}
		behind := func(string) (int64, error) { return 7, nil }
		o.tellOutage(l.logger(), "kafka", errors.New("refused"), 0, behind)
		fault.Sleep(t.Context(), time.Minute)
		o.tellOutage(l.logger(), "kafka", nil, outagePatience, behind)
		before, _ := o.last("kafka")
		require.Contains(t, before.note(), "after 1m0s, 7 changes behind then")
		fault.Sleep(t.Context(), time.Second)
		require.Error(t, o.explain("kafka", errors.New("no answer within 2 s")))
		fault.Sleep(t.Context(), time.Second)
		o.tellOutage(l.logger(), "kafka", nil, outagePatience, behind)
		after, _ := o.last("kafka")
		require.Equal(t, before.note(), after.note())
		require.Len(t, l.lines(t), 2)
	})
}

// A busy engine that misses one look has not been away.
func TestAMissedLookIsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logLines
		o := &outages{}
		for i := range 20 {
			var err error
			if i%3 == 0 {
				err = errors.New("no answer within 2 s")
			}
			o.tellOutage(l.logger(), "qdrant", err, outagePatience, nil)
			fault.Sleep(t.Context(), lookInterval)
		}
		require.Empty(t, l.lines(t))
		require.NoError(t, o.err())
	})
}

// What fails although every engine is well has a line when it begins and one when it is over,
// however often it fails and succeeds in between.
func TestATroubleHasTwoLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logLines
		a := &App{log: l.logger(), outages: &outages{}}
		for i := range 100 {
			if i < 30 && i%3 == 0 {
				a.tellTask("measure lag", errors.New("not authorized"))
			} else {
				a.tellTask("measure lag", nil)
			}
			if i == 5 { // soon over
				a.troubles.fails("embed", errors.New("a leader is elected"))
				a.troubles.works("embed")
			}
			a.troubles.report(a.log, a.outages.explains())
			fault.Sleep(t.Context(), lookInterval)
		}
		lines := l.lines(t)
		require.Len(t, lines, 2)
		require.Equal(t, "it fails and is tried again", lines[0]["msg"])
		require.Equal(t, "task: measure lag", lines[0]["what"])
		require.Equal(t, "not authorized", lines[0]["error"])
		require.Equal(t, "it works again", lines[1]["msg"])
		require.Equal(t, "2m15s", lines[1]["after"])
	})
}

// Requests are heard of only when they fail.
func TestFailingRequestsHaveTwoLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logLines
		x := &troubles{}
		for range 100 {
			x.requestFails("a request: read the status", errors.New("timeout"))
			x.report(l.logger(), false)
			fault.Sleep(t.Context(), time.Second)
		}
		require.Len(t, l.lines(t), 1)
		fault.Sleep(t.Context(), 2*time.Minute)
		x.report(l.logger(), false)
		require.Len(t, l.with(t, "it works again"), 1)
	})
}
