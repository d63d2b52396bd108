//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// evidence is what is compared when everything has come to rest.
type evidence struct {
	log        theLog
	events     []mixedEvent
	deliveries []delivery // of the events that the client wrote, in their order
	stores     *stores
}

// MixedVerdict is the comparison of the stores with the log, and of the log with what was sent.
type MixedVerdict struct {
	Verdict
	// Twice counts ids that count more than once: in several partitions, or outside of the window.
	Twice  int
	Offers finding
}

// Problems lists what is wrong.
func (v *MixedVerdict) Problems() []string {
	out := v.Verdict.Problems()
	if f := v.Offers; f.Count > 0 {
		out = append(out, fmt.Sprintf(
			"lists that are missing or offer what was seen: %d, such as %s",
			f.Count, strings.Join(f.Examples, "; "),
		))
	}
	return out
}

// compare replays the log and compares everything with it.
func (e *evidence) compare(ctx context.Context) (*MixedVerdict, error) {
	x, err := expect(e.log)
	if err != nil {
		return nil, err
	}
	verdict, err := verify(ctx, newLedger(), e.log, x, e.stores)
	if err != nil {
		return nil, err
	}
	v := &MixedVerdict{Verdict: *verdict}
	times := make(map[string]int)
	for _, row := range x.rows {
		if times[row.id]++; times[row.id] == 2 {
			v.Twice++
		}
	}
	e.verifyAcknowledged(v)
	return v, e.verifyOffers(v, x)
}

// verifyAcknowledged looks whether what was acknowledged is on the log: what the client wrote at
// the positions that it was told, once each, and all ids of what went over HTTP.
func (e *evidence) verifyAcknowledged(v *MixedVerdict) {
	records := e.log.topics[schemas.TopicInteractions]
	values := make(map[position]string)
	ids, overHTTP := make(map[string]bool), 0
	for i := range records {
		r := &records[i]
		if id := r.Header(schemas.HeaderID); id != "" {
			ids[id] = true
			overHTTP++
		}
		values[at(r)] = string(r.Value)
	}
	n := 0
	for i := range e.events {
		x := &e.events[i]
		if x.viaHTTP {
			if !ids[x.id] {
				v.Lost.add("%s, acknowledged over HTTP", x.id)
			}
			continue
		}
		d := e.deliveries[n]
		n++
		p := position{x.Topic, d.Partition, d.Offset}
		if values[p] != x.Value {
			v.Lost.add("%s, which the client was told is at %s", x.Value, p)
		}
	}
	if written := len(records) - overHTTP; written != n {
		v.Doubled.add("the idempotent client has sent %d records, %d are there", n, written)
	}
}

// verifyOffers looks whether each user has a list, with nothing on it that the user has seen.
func (e *evidence) verifyOffers(v *MixedVerdict, x *expected) error {
	newest := make(map[string]schemas.Recommendation)
	records := e.log.topics[schemas.TopicRecommendationsCurrent]
	for i := range records {
		r := &records[i]
		list, err := schemas.DecodeRecommendation(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			continue
		}
		if err != nil {
			return fmt.Errorf("a current list at %s: %w", at(r), err)
		}
		if list.Version >= newest[list.UserID].Version {
			newest[list.UserID] = list
		}
	}
	for id, p := range x.users {
		list, ok := newest[id]
		if !ok {
			v.Offers.add("%s has no list", id)
		}
		for _, it := range list.Items {
			if p.Seen(model.KeyOf(it.ItemID)) {
				v.Offers.add("%s is offered %s again", id, it.ItemID)
				break
			}
		}
	}
	return nil
}
