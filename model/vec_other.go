//go:build !amd64

package model

// dot returns the inner product of x and y, which have the same length.
func dot(x, y []float32) float32 { return dotGo(x, y) }

// axpy adds w*x to y. Both have the same length.
func axpy(w float32, x, y []float32) { axpyGo(w, x, y) }

// prefetch does nothing here.
func prefetch([]float32) {}
