package model

// Sums accumulates gradients per row until the owners of the rows take a step with them. Sums of
// several sources add up in any order. A Sums belongs to one table and is not safe for concurrent
// use.
type Sums struct {
	table *Table
	at    []int32 // by row: 1 + place in rows
	rows  []Index
	parts []part
	data  []float32 // one V+bias, P, T block per place
	skip  []float32 // where Merge puts numbers while it only checks
}

// part tells which blocks of a row are not empty. key is that of the row: its index may have been
// reused since.
type part struct {
	key     Key
	count   uint32
	v, p, t bool
}

// NewSums returns empty sums for the rows of table.
func NewSums(table *Table) *Sums { return &Sums{table: table} }

// Len returns the number of rows that have gradients or counts.
func (s *Sums) Len() int { return len(s.rows) }

// Rows returns the rows that have gradients or counts. The slice is valid until the next call of
// any method.
func (s *Sums) Rows() []Index { return s.rows }

// Reset empties the sums and keeps their memory.
func (s *Sums) Reset() {
	for _, i := range s.rows {
		s.at[i] = 0
	}
	clear(s.data[:len(s.rows)*s.stride()])
	s.rows, s.parts = s.rows[:0], s.parts[:0]
}

// stride is the length of one place in data: gradients of V, its bias (padded), P and T.
func (s *Sums) stride() int { return 3*s.table.dim + head }

// place returns the place of row i, made if absent.
func (s *Sums) place(i Index) int {
	if int(i) >= len(s.at) {
		s.at = append(s.at, make([]int32, max(s.table.Cap(), int(i)+1)-len(s.at))...)
	}
	key := s.table.meta[i].key
	if p := s.at[i]; p != 0 {
		n := int(p - 1)
		if s.parts[n].key != key { // the row was removed, and this is another one
			s.parts[n] = part{key: key}
			clear(s.data[n*s.stride() : (n+1)*s.stride()])
		}
		return n
	}
	n := len(s.rows)
	s.rows = append(s.rows, i)
	s.parts = append(s.parts, part{key: key})
	s.at[i] = int32(n + 1)
	if need := (n + 1) * s.stride(); need > len(s.data) {
		s.data = append(s.data, make([]float32, max(need, 64*s.stride()))...)
		s.data = s.data[:cap(s.data)]
	}
	return n
}

// live reports whether the row at place n is still the one that the sums are of.
func (s *Sums) live(n int) bool {
	i := s.rows[n]
	return s.table.Live(i) && s.table.meta[i].key == s.parts[n].key
}

func (s *Sums) v(n int) []float32 { at := n * s.stride(); return s.data[at : at+s.table.dim] }
func (s *Sums) p(n int) []float32 {
	at := n*s.stride() + s.table.dim + head
	return s.data[at : at+s.table.dim]
}

func (s *Sums) t(n int) []float32 {
	at := n*s.stride() + 2*s.table.dim + head
	return s.data[at : at+s.table.dim]
}
func (s *Sums) bias(n int) *float32 { return &s.data[n*s.stride()+s.table.dim] }

func (s *Sums) addV(i Index, e float32, q []float32) {
	n := s.place(i)
	s.parts[n].v = true
	axpy(e, q, s.v(n))
	*s.bias(n) += e
}

func (s *Sums) addP(i Index, w float32, g []float32) {
	n := s.place(i)
	s.parts[n].p = true
	axpy(w, g, s.p(n))
}

func (s *Sums) addT(i Index, w float32, g []float32) {
	n := s.place(i)
	s.parts[n].t = true
	axpy(w, g, s.t(n))
}

func (s *Sums) addCount(i Index, n uint32) { s.parts[s.place(i)].count += n }

// Apply takes one Adagrad step per row with the collected gradients and adds the counts. The sums
// stay as they are; they must belong to this table. Rows that have been removed since are left out.
//
// One step with the sum, rather than a sum of steps, is what stays stable when many sources move
// the same row.
func (t *Table) Apply(s *Sums) {
	d := t.dim
	for n, i := range s.rows {
		if !s.live(n) {
			continue
		}
		rate := float32(t.cfg.Rate)
		if t.meta[i].feature { // or unit
			rate = t.sharedRate()
		}
		row, had := t.row(i), s.parts[n]
		h := row[d : d+head]
		if had.v {
			g, b := s.v(n), *s.bias(n)
			step := adagrad(&h[offAccV], dot(g, g)+b*b, rate, d)
			axpy(step, g, row[:d])
			h[offBias] += step * b
		}
		if had.p {
			g := s.p(n)
			axpy(adagrad(&h[offAccP], dot(g, g), rate, d), g, row[d+head:2*d+head])
		}
		if had.t {
			g := s.t(n)
			axpy(adagrad(&h[offAccT], dot(g, g), rate, d), g, row[2*d+head:])
		}
		if had.count > 0 {
			t.addCount(i, had.count)
		}
	}
}
