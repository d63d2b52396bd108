package rebuild

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A rebuild brings nothing back of a person whose phone was 90 s fast and whose events stand in two
// partitions: not in the store that is made again, and not in the others.
func TestRebuildBringsNobodyBackWhoseClockWasFast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	cfg := in.Config()
	cfg.DataDir = dir
	eraseWhoIsAhead(t, in)
	stop()
	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, nil)
	onlyBobIsKnown(t, in)
}

func TestRealRebuildBringsNobodyBackWhoseClockWasFast(t *testing.T) {
	in := apptest.StartReal(t, nil)
	eraseWhoIsAhead(t, in)
	in.Stop()
	for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
		require.NoError(t, rebuilt(t.Context(), t, in.Config(), store))
	}
	onlyBobIsKnown(t, restart(t, in.Config()))
}

// eraseWhoIsAhead erases ann, whose events are dated ahead of the erasure, and leaves bob.
func eraseWhoIsAhead(t *testing.T, in *apptest.Installation) {
	t.Helper()
	ahead := time.Now().UTC().Add(90 * time.Second)
	var batch []record.Record
	for n, user := range []string{"ann", "bob"} {
		for i := range 2 {
			like := schemas.Interaction{
				EventID: fmt.Sprint(n, "-", i), Source: "phone", UserID: user,
				ItemID: fmt.Sprint("film-", i), Action: schemas.Like, OccurredAt: ahead,
			}.Message()
			partitions := in.Config().Topics.Partitions
			like.Partition = (record.PartitionOf(like.Key, partitions) + i) % partitions
			batch = append(batch, like)
		}
		batch = append(batch, schemas.User{
			UserID: user, Attributes: map[string]any{"mail": user + "@example.org"},
			OccurredAt: ahead,
		}.Message())
	}
	batch = append(batch, schemas.Friendship{
		UserID: "ann", FriendID: "bob", OccurredAt: ahead,
	}.Message())
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, 2, in.RowsOf(t, "ann")["interactions"])
	require.EqualValues(t, 2, pictureOf(t, in).Users["ann"].Events, "from both partitions")

	code, body := in.Call(t, http.MethodDelete, "/v1/users/ann", nil)
	require.Equal(t, http.StatusAccepted, code, string(body))
	onlyBobIsKnown(t, in)
}

func onlyBobIsKnown(t *testing.T, in *apptest.Installation) {
	t.Helper()
	in.AwaitIdle(t, time.Minute)
	for table, n := range in.RowsOf(t, "ann") {
		require.Zero(t, n, table)
	}
	require.Equal(t, 2, in.RowsOf(t, "bob")["interactions"])
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann", "bob"})
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.Equal(t, "bob", points[0].ID)
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann", "bob"}, 10)
	require.NoError(t, err)
	require.Empty(t, friends)
}
