package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Check is one thing that the process needs.
type Check struct {
	Name string
	// Required makes the process not ready when the check fails. Otherwise it is ready but
	// degraded.
	Required bool
	Ping     func(ctx context.Context) error
	// Note returns what is to be said of it though it is well, or an empty text. May be nil.
	Note func() string
}

const (
	checkTimeout = 2 * time.Second
	// checkAge is how long the result of the checks is cached, so that frequent probes do not load
	// the stores.
	checkAge = time.Second
)

// The states of a Readiness.
const (
	stateReady    = "ready"
	stateDegraded = "degraded"
	stateNot      = "not ready"
)

// checked is the body of /readyz.
type checked struct {
	Status string `json:"status"`
	// Checks holds "ok" or the error of each check.
	Checks map[string]string `json:"checks"`
	// Notes hold what is to be said of checks that are well, such as an outage that has ended.
	Notes map[string]string `json:"notes,omitempty"`
}

// readiness runs the checks, at most once per checkAge.
type readiness struct {
	checks   []Check
	stopping atomic.Bool

	mu   sync.Mutex
	at   time.Time
	last checked
}

func newReadiness(checks []Check) *readiness { return &readiness{checks: checks} }

func (r *readiness) stop() { r.stopping.Store(true) }

func (r *readiness) get(ctx context.Context) checked {
	if r.stopping.Load() {
		return checked{Status: stateNot, Checks: map[string]string{"process": "it is stopping"}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < checkAge {
		return r.last
	}
	// The first caller may disconnect, but the result is for the others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	errs := make([]error, len(r.checks))
	var wg sync.WaitGroup
	for i, c := range r.checks {
		wg.Go(func() { errs[i] = c.Ping(ctx) })
	}
	wg.Wait()
	result := checked{Status: stateReady, Checks: map[string]string{}}
	for i, c := range r.checks {
		switch {
		case errs[i] == nil:
			result.Checks[c.Name] = "ok"
			result.note(c)
			continue
		case c.Required:
			result.Status = stateNot
		case result.Status == stateReady:
			result.Status = stateDegraded
		}
		result.Checks[c.Name] = errs[i].Error()
	}
	r.at, r.last = time.Now(), result
	return result
}

// note adds what is to be said of a check that is well.
func (c *checked) note(of Check) {
	if of.Note == nil {
		return
	}
	if text := of.Note(); text != "" {
		if c.Notes == nil {
			c.Notes = make(map[string]string)
		}
		c.Notes[of.Name] = text
	}
}

// getHealth says that the process is alive. It checks nothing else, since a restart would not
// repair a store.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"alive"}` + "\n"))
}

// getReady says whether this process should receive requests.
func (s *Server) getReady(w http.ResponseWriter, r *http.Request) {
	result := s.ready.get(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if result.Status == stateNot {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(result)
}
