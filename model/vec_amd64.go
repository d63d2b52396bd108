package model

import "golang.org/x/sys/cpu"

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

// prefetchLines asks for the memory of n numbers from p on.
//
//go:noescape
func prefetchLines(p *float32, n int)

// prefetch asks for the memory of x, which will be read soon: rows of a big catalogue are rarely in the processor's caches, and the waits
// overlap when they are asked for early.
func prefetch(x []float32) {
	if len(x) > 0 {
		prefetchLines(&x[0], len(x))
	}
}
