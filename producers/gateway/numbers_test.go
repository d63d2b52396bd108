package gateway_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/emittest"
	"github.com/slipstream-rec/slipstream/schemas"
)

// An integer above 2^53 came to the log as another one: 76561197980428154 as 76561197980428150.
func TestNumbersInAttributesReachTheLogAsTheyWereSent(t *testing.T) {
	t.Parallel()
	const (
		numbers = `"attributes":{"price":1.10,"steam":[76561197980428154,12345678901234567890123]}`
		user    = `{"user_id":"u",` + numbers + `}`
		kind    = string(schemas.KindUserUpdated)
		head    = `{"specversion":"1.0","id":"1","source":"s","type":"` + kind + `",`
	)
	cloud := head + `"data":` + user + `}`
	for name, c := range map[string]call{
		"user":  {http.MethodPut, "/v1/users/u", "{" + numbers + "}", nil},
		"item":  {http.MethodPut, "/v1/items/i", `{"title":"T",` + numbers + "}", nil},
		"plain": post("application/json", `{"kind":"`+kind+`",`+user[1:]),
		"array": post("application/json", `[{"kind":"`+kind+`",`+user[1:]+`]`),
		"lines": post("application/x-ndjson", `{"kind":"`+kind+`",`+user[1:]),
		"cloud": post("application/cloudevents+json", cloud),
		"batch": post("application/cloudevents-batch+json", "["+cloud+"]"),
		"base64": post(
			"application/cloudevents+json", head+
				`"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(user))+`"}`,
		),
		"binary": {http.MethodPost, "/v1/events", user, map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "1",
			"ce-source": "s", "ce-type": kind,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &emittest.Log{}
			w := c.do(openGateway(t, log, nil).Handler())
			require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
			require.Contains(t, string(log.Messages()[0].Value), numbers)
		})
	}
}
