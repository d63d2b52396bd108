package qdrant

import (
	"testing"

	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func forSuite(c *Config) { c.Dim, c.ContentDim = sinktest.VectorDim, sinktest.ContentDim }

func TestRealUsers(t *testing.T) {
	sinktest.TestUsers(
		t,
		func(t *testing.T) sinktest.Users { return openForTest(t, forSuite).Users() },
	)
}

func TestRealItems(t *testing.T) {
	sinktest.TestItems(
		t,
		func(t *testing.T) sinktest.Items { return openForTest(t, forSuite).Items() },
	)
}
