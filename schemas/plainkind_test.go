package schemas_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// plain is a record without headers.
func plain(topic, value string) *record.Record {
	return &record.Record{
		Topic: topic, Key: []byte("k"), Value: []byte(value), Time: time.Unix(1.7e9, 0).UTC(),
	}
}

// typed is a record that says its kind in a header.
func typed(topic string, k schemas.Kind, value string) *record.Record {
	r := plain(topic, value)
	r.Headers = []record.Header{{Key: schemas.HeaderType, Value: []byte(k)}}
	return r
}

// decodeOn runs the decoder of the topic's first kind, as processors do.
func decodeOn(r *record.Record) (schemas.Event, error) {
	switch r.Topic {
	case schemas.TopicInteractions:
		x, err := schemas.DecodeInteraction(r)
		return &x, err
	case schemas.TopicFriendships:
		x, err := schemas.DecodeFriendship(r)
		return &x, err
	case schemas.TopicItems:
		x, err := schemas.DecodeItem(r)
		return &x, err
	}
	x, err := schemas.DecodeUser(r)
	return &x, err
}

// Where the kind is told beside the value, a field "kind" that names none is the application's.
func TestAFieldOfTheApplicationIsNoKind(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, field := range []string{`"movie"`, `7`, `{"of":"film"}`, `""`, `null`} {
		value := `{"kind":` + field + `,"item_id":"i","title":"T"}`
		x, err := decodeOn(typed("items", schemas.KindItemUpdated, value))
		require.NoError(t, err, value)
		require.Equal(t, schemas.KindItemUpdated, x.Kind(), value)
		require.NoError(t, v.Validate(schemas.KindItemUpdated, []byte(value)), value)
	}
}

// An erasure that was asked for by the field kind, on Kafka and without headers, erased nobody.
func TestAPlainValueIsOfTheKindItSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		topic, value string
		want         schemas.Kind
	}{
		{"users", `{"kind":"user.erased.v1","user_id":"u"}`, schemas.KindUserErased},
		{"users", `{"k\u0069nd":"user.erased.v1","user_id":"u"}`, schemas.KindUserErased},
		{"users", `{"user_id":"u","kind":"user.erased.v1","erased":true}`, schemas.KindUserErased},
		{"users", `{"user_id":"u","kind":"user.updated.v1"}`, schemas.KindUserUpdated},
		{"users", `{"user_id":"u","kind":null,"erased":true}`, schemas.KindUserErased},
		{"users", `{"user_id":"u","attributes":{"kind":"x"}}`, schemas.KindUserUpdated},
		{
			"friendships", `{"kind":"friendship.removed.v1","user_id":"u","friend_id":"f"}`,
			schemas.KindFriendshipRemoved,
		},
		{
			"friendships", `{"kind":"friendship.added.v1","user_id":"u","friend_id":"f"}`,
			schemas.KindFriendshipAdded,
		},
		{
			"items", `{"kind":"item.withdrawn.v1","item_id":"i","title":"T"}`,
			schemas.KindItemWithdrawn,
		},
		{"items", `{"kind":"item.updated.v1","item_id":"i","title":"T"}`, schemas.KindItemUpdated},
		{
			"interactions",
			`{"kind":"interaction.recorded.v1","user_id":"u","item_id":"i","action":"view"}`,
			schemas.KindInteraction,
		},
	} {
		x, err := decodeOn(plain(c.topic, c.value))
		require.NoError(t, err, c.value)
		require.Equal(t, c.want, x.Kind(), c.value)
		x, err = decodeOn(typed(c.topic, c.want, c.value))
		require.NoError(t, err, c.value)
		require.Equal(t, c.want, x.Kind(), "headers and value agree: %s", c.value)
	}
}

func TestAKindThatContradictsIsRefused(t *testing.T) {
	t.Parallel()
	const view = `"user_id":"u","item_id":"i","action":"view"}`
	for _, c := range []struct {
		record *record.Record
		want   string
	}{
		{
			plain("interactions", `{"kind":"user.erased.v1",`+view),
			`kind "user.erased.v1" does not belong here: want the topic users`,
		},
		{
			plain("interactions", `{"kind":"item.withdrawn.v1",`+view),
			`kind "item.withdrawn.v1" does not belong here`,
		},
		{plain("interactions", `{"kind":"",`+view), `kind "" does not belong here`},
		{
			plain("friendships", `{"kind":"user.erased.v1","user_id":"u","friend_id":"f"}`),
			`kind "user.erased.v1" does not belong here`,
		},
		{
			plain("items", `{"kind":"movie","item_id":"i","title":"T"}`),
			`kind "movie" does not belong here`,
		},
		{
			plain("users", `{"kind":"interaction.recorded.v1","user_id":"u"}`),
			`kind "interaction.recorded.v1" does not belong here`,
		},
		{
			plain("users", `{"kind":7,"user_id":"u"}`),
			`field "kind" is a JSON number, want a string`,
		},
		{
			typed("users", schemas.KindUserUpdated, `{"kind":"user.erased.v1","user_id":"u"}`),
			`field "kind" is "user.erased.v1", but the header ce_type is "user.updated.v1"`,
		},
		{
			typed("users", schemas.KindUserErased, `{"kind":"user.updated.v1","user_id":"u"}`),
			`field "kind" is "user.updated.v1", but the header ce_type is "user.erased.v1"`,
		},
		{
			plain("users", `{"kind":"user.updated.v1","user_id":"u","erased":true}`),
			`field "kind" is "user.updated.v1", but "erased" is true`,
		},
		{
			plain("users", `{"erased":false,"kind":"user.erased.v1","user_id":"u"}`),
			`field "kind" is "user.erased.v1", but "erased" is false`,
		},
		{
			plain("items", `{"kind":"item.updated.v1","item_id":"i","withdrawn":true,"title":"T"}`),
			`but "withdrawn" is true`,
		},
		{
			plain(
				"friendships",
				`{"kind":"friendship.removed.v1","user_id":"u","friend_id":"f","removed":false}`,
			),
			`but "removed" is false`,
		},
	} {
		_, err := decodeOn(c.record)
		require.ErrorContains(t, err, c.want, "%s", c.record.Value)
		require.NotErrorIs(t, err, schemas.ErrErasureMarker, "%s", c.record.Value)
	}
	// The same at an entry point: the envelope, or the address, says the kind.
	v := validator(t)
	for value, want := range map[string]string{
		`{"kind":"user.erased.v1","user_id":"u"}`: `"kind" is "user.erased.v1", ` +
			`want "user.updated.v1"`,
		`{"kind":"user.updated.v1","user_id":"u","erased":true}`: `but "erased" is true`,
	} {
		_, err := v.Read(schemas.Envelope{Kind: schemas.KindUserUpdated}, []byte(value))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, v.Validate(schemas.KindUserUpdated, []byte(value)), want)
	}
	event, _, err := v.ReadJSON([]byte(`{"kind":"user.erased.v1","user_id":"u","erased":true}`))
	require.NoError(t, err)
	require.Equal(t, schemas.KindUserErased, event.Kind())
}
