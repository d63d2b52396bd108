package slipstream_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// producerSnippets say of each client that the developers' guide shows how it is known, and what
// makes it use the partitioner of Kafka's Java client (Java has it by itself).
// TestPartitionersOfOtherClients runs those in Go, TestLongPartitionerOfLibrdkafka that library.
var producerSnippets = map[string]struct{ client, needs, never string }{
	"python": {`from confluent_kafka import Producer`, `"partitioner": "murmur2_random"`, ``},
	"java":   {`org\.apache\.kafka\.clients\.producer\.KafkaProducer`, ``, `partitioner`},
	"js":     {`from 'kafkajs'`, `createPartitioner: Partitioners\.JavaCompatiblePartitioner`, ``},
	"go":     {`github\.com/segmentio/kafka-go`, `Balancer: &kafka\.Murmur2Balancer\{\}`, ``},
}

// acksAll is how each client is told to wait for all replicas.
var acksAll = regexp.MustCompile(`"acks"(:|,) "all"|acks: -1|RequiredAcks: kafka\.RequireAll`)

// TestProducersOfTheGuide: each program of the guide uses the right partitioner, waits for all
// replicas, and writes an event that is decoded, under the key of its user.
func TestProducersOfTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("docs/guides/developers.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(guide), "\n### The partitioner\n")
	require.True(t, found)
	block := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```")
	value := regexp.MustCompile(`(?s)\{\\?"event_id.*?\}`)
	seen, ids := make(map[string]bool), make(map[string]bool)
	for _, m := range block.FindAllStringSubmatch(section, -1) {
		language, program := m[1], m[2]
		want, ok := producerSnippets[language]
		require.True(t, ok, "a program in %s: say what its client needs", language)
		seen[language] = true
		require.Regexp(t, want.client, program)
		require.Regexp(t, want.needs, program, language)
		if want.never != "" {
			require.NotRegexp(t, want.never, program, language)
		}
		require.Regexp(t, acksAll, program, language)

		text := value.FindString(program)
		if language == "java" {
			text = strings.ReplaceAll(text, `\"`, `"`)
		}
		var said struct {
			User string `json:"user_id"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &said), language)
		x, err := schemas.DecodeInteraction(&record.Record{
			Topic: schemas.TopicInteractions, Key: []byte(said.User), Value: []byte(text),
			Time: time.Now(),
		})
		require.NoError(t, err, language)
		require.Contains(t, program, schemas.TopicInteractions, language)
		require.GreaterOrEqual(
			t, strings.Count(program, said.User), 2, "%s: key and value", language,
		)
		require.False(t, ids[x.EventID], "%s: the id of another program", language)
		ids[x.EventID] = true
	}
	require.Len(t, seen, len(producerSnippets), "a program for each client")
}
