package admin

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a broker to test against.
type engine struct{ *streamtest.Engine }

func fakeEngine(t testing.TB) *engine { return &engine{streamtest.Fake(t)} }

// onEngines runs a test on the in-process broker and, under a name with Real, on the real one.
func onEngines(t *testing.T, f func(t *testing.T, e *engine)) {
	streamtest.OnEngines(t, func(t *testing.T, e *streamtest.Engine) { f(t, &engine{e}) })
}

func (e *engine) newName() string { return e.Name + "-" + uuid.NewString()[:8] }

// counter counts the records that a member has seen.
type counter struct{ n atomic.Int64 }

// count reads the topic as a member of the group until stop.
func (e *engine) count(
	t *testing.T,
	cfg stream.SubscriberConfig,
	topic string,
	c *counter,
) (stop func()) {
	t.Helper()
	out, leave := e.Subscribe(t, cfg, topic)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for msg := range out {
			c.n.Add(int64(len(stream.BatchOf(msg).Records)))
			msg.Ack()
		}
	}()
	stop = sync.OnceFunc(func() { leave(); <-done })
	t.Cleanup(stop)
	return stop
}
