package app_test

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var updateLists = flag.Bool("update", false, "write docs/LISTS.md anew")

// film is a film of testdata/lists.
type film struct {
	schemas.Item
	year string
	new  bool // it comes last, and nobody has taken it
}

func (f *film) has(genres []string) bool {
	return slices.ContainsFunc(f.Genres, func(g string) bool { return slices.Contains(genres, g) })
}

// person is one of those whose tastes testdata/lists states.
type person struct {
	ID, Taste               string
	Loves, Refuses, Friends []string
	History                 []schemas.Interaction
}

// town is a small catalog, the people with stated tastes, and a crowd from which the recommender
// learns which films go together.
type town struct {
	intro  string
	films  map[string]*film
	order  []*film
	people []person
	crowd  []schemas.Interaction
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{films: make(map[string]*film)}
	w.read(t, "films.csv", false)
	w.read(t, "new.csv", true)
	intro, err := os.ReadFile(filepath.Join("testdata", "lists", "intro.md"))
	require.NoError(t, err)
	w.intro = string(intro)
	raw, err := os.ReadFile(filepath.Join("testdata", "lists", "people.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &w.people))
	require.Len(t, w.people, 10)
	w.gather()
	return w
}

func (w *town) read(t *testing.T, name string, isNew bool) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "lists", name))
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	for _, row := range rows[1:] {
		x := &film{year: row[2], new: isNew, Item: schemas.Item{
			ItemID: row[0], Title: row[1], Genres: strings.Split(row[3], "|"),
			Directors: strings.Split(row[4], "|"), Actors: strings.Split(row[5], "|"),
		}}
		require.Nil(t, w.films[x.ItemID], x.ItemID)
		w.films[x.ItemID] = x
		w.order = append(w.order, x)
	}
}

// crowdPerGenre is the number of people of the crowd who love a genre most, crowdFilms the number
// of films that each of them takes.
const crowdPerGenre, crowdFilms = 12, 14

// gather makes up the crowd: whoever loves a genre takes films of it rather, the famous ones first,
// and likes them; of others they like few.
func (w *town) gather() {
	genres := []string{
		"Horror", "Science Fiction", "Animation", "Crime", "Romance", "Western", "Comedy", "Music",
		"Thriller", "Documentary",
	}
	r := rand.New(rand.NewPCG(12, 28))
	for n := range crowdPerGenre * len(genres) {
		loved := genres[n%len(genres)]
		second := genres[r.IntN(len(genres))]
		taken := make(map[string]bool)
		for len(taken) < crowdFilms {
			f := w.order[r.IntN(len(w.order))]
			want := 0.04
			switch {
			case f.has([]string{loved}):
				want = 1
			case f.has([]string{second}):
				want = 0.3
			}
			if f.new || taken[f.ItemID] || r.Float64() > want {
				continue
			}
			taken[f.ItemID] = true
			x := schemas.Interaction{
				UserID: fmt.Sprintf("crowd-%d", n), ItemID: f.ItemID, Action: schemas.Rate,
			}
			switch stars := 1 + r.Float64(); {
			case want < 0.3:
				x.Value = new(float64(int(2*stars)) / 2)
			case r.IntN(3) > 0:
				x.Action, x.Value = schemas.Watch, new(1.0)
			default:
				x.Value = new(float64(int(2*(stars+3))) / 2)
			}
			w.crowd = append(w.crowd, x)
		}
	}
	r.Shuffle(len(w.crowd), func(i, j int) { w.crowd[i], w.crowd[j] = w.crowd[j], w.crowd[i] })
}

// events returns what happens in the town, in order.
func (w *town) events(now time.Time) (all []schemas.Interaction) {
	all = slices.Clone(w.crowd)
	for i := range w.people {
		for _, x := range w.people[i].History {
			x.UserID = w.people[i].ID
			all = append(all, x)
		}
	}
	for i := range all {
		x := &all[i]
		x.Source, x.EventID = "town", strconv.Itoa(i)
		x.OccurredAt = now.Add(time.Duration(i-len(all)) * time.Second)
	}
	return all
}

// townWave is the number of events that happen at once: what they teach is learned before others
// happen.
const townWave = 100

// live has all happen in a running Slipstream, and returns the list of each person.
func (w *town) live(t *testing.T) map[string]schemas.Recommendation {
	t.Helper()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), func(c *config.Config) {
		c.Recommend.HoldoutShare = 0
		// What is learned depends on which events stand in a batch: with one partition these are
		// nearly always the same ones.
		c.Topics.Partitions = 1
		c.Stream.LearnInterval = 50 * time.Millisecond
	})
	now := time.Now().UTC().Truncate(time.Second)
	w.put(t, in, false, now)
	var batch []record.Record
	for i := range w.people {
		for _, friend := range w.people[i].Friends {
			f := schemas.Friendship{
				EventID: w.people[i].ID + "/" + friend, Source: "town", UserID: w.people[i].ID,
				FriendID: friend, OccurredAt: now,
			}
			batch = append(batch, f.Message())
		}
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	for wave := range slices.Chunk(w.events(now), townWave) {
		batch = batch[:0]
		for i := range wave {
			batch = append(batch, wave[i].Message())
		}
		require.NoError(t, in.Kafka().Emit(t.Context(), batch))
		caughtUp(t, in)
	}
	w.put(t, in, true, now)
	in.AwaitIdle(t, time.Minute)
	lists := make(map[string]schemas.Recommendation)
	for i := range w.people {
		path := "/v1/users/" + w.people[i].ID + "/recommendations"
		code, body := in.Call(t, http.MethodGet, path, nil)
		require.Equal(t, http.StatusOK, code, string(body))
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(body, &list))
		require.Empty(t, list.Degraded)
		lists[w.people[i].ID] = list
	}
	return lists
}

// caughtUp waits until what has happened is learned.
func caughtUp(t *testing.T, in *apptest.Installation) {
	t.Helper()
	apptest.Eventually(t, time.Minute, func() error {
		lags, err := admin.Lag(t.Context(), in.Kafka().Conn(), in.Kafka().GroupTopics())
		for _, l := range lags {
			if err == nil && l.Lag > 0 {
				return fmt.Errorf("%s is %d behind on %s", l.Group, l.Lag, l.TopicPartition)
			}
		}
		return err
	})
}

// put puts films into the catalog.
func (w *town) put(t *testing.T, in *apptest.Installation, isNew bool, at time.Time) {
	t.Helper()
	var batch []record.Record
	for _, f := range w.order {
		if f.new == isNew {
			x := f.Item
			x.EventID, x.Source, x.OccurredAt, x.PublishedAt = "film/"+f.ItemID, "town", at, at
			if !isNew {
				year, err := strconv.Atoi(f.year)
				require.NoError(t, err)
				x.PublishedAt = time.Date(year, time.June, 1, 0, 0, 0, 0, time.UTC)
			}
			batch = append(batch, x.Message())
		}
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
}

// Ten people with stated tastes get lists that they would believe. docs/LISTS.md shows such lists;
// where items' vectors end depends on how events fall into batches, so two runs may make other
// ones, and those of the page are checked as well.
func TestTenListsAreWhatAPersonWouldSay(t *testing.T) {
	w := newTown(t)
	lists := w.live(t)
	page := w.page(lists)
	mistakes := w.mistakes(lists)
	require.Empty(t, mistakes, page)
	if *updateLists {
		require.NoError(t, os.WriteFile(listsPage, []byte(page), 0o644))
	}
	raw, err := os.ReadFile(listsPage)
	require.NoError(t, err)
	shown := w.shown(t, string(raw))
	require.Equal(t, w.page(shown), string(raw), "run make lists")
	require.Empty(t, w.mistakes(shown), listsPage)
}
