package app

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
)

// The waits between attempts to start while an engine is not reachable.
const (
	minStartWait = 250 * time.Millisecond
	maxStartWait = 5 * time.Second
)

// retryStart calls start until it succeeds, fails with an error that is not transient, or the limit
// has passed. Engines and instances are often started together, and an instance that is restarted
// during an outage should come up when the outage ends.
func retryStart[T any](
	ctx context.Context,
	limit time.Duration,
	start func(context.Context) (T, error),
) (T, error) {
	deadline := time.Now().Add(limit)
	b := fault.Backoff{First: minStartWait, Max: maxStartWait}
	for {
		x, err := start(ctx)
		wait := b.Next()
		if err == nil || fault.ClassOf(err) != fault.Transient ||
			time.Now().Add(wait).After(deadline) {
			return x, err
		}
		if !fault.Sleep(ctx, wait) {
			return x, err
		}
	}
}

// starting is what a process has before it has its engines: an answer to those who ask how it is.
type starting struct {
	metrics *telemetry.Metrics
	outages *outages
	// listener is where the server listens later; nil when it has it.
	listener net.Listener
	// stop ends the answers and leaves the listener open; nil if it cannot be kept open.
	stop func() error
}

// newStarting opens the address of the HTTP server and answers /healthz, /readyz and /metrics
// there.
func newStarting(ctx context.Context, cfg config.Config, o Options) (*starting, error) {
	s := &starting{
		metrics: telemetry.NewMetrics(o.Version), outages: &outages{}, listener: o.HTTP,
	}
	if s.listener == nil {
		var err error
		if s.listener, err = api.Listen(ctx, cfg.HTTP.Addr); err != nil {
			return nil, err
		}
	}
	l, ok := s.listener.(deadlined)
	if !ok {
		return s, nil
	}
	server := api.NewStarting(cfg.HTTP, api.Deps{
		Metrics: s.metrics.Handler(), Log: o.Log,
		Checks: []api.Check{
			{Name: "processors", Required: true, Ping: func(context.Context) error {
				return errStarting
			}},
			{Name: "engines", Required: true, Ping: func(context.Context) error {
				return s.outages.err()
			}},
		},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, keptOpen{l}) }()
	s.stop = func() error {
		cancel()
		return errors.Join(<-ended, l.SetDeadline(time.Time{}))
	}
	return s, nil
}

// handOver ends the answers and returns the listener. The caller closes it.
func (s *starting) handOver() (net.Listener, error) {
	l := s.listener
	s.listener = nil
	if l == nil || s.stop == nil {
		return l, nil
	}
	return l, s.stop()
}

// close ends the answers and closes the listener, unless it was taken.
func (s *starting) close() error {
	l, err := s.handOver()
	if l == nil {
		return err
	}
	return errors.Join(err, l.Close())
}

// takeListener returns where the server listens. The caller closes it.
func (a *App) takeListener(ctx context.Context, server *api.Server) (net.Listener, error) {
	if a.starting != nil {
		l, err := a.starting.handOver()
		if err != nil && l != nil {
			err = errors.Join(err, l.Close())
		}
		if l != nil || err != nil {
			return l, err
		}
	}
	return server.Listen(ctx)
}

// deadlined is a listener whose Accept can be ended without closing it.
type deadlined interface {
	net.Listener
	SetDeadline(t time.Time) error
}

// keptOpen is a listener for a server that another one follows: closing it only ends Accept.
type keptOpen struct{ deadlined }

func (l keptOpen) Close() error { return l.SetDeadline(time.Now()) }
