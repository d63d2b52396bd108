package processors

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	// itemCountInterval is the time between two counts of items.
	itemCountInterval = 30 * time.Second
	// itemNoteInterval is the time after which a small change of the counts is written. meta is
	// read whole, so little is written to it.
	itemNoteInterval = 5 * time.Minute
	// itemNoteShare is the change that is written at once, as a divisor of what was written.
	itemNoteShare = 20
	// itemCountsKey begins the keys of counts in the topic meta: one for each partition.
	itemCountsKey = "items/"
)

// ItemCounts counts the items that can be recommended.
type ItemCounts struct {
	Items int `json:"items"`
	// WithoutEntry is how many of them have no catalog entry: only events name them.
	WithoutEntry int `json:"without_entry"`
}

// NoteItems writes how many items can be recommended, and how many of them have no catalog entry,
// to the topic meta, where it has changed.
func (p *Catalog) NoteItems(ctx context.Context) error {
	var all ItemCounts
	var out []record.Record
	now := p.now()
	noted := make(map[*catalogPart]ItemCounts)
	for _, part := range p.assignedParts() {
		part.mu.Lock()
		n := part.count()
		due := part.restored && part.noteDue(n, now)
		part.mu.Unlock()
		all.Items += n.Items
		all.WithoutEntry += n.WithoutEntry
		if !due {
			continue
		}
		value, err := json.Marshal(n)
		if err != nil {
			return err
		}
		noted[part] = n
		out = append(out, record.Record{
			Topic: schemas.TopicMeta, Key: strconv.AppendInt([]byte(itemCountsKey),
				int64(part.number), 10), Value: value,
		})
	}
	if len(out) == 0 {
		return nil
	}
	if err := p.emit.Emit(ctx, out); err != nil {
		return fmt.Errorf("note the counts of items: %w", err)
	}
	for part, n := range noted {
		part.mu.Lock()
		part.counted, part.countedAt = &n, now
		part.mu.Unlock()
	}
	if p.cfg.Counted != nil {
		p.cfg.Counted(all)
	}
	return nil
}

// Noted tells whether the items of every assigned partition have been noted.
func (p *Catalog) Noted() bool {
	parts := p.assignedParts()
	for _, part := range parts {
		part.mu.Lock()
		noted := part.counted != nil
		part.mu.Unlock()
		if !noted {
			return false
		}
	}
	return len(parts) > 0
}

// count counts the items of a part, whose lock the caller holds. Of items that have left there is
// no entry, or a withdrawn one.
func (part *catalogPart) count() (n ItemCounts) {
	for _, e := range part.entries {
		if !e.content.IsAvailable() {
			continue
		}
		n.Items++
		if e.content.Title == "" {
			n.WithoutEntry++
		}
	}
	return n
}

// noteDue tells whether the count is to be written. The caller holds the part's lock.
func (part *catalogPart) noteDue(n ItemCounts, now time.Time) bool {
	was := part.counted
	if was == nil || *was == n {
		return was == nil
	}
	return now.Sub(part.countedAt) >= itemNoteInterval ||
		isFar(n.Items, was.Items) || isFar(n.WithoutEntry, was.WithoutEntry)
}

func isFar(n, was int) bool { return max(n-was, was-n)*itemNoteShare > was }

// ReadItemCounts adds up what NoteItems has written for each partition.
func ReadItemCounts(ctx context.Context, log Log) (all ItemCounts, err error) {
	parts := make(map[string]ItemCounts)
	err = log.Read(ctx, schemas.TopicMeta, 0, 0, -1, func(r *record.Record) error {
		var n ItemCounts
		if key := string(r.Key); strings.HasPrefix(key, itemCountsKey) &&
			json.Unmarshal(r.Value, &n) == nil {
			parts[key] = n
		}
		return nil
	})
	if err != nil {
		return all, fmt.Errorf("read the counts of items: %w", err)
	}
	for _, n := range parts {
		all.Items += n.Items
		all.WithoutEntry += n.WithoutEntry
	}
	return all, nil
}
