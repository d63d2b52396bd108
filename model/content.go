package model

import (
	"math"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// DefaultContentDim is the usual length of content vectors: long enough that two unrelated features
// are nearly orthogonal (their cosine has standard deviation 1/8).
const DefaultContentDim = 64

// IsFeatureID reports whether id is that of a content feature's row (see FeatureID).
func IsFeatureID(id string) bool { return strings.HasPrefix(id, featurePrefix) }

// ContentVector returns the sum of one fixed pseudo-random sign vector per feature, scaled to
// length 1: items that share features have a positive cosine, and the vector of a new item is known
// before anybody has touched it. nil when there are no features. The features' weights follow their
// prefix: people and tags say more about a film than its genre, its decade says least.
//
// Source: random indexing, Sahlgren, "An Introduction to Random Indexing", 2005; Achlioptas,
// "Database-friendly random projections", 2003.
func ContentVector(features []string, dim int) []float32 {
	if len(features) == 0 || dim <= 0 {
		return nil
	}
	out := make([]float32, dim)
	for _, f := range features {
		addSigns(out, f, contentWeight(f))
	}
	var norm float64
	for _, x := range out {
		norm += float64(x) * float64(x)
	}
	if norm == 0 {
		return nil
	}
	scale := float32(1 / math.Sqrt(norm))
	for i := range out {
		out[i] *= scale
	}
	return out
}

func contentWeight(feature string) float32 {
	kind, _, _ := strings.Cut(feature, ":")
	switch kind {
	case "director":
		return 1.2
	case "genre", "actor":
		return 0.8
	case "decade":
		return 0.3
	}
	return 0.6
}

// addSigns adds weight times the sign vector of the feature: the bits of splitmix64 seeded by its
// hash.
func addSigns(out []float32, feature string, weight float32) {
	state := xxhash.Sum64String(feature)
	var bits uint64
	for i := range out {
		if i%64 == 0 {
			state += 0x9e3779b97f4a7c15
			z := state
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			bits = z ^ z>>31
		}
		if bits>>(i%64)&1 == 1 {
			out[i] += weight
		} else {
			out[i] -= weight
		}
	}
}

// Dot returns the inner product of two vectors of the same length: of a query and an item's point
// it is the score.
func Dot(a, b []float32) float32 { return dot(a, b) }

// Length returns the Euclidean length of a vector.
func Length(v []float32) float32 { return sqrt32(dot(v, v)) }

// Distance returns the Euclidean distance of two vectors of the same length.
func Distance(a, b []float32) float32 {
	var sum float32
	for i, x := range a {
		d := x - b[i]
		sum += d * d
	}
	return sqrt32(sum)
}
