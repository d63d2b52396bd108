package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/slipstream-rec/slipstream/producers/gateway"
)

// problem answers with an error in the form of RFC 9457, as every part of the API does.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", gateway.ContentTypeProblem)
	w.WriteHeader(status)
	// The error means that the client is gone.
	_ = json.NewEncoder(w).Encode(
		gateway.Problem{
			Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail,
		},
	)
}

// observe calls the hook for each answer.
func (s *Server) observe(next http.Handler) http.Handler {
	if s.deps.Hooks.Answered == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			route := "other" // unmatched paths would give unlimited label values
			if c := chi.RouteContext(r.Context()); c != nil && c.RoutePattern() != "" {
				route = c.RoutePattern()
			}
			status := ww.Status()
			switch {
			case status == 0:
				status = http.StatusOK
			case status >= http.StatusInternalServerError &&
				errors.Is(r.Context().Err(), context.Canceled):
				// The client has left: whatever came of it is no error of the server.
				status = statusClientGone
			}
			s.deps.Hooks.Answered(knownMethod(r.Method), route, status, time.Since(started))
		}()
		next.ServeHTTP(ww, r)
	})
}

// statusClientGone counts requests that the client gave up, as nginx does. Nobody receives it.
const statusClientGone = 499

// knownMethod keeps what callers make up out of metrics.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// recover answers 500 to a request whose handler panics. Other requests continue.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch e := recover(); e {
			case nil:
			case http.ErrAbortHandler:
				panic(e) // net/http's own way to drop a connection
			default:
				s.log.Error(
					"a request's handler panicked", "method", r.Method, "path", r.URL.Path, "panic",
					e, "stack", string(debug.Stack()),
				)
				problem(
					w, http.StatusInternalServerError,
					"something went wrong here; the server's log says what",
				)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// allowed returns the methods that the path of a request has routes for.
func allowed(r *http.Request) (methods []string) {
	path := r.URL.RawPath // as chi does
	if path == "" {
		path = r.URL.Path
	}
	routes := chi.RouteContext(r.Context()).Routes
	for _, m := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete,
	} {
		if !routes.Match(chi.NewRouteContext(), m, path) {
			continue
		}
		if methods = append(methods, m); m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return methods
}

// clientKey is the key of the context that ends only when the client disconnects.
type clientKey struct{}

// limit bounds the time of a request. Sizes are bounded where bodies are read.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := r.Context()
		ctx, cancel := context.WithTimeout(
			context.WithValue(client, clientKey{}, client), s.cfg.RequestTimeout,
		)
		defer cancel()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
