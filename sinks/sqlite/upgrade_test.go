package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func TestUsersUpgrade(t *testing.T) {
	t.Parallel()
	sinktest.TestUsersUpgrade(
		t, func(t *testing.T) sinktest.Users { return openForTest(t) }, putPlainUser,
	)
}

// putPlainUser is the write of the version before epochs: it compared the numbers as they stand.
func putPlainUser(t *testing.T, s sinktest.Users, src sinks.Source, u sinks.User) {
	t.Helper()
	store, key := s.(*Store), int64(schemas.Key(u.ID))
	offsets := make(map[string]int64)
	for topic, p := range u.Positions {
		offsets[topic] = p.Offset()
	}
	text, err := json.Marshal(offsets)
	require.NoError(t, err)
	require.NoError(t, store.write(t.Context(), "put a user", func() {}, func(tx *sql.Tx) error {
		var stored string
		var before map[string]int64
		err := tx.QueryRow("SELECT positions FROM user_points WHERE key = ?", key).Scan(&stored)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			require.NoError(t, json.Unmarshal([]byte(stored), &before))
		}
		if absorbed, ok := before[src.Topic]; ok && absorbed >= offsets[src.Topic] {
			return nil
		}
		_, err = tx.Exec(
			"INSERT OR REPLACE INTO user_points (key, id, vector, state, positions, "+
				"last_event_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			key, u.ID, floatBytes(u.Vector), u.State, string(text), nanos(u.LastEventAt),
			nanos(u.ChangedAt))
		return err
	}))
}
