package model

import (
	"errors"
	"fmt"
	"math"
)

// Config holds the settings of the model. All processes that share item factors must use the same
// Dim, InitDeviation and Seed; the other settings may change between restarts.
type Config struct {
	// Dim is the length of every vector, a multiple of 8. Default 64.
	Dim int
	// LongItems and LongDecay define the long window: the number of the user's latest items, and
	// the factor by which each weighs less than the next newer one. Defaults 40 and 0.92.
	LongItems int
	LongDecay float64
	// ShortItems and ShortDecay define the short window. Defaults 5 and 0.4.
	ShortItems int
	ShortDecay float64

	// Units is the number of hidden units between the windows and the query, 0 for none. Default
	// 32.
	Units int
	// SharedRate is the step size of hidden units and content features as a share of Rate. Default
	// 0.1.
	SharedRate float64

	// Negatives is the number of negatives drawn for each positive event. Default 128.
	Negatives int
	// LeastError is the smallest error of a negative. A smaller one is rounded to it or to zero, at
	// random and without bias, so that an event updates fewer rows. 0 rounds nothing. Default 0.05.
	LeastError float64
	// Buffer is the number of recent positive events from which negatives are drawn. Default
	// 20,000.
	Buffer int
	// Rate is the step size of Adagrad. Default 0.1.
	Rate float64
	// InitAccumulator is the initial value of Adagrad's accumulators. The default of 0.02 makes the
	// first steps of a new item large.
	InitAccumulator float64
	// InitDeviation is the standard deviation of the initial factors. Default 0.05.
	InitDeviation float64
	// Seed determines the initial factors. Default 1.
	Seed uint64

	// MaxSeen is the number of latest items, taken or refused, remembered per user. Default 10,000.
	MaxSeen int

	// ContentWeight is the weight of the feature vectors of a new item; 0 disables content. Default
	// 0.5.
	ContentWeight float64
	// ContentFade is the number of events after which the weight of the features has halved.
	// Default 20.
	ContentFade float64
	// MaxFeatures bounds the features used of one item. Default 10.
	MaxFeatures int

	// FriendWeight is the number of own events at which friends count half; 0 disables friends.
	// Default 2.
	FriendWeight float64
}

// Default returns the configuration that docs/QUALITY.md measures.
func Default() Config {
	return Config{
		Dim:       64,
		LongItems: 40, LongDecay: 0.92,
		ShortItems: 5, ShortDecay: 0.4,
		Units: 32, SharedRate: 0.1,
		Negatives: 128, LeastError: 0.05, Buffer: 20_000,
		Rate: 0.1, InitAccumulator: 0.02, InitDeviation: 0.05,
		Seed:          1,
		MaxSeen:       10_000,
		ContentWeight: 0.5, ContentFade: 20, MaxFeatures: 10,
		FriendWeight: 2,
	}
}

// Validate says what is wrong with the configuration, all of it at once, or returns nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("model: "+format, args...))
		}
	}
	within := func(x, low, high float64) bool { return x >= low && x <= high } // false for NaN
	check(
		c.Dim >= 8 && c.Dim <= 1024 && c.Dim%8 == 0,
		"dim is %d: want a multiple of 8 from 8 to 1024", c.Dim,
	)
	check(c.LongItems >= 1 && c.LongItems <= 1000, "long items is %d: want 1 to 1000", c.LongItems)
	check(
		c.ShortItems >= 0 && c.ShortItems <= c.LongItems,
		"short items is %d: want 0 to long items (%d)", c.ShortItems, c.LongItems,
	)
	check(within(c.LongDecay, 0.01, 1), "long decay is %v: want 0.01 to 1", c.LongDecay)
	check(within(c.ShortDecay, 0.01, 1), "short decay is %v: want 0.01 to 1", c.ShortDecay)
	check(c.Units >= 0 && c.Units <= 4096, "units is %d: want 0 to 4096", c.Units)
	check(within(c.SharedRate, 0, 10), "shared rate is %v: want 0 to 10", c.SharedRate)
	check(
		c.Negatives >= 1 && c.Negatives <= 10_000, "negatives is %d: want 1 to 10,000", c.Negatives,
	)
	check(within(c.LeastError, 0, 1), "least error is %v: want 0 to 1", c.LeastError)
	check(c.Buffer >= 1 && c.Buffer <= 100_000_000, "buffer is %d: want 1 to 100,000,000", c.Buffer)
	check(within(c.Rate, 1e-6, 10), "rate is %v: want 0.000001 to 10", c.Rate)
	check(
		within(c.InitAccumulator, 1e-9, 1e6), "init accumulator is %v: want more than 0",
		c.InitAccumulator,
	)
	check(within(c.InitDeviation, 0, 10), "init deviation is %v: want 0 to 10", c.InitDeviation)
	check(
		c.MaxSeen >= c.LongItems, "max seen is %d: want at least long items (%d)", c.MaxSeen,
		c.LongItems,
	)
	check(within(c.ContentWeight, 0, 10), "content weight is %v: want 0 to 10", c.ContentWeight)
	check(
		within(c.ContentFade, 1e-3, math.MaxFloat32), "content fade is %v: want more than 0",
		c.ContentFade,
	)
	check(
		c.MaxFeatures >= 0 && c.MaxFeatures <= 255, "max features is %d: want 0 to 255",
		c.MaxFeatures,
	)
	check(within(c.FriendWeight, 0, 1e6), "friend weight is %v: want 0 or more", c.FriendWeight)
	return errors.Join(errs...)
}
