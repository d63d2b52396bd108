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
