package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/emittest"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Two people whose names differ in Latin-1 were one person on the log, and erasing one of them
// erased both.
func TestWhatIsNotUTF8IsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	const (
		bad   = `{"user_id":"M` + "\xfc" + `ller","item_id":"i1","action":"view"}`
		lone  = `{"user_id":"M\udc00ller","item_id":"i1","action":"view"}`
		place = "is not UTF-8: byte 14 is 0xfc"
	)
	cloud := func(data string) string {
		return `{"specversion":"1.0","id":"1","source":"s","type":"interaction.recorded.v1",` +
			`"data":` + data + `}`
	}
	binary := func(name, value, body string) call {
		h := map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "1",
			"ce-source": "shop", "ce-type": "interaction.recorded.v1",
		}
		h[name] = value
		return call{http.MethodPost, "/v1/events", body, h}
	}
	put := func(path, body string) call { return call{http.MethodPut, path, body, nil} }
	erase := func(path string) call { return call{http.MethodDelete, path, "", nil} }
	cases := []struct {
		name string
		call call
		want string
	}{
		{"plain", post("application/json", bad), place},
		{"no content type", call{http.MethodPost, "/v1/events", bad, nil}, place},
		{"array", post("application/json", "["+bad+"]"), place},
		{"ndjson", post("application/x-ndjson", bad+"\n"), place},
		{"lone surrogate", post("application/json", lone), `lone surrogate: \udc00 at byte 14`},
		{"structured", post("application/cloudevents+json", cloud(bad)), "byte 97 is 0xfc"},
		{
			"structured surrogate", post("application/cloudevents+json", cloud(lone)),
			`\udc00 at byte 97`,
		},
		{
			"batch", post("application/cloudevents-batch+json", "["+cloud(bad)+"]"),
			"byte 97 is 0xfc",
		},
		{"binary", binary("ce-subject", "", bad), place},
		{"binary id", binary("ce-id", "caf\xe9", viewed), `"id" is not UTF-8: byte 4 is 0xe9`},
		{"binary source", binary("ce-source", "caf%E9", viewed), `"source" is not UTF-8: byte 4`},
		{
			"item", put("/v1/items/caf%E9", `{"title":"T"}`),
			`"item_id" in the path is not UTF-8: byte 4`,
		},
		{"item body", put("/v1/items/i", `{"title":"caf`+"\xe9"+`"}`), "byte 14 is 0xe9"},
		{"item body, surrogate", put("/v1/items/i", `{"title":"\ud83d"}`), `\ud83d at byte 11`},
		{
			"item body, name", put("/v1/items/i", `{"caf`+"\xe9"+`":1,"title":"T"}`),
			"byte 6 is 0xe9",
		},
		{"withdrawal", erase("/v1/items/caf%E9"), "byte 4 is 0xe9"},
		{"user", put("/v1/users/M%FCller", `{}`), "byte 2 is 0xfc"},
		{
			"erasure", erase("/v1/users/M%F6ller"),
			`"user_id" in the path is not UTF-8: byte 2 is 0xf6`,
		},
		{"friend", put("/v1/users/u/friends/M%FCller", ""), `"friend_id" in the path`},
		{"friend of", put("/v1/users/M%FCller/friends/u", ""), `"user_id" in the path`},
		{"no friend", erase("/v1/users/u/friends/%ED%A0%80"), "byte 1 is 0xed"},
		{
			"idempotency key",
			call{
				http.MethodDelete, "/v1/users/u", "",
				map[string]string{"Idempotency-Key": "\xe9"},
			},
			`"event_id" is not UTF-8: byte 1 is 0xe9`,
		},
	}
	for _, c := range cases {
		for router, mount := range routers(t) {
			t.Run(c.name+" "+router, func(t *testing.T) {
				t.Parallel()
				log := &emittest.Log{}
				w := c.call.do(mount(log))
				require.Equal(t, http.StatusBadRequest, w.Code, w.Body.String())
				require.Contains(t, answer(t, w).Detail, c.want)
				require.Empty(t, log.Messages(), "nothing is on the log")
			})
		}
	}
	t.Run("the others of a request are taken", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{}
		w := post("application/x-ndjson", viewed+"\n"+bad+"\n"+viewed).do(
			openGateway(t, log, nil).Handler(),
		)
		require.Equal(t, http.StatusMultiStatus, w.Code)
		a := answer(t, w)
		require.Equal(t, 2, a.Accepted)
		require.Equal(t, 1, a.Errors[0].Index)
		require.Contains(t, a.Errors[0].Reason, place)
	})
	t.Run("a traceparent is left out", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{}
		w := binary("traceparent", "00-\xff", viewed).do(openGateway(t, log, nil).Handler())
		require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
		require.Empty(t, written(log.Messages()[0]).Header(schemas.HeaderTrace))
	})
	t.Run("text in UTF-8 is taken as it is", func(t *testing.T) {
		t.Parallel()
		log := &emittest.Log{}
		h := openGateway(t, log, nil).Handler()
		for _, c := range []call{
			put("/v1/users/M%C3%BCller", `{}`), erase("/v1/users/M%EF%BF%BDller"),
			post("application/json", strings.Replace(viewed, "u1", `\ud83d\ude00`, 1)),
		} {
			require.Equal(t, http.StatusAccepted, c.do(h).Code)
		}
		var keys []string
		for _, m := range log.Messages() {
			keys = append(keys, string(m.Key))
		}
		require.Equal(t, []string{"Müller", "M\ufffdller", "😀"}, keys)
	})
}

// routers mounts a gateway in each way that there is.
func routers(t *testing.T) map[string]func(*emittest.Log) http.Handler {
	return map[string]func(*emittest.Log) http.Handler{
		"mux": func(log *emittest.Log) http.Handler { return openGateway(t, log, nil).Handler() },
		"chi": func(log *emittest.Log) http.Handler {
			r := chi.NewRouter()
			openGateway(t, log, nil).Register(r)
			return r
		},
	}
}
