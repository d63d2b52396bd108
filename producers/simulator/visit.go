package simulator

import (
	"math"

	"github.com/slipstream-rec/slipstream/schemas"
)

// visit is one person's session while it is being made up.
type visit struct {
	*Simulator
	user   int
	id     string
	events []schemas.Interaction
}

func (v *visit) add(item string, action schemas.Action, value *float64, recommendation string) {
	v.events = append(v.events, schemas.Interaction{
		UserID: userID(v.user), ItemID: item, Action: action, Value: value, SessionID: v.id,
		RecommendationID: recommendation,
	})
}

// shown is how many places of a list fit on the simulated screen.
const shown = 6

// look goes down a list: every place on the screen is an impression; the higher the place and the
// better the item, the likelier a click. Whom an item is shown that was met before passes over it.
func (v *visit) look(list *schemas.Recommendation) {
	places := list.Items[:min(len(list.Items), shown)]
	for _, p := range places {
		v.add(p.ItemID, schemas.Impression, nil, list.RecommendationID)
	}
	for place, p := range places {
		i := v.world.itemIndex(p.ItemID)
		if i < 0 || v.world.met(v.user, i) {
			continue
		}
		liking := v.world.affinity(v.user, i)
		switch r := v.rng.Float64(); {
		case r < clickChance(liking, place):
			v.add(p.ItemID, schemas.Click, nil, list.RecommendationID)
			v.meet(i, list.RecommendationID)
		case r > 0.985 && liking < -0.2:
			v.add(p.ItemID, schemas.Hide, nil, list.RecommendationID)
			v.world.markMet(v.user, i)
		case r > 0.96 && liking < 0:
			v.add(p.ItemID, schemas.Skip, nil, list.RecommendationID)
			v.world.markMet(v.user, i)
		}
	}
}

// browse takes one to four items that the person finds alone.
func (v *visit) browse() {
	for range 1 + v.rng.IntN(4) {
		if i := v.world.find(v.rng, v.user); i >= 0 {
			v.add(itemID(i), schemas.View, nil, "")
			v.meet(i, "")
		}
	}
	if len(v.events) == 0 { // has met all that there is
		v.add(itemID(v.rng.IntN(len(v.world.films))), schemas.Impression, nil, "")
	}
}

// meet decides what follows a click or a view: watching, and sometimes saying what one thinks.
// Nobody meets an item twice.
func (v *visit) meet(i int, recommendation string) {
	v.world.markMet(v.user, i)
	liking := v.world.affinity(v.user, i)
	if v.rng.Float64() > 0.4+0.5*sigmoid(4*liking) {
		return
	}
	fraction := math.Round(100*min(1, max(0.05, 0.65+0.5*liking+0.15*v.rng.NormFloat64()))) / 100
	v.add(itemID(i), schemas.Watch, &fraction, recommendation)
	switch r := v.rng.Float64(); {
	case r < 0.45:
		stars := math.Round(2*min(5, max(0.5, 3.2+2.2*liking+0.5*v.rng.NormFloat64()))) / 2
		v.add(itemID(i), schemas.Rate, &stars, recommendation)
	case r < 0.6 && liking > 0.3:
		v.add(itemID(i), schemas.Like, nil, recommendation)
	case r < 0.6 && liking < -0.2:
		v.add(itemID(i), schemas.Dislike, nil, recommendation)
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
