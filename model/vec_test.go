package model

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestKernelsAgreeWithPlainLoops(t *testing.T) {
	t.Parallel()
	for n := range 150 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := random(n)
			x, y := make([]float32, n), make([]float32, n)
			r.normal(x, 1)
			r.normal(y, 1)
			if got, want := dot(x, y), dotGo(x, y); math.Abs(float64(got-want)) > 1e-4 {
				t.Errorf("dot = %v, want %v", got, want)
			}
			want := append([]float32(nil), y...)
			axpyGo(0.7, x, want)
			axpy(0.7, x, y)
			for i := range y {
				if math.Abs(float64(y[i]-want[i])) > 1e-5 {
					t.Fatalf("axpy[%d] = %v, want %v", i, y[i], want[i])
				}
			}
		})
	}
}

func TestKernelsStayInBounds(t *testing.T) {
	t.Parallel()
	const n, guard = 64, 8
	x, y := make([]float32, n+guard), make([]float32, n+guard)
	for i := range x {
		x[i], y[i] = 1, 1
	}
	axpy(2, x[:n], y[:n])
	if got := dot(x[:n], x[:n]); got != n {
		t.Errorf("dot = %v, want %d", got, n)
	}
	for i, v := range y {
		if want := float32(map[bool]int{true: 3, false: 1}[i < n]); v != want {
			t.Errorf("y[%d] = %v, want %v", i, v, want)
		}
	}
}

func BenchmarkDot64(b *testing.B) {
	x, y := make([]float32, 64), make([]float32, 64)
	for b.Loop() {
		_ = dot(x, y)
	}
}

func BenchmarkAxpy64(b *testing.B) {
	x, y := make([]float32, 64), make([]float32, 64)
	for b.Loop() {
		axpy(0.5, x, y)
	}
}

func TestPackedKernelsAgreeWithPlainLoops(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 7, 8, 64, 100, 128} {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		if got, want := maxAbs(x), maxAbsGo(x); got != want {
			t.Fatalf("n %d: greatest magnitude %v, want %v", n, got, want)
		}
		scale := float32(1)
		if n > 0 {
			scale = math.MaxInt16 / maxAbs(x)
		}
		got, want := make([]byte, 2*n), make([]byte, 2*n)
		packHalf(got, x, scale)
		packHalfGo(want, x, scale)
		if !bytes.Equal(got, want) {
			t.Fatalf("n %d: packed %v, want %v", n, got, want)
		}
		a, b := slices.Clone(x), slices.Clone(x)
		addHalf(a, got, 0.01)
		addHalfGo(b, got, 0.01)
		if !slices.Equal(a, b) {
			t.Fatalf("n %d: added %v, want %v", n, a, b)
		}
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		bad := float32(x)
		for at := range 8 {
			x := []float32{1, -2, 3, -4, 5, -6, 7, -8}
			if x[at] = bad; finite(maxAbs(x)) {
				t.Fatalf("%v at %d passes for finite", bad, at)
			}
			b := appendHalf(nil, x)
			if !bytes.Equal(b, make([]byte, 4+16)) {
				t.Fatalf("%v at %d is packed as %v, want zeros", bad, at, b)
			}
		}
	}
}
