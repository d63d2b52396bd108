//go:build !amd64

package model

// dot returns the inner product of x and y, which have the same length.
func dot(x, y []float32) float32 { return dotGo(x, y) }

// axpy adds w*x to y. Both have the same length.
func axpy(w float32, x, y []float32) { axpyGo(w, x, y) }

// prefetch does nothing here.
func prefetch([]float32) {}

// maxAbs returns the greatest magnitude in x; it is not finite if one of the numbers is not.
func maxAbs(x []float32) float32 { return maxAbsGo(x) }

// packHalf writes the numbers times scale, which are at most math.MaxInt16, to dst, two bytes each.
func packHalf(dst []byte, x []float32, scale float32) { packHalfGo(dst, x, scale) }

// addHalf adds the numbers in src, two bytes each, times unit to out.
func addHalf(out []float32, src []byte, unit float32) { addHalfGo(out, src, unit) }
