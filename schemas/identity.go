package schemas

import (
	"encoding/json"
	"fmt"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KeepsIdentity returns an error if a corrected record of an application's kind is another event
// than the one that it corrects, or says so without effect: its id or its source differs. Where the
// original states one that is no id, any other is fine.
func KeepsIdentity(original, corrected *record.Record) error {
	for _, part := range []struct{ header, field, attribute string }{
		{HeaderID, "event_id", "id"}, {HeaderSource, "source", "source"},
	} {
		field, was := identityField(original, part.field, part.attribute)
		_, is := identityField(corrected, part.field, part.attribute)
		header := original.Header(part.header)
		if isStructured(original) {
			header = ""
		}
		var now, before string
		if json.Unmarshal(is, &now) != nil || string(is) == string(was) {
			continue // the decoder refuses it, or it is as it was
		}
		if header == "" && json.Unmarshal(was, &before) != nil || id(field, before, false) != nil {
			continue // this is what was wrong
		}
		switch {
		case header != "" && now != "" && now != header:
			return fmt.Errorf("%q would be %q, without effect: the header %s says %q. A "+
				"correction is the same event", field, truncate(now, 64), part.header, header)
		case header == "" && now != before:
			return fmt.Errorf("%q would be %q instead of %q: a correction is the same event, so "+
				"that of the two one counts", field, truncate(now, 64), before)
		}
	}
	return nil
}

// identityField returns the name of the field of a record's value that holds its id or source, and
// what it holds: an empty text for nothing, nil where the value is no JSON object.
func identityField(r *record.Record, field, attribute string) (string, json.RawMessage) {
	if isStructured(r) {
		field = attribute
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.Value, &fields) != nil || fields == nil {
		return field, nil
	}
	if v, ok := fields[field]; ok && string(v) != "null" {
		return field, v
	}
	return field, json.RawMessage(`""`)
}
