package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestAnErasureCoversWhatAFastClockHasDated(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	fastClock(t, in)
}

func TestRealAnErasureCoversWhatAFastClockHasDated(t *testing.T) {
	fastClock(t, apptest.StartReal(t, nil))
}

// fastClock erases a person whose phone is 90 s fast, which is within the tolerance.
func fastClock(t *testing.T, in *apptest.Installation) {
	ahead := time.Now().UTC().Add(90 * time.Second)
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
		schemas.Interaction{
			UserID: "ann", ItemID: "film-1", Action: schemas.Like, OccurredAt: ahead,
		}.Message(),
		schemas.Interaction{UserID: "bob", ItemID: "film-1", Action: schemas.Like}.Message(),
		schemas.Friendship{UserID: "ann", FriendID: "bob", OccurredAt: ahead}.Message(),
		schemas.User{
			UserID: "ann", Attributes: map[string]any{"mail": "ann@example.org"},
			OccurredAt: ahead,
		}.Message(),
	}))
	in.AwaitIdle(t, time.Minute)
	before := in.RowsOf(t, "ann")
	require.Equal(t, 1, before["interactions"])
	require.Equal(t, 1, before["users"])

	code, body := in.Call(t, http.MethodDelete, "/v1/users/ann", nil)
	require.Equal(t, http.StatusAccepted, code, string(body))
	in.AwaitIdle(t, time.Minute)
	for table, n := range in.RowsOf(t, "ann") {
		require.Zero(t, n, table)
	}
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	var versions int
	require.NoError(t, db.QueryRowContext(
		t.Context(), "SELECT count(*) FROM user_versions WHERE user_id = 'ann'",
	).Scan(&versions))
	require.Zero(t, versions, "the mail address")
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann", "bob"}, 10)
	require.NoError(t, err)
	require.Empty(t, friends)
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann", "bob"})
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.Equal(t, "bob", points[0].ID)
}

func TestAnErasureSentAgainLeavesWhatCameInBetween(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	sentAgain(t, in)
}

func TestRealAnErasureSentAgainLeavesWhatCameInBetween(t *testing.T) {
	sentAgain(t, apptest.StartReal(t, nil))
}

// sentAgain erases a person by an application that gets no answer and sends the erasure again, when
// the person has come back already.
func sentAgain(t *testing.T, in *apptest.Installation) {
	emit := func(m record.Record) {
		t.Helper()
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{m}))
		in.AwaitIdle(t, time.Minute)
	}
	like := func(item string) record.Record {
		return schemas.Interaction{UserID: "ann", ItemID: item, Action: schemas.Like}.Message()
	}
	bye := schemas.User{EventID: "bye", Source: "shop", UserID: "ann", Erased: true}.Message()
	emit(like("film-1"))
	emit(bye)
	require.Zero(t, in.RowsOf(t, "ann")["interactions"])
	emit(like("film-2"))
	emit(schemas.Friendship{UserID: "ann", FriendID: "bob"}.Message())
	emit(bye)
	require.Equal(t, 1, in.RowsOf(t, "ann")["interactions"], "film-2")
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann"}, 10)
	require.NoError(t, err)
	require.Len(t, friends["ann"], 1)
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann"})
	require.NoError(t, err)
	require.Len(t, points, 1)

	again := schemas.User{EventID: "bye again", Source: "shop", UserID: "ann", Erased: true}
	emit(again.Message())
	require.Zero(t, in.RowsOf(t, "ann")["interactions"], "asked for again")
}
