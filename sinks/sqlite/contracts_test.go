package sqlite

import (
	"testing"

	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	sinktest.TestUsers(t, func(t *testing.T) sinktest.Users { return openForTest(t) })
}

func TestItems(t *testing.T) {
	t.Parallel()
	sinktest.TestItems(t, func(t *testing.T) sinktest.Items { return openForTest(t) })
}

func TestGraph(t *testing.T) {
	t.Parallel()
	sinktest.TestGraph(t, func(t *testing.T) sinktest.Graph { return openForTest(t) })
}
