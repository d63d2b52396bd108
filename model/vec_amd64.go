package model

import (
	"math"

	"golang.org/x/sys/cpu"
)

// fused tells whether the processor has the instructions that vec_amd64.s uses.
var fused = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// dotFMA returns the inner product of n numbers, n a multiple of 8.
//
//go:noescape
func dotFMA(x, y *float32, n int) float32

// axpyFMA adds w*x to y over n numbers, n a multiple of 8.
//
//go:noescape
func axpyFMA(w float32, x, y *float32, n int)

// dot returns the inner product of x and y, which have the same length.
func dot(x, y []float32) float32 {
	if fused && len(x)&7 == 0 && len(x) > 0 && len(x) == len(y) {
		return dotFMA(&x[0], &y[0], len(x))
	}
	return dotGo(x, y)
}

// axpy adds w*x to y. Both have the same length.
func axpy(w float32, x, y []float32) {
	if fused && len(x)&7 == 0 && len(x) > 0 && len(x) == len(y) {
		axpyFMA(w, &x[0], &y[0], len(x))
		return
	}
	axpyGo(w, x, y)
}

// maxAbsAVX2 returns the bits of the greatest magnitude among n numbers, n a multiple of 8; those
// of infinities and of what is no number are greater than any other.
//
//go:noescape
func maxAbsAVX2(x *float32, n int) uint32

// packHalfAVX2 writes n numbers, n a multiple of 8, times scale as 16-bit integers, rounded to
// even.
//
//go:noescape
func packHalfAVX2(dst *byte, x *float32, n int, scale float32)

// addHalfAVX2 adds n 16-bit integers, n a multiple of 8, times unit to out.
//
//go:noescape
func addHalfAVX2(out *float32, src *byte, n int, unit float32)

// maxAbs returns the greatest magnitude in x; it is not finite if one of the numbers is not.
func maxAbs(x []float32) float32 {
	if fused && len(x)&7 == 0 && len(x) > 0 {
		return math.Float32frombits(maxAbsAVX2(&x[0], len(x)))
	}
	return maxAbsGo(x)
}

// packHalf writes the numbers times scale, which are at most math.MaxInt16, to dst, two bytes each.
func packHalf(dst []byte, x []float32, scale float32) {
	if fused && len(x)&7 == 0 && len(x) > 0 && len(dst) == 2*len(x) {
		packHalfAVX2(&dst[0], &x[0], len(x), scale)
		return
	}
	packHalfGo(dst, x, scale)
}

// addHalf adds the numbers in src, two bytes each, times unit to out.
func addHalf(out []float32, src []byte, unit float32) {
	if fused && len(out)&7 == 0 && len(out) > 0 && len(src) == 2*len(out) {
		addHalfAVX2(&out[0], &src[0], len(out), unit)
		return
	}
	addHalfGo(out, src, unit)
}

// prefetchLines asks for the memory of n numbers from p on.
//
//go:noescape
func prefetchLines(p *float32, n int)

// prefetch asks for the memory of x, which will be read soon: rows of a big catalog are rarely in
// the CPU's caches, and early requests let the waits overlap.
func prefetch(x []float32) {
	if len(x) > 0 {
		prefetchLines(&x[0], len(x))
	}
}
