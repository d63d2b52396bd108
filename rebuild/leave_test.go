package rebuild

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestItemsThatLeftStayGoneEmbedded(t *testing.T) {
	dir := t.TempDir()
	var cfg config.Config
	stop := func() {}
	itemsThatLeftStayGone(t, func(change func(*config.Config)) *apptest.Installation {
		stop()
		var in *apptest.Installation
		in, stop = apptest.StartEmbedded(t, dir, change)
		cfg = in.Config()
		cfg.DataDir = dir
		return in
	}, func() {
		stop()
		stop = func() {}
		require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	})
}

func TestRealItemsThatLeftStayGone(t *testing.T) {
	cfg := apptest.RealConfig(t, nil)
	stop := func() {}
	itemsThatLeftStayGone(t, func(change func(*config.Config)) *apptest.Installation {
		stop()
		changed := cfg
		change(&changed)
		in := apptest.Start(t, changed, false)
		stop = in.Stop
		return in
	}, func() {
		stop()
		stop = func() {}
		apptest.DropCollections(t.Context(), t, cfg)
		require.NoError(t, rebuilt(t.Context(), t, cfg, "qdrant"))
	})
}

// itemsThatLeftStayGone lets items leave: one that the catalog withdrew, and one that only events
// name. start starts the installation again, and again makes its store of items anew meanwhile.
func itemsThatLeftStayGone(
	t *testing.T, start func(change func(*config.Config)) *apptest.Installation, again func(),
) {
	stays := func(*config.Config) {}
	in := start(stays)
	say := func(user string, items ...string) (out []record.Record) {
		for _, item := range items {
			out = append(out, schemas.Interaction{
				EventID: user + " " + item, Source: "test", UserID: user, ItemID: item,
				Action: schemas.Like, OccurredAt: time.Now().UTC(),
			}.Message())
		}
		return out
	}
	emit := func(batch ...record.Record) {
		t.Helper()
		require.NoError(t, in.Kafka().Emit(t.Context(), batch))
		in.AwaitIdle(t, 90*time.Second)
	}
	var films []record.Record
	for _, id := range []string{"stays", "withdrawn"} {
		films = append(films, schemas.Item{
			EventID: id, Source: "shop", ItemID: id, Title: "The " + id,
			OccurredAt: time.Now().UTC(),
		}.Message())
	}
	emit(films...)
	likes := say("ann", "stays", "withdrawn", "invented")
	emit(append(likes, say("bob", "invented", "stays")...)...)
	emit(schemas.Item{
		EventID: "gone", Source: "shop", ItemID: "withdrawn", Withdrawn: true,
		OccurredAt: time.Now().UTC(),
	}.Message())
	requireItems(t, in, "invented", "stays", "withdrawn")
	rows := rowsOnLog(t, in)

	// A start says what there is.
	in = start(stays)
	apptest.Eventually(t, 60*time.Second, func() error { return countsAre(t, in, 2, 1) })

	in = start(func(c *config.Config) { c.Recommend.ItemTTL = 3 * time.Second })
	apptest.Eventually(t, 60*time.Second, func() error {
		if _, there := itemsOf(t, in)["invented"]; there {
			return errors.New("it has not left yet")
		}
		if x := itemsOf(t, in)["withdrawn"]; x.Vector != nil {
			return errors.New("its vector has not left yet")
		}
		return nil
	})
	in.AwaitIdle(t, 60*time.Second)
	goneForGood := func(what string) {
		t.Helper()
		found := requireItems(t, in, "stays", "withdrawn")
		require.Equal(t, "The withdrawn", found["withdrawn"].Content.Title, what)
		require.True(t, found["withdrawn"].Content.Withdrawn, what)
		require.Empty(t, found["withdrawn"].Vector, what)
		require.Equal(t, rows-2, rowsOnLog(t, in), what)
		code, body := in.Call(t, http.MethodGet, "/v1/users/nobody/recommendations", nil)
		require.Equal(t, http.StatusOK, code, string(body))
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(body, &list))
		require.Len(t, list.Items, 1, what)
		require.Equal(t, "stays", list.Items[0].ItemID, what)
	}
	goneForGood("once")
	repeatSums(t, in)
	goneForGood("the sums come again")
	in = start(stays)
	goneForGood("a restart")
	apptest.Eventually(t, 60*time.Second, func() error { return countsAre(t, in, 1, 0) })
	emit(say("ann", "another")...) // who has taken the others
	rows++
	found := requireItems(t, in, "another", "stays", "withdrawn")
	require.Empty(t, found["withdrawn"].Vector, "others' sums do not name it")

	again()
	in = start(stays)
	requireSame(t, found, itemsOf(t, in))
	repeatSums(t, in)
	requireSame(t, found, itemsOf(t, in))
	require.Equal(t, rows-2, rowsOnLog(t, in))

	emit(say("cid", "invented")...)
	found = requireItems(t, in, "another", "invented", "stays", "withdrawn")
	require.InDelta(t, 1, found["invented"].Count, 0, "an event begins it anew")
}

// itemsOf returns the points of the index.
func itemsOf(t *testing.T, in *apptest.Installation) map[string]sinks.Item {
	t.Helper()
	var ids []string
	require.NoError(t, in.Engines().Items.ItemVersions(
		t.Context(), func(id string, _ uint64) error { ids = append(ids, id); return nil },
	))
	found, err := in.Engines().Items.GetItems(t.Context(), ids)
	require.NoError(t, err)
	out := make(map[string]sinks.Item, len(found))
	for i := range found {
		out[found[i].Content.ItemID] = found[i]
	}
	return out
}

// requireItems asserts which points the index has, and returns them.
func requireItems(t *testing.T, in *apptest.Installation, ids ...string) map[string]sinks.Item {
	t.Helper()
	found := itemsOf(t, in)
	var have []string
	for id := range found {
		have = append(have, id)
	}
	require.ElementsMatch(t, ids, have)
	return found
}

// requireSame asserts that the points are the same, but for times: of a record that is left.
func requireSame(t *testing.T, want, got map[string]sinks.Item) {
	t.Helper()
	require.Len(t, got, len(want))
	for id, x := range got {
		require.Equal(t, want[id].Content, x.Content)
		require.Equal(t, want[id].Version, x.Version, id)
		require.InDeltaSlice(t, want[id].Vector, x.Vector, 1e-6, id)
	}
}

// rowsOnLog is how many rows a process has that follows item-vectors.
func rowsOnLog(t *testing.T, in *apptest.Installation) int {
	t.Helper()
	f := processors.NewItemFactors(model.Default())
	for p := range in.Config().Topics.Partitions {
		require.NoError(t, in.Kafka().Read(
			t.Context(), schemas.TopicItemVectors, p, 0, -1, f.Apply,
		))
	}
	return f.Len()
}

// repeatSums writes all gradient sums of the log once more.
func repeatSums(t *testing.T, in *apptest.Installation) {
	t.Helper()
	var late []record.Record
	for p := range in.Config().Topics.Partitions {
		require.NoError(t, in.Kafka().Read(
			t.Context(), schemas.TopicItemGradients, p, 0, -1, func(r *record.Record) error {
				x := record.Record{
					Topic: r.Topic, Partition: p, Key: slices.Clone(r.Key),
					Value: slices.Clone(r.Value),
				}
				for _, h := range r.Headers {
					h.Value = slices.Clone(h.Value)
					x.Headers = append(x.Headers, h)
				}
				late = append(late, x)
				return nil
			}))
	}
	require.NotEmpty(t, late)
	require.NoError(t, in.Kafka().Emit(t.Context(), late))
	in.AwaitIdle(t, 60*time.Second)
}

// countsAre tells whether the status counts these items, without saying what it lacks.
func countsAre(t *testing.T, in *apptest.Installation, items, withoutEntry int) error {
	t.Helper()
	code, body := in.Call(t, http.MethodGet, "/v1/status", nil)
	require.Equal(t, http.StatusOK, code, string(body))
	var st api.Status
	require.NoError(t, json.Unmarshal(body, &st))
	if want := (api.ItemStatus{Items: items, WithoutEntry: withoutEntry}); st.Items != want {
		return fmt.Errorf("the status says %+v, want %+v", st.Items, want)
	}
	return nil
}
