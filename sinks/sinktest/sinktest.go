// Package sinktest holds the suites that every engine of the contracts in package sinks passes:
// each sentence of a contract is a case. It also wraps stores so that chosen calls fail
// (faulty.go), for the tests of those who use them.
//
//	func TestUsers(t *testing.T) {
//		sinktest.TestUsers(t, func(t *testing.T) sinktest.Users { return openForTest(t) })
//	}
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

// VectorDim and ContentDim are the lengths of the vectors that the suites put: an engine that wants
// to know them beforehand is opened with these.
const (
	VectorDim  = 9
	ContentDim = 8
)

// scoreDelta is the allowed difference of a score to the exact one: engines add in another order,
// and may compress vectors for the search.
const scoreDelta = 1e-3

// noon is a time with all nine digits of its second.
var noon = time.Date(2024, 5, 17, 12, 0, 0, 123456789, time.UTC)

// oddIDs are ids that stores have stumbled over.
var oddIDs = []string{
	"a", "A", " ", " padded ", "0", "-1", "00000000-0000-0000-0000-000000000000", "null", "u'1",
	`u"1`, `back\slash`, "slash/and:colon", "percent%20", "$b", "{c}", "`tick`", "a|b", "a,b", "--",
	"; DROP TABLE users", "ünïcode", "日本語", "👩‍👩‍👧", "e\u0301", "\u00e9", "ﬀ",
	"\u202eright to left", strings.Repeat("x", 256), strings.Repeat("日", 85),
}

// testCase is one sentence of a contract.
type testCase[S Store] struct {
	name string
	run  func(t *testing.T, s S)
}

// runAll runs each case on a store of its own, the cases that all stores share first.
func runAll[S Store](t *testing.T, open func(t *testing.T) S, cases []testCase[S]) {
	t.Helper()
	for _, c := range append(storeCases[S](), cases...) {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func storeCases[S Store]() []testCase[S] {
	return []testCase[S]{
		{"ping answers", func(t *testing.T, s S) { require.NoError(t, s.Ping(t.Context())) }},
		{"the log id is empty, then what was set", func(t *testing.T, s S) {
			id, err := s.LogID(t.Context())
			require.NoError(t, err)
			require.Empty(t, id)
			require.NoError(t, s.SetLogID(t.Context(), "log-1"))
			require.NoError(t, s.SetLogID(t.Context(), "log-1"), "again")
			id, err = s.LogID(t.Context())
			require.NoError(t, err)
			require.Equal(t, "log-1", id)
		}},
		{"migrating again changes nothing", func(t *testing.T, s S) {
			require.NoError(t, s.SetLogID(t.Context(), "log-1"))
			require.NoError(t, s.Migrate(t.Context()))
			id, err := s.LogID(t.Context())
			require.NoError(t, err)
			require.Equal(t, "log-1", id)
		}},
		{"closing twice is fine", func(t *testing.T, s S) {
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
		}},
	}
}

// requireCanceled wants each call to end with an error of class canceled when its context is.
func requireCanceled(t *testing.T, calls map[string]func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls {
		err := call(ctx)
		require.Error(t, err, name)
		require.Equal(t, fault.Canceled, fault.ClassOf(err), "%s: %v", name, err)
	}
}

// retryTransient repeats a call that fails for a moment, as the callers of stores do.
func retryTransient(f func() error) error {
	var err error
	for range 50 {
		if err = f(); err == nil || fault.ClassOf(err) != fault.Transient {
			return err
		}
	}
	return err
}

// concurrently calls f n times at once and returns what failed.
func concurrently(n int, f func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(i) }()
	}
	var all error
	for range n {
		all = errors.Join(all, <-errs)
	}
	return all
}

// random returns the same numbers at each run of a case.
func random(t *testing.T) *rand.Rand {
	var seed uint64
	for _, c := range t.Name()[strings.IndexByte(t.Name(), '/')+1:] {
		seed = seed*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, 1))
}

func vector(r *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// permutations calls f with every order of 0..n-1.
func permutations(n int, f func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var walk func(k int)
	walk = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			walk(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	walk(0)
}

// numbered returns prefix-0000, prefix-0001 and so on.
func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return ids
}
