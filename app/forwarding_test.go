package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestWhereForwardingBeginsIsNotedOnceAndWithoutMembers(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	noteForwarding(t, in)
}

func TestRealWhereForwardingBeginsIsNotedOnceAndWithoutMembers(t *testing.T) {
	noteForwarding(t, apptest.StartReal(t, nil))
}

func noteForwarding(t *testing.T, in *apptest.Installation) {
	like := func(user string) {
		t.Helper()
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{schemas.Interaction{
			UserID: user, ItemID: "film-1", Action: schemas.Like,
		}.Message()}))
	}
	for _, user := range []string{"ann", "bob", "cleo", "dan", "eve"} {
		like(user)
	}
	in.AwaitIdle(t, time.Minute)
	began, err := in.Kafka().ForwardingBegan(t.Context())
	require.NoError(t, err)
	want := make(map[int]int64)
	for p := range in.Config().Topics.Partitions {
		want[p] = 0
	}
	require.Equal(t, want, began, "a new log")

	// Without the note, the members are those of an older version.
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
		{Topic: schemas.TopicMeta, Key: []byte("forwarding.embed")},
	}))
	err = in.Kafka().NoteForwarding(t.Context())
	require.ErrorContains(t, err, "stop it")
	require.Equal(t, fault.Transient, fault.ClassOf(err), "a start waits for it")
	began, err = in.Kafka().ForwardingBegan(t.Context())
	require.NoError(t, err)
	require.Nil(t, began)
	in.Stop()

	k, err := app.OpenKafka(t.Context(), in.Config())
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicInteractions)
	require.NoError(t, err)
	for tp, b := range bounds {
		want[tp.Partition] = b.End
	}
	for range 2 {
		require.NoError(t, k.NoteForwarding(t.Context()))
		began, err = k.ForwardingBegan(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, began)
		require.NoError(t, k.Emit(t.Context(), []record.Record{{
			Topic: schemas.TopicInteractions, Partition: 0, Value: []byte("{}"),
		}}))
	}
}
