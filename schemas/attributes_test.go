package schemas_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// numbers are attributes whose digits a float64 does not keep.
const numbers = `{"big":123456789012345678901234567890,"exp":1E5,"list":[9007199254740993,` +
	`{"deep":-9223372036854775808}],"price":1.10,"small":0.1000000000000000055,` +
	`"steam":76561197980428154,"zero":-0}`

func TestNumbersInAttributesKeepTheirDigits(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for kind, value := range map[schemas.Kind]string{
		schemas.KindItemUpdated:   `{"item_id":"i","title":"T","attributes":` + numbers + `}`,
		schemas.KindItemWithdrawn: `{"item_id":"i","attributes":` + numbers + `}`,
		schemas.KindUserUpdated:   `{"user_id":"u","attributes":` + numbers + `}`,
	} {
		cloud, err := schemas.FormatCloudEvent(
			schemas.Envelope{ID: "1", Source: "s", Kind: kind}, []byte(value),
		)
		require.NoError(t, err)
		read := map[string]func() (schemas.Event, error){
			"an entry point": func() (schemas.Event, error) {
				return v.Read(schemas.Envelope{Kind: kind}, []byte(value))
			},
			"a CloudEvent": func() (schemas.Event, error) {
				x, _, err := v.ReadJSON(cloud)
				return x, err
			},
			"a plain value": func() (schemas.Event, error) {
				x, _, err := v.ReadJSON([]byte(`{"kind":"` + string(kind) + `",` + value[1:]))
				return x, err
			},
			"the log": func() (schemas.Event, error) { return decodeAs(kind, []byte(value)) },
		}
		for way, read := range read {
			x, err := read()
			require.NoError(t, err, way)
			for range 2 { // what was written is read and written again
				m := x.Record()
				require.Contains(t, string(m.Value), `"attributes":`+numbers, "%s of %s", kind, way)
				x, err = decodeAs(kind, m.Value)
				require.NoError(t, err)
			}
		}
	}
	// Stores and consumers read the types with encoding/json.
	var item schemas.Item
	require.NoError(t, json.Unmarshal([]byte(`{"attributes":`+numbers+`}`), &item))
	b, err := json.Marshal(item.Attributes)
	require.NoError(t, err)
	require.Equal(t, numbers, string(b)) //nolint:testifylint // byte for byte: JSONEq rounds
	require.NoError(t, json.Unmarshal([]byte(`{"attributes":null}`), &item))
	require.Nil(t, item.Attributes)
}

func TestNumbersInAttributesThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, number := range []string{"1e400", "-1e309", strings.Repeat("9", 400)} {
		value := []byte(`{"user_id":"u","attributes":{"deep":[` + number + `]}}`)
		_, err := schemas.DecodeUser(&record.Record{Time: time.Unix(1e9, 0), Value: value})
		require.ErrorContains(t, err, `"attributes.deep.0" is `+number[:3])
		require.Error(t, v.Validate(schemas.KindUserUpdated, value), "the schema says the same")
	}
	for _, number := range []json.Number{"12x", "0x10", "Inf", "NaN", "1e400"} {
		user := schemas.User{UserID: "u", Attributes: map[string]any{"n": number}}
		require.Error(t, user.Validate(), "%q", number)
	}
	require.NoError(t, (&schemas.User{UserID: "u", Attributes: map[string]any{
		"a": json.Number("76561197980428154"), "b": uint64(1<<63 + 1), "c": int64(-1 << 63),
		"d": map[string]any{"e": json.Number("1e-400")},
	}}).Validate())
}
