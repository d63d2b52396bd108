package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/producers/client"
	"github.com/slipstream-rec/slipstream/schemas"
)

func TestEventsThatAreNotUTF8AreNamedAndNotSent(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]func(*log) client.Transport{
		"HTTP":     func(l *log) client.Transport { return overHTTP(t, l) },
		"straight": func(l *log) client.Transport { return l },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &log{}
			c := start(t, transport(l), client.Config{})
			err := c.Send(
				t.Context(),
				viewOf("caf\xe9"),
				viewOf("café"),
				&schemas.Item{ItemID: "i", Title: "caf\xe9"},
				&schemas.User{UserID: "u", Attributes: map[string]any{"city": "Gen\xe8ve"}},
			)
			var refused *client.SendError
			require.ErrorAs(t, err, &refused)
			places := map[int]string{}
			for _, f := range refused.Failed {
				places[f.Index] = f.Err.Error()
				require.False(t, f.Temporary)
			}
			require.Len(t, places, 3)
			require.Contains(t, places[0], `"item_id" is not UTF-8: byte 4 is 0xe9`)
			require.Contains(t, places[2], `"title" is not UTF-8: byte 4 is 0xe9`)
			require.Contains(t, places[3], `"attributes.city" is not UTF-8: byte 4 is 0xe8`)
			require.Equal(t, []string{"café"}, l.items())
		})
	}
}
