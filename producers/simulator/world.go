package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// world is what is true and hidden: films, people, and who likes what.
type world struct {
	rng     *rand.Rand // for what is added later
	films   []film
	people  []person
	friends [][2]int

	genreOf  [][]int // genres that each maker works in, by maker
	users    []audience
	activity []float64 // cumulative
	friendOf map[[2]int]bool
	titles   map[string]bool
}

// film is an item and what decides its appeal.
type film struct {
	title             string
	genres            []int
	directors, actors []int // indexes of people
	year              int
	quality           float64
}

// person makes films.
type person struct{ name string }

// audience is a user and their tastes.
type audience struct {
	taste
	group   int          // people of one group have similar tastes, and become friends
	met     map[int]bool // films that the person has chosen, or refused, before
	novelty float64
}

var genreNames = []string{
	"Drama", "Comedy", "Thriller", "Science Fiction", "Romance", "Horror", "Animation",
	"Documentary", "Western", "Crime", "Fantasy", "Music",
}

func newWorld(seed uint64, users, items int) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 0x5eed)), friendOf: map[[2]int]bool{},
		titles: map[string]bool{},
	}
	for range max(6, items/6) + max(12, items/2) {
		w.people = append(w.people, person{name: w.name()})
		main := w.rng.IntN(len(genreNames))
		w.genreOf = append(w.genreOf, []int{main, w.rng.IntN(len(genreNames))})
	}
	for range items {
		w.films = append(w.films, w.film())
	}
	groups := make([]taste, max(2, users/groupSize))
	for g := range groups {
		groups[g] = w.groupTaste()
	}
	total := 0.0
	for u := range users {
		g := u % len(groups)
		a := audience{
			taste: w.member(&groups[g]), group: g, met: map[int]bool{},
			novelty: w.rng.Float64(),
		}
		w.users = append(w.users, a)
		total += 1 / math.Pow(float64(u+8), 0.5)
		w.activity = append(w.activity, total)
	}
	for range users * 3 {
		if f, ok := w.pair(w.rng); ok {
			w.friends = append(w.friends, f)
		}
	}
	return w
}

func (w *world) film() film {
	directors := max(6, len(w.people)/4)
	lead := w.rng.IntN(directors)
	f := film{
		title: w.title(), directors: []int{lead}, year: 1960 + int(65*math.Sqrt(w.rng.Float64())),
		quality: 0.35 * w.rng.NormFloat64(),
	}
	f.genres = []int{w.genreOf[lead][0]}
	if g := w.genreOf[lead][1]; g != f.genres[0] && w.rng.Float64() < 0.6 {
		f.genres = append(f.genres, g)
	}
	if g := w.rng.IntN(len(genreNames)); !slices.Contains(f.genres, g) && w.rng.Float64() < 0.25 {
		f.genres = append(f.genres, g)
	}
	// Actors play in the genres they are known for: of a few tries the first that fits.
	for range 2 + w.rng.IntN(3) {
		actor := directors + w.rng.IntN(len(w.people)-directors)
		for range 8 {
			if slices.Contains(f.genres, w.genreOf[actor][0]) {
				break
			}
			actor = directors + w.rng.IntN(len(w.people)-directors)
		}
		if !slices.Contains(f.actors, actor) {
			f.actors = append(f.actors, actor)
		}
	}
	return f
}

// someone returns a user, active ones more often.
func (w *world) someone(rng *rand.Rand) int {
	x := rng.Float64() * w.activity[len(w.activity)-1]
	i, _ := slices.BinarySearch(w.activity, x)
	return min(i, len(w.users)-1)
}

// find returns a film that u has not met: of some that come to mind, known and new ones rather,
// the one liked best; -1 when there is none.
func (w *world) find(rng *rand.Rand, u int) int {
	best, bestLiking := -1, math.Inf(-1)
	for range 12 {
		i := int(float64(len(w.films)) * math.Pow(rng.Float64(), 1.5))
		if rng.Float64() < 0.1*w.users[u].novelty {
			i = len(w.films) - 1 - rng.IntN(min(20, len(w.films)))
		}
		if w.users[u].met[i] {
			continue
		}
		if liking := w.affinity(u, i) + 0.25*rng.NormFloat64(); liking > bestLiking {
			best, bestLiking = i, liking
		}
	}
	return best
}

func (w *world) met(u, i int) bool { return w.users[u].met[i] }
func (w *world) markMet(u, i int)  { w.users[u].met[i] = true }

// release adds a new film.
func (w *world) release() int {
	f := w.film()
	f.year = 0
	w.films = append(w.films, f)
	return len(w.films) - 1
}

// pair returns two people who are not friends yet: of the same group, mostly.
func (w *world) pair(rng *rand.Rand) ([2]int, bool) {
	a := rng.IntN(len(w.users))
	b := rng.IntN(len(w.users))
	for range 200 {
		if w.users[a].group == w.users[b].group || rng.Float64() < 0.01 {
			break
		}
		b = rng.IntN(len(w.users))
	}
	p := [2]int{min(a, b), max(a, b)}
	if a == b || w.friendOf[p] {
		return p, false
	}
	w.friendOf[p] = true
	return p, true
}

// meet makes two people friends, or ends a friendship now and then.
func (w *world) meet(rng *rand.Rand) (schemas.Friendship, bool) {
	if rng.IntN(10) == 0 && len(w.friends) > 0 {
		i := rng.IntN(len(w.friends))
		p := w.friends[i]
		w.friends[i] = w.friends[len(w.friends)-1]
		w.friends = w.friends[:len(w.friends)-1]
		delete(w.friendOf, p)
		return schemas.Friendship{UserID: userID(p[0]), FriendID: userID(p[1]), Removed: true}, true
	}
	p, ok := w.pair(rng)
	if ok {
		w.friends = append(w.friends, p)
	}
	return schemas.Friendship{UserID: userID(p[0]), FriendID: userID(p[1])}, ok
}

// item returns film i as the catalog has it.
func (w *world) item(i int, seed uint64, at time.Time) schemas.Item {
	f := &w.films[i]
	x := schemas.Item{
		EventID: fmt.Sprintf("%d/item/%d", seed, i), Source: SimulatorSource, ItemID: itemID(i),
		Title: f.title, OccurredAt: at,
	}
	if f.year > 0 {
		x.PublishedAt = time.Date(f.year, time.Month(1+i%12), 1+i%28, 0, 0, 0, 0, time.UTC)
	}
	for _, g := range f.genres {
		x.Genres = append(x.Genres, genreNames[g])
	}
	for _, m := range f.directors {
		x.Directors = append(x.Directors, w.people[m].name)
	}
	for _, m := range f.actors {
		x.Actors = append(x.Actors, w.people[m].name)
	}
	return x
}

func userID(u int) string { return "user-" + strconv.Itoa(u+1) }
func itemID(i int) string { return "film-" + strconv.Itoa(i+1) }

func (w *world) userIndex(id string) int { return index(id, "user-", len(w.users)) }
func (w *world) itemIndex(id string) int { return index(id, "film-", len(w.films)) }

func index(id, prefix string, n int) int {
	number, ok := strings.CutPrefix(id, prefix)
	i, err := strconv.Atoi(number)
	if !ok || err != nil || i < 1 || i > n {
		return -1
	}
	return i - 1
}
