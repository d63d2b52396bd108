package deadletter

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples of RFC 7396, appendix A, whose target and patch are objects.
func TestMergePatch(t *testing.T) {
	t.Parallel()
	for _, x := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		c := Correction{Patch: []byte(x[1])}
		got, err := c.applyTo([]byte(x[0]))
		require.NoError(t, err)
		assert.JSONEq(t, x[2], string(got), "%s with %s", x[0], x[1])
	}
}

// What a patch does not name keeps its bytes.
func TestMergePatchKeepsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	c := Correction{Patch: []byte(`{"action":"like"}`)}
	got, err := c.applyTo([]byte(`{"action":"lik","value":12345678901234567890,"t":"<\ud800>"}`))
	require.NoError(t, err)
	const want = `{"action":"like","t":"<\ud800>","value":12345678901234567890}`
	require.True(t, bytes.Equal([]byte(want), got), "%s", got)
	for _, value := range []string{"{\"user_id\":\"M\xfcller\"}", "[1]", "", "{"} {
		_, err := c.applyTo([]byte(value))
		require.ErrorContains(t, err, "as a whole", "%q", value)
	}
	for _, c := range []Correction{
		{Value: []byte("1"), Patch: []byte("{}")}, {Patch: []byte("[1]")},
	} {
		require.ErrorIs(t, c.check(1), ErrCorrection)
	}
	whole := Correction{Value: []byte("1")}
	require.NoError(t, whole.check(1))
	require.ErrorIs(t, whole.check(2), ErrCorrection, "one value does not fit two events")
}

func TestReasonsAreFoundByWholeWords(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		words string
		want  bool
	}{
		{"lik", false},
		{"like", true},
		{"LIKE", true},
		{`"action"`, true},
		{`action" "unlike`, false},
		{"unlikely", true},
		{"is not one", true},
		{"is not on", false},
		{"", true},
		{"größe", true},
		{"gr", false},
	} {
		got := hasWords(`"action" "unlikely" is not one of: like, größe`, x.words)
		assert.Equal(t, x.want, got, x.words)
	}
}
