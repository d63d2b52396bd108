//go:build linux

package torture

import (
	"encoding/json"
	"time"

	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Of a data set, these shares of the events are not as they should be: every so many.
const (
	everyFastClock = 50 // is of a clock that is a day ahead
	everyTimeless  = 61 // has no time
	everyNameless  = 53 // has no id; only of those that do not go over HTTP
	everyTwice     = 40 // is sent again, the other way, if it has an id
)

// repeatedAfter is how many events later one is sent again.
const repeatedAfter = 1000

// mixedEvent is an event on its way in: as a line over HTTP, or as a record by the client.
type mixedEvent struct {
	viaHTTP bool
	id      string // "" without one
	foreignRecord
}

// mixedEvents returns the first n interactions of a data set, 0 for all, in its order. Of each user
// every second goes over HTTP. The client writes the others, in turn with the user's id as key,
// without a key, and with the item's.
func mixedEvents(set *datasets.Dataset, n int) ([]mixedEvent, error) {
	type original struct {
		event mixedEvent
		item  string
	}
	var (
		out       []mixedEvent
		originals []original
		ofUser    = make(map[string]int)
		ahead     = stamp().Add(24 * time.Hour)
	)
	for x := range set.Interactions() {
		i, nth := len(originals), ofUser[x.UserID]
		if n > 0 && i == n {
			break
		}
		ofUser[x.UserID]++
		e := mixedEvent{viaHTTP: nth%2 == 0}
		e.Topic = schemas.TopicInteractions
		switch nth / 2 % 3 {
		case 0:
			e.Key = &x.UserID
		case 1:
			e.Key = &x.ItemID
		}
		x.Source = source
		switch {
		case i%everyFastClock == 0:
			x.OccurredAt = ahead
		case i%everyTimeless == 0:
			x.OccurredAt = time.Time{}
		}
		if i%everyNameless == 0 && !e.viaHTTP {
			x.EventID = ""
		}
		value, err := json.Marshal(x)
		if err != nil {
			return nil, err
		}
		e.Value, e.id = string(value), x.EventID
		out = append(out, e)
		originals = append(originals, original{e, x.ItemID})
		again := i - repeatedAfter
		if again >= 0 && again%everyTwice == 0 && originals[again].event.id != "" {
			o := originals[again]
			o.event.viaHTTP, o.event.Key = !o.event.viaHTTP, &o.item
			out = append(out, o.event)
		}
	}
	return out, nil
}
