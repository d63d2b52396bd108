package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
)

// ready answers with a list of ten that costs nothing to make.
type ready struct {
	api.Recommender
	list schemas.Recommendation
}

func (r ready) Recommend(context.Context, []recommend.Request) ([]schemas.Recommendation, error) {
	return []schemas.Recommendation{r.list}, nil
}

type noGateway struct{}

func (noGateway) Register(gateway.Router) {}

// BenchmarkAnswer measures what the server adds to making a list: routing, keys, parameters, JSON,
// the copy for the log.
func BenchmarkAnswer(b *testing.B) {
	list := schemas.Recommendation{
		UserID: "user-483", RecommendationID: "5e4e9441-67f7-5ea9-9548-80d01e579721",
		Strategy: "personal", Variant: "default",
		GeneratedAt: time.Now(), ExpiresAt: time.Now(),
		CausedBy: schemas.CausedBy{Trigger: "request"},
	}
	for i := range 10 {
		list.Items = append(list.Items, schemas.RecommendedItem{
			ItemID: "film-158", Rank: i + 1, Score: 1.6092801094055176,
			Reason: "because you watched The Tender Heist", Source: "vectors",
			Title: "The Velvet Lighthouse",
		})
	}
	cfg := config.Default().HTTP
	cfg.APIKeys = []config.APIKey{{Name: "site", Key: readKey, Roles: []string{config.RoleRead}}}
	s, err := api.New(cfg, api.Deps{
		Recommender: ready{list: list}, Gateway: noGateway{}, Emitter: newEmitter(),
		DeadLetters: &letters{}, Plans: &letters{},
		Status: func(context.Context) (api.Status, error) { return api.Status{}, nil },
		Hooks:  api.Hooks{Answered: func(string, string, int, time.Duration) {}},
	})
	if err != nil {
		b.Fatal(err)
	}
	h := s.Handler()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/v1/users/user-483/recommendations?n=10", nil)
		r.Header.Set("X-API-Key", readKey)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body.String())
		}
	}
}
