package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
)

// serve answers HTTP until ctx ends.
func (a *app) serve(ctx context.Context) error {
	v, err := schemas.NewValidator()
	if err != nil {
		return err
	}
	gw, err := producers.NewGateway(a.kafka, v, producers.DefaultHTTPConfig(), now)
	if err != nil {
		return err
	}
	r := chi.NewRouter()
	gw.Register(r)
	r.Get("/v1/users/{id}/recommendations", func(w http.ResponseWriter, req *http.Request) {
		lists, err := a.recommender.Recommend(req.Context(), []processors.Request{{UserID: chi.URLParam(req, "id"), N: 10}})
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		_ = json.NewEncoder(w).Encode(lists[0])
	})
	r.Handle("/metrics", a.metrics.Handler())
	r.Get("/readyz", func(w http.ResponseWriter, req *http.Request) {
		if err := a.readiness(req.Context()); err != nil {
			http.Error(w, err.Error(), 503)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	s := &http.Server{Addr: a.cfg.HTTP.Addr, Handler: r}
	go func() {
		<-ctx.Done()
		_ = s.Shutdown(context.WithoutCancel(ctx))
	}()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", a.cfg.HTTP.Addr, err)
	}
	return nil
}
