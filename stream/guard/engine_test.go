package guard

import (
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

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
