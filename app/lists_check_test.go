package app_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// listLength is the length of the lists.
const listLength = 20

// What a list needs at least, and has at most, that a person finds it good.
const (
	mostByDirector = 4  // films
	mostLists      = 6  // of ten, that one film stands in
	leastLoved     = 10 // films of a genre that the person loves
	leastDirectors = 10
)

// mistakes says what people would object to in their lists.
func (w *town) mistakes(lists map[string]schemas.Recommendation) (all []string) {
	stands := make(map[string]int)
	for i := range w.people {
		p := &w.people[i]
		list := lists[p.ID]
		object := func(format string, args ...any) {
			all = append(all, p.ID+": "+fmt.Sprintf(format, args...))
		}
		if len(list.Items) != listLength {
			object("the list has %d films", len(list.Items))
		}
		directors := make(map[string]int)
		loved, fresh := 0, 0
		seen := make(map[string]bool)
		for k := range p.History {
			seen[p.History[k].ItemID] = true
		}
		for _, x := range list.Items {
			f := w.films[x.ItemID]
			stands[f.ItemID]++
			if seen[f.ItemID] {
				object("%s was met before, or stands twice", f.Title)
			}
			seen[f.ItemID] = true
			if f.has(p.Refuses) {
				object("%s is of a refused genre: %v", f.Title, f.Genres)
			}
			if f.has(w.lovesOf(p)) {
				loved++
			}
			if f.new {
				fresh++
			}
			for _, d := range f.Directors {
				directors[d]++
			}
			if why := w.untrue(p, f, x.Reason); why != "" {
				object("%s: %q is not true: %s", f.Title, x.Reason, why)
			}
		}
		for d, n := range directors {
			if n > mostByDirector {
				object("%d films by %s", n, d)
			}
		}
		if len(directors) < leastDirectors {
			object("films by %d directors only", len(directors))
		}
		if len(w.lovesOf(p)) > 0 && (loved < leastLoved || fresh == 0) {
			object("%d films of a loved genre, %d new ones", loved, fresh)
		}
	}
	for id, n := range stands {
		if n > mostLists {
			all = append(all, fmt.Sprintf("%s stands in %d lists", w.films[id].Title, n))
		}
	}
	return all
}

// lovesOf returns the genres that a person loves, or that the friends of one do who did nothing.
func (w *town) lovesOf(p *person) []string {
	if len(p.History) > 0 {
		return p.Loves
	}
	var all []string
	for _, id := range p.Friends {
		i := slices.IndexFunc(w.people, func(x person) bool { return x.ID == id })
		all = append(all, w.people[i].Loves...)
	}
	return all
}

// The sentences of reasons.
var (
	becauseReason  = regexp.MustCompile(`^because you (\w+) (.*)$`)
	directorReason = regexp.MustCompile(`^same director as (.*) \(([^()]*)\)$`)
	actorReason    = regexp.MustCompile(`^with (.*), like (.*)$`)
	moreReason     = regexp.MustCompile(`^(new: )?more (.*)$`)
	friendReason   = regexp.MustCompile(`^(a friend|\d+ friends) (\w+) it$`)
	similarReason  = regexp.MustCompile(`^people with your taste (\w+) it$`)
)

// untrue says what is not true about a reason, "" when it is true.
func (w *town) untrue(p *person, f *film, reason string) string {
	if m := becauseReason.FindStringSubmatch(reason); m != nil {
		return w.unlike(p, f, m[2], m[1])
	}
	if m := directorReason.FindStringSubmatch(reason); m != nil {
		if !slices.Contains(f.Directors, m[2]) || !slices.Contains(w.titled(m[1]).Directors, m[2]) {
			return "one of the two is by somebody else"
		}
		return w.unlike(p, f, m[1], "")
	}
	if m := actorReason.FindStringSubmatch(reason); m != nil {
		if !slices.Contains(f.Actors, m[1]) || !slices.Contains(w.titled(m[2]).Actors, m[1]) {
			return "one of the two is without them"
		}
		return w.unlike(p, f, m[2], "")
	}
	if m := moreReason.FindStringSubmatch(reason); m != nil {
		switch {
		case !f.has([]string{m[2]}):
			return "it is none"
		case m[1] != "" && !f.new:
			return "it is old"
		case !slices.ContainsFunc(p.liked(), func(x *schemas.Interaction) bool {
			return w.films[x.ItemID].has([]string{m[2]})
		}):
			return p.ID + " liked none"
		}
		return ""
	}
	if m := friendReason.FindStringSubmatch(reason); m != nil {
		n, _ := strconv.Atoi(strings.TrimSuffix(m[1], " friends"))
		return few(w.who(f.ItemID, m[2], w.friendsOf(p)), max(n, 1))
	}
	if m := similarReason.FindStringSubmatch(reason); m != nil {
		if len(p.liked()) == 0 {
			return p.ID + " liked nothing yet"
		}
		return few(w.who(f.ItemID, m[1], nil), 1)
	}
	switch reason {
	case "popular right now":
		return few(w.who(f.ItemID, "", nil), 5)
	case "fits the taste of your friends":
		if len(p.History) > 0 {
			return p.ID + " has a taste"
		}
	case "fits your taste":
		if !f.has(p.Loves) && !slices.ContainsFunc(p.liked(), func(x *schemas.Interaction) bool {
			return f.has(w.films[x.ItemID].Genres)
		}) {
			return p.ID + " loves other genres"
		}
	case "something different for you":
		if f.has(p.Loves) {
			return p.ID + " loves this genre"
		}
	default:
		return "nobody knows this sentence"
	}
	return ""
}

func few(n, want int) string {
	if n < want {
		return fmt.Sprintf("%d people did so", n)
	}
	return ""
}

// titled returns the film of a title, an empty one when there is none.
func (w *town) titled(title string) *film {
	for _, f := range w.order {
		if f.Title == title {
			return f
		}
	}
	return new(film)
}

// unlike says why a film is not a reason for another one.
func (w *town) unlike(p *person, f *film, title, verb string) string {
	other := w.titled(title)
	i := slices.IndexFunc(p.liked(), func(x *schemas.Interaction) bool {
		return x.ItemID == other.ItemID && (verb == "" || verbOf(x) == verb)
	})
	if i < 0 {
		return p.ID + " did not"
	}
	if !f.has(other.Genres) && !share(f.Directors, other.Directors) &&
		!share(f.Actors, other.Actors) {
		return "the two have nothing in common"
	}
	return ""
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// liked returns what the person was interested in, by the newest word on each film.
func (p *person) liked() (out []*schemas.Interaction) {
	newest := make(map[string]*schemas.Interaction)
	for i := range p.History {
		newest[p.History[i].ItemID] = &p.History[i]
	}
	for _, x := range newest {
		if verbOf(x) != "" {
			out = append(out, x)
		}
	}
	return out
}

// verbOf says what somebody did who was interested, in the words of reasons.
func verbOf(x *schemas.Interaction) string {
	r := schemas.DefaultActions().Find(x.Action, x.Value)
	if !r.Meaning.Good() {
		return ""
	}
	return r.Verb
}

// friendsOf returns the friends of a person: friendships hold both ways.
func (w *town) friendsOf(p *person) []string {
	friends := slices.Clone(p.Friends)
	for i := range w.people {
		if slices.Contains(w.people[i].Friends, p.ID) {
			friends = append(friends, w.people[i].ID)
		}
	}
	return friends
}

// who counts the people, of some or of all, who did with a film what a verb says, or anything good.
func (w *town) who(item, verb string, some []string) int {
	who := make(map[string]bool)
	for _, x := range w.events(time.Time{}) {
		said := verbOf(&x)
		if x.ItemID == item && said != "" && (verb == "" || verb == said) &&
			(some == nil || slices.Contains(some, x.UserID)) {
			who[x.UserID] = true
		}
	}
	return len(who)
}
