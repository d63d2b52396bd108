package app_test

import (
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
)

// createTime lets the topics keep the times of producers again, as those of an older version do.
func createTime(t *testing.T, k *app.Kafka, topics ...string) {
	t.Helper()
	req := &kafka.IncrementalAlterConfigsRequest{}
	for _, topic := range topics {
		req.Resources = append(req.Resources, kafka.IncrementalAlterConfigsRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: k.Conn().Full(topic),
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{
				Name: "message.timestamp.type", Value: "CreateTime",
				ConfigOperation: kafka.ConfigOperationSet,
			}},
		})
	}
	res, err := k.Conn().Client().IncrementalAlterConfigs(t.Context(), req)
	require.NoError(t, err)
	for _, r := range res.Resources {
		require.NoError(t, r.Error)
	}
}

// timestampType returns message.timestamp.type of a topic.
func timestampType(t *testing.T, k *app.Kafka, topic string) string {
	t.Helper()
	res, err := k.Conn().Client().DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: k.Conn().Full(topic),
			ConfigNames: []string{"message.timestamp.type"},
		}},
	})
	require.NoError(t, err)
	require.NoError(t, res.Resources[0].Error)
	return res.Resources[0].ConfigEntries[0].ConfigValue
}

func TestDevAltersTopicsThatKeepTheTimesOfProducers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	createTime(t, in.Kafka(), inTopics...)
	stop()
	in, _ = apptest.StartEmbedded(t, dir, nil)
	for _, topic := range inTopics {
		require.Equal(t, "LogAppendTime", timestampType(t, in.Kafka(), topic), topic)
	}
}
