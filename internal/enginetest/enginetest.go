// Package enginetest gives tests the addresses of real engines, and makes sure that a missing engine is noticed.
package enginetest

import (
	"os"
	"testing"
)

// Addr returns the value of the environment variable name, for instance KAFKA_BROKERS. When it is not set the test is skipped with a
// message that names it, or fails if REQUIRE_ENGINES is set: a skip must not hide.
func Addr(t testing.TB, name string) string {
	t.Helper()
	if v := os.Getenv(name); v != "" {
		return v
	}
	if os.Getenv("REQUIRE_ENGINES") != "" {
		t.Fatalf("%s is not set but REQUIRE_ENGINES is: start the engine and export its address", name)
	}
	t.Skipf("%s is not set: no real engine to test against", name)
	return ""
}

// Env returns the value of an optional variable such as a password, empty when it is not set.
func Env(name string) string { return os.Getenv(name) }
