package stream

import (
	"slices"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// maxMetadata is what a broker keeps with a committed offset, by default.
const maxMetadata = 4096

// without returns the intent with further offsets excluded.
func without(in record.Intent, offsets []int64) (record.Intent, error) {
	all := slices.Concat(in.Excluded, offsets)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > 0 && (all[0] < in.First || all[len(all)-1] > in.Last) {
		return in, fault.Permanentf("exclude offsets %d…%d: not within the batch %d-%d",
			all[0], all[len(all)-1], in.First, in.Last)
	}
	out := record.Intent{First: in.First, Last: in.Last, Excluded: all, Begun: in.Begun}
	if n := len(out.String()); n > maxMetadata {
		return in, fault.Permanentf(
			"exclude %d records of %d-%d: the list needs %d bytes, a commit "+
				"holds %d; use smaller batches",
			len(all),
			in.First,
			in.Last,
			n,
			maxMetadata,
		)
	}
	return out, nil
}
