package processors

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/model"
)

// forgetRowsInterval is the time between two runs of ForgetUnpublished.
const forgetRowsInterval = 10 * time.Minute

// rlockRows locks the factors for reading and returns the rows of the ids, model.None for an empty
// one. Rows that are missing are made first. While the lock is held no row leaves, and before it a
// row may have been another item's. The caller unlocks.
func (f *ItemFactors) rlockRows(ids []string) []model.Index {
	rows := make([]model.Index, len(ids))
	for {
		f.mu.RLock()
		known := true
		for i, id := range ids {
			rows[i] = model.None
			if id != "" {
				rows[i] = f.table.Lookup(model.KeyOf(id))
				known = known && rows[i] != model.None
			}
		}
		if known {
			return rows
		}
		f.mu.RUnlock()
		f.mu.Lock()
		for _, id := range ids {
			if id != "" {
				f.table.Intern(id)
			}
		}
		f.mu.Unlock()
	}
}

// ForgetUnpublished removes rows of items that item-vectors has no record of, if it had none at the
// call before. embed makes a row for every id that an event names. An event that teaches nothing
// reaches no owner, who would let the item leave one day. Such a row has its first values, so it
// can be made again.
func (f *ItemFactors) ForgetUnpublished(context.Context) error {
	loose := make(map[string]struct{})
	var gone []string
	f.mu.RLock()
	for i := range model.Index(f.table.Cap()) {
		if !f.table.Live(i) || f.table.IsFeature(i) {
			continue
		}
		id := f.table.ID(i)
		if f.meta[id] != nil {
			continue
		}
		if _, before := f.loose[id]; before {
			gone = append(gone, id)
		} else {
			loose[id] = struct{}{}
		}
	}
	f.mu.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loose = loose
	for _, id := range gone {
		if f.meta[id] == nil {
			f.remove(id)
		}
	}
	return nil
}
