package schemas

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/slipstream-rec/slipstream/stream/record"
)

//go:embed renamed.json
var renamedJSON []byte

// Renamed returns the names that topics and groups had in an older version. An installation that
// has the old topics keeps them, and its groups are moved to the new names.
func Renamed() record.Renamed {
	var r record.Renamed
	if err := json.Unmarshal(renamedJSON, &r); err != nil {
		panic(fmt.Sprintf("schemas/renamed.json: %v", err)) // it is embedded, and a test reads it
	}
	return r
}
