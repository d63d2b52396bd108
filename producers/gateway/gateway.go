// Package gateway is the way in over HTTP: JSON and CloudEvents, one event or a batch, to the log.
package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Config bounds what the gateway takes. Take DefaultConfig and change what you need.
type Config struct {
	// Source is the source of events that name none; with the event's id it tells events apart.
	// Default "http".
	Source string
	// MaxRequestBytes bounds one request after unpacking; more is answered by 413. Default 8 MiB.
	MaxRequestBytes int64
	// MaxEventBytes bounds one event as it is written to the log; more is refused by 413. Keep it
	// below the topics' max.message.bytes. Default 256 KiB.
	MaxEventBytes int
	// MaxEvents bounds the events of one request; more is answered by 413. Default 10,000.
	MaxEvents int
	// MaxInFlightBytes and MaxInFlightRequests bound what is being received and written at once;
	// beyond, the answer is 429 with Retry-After. Default 64 MiB and 512.
	MaxInFlightBytes    int64
	MaxInFlightRequests int64
	// EmitTimeout bounds how long the log may take; then the answer is 503 with Retry-After.
	// Default 10 s.
	EmitTimeout time.Duration
	// RetryAfter is what 429 and 503 tell clients to wait. Default 1 s.
	RetryAfter time.Duration
	// OnEvents is called with the numbers of events of each kind after each request, unless nil.
	// The kind of an unreadable event is "".
	OnEvents func(kind schemas.Kind, accepted, refused int)
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Source: "http", MaxRequestBytes: 8 << 20, MaxEventBytes: 256 << 10, MaxEvents: 10_000,
		MaxInFlightBytes: 64 << 20, MaxInFlightRequests: 512, EmitTimeout: 10 * time.Second,
		RetryAfter: time.Second,
	}
}

// Validate returns an error that says what to change, or nil.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, v int64) {
		if v <= 0 {
			errs = append(errs, fmt.Errorf("%s must be positive, not %d", name, v))
		}
	}
	positive("MaxRequestBytes", c.MaxRequestBytes)
	positive("MaxEventBytes", int64(c.MaxEventBytes))
	positive("MaxEvents", int64(c.MaxEvents))
	positive("MaxInFlightRequests", c.MaxInFlightRequests)
	positive("EmitTimeout", int64(c.EmitTimeout))
	positive("RetryAfter", int64(c.RetryAfter))
	if c.MaxInFlightBytes < c.MaxRequestBytes {
		errs = append(
			errs,
			fmt.Errorf(
				"MaxInFlightBytes (%d) must be at least MaxRequestBytes (%d)", c.MaxInFlightBytes,
				c.MaxRequestBytes,
			),
		)
	}
	if c.Source == "" {
		errs = append(errs, errors.New("no Source"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("events over HTTP: %w", err)
	}
	return nil
}

// Gateway takes events over HTTP and answers 202 only after the log has them. It is safe for
// concurrent use.
type Gateway struct {
	cfg       Config
	emitter   producers.Emitter
	validator *schemas.Validator
	now       func() time.Time

	requests, bytes atomic.Int64
}

// New returns a gateway that writes to emitter. now is the clock for events that say no time; nil
// is time.Now.
func New(
	emitter producers.Emitter,
	validator *schemas.Validator,
	cfg Config,
	now func() time.Time,
) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &Gateway{cfg: cfg, emitter: emitter, validator: validator, now: now}, nil
}

// Router is where handlers are mounted; chi.Router is one.
type Router interface {
	Method(method, pattern string, h http.Handler)
}

// Register mounts every handler under its path.
func (g *Gateway) Register(r Router) {
	for _, h := range g.routes() {
		r.Method(h.method, h.pattern, g.admit(h.handler))
	}
}

// Handler returns the gateway as a handler of its own.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, h := range g.routes() {
		mux.Handle(h.method+" "+h.pattern, g.admit(h.handler))
	}
	return mux
}

type route struct {
	method, pattern string
	handler         http.HandlerFunc
}

func (g *Gateway) routes() []route {
	return []route{
		{http.MethodPost, "/v1/events", g.postEvents},
		{http.MethodPut, "/v1/items/{id}", g.putItem},
		{http.MethodDelete, "/v1/items/{id}", g.deleteItem},
		{http.MethodPut, "/v1/users/{id}", g.putUser},
		{http.MethodDelete, "/v1/users/{id}", g.deleteUser},
		{http.MethodPut, "/v1/users/{id}/friends/{friend}", g.putFriend},
		{http.MethodDelete, "/v1/users/{id}/friends/{friend}", g.deleteFriend},
	}
}

// admit answers 429 to requests beyond what may be in flight.
func (g *Gateway) admit(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.requests.Add(-1)
		if g.requests.Add(1) > g.cfg.MaxInFlightRequests {
			g.fail(w, r, busy("too many requests at once"))
			return
		}
		h(w, r)
	})
}
