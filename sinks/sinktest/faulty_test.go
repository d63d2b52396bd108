package sinktest_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

func openGraph(t *testing.T) sinks.Graph {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func edge(b string) []sinks.Edge { return []sinks.Edge{{A: "a", B: b, EventID: b}} }

func TestAPlannedFailureHasNoEffect(t *testing.T) {
	t.Parallel()
	plan := sinktest.NewPlan().Fail("ApplyEdges", 2, sinktest.Fault{Class: fault.Permanent})
	s := sinktest.FaultyGraph(openGraph(t), plan)

	require.NoError(t, s.ApplyEdges(t.Context(), edge("b")))
	err := s.ApplyEdges(t.Context(), edge("c"))
	require.True(t, sinktest.IsPlanned(err))
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.NoError(t, s.ApplyEdges(t.Context(), edge("d")))

	friends, err := s.Friends(t.Context(), []string{"a"}, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "d"}, friends["a"])
	require.Equal(t, 3, plan.Calls("ApplyEdges"))
	require.Equal(t, 4, plan.Calls(""))
}

func TestALostAnswerHasItsEffect(t *testing.T) {
	t.Parallel()
	plan := sinktest.NewPlan().Fail("", 1, sinktest.Fault{Class: fault.Transient, Lost: true}).Fail("CountEdges", 1, sinktest.Fault{Lost: true})
	s := sinktest.FaultyGraph(openGraph(t), plan)

	err := s.ApplyEdges(t.Context(), edge("b"))
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	n, err := s.CountEdges(t.Context())
	require.True(t, sinktest.IsPlanned(err))
	require.Zero(t, n, "the answer is lost")
	n, err = s.CountEdges(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func TestAnOutageLastsUntilItEnds(t *testing.T) {
	t.Parallel()
	plan := sinktest.NewPlan()
	s := sinktest.FaultyGraph(openGraph(t), plan)

	plan.Down(sinktest.Fault{Class: fault.Transient})
	for range 3 {
		require.Equal(t, fault.Transient, fault.ClassOf(s.Ping(t.Context())))
		require.Equal(t, fault.Transient, fault.ClassOf(s.ApplyEdges(t.Context(), edge("b"))))
	}
	plan.Up()
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, s.ApplyEdges(t.Context(), edge("b")))
}

// The wrappers change nothing but what is planned: they pass the suites themselves.
func TestFaultyWithoutAPlanIsTheStore(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T) *sqlite.Store { return openGraph(t).(*sqlite.Store) }
	t.Run("users", func(t *testing.T) {
		sinktest.Users(t, func(t *testing.T) sinks.Users { return sinktest.FaultyUsers(open(t), sinktest.NewPlan()) })
	})
	t.Run("items", func(t *testing.T) {
		sinktest.Items(t, func(t *testing.T) sinks.Items { return sinktest.FaultyItems(open(t), sinktest.NewPlan()) })
	})
	t.Run("graph", func(t *testing.T) {
		sinktest.Graph(t, func(t *testing.T) sinks.Graph { return sinktest.FaultyGraph(open(t), sinktest.NewPlan()) })
	})
}

// TestEveryMethodFollowsThePlan calls each method of each contract during an outage: none may reach the store, which is nil here.
func TestEveryMethodFollowsThePlan(t *testing.T) {
	t.Parallel()
	plan := sinktest.NewPlan()
	plan.Down(sinktest.Fault{Class: fault.Transient})
	for contract, store := range map[reflect.Type]any{
		reflect.TypeFor[sinks.Users]():     sinktest.FaultyUsers(nil, plan),
		reflect.TypeFor[sinks.Items]():     sinktest.FaultyItems(nil, plan),
		reflect.TypeFor[sinks.Graph]():     sinktest.FaultyGraph(nil, plan),
		reflect.TypeFor[sinks.Analytics](): sinktest.FaultyAnalytics(nil, plan),
	} {
		for i := range contract.NumMethod() {
			name := contract.Method(i).Name
			if name == "Close" {
				continue // never fails by plan
			}
			method := reflect.ValueOf(store).MethodByName(name)
			args := []reflect.Value{reflect.ValueOf(t.Context())}
			for in := 1; in < method.Type().NumIn(); in++ {
				args = append(args, reflect.Zero(method.Type().In(in)))
			}
			before := plan.Calls(name)
			results := method.Call(args)
			err, _ := results[len(results)-1].Interface().(error)
			require.True(t, sinktest.IsPlanned(err), "%s.%s: %v", contract.Name(), name, err)
			require.Equal(t, before+1, plan.Calls(name), "%s.%s is counted by its name", contract.Name(), name)
		}
	}
}
