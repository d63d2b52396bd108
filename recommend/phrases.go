package recommend

import (
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// DefaultLocale is the locale of reasons where none is asked for, or one that is not known.
const DefaultLocale = "en"

// phrases are the sentences of reasons in one locale. {title}, {verb}, {name}, {genre} and {n} are
// filled in.
type phrases struct {
	locale string
	// because names an item of the user's history, director one and who made both, actor one and
	// who is in both.
	because, director, actor string
	// friend, friends and similar say what others did with the item.
	friend, friends, similar string
	// moreGenre is for an item that is little known, of a genre, or with a tag, that the user
	// likes, newGenre for one that is new.
	moreGenre, newGenre string
	// taste is for an item that fits the user's vector, friendsTaste for one that fits the vectors
	// of the friends, of a user who has none.
	// other is for one that has nothing in common with what the user is known to like.
	taste, friendsTaste, other string
	trending                   string
	// chosen is for an item that is popular, but not now; catalog for one of which nobody knows.
	chosen, catalog string
	// together is for an item that is similar to another one by what people do, untitled the same
	// of one without a title. shared is for one that is similar by its content, by the kind of the
	// trait.
	together, untitled string
	shared             map[string]string
	// verbs translate the verbs of the table of actions; nil for English.
	verbs map[string]string
}

// locales are the built-in sentences.
func locales() []phrases {
	return []phrases{
		{
			locale: DefaultLocale, because: "because you {verb} {title}",
			director: "same director as {title} ({name})", actor: "with {name}, like {title}",
			friend: "a friend {verb} it", friends: "{n} friends {verb} it",
			similar: "people with your taste {verb} it", newGenre: "new: more {genre}",
			moreGenre: "more {genre}", other: "something different for you",
			taste: "fits your taste", friendsTaste: "fits the taste of your friends",
			trending: "popular right now", chosen: "often chosen", catalog: "from the catalog",
			together: "people who choose {title} often choose this too",
			untitled: "often chosen by the same people",
			shared: map[string]string{
				byDirector: "same director: {name}", byActor: "also with {name}",
				byGenre: "also {name}", byTag: "also {name}",
			},
		},
		{
			locale: "de", because: "weil du {title} {verb} hast",
			director:     "dieselbe Regie wie {title} ({name})",
			actor:        "mit {name}, wie {title}",
			friend:       "jemand aus deinem Freundeskreis hat es {verb}",
			friends:      "{n} aus deinem Freundeskreis haben es {verb}",
			similar:      "Menschen mit deinem Geschmack haben es {verb}",
			newGenre:     "neu: mehr {genre}",
			moreGenre:    "mehr {genre}",
			other:        "mal etwas anderes für dich",
			taste:        "passt zu deinem Geschmack",
			friendsTaste: "passt zum Geschmack deines Freundeskreises",
			trending:     "gerade beliebt",
			chosen:       "oft gewählt",
			catalog:      "aus dem Katalog",
			together:     "wer {title} wählt, wählt oft auch das",
			untitled:     "wird oft von denselben Menschen gewählt",
			shared: map[string]string{
				byDirector: "dieselbe Regie: {name}", byActor: "auch mit {name}",
				byGenre: "auch {name}", byTag: "auch {name}",
			},
			verbs: map[string]string{
				"viewed": "angesehen", "liked": "gemocht", "rated": "bewertet",
				"chose": "ausgewählt", "bought": "gekauft", "started": "angefangen",
				"watched": "gesehen",
			},
		},
	}
}

// phrasesOf returns the sentences of a locale such as de or de-AT, those of DefaultLocale when
// there are none.
func phrasesOf(locale string) phrases {
	all := locales()
	language, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(locale), "_", "-"), "-")
	i := slices.IndexFunc(all, func(p phrases) bool { return p.locale == language })
	return all[max(i, 0)]
}

// verb returns what the user of an event did.
func (p *phrases) verb(r *schemas.Rule) string {
	if v := r.Verbs[p.locale]; v != "" {
		return v
	}
	if v := p.verbs[r.Verb]; v != "" {
		return v
	}
	return r.Verb
}

// becauseOf names an item and what the user did with it.
func (p *phrases) becauseOf(x *knownItem) string {
	return strings.NewReplacer("{verb}", p.verb(x.rule), "{title}", x.item.Content.Title).Replace(
		p.because,
	)
}

// byFriends says how many friends did what.
func (p *phrases) byFriends(s *said) string {
	sentence := p.friends
	if s.people == 1 {
		sentence = p.friend
	}
	return strings.NewReplacer(
		"{verb}", p.verb(s.rule), "{n}", strconv.Itoa(s.people),
	).Replace(sentence)
}

func (p *phrases) bySimilar(s *said) string {
	return strings.ReplaceAll(p.similar, "{verb}", p.verb(s.rule))
}

func (p *phrases) sameDirector(title, name string) string {
	return strings.NewReplacer("{title}", title, "{name}", name).Replace(p.director)
}

func (p *phrases) sameActor(title, name string) string {
	return strings.NewReplacer("{title}", title, "{name}", name).Replace(p.actor)
}

func (p *phrases) moreOf(genre string, isNew bool) string {
	sentence := p.moreGenre
	if isNew {
		sentence = p.newGenre
	}
	return strings.ReplaceAll(sentence, "{genre}", genre)
}

// whySimilar says why an item is similar to another one.
func (p *phrases) whySimilar(to *sinks.Item, x *likeness) string {
	title := to.Content.Title
	switch {
	case x.source() != SourceContent && title == "":
		return p.untitled
	case x.source() != SourceContent:
		return strings.ReplaceAll(p.together, "{title}", title)
	case x.trait.kind == byDirector && title != "":
		return p.sameDirector(title, x.trait.name)
	}
	return strings.ReplaceAll(p.shared[x.trait.kind], "{name}", x.trait.name)
}
