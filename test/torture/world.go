//go:build linux

package torture

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// world is the audience and the catalog. People like one genre, and some items of it they never
// touch in the run: whether those are recommended tells how well the model has learned.
type world struct {
	users, items, genres, leavers int
	// plain leaves out the values that mean something else to older versions: low ratings, and
	// films that were left early.
	plain bool
}

// heldOut is how many items of their genre people never touch.
const heldOut = 4

func newWorld(c Config) world {
	return world{users: c.Users, items: c.Items, genres: max(4, c.Items/20), leavers: c.Leavers}
}

func (w world) user(i int) string   { return fmt.Sprintf("u%04d", i) }
func (w world) item(i int) string   { return fmt.Sprintf("i%04d", i) }
func (w world) leaver(i int) string { return fmt.Sprintf("leaver%03d", i) }

// leaversItem is an item that only people touch who are erased: the sums of all other items are
// exact whatever the erasures do.
func (w world) leaversItem(i int) string { return fmt.Sprintf("%s%d", leaversItems, i%5) }

const leaversItems = "farewell"

// strays tells whether other people's producers may write an event to a wrong partition. Of
// interactions that is so for every third user: the others' histories stay in the order of one
// partition.
func (w world) strays(x schemas.Event) bool {
	i, ok := x.(*schemas.Interaction)
	return !ok || strays(i.UserID)
}

func strays(user string) bool {
	var n int
	_, err := fmt.Sscanf(user, "u%d", &n)
	return err == nil && n%3 == 0
}

func (w world) genreOf(user int) int { return user % w.genres }

// heldOutOf returns the items of their genre that a person never touches.
func (w world) heldOutOf(user int) map[string]bool {
	r := rand.New(rand.NewPCG(uint64(user), 7))
	inGenre := (w.items - w.genreOf(user) + w.genres - 1) / w.genres
	out := make(map[string]bool)
	for _, n := range r.Perm(inGenre)[:min(heldOut, inGenre)] {
		out[w.item(w.genreOf(user)+n*w.genres)] = true
	}
	return out
}

// choose returns an item for a user: mostly of the genre, never one that is held out, the first of
// a genre more often.
func (w world) choose(r *rand.Rand, user int, held map[string]bool) string {
	for {
		i := r.IntN(w.items)
		if r.Float64() < 0.85 {
			inGenre := (w.items - w.genreOf(user) + w.genres - 1) / w.genres
			i = w.genreOf(user) + int(float64(inGenre)*r.Float64()*r.Float64())*w.genres
		}
		if id := w.item(i); !held[id] {
			return id
		}
	}
}

// interaction draws what a user does.
func (w world) interaction(r *rand.Rand, user int, held map[string]bool) schemas.Interaction {
	x := schemas.Interaction{
		UserID: w.user(user), ItemID: w.choose(r, user, held), OccurredAt: stamp(),
	}
	switch n := r.IntN(20); {
	case n < 6:
		x.Action = schemas.View
	case n < 9:
		x.Action = schemas.Click
	case n < 12:
		x.Action = schemas.Like
	case n < 13:
		x.Action = schemas.Purchase
	case n < 15:
		x.Action, x.Value = schemas.Rate, new(0.5+0.5*float64(r.IntN(10)))
	case n < 16:
		x.Action, x.Value = schemas.Watch, new(float64(r.IntN(100))/100)
	case n < 17:
		x.Action = schemas.Hide
	case n < 18:
		x.Action = schemas.Skip
	default:
		x.Action = schemas.Impression
	}
	if w.plain && x.Value != nil {
		lowest := map[schemas.Action]float64{schemas.Rate: 4, schemas.Watch: 0.7}
		x.Value = new(max(*x.Value, lowest[x.Action]))
	}
	return x
}

// stamp is the time as every store can keep it.
func stamp() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func (w world) catalog(i, version int) schemas.Item {
	id := w.item(i)
	return schemas.Item{
		ItemID: id, Title: fmt.Sprintf("%s v%d", id, version),
		Genres: []string{fmt.Sprintf("genre%d", i%w.genres)},
		Actors: []string{fmt.Sprintf("actor%d", i%7)}, OccurredAt: stamp(),
	}
}

// plant is a poison record. Each processor that reads the topic must have it among its dead
// letters.
type plant struct {
	name  string
	topic string
	value string
	kind  schemas.Kind
}

// plantedHeader marks records that are meant to be poison.
const plantedHeader = "torture-planted"

func plants() []plant {
	return []plant{
		{
			"undecodable interaction", schemas.TopicInteractions, "{\"user_id\": \xff",
			schemas.KindInteraction,
		},
		{
			"interaction without item", schemas.TopicInteractions,
			`{"user_id":"u0001","action":"like"}`, schemas.KindInteraction,
		},
		{
			"interaction of unknown action", schemas.TopicInteractions,
			`{"user_id":"u0001","item_id":"i0001","action":"adore"}`, "",
		},
		{
			"friendship among interactions", schemas.TopicInteractions,
			`{"user_id":"u0001","friend_id":"u0002"}`, schemas.KindFriendshipAdded,
		},
		{
			"oversized item id", schemas.TopicInteractions,
			`{"user_id":"u0001","item_id":"` + strings.Repeat("x", 300) + `","action":"like"}`,
			schemas.KindInteraction,
		},
		{
			"oversized value", schemas.TopicInteractions,
			`{"user_id":"u0001","item_id":"i0001","action":"like","context":{"x":"` +
				strings.Repeat("x", 300_000) + `"}}`,
			schemas.KindInteraction,
		},
		{
			"friendship with oneself", schemas.TopicFriendships,
			`{"user_id":"u0001","friend_id":"u0001"}`, schemas.KindFriendshipAdded,
		},
		{
			"item without title", schemas.TopicItems, `{"item_id":"nameless"}`,
			schemas.KindItemUpdated,
		},
		{"undecodable user", schemas.TopicUsers, `{"user_id":7}`, schemas.KindUserUpdated},
	}
}
