package sqlite

import (
	"testing"

	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	sinktest.Users(t, func(t *testing.T) sinks.Users { return openForTest(t) })
}

func TestItems(t *testing.T) {
	t.Parallel()
	sinktest.Items(t, func(t *testing.T) sinks.Items { return openForTest(t) })
}

func TestGraph(t *testing.T) {
	t.Parallel()
	sinktest.Graph(t, func(t *testing.T) sinks.Graph { return openForTest(t) })
}
