package eval

import (
	"fmt"
	"math"
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Lag says how the model is distributed.
type Lag struct {
	// Partitions is the number of user partitions, each with its own sums and its own recent
	// positives.
	Partitions int
	// Window is the number of events, over all partitions, between two exchanges of gradient sums
	// and rows.
	Window int
	// Int8 ranks by item vectors of 8 bits, as a quantised vector index does.
	Int8 bool
}

// Lagged is the model over several partitions. Users' owners read item factors that are up to a
// window old and send gradient sums in their binary form. Items' owners take one step per window
// and send item factors back.
type Lagged struct {
	data     *Data
	lag      Lag
	cfg      model.Config
	actions  *schemas.Actions
	owner    *model.Table
	merged   *model.Sums
	cache    *model.Table
	learners []*model.Learner
	sums     []*model.Sums
	users    []model.User
	seen     []bool // by item: somebody took it, or it is described
	vectors  [][]float32
	query    []float32
	events   int
	message  []byte
	bytes    int
}

// NewLagged returns the model for the users and items of d, spread out as lag says.
func NewLagged(d *Data, cfg model.Config, lag Lag) *Lagged {
	l := &Lagged{
		data: d, lag: lag, cfg: cfg, actions: schemas.DefaultActions(),
		owner: model.NewTable(cfg), cache: model.NewTable(cfg),
		users: make([]model.User, len(d.Users)),
		seen:  make([]bool, len(d.Items)), vectors: make([][]float32, len(d.Items)),
		query: make([]float32, cfg.Dim+1),
	}
	l.merged = model.NewSums(l.owner)
	for range max(lag.Partitions, 1) {
		l.learners = append(l.learners, model.NewLearner(l.cache))
		l.sums = append(l.sums, model.NewSums(l.cache))
	}
	for i, features := range d.Features {
		if len(features) > 0 {
			l.seen[i] = true
			l.owner.SetFeatures(l.owner.Intern(d.Items[i]), features)
			l.cache.SetFeatures(l.cache.Intern(d.Items[i]), features)
		}
	}
	return l
}

// Name says how the model is distributed.
func (l *Lagged) Name() string {
	name := fmt.Sprintf("slipstream, %d partitions, window %d", len(l.learners), l.lag.Window)
	if l.lag.Int8 {
		name += ", int8"
	}
	return name
}

// MessageBytes returns the mean size of gradient messages per event.
func (l *Lagged) MessageBytes() float64 { return float64(l.bytes) / float64(max(l.events, 1)) }

// Learn adds gradients, and exchanges at the end of a window.
func (l *Lagged) Learn(e Event, seed uint64) {
	p := int(e.User) % len(l.learners)
	l.seen[e.Item] = true
	item := l.cache.Intern(l.data.Items[e.Item])
	l.learners[p].Gradients(&l.users[e.User], e.learned(l.actions, item, seed), l.sums[p])
	if l.events++; l.events%max(l.lag.Window, 1) == 0 {
		l.exchange()
	}
}

func (l *Lagged) exchange() {
	l.merged.Reset()
	for _, s := range l.sums {
		l.message = s.Pack(l.message[:0], model.Half, nil)
		l.bytes += len(l.message)
		if len(l.message) > 0 {
			if err := l.merged.Merge(l.message); err != nil {
				panic(err) // Pack and Merge disagree
			}
		}
		s.Reset()
	}
	l.owner.Apply(l.merged)
	for _, i := range l.merged.Rows() {
		l.message = l.owner.AppendRow(l.message[:0], i)
		if _, err := l.cache.LoadRow(l.owner.ID(i), l.message); err != nil {
			panic(err)
		}
	}
	clear(l.vectors)
}

// Score ranks by the item owner's factors and the query of the user's owner.
func (l *Lagged) Score(user int32, out []float32) {
	l.learners[int(user)%len(l.learners)].Query(&l.users[user], l.query)
	if l.vectors[0] == nil {
		l.index()
	}
	for i, v := range l.vectors {
		if l.seen[i] && v != nil {
			out[i] = model.Dot(l.query, v)
		}
	}
}

// index computes the vectors that a vector index would hold.
func (l *Lagged) index() {
	var all []float64
	for i := range l.vectors {
		v := make([]float32, l.cfg.Dim+1)
		l.owner.Vector(l.owner.Intern(l.data.Items[i]), v)
		l.vectors[i] = v
		if l.lag.Int8 && l.seen[i] {
			for _, x := range v {
				all = append(all, math.Abs(float64(x)))
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	// seven bits for both signs, the last hundredth clipped, as Qdrant's scalar quantisation does
	unit := float32(all[int(float64(len(all)-1)*0.99)]) / 63
	if !(unit > 0) {
		return
	}
	for _, v := range l.vectors {
		for k, x := range v {
			v[k] = unit * float32(math.Round(float64(min(max(x/unit, -64), 63))))
		}
	}
}
