package model

import (
	"encoding/binary"
	"math"
)

// dotGo returns the inner product of x and y, which have the same length. Four accumulators let the
// processor overlap the additions.
func dotGo(x, y []float32) float32 {
	y = y[:len(x)]
	var a, b, c, d float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a += x[i] * y[i]
		b += x[i+1] * y[i+1]
		c += x[i+2] * y[i+2]
		d += x[i+3] * y[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i] * y[i]
	}
	return (a + b) + (c + d)
}

// axpyGo adds w*x to y. Both have the same length.
func axpyGo(w float32, x, y []float32) {
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		y[i] += w * x[i]
		y[i+1] += w * x[i+1]
		y[i+2] += w * x[i+2]
		y[i+3] += w * x[i+3]
	}
	for ; i < len(x); i++ {
		y[i] += w * x[i]
	}
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
func log32(x float32) float32  { return float32(math.Log(float64(x))) }
func exp32(x float32) float32  { return float32(math.Exp(float64(x))) }

// finite reports whether x is neither infinite nor not a number.
func finite(x float32) bool { return x-x == 0 }

// sane returns x, or 0 when it is not finite, bounded so that no sum of squares over a row can
// overflow.
func sane(x float32) float32 {
	const bound = 1e6
	if !finite(x) {
		return 0
	}
	return min(max(x, -bound), bound)
}

// mix is the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", 2014): a bijection of 64-bit numbers whose outputs look independent.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// random is a small generator of random numbers, a function of its seed alone.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	return mix(uint64(*r))
}

// below returns a number in [0, n), n in [1, 2^32).
func (r *random) below(n int) int { return int((r.next() >> 32) * uint64(n) >> 32) }

// uniform returns a number in (0, 1].
func (r *random) uniform() float64 { return float64(r.next()>>11+1) / (1 << 53) }

// normal fills x with normal numbers of mean 0 and the given standard deviation (Box and Muller
// 1958).
func (r *random) normal(x []float32, deviation float32) {
	for i := 0; i < len(x); i += 2 {
		radius := math.Sqrt(-2 * math.Log(r.uniform()))
		sin, cos := math.Sincos(2 * math.Pi * r.uniform())
		x[i] = deviation * float32(radius*cos)
		if i+1 < len(x) {
			x[i+1] = deviation * float32(radius*sin)
		}
	}
}

// maxAbsGo returns the greatest magnitude in x; it is not finite if one of the numbers is not.
func maxAbsGo(x []float32) float32 {
	var most uint32
	for _, v := range x {
		most = max(most, math.Float32bits(v)&math.MaxInt32)
	}
	return math.Float32frombits(most)
}

// packHalfGo writes the numbers times scale, rounded to even, as 16-bit integers.
func packHalfGo(dst []byte, x []float32, scale float32) {
	for i, v := range x {
		n := int16(math.RoundToEven(float64(v * scale)))
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(n))
	}
}

// addHalfGo adds 16-bit integers times unit to out.
func addHalfGo(out []float32, src []byte, unit float32) {
	for i := range out {
		out[i] += float32(unit * float32(int16(binary.LittleEndian.Uint16(src[2*i:]))))
	}
}
