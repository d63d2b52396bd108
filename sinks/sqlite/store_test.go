package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

var testSource = sinks.Source{Topic: schemas.TopicInteractions, Partition: 1}

// openForTest returns a migrated store in a folder of its own.
func openForTest(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "store.db"))
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Config{Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(context.Background()))
	return s
}

func userAt(id string, offset int64) sinks.User {
	return sinks.User{
		ID: id, Vector: []float32{float32(offset), 1}, State: []byte(id),
		Positions: map[string]sinks.Position{
			testSource.Topic: sinks.PositionOf(sinks.FirstEpoch, offset),
		},
	}
}

func batchOf[T any](xs ...T) []T { return xs }

func TestConfigNeedsAPath(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), Config{})
	require.ErrorContains(t, err, "path")
}

func TestPathsMayHoldAnyCharacter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder", "50%?x=1#ü&.db")
	s := openAt(t, path)
	require.NoError(t, s.SetLogID(t.Context(), "x"))
	require.FileExists(t, path)
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	item := sinks.Item{
		Content: schemas.Item{ItemID: "i1", Title: "Alien", Genres: []string{"Horror"}},
		Vector:  []float32{2, 1}, ContentVector: []float32{0, 1}, Version: 3, Count: 4,
	}
	bare := userAt("bare", 1)
	bare.Vector = nil
	require.NoError(t, s.PutUsers(t.Context(), testSource, batchOf(userAt("u1", 5), bare)))
	require.NoError(t, s.PutItems(t.Context(), batchOf(item)))
	require.NoError(t, s.ApplyEdges(t.Context(), batchOf(sinks.Edge{A: "a", B: "b", EventID: "e"})))
	require.NoError(t, s.SetLogID(t.Context(), "log-1"))
	require.NoError(t, s.Close())

	s = openAt(t, path)
	near, err := similar(t.Context(), s, []float32{1, 1}, 5, nil)
	require.NoError(t, err)
	require.Equal(t, []sinks.Neighbour{{ID: "u1", Score: 6}}, near)
	for _, content := range []bool{false, true} {
		hits, err := s.SearchItems(
			t.Context(),
			[]sinks.ItemQuery{
				{Vector: []float32{0, 1}, Content: content, N: 5, Genres: []string{"Horror"}},
			},
		)
		require.NoError(t, err)
		require.Len(t, hits[0], 1)
		require.Equal(t, "Alien", hits[0][0].Item.Content.Title)
		require.EqualValues(t, 3, hits[0][0].Item.Version)
	}
	edges, err := s.CountEdges(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, edges)
	id, err := s.LogID(t.Context())
	require.NoError(t, err)
	require.Equal(t, "log-1", id)
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	_, err := Open(t.Context(), Config{Path: path})
	require.ErrorContains(t, err, "in use by another slipstream process")
	require.NoError(t, s.Close())
	again, err := Open(t.Context(), Config{Path: path})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestOthersMayReadBeside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	require.NoError(t, s.PutUsers(t.Context(), testSource, batchOf(userAt("u1", 1))))
	db, err := sql.Open("sqlite", dsn(path, readerParams()))
	require.NoError(t, err)
	defer db.Close()
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM user_points").Scan(&n))
	require.Equal(t, 1, n)
}

func TestAFileWithoutTablesSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "store.db")})
	require.NoError(t, err)
	defer s.Close()
	err = s.PutUsers(t.Context(), testSource, batchOf(userAt("u1", 1)))
	require.ErrorContains(t, err, "slipstream migrate")
	require.Equal(t, fault.Transient, fault.ClassOf(err), "no event is the cause")
}

func TestANewerFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	_, err := s.writer.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	require.NoError(t, err)
	require.ErrorContains(t, s.Migrate(t.Context()), "newer slipstream")
	require.NoError(t, s.Close())
	_, err = Open(t.Context(), Config{Path: path})
	require.ErrorContains(t, err, "newer slipstream")
	require.ErrorContains(t, err, "slipstream rebuild --store embedded --data "+filepath.Dir(path),
		"the way back")
	require.NoError(t, os.Remove(path+".lock"), "the lock was given back")
}

func TestSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	_, err := Open(t.Context(), Config{Path: path})
	require.ErrorContains(t, err, "no SQLite file")
}

func TestPragmas(t *testing.T) {
	t.Parallel()
	for durable, want := range map[bool]string{false: "1", true: "2"} {
		s, err := Open(
			t.Context(), Config{Path: filepath.Join(t.TempDir(), "store.db"), Sync: durable},
		)
		require.NoError(t, err)
		defer s.Close()
		for pragma, want := range map[string]string{
			"synchronous": want, "journal_mode": "wal", "page_size": "8192", "busy_timeout": "5000",
		} {
			var got string
			require.NoError(t, s.writer.QueryRow("PRAGMA "+pragma).Scan(&got))
			require.Equal(t, want, got, pragma)
		}
		_, err = s.reader.Exec("CREATE TABLE t (x)")
		require.Error(t, err, "readers do not write")
	}
}

// TestAFailedCommitKeepsMirrorAndFileEqual lets a commit fail for real: a deferred foreign key is
// checked only then.
func TestAFailedCommitKeepsMirrorAndFileEqual(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	require.NoError(t, s.PutUsers(t.Context(), testSource, batchOf(userAt("u1", 1))))
	_, err := s.writer.Exec(
		"PRAGMA foreign_keys = 1; CREATE TABLE child (p INTEGER REFERENCES user_points (key) " +
			"DEFERRABLE INITIALLY DEFERRED)",
	)
	require.NoError(t, err)
	err = s.write(
		t.Context(), "break",
		func() { t.Error("landed must not be called") },
		func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO child VALUES (1)")
			return err
		},
	)
	require.Equal(t, fault.Permanent, fault.ClassOf(err), "%v", err)
	require.True(t, s.stale.Load())

	s.users.reset(nil) // as if the mirror had missed something
	near, err := similar(t.Context(), s, []float32{1, 1}, 5, nil)
	require.NoError(t, err)
	require.Len(t, near, 1, "the mirror was loaded again")
	require.False(t, s.stale.Load())
	require.NoError(
		t, s.PutUsers(t.Context(), testSource, batchOf(userAt("u1", 2))), "the connection is fine",
	)
}

func TestAWriterWaitsForItsTurnNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.write(context.Background(), "hold", nil, func(*sql.Tx) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	<-inside
	release := sync.OnceFunc(func() { close(leave) })
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := s.PutUsers(ctx, testSource, batchOf(userAt("u1", 1)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	n, err := s.CountUsers(t.Context())
	require.NoError(t, err, "reads do not wait for the writer")
	require.Zero(t, n)
	release()
	require.NoError(t, <-done)
}

func TestEveryQueryUsesAnIndex(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	for name, query := range map[string]string{
		"users by key": selectUsers + " WHERE key IN (SELECT value FROM json_each('[1]'))",
		"items by key": selectItems + " WHERE key IN (SELECT value FROM json_each('[1]'))",
		"expiry": "SELECT key FROM user_points WHERE changed_at < 5 ORDER BY changed_at " +
			"LIMIT 3",
		"friends":     selectFriends,
		"suggestions": selectSuggestions,
		"erasure":     "DELETE FROM edges WHERE (a = ?1 OR b = ?1) AND at <= ?2",
	} {
		rows, err := s.reader.Query("EXPLAIN QUERY PLAN "+query, "x", 1)
		if err != nil {
			rows, err = s.reader.Query("EXPLAIN QUERY PLAN " + query)
		}
		require.NoError(t, err, name)
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			for _, table := range []string{"user_points", "item_points", "edges", "e"} {
				require.NotEqual(t, "SCAN "+table, detail, name)
				require.NotContains(t, detail, "SCAN "+table+" ", name)
			}
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
}

// BenchmarkPutUsers writes batches of 256 users with 65 numbers and a state of 1 kB each.
func BenchmarkPutUsers(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%t", durable), func(b *testing.B) {
			s, err := Open(
				b.Context(), Config{Path: filepath.Join(b.TempDir(), "store.db"), Sync: durable},
			)
			require.NoError(b, err)
			defer s.Close()
			require.NoError(b, s.Migrate(b.Context()))
			batch := make([]sinks.User, 256)
			var offset int64
			for b.Loop() {
				offset++
				for i := range batch {
					batch[i] = userAt(fmt.Sprint((int(offset)*len(batch)+i)%20_000), offset)
					batch[i].Vector, batch[i].State = make([]float32, 65), make([]byte, 1024)
				}
				require.NoError(b, s.PutUsers(b.Context(), testSource, batch))
			}
			b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "users/s")
		})
	}
}

// similar asks for the neighbours of one vector.
func similar(
	ctx context.Context, s *Store, vector []float32, n int, exclude []string,
) ([]sinks.Neighbour, error) {
	found, err := s.SimilarUsers(ctx, []sinks.UserQuery{{Vector: vector, N: n, Exclude: exclude}})
	if err != nil || len(found) != 1 {
		return nil, err
	}
	return found[0], nil
}
