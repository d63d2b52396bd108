package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/deadletter"
)

func TestRequestsThatAreNotUTF8AreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, tc := range []struct{ method, target, body, want string }{
		{"GET", "/v1/users/caf%E9/recommendations", "", "byte 14 is 0xe9"},
		{"GET", "/v1/users/%ED%A0%80/recommendations", "", "byte 11 is 0xed"},
		{"GET", "/v1/users/u/recommendations?exclude=heat&exclude=caf%E9", "", "byte 4 is 0xe9"},
		{"GET", "/v1/users/u/recommendations?genre=%FF", "", "byte 1 is 0xff"},
		{"GET", "/v1/users/u/recommendations?caf%E9=1", "", "byte 4 is 0xe9"},
		{"GET", "/v1/users/u/recommendations?exclude=%zz", "", "invalid URL escape"},
		{"GET", "/v1/users/caf%E9/friends/suggestions", "", "byte 14 is 0xe9"},
		{"GET", "/v1/items/caf%E9/similar", "", "byte 14 is 0xe9"},
		{"GET", "/v1/trending?genre=caf%E9", "", "byte 4 is 0xe9"},
		{"GET", "/v1/poison?reason=caf%E9", "", "byte 4 is 0xe9"},
		{"GET", "/v1/poison/caf%E9", "", "byte 15 is 0xe9"},
		{"DELETE", "/v1/users/caf%E9", "", "byte 14 is 0xe9"},
		{"PUT", "/v1/items/caf%E9", `{"title":"T"}`, "byte 14 is 0xe9"},
		{"POST", "/v1/poison/drop", `{"reason":"caf` + "\xe9" + `"}`, "byte 15 is 0xe9"},
		{"POST", "/v1/poison/replay", `{"all":true,"note":"\ud800"}`, `\ud800 at byte 21`},
	} {
		w := f.do(t, tc.method, tc.target, tc.body)
		require.Equal(t, http.StatusBadRequest, w.Code, tc.target+": "+w.Body.String())
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), tc.target)
		refusal := decode[struct {
			Detail string
			Errors []struct{ Message string }
		}](t, w)
		for _, e := range refusal.Errors {
			refusal.Detail += ": " + e.Message
		}
		require.Contains(t, refusal.Detail, tc.want, tc.target)
	}
	require.Empty(t, f.emitter.taken)
	require.Empty(t, f.letters.note)
	w := f.do(t, "GET", "/v1/users/M%C3%BCller/recommendations?exclude=%F0%9F%98%80", "")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Body.String(), `"user_id":"Müller"`)
}

func TestDeadLettersThatAreNotUTF8AreShownInHexadecimal(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.letters.all = []deadletter.Letter{{
		ID: "d1d1", Group: "embed", Key: []byte("M\xfcller"),
		Value: []byte(`{"user_id":"M` + "\xfc" + `ller"}`),
	}}
	w := f.do(t, "GET", "/v1/poison/d1d1", "")
	require.Equal(t, 200, w.Code)
	require.True(t, utf8.Valid(w.Body.Bytes()))
	shown := decode[map[string]json.RawMessage](t, w)
	require.JSONEq(t, `"0x4dfc6c6c6572"`, string(shown["key"]))
	require.NotContains(t, shown, "value")
	require.JSONEq(t, `"7b22757365725f6964223a224dfc6c6c6572227d"`, string(shown["value_hex"]))
}
