package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// world makes events as an audience does: at any time a twentieth of the users is active, each for
// some twenty events; items are chosen by popularity (Zipf, exponent 1) within one of twenty
// tastes. The same seed gives the same events.
type world struct {
	users, items int
	rng          *rand.Rand
	zipf         *rand.Zipf
	active       []int
	next         int
	// everyone takes turns in place of sessions, so that every user has a history.
	everyone bool
}

// The base world is as large as MovieLens-1M.
const (
	baseUsers = 6040
	baseItems = 3700
	tastes    = 20
)

func newWorld(seed uint64, users, items int) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		users: users, items: items, rng: rng,
		zipf:   rand.NewZipf(rng, 1.01, 10, uint64(items/tastes-1)),
		active: make([]int, max(1, users/20)),
	}
	for i := range w.active {
		w.active[i] = rng.IntN(users)
	}
	return w
}

func userID(n int) string { return "user-" + strconv.Itoa(n) }
func itemID(n int) string { return "item-" + strconv.Itoa(n) }

var actions = []schemas.Action{
	schemas.View, schemas.View, schemas.Click, schemas.Like, schemas.Purchase,
}

// interaction returns the next event, some 250 bytes long.
func (w *world) interaction() record.Record {
	place := w.rng.IntN(len(w.active))
	user := w.active[place]
	if w.everyone {
		user = w.next % w.users
	}
	if w.rng.IntN(20) == 0 {
		w.active[place] = w.rng.IntN(w.users)
	}
	// A user has a main taste and a second one.
	taste := user % tastes
	if w.rng.IntN(4) == 0 {
		taste = (user / tastes) % tastes
	}
	item := int(w.zipf.Uint64())*tastes + taste
	w.next++
	x := schemas.Interaction{
		EventID: "bench-" + strconv.Itoa(w.next), Source: "bench", UserID: userID(user),
		ItemID:     itemID(item),
		Action:     actions[w.rng.IntN(len(actions))],
		OccurredAt: time.Now().UTC().Truncate(time.Millisecond),
		SessionID:  "session-" + strconv.Itoa(user) + "-" + strconv.Itoa(w.next/10000),
		Context: map[string]string{
			"surface": "home", "device": "phone", "app_version": "7.14.2",
			"campaign": "autumn-" + strconv.Itoa(user%7),
		},
	}
	return x.Message()
}

var genres = []string{
	"Drama", "Comedy", "Action", "Thriller", "Romance", "Horror", "Adventure", "Science fiction",
	"Crime", "War",
	"Musical", "Western", "Animation", "Documentary", "Mystery", "Fantasy", "Family", "Noir",
	"History", "Sport",
}

// item describes one item.
func (w *world) item(n int) record.Record {
	taste := n % tastes
	x := schemas.Item{
		EventID: "bench-item-" + strconv.Itoa(n), Source: "bench", ItemID: itemID(n),
		Title:       fmt.Sprintf("The %s of number %d", genres[taste], n),
		Genres:      []string{genres[taste], genres[(taste+1+n/tastes%5)%tastes]},
		Directors:   []string{fmt.Sprintf("Director %d", n%(w.items/10+1))},
		PublishedAt: time.Date(1950+n%70, 1, 1, 0, 0, 0, 0, time.UTC), OccurredAt: time.Now().UTC(),
	}
	return x.Message()
}

// friendship ties two users of like taste.
func (w *world) friendship() record.Record {
	a := w.rng.IntN(w.users)
	b := (a + tastes*(1+w.rng.IntN(max(1, min(50, w.users/tastes-1))))) % w.users
	if b == a {
		b = (a + 1) % w.users
	}
	w.next++
	x := schemas.Friendship{
		EventID: "bench-" + strconv.Itoa(w.next), Source: "bench", UserID: userID(a),
		FriendID: userID(b), OccurredAt: time.Now().UTC(),
	}
	return x.Message()
}

// producer writes events to the topics of one installation.
type producer struct {
	pub *stream.Publisher
}

func (p *producer) emit(ctx context.Context, n int, next func(i int) record.Record) error {
	const batch = 2000
	for done := 0; done < n; {
		records := make([]record.Record, 0, batch)
		for ; done < n && len(records) < batch; done++ {
			records = append(records, next(done))
		}
		if err := p.pub.Emit(ctx, records); err != nil {
			return err
		}
	}
	return nil
}

// live emits at a rate for some time, in ticks of 10 ms, and calls each once a second with what was
// emitted so far.
func (p *producer) live(
	ctx context.Context,
	rate int,
	d time.Duration,
	next func() record.Record,
	each func(second, emitted int),
) (int, error) {
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start, emitted, second := time.Now(), 0, 0
	for {
		select {
		case <-ctx.Done():
			return emitted, ctx.Err()
		case <-ticker.C:
		}
		elapsed := min(time.Since(start), d)
		due := int(math.Floor(elapsed.Seconds()*float64(rate))) - emitted
		if due > 0 {
			if err := p.emit(ctx, due, func(int) record.Record { return next() }); err != nil {
				return emitted, err
			}
			emitted += due
		}
		if s := int(elapsed.Seconds()); s > second {
			second = s
			if each != nil {
				each(second, emitted)
			}
		}
		if elapsed >= d {
			return emitted, nil
		}
	}
}
