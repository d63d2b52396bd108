package qdrant

import (
	"maps"
	"slices"

	pb "github.com/qdrant/go-client/qdrant"
)

// boundSet collects points with a bound each, and becomes the conditions under which each of them
// is below its own: one call then serves points with different bounds, each compared with its own,
// by the engine, at the moment of writing.
type boundSet struct{ keys map[uint64][]uint64 }

func (b *boundSet) add(bound, key uint64) {
	if b.keys == nil {
		b.keys = map[uint64][]uint64{}
	}
	b.keys[bound] = append(b.keys[bound], key)
}

// conditions returns alternatives (should), one for each distinct bound: the point is one of the
// bound's, and below holds. With a single bound the points need not be named: the engine looks at
// those of the call only.
func (b *boundSet) conditions(below func(bound uint64) []*pb.Condition) []*pb.Condition {
	bounds := slices.Sorted(maps.Keys(b.keys))
	if len(bounds) == 1 {
		return below(bounds[0])
	}
	var all []*pb.Condition
	for _, bound := range bounds {
		mine := &pb.Filter{Must: []*pb.Condition{pb.NewHasID(pointIDs(b.keys[bound])...)}}
		if c := below(bound); len(c) == 1 {
			mine.Must = append(mine.Must, c...)
		} else {
			mine.Must = append(mine.Must, pb.NewFilterAsCondition(&pb.Filter{Should: c}))
		}
		all = append(all, pb.NewFilterAsCondition(mine))
	}
	return all
}

func sortedKeys[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
