package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func validator(t testing.TB) *schemas.Validator {
	t.Helper()
	v, err := schemas.NewValidator(schemas.DefaultActions())
	require.NoError(t, err)
	return v
}

// decodeAs runs the typed decoder that reads records of the kind.
func decodeAs(k schemas.Kind, value []byte) (schemas.Event, error) {
	r := &record.Record{
		Topic: "t", Offset: 7, Key: []byte("k"), Value: value,
		Time: time.Date(2103, 1, 1, 0, 0, 0, 0, time.UTC), MaxAhead: 5 * time.Minute,
		Headers: schemas.Envelope{Kind: k}.Headers(""),
	}
	for _, d := range schemas.Registry() {
		if d.Kind == k {
			x, err := d.Decode(r)
			event, ok := x.(schemas.Event)
			if !ok {
				return nil, fmt.Errorf("%T is no Event", x)
			}
			if x, ok := event.(*schemas.Interaction); ok && err == nil {
				err = schemas.DefaultActions().Check(x)
			}
			return event, err
		}
	}
	return nil, fmt.Errorf("%s is not registered", k)
}

// bases is a valid value of some kinds with every field set. Other kinds use their golden file.
func bases() map[schemas.Kind]map[string]any {
	friendship := map[string]any{
		"event_id": "e", "source": "s", "user_id": "u", "friend_id": "f",
		"occurred_at": "2026-03-01T20:15:00Z", "removed": true,
	}
	item := map[string]any{
		"event_id": "e", "source": "s", "item_id": "i", "title": "T", "genres": []any{"a", "b"},
		"actors": []any{}, "directors": nil, "tags": []any{"ü"},
		"description": "d", "published_at": "1895-12-28T00:00:00Z", "available": false,
		"attributes": map[string]any{"n": 1.5}, "withdrawn": false, "occurred_at": nil,
	}
	user := map[string]any{
		"event_id": "e", "source": "s", "user_id": "u", "attributes": map[string]any{"a": nil},
		"erased": false, "occurred_at": "2026-03-01T20:15:00.123456789+01:00",
	}
	return map[schemas.Kind]map[string]any{
		schemas.KindInteraction: {
			"event_id": "e", "source": "s", "user_id": "u", "item_id": "i", "action": "rate",
			"value": 4.5, "occurred_at": "2026-03-01T20:15:00Z",
			"session_id": "s1", "recommendation_id": "r",
			"context": map[string]any{"page": "home", "empty": nil}, "from_the_future": []any{1.0},
		},
		schemas.KindFriendshipAdded: friendship, schemas.KindFriendshipRemoved: friendship,
		schemas.KindItemUpdated: item, schemas.KindItemWithdrawn: item,
		schemas.KindUserUpdated: user, schemas.KindUserErased: user,
	}
}

// odd are values to put into every field.
func odd() []any {
	entries := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	labels := func(n int) []any {
		l := make([]any, n)
		for i := range l {
			l[i] = "x"
		}
		return l
	}
	return []any{
		nil, "", "x", "ü", strings.Repeat("x", 256), strings.Repeat("x", 257),
		strings.Repeat("ü", 128), strings.Repeat("ü", 129), strings.Repeat("x", 1024),
		strings.Repeat("x", 1025), strings.Repeat("ü", 513), strings.Repeat("x", 16384),
		strings.Repeat("x", 16385), strings.Repeat("ü", 8193), "a\nb", "a\x7fb", "\x00", "\u2028",
		"view", "rate", "watch", "View", "purchase",
		0.0, 0.5, 0.4999, 1.0, 1.0001, 5.0, 5.0001, -1.0, 1e9, 1.1e9, 1e300, 7, true, false,
		"2026-03-01T20:15:00Z", "2026-03-01t20:15:00z", "2026-03-01T20:15:00",
		"2026-03-01 20:15:00Z", "2026-03-01T20:15:60Z", "2026-03-01T23:59:60Z",
		"2026-13-01T20:15:00Z", "2026-02-30T20:15:00Z",
		"2026-03-01T20:15:00,5Z", "2026-03-01T20:15:00.5Z", "2026-03-01T20:15:00.12345678901234Z",
		"2026-03-01T24:00:00Z", "2026-03-01T20:15:00+25:00", "2026-03-01T20:15:00-23:59",
		"2026-3-1T2:15:00Z",
		"1970-01-01T23:59:59Z", "1970-01-02T00:00:00Z", "1969-06-01T00:00:00Z",
		"2105-01-01T00:00:00Z", "2105-01-01T00:00:01Z", "0001-01-01T00:00:00Z",
		"0000-12-31T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:00:00-05:00",
		"2299-12-31T00:00:00Z",
		"2300-01-01T00:00:00Z",
		[]any{},
		[]any{"x"},
		[]any{""},
		[]any{nil},
		[]any{1.0},
		[]any{[]any{}},
		[]any{strings.Repeat("x", 256)},
		[]any{strings.Repeat("x", 257)},
		[]any{strings.Repeat("ü", 129)},
		labels(100), labels(101),
		map[string]any{},
		map[string]any{"k": "v"},
		map[string]any{"k": nil},
		map[string]any{"k": 1.0},
		map[string]any{"k": map[string]any{}},
		map[string]any{"": ""},
		entries(32), entries(33), entries(64), entries(65),
		map[string]any{strings.Repeat("k", 64): strings.Repeat("v", 1024)},
		map[string]any{strings.Repeat("k", 65): "v"},
		map[string]any{"k": strings.Repeat("v", 1025)},
		map[string]any{strings.Repeat("ü", 33): "v"},
		map[string]any{"k": strings.Repeat("ü", 513)},
	}
}

// agree fails unless schema and decoder say the same of the value.
func agree(t *testing.T, v *schemas.Validator, k schemas.Kind, value []byte) (accepted bool) {
	t.Helper()
	if len(value) == 0 && (k == schemas.KindItemUpdated || k == schemas.KindItemWithdrawn) {
		return false // a tombstone, which is no JSON and withdraws the item
	}
	bySchema := v.Validate(k, value)
	_, byDecoder := decodeAs(k, value)
	if (bySchema == nil) != (byDecoder == nil) {
		t.Fatalf("%s: %s\nschema:  %v\ndecoder: %v", k, value, bySchema, byDecoder)
	}
	_, byGateway := v.Read(schemas.Envelope{Kind: k}, value)
	if (bySchema == nil) != (byGateway == nil) {
		t.Fatalf("%s: %s\nschema:  %v\ngateway: %v", k, value, bySchema, byGateway)
	}
	return bySchema == nil
}

func TestDecodersAgreeWithSchemas(t *testing.T) {
	t.Parallel()
	v := validator(t)
	accepted, refused := 0, 0
	check := func(k schemas.Kind, value any) {
		b, ok := value.([]byte)
		if !ok {
			var err error
			b, err = json.Marshal(value)
			require.NoError(t, err)
		}
		if agree(t, v, k, b) {
			accepted++
		} else {
			refused++
		}
	}
	for _, k := range schemas.WritableKinds() {
		base := base(t, k)
		full, err := json.Marshal(base)
		require.NoError(t, err)
		require.True(t, agree(t, v, k, full), "the base of %s is valid", k)
		for field := range base {
			changed := func(change func(m map[string]any)) {
				m := map[string]any{}
				for f, x := range base {
					m[f] = x
				}
				change(m)
				check(k, m)
			}
			changed(func(m map[string]any) { delete(m, field) })
			changed(
				func(m map[string]any) { m[strings.ToUpper(field)] = m[field]; delete(m, field) },
			)
			for _, x := range odd() {
				changed(func(m map[string]any) { m[field] = x })
				if field == "value" {
					for _, a := range append(schemas.DefaultActions().Names(), "stare") {
						changed(func(m map[string]any) { m[field], m["action"] = x, a })
					}
				}
			}
		}
		for _, text := range []string{
			"", " ", "null", "[]", "{}", "1", `"x"`, "{", string(full[:len(full)-1]),
			string(full) + "x", " " + string(full) + "\n", string(full) + string(full),
			"\xef\xbb\xbf" + string(full),
			strings.Replace(string(full), `"e"`, `"\ud800"`, 1),
			strings.Replace(string(full), `"e"`, "\"\xff\"", 1),
			strings.Replace(string(full), `"e"`, `"\u0065"`, 1),
			strings.Replace(string(full), `"e"`, `"\u0007"`, 1),
			strings.Replace(string(full), `"user_id"`, `"user\u005fid"`, 1),
			strings.Replace(string(full), `"e"`, `"e","event_id":"e"`, 1),
			strings.Replace(string(full), `00Z"`, `00\u005a"`, 1),
			strings.Replace(string(full), `4.5`, `1e400`, 1),
			strings.Replace(string(full), `4.5`, `1e-400`, 1),
			strings.Replace(string(full), `4.5`, `0.49999999999999999999999`, 1),
			strings.Replace(string(full), `1.5`, `1e400`, 1),
		} {
			check(k, []byte(text))
		}
	}
	t.Logf("%d values accepted by both, %d refused by both", accepted, refused)
	require.Greater(t, accepted, 300)
	require.Greater(t, refused, 1000)
}

func FuzzDecodersAgreeWithSchemas(f *testing.F) {
	kinds := schemas.WritableKinds()
	for i, k := range kinds {
		b, err := json.Marshal(base(f, k))
		require.NoError(f, err)
		f.Add(i, b)
	}
	v := validator(f)
	f.Fuzz(func(t *testing.T, i int, value []byte) {
		k := kinds[uint(i)%uint(len(kinds))]
		if repeated(value) {
			t.Skip("what a name means that stands twice inside a field is not defined")
		}
		if !agree(t, v, k, value) {
			return
		}
		// What was accepted is written the same way however often it is read.
		x, err := decodeAs(k, value)
		require.NoError(t, err)
		first := x.Record()
		if bytes.Contains(first.Value, []byte("client_time")) {
			return // a time ahead of the log, which no decoder reads
		}
		y, err := decodeAs(k, first.Value)
		require.NoError(t, err, "%s", first.Value)
		_, _, at := y.Identity()
		_, _, was := x.Identity()
		*at = *was
		again := y.Record()
		require.Equal(t, string(first.Value), string(again.Value))
		require.Equal(t, first.Key, again.Key)
	})
}

// repeated tells whether a name stands twice in one object, at any depth.
func repeated(value []byte) bool {
	d := json.NewDecoder(bytes.NewReader(value))
	type object struct {
		names map[string]bool
		name  bool // a name comes next
	}
	var stack []object
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if top := len(stack) - 1; top >= 0 && stack[top].names != nil && token != json.Delim('}') {
			if stack[top].name {
				name, _ := token.(string)
				if stack[top].names[name] {
					return true
				}
				stack[top].names[name] = true
			}
			stack[top].name = !stack[top].name
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, object{names: map[string]bool{}, name: true})
		case json.Delim('['):
			stack = append(stack, object{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
	}
}

func TestProblemsAreForPeople(t *testing.T) {
	t.Parallel()
	v := validator(t)
	cases := []struct {
		name  string
		kind  schemas.Kind
		value string
		want  []schemas.Problem
	}{
		{
			"missing", schemas.KindInteraction, `{"user_id":"u"}`,
			[]schemas.Problem{{"item_id", "is missing"}, {"action", "is missing"}},
		},
		{
			"type", schemas.KindInteraction, `{"user_id":7,"item_id":"i","action":"view"}`,
			[]schemas.Problem{{"user_id", "is a JSON number, want a string"}},
		},
		{
			"action", schemas.KindInteraction, `{"user_id":"u","item_id":"i","action":"stare"}`,
			[]schemas.Problem{
				{
					"action",
					`is "stare", want one of "view", "click", "like", "dislike", "rate", ` +
						`"add_to_cart", "purchase", "watch", "skip", "hide", "impression"`,
				},
			},
		},
		{
			"rate", schemas.KindInteraction, `{"user_id":"u","item_id":"i","action":"rate"}`,
			[]schemas.Problem{{"value", "is missing"}},
		},
		{
			"watch", schemas.KindInteraction,
			`{"user_id":"u","item_id":"i","action":"watch","value":2}`,
			[]schemas.Problem{{"value", "is 2, want at most 1"}},
		},
		{
			"time", schemas.KindInteraction,
			`{"user_id":"u","item_id":"i","action":"view","occurred_at":"yesterday"}`,
			[]schemas.Problem{
				{
					"occurred_at",
					`is "yesterday", want an RFC 3339 time such as 2026-03-01T20:15:00Z`,
				},
			},
		},
		{
			"epoch", schemas.KindInteraction,
			`{"user_id":"u","item_id":"i","action":"view","occurred_at":"1960-01-01T00:00:00Z"}`,
			[]schemas.Problem{
				{"occurred_at", "1960-01-01T00:00:00Z is before 1970-01-02"},
			},
		},
		{
			"bytes", schemas.KindInteraction,
			`{"user_id":"` + strings.Repeat("ü", 200) + `","item_id":"i","action":"view"}`,
			[]schemas.Problem{{"user_id", "is 400 bytes long, at most 256 are kept"}},
		},
		{
			"deep", schemas.KindItemUpdated, `{"item_id":"i","title":"t","genres":["a","",3]}`,
			[]schemas.Problem{
				{"genres.1", "is empty"}, {"genres.2", "is a JSON number, want a string"},
			},
		},
		{
			"pair", schemas.KindFriendshipAdded, `{"user_id":"u","friend_id":"u"}`,
			[]schemas.Problem{{"", `"user_id" and "friend_id" are the same person`}},
		},
		{
			"syntax", schemas.KindUserUpdated, `{"user_id":}`,
			[]schemas.Problem{
				{
					"",
					"the value is not JSON: invalid character '}' looking for beginning of " +
						"value at byte 12",
				},
			},
		},
		{
			"twice", schemas.KindUserUpdated, `{"user_id":"u","user_id":"v"}`,
			[]schemas.Problem{{"", `field "user_id" stands twice`}},
		},
		{
			"range", schemas.KindUserUpdated,
			`{"user_id":"u","attributes":{"d":[1,{"e":-2E400}],"c":1E400,"b":1e-400}}`,
			[]schemas.Problem{
				{"attributes.c", "is 1E400, which is out of range"},
				{"attributes.d.1.e", "is -2E400, which is out of range"},
			},
		},
		{
			"range of a field", schemas.KindInteraction,
			`{"user_id":"u","item_id":"i","action":"rate","value":1E400}`,
			[]schemas.Problem{{"value", "is 1E400, which is out of range"}},
		},
		{
			"array", schemas.KindUserUpdated, `[]`,
			[]schemas.Problem{{"", "the value is a JSON array, want an object"}},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := v.Validate(c.kind, []byte(c.value))
			var invalid *schemas.Invalid
			require.ErrorAs(t, err, &invalid)
			require.Equal(t, c.want, invalid.Problems)
		})
	}
	require.ErrorContains(t, v.Validate("no.such.v1", []byte(`{}`)), `kind "no.such.v1" is unknown`)
	_, err := v.Read(schemas.Envelope{Kind: schemas.KindRecommendation}, []byte(`{}`))
	require.ErrorContains(t, err, `"kind" is "recommendation.served.v1", want one of`)
}

func TestWhatWeWriteFitsItsSchema(t *testing.T) {
	t.Parallel()
	v := validator(t)
	list := schemas.Recommendation{
		UserID: "u", RecommendationID: "r", Strategy: schemas.StrategyPersonal, Version: 3,
		GeneratedAt: time.Unix(1e9, 0), ExpiresAt: time.Unix(2e9, 0),
		CausedBy: schemas.CausedBy{Trigger: "request"},
		Items: []schemas.RecommendedItem{
			{ItemID: "i", Rank: 1, Score: 0.5, Reason: "because", Source: "vectors"},
		},
	}
	require.NoError(
		t, v.Validate(schemas.KindRecommendation, list.Message(schemas.TopicRecommendations).Value),
	)
	require.NoError(
		t,
		v.Validate(
			schemas.KindRecommendation,
			(&schemas.Recommendation{
				UserID: "u", RecommendationID: "r", CausedBy: schemas.CausedBy{Trigger: "event"},
			}).Message("t").Value,
		),
	)
	trending := schemas.Trending{
		ComputedAt: time.Unix(1e9, 0), HalfLife: "6h0m0s",
		Items: []schemas.TrendingItem{{ItemID: "i", Score: 2}},
	}
	require.NoError(t, v.Validate(schemas.KindTrendingComputed, trending.Message().Value))
	for _, k := range schemas.PublicKinds() {
		raw, ok := schemas.JSONSchema(k)
		require.True(t, ok)
		var doc struct {
			Examples []json.RawMessage `json:"examples"`
		}
		require.NoError(t, json.Unmarshal(raw, &doc))
		require.NotEmpty(t, doc.Examples, k)
		for _, e := range doc.Examples {
			require.NoError(t, v.Validate(k, e), "%s's own example", k)
		}
	}
	_, ok := schemas.JSONSchema(schemas.KindProfileChanged)
	require.False(t, ok)
}

const sample = `{"event_id":"0190f5d2-7c0e-7c1a-9f3e-3f2f5b1c7a10","user_id":"user-123456",` +
	`"item_id":"item-98765","action":"rate","value":4.5,"occurred_at":"2026-03-01T20:15:00Z",` +
	`"session_id":"s-1"}`

func BenchmarkDecodeInteraction(b *testing.B) {
	env := schemas.Envelope{
		ID: "0190f5d2-7c0e-7c1a-9f3e-3f2f5b1c7a10", Source: "bench", Kind: schemas.KindInteraction,
		Time: time.Unix(1e9, 0),
	}
	r := &record.Record{
		Topic: schemas.TopicInteractions, Value: []byte(sample),
		Headers: env.Headers(schemas.ContentTypeJSON),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schemas.DecodeInteraction(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	v := validator(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Validate(schemas.KindInteraction, []byte(sample)); err != nil {
			b.Fatal(err)
		}
	}
}
