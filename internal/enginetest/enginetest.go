// Package enginetest gives tests the addresses of real engines, and makes sure that a missing
// engine is noticed.
package enginetest

import (
	"os"
	"testing"
)

// Addr returns the value of the environment variable name, for instance KAFKA_BROKERS. When it is
// not set the test is skipped with a message that names it, or fails if REQUIRE_ENGINES is set: a
// skip must not hide.
func Addr(t testing.TB, name string) string {
	t.Helper()
	if v := os.Getenv(name); v != "" {
		return v
	}
	if os.Getenv("REQUIRE_ENGINES") != "" {
		t.Fatalf(
			"%s is not set but REQUIRE_ENGINES is: start the engine and export its address", name,
		)
	}
	t.Skipf("%s is not set: no real engine to test against", name)
	return ""
}

// Chosen skips a test that runs only when it is asked for: when the environment variable name is
// set, which is what make target does. Such a test is never missed for want of an engine.
func Chosen(t testing.TB, name, target string) {
	t.Helper()
	if os.Getenv(name) == "" {
		t.Skipf("%s is not set: make %s runs this test", name, target)
	}
}

// Env returns the value of an optional variable such as a password, empty when it is not set.
func Env(name string) string { return os.Getenv(name) }
