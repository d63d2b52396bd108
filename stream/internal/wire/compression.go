package wire

import (
	"sync"

	"github.com/segmentio/kafka-go/compress"
)

const (
	// leastCompressed is the size in bytes from which on a batch is worth compressing: below,
	// setting the compressor up costs more than the bytes.
	leastCompressed = 1 << 10
	// leastGain is the share of its size that a batch must lose, else the topic's next batches are
	// sent as they are.
	leastGain = 0.15
	// uncompressedBatches is for how many batches of the topic that holds; then one is tried again.
	uncompressedBatches = 200
)

// Compression decides which batches are compressed. Topics of packed numbers hardly get smaller,
// and trying costs as much as encoding them. Safe for concurrent use.
type Compression struct {
	Codec compress.Codec

	mu      sync.Mutex
	passing map[string]int // topic → batches still to be sent as they are
}

// CodecFor returns the codec for a batch of so many bytes, nil for none.
func (w *Compression) CodecFor(topic string, size int) compress.Codec {
	if w.Codec == nil || size < leastCompressed {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passing[topic] > 0 {
		w.passing[topic]--
		return nil
	}
	return w.Codec
}

// Compressed notes what became of a batch that was compressed.
func (w *Compression) Compressed(topic string, size, packed int) {
	if float64(packed) <= (1-leastGain)*float64(size) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passing == nil {
		w.passing = make(map[string]int)
	}
	w.passing[topic] = uncompressedBatches
}
