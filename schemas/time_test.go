package schemas_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// timed is what a decoder says of an event's time.
type timed struct{ occurred, client time.Time }

// timedKinds decode an event of each kind that applications write.
var timedKinds = map[string]struct {
	topic, value string
	decode       func(r *record.Record) (timed, error)
}{
	"interaction": {
		schemas.TopicInteractions, `{"user_id":"u","item_id":"i","action":"like"%s}`,
		func(r *record.Record) (timed, error) {
			x, err := schemas.DecodeInteraction(r)
			return timed{x.OccurredAt, x.ClientTime}, err
		},
	},
	"friendship": {
		schemas.TopicFriendships, `{"user_id":"u","friend_id":"f"%s}`,
		func(r *record.Record) (timed, error) {
			x, err := schemas.DecodeFriendship(r)
			return timed{x.OccurredAt, x.ClientTime}, err
		},
	},
	"item": {
		schemas.TopicItems, `{"item_id":"i","title":"t"%s}`,
		func(r *record.Record) (timed, error) {
			x, err := schemas.DecodeItem(r)
			return timed{x.OccurredAt, x.ClientTime}, err
		},
	},
	"user": {
		schemas.TopicUsers, `{"user_id":"u"%s}`,
		func(r *record.Record) (timed, error) {
			x, err := schemas.DecodeUser(r)
			return timed{x.OccurredAt, x.ClientTime}, err
		},
	},
}

func TestAnEventAheadOfTheLogCountsAsOfTheLog(t *testing.T) {
	t.Parallel()
	const skew = 5 * time.Minute
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name           string
		said           string
		log            time.Time
		occurred, kept string // kept is client_time
	}{
		{"in the past", "1998-01-01T00:00:00Z", at, "1998-01-01T00:00:00Z", ""},
		{"90 s fast", "2026-11-28T12:01:30Z", at, "2026-11-28T12:01:30Z", ""},
		{"at the bound", "2026-11-28T12:05:00Z", at, "2026-11-28T12:05:00Z", ""},
		{
			"just beyond it", "2026-11-28T12:05:00.001Z", at, "2026-11-28T12:00:00Z",
			"2026-11-28T12:05:00.001Z",
		},
		{"a year", "2027-11-28T12:00:00Z", at, "2026-11-28T12:00:00Z", "2027-11-28T12:00:00Z"},
		{"2104", "2104-02-01T00:00:00Z", at, "2026-11-28T12:00:00Z", "2104-02-01T00:00:00Z"},
		{"9000", "9000-01-01T00:00:00Z", at, "2026-11-28T12:00:00Z", "9000-01-01T00:00:00Z"},
		{
			"no year of four digits in UTC", "9999-12-31T23:00:00-05:00", at,
			"2026-11-28T12:00:00Z", "9999-12-31T00:00:00Z",
		},
		{"says nothing", "", at, "2026-11-28T12:00:00Z", ""},
		{"the log says nothing", "2027-11-28T12:00:00Z", time.Time{}, "2027-11-28T12:00:00Z", ""},
	} {
		for kind, k := range timedKinds {
			for where, r := range written(k.topic, k.value, tt.said) {
				name := fmt.Sprintf("%s of %s, time in the %s", tt.name, kind, where)
				r.Time, r.MaxAhead = tt.log, skew
				got, err := k.decode(r)
				require.NoError(t, err, name)
				require.Equal(t, tt.occurred, got.occurred.Format(time.RFC3339Nano), name)
				if tt.kept == "" {
					require.Zero(t, got.client, name)
				} else {
					require.Equal(t, tt.kept, got.client.Format(time.RFC3339Nano), name)
				}
			}
		}
	}
}

// written returns records with a time in the value and in the headers.
func written(topic, value, said string) map[string]*record.Record {
	inValue := ""
	if said != "" {
		inValue = `,"occurred_at":"` + said + `"`
	}
	header := &record.Record{Topic: topic, Value: []byte(strings.Replace(value, "%s", "", 1))}
	if said != "" {
		header.Headers = []record.Header{{Key: schemas.HeaderTime, Value: []byte(said)}}
	}
	return map[string]*record.Record{
		"value":  {Topic: topic, Value: []byte(strings.Replace(value, "%s", inValue, 1))},
		"header": header,
	}
}

func TestAReplayedEventIsJudgedByTheTimeOfItsOrigin(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, topic := range []string{
		record.ReplayTopic("embed"), record.ReplayTopic("analytics"),
		record.RetryTopic("graph", time.Minute),
	} {
		k := timedKinds["interaction"]
		r := written(topic, k.value, "2027-01-01T00:00:00Z")["value"]
		r.Time, r.MaxAhead = first.Add(40*24*time.Hour), 5*time.Minute
		r.Headers = []record.Header{
			{Key: record.HeaderTime, Value: []byte(first.Format(time.RFC3339Nano))},
		}
		got, err := k.decode(r)
		require.NoError(t, err)
		require.Equal(t, first, got.occurred, topic)
		require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), got.client, topic)

		r.Topic = schemas.TopicInteractions // there a producer may have written the header
		got, err = k.decode(r)
		require.NoError(t, err)
		require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), got.occurred)
		require.Zero(t, got.client)
	}
}

func TestAnEventWithoutAnyTimeIsRefused(t *testing.T) {
	t.Parallel()
	for kind, k := range timedKinds {
		r := written(k.topic, k.value, "")["value"]
		_, err := k.decode(r)
		require.ErrorContains(t, err, "occurred_at", kind)
	}
}

// The empty time of Go and .NET says nothing, in the value and in a header.
func TestTheEmptyTimeCountsAsAbsent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for kind, k := range timedKinds {
		for where, r := range written(k.topic, k.value, "0001-01-01T00:00:00Z") {
			r.Time, r.MaxAhead = at, 5*time.Minute
			got, err := k.decode(r)
			require.NoError(t, err, "%s, in the %s", kind, where)
			require.Equal(t, at, got.occurred)
		}
	}
}

// What an entry point takes is judged by the log as if it had been written there by its sender.
func TestATimeAheadIsTakenAtEntryPointsAsOnTheLog(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	v := validator(t)
	for name, k := range timedKinds {
		for _, said := range []string{
			"2027-01-01T00:00:00Z", "2105-01-01T00:00:01Z", "9999-12-31T23:59:59Z",
			"9999-12-31T23:00:00-05:00",
		} {
			value := written(k.topic, k.value, said)["value"].Value
			kind := plainKinds[name]
			event, err := v.Read(schemas.Envelope{Kind: kind}, value)
			require.NoError(t, err, "%s", value)
			require.NoError(t, v.Validate(kind, value))
			r := event.Record()
			r.Time, r.MaxAhead = at, 5*time.Minute
			got, err := k.decode(&r)
			require.NoError(t, err)
			require.Equal(t, at, got.occurred)
			direct := written(k.topic, k.value, said)["value"]
			direct.Time, direct.MaxAhead = at, 5*time.Minute
			want, err := k.decode(direct)
			require.NoError(t, err)
			require.Equal(t, want, got, "as if its sender had written it to the log")

			event, err = v.Read(
				schemas.Envelope{Kind: kind, Time: got.client},
				written(k.topic, k.value, "")["value"].Value,
			)
			require.NoError(t, err, "the time of an envelope")
			require.NoError(t, event.Validate())
		}
		for said, want := range map[string]string{
			"1970-01-01T23:59:59Z":      "is before 1970-01-02",
			"0001-01-01T00:00:00+01:00": "is before 1970-01-02",
		} {
			value := written(k.topic, k.value, said)["value"].Value
			_, err := v.Read(schemas.Envelope{Kind: plainKinds[name]}, value)
			require.ErrorContains(t, err, want)
		}
		last := &schemas.User{
			UserID: "u", OccurredAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		}
		require.ErrorContains(t, last.Validate(), "has no year of four digits in UTC")
		// Without a time of the log nothing bounds the event's own, but the stores do.
		r := written(k.topic, k.value, "2105-01-01T00:00:01Z")["value"]
		r.MaxAhead = 5 * time.Minute
		_, err := k.decode(r)
		require.ErrorContains(t, err, "is after 2105-01-01")
	}
}

// plainKinds are the kinds of timedKinds.
var plainKinds = map[string]schemas.Kind{
	"interaction": schemas.KindInteraction, "friendship": schemas.KindFriendshipAdded,
	"item": schemas.KindItemUpdated, "user": schemas.KindUserUpdated,
}
