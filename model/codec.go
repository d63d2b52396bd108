package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Every binary form starts with one byte of version. Numbers are little-endian; lengths and counts
// are uvarints.
const (
	rowVersion  = 2
	sumsVersion = 2
	userVersion = 2
)

var errShort = errors.New("unexpected end")

// reader takes values off the front of data; the first failure sticks.
type reader struct {
	data []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.data = nil
}

func (r *reader) byte() byte {
	if len(r.data) < 1 {
		r.fail(errShort)
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// uvarint reads a number of at most limit.
func (r *reader) uvarint(limit uint64) uint64 {
	x, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	if x > limit {
		r.fail(fmt.Errorf("number %d above %d", x, limit))
		return 0
	}
	r.data = r.data[n:]
	return x
}

// count reads how many things of at least size bytes each follow, and makes sure that they can.
func (r *reader) count(size int) int {
	n := r.uvarint(math.MaxInt32)
	if r.err == nil && n*uint64(size) > uint64(len(r.data)) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.data) {
		r.fail(errShort)
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) string() string { return string(r.bytes(r.count(1))) }

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// float reads a number and makes it finite.
func (r *reader) float() float32 {
	if b := r.bytes(4); b != nil {
		return sane(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return 0
}

func (r *reader) floats(out []float32) {
	b := r.bytes(4 * len(out))
	if b == nil {
		return
	}
	for i := range out {
		out[i] = sane(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
}

// addHalf adds numbers written by appendHalf to out.
func (r *reader) addHalf(out []float32) {
	unit := r.float()
	b := r.bytes(2 * len(out))
	if b == nil {
		return
	}
	addHalf(out, b, unit)
}

// end returns the error of a complete read of what, also if something is left over. It is
// ErrCorrupt.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.data) > 0 {
		r.err = fmt.Errorf("%d bytes left over", len(r.data))
	}
	if r.err != nil {
		return fmt.Errorf("decode %s: %w: %w", what, ErrCorrupt, r.err)
	}
	return nil
}

func appendFloat(b []byte, x float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
}

func appendFloats(b []byte, x []float32) []byte {
	for _, v := range x {
		b = appendFloat(b, v)
	}
	return b
}

// appendHalf writes x in two bytes a number: multiples of a common unit, which keeps small numbers
// where 16-bit floats would lose them.
func appendHalf(b []byte, x []float32) []byte {
	highest := maxAbs(x)
	b = append(b, make([]byte, 4+2*len(x))...)
	if highest == 0 || !finite(highest) || !finite(math.MaxInt16/highest) {
		return b // all zero
	}
	out := b[len(b)-4-2*len(x):]
	binary.LittleEndian.PutUint32(out, math.Float32bits(highest/math.MaxInt16))
	packHalf(out[4:], x, math.MaxInt16/highest)
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// addFloats adds numbers written by appendFloats to out.
func (r *reader) addFloats(out []float32) {
	b := r.bytes(4 * len(out))
	if b == nil {
		return
	}
	for i := range out {
		out[i] += sane(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
}
