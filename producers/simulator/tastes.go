package simulator

import (
	"maps"
	"math"
	"slices"
)

// taste is what somebody likes: genres, and makers of films beyond their genres.
type taste struct {
	genres []float64       // liking by genre, -1 to 1
	makers map[int]float64 // extra liking by maker, 0 to 1
}

const (
	// groupSize is the number of people whose tastes are alike, and who become friends.
	groupSize = 25
	// groupMakers and ownMakers are the numbers of makers whom a group likes, and of those whom a
	// person likes beside them.
	groupMakers, ownMakers = 6, 3
)

// likings by genre, the favourite first, then those that are refused; of any other genre
// otherGenre.
var (
	lovedGenres   = []float64{1, 0.8, 0.5}
	refusedGenres = []float64{-0.9, -0.9}
)

const otherGenre = -0.3

// groupTaste makes up the taste of a group of friends.
func (w *world) groupTaste() taste {
	t := taste{genres: make([]float64, len(genreNames)), makers: make(map[int]float64)}
	for g := range t.genres {
		t.genres[g] = otherGenre
	}
	order := w.rng.Perm(len(t.genres))
	for n, liking := range slices.Concat(lovedGenres, refusedGenres) {
		t.genres[order[n]] = liking
	}
	for range groupMakers {
		w.addMaker(&t)
	}
	return t
}

// member makes up the taste of one of a group.
func (w *world) member(group *taste) taste {
	t := taste{genres: slices.Clone(group.genres), makers: maps.Clone(group.makers)}
	for g := range t.genres {
		t.genres[g] = clamp(0.85*t.genres[g] + 0.2*w.rng.NormFloat64())
	}
	for range ownMakers {
		w.addMaker(&t)
	}
	return t
}

// addMaker adds a maker of films of a genre that is liked: of some who come to mind, the first.
func (w *world) addMaker(t *taste) {
	for range 20 {
		if m := w.rng.IntN(len(w.people)); t.genres[w.genreOf[m][0]] > 0 {
			t.makers[m] = 0.2 + 0.3*w.rng.Float64()
			return
		}
	}
}

// affinity is how much user u likes film i, from -1 to 1.
func (w *world) affinity(u, i int) float64 {
	t, f := &w.users[u].taste, &w.films[i]
	sum := 0.0
	for _, g := range f.genres {
		sum += t.genres[g]
	}
	liking := sum / float64(len(f.genres))
	for _, m := range f.directors {
		liking += t.makers[m]
	}
	for _, m := range f.actors {
		liking += 0.6 * t.makers[m]
	}
	return clamp(0.8*liking + 0.4*f.quality)
}

func clamp(x float64) float64 { return min(1, max(-1, x)) }

// clickChance is the chance that somebody clicks on an item that is liked so much, at a place from
// 0. It falls with the place: people look at the first ones rather.
func clickChance(liking float64, place int) float64 {
	return sigmoid(6*liking-2) / math.Sqrt(float64(place+1))
}
