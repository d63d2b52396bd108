package config

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// Bytes is a size. In text it is a number with a unit, such as 64MiB or 500kB; without one it
// counts bytes.
type Bytes int64

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is no size: write a number and a unit, such as 64MiB", text)
	}
	if n > math.MaxInt64 {
		return fmt.Errorf("%q is too large", text)
	}
	*b = Bytes(n)
	return nil
}

// String returns the size such that UnmarshalText gives the same number again.
func (b Bytes) String() string {
	for _, u := range []struct {
		unit string
		size Bytes
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b >= u.size && b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.unit)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
