package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Meaning is what an action says about its user and its item.
type Meaning string

// The meanings.
const (
	// Nothing: the user may not even have noticed the item.
	Nothing Meaning = "nothing"
	// Refusal: the user does not want it.
	Refusal Meaning = "refusal"
	// Doubt: the user has met it and is not convinced.
	Doubt Meaning = "doubt"
	// Interest: the user has chosen it.
	Interest Meaning = "interest"
	// Love: the user says, or shows, that it is liked.
	Love Meaning = "love"
)

// Good tells whether the meaning is Interest or Love: then reasons may name the item.
func (m Meaning) Good() bool { return m == Interest || m == Love }

// Bad tells whether the meaning is Refusal or Doubt: then it takes back what was said before.
func (m Meaning) Bad() bool { return m == Refusal || m == Doubt }

// Outcome is what an action counts as when it names the list that led to it.
type Outcome string

// The outcomes. OutcomeNone counts for nothing.
const (
	OutcomeNone       Outcome = "none"
	OutcomeImpression Outcome = "impression"
	OutcomeClick      Outcome = "click"
	OutcomeConversion Outcome = "conversion"
	OutcomeRefusal    Outcome = "refusal"
)

// MaxValue is the highest value of an event whose action has no bounds of its own.
const MaxValue = 1e9

// A Rule says what an action means when its value is in a range. The ranges of an action adjoin and
// do not overlap.
type Rule struct {
	Action Action
	// From and To bound the range: From <= value < To, and in the highest range of an action value
	// <= To. Both lie in [0, 1e9].
	From, To float64
	// WithoutValue says that the rule is also for events without a value. When no rule of the
	// action is, a value is required.
	WithoutValue bool
	Meaning      Meaning
	// Weight is what the model learns, -10 to 10: below 0 to avoid the item, above 0 to offer what
	// is like it, 0 nothing. A refusal does not weigh above 0, interest and love not below.
	Weight float64
	// Takes says that the user has the item now: it is not offered again, unless taken items may
	// return. Refuses says that it is never offered again.
	Takes, Refuses bool
	// Verb says in English, in the past tense, what the user did: "watched". Verbs say it in other
	// locales, as their sentences need it. Interest and love need a verb.
	Verb    string
	Verbs   map[string]string
	Outcome Outcome

	label uint32 // set by NewActions
}

// Teaches tells whether the event changes anything in the user's state.
func (r *Rule) Teaches() bool { return r.Weight != 0 || r.Takes || r.Refuses }

// Label stands for the rule in the user's state: for action and meaning, and, among the rules of
// these, for its verb and whether it refuses. It is never 0, and a function of these names alone,
// so that it outlives changes of the table. Actions.Labeled reads it.
func (r *Rule) Label() uint32 {
	if r.label != 0 {
		return r.label
	}
	family := uint32(Key(string(r.Action) + "/" + string(r.Meaning)))
	verb := uint32(Key(fmt.Sprintf("%s/%t", r.Verb, r.Refuses)))
	return max(1, family&^verbBits|verb&verbBits)
}

// verbBits are the bits of a label that tell the rules of one action and meaning apart. The others
// are those of the labels that older versions wrote, which stood for action and meaning alone.
const verbBits = 1<<12 - 1

// DefaultRules returns the built-in rules. Actions that take more effort weigh more.
func DefaultRules() []Rule {
	return []Rule{
		anyValue(View, Interest, 0.7, "viewed", OutcomeNone),
		anyValue(Click, Interest, 0.8, "viewed", OutcomeClick),
		anyValue(Like, Love, 1.2, "liked", OutcomeConversion),
		anyValue(Dislike, Refusal, -1, "", OutcomeRefusal),
		inRange(Rate, 0.5, 2.5, Refusal, -0.3, "", OutcomeRefusal),
		inRange(Rate, 2.5, 3.5, Doubt, 0.5, "", OutcomeNone),
		inRange(Rate, 3.5, 4, Interest, 1, "rated", OutcomeConversion),
		inRange(Rate, 4, 5, Love, 1, "liked", OutcomeConversion),
		anyValue(AddToCart, Interest, 1.2, "chose", OutcomeConversion),
		anyValue(Purchase, Interest, 1.5, "bought", OutcomeConversion),
		inRange(Watch, 0, 0.2, Doubt, 0, "", OutcomeNone),
		inRange(Watch, 0.2, 0.7, Interest, 0.7, "started", OutcomeConversion),
		orWithout(inRange(Watch, 0.7, 1, Interest, 1, "watched", OutcomeConversion)),
		anyValue(Skip, Refusal, -0.3, "", OutcomeRefusal),
		anyValue(Hide, Refusal, -1, "", OutcomeRefusal),
		anyValue(Impression, Nothing, 0, "", OutcomeImpression),
	}
}

func anyValue(a Action, m Meaning, weight float64, verb string, o Outcome) Rule {
	return orWithout(inRange(a, 0, MaxValue, m, weight, verb, o))
}

func inRange(a Action, from, to float64, m Meaning, weight float64, verb string, o Outcome) Rule {
	return Rule{
		Action: a, From: from, To: to, Meaning: m, Weight: weight, Verb: verb, Outcome: o,
		Takes: m.Good() || m == Doubt, Refuses: m == Refusal,
	}
}

func orWithout(r Rule) Rule {
	r.WithoutValue = true
	return r
}

// Meanings lists every meaning, from the worst to the best.
func Meanings() []Meaning { return []Meaning{Nothing, Refusal, Doubt, Interest, Love} }

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeNone, OutcomeImpression, OutcomeClick, OutcomeConversion, OutcomeRefusal,
	}
}

func joined[T ~string](all []T) string {
	parts := make([]string, len(all))
	for i, x := range all {
		parts[i] = string(x)
	}
	return strings.Join(parts, ", ")
}

func isActionName(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	})
}

func (r *Rule) check() error {
	m, o := r.Meaning, r.Outcome
	switch {
	case !isActionName(string(r.Action)):
		return errors.New("a name is a lower-case letter and up to 63 lower-case letters, " +
			"digits, or characters of _.-")
	case !slices.Contains(Meanings(), m):
		return fmt.Errorf("the meaning %q is not one of %s", m, joined(Meanings()))
	case !slices.Contains(Outcomes(), o):
		return fmt.Errorf("the outcome %q is not one of %s", o, joined(Outcomes()))
	case !(r.From >= 0 && r.To <= MaxValue && r.From < r.To):
		return fmt.Errorf("values from %v to %v are not a range within 0 and 1e9", r.From, r.To)
	case !(r.Weight >= -10 && r.Weight <= 10):
		return fmt.Errorf("the weight %v is not from -10 to 10", r.Weight)
	case m.Good() && r.Weight < 0, m == Refusal && r.Weight > 0, m == Nothing && r.Weight != 0:
		return fmt.Errorf("the weight %v contradicts the meaning %s", r.Weight, m)
	case r.Takes && r.Refuses, m.Good() && r.Refuses, m == Nothing && r.Teaches():
		return fmt.Errorf("takes (%t) and refuses (%t) contradict each other or the meaning %s",
			r.Takes, r.Refuses, m)
	case m.Good() && r.Verb == "":
		return fmt.Errorf("%s needs a verb, in the past tense, for reasons", m)
	}
	return nil
}
