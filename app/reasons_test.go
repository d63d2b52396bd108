package app_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
)

// shownList is what a person sees of a list.
type shownList struct {
	Variant string
	Items   []struct {
		ItemID string `json:"item_id"`
		Title  string
		Reason string
	}
	Notes []struct{ Code, Message string }
}

// reasons are the reasons of a list, by titles.
func (l shownList) reasons() map[string]string {
	out := make(map[string]string)
	for _, x := range l.Items {
		out[x.Title] = x.Reason
	}
	return out
}

// see asks for a list as an application does.
func see(t *testing.T, in *apptest.Installation, path string) (l shownList) {
	t.Helper()
	code, body := in.Call(t, http.MethodGet, path, nil)
	require.Equal(t, http.StatusOK, code, string(body))
	require.NoError(t, json.Unmarshal(body, &l))
	return l
}

// cinema has films of two genres, a rating of one and one of five stars by each of three people, a
// film that was left after two minutes, and a page that was viewed.
func cinema(t *testing.T, change func(*config.Config)) *apptest.Installation {
	t.Helper()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), func(c *config.Config) {
		c.Recommend.HoldoutShare = 0
		if change != nil {
			change(c)
		}
	})
	send := func(method, path string, body map[string]any) {
		code, answer := in.Call(t, method, path, body)
		require.Equal(t, http.StatusAccepted, code, string(answer))
	}
	for genre, titles := range map[string][]string{
		"Horror": {"Halloween", "The Shining", "The Exorcist", "Carrie", "It", "Ringu"},
		"Comedy": {"Airplane!", "Top Secret!", "Clue", "Big", "Tootsie", "Hot Shots!"},
	} {
		for _, title := range titles {
			send(http.MethodPut, "/v1/items/"+itemOf(title), map[string]any{
				"title": title, "genres": []string{genre},
			})
		}
	}
	in.AwaitIdle(t, time.Minute)
	event := func(user, title, action string, more map[string]any) {
		x := map[string]any{"user_id": user, "item_id": itemOf(title), "action": action}
		maps.Copy(x, more)
		send(http.MethodPost, "/v1/events", x)
	}
	for n, title := range []string{"Halloween", "The Shining", "The Exorcist"} {
		event("ann", title, "rate", map[string]any{"value": 1 + float64(n)/2})
	}
	event("eve", "Big", "watch", map[string]any{"value": 0.02})
	event("kim", "Clue", "view", nil)
	event("bob", "It", "rate", map[string]any{"value": 0.5})
	event("bob", "Tootsie", "rate", map[string]any{"value": 5})
	send(http.MethodPut, "/v1/users/joe/friends/bob", map[string]any{})
	in.AwaitIdle(t, time.Minute)
	return in
}

// itemOf is the id of a film.
func itemOf(title string) string { return strings.ReplaceAll(title, " ", "-") }

func listOf(user string) string {
	return fmt.Sprintf("/v1/users/%s/recommendations?n=50", user)
}

// Reasons name only what was liked, watched or viewed: not one star, nor a film that was left.
func TestReasonsAreTrue(t *testing.T) {
	t.Parallel()
	in := cinema(t, nil)
	for _, user := range []string{"ann", "eve"} {
		l := see(t, in, listOf(user))
		require.NotEmpty(t, l.Items, user)
		for title, reason := range l.reasons() {
			require.NotContains(t, reason, "because you", "%s for %s", title, user)
		}
	}
	for title, reason := range see(t, in, listOf("kim")).reasons() {
		require.NotContains(t, reason, "watched", "%s for who viewed a page", title)
		require.NotContains(t, reason, "liked", "%s for who viewed a page", title)
	}
	require.NotContains(t, see(t, in, listOf("joe")).reasons()["It"], "a friend", "half a star")
	require.Equal(
		t, map[string]string{"Tootsie": "a friend liked it"},
		see(t, in, listOf("joe")+"&scenario=friends").reasons(), "what a friend likes",
	)
}

// Who has only friends is told that, and nobody wonders why a list is empty or does not change.
func TestListsSayWhatOneMayWonder(t *testing.T) {
	t.Parallel()
	in := cinema(t, nil)
	l := see(t, in, listOf("joe"))
	require.NotEmpty(t, l.Items)
	for title, reason := range l.reasons() {
		require.NotContains(t, reason, "your taste", title)
	}
	l = see(t, in, listOf("kim")+"&genre=Horrror")
	require.Empty(t, l.Items)
	require.Len(t, l.Notes, 1)
	require.Equal(t, "unknown_genre", l.Notes[0].Code)
	require.Contains(t, l.Notes[0].Message, `"Horrror"`)
}

// A hold-out person's likes change nothing, and the list says so.
func TestHoldOutListsSayThatTheyAre(t *testing.T) {
	t.Parallel()
	in := cinema(t, func(c *config.Config) { c.Recommend.HoldoutShare = 1 })
	l := see(t, in, listOf("kim"))
	require.Equal(t, "holdout", l.Variant)
	require.NotEmpty(t, l.Notes)
	require.Equal(t, "holdout", l.Notes[0].Code)
}
