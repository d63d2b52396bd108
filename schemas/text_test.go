package schemas_test

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// notText are strings as they stand in JSON, and what the refusal says of each when its string
// begins at byte 13.
var notText = map[string]string{
	"M\xfcller":        "is not UTF-8: byte 14 is 0xfc",
	"M\xf6ller":        "is not UTF-8: byte 14 is 0xf6",
	"\xc3":             "is not UTF-8: byte 13 is 0xc3", // the first half of ü
	"a\xed\xa0\x80":    "is not UTF-8: byte 14 is 0xed", // a surrogate in UTF-8's shape
	"\xc0\xaf":         "is not UTF-8: byte 13 is 0xc0", // a slash that is too long
	"\xf4\x90\x80\x80": "is not UTF-8: byte 13 is 0xf4", // beyond Unicode
	`a\ud800`:          `holds a lone surrogate: \ud800 at byte 14`,
	`\uDBFFx`:          `holds a lone surrogate: \uDBFF at byte 13`,
	`\udc00`:           `holds a lone surrogate: \udc00 at byte 13`,
	`\ud83dx\ude00`:    `holds a lone surrogate: \ud83d at byte 13`,
	`\ud83d\n\ude00`:   `holds a lone surrogate: \ud83d at byte 13`,
	`\ude00\ud83d`:     `holds a lone surrogate: \ude00 at byte 13`,
	`\ud83d\ud83d`:     `holds a lone surrogate: \ud83d at byte 13`,
	`\ud83d\u0041`:     `holds a lone surrogate: \ud83d at byte 13`,
}

// isText are strings as they stand in JSON, and what they say.
var isText = map[string]string{
	"Müller": "Müller", `M\u00fcller`: "Müller", `\ud83d\ude00`: "😀", "😀": "😀",
	`\\ud800`: `\ud800`, `\\\\ud800`: `\\ud800`,
	// A replacement that somebody else made is a character like any other.
	"M\ufffdller": "M\ufffdller", `M\ufffdller`: "M\ufffdller",
}

func TestValuesThatAreNotUTF8AreRefused(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for s, want := range notText {
		for kind, value := range map[schemas.Kind]string{
			schemas.KindInteraction:     `{"user_id":"` + s + `","item_id":"i","action":"view"}`,
			schemas.KindFriendshipAdded: `{"user_id":"` + s + `","friend_id":"f"}`,
			schemas.KindItemUpdated:     `{"item_id":"` + s + `","title":"T"}`,
			schemas.KindUserUpdated:     `{"user_id":"` + s + `"}`,
			schemas.KindUserErased:      `{"user_id":"` + s + `"}`,
		} {
			_, err := decodeAs(kind, []byte(value))
			require.ErrorContains(t, err, want, value)
			_, err = v.Read(schemas.Envelope{Kind: kind}, []byte(value))
			require.ErrorContains(t, err, want, value)
			require.ErrorContains(t, v.Validate(kind, []byte(value)), want, value)
		}
		what, _, _ := strings.Cut(want, ":")
		// Fields that are kept, ignored, nested, and their names.
		for field, value := range map[string]string{
			"context value": `{"context":{"k":"%"},"user_id":"u","item_id":"i","action":"view"}`,
			"context name":  `{"context":{"%":"v"},"user_id":"u","item_id":"i","action":"view"}`,
			"unknown":       `{"later":["%"],"user_id":"u","item_id":"i","action":"view"}`,
			"name":          `{"%":1,"user_id":"u","item_id":"i","action":"view"}`,
		} {
			value = strings.ReplaceAll(value, "%", s)
			_, err := decodeAs(schemas.KindInteraction, []byte(value))
			require.ErrorContains(t, err, what, field+": "+value)
			_, _, err = v.ReadJSON([]byte(value))
			require.ErrorContains(t, err, what, field+": "+value)
		}
		for _, decode := range []func(*record.Record) error{
			func(r *record.Record) error { _, err := schemas.DecodeProfileChanged(r); return err },
			func(r *record.Record) error { _, err := schemas.DecodeRecommendation(r); return err },
			func(r *record.Record) error { _, err := schemas.DecodeErasure(r); return err },
			func(r *record.Record) error { _, err := schemas.DecodeTrending(r); return err },
		} {
			value := `{"user_id":"` + s + `","recommendation_id":"r","user_key":"1"}`
			require.ErrorContains(t, decode(&record.Record{Value: []byte(value)}), want, value)
		}
	}
	for s, want := range isText {
		x, err := decodeAs(
			schemas.KindItemUpdated, []byte(`{"item_id":"`+s+`","title":"T"}`),
		)
		require.NoError(t, err, s)
		require.Equal(t, want, x.(*schemas.Item).ItemID)
	}
}

func TestCloudEventsThatAreNotUTF8AreRefused(t *testing.T) {
	t.Parallel()
	v := validator(t)
	const view = `{"user_id":"M` + "\xfc" + `ller","item_id":"i","action":"view"}`
	structured := func(rest string) []byte {
		return []byte(`{"specversion":"1.0","source":"s","type":"interaction.recorded.v1",` + rest)
	}
	for want, body := range map[string][]byte{
		"byte 97 is 0xfc": structured(`"id":"1","data":` + view + `}`),
		"byte 74 is 0xff": structured(`"id":"` + "\xff" + `","data":{}}`),
		`\ud800 at byte 74`: structured(
			`"id":"\ud800","data":{"user_id":"u","item_id":"i","action":"view"}}`,
		),
		"byte 14 is 0xfc": structured(
			`"id":"1","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(view)) + `"}`,
		),
	} {
		_, _, err := v.ReadJSON(body)
		require.ErrorContains(t, err, want, "%s", body)
	}
	// Binary mode over HTTP: headers are bytes, or percent-encoded ones.
	for _, value := range []string{"caf\xe9", "caf%E9"} {
		for _, name := range []string{"ce-id", "ce-source", "ce-type"} {
			env, ok, err := schemas.CloudEventFromHeaders(func(header string) string {
				return map[string]string{
					"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s",
					"ce-type": string(schemas.KindUserErased), name: value,
				}[header]
			})
			require.True(t, ok)
			if err == nil {
				_, err = v.Read(env, []byte(`{"user_id":"u"}`))
			}
			require.ErrorContains(t, err, "is not UTF-8: byte 4 is 0xe9", name)
		}
	}
}

func TestHeadersAndKeysThatAreNotUTF8AreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		schemas.HeaderID, schemas.HeaderSource, schemas.HeaderType, schemas.HeaderTime,
	} {
		r := &record.Record{
			Topic: schemas.TopicInteractions, Time: time.Unix(1e9, 0),
			Value: []byte(`{"user_id":"u","item_id":"i","action":"view"}`),
			Headers: []record.Header{
				{Key: name, Value: []byte("caf\xe9")},
			},
		}
		_, err := schemas.DecodeInteraction(r)
		require.ErrorContains(
			t, err, "header "+name+" is not UTF-8: byte 4 is 0xe9",
		)
	}
	_, err := schemas.DecodeItem(&record.Record{Time: time.Unix(1e9, 0), Key: []byte("caf\xe9")})
	require.ErrorContains(
		t, err, `"item_id" is not UTF-8: byte 4 is 0xe9`, "a tombstone names its item by the key",
	)
	env, err := schemas.EnvelopeOf(&record.Record{Headers: []record.Header{
		{Key: schemas.HeaderTrace, Value: []byte("00-\xff")},
	}}, schemas.KindInteraction)
	require.NoError(t, err, "an unreadable traceparent counts as none, as W3C says")
	require.Empty(t, env.Trace)
}

// Events that an application builds in Go reach Validate without ever having been JSON.
func TestEventsInGoThatAreNotUTF8AreRefused(t *testing.T) {
	t.Parallel()
	const bad = "caf\xe9"
	item := func(change func(x *schemas.Item)) schemas.Event {
		x := &schemas.Item{ItemID: "i", Title: "T"}
		change(x)
		return x
	}
	user := func(v any) schemas.Event {
		return &schemas.User{UserID: "u", Attributes: map[string]any{"k": v}}
	}
	type named string
	for want, events := range map[string][]schemas.Event{
		"byte 4 is 0xe9": {
			&schemas.Interaction{UserID: bad, ItemID: "i", Action: schemas.View},
			&schemas.Interaction{UserID: "u", ItemID: bad, Action: schemas.View},
			&schemas.Interaction{EventID: bad, UserID: "u", ItemID: "i", Action: schemas.View},
			&schemas.Interaction{Source: bad, UserID: "u", ItemID: "i", Action: schemas.View},
			&schemas.Interaction{SessionID: bad, UserID: "u", ItemID: "i", Action: schemas.View},
			&schemas.Interaction{
				UserID: "u", ItemID: "i", Action: schemas.View,
				Context: map[string]string{"k": bad},
			},
			&schemas.Interaction{
				UserID: "u", ItemID: "i", Action: schemas.View,
				Context: map[string]string{bad: "v"},
			},
			&schemas.Friendship{UserID: "u", FriendID: bad},
			item(func(x *schemas.Item) { x.Title = bad }),
			item(func(x *schemas.Item) { x.Description = bad }),
			item(func(x *schemas.Item) { x.Genres = []string{"a", bad} }),
			item(func(x *schemas.Item) { x.Actors = []string{bad} }),
			item(func(x *schemas.Item) { x.Directors = []string{bad} }),
			item(func(x *schemas.Item) { x.Tags = []string{bad} }),
			item(func(x *schemas.Item) { x.Attributes = map[string]any{bad: 1} }),
			user(bad), user([]any{"a", bad}), user(map[string]any{"deep": []any{bad}}),
			user(map[string]any{bad: nil}),
		},
		`"attributes.k" is not UTF-8`: {
			user([]string{bad}), user(map[string]string{"a": bad}), user(named(bad)),
			user(struct{ City string }{bad}),
		},
		`"attributes.k" cannot be written as JSON`: {
			user(math.NaN()), user(math.Inf(1)), user(make(chan int)), user(func() {}),
		},
	} {
		for _, x := range events {
			require.ErrorContains(t, x.Validate(), want, "%#v", x)
		}
	}
	for _, v := range []any{
		nil, true, 1, int64(7), 1.5, "ü", "\ufffd", `\ufffd`,
		[]string{"ü"},
		[]any{1, "x"},
		map[string]any{"a": map[string]any{"b": 1}},
		struct{ City string }{"Zürich"},
		time.Time{},
	} {
		require.NoError(t, user(v).Validate(), "%#v", v)
	}
}

func TestAKeyThatIsNotUTF8IsRefusedWhateverTheValue(t *testing.T) {
	t.Parallel()
	for topic, value := range map[string]string{
		schemas.TopicInteractions: `{"user_id":"u","item_id":"i","action":"view"}`,
		schemas.TopicFriendships:  `{"user_id":"u","friend_id":"f"}`,
		schemas.TopicItems:        `{"item_id":"i","title":"T"}`,
		schemas.TopicUsers:        `{"user_id":"u"}`,
	} {
		r := plain(topic, value)
		r.Key = []byte("M\xfcller")
		_, err := decodeOn(r)
		require.ErrorContains(t, err, "the key is not UTF-8: byte 2 is 0xfc", topic)
		r.Key = nil
		_, err = decodeOn(r)
		require.NoError(t, err, "a record without a key is forwarded to its partition")
	}
}
