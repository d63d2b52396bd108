package stream

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// TestWatermill holds the adapter to Watermill's own conformance suite, one record a message.
func TestWatermill(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		for _, ranges := range []bool{false, true} {
			name := map[bool]string{false: "plain", true: "ranges"}[ranges]
			t.Run(name, func(t *testing.T) {
				conformance(t, e, ranges, false)
			})
		}
	})
}

// TestLongWatermill runs the cases, too, that wait for fifty members to leave one by one.
func TestLongWatermill(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	conformance(t, fakeEngine(t), false, true)
}

func conformance(outer *testing.T, e *engine, ranges, long bool) {
	construct := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		cfg := e.group(outer)
		cfg.Group, cfg.MaxRecords, cfg.InitPartitions, cfg.Intents = group, 1, 1, ranges
		cfg.DrainTimeout = 200 * time.Millisecond
		// the suite refuses hundreds of times
		cfg.RedeliverMin, cfg.RedeliverMax = time.Millisecond, 5*time.Millisecond
		sub, err := NewSubscriber(e.conn, cfg)
		require.NoError(t, err)
		pub, err := NewPublisher(e.conn, DefaultPublisherConfig())
		require.NoError(t, err)
		// The suite does not close all that it opens.
		outer.Cleanup(func() {
			require.NoError(outer, sub.Close())
			require.NoError(outer, pub.Close())
		})
		return initializingPublisher{pub, sub}, sub
	}
	tests.TestPubSub(outer,
		tests.Features{
			ConsumerGroups: true, GuaranteedOrder: true, Persistent: true,
			NewSubscriberReceivesOldMessages: true,
			GenerateTopicFunc: func(tctx tests.TestContext) string {
				return e.name + "-" + tctx.TestID.String()
			},
			ForceShort: !long,
		},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return construct(t, e.name+"-"+uuid.NewString())
		},
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			return construct(t, e.name+"-"+group)
		},
	)
}

// initializingPublisher makes a topic before the first message: the suite publishes before it
// subscribes, and brokers do not make topics by use.
type initializingPublisher struct {
	*Publisher
	sub *Subscriber
}

func (p initializingPublisher) Publish(topic string, messages ...*message.Message) error {
	if err := p.sub.SubscribeInitialize(topic); err != nil {
		return err
	}
	return p.Publisher.Publish(topic, messages...)
}
