// Package api is the HTTP server: recommendations over REST, the gateway for events, dead letters
// and status for operators, and an OpenAPI document of all of them.
//
// It answers from the same recommender that fills the recommendations topic. Dead letters and lag
// come from the log through the small interfaces of this package.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Recommender makes lists. *recommend.Recommender implements it.
type Recommender interface {
	Recommend(ctx context.Context, requests []recommend.Request) ([]schemas.Recommendation, error)
	Similar(
		ctx context.Context, itemID string, n int, locale string,
	) (schemas.Recommendation, error)
	Trending(
		ctx context.Context, n int, genres []string, locale string,
	) (schemas.Recommendation, error)
	SuggestFriends(ctx context.Context, userID string, n int) ([]sinks.Suggestion, error)
}

// Gateway mounts the handlers that accept events. *gateway.Gateway implements it.
type Gateway interface {
	Register(r gateway.Router)
}

// Emitter writes to the log and returns after all replicas have acknowledged.
type Emitter interface {
	Emit(ctx context.Context, batch []record.Record) error
}

// Deps are the dependencies of the server.
type Deps struct {
	// Recommender is required.
	Recommender Recommender
	// Gateway is required.
	Gateway Gateway
	// Emitter writes the served lists to the topic recommendations. Required.
	Emitter Emitter
	// DeadLetters is required.
	DeadLetters DeadLetters
	// Plans is required. It is what DeadLetters is, for dry runs.
	Plans DeadLetterPlans
	// Status returns the state of the pipeline. Required.
	Status func(ctx context.Context) (Status, error)
	// Checks are the readiness checks of /readyz.
	Checks []Check
	// Metrics serves /metrics; nil leaves it out.
	Metrics http.Handler
	// AsyncAPI is served under /asyncapi.yaml; empty leaves it out.
	AsyncAPI []byte
	// Actions are described under /openapi.yaml; nil are the built-in ones.
	Actions *schemas.Actions
	// Version is the version of the program.
	Version string
	// Log is slog.Default when nil.
	Log *slog.Logger
	// Hooks are callbacks for metrics.
	Hooks Hooks
}

// Hooks are callbacks for metrics. Any of them may be nil. They are called concurrently and must
// not block.
type Hooks struct {
	// Answered is called for each request. route is the pattern that matched, not the path.
	Answered func(method, route string, status int, d time.Duration)
	// Served is called for each list that was returned to a user.
	Served func(list *schemas.Recommendation)
	// Unlogged is called with the number of served lists that could not be written to the log.
	Unlogged func(lists int)
	// Failed is called for each request that cannot be answered for now, because an engine is
	// away. nil logs a warning.
	Failed func(doing string, err error)
}

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	cfg     config.HTTP
	deps    Deps
	log     *slog.Logger
	keys    keyring
	handler http.Handler
	ready   *readiness
	served  *servedLog
	openAPI *huma.OpenAPI
	// handsOver says that another server takes the listener when this one ends.
	handsOver bool
}

// New returns a server that is not serving yet: see Serve and Handler.
func New(cfg config.HTTP, deps Deps) (*Server, error) {
	if deps.Recommender == nil || deps.Gateway == nil || deps.Emitter == nil ||
		deps.DeadLetters == nil || deps.Plans == nil ||
		deps.Status == nil {
		return nil, errors.New(
			"api: Recommender, Gateway, Emitter, DeadLetters, Plans and Status are required",
		)
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	keys, err := newKeyring(cfg.APIKeys)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s := &Server{
		cfg: cfg, deps: deps, log: deps.Log, keys: keys, ready: newReadiness(deps.Checks),
		served: newServedLog(deps.Emitter, deps.Log, deps.Hooks.Unlogged),
	}
	if err := s.mount(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return s, nil
}

// NewProbes returns a server for a process without the API. It answers /healthz, /readyz and
// /metrics. Of deps it uses Checks, Metrics, Log and Hooks.Answered; all of them may be left out.
func NewProbes(cfg config.HTTP, deps Deps) *Server {
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	s := &Server{
		cfg: cfg, deps: deps, log: deps.Log, ready: newReadiness(deps.Checks),
		served: newServedLog(nil, deps.Log, nil), // gets no lists
	}
	s.handler = s.router("this process runs without the API (--only): /healthz, /readyz and " +
		"/metrics are here")
	return s
}

// startingHeader marks the answers of a process that is not ready to serve yet: it has done
// nothing, so a proxy may send the request to another instance, whatever it is.
const startingHeader = "Slipstream-Starting"

// NewStarting returns a server for a process that is not ready to serve yet. It answers /healthz,
// /readyz and /metrics, and 503 with the header Slipstream-Starting to everything else.
func NewStarting(cfg config.HTTP, deps Deps) *Server {
	s := NewProbes(cfg, deps)
	s.handsOver = true
	probes := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			probes.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			w.Header().Set(startingHeader, "true")
			problem(w, http.StatusServiceUnavailable,
				"this process is starting: /readyz says what it waits for")
		}
	})
	return s
}

// Handler returns the server's handler, for another server or a test. Lists that it answers are
// written to the log only while Serve runs.
func (s *Server) Handler() http.Handler { return s.handler }

// router returns the routes that every process has. elsewhere says in an answer where to look for
// another path.
func (s *Server) router(elsewhere string) *chi.Mux {
	r := chi.NewRouter()
	// GetHead: where GET is answered, HEAD is answered by the same headers (RFC 9110, section 9.1).
	r.Use(s.observe, s.recover, s.limit, s.text, middleware.GetHead)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "there is no "+r.URL.Path+": "+elsewhere)
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		methods := strings.Join(allowed(r), ", ")
		w.Header().Set("Allow", methods)
		problem(
			w, http.StatusMethodNotAllowed,
			r.Method+" is not possible here, but "+methods+": "+elsewhere,
		)
	})
	r.Get("/healthz", s.getHealth)
	r.Get("/readyz", s.getReady)
	if s.deps.Metrics != nil {
		r.Method(http.MethodGet, "/metrics", s.deps.Metrics)
	}
	return r
}

func (s *Server) mount() error {
	r := s.router("/openapi.yaml lists what there is")
	if len(s.deps.AsyncAPI) > 0 {
		r.Get("/asyncapi.yaml", static("application/yaml", s.deps.AsyncAPI))
	}

	c := huma.DefaultConfig("Slipstream", s.deps.Version)
	// No page that loads scripts from other hosts. No $schema in bodies, since a list is the same
	// here and on the topic.
	c.DocsPath, c.OpenAPIPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Formats = formats()
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	doc := humachi.New(r, c)
	if err := describe(doc.OpenAPI(), s.deps.Actions); err != nil {
		return err
	}
	s.recommendations(doc)
	s.deadLetters(doc)
	s.status(doc)

	r.Group(func(r chi.Router) {
		r.Use(s.require(config.RoleEmit))
		s.deps.Gateway.Register(r)
	})
	describeGateway(doc.OpenAPI())
	describeCommon(doc.OpenAPI())

	s.openAPI = doc.OpenAPI()
	asJSON, err := s.openAPI.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	asYAML, err := s.openAPI.YAML()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	r.Get("/openapi.json", static("application/json", asJSON))
	r.Get("/openapi.yaml", static("application/yaml", asYAML))
	// For generators that do not know 3.1, such as oapi-codegen.
	older, err := s.openAPI.DowngradeYAML()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document as 3.0: %w", err)
	}
	r.Get("/openapi-3.0.yaml", static("application/yaml", older))
	s.handler = r
	return nil
}

// OpenAPI returns the document of the API as YAML.
func (s *Server) OpenAPI() ([]byte, error) { return s.openAPI.YAML() }

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		// The error means that the client is gone.
		_, _ = w.Write(body)
	}
}
