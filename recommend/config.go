package recommend

import (
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Config holds the settings of Recommender.
type Config struct {
	Model model.Config
	Blend model.Blend
	// Length is the length of a list when the request does not give one. Default 20.
	Length int
	// Candidates is the number of nearest items that are ranked, at least three times the length of
	// the list. Default 60.
	Candidates int
	// NewItems is the number of cold-start candidates found by content, beside those whose turn it
	// is to get a place kept for them (Blend.NewShare); 0: none of either. An item is cold while it
	// has at most NewItemCount interactions. Defaults 10 and 5.
	NewItems     int
	NewItemCount float64
	// SimilarUsers is the number of similar users whose latest items become candidates; 0 is none.
	// Default 5.
	SimilarUsers int
	// Friends is the maximum number of friends considered per user. Default 50.
	Friends int
	// FriendHalfLife is the half-life of a friend's interaction as a signal. Default 14 days.
	FriendHalfLife time.Duration
	// TakenReturn allows recommending items that the user has already taken (music, groceries).
	// Refused items never return. Default false (films).
	TakenReturn bool
	// CatalogOnly leaves out items that have no catalog entry. Default false.
	CatalogOnly bool
	// Holdout is the share of users, 0 to 1, who get the baseline (trending), so that the lift of
	// the recommender can be measured. Default 0.05.
	Holdout float64
	// Variant names this configuration in lists, so that click-through can be compared. Default
	// "default".
	Variant string
	// TTL is the time until a list expires. Default 24 h.
	TTL time.Duration
	// ItemTTL is how long items (for reasons and diversity) and similar users are cached. An item
	// is evicted at once when ApplyItem sees a change of its content. Default 30 s.
	ItemTTL time.Duration
	// StoreTimeout bounds each call to a store. After it the list is made without that store.
	// Default 1 s.
	StoreTimeout time.Duration
	// Actions is the table of actions. Default: the built-in ones.
	Actions *schemas.Actions
	// Locale is the locale of reasons where a request has none, en or de. Default "en".
	Locale string
	// Degraded is told that a part of lists is missing, and why. It must not block. nil logs a
	// warning.
	Degraded func(part string, err error)
	// Log gets a line for each store that does not answer, unless Degraded is told.
	Log *slog.Logger
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Model: model.Default(), Blend: model.DefaultBlend(), Length: 20, Candidates: 60,
		NewItems: 10, NewItemCount: 5, SimilarUsers: 5,
		Friends: 50, FriendHalfLife: 14 * 24 * time.Hour, Holdout: 0.05, Variant: "default",
		TTL: 24 * time.Hour, ItemTTL: 30 * time.Second, StoreTimeout: time.Second,
		Actions: schemas.DefaultActions(), Locale: DefaultLocale,
		Log: slog.Default(),
	}
}

// phrases returns the sentences of a locale, of the configured one when it is empty.
func (c *Config) phrases(locale string) phrases {
	if locale == "" {
		locale = c.Locale
	}
	return phrasesOf(locale)
}
