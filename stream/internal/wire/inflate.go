package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

// errTooLarge says that a batch needs more memory than a reader has for it.
var errTooLarge = errors.New("larger than a reader takes")

func tooLarge(limit int) error { return fmt.Errorf("%w, %d bytes", errTooLarge, limit) }

// Inflate decompresses the records of a batch. It needs memory of the order of limit bytes at most:
// more data than that is an error, and what a producer claims is believed in nothing. Uncompressed
// records are returned as they are, whatever their size.
func Inflate(kind compress.Compression, packed []byte, limit int) ([]byte, error) {
	switch kind {
	case compress.None:
		return packed, nil
	case compress.Snappy:
		return inflateSnappy(packed, limit)
	case compress.Zstd:
		return inflateZstd(packed, limit)
	case compress.Gzip, compress.Lz4: // both stream through windows of a few megabytes at most
		r := kind.Codec().NewReader(bytes.NewReader(packed))
		defer r.Close()
		return readLimited(r, len(packed), limit)
	}
	return nil, fmt.Errorf("unknown codec %d", kind)
}

// readLimited reads all of r, which has packed bytes before decompression.
func readLimited(r io.Reader, packed, limit int) ([]byte, error) {
	out := make([]byte, 0, min(4*packed+bytes.MinRead, limit+1))
	for {
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case len(out) > limit:
			return nil, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(out) == cap(out):
			grown := make([]byte, len(out), min(2*cap(out), limit+1))
			copy(grown, out)
			out = grown
		}
	}
}

// zstdDecoders keeps decoders for reuse, by the limit of their memory.
var zstdDecoders sync.Map // int → *sync.Pool of *zstd.Decoder

func inflateZstd(packed []byte, limit int) ([]byte, error) {
	kept, _ := zstdDecoders.LoadOrStore(limit, &sync.Pool{})
	pool := kept.(*sync.Pool)
	d, _ := pool.Get().(*zstd.Decoder)
	if d == nil {
		var err error
		d, err = zstd.NewReader(
			nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			// A frame announces its window, which is allocated at once.
			zstd.WithDecoderMaxWindow(uint64(max(limit, zstd.MinWindowSize))),
		)
		if err != nil {
			return nil, err
		}
	}
	defer pool.Put(d)
	if err := d.Reset(bytes.NewReader(packed)); err != nil {
		return nil, err
	}
	out, err := readLimited(d, len(packed), limit)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = tooLarge(limit)
	}
	return out, err
}

// xerialMagic begins snappy data that is framed as Java's library does. Behind it stand two
// versions of four bytes each, and then blocks, each behind its length.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

func inflateSnappy(packed []byte, limit int) ([]byte, error) {
	blocks := [][]byte{packed}
	if len(packed) >= xerialHeader && bytes.HasPrefix(packed, xerialMagic) {
		blocks = nil
		for packed = packed[xerialHeader:]; len(packed) > 0; {
			if len(packed) < 4 {
				return nil, io.ErrUnexpectedEOF
			}
			n := int64(binary.BigEndian.Uint32(packed))
			if packed = packed[4:]; n > int64(len(packed)) {
				return nil, io.ErrUnexpectedEOF
			}
			blocks, packed = append(blocks, packed[:n]), packed[n:]
		}
	}
	// A block announces its size. Nothing is decoded before all of them are known.
	size := 0
	for _, b := range blocks {
		n, err := s2.DecodedLen(b)
		if err != nil {
			return nil, err
		}
		if size += n; size > limit {
			return nil, tooLarge(limit)
		}
	}
	out := make([]byte, size)
	for at := 0; len(blocks) > 0; blocks = blocks[1:] {
		part, err := s2.Decode(out[at:], blocks[0])
		if err != nil {
			return nil, err
		}
		at += len(part)
	}
	return out, nil
}
