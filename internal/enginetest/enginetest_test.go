package enginetest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// spy is a test whose end is noted; like the real one, it goes on no further.
type spy struct {
	testing.TB
	failed, skipped string
}

func (s *spy) Helper() {}

func (s *spy) Fatalf(format string, args ...any) {
	s.failed = fmt.Sprintf(format, args...)
	panic(s)
}

func (s *spy) Skipf(format string, args ...any) {
	s.skipped = fmt.Sprintf(format, args...)
	panic(s)
}

func end(f func(t testing.TB)) *spy {
	s := &spy{}
	func() {
		defer func() { _ = recover() }()
		f(s)
	}()
	return s
}

func TestMissingEngineIsNoticed(t *testing.T) {
	const name = "SLIPSTREAM_TEST_ENGINE"
	addr := func(t testing.TB) { enginetest.Addr(t, name) }

	t.Setenv("REQUIRE_ENGINES", "")
	s := end(addr)
	require.Contains(t, s.skipped, name)
	require.Empty(t, s.failed)

	t.Setenv("REQUIRE_ENGINES", "1")
	s = end(addr)
	require.Contains(t, s.failed, name, "a required engine must not be missed by a skip")
	require.Empty(t, s.skipped)

	t.Setenv(name, "127.0.0.1:1")
	require.Equal(t, "127.0.0.1:1", enginetest.Addr(t, name))
}

func TestChosenTestsAreSkippedUntilAskedFor(t *testing.T) {
	const name = "SLIPSTREAM_TEST_CHOSEN"
	chosen := func(t testing.TB) { enginetest.Chosen(t, name, "test-long") }
	require.Contains(t, end(chosen).skipped, "make test-long")
	t.Setenv(name, "1")
	require.Equal(t, &spy{}, end(chosen))
}
