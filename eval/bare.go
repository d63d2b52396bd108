package eval

import (
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Bare is the model alone: the code that processors/embed and catalog run, learning at once.
type Bare struct {
	data    *Data
	table   *model.Table
	learner *model.Learner
	users   []model.User
	index   []model.Index // by item
	query   []float32
	actions *schemas.Actions
}

// NewBare returns the model for the users and items of d.
func NewBare(d *Data, cfg model.Config) *Bare {
	b := &Bare{
		data: d, table: model.NewTable(cfg), users: make([]model.User, len(d.Users)),
		index: make([]model.Index, len(d.Items)),
		query: make([]float32, cfg.Dim+1), actions: schemas.DefaultActions(),
	}
	for i := range b.index {
		b.index[i] = model.None
	}
	for i, features := range d.Features {
		if len(features) > 0 {
			b.table.SetFeatures(b.intern(int32(i)), features)
		}
	}
	b.learner = model.NewLearner(b.table)
	return b
}

func (b *Bare) intern(item int32) model.Index {
	if b.index[item] == model.None {
		b.index[item] = b.table.Intern(b.data.Items[item])
	}
	return b.index[item]
}

// Name is "slipstream model".
func (b *Bare) Name() string { return "slipstream model" }

// Score writes the inner products of the user's query with the items.
func (b *Bare) Score(user int32, out []float32) {
	b.learner.Query(&b.users[user], b.query)
	if b.data.Friends != nil {
		b.addFriends(user)
	}
	for i, at := range b.index {
		if at != model.None {
			out[i] = b.table.Score(b.query, at)
		}
	}
}

func (b *Bare) addFriends(user int32) {
	if int(user) >= len(b.data.Friends) {
		return
	}
	var queries [][]float32
	for _, f := range b.data.Friends[user] {
		if b.users[f].Events > 0 {
			q := make([]float32, len(b.query))
			b.learner.Query(&b.users[f], q)
			queries = append(queries, q)
		}
	}
	model.AddFriends(b.table.Config(), b.query, b.users[user].Events, queries)
}

// Learn takes one step.
func (b *Bare) Learn(e Event, seed uint64) {
	b.learner.Step(&b.users[e.User], e.learned(b.actions, b.intern(e.Item), seed))
}
