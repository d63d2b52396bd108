package stream

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// Watermill's own suite leaves the forwarders of its multiplied subscribers blocked on a
		// channel that nobody reads any more.
		goleak.IgnoreAnyFunction(
			"github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func2",
		),
		goleak.IgnoreAnyFunction(
			"github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func3",
		),
	)
}
