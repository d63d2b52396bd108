//go:build unix

package embedded

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestTransactionsSurviveARestart: what was aborted stays aborted. What was open when the broker
// ended is not read, and is aborted when its time is over, or at once after a kill.
func TestTransactionsSurviveARestart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ends    []syscall.Signal
		timeout time.Duration
		// killAt is a step of the start after each end at which the broker is killed once.
		killAt string
	}{
		"stopped": {[]syscall.Signal{syscall.SIGTERM}, time.Second, ""},
		"killed":  {[]syscall.Signal{syscall.SIGKILL}, 10 * time.Minute, ""},
		"stopped, and killed": {
			[]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, 10 * time.Minute, "",
		},
		"killed, and again while it starts": {
			[]syscall.Signal{syscall.SIGKILL}, 10 * time.Minute, "opened",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.killAt != "" { // the steps are those of a compaction
				fillCompacted(t, compactingConfig(dir))
			}
			c := startChild(t, dir, "")
			tp := record.TopicPartition{Topic: "in"}
			createTopic(t, client(t, c.addr), tp.Topic, 1, nil)
			plain := client(t, c.addr)
			write := func(cl *kgo.Client, value string) {
				t.Helper()
				r := &kgo.Record{Topic: tp.Topic, Value: []byte(value)}
				require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
			}
			transaction := func(id string) *kgo.Client {
				t.Helper()
				cl := client(
					t, c.addr, kgo.TransactionalID(id), kgo.TransactionTimeout(tt.timeout),
				)
				require.NoError(t, cl.BeginTransaction())
				return cl
			}
			doomed := transaction("doomed")
			write(doomed, "aborted")
			write(plain, "1")
			write(doomed, "aborted too")
			require.NoError(t, doomed.EndTransaction(t.Context(), kgo.TryAbort))
			write(plain, "2")
			open := transaction("open")
			write(open, "3")
			require.NoError(t, open.EndTransaction(t.Context(), kgo.TryCommit))
			require.NoError(t, open.BeginTransaction())
			write(open, "never ended")
			write(plain, "4")
			endOpen := kmsg.NewPtrEndTxnRequest()
			endOpen.TransactionalID, endOpen.Commit = "open", true
			var err error
			endOpen.ProducerID, endOpen.ProducerEpoch, err = open.ProducerID(t.Context())
			require.NoError(t, err)
			for _, end := range tt.ends {
				c.stop(t, end)
				if tt.killAt != "" {
					startChild(t, dir, tt.killAt)
				}
				c = startChild(t, dir, "")
			}
			connect := func() *stream.Conn {
				t.Helper()
				conn, err := stream.Open(t.Context(), stream.DefaultConfig(c.addr))
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, conn.Close()) })
				return conn
			}
			conn := connect()
			read := func(to int64) (values []string) {
				t.Helper()
				require.NoError(t, conn.Read(t.Context(), tp, 0, to, func(r *record.Record) error {
					values = append(values, string(r.Value))
					return nil
				}))
				return values
			}
			got := read(-1)
			require.Subset(t, []string{"1", "2", "3", "4"}, got)
			require.Equal(t, []string{"1", "2", "3"}, got[:3])
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			for {
				b, err := conn.Offsets(t.Context(), tp.Topic)
				require.NoError(t, err)
				if b[tp].End == b[tp].HighWatermark {
					break
				}
				require.True(
					t, fault.Sleep(ctx, 50*time.Millisecond), "it waits for a transaction forever",
				)
			}
			require.Equal(t, []string{"1", "2", "3", "4"}, read(-1))

			// Its producer, which may still run, is told so, and nothing brings it back.
			late, err := endOpen.RequestWith(t.Context(), client(t, c.addr))
			require.NoError(t, err)
			require.Error(t, kerr.ErrorForCode(late.ErrorCode), "it is told of a commit")
			again := transaction("open")
			write(again, "5")
			require.NoError(t, again.EndTransaction(t.Context(), kgo.TryCommit))
			all := []string{"1", "2", "3", "4", "5"}
			require.Equal(t, all, read(-1))
			for _, end := range []syscall.Signal{
				syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL,
			} {
				c.stop(t, end)
				c = startChild(t, dir, "")
				conn = connect()
				require.Equal(t, all, read(-1))
			}
			c.stop(t, syscall.SIGTERM)
		})
	}
}
