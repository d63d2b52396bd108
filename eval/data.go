package eval

import (
	"cmp"
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Event is one interaction of a stream. Users and items are dense numbers.
type Event struct {
	User, Item int32
	At         int64 // Unix seconds
	Action     string
	Value      float64
	Valued     bool
}

// rule returns what the event means; one that is not declared means nothing.
func (e *Event) rule(actions *schemas.Actions) *schemas.Rule {
	value := &e.Value
	if !e.Valued {
		value = nil
	}
	if r := actions.Find(schemas.Action(e.Action), value); r != nil {
		return r
	}
	return new(schemas.Rule)
}

// learned returns the event as the model takes it.
func (e *Event) learned(actions *schemas.Actions, item model.Index, seed uint64) model.Event {
	r := e.rule(actions)
	return model.Event{
		Item: item, Strength: float32(r.Weight), Takes: r.Takes || r.Refuses, Label: r.Label(),
		Retracts: r.Meaning.Bad(), At: e.At, Seed: seed,
	}
}

// Data is a stream of events in time order and the names behind its numbers.
type Data struct {
	Events   []Event
	Users    []string
	Items    []string
	Features [][]string // by item; shorter than Items, or nil, where nothing is known
	Friends  [][]int32  // by user, likewise
	users    map[string]int32
	items    map[string]int32
}

// FromDataset takes the interactions of a public data set in, and with content or friends set its
// items' features and its friendships.
func FromDataset(set *datasets.Dataset, content, friends bool) *Data {
	d := &Data{}
	for x := range set.Interactions() {
		e := Event{
			User: d.User(x.UserID), Item: d.Item(x.ItemID), At: x.OccurredAt.Unix(),
			Action: string(x.Action),
		}
		if x.Value != nil {
			e.Value, e.Valued = *x.Value, true
		}
		d.Events = append(d.Events, e)
	}
	if content {
		for x := range set.Items() {
			if features := Features(&x); len(features) > 0 {
				d.SetFeatures(d.Item(x.ItemID), features)
			}
		}
	}
	if friends {
		for f := range set.Friendships() {
			a, b := d.User(f.UserID), d.User(f.FriendID)
			d.addFriend(a, b)
			d.addFriend(b, a)
		}
	}
	return d
}

// Features returns the content features of an item, as the catalog names them.
func Features(x *schemas.Item) []string { return x.Features() }

func (d *Data) addFriend(a, b int32) {
	for len(d.Friends) <= int(a) {
		d.Friends = append(d.Friends, nil)
	}
	d.Friends[a] = append(d.Friends[a], b)
}

// User returns the number of a user, given at first sight.
func (d *Data) User(id string) int32 { return number(&d.users, &d.Users, id) }

// Item returns the number of an item, given at first sight.
func (d *Data) Item(id string) int32 { return number(&d.items, &d.Items, id) }

func number(index *map[string]int32, names *[]string, id string) int32 {
	if *index == nil {
		*index = map[string]int32{}
	}
	n, ok := (*index)[id]
	if !ok {
		n = int32(len(*names))
		(*index)[id] = n
		*names = append(*names, id)
	}
	return n
}

// SetFeatures says which content features an item has.
func (d *Data) SetFeatures(item int32, features []string) {
	for len(d.Features) <= int(item) {
		d.Features = append(d.Features, nil)
	}
	d.Features[item] = features
}

// Sort puts the events into the order of time. Events of the same time stay in the order in which
// they were added, the only order they have.
func (d *Data) Sort() {
	slices.SortStableFunc(d.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}
