package record

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Müller", Readable([]byte("Müller")))
	require.Equal(t, "0x4dfc6c6c6572", Readable([]byte("M\xfcller")))
	require.Empty(t, Readable(nil))
	require.True(t, IsJSON([]byte(`{"a":"ü"}`)))
	require.False(t, IsJSON([]byte(`{"a":"`+"\xfc"+`"}`)), "encoding/json alone accepts this")
	require.False(t, IsJSON([]byte(`{`)))
}
