package qdrant

import (
	"testing"

	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func forSuite(c *Config) { c.Dim, c.ContentDim = sinktest.VectorDim, sinktest.ContentDim }

func TestRealUsers(t *testing.T) {
	sinktest.Users(t, func(t *testing.T) sinks.Users { return openForTest(t, forSuite).Users() })
}

func TestRealItems(t *testing.T) {
	sinktest.Items(t, func(t *testing.T) sinks.Items { return openForTest(t, forSuite).Items() })
}
