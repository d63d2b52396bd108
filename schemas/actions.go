package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Actions is the table of actions: what is declared, and what it means. It does not change, so it
// is safe for concurrent use.
type Actions struct {
	rules map[Action][]Rule // in order of From
	names []Action          // in the order of the documents
	known string            // the same as text
	label map[uint32]*Rule
	least map[uint32]*Rule // by label without verbBits: the lowest of an action and a meaning
}

// NewActions returns the table of the rules. The error names every mistake.
func NewActions(rules []Rule) (*Actions, error) {
	a := &Actions{
		rules: make(map[Action][]Rule), label: make(map[uint32]*Rule),
		least: make(map[uint32]*Rule),
	}
	var errs []error
	for i := range rules {
		r := rules[i]
		r.label = 0
		r.label, r.Verbs = r.Label(), maps.Clone(r.Verbs)
		if err := r.check(); err != nil {
			errs = append(errs, fmt.Errorf("action %q: %w", truncate(string(r.Action), 64), err))
		}
		if a.rules[r.Action] == nil {
			a.names = append(a.names, r.Action)
		}
		a.rules[r.Action] = append(a.rules[r.Action], r)
	}
	if len(rules) == 0 {
		errs = append(errs, errors.New("no actions are declared"))
	}
	for _, name := range a.names {
		if err := a.arrange(name); err != nil {
			errs = append(errs, fmt.Errorf("action %q: %w", name, err))
		}
	}
	a.known = joined(a.names)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

// DefaultActions returns the table of DefaultRules.
func DefaultActions() *Actions {
	a, err := NewActions(DefaultRules())
	if err != nil {
		panic(err) // TestDefaultActions
	}
	return a
}

// arrange puts the rules of an action in order, and checks them against each other.
func (a *Actions) arrange(name Action) error {
	rules := a.rules[name]
	slices.SortStableFunc(rules, func(x, y Rule) int {
		switch {
		case x.From < y.From:
			return -1
		case x.From > y.From:
			return 1
		}
		return 0
	})
	without := 0
	for i := range rules {
		r := &rules[i]
		if i > 0 && rules[i-1].To != r.From {
			return fmt.Errorf("after values to %v come values from %v: ranges must adjoin",
				rules[i-1].To, r.From)
		}
		if r.WithoutValue {
			without++
		}
		if err := a.addLabel(r); err != nil {
			return err
		}
	}
	if without > 1 {
		return fmt.Errorf("%d rules are for events without a value: at most one can be", without)
	}
	return nil
}

// addLabel makes a rule known by its label. Of an action, the rules come in order of their values.
func (a *Actions) addLabel(r *Rule) error {
	label := r.Label()
	low := a.least[label&^verbBits]
	if low != nil && (low.Action != r.Action || low.Meaning != r.Meaning) {
		return fmt.Errorf("%s has the same label as %s of %q: choose another name",
			r.Meaning, low.Meaning, low.Action)
	}
	same := a.label[label]
	if same != nil && (same.Verb != r.Verb || same.Refuses != r.Refuses) {
		return fmt.Errorf("the verb %q has the same label as %q: choose another verb",
			r.Verb, same.Verb)
	}
	if low == nil {
		a.least[label&^verbBits] = r
	}
	if same == nil {
		a.label[label] = r
	}
	return nil
}

// Names lists the declared actions, the built-in ones first. Do not modify the slice.
func (a *Actions) Names() []Action { return a.names }

// Rules lists the rules of an action in order of their values; none for one that is not declared.
// Do not modify the slice.
func (a *Actions) Rules(name Action) []Rule { return a.rules[name] }

// Find returns the rule of an action with an optional value. It is nil when the action is not
// declared, or the value is out of its bounds or missing. Do not modify the rule.
func (a *Actions) Find(name Action, value *float64) *Rule {
	rules := a.rules[name]
	for i := range rules {
		r := &rules[i]
		if value == nil {
			if r.WithoutValue {
				return r
			}
			continue
		}
		v, last := *value, i == len(rules)-1
		if v >= r.From && (v < r.To || last && v == r.To) {
			return r
		}
	}
	return nil
}

// Labeled returns the rule whose label it is, nil for the label of none. Of several rules with one
// action, meaning and verb it is one. A label of another verb, or of a version that did not know of
// verbs, stands for the lowest rule of its action and meaning: who has watched has started, too.
func (a *Actions) Labeled(label uint32) *Rule {
	if r := a.label[label]; r != nil || label == 0 {
		return r
	}
	return a.least[label&^verbBits]
}

// Check tells whether the action of the interaction is declared, and its value within bounds. The
// error is for the person who sent the event, and lists the known actions where that helps.
func (a *Actions) Check(x *Interaction) error {
	rules := a.rules[x.Action]
	if x.Action == "" {
		return errors.New(`"action" is missing: one of ` + a.known)
	}
	if rules == nil {
		return fmt.Errorf("\"action\" %q is not one of %s", truncate(string(x.Action), 64), a.known)
	}
	if a.Find(x.Action, x.Value) != nil {
		return nil
	}
	from, to, _ := a.bounds(x.Action)
	if x.Value == nil {
		return fmt.Errorf(
			"\"value\" is missing: a %s needs one between %v and %v", x.Action, from, to,
		)
	}
	return fmt.Errorf(
		"\"value\" %v of a %s is not between %v and %v", *x.Value, x.Action, from, to,
	)
}

// bounds returns the lowest and the highest value of a declared action, and whether it needs one.
func (a *Actions) bounds(name Action) (from, to float64, required bool) {
	rules := a.rules[name]
	needs := !slices.ContainsFunc(rules, func(r Rule) bool { return r.WithoutValue })
	return rules[0].From, rules[len(rules)-1].To, needs
}

// JSONSchema returns the JSON Schema of a public kind with these actions in it, false for any other
// kind. For the built-in actions it is the one in the repository.
func (a *Actions) JSONSchema(k Kind) ([]byte, bool) {
	raw, ok := JSONSchema(k)
	if !ok || k != KindInteraction {
		return raw, ok
	}
	var doc, was map[string]any
	if json.Unmarshal(raw, &doc) != nil || json.Unmarshal(raw, &was) != nil {
		return nil, false // TestEveryKindHasASchema
	}
	a.describe(doc)
	b, err := json.Marshal(doc)
	old, oldErr := json.Marshal(was)
	if err != nil || oldErr != nil {
		return nil, false
	}
	if bytes.Equal(b, old) {
		return raw, true // with its fields in the order of the file
	}
	return b, true
}

// describe writes the actions into the JSON Schema of interactions.
func (a *Actions) describe(doc map[string]any) {
	action := doc["properties"].(map[string]any)["action"].(map[string]any)
	action["enum"] = a.names
	conditions := []any{}
	for _, name := range a.names {
		from, to, required := a.bounds(name)
		value := map[string]any{}
		if from > 0 {
			value["minimum"] = from
		}
		if to < MaxValue {
			value["maximum"] = to
		}
		then := map[string]any{}
		if required {
			value["type"], then["required"] = "number", []string{"value"}
		}
		if len(value) == 0 {
			continue
		}
		then["properties"] = map[string]any{"value": value}
		conditions = append(conditions, map[string]any{
			"if": map[string]any{
				"properties": map[string]any{"action": map[string]any{"const": name}},
				"required":   []string{"action"},
			},
			"then": then,
		})
	}
	doc["allOf"] = conditions
	if len(conditions) == 0 {
		delete(doc, "allOf")
	}
}
