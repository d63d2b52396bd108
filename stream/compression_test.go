package stream

import (
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

func TestATopicThatDoesNotGetSmallerIsSentAsItIsForAWhile(t *testing.T) {
	w := adaptiveCompression{codec: &compress.Lz4Codec}
	require.Nil(t, w.codecFor("events", leastCompressed-1), "too small to bother")
	for range 3 * uncompressedBatches {
		require.NotNil(t, w.codecFor("events", 10_000))
		w.compressed("events", 10_000, 3_000)
	}
	require.NotNil(t, w.codecFor("numbers", 10_000))
	w.compressed("numbers", 10_000, 9_900)
	for range uncompressedBatches {
		require.Nil(t, w.codecFor("numbers", 10_000))
		require.NotNil(t, w.codecFor("events", 10_000), "another topic is not concerned")
	}
	require.NotNil(t, w.codecFor("numbers", 10_000), "it is tried again")
	require.Nil(t, (&adaptiveCompression{}).codecFor("events", 10_000), "without a codec nothing is compressed")
}
