package model

import (
	"fmt"
	"math"
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
