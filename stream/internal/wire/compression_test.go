package wire

import (
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

func TestATopicThatDoesNotGetSmallerIsSentAsItIsForAWhile(t *testing.T) {
	w := Compression{Codec: &compress.Lz4Codec}
	require.Nil(t, w.CodecFor("events", leastCompressed-1), "too small to bother")
	for range 3 * uncompressedBatches {
		require.NotNil(t, w.CodecFor("events", 10_000))
		w.Compressed("events", 10_000, 3_000)
	}
	require.NotNil(t, w.CodecFor("numbers", 10_000))
	w.Compressed("numbers", 10_000, 9_900)
	for range uncompressedBatches {
		require.Nil(t, w.CodecFor("numbers", 10_000))
		require.NotNil(t, w.CodecFor("events", 10_000), "another topic is not concerned")
	}
	require.NotNil(t, w.CodecFor("numbers", 10_000), "it is tried again")
	require.Nil(
		t, (&Compression{}).CodecFor("events", 10_000), "without a codec nothing is compressed",
	)
}
