package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipstream-rec/slipstream/fault"
)

// Plan is what a replay or a drop would do.
type Plan struct {
	// Count is the number of dead letters that it would be done to.
	Count int
	// Reasons are why these have failed, the most frequent first.
	Reasons []Reasons
	// Refused is the number of those that it cannot be done to. Problems say why, of the first.
	Refused  int
	Problems []error
	// Changes are corrected values, of the first.
	Changes []Change
}

// Reasons are dead letters of a group with the same class and reason. A long reason is cut off.
type Reasons struct {
	Group, Class, Reason string
	Count                int
	// Example is the id of one of them.
	Example string
}

// Change is the value of a dead letter, and what a correction makes of it.
type Change struct {
	ID            string
	Before, After []byte
}

// shownInPlan bounds the problems and the changes of a plan.
const shownInPlan = 20

// PlanReplay tells what Replay would do.
func (s *Store) PlanReplay(ctx context.Context, f Filter, c Correction) (Plan, error) {
	chosen, err := s.chosen(ctx, f)
	if err != nil {
		return Plan{}, err
	}
	return s.plan(ctx, chosen, c)
}

// PlanDrop tells what Drop would do.
func (s *Store) PlanDrop(ctx context.Context, f Filter) (Plan, error) {
	chosen, err := s.droppable(ctx, f)
	p := Plan{Count: len(chosen)}
	p.addReasons(chosen)
	return p, err
}

func (s *Store) plan(ctx context.Context, chosen []*entry, c Correction) (Plan, error) {
	if err := c.check(len(chosen)); err != nil {
		return Plan{}, err
	}
	var p Plan
	p.addReasons(chosen)
	for part := range slices.Chunk(chosen, loadedAtOnce) {
		all, err := s.outgoing(ctx, part, c)
		if err != nil {
			return Plan{}, err
		}
		for i := range all {
			x := &all[i]
			switch {
			case x.err != nil:
				p.Refused++
				if len(p.Problems) < shownInPlan {
					p.Problems = append(p.Problems, x.err)
				}
				continue
			case !c.isZero() && len(p.Changes) < shownInPlan:
				p.Changes = append(p.Changes, Change{x.letter.ID, x.letter.Value, x.record.Value})
			}
			p.Count++
		}
	}
	return p, nil
}

func (p *Plan) addReasons(chosen []*entry) {
	type key struct{ group, class, reason string }
	at := make(map[key]int)
	for _, e := range chosen {
		k := key{e.group.Value(), e.class.String(), e.reason.Value()}
		i, ok := at[k]
		if !ok {
			i = len(p.Reasons)
			at[k] = i
			p.Reasons = append(p.Reasons, Reasons{k.group, k.class, k.reason, 0, e.id.String()})
		}
		p.Reasons[i].Count++
	}
	slices.SortStableFunc(p.Reasons, func(a, b Reasons) int {
		return cmp.Compare(b.Count, a.Count)
	})
}

// ErrCorrection says that dead letters cannot be corrected so. Its text has the reasons.
var ErrCorrection = errors.New("none was replayed")

// refused is the error of a correction that does not fit all, nil if it does.
func (p *Plan) refused() error {
	if p.Refused == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %d of %d dead letters are refused: %w",
		ErrCorrection, p.Refused, p.Refused+p.Count, errors.Join(p.Problems...))
	return fault.As(fault.Permanent, err)
}
