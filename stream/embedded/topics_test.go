//go:build unix

package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A declared topic is made with the broker's time, and one that stands is altered.
func TestDeclaredLogAppendTime(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
		require.NoError(t, err)
		defer conn.Close()
		pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
		require.NoError(t, err)
		defer pub.Close()
		emit := func(topic string) span {
			return spanOf(func() {
				require.NoError(t, pub.Emit(t.Context(), []record.Record{
					{Topic: topic, Time: time.Now().Add(30 * time.Minute), Value: []byte("v")},
				}))
			})
		}
		standing := admin.TopicSpec{Name: prefix + "standing", Partitions: 1}
		require.NoError(t, admin.EnsureTopics(t.Context(), conn, []admin.TopicSpec{standing}))
		emit(standing.Name)
		standing.LogAppendTime = true
		fresh := admin.TopicSpec{Name: prefix + "new", Partitions: 1, LogAppendTime: true}
		require.NoError(
			t, admin.EnsureTopics(t.Context(), conn, []admin.TopicSpec{standing, fresh}),
		)
		// A real broker has the setting a little later than the controller.
		byTheBroker := func(topic string) bool {
			written := emit(topic)
			var last record.Record
			require.NoError(t, conn.Read(
				t.Context(), record.TopicPartition{Topic: topic}, 0, -1,
				func(r *record.Record) error {
					last = *r
					return nil
				},
			))
			return !last.Time.Before(written.from) && !last.Time.After(written.to)
		}
		require.True(t, byTheBroker(fresh.Name))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for !byTheBroker(standing.Name) {
			require.True(t, fault.Sleep(ctx, 20*time.Millisecond), "the producer's time stays")
		}
		// A declaration that does not ask leaves the topic as it is.
		standing.LogAppendTime = false
		require.NoError(t, admin.EnsureTopics(t.Context(), conn, []admin.TopicSpec{standing}))
		require.True(t, byTheBroker(standing.Name))
	})
}
