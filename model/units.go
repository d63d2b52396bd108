package model

import (
	"fmt"
	"math"
	"strings"
)

// Hidden units make the query more than a sum. With x = (w + long + short, short) the linear query
// and the short window's part of it,
//
//	q = (w + long + short) + Σ_h B_h max(0, A_h · x + c_h)
//
// so that what the latest items mean can depend on what came before. It is computed at the user's
// side alone: serving stays one inner product. A unit is a row of the table like an item's, under
// an id of its own: B_h where an item has V, c_h where it has its bias, and A_h where it has P and
// T. So units are exchanged, owned and learned like items, and need no messages of their own.

// unitPrefix starts the ids of hidden units; it starts with featurePrefix, so that they are never
// taken for items.
const unitPrefix = featurePrefix + "\x00unit/"

func unitID(n int) string { return fmt.Sprint(unitPrefix, n) }

func isUnit(id string) bool { return strings.HasPrefix(id, unitPrefix) }

// unitDeviation makes A_h a vector of about length one.
func unitDeviation(dim int) float32 { return float32(1 / math.Sqrt(2*float64(dim))) }

// hidden is the room for the work of the units of one learner.
type hidden struct {
	rows []Index
	x    []float32 // the input, two times dim
	z    []float32 // output of each unit
	g    []float32 // gradient of each unit's output
	gx   []float32 // gradient of the input
}

func newHidden(t *Table) hidden {
	h := hidden{
		x: make([]float32, 2*t.dim), gx: make([]float32, 2*t.dim), z: make([]float32, len(t.units)),
		g: make([]float32, len(t.units)),
	}
	h.rows = t.units
	return h
}

// forward adds the units' outputs to q, the linear query, of which short is the part from the short
// window.
func (h *hidden) forward(t *Table, q, short []float32) {
	if len(h.rows) == 0 {
		return
	}
	d := t.dim
	copy(h.x, q)
	copy(h.x[d:], short)
	for n, i := range h.rows {
		row := t.row(i)
		z := dot(h.x, row[d+head:]) + row[d+offBias]
		h.z[n] = max(z, 0)
	}
	for n, i := range h.rows {
		if z := h.z[n]; z > 0 {
			axpy(z, t.v(i), q)
		}
	}
}

// backward finds the gradients of the units' outputs and of their input from that of the query.
func (h *hidden) backward(t *Table, gq []float32) {
	clear(h.gx)
	for n, i := range h.rows {
		h.g[n] = 0
		if h.z[n] > 0 {
			row := t.row(i)
			h.g[n] = dot(row[:t.dim], gq)
			axpy(h.g[n], row[t.dim+head:], h.gx)
		}
	}
}

// addTo adds the gradients of the units to sums.
func (h *hidden) addTo(sums *Sums, gq []float32) {
	d := len(gq)
	for n, i := range h.rows {
		if h.z[n] > 0 {
			sums.addV(i, h.z[n], gq)
			at := sums.place(i)
			*sums.bias(at) += h.g[n] - h.z[n]
			sums.addP(i, h.g[n], h.x[:d])
			sums.addT(i, h.g[n], h.x[d:])
		}
	}
}

// step moves the units at once.
func (h *hidden) step(t *Table, gq []float32) {
	d, rate := t.dim, t.sharedRate()
	gg, pp, ss := dot(gq, gq), dot(h.x[:d], h.x[:d]), dot(h.x[d:], h.x[d:])
	for n, i := range h.rows {
		z, g := h.z[n], h.g[n]
		if z <= 0 {
			continue
		}
		row := t.row(i)
		at := row[d : d+head]
		s := adagrad(&at[offAccV], z*z*gg+g*g, rate, d)
		axpy(s*z, gq, row[:d])
		at[offBias] += s * g
		axpy(g*adagrad(&at[offAccP], g*g*pp, rate, d), h.x[:d], row[d+head:2*d+head])
		axpy(g*adagrad(&at[offAccT], g*g*ss, rate, d), h.x[d:], row[2*d+head:])
	}
}
