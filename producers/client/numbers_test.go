package client_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/producers/client"
	"github.com/slipstream-rec/slipstream/schemas"
)

func TestNumbersInAttributesReachTheLogAsTheyWereSent(t *testing.T) {
	t.Parallel()
	l := &log{}
	c := start(t, overHTTP(t, l), client.Config{})
	require.NoError(t, c.Send(t.Context(), &schemas.Item{
		ItemID: "i", Title: "T", Attributes: map[string]any{
			"a": int64(76561197980428154), "b": uint64(1<<64 - 1), "c": json.Number("1.10"),
		},
	}))
	require.Contains(
		t, string(l.batches[0][0].Value),
		`"attributes":{"a":76561197980428154,"b":18446744073709551615,"c":1.10}`,
	)
}
