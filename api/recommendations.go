package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// generalList is a list for nobody in particular.
type generalList schemas.Recommendation

// Schema implements huma.SchemaProvider.
func (generalList) Schema(huma.Registry) *huma.Schema { return ref(generalListName) }

// MarshalJSON writes what schemas.Recommendation does.
func (l generalList) MarshalJSON() ([]byte, error) {
	return schemas.Recommendation(l).MarshalJSON()
}

// UserParam is a user in the path. It is exported for the OpenAPI generator, which does not see
// into other embedded types.
type UserParam struct {
	ID string `path:"id" minLength:"1" maxLength:"256" doc:"The user's id. An unknown user gets trending items."`
}

// LengthParam says how many items are wanted.
type LengthParam struct {
	N int `query:"n" minimum:"1" maximum:"200" doc:"Number of items. Default: recommend.list_length."`
}

// GenreParam restricts a list to genres.
type GenreParam struct {
	Genre []string `query:"genre,explode" nullable:"false" maxItems:"20" doc:"Only items with at least one of these genres; may be repeated."`
}

// LocaleParam says in which language reasons are.
type LocaleParam struct {
	Locale string `query:"locale" maxLength:"35" doc:"Locale of the reasons, such as de or de-AT. Default, also for one that is not known: recommend.locale."`
}

type recommendInput struct {
	UserParam
	LengthParam
	GenreParam
	LocaleParam
	Exclude  []string `query:"exclude,explode" nullable:"false" maxItems:"1000" doc:"Items to leave out; may be repeated."`
	Scenario string   `query:"scenario" enum:"home,new,friends" default:"home" doc:"What the list is for: all sources blended, cold-start items, or items that friends took."`
}

// personalOutput holds the list byte for byte as it is written to the topic: it is encoded once.
type personalOutput struct {
	CacheControl string `header:"Cache-Control"`
	ContentType  string `header:"Content-Type" hidden:"true"`
	Body         []byte
}

type generalOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         generalList
}

// suggestions is the body of the answer to a request for friends.
type suggestions struct {
	UserID      string             `json:"user_id"`
	Suggestions []sinks.Suggestion `json:"suggestions" nullable:"false"`
}

type suggestionsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         suggestions
}

const (
	cachePrivate = "private, no-store"  // a list is outdated by the user's next event
	cachePublic  = "public, max-age=10" // trending is computed every 15 seconds
	tagList      = "Recommendations"
)

func (s *Server) recommendations(doc huma.API) {
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "recommend", Method: http.MethodGet, Path: "/v1/users/{id}/recommendations",
		Tags:    []string{tagList},
		Summary: "Recommendations for a user",
		Description: "The same lists as on the recommendations topic, made on request. An " +
			"unknown user gets trending items, and strategy says so. When a store does not " +
			"answer, the list is made without it, and degraded names what is missing. Each list " +
			"is written to the topic too: send its recommendation_id with the interactions that " +
			"it leads to.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The list, as on the topic.",
			Content: map[string]*huma.MediaType{
				schemas.ContentTypeJSON: {Schema: ref(string(schemas.KindRecommendation))},
			},
		}},
	}, config.RoleRead), s.recommend)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "similar", Method: http.MethodGet, Path: "/v1/items/{id}/similar",
		Tags:    []string{tagList},
		Summary: "Items similar to an item",
		Description: "By what people do and, as long as little is known of an item, by content. " +
			"Scores are from 0 to 1, on one scale for both.",
		Errors: []int{http.StatusNotFound},
	}, config.RoleRead), s.similar)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "trending", Method: http.MethodGet, Path: "/v1/trending",
		Tags:        []string{tagList},
		Summary:     "What is popular now",
		Description: "Interactions weigh less the older they are (recommend.trending_half_life).",
	}, config.RoleRead), s.trending)
	huma.Register(doc, s.guarded(huma.Operation{
		OperationID: "suggest-friends", Method: http.MethodGet,
		Path: "/v1/users/{id}/friends/suggestions", Tags: []string{tagList},
		Summary:     "People whom a user might know",
		Description: "Friends of friends, most mutual friends first.",
	}, config.RoleRead), s.suggest)
}

func (s *Server) recommend(ctx context.Context, in *recommendInput) (*personalOutput, error) {
	for _, err := range []error{
		checkID("path.id", in.ID), checkIDs("query.exclude", in.Exclude), checkGenres(in.Genre),
	} {
		if err != nil {
			return nil, invalid(err)
		}
	}
	scenario := in.Scenario
	if scenario == "home" {
		scenario = recommend.ScenarioHome
	}
	lists, err := s.deps.Recommender.Recommend(ctx, []recommend.Request{{
		UserID: in.ID, N: in.N, Exclude: in.Exclude, Genres: in.Genre, Scenario: scenario,
		Locale:   in.Locale,
		CausedBy: schemas.CausedBy{Trigger: "request"},
	}})
	if err == nil && len(lists) != 1 {
		err = errors.New("no list was made")
	}
	if err != nil {
		return nil, s.fail(ctx, "recommend", err)
	}
	list := &lists[0]
	m := list.Message(schemas.TopicRecommendations)
	s.served.add(m)
	if s.deps.Hooks.Served != nil {
		s.deps.Hooks.Served(list)
	}
	return &personalOutput{
		CacheControl: cachePrivate, ContentType: schemas.ContentTypeJSON, Body: m.Value,
	}, nil
}

func (s *Server) similar(ctx context.Context, in *struct {
	ID string `path:"id" minLength:"1" maxLength:"256" doc:"The item's id."`
	LengthParam
	LocaleParam
},
) (*generalOutput, error) {
	if err := checkID("path.id", in.ID); err != nil {
		return nil, invalid(err)
	}
	list, err := s.deps.Recommender.Similar(ctx, in.ID, orTwenty(in.N), in.Locale)
	if errors.Is(err, recommend.ErrUnknownItem) {
		return nil, huma.Error404NotFound(
			"the catalog has no item " + in.ID + ": PUT /v1/items/{id} adds one, and it is " +
				"known within a second",
		)
	}
	if err != nil {
		return nil, s.fail(ctx, "find similar items", err)
	}
	return &generalOutput{CacheControl: cachePublic, Body: generalList(list)}, nil
}

func (s *Server) trending(ctx context.Context, in *struct {
	LengthParam
	GenreParam
	LocaleParam
},
) (*generalOutput, error) {
	if err := checkGenres(in.Genre); err != nil {
		return nil, invalid(err)
	}
	list, err := s.deps.Recommender.Trending(ctx, orTwenty(in.N), in.Genre, in.Locale)
	if err != nil {
		return nil, s.fail(ctx, "find trending items", err)
	}
	return &generalOutput{CacheControl: cachePublic, Body: generalList(list)}, nil
}

func (s *Server) suggest(ctx context.Context, in *struct {
	UserParam
	LengthParam
},
) (*suggestionsOutput, error) {
	if err := checkID("path.id", in.ID); err != nil {
		return nil, invalid(err)
	}
	found, err := s.deps.Recommender.SuggestFriends(ctx, in.ID, orTwenty(in.N))
	if err != nil {
		return nil, s.fail(ctx, "suggest friends", err)
	}
	if found == nil {
		found = []sinks.Suggestion{}
	}
	return &suggestionsOutput{
		CacheControl: cachePrivate, Body: suggestions{UserID: in.ID, Suggestions: found},
	}, nil
}

// checkID refuses an id that no event can carry. A list for such a user would become a dead letter
// of its readers, which is an alert: reading must not have such effects.
func checkID(location, id string) error {
	if err := schemas.CheckID("id", id); err != nil {
		return &huma.ErrorDetail{Location: location, Message: err.Error(), Value: id}
	}
	return nil
}

func checkIDs(location string, ids []string) error {
	for _, id := range ids {
		if err := checkID(location, id); err != nil {
			return err
		}
	}
	return nil
}

func checkGenres(genres []string) error {
	for _, g := range genres {
		if len(g) > schemas.MaxIDLength {
			return &huma.ErrorDetail{
				Location: "query.genre", Value: g,
				Message: fmt.Sprintf(
					"is %d bytes long, no genre has more than %d", len(g), schemas.MaxIDLength,
				),
			}
		}
	}
	return nil
}

// invalid is the answer that huma gives to parameters that it refuses itself.
func invalid(err error) error {
	return huma.Error422UnprocessableEntity("validation failed", err)
}

func orTwenty(n int) int {
	if n == 0 {
		return 20
	}
	return n
}

// failed tells of a request that cannot be answered for now.
func (s *Server) failed(doing string, err error) {
	if s.deps.Hooks.Failed != nil {
		s.deps.Hooks.Failed(doing, err)
		return
	}
	s.log.Warn("a request could not be answered for now", "doing", doing, "error", err)
}

// fail turns an error into an answer. The error is logged. The caller only learns whether to try
// again.
func (s *Server) fail(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil,
		fault.ClassOf(err) == fault.Transient,
		fault.ClassOf(err) == fault.Canceled:
		if !errors.Is(ctx.Err(), context.Canceled) { // else the client has left
			s.failed(doing, err)
		}
		return huma.ErrorWithHeaders(
			huma.Error503ServiceUnavailable("a store does not answer: try again"),
			http.Header{"Retry-After": {"1"}},
		)
	default:
		s.log.Error("a request could not be answered", "doing", doing, "error", err)
		return huma.Error500InternalServerError(
			"something went wrong here; the server's log says what",
		)
	}
}
