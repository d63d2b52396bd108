package processors_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// damages are statements that damage a stored field of ann.
var damages = map[string]string{
	"positions":      "UPDATE user_points SET positions = 'garbage' WHERE id = 'ann'",
	"no positions":   "UPDATE user_points SET positions = '{}' WHERE id = 'ann'",
	"an odd vector":  "UPDATE user_points SET vector = x'00' WHERE id = 'ann'",
	"a short vector": "UPDATE user_points SET vector = x'00000000' WHERE id = 'ann'",
	"a number that is none": "UPDATE user_points SET vector = " +
		"CAST(x'0000c07f' || substr(vector, 5) AS BLOB) WHERE id = 'ann'",
	"the time of the last event":  "UPDATE user_points SET last_event_at = 'x' WHERE id = 'ann'",
	"the time of the last change": "UPDATE user_points SET changed_at = 'x' WHERE id = 'ann'",
}

func damage(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	done, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
	n, err := done.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// A user with a damaged field is left out and rebuilt from the log, like one with a corrupt state.
func TestDamagedUserIsRebuiltWhileTheOthersGoOn(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	for name, statement := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s.db")
			s := newScenarioOn(t, openStoreAt(t, path))
			s.begin(t)
			damage(t, path, statement)
			s.restart(t)
			requests := s.next[embedReplay]
			s.goOn(t)
			require.Equal(t, 2, s.events(t, "bob"), "the others go on")
			require.Len(t, s.log.records[embedReplay], int(requests)+1, "the request is on the log")
			require.NoError(t, s.handle(t, embedReplay))
			require.NoError(t, point(t, s.store, "ann").Damaged)
			require.Equal(t, 4, s.events(t, "ann"), "1, 2, 4 and 5: with what came meanwhile")
			s.end(t)
			if name != "positions" && name != "no positions" {
				s.requireSame(t, want)
				return
			}
			// Which events had been learned from is lost: everything handled counts as learned.
			var got, ref model.User
			require.NoError(t, got.Decode(point(t, s.store, "ann").State))
			require.NoError(t, ref.Decode(point(t, want.store, "ann").State))
			require.Equal(t, ref.History, got.History)
			require.Equal(t, ref.Events, got.Events)
			for id, n := range s.counts(t) {
				require.LessOrEqual(t, n, want.counts(t)[id], "nothing is learned twice")
			}
		})
	}
}

// A damaged user holds up no list of others.
func TestDamagedUserHoldsUpNoListOfOthers(t *testing.T) {
	t.Parallel()
	for name, statement := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s.db")
			log, store := newMemoryLog(), openStoreAt(t, path)
			require.NoError(t, log.Emit(t.Context(), []record.Record{
				like("ann", 1, noon), like("bob", 1, noon), like("carl", 2, noon),
			}))
			e := embedOn(t, log, store)
			require.NoError(t, e.Handle(t.Context(), log.batch(schemas.TopicInteractions, 0)))
			damage(t, path, statement)
			p := recommending(log, store)
			require.NoError(t, p.Handle(t.Context(), log.batch(schemas.TopicProfileChanges, 0)))
			lists := make(map[string]int)
			for i := range log.records[schemas.TopicRecommendations] {
				lists[string(log.records[schemas.TopicRecommendations][i].Key)]++
			}
			require.Equal(t, map[string]int{"bob": 1, "carl": 1}, lists)
			require.Len(t, log.records[embedReplay], 1, "embed is asked to rebuild the user")
		})
	}
}
